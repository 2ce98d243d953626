// Runs the shared cases through the package, as Node loads it.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { initSync, PartsCheck, Verification } from '../pkg/s3vault_wasm.js'
import { bytesOf, loadCases } from './cases.js'

initSync({ module: readFileSync(new URL('../pkg/s3vault_wasm_bg.wasm', import.meta.url)) })

for (const { name, verify } of loadCases()) {
  if (verify === undefined) {
    console.log(`skip ${name}: needs a store`)
    continue
  }
  // No piece ends where a part ends.
  for (const piece of [7777, 1 << 20]) {
    test(`${name}, pieces of ${piece}`, () => {
      assert.deepEqual(verdictOf(verify, piece), { part: undefined, ...verify.expect })
    })
  }
}

function verdictOf(verify, piece) {
  let v
  try {
    v = new Verification(new TextEncoder().encode(verify.object), verify.public_keys)
  } catch {
    // Not a manifest, or not a public key: bad in the terms of the cases.
    return { verdict: 'bad', part: undefined }
  }
  if (v.verdict === 'bad') {
    assert.notEqual(v.reason, '')
    assert.match(v.code, /^S3V_E_(UNTRUSTED|FORMAT)$/)
    assert.equal(v.summary, undefined)
    return { verdict: 'bad', part: undefined }
  }
  const check = new PartsCheck(v, 1, v.summary.parts)
  const bytes = bytesOf(verify)
  for (let at = 0; at < bytes.length; at += piece) check.update(bytes.subarray(at, at + piece))
  const [part] = check.finish()
  const complete = part === undefined && check.excess === 0n
  return { verdict: complete ? v.verdict : 'bad', part }
}
