// The shared cases, through the page.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { bytesOf, loadCases } from '../../wasm/tests/cases.js'
import { launch, withPage } from './browser.js'

/** @type {import('playwright-core').Browser} */
let browser
before(async () => { browser = await launch() })
after(() => browser.close())

const encode = (text) => new TextEncoder().encode(text)

for (const { name, verify } of loadCases()) {
  if (verify === undefined) {
    console.log(`skip ${name}: needs a store`)
    continue
  }
  test(name, () => withPage(browser, async (page) => {
    const key = verify.public_keys.trim() === '' ? undefined : encode(verify.public_keys)
    await page.choose({ manifest: encode(verify.object), data: bytesOf(verify), key })
    const verdict = await page.final()
    const [part] = (await page.findings()).filter((first) => first > 0)
    assert.deepEqual({ verdict, part }, { part: undefined, ...verify.expect })
  }))
}
