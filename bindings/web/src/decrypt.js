// Loads the module that decrypts, which nobody needs who only verifies: it is in the page as text, and is compiled when an
// escrow file is chosen.

import { refusal, unreadable } from './refusal.js'

/** Larger than any escrow file. */
const LARGEST_ESCROW = 16 * 1024 * 1024

/** @param {string} id */
const text = (id) => document.getElementById(id)?.textContent ?? ''

/** @type {Promise<WebAssembly.Module> | undefined} */
let compiled

const load = () => (compiled ??= WebAssembly.compile(Uint8Array.from(atob(text('decrypt-wasm')), (c) => c.charCodeAt(0))))

/** How an escrow file is protected.
 * @param {File} escrow
 * @param {AbortSignal} signal
 * @returns {Promise<import('./decrypt-worker.js').Protection>} */
export const protectionOf = (escrow, signal) =>
  withWorker(escrow, undefined, signal, (report) => ('protection' in report ? report.protection : undefined))

/**
 * Decrypts a backup. `write` gets its bytes, in order, as they are decrypted; only the result says that they were all.
 * @param {File} escrow
 * @param {Omit<import('./decrypt-worker.js').Backup, 'saves'>} backup its secret is overwritten
 * @param {{ onOpened: (segments: number) => void, onBytes: (bytes: number) => void,
 *   write?: (plain: Uint8Array) => Promise<void> }} listener
 * @param {AbortSignal} signal
 * @returns {Promise<import('./decrypt-worker.js').Decrypted>}
 */
export const decrypt = (escrow, backup, { onOpened, onBytes, write }, signal) =>
  withWorker(escrow, { ...backup, saves: write !== undefined }, signal, async (report, worker) => {
    if ('decrypted' in report) return report.decrypted
    if ('segments' in report) onOpened(report.segments)
    if ('bytes' in report) onBytes(report.bytes)
    if ('plain' in report) {
      await write?.(report.plain)
      worker.postMessage('written')
    }
    return undefined
  })

/**
 * Starts a worker, and ends it after the report of which `onReport` makes a result.
 * @template T
 * @param {File} escrow
 * @param {import('./decrypt-worker.js').Backup | undefined} backup
 * @param {AbortSignal} signal
 * @param {(report: import('./decrypt-worker.js').Report, worker: Worker) => T | undefined | Promise<T | undefined>} onReport
 * @returns {Promise<T>}
 */
async function withWorker(escrow, backup, signal, onReport) {
  if (escrow.size > LARGEST_ESCROW) {
    throw refusal(`'${escrow.name}' is too large to be an escrow file`, 'Choose the file that ‘s3vault keys export’ wrote.')
  }
  const bytes = await escrow.arrayBuffer().catch((error) => { throw unreadable('the escrow file', escrow, error) })
  const module = await load()
  signal.throwIfAborted()
  const url = URL.createObjectURL(new Blob([text('decrypt-worker')], { type: 'text/javascript' }))
  const worker = new Worker(url)
  try {
    return await new Promise((resolve, reject) => {
      worker.onmessage = async (/** @type {MessageEvent<import('./decrypt-worker.js').Report>} */ { data }) => {
        try {
          if ('failed' in data) throw explained(data.failed)
          const result = await onReport(data, worker)
          if (result !== undefined) resolve(result)
        } catch (error) {
          reject(error)
        }
      }
      worker.onerror = (event) => reject(new Error(event.message || 'the worker did not start'))
      worker.onmessageerror = () => reject(new Error('the files could not be sent to the worker'))
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      const start = { module, escrow: new Uint8Array(bytes), backup }
      worker.postMessage(start, backup === undefined ? [] : [/** @type {ArrayBuffer} */ (backup.secret.buffer)])
    })
  } finally {
    worker.terminate()
    URL.revokeObjectURL(url)
  }
}

/** @param {{ name: string, message: string, hint?: string }} failed */
function explained({ name, message, hint }) {
  if (name === 'RuntimeError') return refusal('the browser stopped the decryption', 'Close other tabs, since memory may be short, and try again.')
  return refusal(message, hint ?? 'Choose the stored file again: it was changed, moved or removed since it was chosen.')
}
