// An encrypted backup with its escrow files, which the example of bindings/wasm writes natively, or the command did with a
// store: then S3VAULT_TEST_ENVELOPE names the folder.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

/** @param {string} folder
 * @returns {Record<string, Buffer>} */
const filesOf = (folder) => Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]))

/** The files of the backup that is stored, by their names; without a store, those of the other. */
export function storedEnvelope() {
  const { S3VAULT_TEST_ENVELOPE: folder } = process.env
  return folder ? filesOf(folder) : makeEnvelope()
}

/** The files by their names. */
export function makeEnvelope() {
  const folder = mkdtempSync(join(tmpdir(), 's3vault-envelope-'))
  try {
    const command = ['run', '-q', '--release', '-p', 's3vault-wasm', '--example', 'fixtures', '--', 'envelope', folder]
    execFileSync('cargo', command, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] })
    return filesOf(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
