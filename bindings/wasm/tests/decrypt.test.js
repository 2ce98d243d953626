// The module that decrypts, with a backup that was encrypted natively.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, test } from 'node:test'

import { Decryption, EscrowFile, initSync } from '../pkg/s3vault_wasm_decrypt.js'
import { initSync as initVerify, Verification } from '../pkg/s3vault_wasm.js'
import { makeEnvelope } from './envelope.js'

const read = (name) => readFileSync(new URL(`../pkg/${name}`, import.meta.url))
const wasm = read('s3vault_wasm_decrypt_bg.wasm')
const { memory } = initSync({ module: wasm })

const SEGMENT = 2 ** 20
const STORED = SEGMENT + 16
/** Stored lengths of the segments. */
const LENGTHS = [STORED, STORED, STORED, STORED, STORED, 234_567 + 16]
const start = (segment) => LENGTHS.slice(0, segment - 1).reduce((sum, length) => sum + length, 0)

/** @type {Record<string, Buffer>} */
let files
before(() => { files = makeEnvelope() })

const encode = (text) => new TextEncoder().encode(text)

/** Opens the backup, by default with the identity, which is fast. */
function open({ escrow = 'escrow-for-recipient', secret = 'identity', locator, ...other } = {}) {
  const use = { manifest: files.manifest, keys: files['public-key'].toString(), ...other }
  return new Decryption(use.manifest, use.keys, locator, new EscrowFile(files[escrow]), files[secret] ?? secret)
}

/** What is returned of the stored bytes, and what is found. */
function decrypt(data, piece = 1 << 20, decryption = open()) {
  const plain = []
  for (let at = 0; at < data.length; at += piece) plain.push(decryption.update(data.subarray(at, at + piece)))
  const damage = decryption.finish().map(({ first, last, part, start, end, what }) =>
    [what, first, last, part, Number(start), Number(end)])
  const { isComplete, excess, hash } = decryption
  decryption.free()
  return { plain: Buffer.concat(plain), damage, isComplete, excess, hash }
}

/** The error, which must say what to do and must not show a secret. */
function refusal(action) {
  try {
    action()
  } catch (error) {
    assert.ok(error instanceof Error)
    assert.notEqual(error.hint, '')
    for (const secret of ['correct horse', 'AGE-SECRET-KEY-1EGT', 'AGE-SECRET-KEY-1QQQ']) assert.ok(!`${error.message} ${error.hint}`.includes(secret))
    return error
  }
  return assert.fail('nothing was thrown')
}

function refused(name, message, action) {
  const error = refusal(action)
  assert.equal(error.name, name, error.message)
  assert.match(error.message, message)
  return error
}

test('the module imports only what wasm-bindgen supplies', () => {
  for (const { module: from, name } of WebAssembly.Module.imports(new WebAssembly.Module(wasm))) {
    assert.equal(from, './s3vault_wasm_decrypt_bg.js')
    assert.match(name, /^__wb(g|indgen)_/)
  }
})

test('the module that verifies has nothing of escrow files and encryption, and neither is large', () => {
  const verify = read('s3vault_wasm_bg.wasm')
  for (const text of ['age-encryption.org/v1', 'age-secret-key-', 's3vault/1 segment']) {
    assert.ok(!verify.includes(text), text)
    assert.ok(wasm.includes(text), text)
  }
  const limits = [['verifies', verify, 360], ['decrypts', wasm, 500]]
  for (const [what, { length }, limit] of limits) {
    console.log(`the module that ${what} has ${length} bytes`)
    assert.ok(length <= limit * 1024, `the module that ${what} has ${length} bytes`)
  }
})

for (const piece of [7777, STORED, 3 << 20, 1 << 30]) {
  test(`a backup is decrypted, in pieces of ${piece}`, () => {
    const decryption = open()
    assert.equal(decryption.size, BigInt(files.plain.length))
    assert.equal(decryption.segments, 6)
    const found = decrypt(files.data, piece, decryption)
    assert.deepEqual(found.damage, [])
    assert.ok(found.plain.equals(files.plain))
    assert.ok(found.isComplete)
    // Computed by the native library.
    assert.equal(found.hash, files['plain-blake3'].toString())
  })
}

