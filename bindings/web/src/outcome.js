// What the page says: a verdict, what it means, what to do.

import { bytes, count, parts } from './words.js'

/**
 * @typedef {object} Finding parts that are wrong in the same way
 * @property {number} first number of the first one, from 1
 * @property {number} last
 * @property {number} begin offset in the file of their first byte
 * @property {number} end offset behind their last byte
 * @property {string} what
 *
 * @typedef {object} Outcome
 * @property {'idle' | 'working' | 'good' | 'unsigned' | 'bad' | 'error'} verdict
 * @property {string} title
 * @property {string[]} text
 * @property {string} [todo] what to do
 * @property {string} [note]
 * @property {Finding[]} [findings]
 * @property {string[]} [needed] ids of inputs that are still empty
 *
 * @typedef {object} Checked data against manifest
 * @property {number} fileSize
 * @property {number[]} lengths of all parts
 * @property {number[]} bad numbers of the wrong ones among those that the file holds whole, in order
 *
 * @typedef {object} Signature
 * @property {boolean} trusted
 * @property {string | undefined} keyId
 * @property {boolean} keyGiven
 */

const NOTE = 'A signature proves who made this version, not that it is the newest one: for that, compare the ' +
  'manifest’s hash below with the one that was noted when the backup was made.'
const AGAIN = 'Do not restore from this file. Get it again and verify once more; if the same parts are wrong then, ' +
  'the stored copy is damaged: restore another version, and look into the store’s health.'

/** @param {{ manifest: boolean, data: boolean, key: boolean }} has
 * @param {string} [signedBy] key id, where the manifest is known and signed
 * @returns {Outcome} */
export function waiting(has, signedBy) {
  const needed = []
  if (!has.manifest) needed.push('manifest')
  if (!has.data) needed.push('data')
  if (!has.key && (signedBy !== undefined || !has.manifest)) needed.push('public-key')
  if (needed.length === 3) {
    return {
      verdict: 'idle',
      title: 'Nothing to verify yet',
      text: ['Three things are needed: the manifest, the stored file, and the owner’s public key.'],
      needed,
    }
  }
  if (signedBy !== undefined && needed.length === 1 && !has.key) {
    return {
      verdict: 'idle',
      title: 'The public key is needed',
      text: [`The manifest is signed by key ${signedBy}. Choose or paste the owner’s public key to check that.`],
      needed,
    }
  }
  /** @type {Record<string, string>} */
  const names = { manifest: 'the manifest', data: 'the stored file', 'public-key': 'the public key' }
  const list = needed.map((id) => names[id]).join(' and ')
  return { verdict: 'idle', title: `Still needed: ${list}`, text: ['Verification starts when all is there.'], needed }
}

/** @param {number} total parts
 * @returns {Outcome} */
export const working = (total) => ({ verdict: 'working', title: `Verifying ${parts(total)}`, text: [] })

/** @param {string} code
 * @param {string} reason
 * @returns {Outcome} */
export function badManifest(code, reason) {
  const untrusted = code === 'S3V_E_UNTRUSTED'
  return {
    verdict: 'bad',
    title: untrusted ? 'The signature is not good' : 'The manifest cannot be accepted',
    text: [`${sentence(reason)} The stored file was not looked at.`],
    todo: untrusted
      ? 'Check that the public key is the owner’s, and came from the owner. If it is, somebody else made or changed ' +
        'this manifest: do not restore what it describes.'
      : 'If the reason names a format or something that is required, use a newer version of this page. Else this ' +
        'manifest was changed or written wrongly: get it again, and do not restore what it describes.',
  }
}

/** @param {string} reason
 * @param {string} hint
 * @returns {Outcome} */
export const failed = (reason, hint) => ({
  verdict: 'error',
  title: 'This could not be verified',
  text: [sentence(reason)],
  todo: hint,
})

/** @param {Checked} checked
 * @param {Signature} signature
 * @returns {Outcome} */
