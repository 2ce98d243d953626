// A large backup: the one that S3VAULT_TEST_MANIFEST, S3VAULT_TEST_DATA and S3VAULT_TEST_KEY name (files from a
// store), or one of 256 MiB that is generated without a store. Data is always a copy, since the tests damage it.

import { execFileSync } from 'node:child_process'
import { constants, copyFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

import { ROOT } from './browser.js'

const SIZE = 256 * 1024 ** 2
const PART = 8 * 1024 ** 2

/** @typedef {{ manifest: string, data: string, key: string, parts: { start: number, end: number }[], remove: () => void }} Backup */

/** @returns {Backup} */
export function makeBackup() {
  const folder = join(ROOT, 'build/page-test')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const backup = {
    manifest: join(folder, 'manifest'),
    data: join(folder, 'data'),
    key: join(folder, 'public-key'),
    remove: () => rmSync(folder, { recursive: true }),
  }
  const { S3VAULT_TEST_MANIFEST: manifest, S3VAULT_TEST_DATA: data, S3VAULT_TEST_KEY: key } = process.env
  if (manifest && data && key) {
    copyFileSync(manifest, backup.manifest)
    copyFileSync(data, backup.data, constants.COPYFILE_FICLONE)
    copyFileSync(key, backup.key)
  } else {
    execFileSync(
      'cargo',
      ['run', '-q', '--release', '-p', 's3vault-wasm', '--example', 'fixtures', '--', 'backup', folder, `${SIZE}`, `${PART}`],
      { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] },
    )
  }
  const { extents } = JSON.parse(readFileSync(backup.manifest, 'utf8').split('\n')[0])
  let start = 0
  const parts = extents.flatMap((extent) => extent.parts).map(({ length }) => ({ start, end: (start += length) }))
  return { ...backup, parts }
}
