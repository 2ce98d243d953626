// The three inputs: chosen, dropped or pasted.

const IDS = ['manifest', 'data', 'public-key']
const LARGEST_KEY = 64 * 1024

/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id))
const keyText = /** @type {HTMLTextAreaElement} */ (document.getElementById('public-key-text'))

/** The current choice.
 * @returns {import('./verify.js').Chosen} */
export const chosen = () => ({
  manifest: input('manifest').files?.[0],
  data: input('data').files?.[0],
  keys: keyText.value,
})

/** Calls back whenever the choice changes.
 * @param {() => void} changed */
export function watch(changed) {
  for (const id of ['manifest', 'data']) input(id).addEventListener('change', changed)
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
    await readKey()
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
  return 'data'
}
