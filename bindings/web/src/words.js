// Formats numbers, times and names for people.

const UNITS = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** @param {number | bigint} n */
export const count = (n) => n.toLocaleString('en')

/** `40,000 bytes (39.1 KiB)`
 * @param {number} n */
export function bytes(n) {
  const exact = n === 1 ? '1 byte' : `${count(n)} bytes`
  let [value, unit] = [n, '']
  for (const larger of UNITS) {
    if (value < 1024) break
    value /= 1024
    unit = larger
  }
  return unit ? `${exact} (${value.toLocaleString('en', { maximumFractionDigits: 1 })} ${unit})` : exact
}

/** `1 part`, `3 parts`
 * @param {number} n */
export const parts = (n) => (n === 1 ? '1 part' : `${count(n)} parts`)

/** `1 segment`, `3 segments`
 * @param {number} n */
export const segments = (n) => (n === 1 ? '1 segment' : `${count(n)} segments`)

/** @param {bigint} ms Unix milliseconds */
export function time(ms) {
  const date = new Date(Number(ms))
  if (Number.isNaN(date.getTime())) return `${ms} ms after 1970`
  return `${date.toISOString().replace('T', ' ').replace(/\.\d+Z$/, '')} UTC`
}

/** @param {number} seconds */
export function duration(seconds) {
  const s = Math.ceil(seconds)
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`
}

/** Text from a file, with invisible characters and those that change the writing direction escaped.
 * @param {string} text */
export function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${/** @type {number} */ (c.codePointAt(0)).toString(16)}}`)
}

/** @param {string} text */
export const shortened = (text) => (text.length > 400 ? `${text.slice(0, 400)}…` : text)
