// A worker reads runs of the file and checks their parts.

import { initSync, PartsCheck, Verification } from '@s3vault/verify'

import { readRange } from './slices.js'

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
  await readRange(file, start, end, (piece) => parts.update(piece), (bytes) => report({ bytes }))
  const bad = parts.finish()
  parts.free()
  return bad
}