test('a passphrase opens the escrow file, and how much memory that takes is known before', () => {
  const escrow = new EscrowFile(files.escrow)
  assert.equal(escrow.secret, 'passphrase')
  assert.equal(escrow.memory, 256n << 20n)
  assert.equal(new EscrowFile(files['escrow-for-recipient']).secret, 'identity')
  assert.ok(decrypt(files.data, 1 << 20, open({ escrow: 'escrow', secret: 'passphrase' })).isComplete)
})

test('a wrong passphrase or identity is told, and is not shown', () => {
  refused('S3V_E_KEYRING', /the passphrase is wrong/, () => open({ escrow: 'escrow', secret: encode('correct horse ') }))
  refused('S3V_E_KEYRING', /an identity was given/, () => open({ escrow: 'escrow' }))
  refused('S3V_E_KEYRING', /are not age identities/, () => open({ secret: 'passphrase' }))
  const other = encode('AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SWR8ZHC')
  refused('S3V_E_KEYRING', /identit/, () => open({ secret: other }))
})

test('a file that is not an escrow file, or that needs too much memory, is refused at once', () => {
  refused('S3V_E_KEYRING', /not an age file/, () => new EscrowFile(files.data))
  refused('S3V_E_KEYRING', /not an age file/, () => new EscrowFile(new Uint8Array()))
  const file = Buffer.from(files.escrow.toString().split('\n').slice(1, -2).join(''), 'base64').toString('latin1')
  for (const work of [21, 22, 40]) {
    const more = Buffer.from(file.replace(/(scrypt \S+) 18/, `$1 ${work}`), 'latin1')
    const { hint } = refused('S3V_E_KEYRING', new RegExp(`2\\^${work}, and at most 2\\^20`), () => new EscrowFile(more))
    assert.match(hint, /age tool/)
  }
})

test('the escrow file of another vault is told from one without the key', () => {
  refused('S3V_E_WRONG_KEY', /is of vault f{32}/, () => open({ escrow: 'escrow-of-other-vault' }))
  const { hint } = refused('S3V_E_WRONG_KEY', /which the escrow file does not have/, () => open({ escrow: 'escrow-rotated' }))
  assert.match(hint, /_s3vault\/1\/loc\/vm-7f3a\/disk\.img\/[0-9A-Z]{26}\./)
})

test('after a rotation the locator has the key', () => {
  assert.ok(decrypt(files.data, 1 << 20, open({ escrow: 'escrow-rotated', locator: files.locator })).isComplete)
  assert.ok(decrypt(files.data, 1 << 20, open({ locator: files.locator })).isComplete)
  const changed = Buffer.from(files.locator)
  changed[changed.indexOf('"t0":') + 5] ^= 1
  refused('S3V_E_UNTRUSTED', /^locator: /, () => open({ locator: changed }))
})

test('a manifest of another signer, or one that is not encrypted, is refused before the passphrase is tried', () => {
  refused('S3V_E_UNTRUSTED', /not trusted/, () => open({ escrow: 'escrow', secret: encode('wrong'), keys: '' }))
  const { encryption, wrapped, ...plain } = JSON.parse(files.manifest.toString().split('\n')[0])
  assert.equal(encryption, 'envelope')
  plain.key = plain.key.replace(`.${plain.size}.`, `.${files.data.length}.`)
  plain.size = files.data.length
  for (const extent of plain.extents) delete extent.salts
  const manifest = encode(`${JSON.stringify(plain)}\n`)
  refused('S3V_E_INVALID_ARGUMENT', /nothing to decrypt/, () => open({ escrow: 'escrow', secret: encode('wrong'), manifest }))
})

test('each byte that is flipped is found, its segment is named, and nothing of it or after it is returned', () => {
  for (let segment = 1; segment <= 6; segment++) {
    const [from, length] = [start(segment), LENGTHS[segment - 1]]
    // Its first byte, its last one before the tag, and its tag.
    for (const at of [from, from + length - 17, from + length - 1]) {
      const data = Buffer.from(files.data)
      data[at] ^= 1
      const found = decrypt(data)
      const part = [1, 1, 2, 3, 4, 4][segment - 1]
      assert.deepEqual(found.damage, [['damaged', segment, segment, part, from, from + length]], `byte ${at}`)
      assert.ok(found.plain.equals(files.plain.subarray(0, (segment - 1) * SEGMENT)), `byte ${at}`)
      assert.deepEqual([found.isComplete, found.hash], [false, undefined])
    }
  }
})

