// The package itself: its imports, its results, its errors.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { initSync, PartsCheck, Verification } from '../pkg/s3vault_wasm.js'
import { bytesOf, loadCases } from './cases.js'

const wasm = readFileSync(new URL('../pkg/s3vault_wasm_bg.wasm', import.meta.url))
initSync({ module: wasm })

const cases = new Map(loadCases().map((one) => [one.name, one.verify]))
const encode = (text) => new TextEncoder().encode(text)

function open(name) {
  const { object, public_keys: keys } = cases.get(name)
  return new Verification(encode(object), keys)
}

function refusal(action) {
  try {
    action()
  } catch (error) {
    assert.ok(error instanceof Error)
    assert.notEqual(error.message, '')
    assert.notEqual(error.hint, '')
    return error.name
  }
  return assert.fail('nothing was thrown')
}

test('the module imports only what wasm-bindgen supplies', () => {
  const module = new WebAssembly.Module(wasm)
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    assert.equal(from, './s3vault_wasm_bg.js')
    assert.match(name, /^__wb(g|indgen)_/)
  }
})

test('SIMD is enabled: it doubles the speed of BLAKE3', () => {
  // Counts the opcode of i32x4.add: vector code has many, other code a few by chance.
  const adds = wasm.toString('latin1').split('\xfd\xae\x01').length - 1
  assert.ok(adds > 100, `${adds} found`)
})

test('the summary equals the manifest', () => {
  const v = open('verify: good incremental')
  const { summary } = v
  const manifest = JSON.parse(cases.get('verify: good incremental').object.split('\n')[0])
  for (const field of ['container', 'path', 'vid', 'kind', 'parent']) assert.equal(summary[field], manifest[field])
  assert.equal(summary.recorded, BigInt(manifest.recorded))
  assert.equal(summary.size, 2048n)
  assert.equal(summary.extents, 1)
  assert.equal(summary.parts, 2)
  assert.deepEqual(v.partLengths(), new BigUint64Array([1024n, 1024n]))
  assert.equal(v.keyId, cases.get('verify: good incremental').public_keys.split(' ')[1])
  assert.match(v.hash, /^[0-9a-f]{64}$/)
  assert.notEqual(v.hash, open('verify: good three parts').hash)
  assert.equal(open('verify: good three parts').summary.parent, undefined)
})

test('a signature is not trusted without a public key, and names its key', () => {
  const { object, public_keys: keys } = cases.get('verify: good three parts')
  const v = new Verification(encode(object), '')
  assert.equal(v.verdict, 'bad')
  assert.equal(v.code, 'S3V_E_UNTRUSTED')
  assert.equal(v.keyId, keys.split(' ')[1])
  assert.equal(open('verify: unsigned').keyId, undefined)
})

test('an object that is not a manifest is an error, not a verdict', () => {
  for (const text of ['', '\n', 'x', 'x\n', '{}\n', '[1]\n', '{"format":1}\n', '{"format":1,"key":"_s3vault/1/loc/a/b/c"}\n', '{"key":"a/b/cat"}\n']) {
    assert.equal(refusal(() => new Verification(encode(text), '')), 'S3V_E_FORMAT', text)
  }
  assert.equal(refusal(() => new Verification(new Uint8Array([0xff, 0xfe, 10]), '')), 'S3V_E_FORMAT')
  assert.equal(refusal(() => new Verification(encode('{}\n'), 'no key')), 'S3V_E_INVALID_OPTION')
})

test('the manifest of a deletion has no data to verify', () => {
  const object = cases.get('verify: good empty').object.split('\n')[0]
  const deletion = object.replace('.full.0.', '.del.0.').replace('"kind":"full"', '"kind":"del"') + '\n'
  assert.equal(refusal(() => new Verification(encode(deletion), '')), 'S3V_E_FORMAT')
})

test('parts can be checked in several runs', () => {
  const v = open('verify: flipped first byte of part 2')
  const bytes = bytesOf(cases.get('verify: flipped first byte of part 2'))
  const run = (first, count, from, to) => {
    const check = new PartsCheck(v, first, count)
    check.update(bytes.subarray(from, to))
    return [...check.finish()]
  }
  assert.deepEqual(run(1, 1, 0, 16384), [])
  assert.deepEqual(run(2, 2, 16384), [2])
  assert.deepEqual(run(3, 1, 32768), [])
  assert.deepEqual(run(1, 3, 0, 0), [1, 2, 3])
  assert.deepEqual(run(4, 0, 0, 0), [])
})

test('bytes after the last part are counted', () => {
  const check = new PartsCheck(open('verify: good one part'), 1, 1)
  check.update(bytesOf(cases.get('verify: good one part')))
  check.update(encode('four'))
  assert.deepEqual([...check.finish()], [])
  assert.equal(check.excess, 4n)
})

test('parts that do not exist are refused', () => {
  const v = open('verify: good three parts')
  for (const [first, count] of [[0, 1], [1, 4], [4, 1], [3, 2], [0xffffffff, 0xffffffff]]) {
    assert.equal(refusal(() => new PartsCheck(v, first, count)), 'S3V_E_INVALID_ARGUMENT', `${first} ${count}`)
  }
  assert.equal(refusal(() => new PartsCheck(open('verify: other key'), 1, 1)), 'S3V_E_INVALID_ARGUMENT')
})
