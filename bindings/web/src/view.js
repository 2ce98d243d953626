// Shows the outcome on the page. Text is only ever set as text, never as HTML.

import { bytes, count, duration, parts, shortened, time, visible } from './words.js'

const ROWS = 100

/** @param {string} id */
const at = (id) => /** @type {HTMLElement} */ (document.getElementById(id))

/** @param {import('./outcome.js').Outcome} outcome
 * @param {import('./verify.js').Described} [described] */
export function show({ verdict, needed = [], ...outcome }, described) {
  showOutcome('', outcome, verdict === 'working')
  showFindings('parts', outcome.findings)
  showSummary(described)
  for (const card of document.querySelectorAll('[data-drop]')) {
    card.classList.toggle('needed', needed.includes(/** @type {HTMLElement} */ (card).dataset.drop ?? ''))
  }
  document.documentElement.dataset.verdict = verdict
}

/** @param {import('./decrypted.js').Decryption} decryption */
export function showDecryption({ state, ...outcome }) {
  showOutcome('decryption-', outcome, state === 'working')
  showFindings('segments', outcome.findings)
  document.documentElement.dataset.decryption = state
}

/** @param {string} prefix of the ids
 * @param {{ title: string, text: string[], todo?: string, note?: string }} outcome
 * @param {boolean} isWorking */
function showOutcome(prefix, { title, text, todo, note }, isWorking) {
  at(`${prefix}title`).textContent = title
  at(`${prefix}text`).replaceChildren(
    ...text.map((line) => element('p', visible(shortened(line)))),
    ...(todo ? [element('p', visible(todo), 'todo')] : []),
    ...(note ? [element('p', note, 'soft')] : []),
  )
  at(`${prefix}progress`).hidden = !isWorking
  // Until the first bytes, a bar without a value says that something happens.
  at(`${prefix}bar`).removeAttribute('value')
  at(`${prefix}speed`).textContent = ''
}

/** @typedef {(done: number, total: number, seconds: number) => void} ShowProgress bytes, bytes, seconds since the start */

/** @type {ShowProgress} */
export const progress = (...now) => showProgress('', ...now)

/** @type {ShowProgress} */
export const showDecryptionProgress = (...now) => showProgress('decryption-', ...now)

/** @param {string} prefix of the ids
 * @param {Parameters<ShowProgress>} now */
function showProgress(prefix, ...[done, total, seconds]) {
  const bar = /** @type {HTMLProgressElement} */ (at(`${prefix}bar`))
  bar.value = total > 0 ? done / total : 0
  const speed = seconds > 0 ? done / seconds : 0
  const left = speed > 0 ? ` · ${count(Math.round(speed / 1e6))} MB/s · ${duration((total - done) / speed)} left` : ''
  at(`${prefix}speed`).textContent = total > 0 ? `${bytes(done)} of ${bytes(total)}${left}` : ''
}

/** @param {string} table its id
 * @param {import('./outcome.js').Finding[]} [findings] */
function showFindings(table, findings = []) {
  const rows = findings.slice(0, ROWS).map(({ first, last, start, end, what }) => {
    const row = document.createElement('tr')
    row.dataset.first = String(first)
    const numbers = first === 0 ? 'after the last' : first === last ? count(first) : `${count(first)} to ${count(last)}`
    const range = start === end ? 'none' : `${count(start)} to ${count(end - 1)}`
    row.append(element('td', numbers), element('td', range), element('td', what))
    return row
  })
  if (findings.length > ROWS) {
    const row = document.createElement('tr')
    const cell = element('td', `and ${count(findings.length - ROWS)} more rows`)
    cell.colSpan = 3
    row.append(cell)
    rows.push(row)
  }
  at(table).hidden = rows.length === 0
  at(table).querySelector('tbody')?.replaceChildren(...rows)
}

/** @param {import('./verify.js').Described} [described] */
function showSummary(described) {
  at('summary').hidden = described === undefined
  if (described === undefined) return
  const { summary, hash, signature, encryption } = described
  const stored = summary.extents > 1 ? `, stored in ${count(summary.extents)} consecutive objects` : ''
  const kind = summary.parent === undefined ? 'full' : `incremental, based on version ${summary.parent}`
  /** @type {[string, string, string?][]} */
  const rows = [
    ['Container', visible(summary.container)],
    ['Path', visible(summary.path)],
    ['Recorded', time(summary.recorded)],
    ['Size', `${bytes(Number(summary.size))}, ${parts(summary.parts)}${stored}`],
    ['Kind', kind],
    ['Encryption', encryption === 'envelope' ? 'by s3vault (envelope)' : encryption],
    ['Version id', summary.vid, 'mono'],
    ['Signature', signature],
    ['Hash of the manifest', `BLAKE3 ${hash}`, 'mono'],
  ]
  at('summary').querySelector('dl')?.replaceChildren(
    ...rows.flatMap(([name, value, style]) => [element('dt', name), element('dd', value, style)]),
  )
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} name
 * @param {string} text
 * @param {string} [style]
 */
function element(name, text, style) {
  const made = document.createElement(name)
  made.textContent = text
  if (style) made.className = style
  return made
}
