// The texts of the page: the verdict, what it means, what to do.

import { bytes, count, parts } from './words.js'

/**
 * @typedef {object} Finding consecutive parts with the same damage
 * @property {number} first number of the first part, from 1
 * @property {number} last
 * @property {number} start offset in the file of their first byte
 * @property {number} end offset in the file after their last byte
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
 * @typedef {object} Checked the data compared with the manifest
 * @property {number} fileSize
 * @property {number[]} lengths of all parts
 * @property {number[]} bad numbers of the damaged parts among those that the file contains completely, in order
 *
 * @typedef {object} Signature
 * @property {boolean} trusted
 * @property {string | undefined} keyId
 * @property {boolean} keyGiven
 */

const NOTE = 'A signature proves who made this version, not that it is the newest one. To check that, compare the ' +
  'hash of the manifest below with the one that was noted when the backup was made.'
const AGAIN = 'Do not restore from this file. Download it again and verify it once more. If the same parts are ' +
  'damaged then, the stored copy is damaged: restore another version, and check the health of the store.'

/** @param {{ manifest: boolean, data: boolean, key: boolean }} has
 * @param {string} [signedBy] key id, if the manifest is known and signed
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
      text: ['Choose the manifest, the stored file, and the owner’s public key.'],
      needed,
    }
  }
  if (signedBy !== undefined && needed.length === 1 && !has.key) {
    return {
      verdict: 'idle',
      title: 'The public key is needed',
      text: [`The manifest is signed by key ${signedBy}. Choose or paste the owner’s public key to verify the signature.`],
      needed,
    }
  }
  /** @type {Record<string, string>} */
  const names = { manifest: 'the manifest', data: 'the stored file', 'public-key': 'the public key' }
  const list = needed.map((id) => names[id]).join(' and ')
  return { verdict: 'idle', title: `Still needed: ${list}`, text: ['Verification starts when everything is chosen.'], needed }
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
    title: untrusted ? 'The signature is not valid' : 'The manifest is not valid',
    text: [`${sentence(reason)} The stored file was not checked.`],
    todo: untrusted
      ? 'Check that the public key is the owner’s, and that you got it from the owner. If so, someone else made or ' +
        'changed this manifest: do not restore the backup that it describes.'
      : 'If the reason names a format or a required feature, use a newer version of this page. Otherwise the manifest ' +
        'was changed or is damaged: get it again, and do not restore the backup that it describes.',
  }
}

/** @param {string} reason
 * @param {string} hint
 * @returns {Outcome} */
export const failed = (reason, hint) => ({
  verdict: 'error',
  title: 'The backup could not be verified',
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
  const right = `${all} has the length and the checksums (BLAKE3 and CRC64NVME) that the manifest lists.`
  if (signature.trusted) {
    return {
      verdict: 'good',
      title: 'The backup is complete, and its signature is valid',
      text: [`${right} The manifest is signed by key ${signature.keyId}, whose public key you provided.`],
      note: NOTE,
    }
  }
  return {
    verdict: 'unsigned',
    title: 'The file matches its manifest, but the manifest is not signed',
    text: [`${right} But the manifest has no signature, so anyone who can write to the store could have made both.`],
    todo: signature.keyGiven
      ? 'You provided a public key, so a signature was expected. Get the manifest again from its owner, and do not ' +
        'restore the backup until this is explained.'
      : 'This does not prove where the backup comes from. Compare the hash of the manifest below with the one that ' +
        'was noted when the backup was made, and open the vault with a keyring for future backups.',
  }
}

/** @param {Checked} checked
 * @param {number} size
 * @param {Signature} signature
 * @returns {Outcome} */
function badData({ fileSize, lengths, bad }, size, signature) {
  const { findings, complete } = locate({ fileSize, lengths, bad }, size)
  const unsigned = signature.trusted ? [] : ['The manifest has no signature either.']
  const text = []
  let title
  let todo = AGAIN
  if (complete > 0 && bad.length > 0 && bad.length >= 0.9 * complete) {
    title = 'This is not the file of this backup'
    const which = bad.length === complete ? 'None' : `Only ${count(complete - bad.length)}`
    text.push(
      complete === 1
        ? 'Its only part does not match the manifest.'
        : `${which} of its ${parts(complete)} match the manifest; the first that does not is part ${count(bad[0])}.`,
    )
    if (fileSize !== size) text.push(`It has ${bytes(fileSize)}; the backup has ${bytes(size)}.`)
    todo = 'It may be another file, another version, or damaged throughout. Check the path and the time below, and ' +
      'choose the file that they describe. Do not restore from this one.'
  } else if (fileSize < size) {
    title = `The file is truncated: part ${count(findings.find((f) => f.last > complete)?.first ?? 1)} is incomplete`
    text.push(`It has ${bytes(fileSize)}; the backup has ${bytes(size)}.`)
    if (bad.length > 0) text.push(`${parts(bad.length)} before that ${bad.length === 1 ? 'is' : 'are'} damaged.`)
  } else if (bad.length === 0) {
    title = 'The file is too long'
    text.push(`All parts are intact, but ${bytes(fileSize - size)} after them do not belong to the backup.`)
    todo = 'Do not restore from this file. Download it again. If it is still too long, the stored copy was changed: ' +
      'restore another version.'
  } else {
    title = bad.length === 1 ? `Part ${count(bad[0])} is damaged` : `${parts(bad.length)} are damaged`
    text.push(`${count(bad.length)} of ${parts(lengths.length)} ${bad.length === 1 ? 'does' : 'do'} not match the manifest.`)
    if (fileSize > size) text.push(`${bytes(fileSize - size)} after the last part do not belong to the backup.`)
  }
  return { verdict: 'bad', title, text: [...text, ...unsigned], todo, findings }
}

/** The damage in the order of the file, consecutive parts in one row; `complete` is the number of complete parts.
 * @param {Checked} checked
 * @param {number} size
 * @returns {{ findings: Finding[], complete: number }} */
function locate({ fileSize, lengths, bad }, size) {
  const wrong = new Set(bad)
  /** @type {Finding[]} */
  const findings = []
  let start = 0
  let complete = 0
  lengths.forEach((length, index) => {
    const end = start + length
    if (end <= fileSize) complete++
    const what = end > fileSize ? (start < fileSize ? 'truncated' : 'missing') : wrong.has(index + 1) ? 'damaged' : ''
    const last = findings.at(-1)
    if (what && last?.what === what && last.last === index) {
      last.last++
      last.end = end
    } else if (what) {
      findings.push({ first: index + 1, last: index + 1, start, end, what })
    }
    start = end
  })
  if (fileSize > size) findings.push({ first: 0, last: 0, start: size, end: fileSize, what: 'not part of the backup' })
  return { findings, complete }
}

/** @param {string} text */
export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
