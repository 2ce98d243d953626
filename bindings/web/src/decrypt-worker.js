// A worker with the module that opens escrow files and decrypts. It reads how an escrow file is protected or, with its
// secret, decrypts a backup. When it ends, its memory is gone, with the keys in it.

import { Decryption, EscrowFile, initSync } from '@s3vault/verify/decrypt'

import { readRange } from './slices.js'

/**
 * @typedef {{ module: WebAssembly.Module, escrow: Uint8Array, backup?: Backup }} Start
 * @typedef {{ object: Uint8Array, keys: string, locator?: Uint8Array, secret: Uint8Array, file: File, saves: boolean }}
 *   Backup `saves`: the decrypted bytes are reported, and each report is answered with 'written'
 * @typedef {{ secret: 'passphrase' | 'identity', memory: number }} Protection `memory` in bytes
 * @typedef {{ first: number, last: number, part: number, start: number, end: number, what: string }} Damage
 * @typedef {{ damage: Damage[], excess: number, size: number, segments: number, hash?: string }} Decrypted `hash` only if
 *   all of the backup was decrypted, and nothing else was there
 * @typedef {{ protection: Protection } | { segments: number } | { bytes: number } | { plain: Uint8Array }
 *   | { decrypted: Decrypted } | { failed: { name: string, message: string, hint?: string } }} Report
 */

/** @param {Report} message
 * @param {Transferable[]} [transfer] */
const report = (message, transfer = []) => self.postMessage(message, { transfer })

/** @type {() => void} */
let written = () => {}

self.onmessage = async (/** @type {MessageEvent<Start | 'written'>} */ { data }) => {
  if (data === 'written') {
    written()
    return
  }
  try {
    initSync({ module: data.module })
    const escrow = new EscrowFile(data.escrow)
    if (data.backup === undefined) report({ protection: { secret: escrow.secret, memory: Number(escrow.memory) } })
    else report({ decrypted: await decrypt(escrow, data.backup) })
  } catch (error) {
    const { name, message, hint } = /** @type {Error & { hint?: string }} */ (error)
    report({ failed: { name, message, hint } })
  }
}

/** @param {EscrowFile} escrow
 * @param {Backup} backup
 * @returns {Promise<Decrypted>} */
async function decrypt(escrow, { object, keys, locator, secret, file, saves }) {
  const decryption = unlock(() => new Decryption(object, keys, locator, escrow, secret), secret)
  const { segments } = decryption
  report({ segments })
  const use = async (/** @type {Uint8Array} */ piece) => {
    const plain = decryption.update(piece)
    if (!saves || plain.length === 0) return
    const done = new Promise((/** @type {(value: void) => void} */ resolve) => { written = resolve })
    report({ plain }, [/** @type {ArrayBuffer} */ (plain.buffer)])
    await done
  }
  await readRange(file, 0, file.size, use, (bytes) => report({ bytes }))
  const damage = decryption.finish().map(({ first, last, part, start, end, what }) =>
    ({ first, last, part, start: Number(start), end: Number(end), what }))
  const { excess, size, hash } = decryption
  decryption.free()
  return { damage, excess: Number(excess), size: Number(size), segments, hash }
}

/** Opens the escrow file, and overwrites the secret, whatever happens.
 * @param {() => Decryption} open
 * @param {Uint8Array} secret */
function unlock(open, secret) {
  try {
    return open()
  } finally {
    secret.fill(0)
  }
}
