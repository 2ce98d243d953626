// The behaviour of the page: its inputs, what it waits for, what it refuses, and that it makes no requests.

import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { bytesOf, loadCases } from '../../wasm/tests/cases.js'
import { launch, withPage } from './browser.js'

/** @type {import('playwright-core').Browser} */
let browser
before(async () => { browser = await launch() })
after(() => browser.close())

const encode = (text) => new TextEncoder().encode(text)
const cases = new Map(loadCases().map((one) => [one.name, one.verify]))

/** Files of a case. */
function filesOf(name) {
  const verify = cases.get(name)
  return { manifest: encode(verify.object), data: bytesOf(verify), key: encode(verify.public_keys) }
}

const small = filesOf('verify: good three parts')

const on = (use, options) => () => withPage(browser, use, options)

/** Drops files onto an element, as a browser does. */
async function drop(page, selector, files) {
  const transfer = await page.page.evaluateHandle((list) => {
    const made = new DataTransfer()
    for (const { name, bytes } of list) made.items.add(new File([new Uint8Array(bytes)], name))
    return made
  }, files.map(([name, bytes]) => ({ name, bytes: [...bytes] })))
  for (const type of ['dragover', 'drop']) await page.page.dispatchEvent(selector, type, { dataTransfer: transfer })
}

test('at first it is idle and names what is needed', on(async (page) => {
  assert.equal(await page.verdict(), 'idle')
  assert.equal(await page.title(), 'Nothing to verify yet')
  await page.screenshot('idle')
}))

test('it is idle in dark mode, too', on(async (page) => {
  assert.equal(await page.verdict(), 'idle')
  await page.screenshot('idle-dark')
}, { dark: true }))

test('a signed manifest waits for the key, whichever comes last', on(async (page) => {
  await page.choose({ manifest: small.manifest, data: small.data })
  await page.page.locator('#title', { hasText: 'The public key is needed' }).waitFor()
  assert.equal(await page.verdict(), 'idle')
  assert.match(await page.text(), /signed by key [0-9a-f]{16}/)
  await page.screenshot('waiting')
  await page.choose({ key: small.key })
  assert.equal(await page.final(), 'good')
}))

test('it waits for the file, and shows what the manifest says meanwhile', on(async (page) => {
  await page.choose({ manifest: small.manifest, key: small.key })
  await page.page.locator('#title', { hasText: 'Still needed: the stored file' }).waitFor()
  assert.match(await page.summary(), /vm-7f3a[^]*disk\.img[^]*2025-11-24 16:00:00 UTC[^]*40,000 bytes/)
  await page.choose({ data: small.data })
  assert.equal(await page.final(), 'good')
}))

test('a key can be pasted and corrected', on(async (page) => {
  await page.choose({ manifest: small.manifest, data: small.data })
  const text = page.page.locator('#public-key-text')
  await text.fill('ed25519 0123456789abcdef nonsense')
  assert.equal(await page.final(), 'error')
  assert.match(await page.text(), /is not a public key[^]*keys public/)
  await text.fill(new TextDecoder().decode(small.key))
  assert.equal(await page.until('good'), 'good')
}))

test('files dropped anywhere are sorted to their inputs', on(async (page) => {
  const head = (text) => encode(`${text}\n`)
  await drop(page, 'h1', [
    ['a', small.key], ['b', small.data], ['c', small.manifest], ['d', head('age-encryption.org/v1')],
    ['e', head('{"format":1,"key":"_s3vault/1/loc/vm/disk.img/V.000001.-.-"')], ['f', head('# key\nAGE-SECRET-KEY-1')],
  ])
  assert.equal(await page.final(), 'good')
  const names = await page.page.locator('input[type=file]').evaluateAll((all) => all.map((one) => one.files[0].name))
  assert.deepEqual(names, ['c', 'b', 'a', 'd', 'e', 'f'])
}))

test('a pasted key stays when another file is dropped', on(async (page) => {
  await page.choose({ manifest: small.manifest })
  await page.page.locator('#public-key-text').fill(new TextDecoder().decode(small.key))
  await drop(page, 'h1', [['b', small.data]])
  assert.equal(await page.final(), 'good')
}))

test('a file dropped on an input is used for that input, whatever it is', on(async (page) => {
  await page.choose({ manifest: small.manifest, key: small.key })
  await drop(page, '[data-drop=data] p', [['another-manifest', small.manifest]])
  assert.equal(await page.final(), 'bad')
  assert.equal(await page.page.locator('#data').evaluate((input) => input.files[0].name), 'another-manifest')
}))

test('an intact file after a damaged one is good', on(async (page) => {
  await page.choose({ ...small, data: filesOf('verify: flipped last byte of part 2').data })
  assert.equal(await page.final(), 'bad')
  assert.deepEqual(await page.findings(), [2])
  await page.choose({ data: small.data })
  assert.equal(await page.until('good'), 'good')
  assert.deepEqual(await page.findings(), [])
}))

