// Shows the outcome on the page. Text is only ever set as text, never as HTML.

import { bytes, count, duration, parts, shortened, time, visible } from './words.js'

const ROWS = 100

/** @param {string} id */
const at = (id) => /** @type {HTMLElement} */ (document.getElementById(id))

/** @param {import('./outcome.js').Outcome} outcome
 * @param {import('./verify.js').Described} [described] */
export function show({ verdict, title, text, todo, note, findings = [], needed = [] }, described) {
  at('title').textContent = title
  at('text').replaceChildren(
    ...text.map((line) => element('p', visible(shortened(line)))),
    ...(todo ? [element('p', visible(todo), 'todo')] : []),
    ...(note ? [element('p', note, 'soft')] : []),
  )
  at('progress').hidden = verdict !== 'working'
  if (verdict === 'working') progress(0, 0, 0)
  showFindings(findings)
  showSummary(described)
  for (const card of document.querySelectorAll('[data-drop]')) {
    card.classList.toggle('needed', needed.includes(/** @type {HTMLElement} */ (card).dataset.drop ?? ''))
  }
  document.documentElement.dataset.verdict = verdict
}

/** @param {number} done bytes
 * @param {number} total bytes
 * @param {number} seconds since the start */
export function progress(done, total, seconds) {
  const bar = /** @type {HTMLProgressElement} */ (at('bar'))
  bar.value = total > 0 ? done / total : 0
  const speed = seconds > 0 ? done / seconds : 0
  const left = speed > 0 ? ` · ${count(Math.round(speed / 1e6))} MB/s · ${duration((total - done) / speed)} left` : ''
  at('speed').textContent = total > 0 ? `${bytes(done)} of ${bytes(total)}${left}` : ''
}

/** @param {import('./outcome.js').Finding[]} findings */
function showFindings(findings) {
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
  at('parts').hidden = rows.length === 0
  at('parts').querySelector('tbody')?.replaceChildren(...rows)
}

/** @param {import('./verify.js').Described} [described] */
function showSummary(described) {
  at('summary').hidden = described === undefined
  if (described === undefined) return
  const { summary, hash, signature } = described
  const stored = summary.extents > 1 ? `, stored in ${count(summary.extents)} consecutive objects` : ''
  const kind = summary.parent === undefined ? 'full' : `incremental, based on version ${summary.parent}`
  /** @type {[string, string, string?][]} */
  const rows = [
    ['Container', visible(summary.container)],
    ['Path', visible(summary.path)],
    ['Recorded', time(summary.recorded)],
    ['Size', `${bytes(Number(summary.size))}, ${parts(summary.parts)}${stored}`],
    ['Kind', kind],
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
