// The committed vectors equal the generated ones.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

test('tests/cases/verify.json equals the output of the fixtures example', () => {
  const command = ['run', '-q', '--release', '-p', 's3vault-wasm', '--example', 'fixtures', '--', 'cases']
  const made = execFileSync('cargo', command, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  assert.equal(readFileSync(`${ROOT}/tests/cases/verify.json`, 'utf8'), made)
})