export function judge(checked, signature) {
  const { fileSize, lengths, bad } = checked
  const size = lengths.reduce((sum, length) => sum + length, 0)
  if (bad.length > 0 || fileSize !== size) return badData(checked, size, signature)
  const all = lengths.length === 1 ? 'The only part' : `Each of the ${parts(lengths.length)}`
  const right = `${all} has the length and the checksums (BLAKE3 and CRC64NVME) that the manifest promises.`
  if (signature.trusted) {
    return {
      verdict: 'good',
      title: 'The backup is whole, and its signature is good',
      text: [`${right} The manifest was signed by key ${signature.keyId}, which you gave.`],
      note: NOTE,
    }
  }
  return {
    verdict: 'unsigned',
    title: 'The file fits its manifest, but the manifest is not signed',
    text: [`${right} But the manifest carries no signature, so whoever can write to the store may have made both.`],
    todo: signature.keyGiven
      ? 'You gave a public key, so a signature was expected: get the manifest again from its owner, and do not ' +
        'restore before that is cleared up.'
      : 'This is no proof of where the backup comes from. Compare the manifest’s hash below with the one that was ' +
        'noted when the backup was made; for the next ones, give the vault a keyring.',
  }
}

/** @param {Checked} checked
 * @param {number} size
 * @param {Signature} signature
 * @returns {Outcome} */
function badData({ fileSize, lengths, bad }, size, signature) {
  const { findings, whole } = locate({ fileSize, lengths, bad }, size)
  const unsigned = signature.trusted ? [] : ['The manifest carries no signature either.']
  const text = []
  let title
  let todo = AGAIN
  if (whole > 0 && bad.length > 0 && bad.length >= 0.9 * whole) {
    title = 'This is not the file of this backup'
    const which = bad.length === whole ? 'None' : `Only ${count(whole - bad.length)}`
    text.push(
      whole === 1
        ? 'Its only part is not what was stored.'
        : `${which} of its ${parts(whole)} is what was stored; the first wrong one is part ${count(bad[0])}.`,
    )
    if (fileSize !== size) text.push(`It has ${bytes(fileSize)}, and the backup has ${bytes(size)}.`)
    todo = 'It may be another file, another version, or damaged throughout. Look at path and time below, choose the ' +
      'file that belongs to them, and do not restore from this one.'
  } else if (fileSize < size) {
    title = `The file is cut off: part ${count(findings.find((f) => f.last > whole)?.first ?? 1)} is not whole`
    text.push(`It has ${bytes(fileSize)}, and the backup has ${bytes(size)}.`)
    if (bad.length > 0) text.push(`Of the parts before, ${count(bad.length)} are not what was stored.`)
  } else if (bad.length === 0) {
    title = 'The file is too long'
    text.push(`All parts are right, but ${bytes(fileSize - size)} follow that do not belong to the backup.`)
    todo = 'Do not restore from this file: get it again. If it is too long then as well, something changed the ' +
      'stored copy: restore another version.'
  } else {
    title = bad.length === 1 ? `Part ${count(bad[0])} is damaged` : `${parts(bad.length)} are damaged`
    text.push(`${count(bad.length)} of ${parts(lengths.length)} ${bad.length === 1 ? 'is' : 'are'} not what was stored.`)
    if (fileSize > size) text.push(`And ${bytes(fileSize - size)} follow that do not belong to the backup.`)
  }
  return { verdict: 'bad', title, text: [...text, ...unsigned], todo, findings }
}

/** What is wrong, in the order of the file; neighbours in one row. `whole` = parts that the file holds whole.
 * @param {Checked} checked
 * @param {number} size
 * @returns {{ findings: Finding[], whole: number }} */
function locate({ fileSize, lengths, bad }, size) {
  const wrong = new Set(bad)
  /** @type {Finding[]} */
  const findings = []
  let begin = 0
  let whole = 0
  lengths.forEach((length, index) => {
    const end = begin + length
    if (end <= fileSize) whole++
    const what = end > fileSize ? (begin < fileSize ? 'cut off' : 'missing') : wrong.has(index + 1) ? 'damaged' : ''
    const last = findings.at(-1)
    if (what && last?.what === what && last.last === index) {
      last.last++
      last.end = end
    } else if (what) {
      findings.push({ first: index + 1, last: index + 1, begin, end, what })
    }
    begin = end
  })
  if (fileSize > size) findings.push({ first: 0, last: 0, begin: size, end: fileSize, what: 'does not belong here' })
  return { findings, whole }
}

/** @param {string} text */
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
