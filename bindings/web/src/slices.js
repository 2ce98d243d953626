// Reads a range of a file.
//
// It reads slices of 64 MiB as streams: of several ways that were measured in Chromium this is the fastest, and many
// small slices are the slowest.

const SLICE = 64 * 1024 * 1024
const REPORT = 4 * 1024 * 1024

/**
 * Hands the bytes of a range to `use`, in order, in pieces of any size.
 * @param {File} file
 * @param {number} start
 * @param {number} end
 * @param {(piece: Uint8Array) => void | Promise<void>} use
 * @param {(bytes: number) => void} onBytes called with the number of bytes read since the last call
 */
export async function readRange(file, start, end, use, onBytes) {
  for (let at = start; at < end; at += SLICE) await readSlice(file, at, Math.min(at + SLICE, end), use, onBytes)
}

/** @type {typeof readRange} */
async function readSlice(file, start, end, use, onBytes) {
  const reader = file.slice(start, end).stream().getReader()
  let at = start
  let reported = start
  for (;;) {
    const { done, value } = await reader.read().catch((error) => fail(file, at, error))
    if (done) break
    await use(value)
    at += value.length
    if (at - reported >= REPORT) {
      onBytes(at - reported)
      reported = at
    }
  }
  onBytes(at - reported)
}

/** In Chromium a stream of a file fails with 'network error', whatever the cause; a plain read reports the cause.
 * @param {File} file
 * @param {number} at
 * @param {Error} error
 * @returns {Promise<never>} */
async function fail(file, at, error) {
  await file.slice(at, at + 1).arrayBuffer()
  throw new Error(`at byte ${at}: ${error.message}`)
}
