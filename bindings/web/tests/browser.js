// Opens the page in Debian's Chromium from its file. A request, a violation of its policy or an error in its console
// fails the test.

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

import { chromium } from 'playwright-core'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const SCREENSHOTS = join(ROOT, 'build/screenshots')
const URL_OF_PAGE = pathToFileURL(fileURLToPath(new URL('../dist/s3vault-verify.html', import.meta.url))).href
const FINAL = ['good', 'unsigned', 'bad', 'error']

export { ROOT }

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  })

/** Opens the page, hands it to `use`, and closes it.
 * @param {import('playwright-core').Browser} browser
 * @param {(page: VerifyPage) => Promise<void>} use
 * @param {{ dark?: boolean, before?: string, expectErrors?: boolean }} [options] `before`: a script that runs first */
export async function withPage(browser, use, { dark = false, before, expectErrors = false } = {}) {
  const context = await browser.newContext({
    viewport: { width: 1100, height: 900 },
    colorScheme: dark ? 'dark' : 'light',
  })
  const trouble = []
  context.on('request', (request) => {
    if (request.url() !== URL_OF_PAGE && !request.url().startsWith('blob:')) trouble.push(`request ${request.url()}`)
  })
  const page = await context.newPage()
  page.on('console', (message) => trouble.push(`console: ${message.text()}`))
  page.on('pageerror', (error) => trouble.push(`error: ${error.message}`))
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`violates ${event.violatedDirective}`))
  })
  if (before) await page.addInitScript(before)
  try {
    await page.goto(URL_OF_PAGE)
    await use(new VerifyPage(page))
    if (!expectErrors) assert.deepEqual(trouble, [])
  } finally {
    await context.close()
  }
}

const asFile = (input, name) =>
  typeof input === 'string' ? input : { name, mimeType: 'application/octet-stream', buffer: Buffer.from(input) }

export class VerifyPage {
  /** @param {import('playwright-core').Page} page */
  constructor(page) {
    this.page = page
  }

  /** Chooses files: paths as strings, contents as bytes; the key comes last.
   * @param {{ manifest?: string | Uint8Array, data?: string | Uint8Array, key?: string | Uint8Array }} files */
  async choose({ manifest, data, key }) {
    if (manifest !== undefined) await this.page.setInputFiles('#manifest', asFile(manifest, 'manifest'))
    if (data !== undefined) await this.page.setInputFiles('#data', asFile(data, 'disk.img'))
    if (key !== undefined) await this.page.setInputFiles('#public-key', asFile(key, 'public-key'))
  }

  /** Chooses an escrow file, and the locator first.
   * @param {{ escrow: Uint8Array, locator?: Uint8Array }} files */
  async chooseEscrow({ escrow, locator }) {
    if (locator !== undefined) await this.page.setInputFiles('#locator', asFile(locator, 'locator'))
    await this.page.setInputFiles('#escrow', asFile(escrow, 'vault.escrow.age'))
  }

  /** Gives the secret that is asked for, and decrypts.
   * @param {{ passphrase?: Uint8Array, identity?: Uint8Array }} secrets
   * @param {'decrypt' | 'save'} [button] */
  async decrypt({ passphrase, identity }, button = 'decrypt') {
    await this.page.locator('#passphrase:visible, #identity:visible').waitFor()
    if (await this.page.locator('#passphrase').isVisible()) {
      await this.page.fill('#passphrase', new TextDecoder().decode(passphrase))
    } else {
      await this.page.setInputFiles('#identity', asFile(identity, 'identity'))
    }
    await this.page.click(`#${button}:enabled`)
    return this.untilDecryption('good', 'bad', 'error')
  }

  /** Waits until the decryption has one of these states. */
  async untilDecryption(...states) {
    const any = states.map((state) => `html[data-decryption="${state}"]`).join(',')
    await this.page.locator(any).waitFor({ state: 'attached', timeout: 300_000 })
    return this.page.evaluate(() => document.documentElement.dataset.decryption)
  }

  /** The whole text about the decryption. */
  decryption() {
    return this.page.locator('#decryption').innerText()
  }

  /** Numbers of the first segment of each finding; 0 is the bytes after the last segment. */
  damagedSegments() {
    return this.page.locator('#segments tbody tr').evaluateAll((rows) => rows.map((row) => Number(row.dataset.first)))
  }

  /** Waits until the page has one of these verdicts. */
  async until(...verdicts) {
    const any = verdicts.map((verdict) => `html[data-verdict="${verdict}"]`).join(',')
    // A file that was chosen just now may start another verification between the two queries.
    for (;;) {
      await this.page.locator(any).waitFor({ state: 'attached', timeout: 300_000 })
      const verdict = await this.verdict()
      if (verdicts.includes(verdict)) return verdict
    }
  }

  final() {
    return this.until(...FINAL)
  }

  verdict() {
    return this.page.evaluate(() => document.documentElement.dataset.verdict)
  }

  title() {
    return this.page.locator('#title').innerText()
  }

  /** The whole text of the verdict. */
  text() {
    return this.page.locator('#verdict').innerText()
  }

  summary() {
    return this.page.locator('#summary').innerText()
  }

  /** Waits until no worker runs: the browser reports the end of a worker after the page has ended it. */
  async noWorkers() {
    while (this.page.workers().length > 0) await this.page.workers()[0].waitForEvent('close')
  }

  /** Numbers of the first part of each finding; 0 is the bytes after the last part. */
  findings() {
    return this.page.locator('#parts tbody tr').evaluateAll((rows) => rows.map((row) => Number(row.dataset.first)))
  }

  async screenshot(name) {
    mkdirSync(SCREENSHOTS, { recursive: true })
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true })
  }
}
