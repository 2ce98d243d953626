// Runs the example of the README, as it is, on an intact and on a damaged backup.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { bytesOf, loadCases } from './cases.js'
import { makeEnvelope } from './envelope.js'

const PACKAGE = fileURLToPath(new URL('..', import.meta.url))
const cases = new Map(loadCases().map((one) => [one.name, one.verify]))

/** Runs the example in a folder with the three files of a case. The folder is inside the package, so that Node finds
 * `@s3vault/verify` there. */
function runExample(name) {
  return run('js run', {
    manifest: cases.get(name).object, 'public-key': cases.get(name).public_keys, data: bytesOf(cases.get(name)),
  })
}

/** Runs an example in a folder with these files, which may read what it wrote with `then`. */
function run(fence, files, then = () => {}) {
  const [, example] = readFileSync(join(PACKAGE, 'README.md'), 'utf8').match(new RegExp(`^\`\`\`${fence}\n([^]*?)^\`\`\`$`, 'm'))
  const folder = mkdtempSync(join(PACKAGE, 'readme-'))
  try {
    for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), content)
    writeFileSync(join(folder, 'example.mjs'), example)
    const done = spawnSync(process.execPath, ['example.mjs'], { cwd: folder, encoding: 'utf8' })
    then(folder)
    return done
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

test('the example of decryption writes the backup, and nothing if it is damaged', () => {
  const { manifest, 'public-key': key, escrow, passphrase, data, plain } = makeEnvelope()
  const files = { manifest, 'public-key': key, escrow, passphrase, data }
  const { status, stdout, stderr } = run('js run decrypt', files, (folder) => {
    assert.ok(readFileSync(join(folder, 'plain')).equals(plain))
  })
  assert.equal(status, 0, stderr)
  assert.match(stdout, /^\d+ bytes, BLAKE3 [0-9a-f]{64}\n$/)
  data[2 ** 20 + 16] ^= 1
  const damaged = run('js run decrypt', files, (folder) => assert.ok(!existsSync(join(folder, 'plain'))))
  assert.equal(damaged.status, 1)
  assert.match(damaged.stderr, /damaged segments: 2-2; excess bytes: 0/)
})
