// Decryption of the chosen backup with the chosen escrow file: what is needed for it, and its progress. It starts only when
// the user says so, and ends when the choice changes.

import { decrypt, protectionOf } from './decrypt.js'
import { decrypting, judgeDecrypted, locked, notDecrypted, opening } from './decrypted.js'
import { takeSecret, showSecret } from './inputs.js'
import { refusal, unreadable } from './refusal.js'
import { showDecryption, showDecryptionProgress } from './view.js'

/** Larger than any locator. */
const LARGEST_LOCATOR = 64 * 1024
const SHOW_EVERY_MS = 200

/** @type {import('./inputs.js').Chosen} */
let chosen = { keys: '' }
/** @type {import('./verify.js').Described | undefined} */
let described
/** @type {import('./decrypt-worker.js').Protection | undefined} */
let protection
/** Why the escrow file cannot be used.
 * @type {import('./decrypted.js').Decryption | undefined} */
let refused
/** Of what happens for the current choice. */
let run = new AbortController()
/** Of the reading of the current escrow file. */
let reading = new AbortController()

/** Whether what is verified is not the same.
 * @param {import('./inputs.js').Chosen} now
 * @param {import('./inputs.js').Chosen} before */
export const isOtherBackup = (now, before) =>
  now.manifest !== before.manifest || now.data !== before.data || now.keys !== before.keys

/** The choice changed: what was decrypted before is not what is chosen now.
 * @param {import('./inputs.js').Chosen} now */
export function choose(now) {
  const isOther = now.escrow !== chosen.escrow
  if (isOtherBackup(now, chosen)) described = undefined
  chosen = now
  stop()
  if (isOther) void readProtection()
}

/** The manifest is verified, and says this of its backup.
 * @param {import('./verify.js').Described | undefined} now */
export function describe(now) {
  if (now === undefined || described !== undefined) return
  described = now
  if (!isRunning()) wait()
}

/** A name for the file to save, of characters that every system accepts. */
export const nameOfBackup = () =>
  described?.summary.path.split('/').at(-1)?.replace(/[^\p{L}\p{N}._-]/gu, '_') || 'backup'

const isRunning = () => document.documentElement.dataset.decryption === 'working'

/** Ends what runs. */
function stop() {
  run.abort()
  run = new AbortController()
  wait()
}

function wait() {
  const isReady = described?.encryption === 'envelope' && chosen.data !== undefined && protection !== undefined
  showSecret(protection?.secret, isReady)
  const { encryption } = described ?? {}
  const [hasData, hasEscrow] = [chosen.data !== undefined, chosen.escrow !== undefined]
  showDecryption(refused ?? locked({ encryption, hasData, hasEscrow, secret: protection?.secret }))
}

async function readProtection() {
  reading.abort()
  reading = new AbortController()
  protection = refused = undefined
  const { signal } = reading
  const { escrow } = chosen
  wait()
  if (escrow === undefined) return
  try {
    const found = await protectionOf(escrow, signal)
    if (!signal.aborted) protection = found
  } catch (error) {
    if (!signal.aborted) refused = failure(error)
  }
  if (!signal.aborted) wait()
}

/** @param {unknown} error */
function failure(error) {
  const { message, hint } = /** @type {Error & { hint?: string }} */ (error)
  return notDecrypted(message, hint ?? 'Reload the page and try again.')
}

/** Decrypts, and saves the decrypted backup if a place for it is given.
 * @param {FileSystemFileHandle} [place] */
export async function start(place) {
  const { manifest, data, escrow, locator, keys } = chosen
  if (manifest === undefined || data === undefined || escrow === undefined || protection === undefined) return
  run.abort()
  run = new AbortController()
  const { signal } = run
  const signed = described?.signed ?? false
  const { secret: kind, memory } = protection
  showSecret(kind, false)
  showDecryption(opening(memory))
  /** @type {FileSystemWritableFileStream | undefined} */
  let file
  /** @type {Uint8Array | undefined} */
  let secret
  try {
    secret = await takeSecret(kind)
    const backup = { object: await read('the manifest', manifest), keys, locator: await readLocator(locator), secret, file: data }
    file = await place?.createWritable()
    const result = await decrypt(escrow, backup, { ...progressOf(data.size, signal), write: file && writer(file) }, signal)
    signal.throwIfAborted()
    // Only now is anything at the place: until it is closed, a browser keeps what is written elsewhere.
    if (result.hash !== undefined) await file?.close()
    else await file?.abort()
    showDecryption(judgeDecrypted(result, { signed, saved: place?.name }))
  } catch (error) {
    await file?.abort().catch(() => {})
    if (!signal.aborted) showDecryption(failure(error))
  } finally {
    // It is empty if the worker has it.
    if (secret?.length) secret.fill(0)
    if (!signal.aborted) showSecret(kind, true)
  }
}

/** @param {FileSystemWritableFileStream} file */
const writer = (file) => (/** @type {Uint8Array} */ plain) => file.write(/** @type {Uint8Array<ArrayBuffer>} */ (plain))

/** @param {number} total bytes
 * @param {AbortSignal} signal */
function progressOf(total, signal) {
  let [started, shown, done] = [0, 0, 0]
  return {
    onOpened(/** @type {number} */ segments) {
      started = performance.now()
      if (!signal.aborted) showDecryption(decrypting(segments))
    },
    onBytes(/** @type {number} */ bytes) {
      done += bytes
      const now = performance.now()
      if (signal.aborted || (now - shown < SHOW_EVERY_MS && done < total)) return
      shown = now
      showDecryptionProgress(done, total, (now - started) / 1000)
    },
  }
}

/** @param {string} what
 * @param {File} file */
async function read(what, file) {
  try {
    return new Uint8Array(await file.arrayBuffer())
  } catch (error) {
    throw unreadable(what, file, error)
  }
}

/** @param {File | undefined} file */
async function readLocator(file) {
  if (file === undefined) return undefined
  if (file.size > LARGEST_LOCATOR) throw refusal(`'${file.name}' is too large to be a locator`, 'Choose another file.')
  return read('the locator', file)
}
