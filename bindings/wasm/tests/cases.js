// Reads the cases of tests/cases/*.json; those with `verify` need no store.

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'

const FOLDER = process.env.S3VAULT_CASES ?? fileURLToPath(new URL('../../../tests/cases', import.meta.url))

/**
 * @typedef {{ size: number, seed: number } | { text: string }} Data
 * @typedef {{ flip: number } | { cut: number } | { append: string }} Damage
 * @typedef {{ verdict: string, part?: number }} Expected
 * @typedef {{ object: string, public_keys: string, data: Data, damage?: Damage, expect: Expected }} Verify
 * @typedef {{ name: string, verify?: Verify }} Case
 */

/** Reads all cases; those without `verify` need a store. Throws if there is nothing to run.
 * @returns {Case[]} */
export function loadCases() {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.json')).sort()
  const cases = files.flatMap((name) => JSON.parse(readFileSync(join(FOLDER, name), 'utf8')).cases)
  if (!cases.some((one) => one.verify)) throw new Error(`no case in ${FOLDER} can be run without a store`)
  return cases
}

/** The data of a case, damaged as the case says.
 * @param {Verify} verify
 * @returns {Uint8Array} */
export function bytesOf({ data, damage }) {
  const bytes = 'text' in data ? new TextEncoder().encode(data.text) : random(data.size, data.seed)
  if (damage === undefined) return bytes
  if ('flip' in damage) {
    bytes[damage.flip] ^= 1
    return bytes
  }
  if ('cut' in damage) return bytes.slice(0, damage.cut)
  return new Uint8Array([...bytes, ...new TextEncoder().encode(damage.append)])
}

/** xorshift64*, its words little-endian.
 * @param {number} size
 * @param {number} seed */
function random(size, seed) {
  const words = new BigUint64Array(Math.ceil(size / 8))
  const view = new DataView(words.buffer)
  const cut = (/** @type {bigint} */ n) => BigInt.asUintN(64, n)
  let x = cut(BigInt(seed) * 0x9e3779b97f4a7c15n + 1n) || 1n
  for (let n = 0; n < words.length; n++) {
    x ^= x >> 12n
    x = cut(x ^ (x << 25n))
    x ^= x >> 27n
    view.setBigUint64(8 * n, cut(x * 0x2545f4914f6cdd1dn), true)
  }
  return new Uint8Array(words.buffer, 0, size)
}
