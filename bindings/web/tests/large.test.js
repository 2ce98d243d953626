// A large backup (256 MiB in `make test`, 1 GiB in `make deep`), intact and with every kind of damage.

import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync } from 'node:crypto'
import { appendFileSync, closeSync, ftruncateSync, openSync, readFileSync, readSync, truncateSync, writeSync } from 'node:fs'
import { after, before, test } from 'node:test'

import { bytes } from '../src/words.js'
import { makeBackup } from './backup.js'
import { launch, withPage } from './browser.js'

/** @type {import('playwright-core').Browser} */
let browser
/** @type {import('./backup.js').Backup} */
let backup

before(async () => {
  backup = makeBackup()
  browser = await launch()
})
after(async () => {
  await browser.close()
  backup.remove()
})

const size = () => backup.parts.at(-1).end

function flip(offset) {
  const file = openSync(backup.data, 'r+')
  const byte = Buffer.alloc(1)
  readSync(file, byte, 0, 1, offset)
  byte[0] ^= 1
  writeSync(file, byte, 0, 1, offset)
  closeSync(file)
}

/** Verifies the backup in its current state. */
const verify = (check, options) =>
  withPage(browser, async (page) => {
    await page.choose(backup)
    const verdict = await page.final()
    await check(page, verdict)
  }, options)

test('intact: good', () => withPage(browser, async (page) => {
  assert.ok(size() >= 256 * 1024 ** 2, 'the backup has at least 256 MiB')
  await page.choose(backup)
  await page.until('working')
  await page.page.locator('#speed', { hasText: 'MB/s' }).waitFor()
  await page.screenshot('working')
  const started = Date.now()
  assert.equal(await page.final(), 'good', await page.text())
  console.log(`${size()} bytes in a little more than ${(Date.now() - started) / 1000} s`)
  assert.deepEqual(await page.findings(), [])
  assert.match(await page.text(), /signed by key [0-9a-f]{16}/)
  assert.ok((await page.summary()).includes(bytes(size())))
  await page.screenshot('good')
}))

for (const where of ['first', 'middle', 'last']) {
  test(`a flipped byte in the ${where} part: bad, and the part is named`, async () => {
    const { length } = backup.parts
    const n = { first: 1, middle: Math.ceil(length / 2), last: length }[where]
    const { start, end } = backup.parts[n - 1]
    const offset = { first: start, middle: Math.floor((start + end) / 2), last: end - 1 }[where]
    flip(offset)
    try {
      await verify(async (page, verdict) => {
        assert.equal(verdict, 'bad')
        assert.deepEqual(await page.findings(), [n])
        assert.equal(await page.title(), `Part ${n} is damaged`)
        const range = `${start.toLocaleString('en')} to ${(end - 1).toLocaleString('en')}`
        assert.ok((await page.text()).includes(range))
        if (where === 'middle') await page.screenshot('bad-flipped-byte')
      })
    } finally {
      flip(offset)
    }
  })
}

test('truncated: bad, and the first incomplete part is named', async () => {
  const n = Math.floor(backup.parts.length * 0.7)
  const { start, end } = backup.parts[n - 1]
  const cut = Math.floor((start + end) / 2)
  const rest = readFileSync(backup.data).subarray(cut)
  truncateSync(backup.data, cut)
  try {
    await verify(async (page, verdict) => {
      assert.equal(verdict, 'bad')
      assert.equal(await page.title(), `The file is truncated: part ${n} is incomplete`)
      assert.deepEqual(await page.findings(), [n, n + 1])
      await page.screenshot('bad-cut')
    })
  } finally {
    appendFileSync(backup.data, rest)
  }
})

test('appended bytes: bad, and no part is blamed', async () => {
  appendFileSync(backup.data, 'more')
  try {
    await verify(async (page, verdict) => {
      assert.equal(verdict, 'bad')
      assert.equal(await page.title(), 'The file is too long')
      assert.deepEqual(await page.findings(), [0])
      await page.screenshot('bad-appended')
    })
  } finally {
    truncateSync(backup.data, size())
  }
})

test('without its signature: unsigned', () => withPage(browser, async (page) => {
  const [json] = readFileSync(backup.manifest, 'utf8').split('\n')
  await page.choose({ manifest: Buffer.from(`${json}\n`), data: backup.data })
  assert.equal(await page.final(), 'unsigned')
  assert.match(await page.text(), /no signature/)
  await page.screenshot('unsigned')
}))

test('signed by another key: bad, and the file is not read', () => withPage(browser, async (page) => {
  await page.choose({ manifest: backup.manifest, data: backup.data, key: Buffer.from(otherKey()) })
  assert.equal(await page.final(), 'bad')
  assert.equal(await page.title(), 'The signature is not valid')
  assert.match(await page.text(), /not trusted/)
  await page.screenshot('bad-other-key')
}))

// The last test, since it destroys the data.
test('a swapped file of the same size: bad, and its first part is named', async () => {
  const file = openSync(backup.data, 'r+')
  ftruncateSync(file, 0)
  ftruncateSync(file, size())
  closeSync(file)
  await verify(async (page, verdict) => {
    assert.equal(verdict, 'bad')
    assert.equal(await page.title(), 'This is not the file of this backup')
    assert.deepEqual(await page.findings(), [1])
    assert.match(await page.text(), /the first that does not is part 1/)
    await page.screenshot('bad-swapped')
  }, { dark: true })
})

function otherKey() {
  const { publicKey } = generateKeyPairSync('ed25519')
  // The raw key is the end of its DER encoding (RFC 8410).
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
  const id = createHash('sha256').update(raw).digest('hex').slice(0, 16)
  return `ed25519 ${id} ${raw.toString('base64')}\n`
}
