// Builds dist/s3vault-verify.html: scripts, workers, style and wasm in one file, with a Content-Security-Policy that
// lists their hashes and forbids everything else.

import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

import { build } from 'esbuild'

const at = (path) => fileURLToPath(new URL(path, import.meta.url))

async function bundle(entry, define = {}) {
  const { outputFiles } = await build({
    entryPoints: [at(entry)],
    bundle: true,
    write: false,
    minify: true,
    format: 'iife',
    target: 'es2022',
    define,
    loader: { '.wasm': 'binary', '.css': 'text' },
    // wasm-bindgen can also fetch its module from the URL of the script; the page does not use that.
    logOverride: { 'empty-import-meta': 'silent' },
    legalComments: 'none',
  })
  return outputFiles[0].text.trim()
}

const sha256 = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

function policy(script, style) {
  return [
    "default-src 'none'",
    `script-src ${sha256(script)} 'wasm-unsafe-eval'`,
    'worker-src blob:',
    `style-src ${sha256(style)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
}

const worker = await bundle('src/worker.js')
const script = await bundle('src/page.js', { WORKER_SOURCE: JSON.stringify(worker) })
const style = (await readFile(at('src/style.css'), 'utf8')).trim()
// For those who decrypt only: text, of which nothing runs before an escrow file is chosen.
const decryptWorker = await bundle('src/decrypt-worker.js')
const decryptWasm = (await readFile(fileURLToPath(import.meta.resolve('@s3vault/verify/decrypt/wasm')))).toString('base64')
if (/<\/(script|style)|<!--/i.test(script + style + decryptWorker)) {
  throw new Error('the script or the style contains a tag, which would end it early')
}

let html = await readFile(at('src/index.html'), 'utf8')
const texts = {
  POLICY: policy(script, style), STYLE: style, DECRYPT_WORKER: decryptWorker, DECRYPT_WASM: decryptWasm, SCRIPT: script,
}
for (const [name, text] of Object.entries(texts)) {
  const parts = html.split(`{{${name}}}`)
  if (parts.length !== 2) throw new Error(`src/index.html must contain {{${name}}} exactly once`)
  html = parts.join(text)
}
await mkdir(at('dist'), { recursive: true })
await writeFile(at('dist/s3vault-verify.html'), html)
console.log(`bindings/web/dist/s3vault-verify.html: ${Math.round(html.length / 1024)} KiB`)
