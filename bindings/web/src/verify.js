// One verification, from the chosen files to the outcome.

import { initSync, Verification } from '@s3vault/verify'
import wasm from '@s3vault/verify/wasm'

import { badManifest, failed, judge, waiting, working } from './outcome.js'
import { checkParts, WORKERS } from './pool.js'
import { refusal, unreadable } from './refusal.js'
import { divide } from './runs.js'

/** The size of half a million parts. A larger file is not a manifest. */
const LARGEST_MANIFEST = 64 * 1024 * 1024

/**
 * @typedef {object} Described
 * @property {import('@s3vault/verify').Summary} summary
 * @property {string} hash
 * @property {string} signature
 * @property {boolean} signed by a trusted key
 * @property {string} encryption as the setting of that name
 *
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
 * @param {import('./inputs.js').Chosen} chosen
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

/** @param {import('./inputs.js').Chosen} chosen
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
  const described = { summary, hash, signature, signed: trusted, encryption: encryptionOf(object) }
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

/** How a backup is encrypted, according to its manifest, which was verified. The module does not tell: it would be larger for
 * it.
 * @param {Uint8Array} object
 * @returns {string} */
const encryptionOf = (object) =>
  JSON.parse(new TextDecoder().decode(object.subarray(0, object.indexOf(10)))).encryption ?? 'none'

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
