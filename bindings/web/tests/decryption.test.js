// Encrypted backups: one that the command stored, and one that was made without a store.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { makeEnvelope, storedEnvelope } from '../../wasm/tests/envelope.js'
import { bytesOf, loadCases } from '../../wasm/tests/cases.js'
import { launch, withPage } from './browser.js'

/** @type {import('playwright-core').Browser} */
let browser
/** @type {Record<string, Buffer>} */
let stored
/** @type {Record<string, Buffer>} */
let made
before(async () => {
  made = makeEnvelope()
  stored = storedEnvelope()
  browser = await launch()
})
after(() => browser.close())

const STORED_SEGMENT = 2 ** 20 + 16

/** Notes which modules are compiled, and which workers start. */
const COUNT = `
  globalThis.compiled = []
  globalThis.workers = 0
  const { compile } = WebAssembly
  WebAssembly.compile = (bytes) => { compiled.push(bytes.length); return compile(bytes) }
  globalThis.Worker = class extends Worker { constructor(...all) { super(...all); workers++ } }
`
/** A place to save to, which notes what happens to it. */
const PLACE = `
  globalThis.saved = { chunks: [], end: 'none' }
  globalThis.showSaveFilePicker = async ({ suggestedName }) => ({
    name: suggestedName,
    createWritable: async () => ({
      write: async (chunk) => { saved.chunks.push(chunk.slice()) },
      close: async () => { saved.end = 'closed' },
      abort: async () => { saved.end = 'aborted' },
    }),
  })
`

const choose = (page, files, data = files.data) =>
  page.choose({ manifest: files.manifest, data, key: files['public-key'] })

/** The backup verified, and an escrow file chosen. */
const withEscrow = (use, { files = () => stored, escrow = 'escrow', locator, damage = (data) => data, before: script } = {}) => () =>
  withPage(browser, async (page) => {
    const now = files()
    await choose(page, now, damage(Buffer.from(now.data)))
    await page.final()
    await page.chooseEscrow({ escrow: now[escrow], locator: now[locator] })
    await use(page, now)
  }, { before: script })

test('without an escrow file the stored bytes are verified, and the module that decrypts is not loaded', () => withPage(browser, async (page) => {
  await choose(page, stored)
  assert.equal(await page.final(), 'good')
  assert.match(await page.decryption(), /is encrypted, and was not decrypted[^]*choose the escrow file/)
  assert.match(await page.summary(), /by s3vault \(envelope\)/)
  assert.equal(await page.page.locator('#decrypt').isEnabled(), false)
  const loaded = () => page.page.evaluate(() => ({ compiled: globalThis.compiled.length, workers: globalThis.workers }))
  assert.deepEqual(await loaded(), { compiled: 1, workers: 2 })
  await page.screenshot('encrypted')
  await page.chooseEscrow({ escrow: stored.escrow })
  await page.page.locator('#passphrase').waitFor()
  assert.deepEqual(await loaded(), { compiled: 2, workers: 3 })
  assert.equal(await page.verdict(), 'good', 'the verification was not restarted')
}, { before: COUNT }))

test('the right passphrase decrypts all of it, and is gone from the page', withEscrow(async (page, files) => {
  await page.page.fill('#passphrase', files.passphrase.toString())
  await page.page.press('#passphrase', 'Enter')
  await page.page.locator('#decryption-title', { hasText: 'Opening the escrow file' }).waitFor()
  assert.match(await page.decryption(), /some seconds, and 268,435,456 bytes \(256 MiB\) of memory/)
  assert.equal(await page.page.inputValue('#passphrase'), '')
  await page.screenshot('decryption-opening')
  assert.equal(await page.untilDecryption('good', 'bad', 'error'), 'good', await page.decryption())
  const text = await page.decryption()
  assert.ok(text.includes(`The decrypted backup has ${files.plain.length.toLocaleString('en')} bytes`), text)
  assert.match(text, /Each of the \d+ segments is authentic[^]*BLAKE3 of the decrypted backup: [0-9a-f]{64}/)
  assert.ok(!(await page.page.content()).includes(files.passphrase.toString()))
  assert.equal(await page.verdict(), 'good')
  await page.noWorkers()
  await page.screenshot('decryption-good')
}))

test('an identity file opens an escrow file that is for a recipient, and the hash is that of the plaintext', withEscrow(async (page, files) => {
  assert.equal(await page.decrypt(files), 'good')
  assert.ok((await page.decryption()).includes(files['plain-blake3'].toString()))
  assert.equal(await page.page.locator('#identity').evaluate((input) => input.files.length), 0)
}, { files: () => made, escrow: 'escrow-for-recipient' }))

test('a wrong passphrase is told, and can be corrected', withEscrow(async (page, files) => {
  const wrong = new TextEncoder().encode('a wrong passphrase')
  assert.equal(await page.decrypt({ ...files, passphrase: wrong }), 'error')
  assert.match(await page.decryption(), /the passphrase is wrong/)
  assert.ok(!(await page.page.content()).includes('a wrong passphrase'))
  await page.screenshot('decryption-wrong-passphrase')
  await page.page.fill('#passphrase', files.passphrase.toString())
  await page.page.click('#decrypt')
  assert.equal(await page.untilDecryption('good'), 'good')
}))

test('the escrow file of another vault is told', withEscrow(async (page, files) => {
  assert.equal(await page.decrypt(files), 'error')
  assert.match(await page.decryption(), /escrow file is of vault [0-9a-f]{32}, and the backup is of vault [0-9a-f]{32}/)
  await page.noWorkers()
}, { escrow: 'escrow-of-other-vault' }))