/** A large file of zeros, which keeps the workers busy. */
async function withLarge(use) {
  const folder = mkdtempSync(join(tmpdir(), 's3vault-page-'))
  const data = join(folder, 'large.img')
  const [partSize, parts] = [2 ** 30, 8]
  writeFileSync(data, '')
  truncateSync(data, parts * partSize)
  const manifest = JSON.parse(new TextDecoder().decode(small.manifest).split('\n')[0])
  manifest.size = manifest.extents[0].size = parts * partSize
  manifest.key = manifest.key.replace('.40000.', `.${manifest.size}.`)
  manifest.extents[0].parts = Array(parts).fill({ ...manifest.extents[0].parts[0], length: partSize })
  try {
    await withPage(browser, async (page) => {
      await page.choose({ manifest: encode(`${JSON.stringify(manifest)}\n`), data })
      await page.until('working')
      await page.page.locator('#speed', { hasText: 'MB/s' }).waitFor()
      assert.equal(page.page.workers().length, 2)
      await use(page, data)
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('choosing other files aborts the verification in progress', () => withLarge(async (page) => {
  await page.choose({ data: small.data })
  assert.equal(await page.final(), 'bad')
  assert.match(await page.title(), /truncated: part 1 is/)
  await page.choose(small)
  assert.equal(await page.until('good'), 'good')
  await page.noWorkers()
}))

test('a file that changes while it is read is an error', () => withLarge(async (page, data) => {
  appendFileSync(data, 'x')
  assert.equal(await page.final(), 'error')
  assert.match(await page.text(), /'large\.img', cannot be read[^]*Choose it again/)
  await page.noWorkers()
}))

test('a file that is not a manifest is an error with a hint', on(async (page) => {
  await page.choose({ manifest: encode('%PDF-1.7\nnot a manifest\n'), data: small.data, key: small.key })
  assert.equal(await page.final(), 'error')
  assert.match(await page.text(), /not a manifest[^]*s3vault manifest CONTAINER PATH FILE/)
  await page.screenshot('error')
}))

test('a manifest of a newer format is not accepted, and the page says what to do', on(async (page) => {
  await page.choose(filesOf('verify: format 2'))
  assert.equal(await page.final(), 'bad')
  assert.match(await page.text(), /format 2[^]*newer version of this page/)
}))

for (const when of ['before it is read', 'after that']) test(`a file removed ${when} is an error that names it`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 's3vault-page-'))
  const data = join(folder, 'gone.img')
  try {
    writeFileSync(data, small.data)
    await withPage(browser, async (page) => {
      await page.choose({ manifest: small.manifest, data })
      if (when === 'after that') await page.page.locator('#data').evaluate((input) => input.files[0].size)
      rmSync(data)
      await page.choose({ key: small.key })
      assert.equal(await page.final(), 'error')
      assert.match(await page.text(), /'gone\.img', cannot be read/)
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a browser without WebAssembly is told so', on(async (page) => {
  assert.equal(await page.final(), 'error')
  assert.match(await page.text(), /WebAssembly with SIMD is needed/)
}, { before: 'delete globalThis.WebAssembly' }))

test('invisible characters in names are escaped', on(async (page) => {
  await page.choose(filesOf('verify: good unusual names'))
  assert.equal(await page.final(), 'good')
  assert.match(await page.summary(), /größe 日本=%[^]*a b\/~c\/\+"d'\\u\{a\}/)
}))

test('an incremental names its parent', on(async (page) => {
  await page.choose(filesOf('verify: good incremental'))
  assert.equal(await page.final(), 'good')
  assert.match(await page.summary(), /incremental, based on version [0-9A-Z]{26}/)
}))

test('the keyboard reaches every input, in order', on(async (page) => {
  const reached = []
  for (let n = 0; n < 4; n++) {
    await page.page.keyboard.press('Tab')
    reached.push(await page.page.evaluate(() => document.activeElement.id))
  }
  assert.deepEqual(reached, ['manifest', 'data', 'public-key', 'public-key-text'])
  for (const id of reached) assert.ok(await page.page.locator(`#${id}`).evaluate((one) => one.labels.length > 0))
}))

test('the policy forbids all requests', async () => {
  let requests = 0
  const server = createServer((_, reply) => { requests++; reply.end() })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${server.address().port}/`
  try {
    await withPage(browser, async (page) => {
      const refused = await page.page.evaluate(async (address) => {
        const image = new Image()
        const failed = new Promise((resolve) => { image.onerror = () => resolve('image'); image.onload = () => resolve('loaded') })
        image.src = address
        return [await fetch(address, { mode: 'no-cors' }).then(() => 'fetched', () => 'fetch'), await failed]
      }, url)
      assert.deepEqual(refused, ['fetch', 'image'])
      const injected = await page.page.evaluate(() => {
        const script = document.createElement('script')
        script.textContent = 'globalThis.injected = true'
        document.head.append(script)
        return globalThis.injected ?? false
      })
      assert.equal(injected, false)
    }, { expectErrors: true })
    assert.equal(requests, 0)
  } finally {
    server.close()
  }
})
