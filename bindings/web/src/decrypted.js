// The texts about decryption: what it found, what it means, what to do.

import { sentence } from './outcome.js'
import { bytes, count, segments } from './words.js'

/**
 * @typedef {object} Decryption
 * @property {'idle' | 'working' | 'good' | 'bad' | 'error'} state
 * @property {string} title
 * @property {string[]} text
 * @property {string} [todo] what to do
 * @property {import('./outcome.js').Finding[]} [findings]
 */

const DAMAGED = 'Do not restore from this file. Download it again and decrypt it once more. If the same segments are ' +
  'damaged then, the stored copy is damaged: restore another version, and check the health of the store.'

/** What is needed before decryption can start.
 * @param {{ encryption?: string, hasData: boolean, hasEscrow: boolean, secret?: 'passphrase' | 'identity' }} known
 *   `encryption` as soon as the manifest is verified
 * @returns {Decryption} */
export function locked({ encryption, hasData, hasEscrow, secret }) {
  const idle = (/** @type {string} */ title, /** @type {string[]} */ ...text) =>
    ({ state: /** @type {const} */ ('idle'), title, text })
  if (encryption !== undefined && encryption !== 'envelope') {
    return idle('There is nothing to decrypt', encryption === 'none'
      ? 'This backup is not encrypted by s3vault.'
      : `The store encrypts this backup (encryption = ${encryption}), and decrypts it when the file is downloaded.`)
  }
  if (!hasEscrow) {
    return encryption === undefined
      ? idle('Nothing to decrypt yet', 'Only needed for backups that s3vault encrypted (encryption = envelope).')
      : idle('This backup is encrypted, and was not decrypted',
        'What is verified above are the stored bytes, which are encrypted. To find out whether they can be decrypted, ' +
        'choose the escrow file.')
  }
  if (secret === undefined) return idle('Reading the escrow file')
  const needed = []
  if (encryption === undefined) needed.push('a manifest that is verified')
  if (!hasData) needed.push('the stored file')
  needed.push(secret === 'passphrase' ? 'the passphrase' : 'the identity file')
  return idle(`Still needed to decrypt: ${needed.join(' and ')}`)
}

/** @param {number} memory of the escrow file, in bytes
 * @returns {Decryption} */
export const opening = (memory) => ({
  state: 'working',
  title: 'Opening the escrow file',
  text: memory > 0
    ? [`Passphrases are slow to try on purpose: this takes some seconds, and ${bytes(memory)} of memory.`]
    : [],
})

/** @param {number} total segments
 * @returns {Decryption} */
export const decrypting = (total) => ({ state: 'working', title: `Decrypting ${segments(total)}`, text: [] })

/** @param {string} reason
 * @param {string} hint
 * @returns {Decryption} */
export const notDecrypted = (reason, hint) => ({
  state: 'error',
  title: 'The backup was not decrypted',
  text: [sentence(reason)],
  todo: hint,
})

/** @param {import('./decrypt-worker.js').Decrypted} result
 * @param {{ signed: boolean, saved?: string }} how `saved`: name of the file that was to be saved
 * @returns {Decryption} */
export function judgeDecrypted({ damage, excess, size, segments: total, hash }, { signed, saved }) {
  const notSaved = saved === undefined ? [] : ['Nothing was saved.']
  if (hash === undefined) return bad(damage, excess, total, notSaved)
  const all = total === 1 ? 'The only segment is' : `Each of the ${segments(total)} is`
  const text = [
    `${all} authentic and in its place. The decrypted backup has ${bytes(size)}.`,
    `BLAKE3 of the decrypted backup: ${hash}`,
  ]
  if (saved !== undefined) text.push(`It was saved as ‘${saved}’.`)
  if (!signed) text.push('But the manifest has no signature, so this does not prove which version it is.')
  return { state: 'good', title: 'The backup was decrypted completely', text }
}

/** @param {import('./decrypt-worker.js').Damage[]} damage
 * @param {number} excess
 * @param {number} total
 * @param {string[]} notSaved
 * @returns {Decryption} */
function bad(damage, excess, total, notSaved) {
  const wrong = damage.reduce((sum, { first, last }) => sum + last - first + 1, 0)
  const findings = damage.map(({ first, last, start, end, what }) => ({ first, last, start, end, what }))
  const end = findings.at(-1)?.end ?? 0
  let title = wrong === 1 ? `Segment ${count(damage[0].first)} cannot be decrypted` : `${segments(wrong)} cannot be decrypted`
  const which = `${count(wrong)} of ${segments(total)} ${wrong === 1 ? 'is' : 'are'}`
  const isMissing = damage.some(({ what }) => what !== 'damaged') ? ', or missing' : ''
  let text = [`${which} not what was encrypted there${isMissing}. The first is in part ${count(damage[0]?.part ?? 1)}.`]
  if (wrong === total) {
    title = 'Nothing of this file can be decrypted'
    text = [
      'It is not the file of this version as it is stored, or it is decrypted already: download it with an S3 client, ' +
      'not with s3vault.',
    ]
  } else if (wrong > 0 && damage.every(({ what }) => what !== 'damaged')) {
    title = `The file is truncated: segment ${count(damage[0].first)} is incomplete`
    text = [`The segments before it are intact. ${which} missing or incomplete.`]
  }
  if (wrong === 0) {
    title = 'The file is too long'
    text = [`All segments were decrypted, but ${bytes(excess)} after them do not belong to the backup.`]
  }
  if (excess > 0) findings.push({ first: 0, last: 0, start: end, end: end + excess, what: 'not part of the backup' })
  return { state: 'bad', title, text: [...text, ...notSaved], todo: DAMAGED, findings }
}