test('after a rotation the page says which locator is needed, and uses it', withEscrow(async (page, files) => {
  assert.equal(await page.decrypt(files), 'error')
  assert.match(await page.decryption(), /which the escrow file does not have[^]*_s3vault\/1\/loc\/[^ ]+\/[0-9A-Z]{26}\./)
  await page.screenshot('decryption-locator-needed')
  await page.page.setInputFiles('#locator', { name: 'locator', mimeType: 'application/json', buffer: files.locator })
  await page.untilDecryption('idle')
  assert.equal(await page.decrypt(files), 'good')
}, { escrow: 'escrow-rotated' }))

test('the right locator beside an escrow file with all keys is fine, and a changed one is refused', withEscrow(async (page, files) => {
  assert.equal(await page.decrypt(files), 'good')
  const changed = Buffer.from(files.locator)
  changed[changed.indexOf('"t0":') + 5] ^= 1
  await page.chooseEscrow({ escrow: files.escrow, locator: changed })
  await page.untilDecryption('idle')
  assert.equal(await page.decrypt(files), 'error')
  assert.match(await page.decryption(), /Locator: the signature/)
}, { locator: 'locator' }))

const flip = (at) => (data) => { data[at] ^= 1; return data }
const damages = [
  ['a flipped byte in segment 2', flip(STORED_SEGMENT), [2], /Segment 2 cannot be decrypted/],
  ['a flipped byte in the tag of segment 3', flip(3 * STORED_SEGMENT - 1), [3], /Segment 3 cannot be decrypted/],
  ['two segments that are swapped', (data) => Buffer.concat([
    data.subarray(STORED_SEGMENT, 2 * STORED_SEGMENT), data.subarray(0, STORED_SEGMENT), data.subarray(2 * STORED_SEGMENT),
  ]), [1], /2 segments cannot be decrypted/],
  ['a file that was cut', (data) => data.subarray(0, 4 * STORED_SEGMENT + 5), [5, 6], /truncated: segment 5 is incomplete/],
  ['a file that is longer', (data) => Buffer.concat([data, Buffer.from('x')]), [0], /too long/],
]
for (const [name, damage, found, title] of damages) {
  test(`${name}: the segments are named, and nothing is saved`, withEscrow(async (page, files) => {
    assert.equal(await page.verdict(), 'bad')
    assert.equal(await page.decrypt(files, 'save'), 'bad')
    assert.deepEqual(await page.damagedSegments(), found)
    assert.match(await page.decryption(), title)
    assert.match(await page.decryption(), /Nothing was saved/)
    assert.equal(await page.page.evaluate(() => globalThis.saved.end), 'aborted')
    if (found[0] === 2) await page.screenshot('decryption-bad')
  }, { damage, before: PLACE }))
}

test('the decrypted backup is saved, under the name of its path', withEscrow(async (page, files) => {
  assert.equal(await page.decrypt(files, 'save'), 'good')
  assert.match(await page.decryption(), /It was saved as ‘\w+\.img’/)
  assert.equal(await page.page.evaluate(() => globalThis.saved.end), 'closed')
  const chunks = await page.page.evaluate(() => new Blob(globalThis.saved.chunks).arrayBuffer()
    .then((all) => crypto.subtle.digest('SHA-256', all)).then((hash) => [...new Uint8Array(hash)]))
  const expected = await crypto.subtle.digest('SHA-256', files.plain)
  assert.deepEqual(chunks, [...new Uint8Array(expected)])
  await page.screenshot('decryption-saved')
}, { before: PLACE }))

test('another file, chosen after the decryption, is not decrypted yet', withEscrow(async (page, files) => {
  assert.equal(await page.decrypt(files), 'good')
  await page.choose({ data: flip(0)(Buffer.from(files.data)) })
  await page.untilDecryption('idle')
  assert.equal(await page.until('bad'), 'bad')
  assert.match(await page.decryption(), /Still needed to decrypt: the (passphrase|identity file)/)
}))

test('a backup that is not encrypted has nothing to decrypt', withEscrow(async (page) => {
  assert.match(await page.decryption(), /nothing to decrypt/)
  assert.equal(await page.page.locator('#decrypt').isEnabled(), false)
}, { files: () => ({ ...plainBackup(), escrow: made.escrow }) }))

function plainBackup() {
  const { verify } = loadCases().find(({ name }) => name === 'verify: good three parts')
  const encode = (text) => Buffer.from(text)
  return { manifest: encode(verify.object), data: Buffer.from(bytesOf(verify)), 'public-key': encode(verify.public_keys) }
}

test('a file that is not an escrow file, or needs too much memory, is told at once', withEscrow(async (page, files) => {
  await page.untilDecryption('error')
  assert.match(await page.decryption(), /not an age file/)
  const file = Buffer.from(files.escrow.toString().split('\n').slice(1, -2).join(''), 'base64').toString('latin1')
  await page.chooseEscrow({ escrow: Buffer.from(file.replace(/(scrypt \S+) 18/, '$1 21'), 'latin1') })
  await page.page.locator('#decryption-text', { hasText: 'too much work: 2^21, and at most 2^20' }).waitFor()
  assert.equal(await page.page.locator('#decrypt').isEnabled(), false)
}, { escrow: 'locator' }))

test('a browser that cannot save files does not offer it', withEscrow(async (page) => {
  await page.page.locator('#passphrase').waitFor()
  assert.equal(await page.page.locator('#save').isVisible(), false)
}, { before: 'delete globalThis.showSaveFilePicker' }))
