// A worker: reads runs of the file and checks their parts.
//
// The file is read by slices of 64 MiB as streams: the fastest way of several that were measured in Chromium; many
// small slices are the slowest.

import { initSync, PartsCheck, Verification } from '@s3vault/verify'

const SLICE = 64 * 1024 * 1024
const REPORT = 4 * 1024 * 1024

/**
 * @typedef {{ module: WebAssembly.Module, object: Uint8Array, keys: string, file: File }} Start
 * @typedef {{ run: import('./runs.js').Run }} Task
 * @typedef {{ bytes: number } | { bad: Uint32Array } | { failed: { name: string, message: string } }} Report
 */

/** @type {Verification} */
let verification
/** @type {File} */
let file

/** @param {Report} message */
const report = (message) => self.postMessage(message)

self.onmessage = async (/** @type {MessageEvent<Start | Task>} */ { data }) => {
  try {
    if ('run' in data) {
      report({ bad: await check(data.run) })
    } else {
      initSync({ module: data.module })
      verification = new Verification(data.object, data.keys)
      file = data.file
    }
  } catch (error) {
    const { name, message } = /** @type {Error} */ (error)
    report({ failed: { name, message } })
  }
}

/** @param {import('./runs.js').Run} run */
async function check({ first, count, begin, end }) {
  const parts = new PartsCheck(verification, first, count)
  for (let at = begin; at < end; at += SLICE) await readSlice(parts, at, Math.min(at + SLICE, end))
  const bad = parts.finish()
  parts.free()
  return bad
}

/** @param {PartsCheck} parts
 * @param {number} begin
 * @param {number} end */
async function readSlice(parts, begin, end) {
  const reader = file.slice(begin, end).stream().getReader()
  let at = begin
  let reported = begin
  for (;;) {
    const { done, value } = await reader.read().catch((error) => fail(at, error))
    if (done) break
    parts.update(value)
    at += value.length
    if (at - reported >= REPORT) {
      report({ bytes: at - reported })
      reported = at
    }
  }
  report({ bytes: at - reported })
}

/** Chromium's streams of files fail with 'network error', whatever the cause; a plain read tells it.
 * @param {number} at
 * @param {Error} error
 * @returns {Promise<never>} */
async function fail(at, error) {
  await file.slice(at, at + 1).arrayBuffer()
  throw new Error(`at byte ${at}: ${error.message}`)
}
