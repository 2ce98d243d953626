// One verification, from the chosen files to the outcome.

import { initSync, Verification } from '@s3vault/verify'
import wasm from '@s3vault/verify/wasm'

import { badManifest, failed, judge, waiting, working } from './outcome.js'
import { checkParts, WORKERS } from './pool.js'
import { divide } from './runs.js'

/** The size of half a million parts. A larger file is not a manifest. */
const LARGEST_MANIFEST = 64 * 1024 * 1024

/**
 * @typedef {{ manifest?: File, data?: File, keys: string }} Chosen
 * @typedef {{ summary: import('@s3vault/verify').Summary, keyId?: string, hash: string, signature: string }} Described
 * @typedef {object} Listener
 * @property {(outcome: import('./outcome.js').Outcome, described?: Described) => void} show
 * @property {(done: number, total: number) => void} progress
 */

/** @type {Promise<WebAssembly.Module> | undefined} */
let compiled

async function load() {
  try {
    compiled ??= WebAssembly.compile(wasm)
    const module = await compiled
    initSync({ module })
    return module
  } catch (error) {
    throw refusal(
      `this browser cannot run the verifier: ${/** @type {Error} */ (error).message}`,
      'WebAssembly with SIMD is needed, and must not be disabled: Chrome or Edge 91, Firefox 89, Safari 16.4, or newer.',
    )
  }
}

/** Verifies as much as the chosen files allow, and reports to the listener.
 * @param {Chosen} chosen
 * @param {Listener} listener
 * @param {AbortSignal} signal */
export async function verify(chosen, listener, signal) {
  /** @type {Listener['show']} */
  const show = (outcome, described) => {
    if (!signal.aborted) listener.show(outcome, described)
  }
  try {
    await run(chosen, { ...listener, show }, signal)
  } catch (error) {
    const { message, hint } = /** @type {Error & { hint?: string }} */ (error)
    show(failed(message, hint ?? 'Reload the page and try again.'))
  }
}

/** @param {Chosen} chosen
 * @param {Listener} listener
 * @param {AbortSignal} signal */
async function run({ manifest, data, keys }, listener, signal) {
  const module = await load()
  const has = { manifest: manifest !== undefined, data: data !== undefined, key: keys.trim() !== '' }
  if (manifest === undefined) {
    listener.show(waiting(has))
    return
  }
  const object = await readManifest(manifest)
  signal.throwIfAborted()
  const verification = new Verification(object, keys)
  const { verdict, summary, keyId, hash } = verification
  if (verdict === 'bad' && keyId !== undefined && !has.key) {
    listener.show(waiting(has, keyId))
    return
  }
  if (summary === undefined) {
    listener.show(badManifest(verification.code, verification.reason))
    return
  }
  const trusted = verdict === 'good'
  const signature = trusted ? `valid, by key ${keyId}` : 'none'
  const described = { summary, keyId, hash, signature }
  if (data === undefined) {
    listener.show(waiting(has, keyId), described)
    return
  }
  await probe(data)
  signal.throwIfAborted()
  const lengths = Array.from(verification.partLengths(), Number)
  const runs = divide(lengths, data.size, WORKERS)
  const total = runs.at(-1)?.end ?? 0
  listener.show(working(lengths.length), described)
  let done = 0
  const onBytes = (/** @type {number} */ bytes) => {
    done += bytes
    if (!signal.aborted) listener.progress(done, total)
  }
  const bad = await checkParts({ module, object, keys, file: data }, runs, onBytes, signal).catch((error) => {
    throw signal.aborted ? error : unreadable('the stored file', data, error)
  })
  const outcome = judge({ fileSize: data.size, lengths, bad }, { trusted, keyId, keyGiven: has.key })
  listener.show(outcome, described)
}

/** A file that was removed reports the size 0; reading it fails.
 * @param {File} file */
async function probe(file) {
  try {
    await (file.size > 0 ? file.slice(0, 1) : file).arrayBuffer()
  } catch (error) {
    throw unreadable('the stored file', file, error)
  }
}

/** @param {File} file */
async function readManifest(file) {
  if (file.size > LARGEST_MANIFEST) {
    throw refusal(`'${file.name}' is too large to be a manifest`, 'Check that this is not the stored file.')
  }
  try {
    return new Uint8Array(await file.arrayBuffer())
  } catch (error) {
    throw unreadable('the manifest', file, error)
  }
}

/** @param {string} what
 * @param {File} file
 * @param {unknown} error */
function unreadable(what, file, error) {
  return refusal(
    `${what}, '${file.name}', cannot be read: ${/** @type {Error} */ (error).message}`,
    'It was changed, moved or removed since it was chosen, or it is a folder. Choose it again.',
  )
}

/** @param {string} message
 * @param {string} hint */
const refusal = (message, hint) => Object.assign(new Error(message), { hint })
