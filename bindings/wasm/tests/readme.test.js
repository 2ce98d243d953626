// Runs the example of the README, as it is, on an intact and on a damaged backup.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { bytesOf, loadCases } from './cases.js'

const PACKAGE = fileURLToPath(new URL('..', import.meta.url))
const cases = new Map(loadCases().map((one) => [one.name, one.verify]))

/** Runs the example in a folder with the three files of a case. The folder is inside the package, so that Node finds
 * `@s3vault/verify` there. */
function runExample(name) {
  const [, example] = readFileSync(join(PACKAGE, 'README.md'), 'utf8').match(/^```js run\n([^]*?)^```$/m)
  const folder = mkdtempSync(join(PACKAGE, 'readme-'))
  try {
    writeFileSync(join(folder, 'manifest'), cases.get(name).object)
    writeFileSync(join(folder, 'public-key'), cases.get(name).public_keys)
    writeFileSync(join(folder, 'data'), bytesOf(cases.get(name)))
    writeFileSync(join(folder, 'example.mjs'), example)
    return spawnSync(process.execPath, ['example.mjs'], { cwd: folder, encoding: 'utf8' })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('the example accepts an intact backup', () => {
  const { status, stdout, stderr } = runExample('verify: good three parts')
  assert.equal(status, 0, stderr)
  assert.match(stdout, /^disk\.img of vm-7f3a is complete and signed by [0-9a-f]{16}\n$/)
})

test('the example refuses a damaged backup, and names the part', () => {
  const { status, stderr } = runExample('verify: flipped first byte of part 2')
  assert.equal(status, 1)
  assert.match(stderr, /Error: damaged parts: 2; excess bytes: 0/)
})

test('the example refuses a manifest that another key signed', () => {
  assert.equal(runExample('verify: other key').status, 1)
})