test('segments that are swapped, repeated or from another part are found', () => {
  const parts = LENGTHS.map((length, n) => files.data.subarray(start(n + 1), start(n + 1) + length))
  const order = (...numbers) => decrypt(Buffer.concat(numbers.map((n) => parts[n - 1])))
  const numbers = ({ damage }) => damage.map(([what, first, last]) => `${what} ${first}-${last}`)
  assert.deepEqual(numbers(order(2, 1, 3, 4, 5, 6)), ['damaged 1-2'])
  assert.deepEqual(numbers(order(1, 3, 2, 4, 5, 6)), ['damaged 2-3'])
  assert.deepEqual(numbers(order(1, 1, 3, 4, 5, 6)), ['damaged 2-2'])
  assert.deepEqual(numbers(order(1, 2, 3, 5, 4, 6)), ['damaged 4-5'])
  assert.equal(order(2, 1, 3, 4, 5, 6).plain.length, 0)
  // One is left out: those after it are not in their places, and the file is too short.
  assert.deepEqual(numbers(order(1, 3, 4, 5, 6)), ['damaged 2-4', 'truncated 5-5', 'missing 6-6'])
})

test('a file that was cut, or is longer, is not complete', () => {
  const { length } = files.data
  const cut = decrypt(files.data.subarray(0, start(4) + 5))
  assert.deepEqual(cut.damage, [
    ['truncated', 4, 4, 3, start(4), start(5)],
    ['missing', 5, 6, 4, start(5), length],
  ])
  assert.ok(cut.plain.equals(files.plain.subarray(0, 3 * SEGMENT)))
  // At the end of a segment, where only the last flag tells.
  const between = decrypt(files.data.subarray(0, start(6)))
  assert.deepEqual(between.damage, [['missing', 6, 6, 4, start(6), length]])
  assert.deepEqual(decrypt(new Uint8Array()).damage, [['missing', 1, 6, 1, 0, length]])
  const long = decrypt(Buffer.concat([files.data, encode('four')]))
  assert.deepEqual([long.damage, long.excess, long.isComplete, long.hash], [[], 4n, false, undefined])
})

test('nothing is complete before its end', () => {
  const decryption = open()
  decryption.update(files.data)
  assert.deepEqual([decryption.isComplete, decryption.hash], [false, undefined])
  decryption.finish()
  assert.ok(decryption.isComplete)
  decryption.free()
})

test('no secret is left in the memory of the module', () => {
  const escrow = new EscrowFile(files.escrow)
  const secret = Buffer.from(files.passphrase)
  const decryption = new Decryption(files.manifest, files['public-key'].toString(), undefined, escrow, secret)
  const kek = Buffer.alloc(32, 0x61)
  const has = (bytes) => Buffer.from(memory.buffer).includes(bytes)
  assert.ok(has(Buffer.alloc(32, 0x63)), 'the data key is there while it is needed, so the search finds keys')
  decryption.update(files.data.subarray(0, 5000))
  decryption.free()
  escrow.free()
  const keys = { passphrase: secret, kek, 'kek in base64': kek.toString('base64'), 'next kek': Buffer.alloc(32, 0x62),
    'data key': Buffer.alloc(32, 0x63), seed: Buffer.alloc(32, 0x51), 'seed in base64': Buffer.alloc(32, 0x51).toString('base64') }
  assert.deepEqual(Object.keys(keys).filter((name) => has(keys[name])), [])
})

test('the module that verifies agrees about the backup', () => {
  initVerify({ module: read('s3vault_wasm_bg.wasm') })
  const v = new Verification(files.manifest, files['public-key'].toString())
  assert.equal(v.verdict, 'good')
  assert.equal(v.summary.size, BigInt(files.plain.length))
})
