// The inputs: chosen, dropped, pasted or typed.

import { refusal, unreadable } from './refusal.js'

const FILES = ['manifest', 'data', 'escrow', 'locator']
const IDS = [...FILES, 'public-key']
const LARGEST_KEY = 64 * 1024

/** @typedef {{ manifest?: File, data?: File, keys: string, escrow?: File, locator?: File }} Chosen */

/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id))
/** @param {string} id */
const button = (id) => /** @type {HTMLButtonElement} */ (document.getElementById(id))
const keyText = /** @type {HTMLTextAreaElement} */ (document.getElementById('public-key-text'))

/** The current choice.
 * @returns {Chosen} */
export const chosen = () => ({
  manifest: input('manifest').files?.[0],
  data: input('data').files?.[0],
  keys: keyText.value,
  escrow: input('escrow').files?.[0],
  locator: input('locator').files?.[0],
})

/** Shows the input for the secret that opens the escrow file, and whether decryption can start.
 * @param {'passphrase' | 'identity' | undefined} secret
 * @param {boolean} isReady */
export function showSecret(secret, isReady) {
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-secret]'))) {
    part.hidden = part.dataset.secret !== (secret ?? '')
  }
  for (const id of ['decrypt', 'save']) button(id).disabled = !isReady
}

/** The secret, which is not in its input any more.
 * @param {'passphrase' | 'identity'} secret
 * @returns {Promise<Uint8Array>} */
export async function takeSecret(secret) {
  const from = input(secret)
  const file = from.files?.[0]
  const typed = secret === 'passphrase' ? new TextEncoder().encode(from.value) : undefined
  from.value = ''
  if (typed?.length === 0) throw refusal('the passphrase is empty', 'Type the passphrase of the escrow file.')
  if (typed !== undefined) return typed
  if (file === undefined) throw refusal('no identity file is chosen', 'Choose the file that age-keygen made.')
  if (file.size > LARGEST_KEY) throw refusal(`'${file.name}' is too large to be an identity file`, 'Choose another file.')
  try {
    return new Uint8Array(await file.arrayBuffer())
  } catch (error) {
    throw unreadable('the identity file', file, error)
  }
}

/** Calls back when the user wants the backup decrypted, with the place for it if it is to be saved.
 * @param {(place?: FileSystemFileHandle) => void} decrypt
 * @param {() => string} name of the file to save */
export function watchDecrypt(decrypt, name) {
  input('passphrase').form?.addEventListener('submit', (event) => {
    event.preventDefault()
    if (!button('decrypt').disabled) decrypt()
  })
  // Only a browser that keeps a file elsewhere until it is complete can save one.
  const { showSaveFilePicker: pick } = window
  button('save').hidden = pick === undefined
  button('save').addEventListener('click', async () => {
    // Without a choice nothing happens.
    const place = await pick?.({ suggestedName: name() }).catch(() => undefined)
    if (place !== undefined) decrypt(place)
  })
}

/** Calls back whenever the choice changes.
 * @param {() => void} changed */
export function watch(changed) {
  for (const id of FILES) input(id).addEventListener('change', changed)
  input('public-key').addEventListener('change', () => readKey().then(changed))
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing
  keyText.addEventListener('input', () => {
    input('public-key').value = ''
    clearTimeout(typing)
    typing = setTimeout(changed, 300)
  })
  watchDrops(changed)
}

/** Shows the content of the key file in the text area, so that the user sees which key is trusted. */
async function readKey() {
  const file = input('public-key').files?.[0]
  try {
    keyText.value = file ? await file.slice(0, LARGEST_KEY).text() : ''
  } catch {
    // This text is not a key, so the verification will report it.
    keyText.value = `${file?.name} cannot be read`
  }
}

/** @param {() => void} changed */
function watchDrops(changed) {
  const card = (/** @type {Event} */ event) =>
    event.target instanceof Element ? /** @type {HTMLElement | null} */ (event.target.closest('[data-drop]')) : null
  const mark = (/** @type {boolean} */ over, /** @type {HTMLElement | null} */ at) => {
    document.body.classList.toggle('over', over)
    for (const id of IDS) {
      document.querySelector(`[data-drop="${id}"]`)?.classList.toggle('over', at?.dataset.drop === id)
    }
  }
  document.addEventListener('dragover', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    mark(true, card(event))
  })
  document.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) mark(false, null)
  })
  document.addEventListener('drop', async (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    mark(false, null)
    const files = [...event.dataTransfer.files]
    const target = files.length === 1 ? card(event)?.dataset.drop : undefined
    for (const file of files) choose(target ?? (await sort(file)), file)
    if (input('public-key').files?.length) await readKey()
    changed()
  })
}

/** @param {string} id
 * @param {File} file */
function choose(id, file) {
  const transfer = new DataTransfer()
  transfer.items.add(file)
  input(id).files = transfer.files
}

/** Which input a file is for, according to its first bytes.
 * @param {File} file */
async function sort(file) {
  const head = await file.slice(0, 1024).text().catch(() => '')
  if (/^(\s*(#.*)?\n)*\s*ed25519 [0-9a-f]{16} /.test(head)) return 'public-key'
  if (head.startsWith('{') && /"_s3vault\/\d+\/cat\//.test(head)) return 'manifest'
  if (head.startsWith('{') && /"_s3vault\/\d+\/loc\//.test(head)) return 'locator'
  if (/^\s*(age-encryption\.org\/|-----BEGIN AGE ENCRYPTED FILE-----)/.test(head)) return 'escrow'
  if (/^AGE-SECRET-KEY-1/m.test(head)) return 'identity'
  return 'data'
}
