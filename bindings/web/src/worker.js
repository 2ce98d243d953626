// A worker reads runs of the file and checks their parts.
//
// It reads slices of 64 MiB as streams: of several ways that were measured in Chromium this is the fastest, and many
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
async function check({ first, count, start, end }) {
  const parts = new PartsCheck(verification, first, count)
  for (let at = start; at < end; at += SLICE) await readSlice(parts, at, Math.min(at + SLICE, end))
  const bad = parts.finish()
  parts.free()
  return bad
}

/** @param {PartsCheck} parts
 * @param {number} start
 * @param {number} end */
async function readSlice(parts, start, end) {
  const reader = file.slice(start, end).stream().getReader()
  let at = start
  let reported = start
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

/** In Chromium a stream of a file fails with 'network error', whatever the cause; a plain read reports the cause.
 * @param {number} at
 * @param {Error} error
 * @returns {Promise<never>} */
async function fail(at, error) {
  await file.slice(at, at + 1).arrayBuffer()
  throw new Error(`at byte ${at}: ${error.message}`)
}
