// Runs, words and outcomes, without a browser.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { judgeDecrypted, locked } from '../src/decrypted.js'
import { judge } from '../src/outcome.js'
import { divide } from '../src/runs.js'
import { bytes, duration, time, visible } from '../src/words.js'

const MIB = 1024 ** 2

test('runs contain every complete part once, in order, and about 64 MiB each', () => {
  const lengths = Array(300).fill(8 * MIB)
  const runs = divide(lengths, 2400 * MIB, 2)
  assert.equal(runs.length, Math.ceil(300 / 8))
  let [part, offset] = [1, 0]
  for (const { first, count, start, end } of runs) {
    assert.deepEqual([first, start], [part, offset])
    assert.equal(end - start, count * 8 * MIB)
    assert.ok(end - start <= 64 * MIB)
    part += count
    offset = end
  }
  assert.deepEqual([part, offset], [301, 2400 * MIB])
})

test('a small file is divided among all workers, and a large part is a run of its own', () => {
  assert.equal(divide(Array(16).fill(MIB), 16 * MIB, 2).length, 8)
  assert.deepEqual(divide([5 * 1024 * MIB], 5 * 1024 * MIB, 2).length, 1)
  assert.deepEqual(divide([0], 0, 2), [{ first: 1, count: 1, start: 0, end: 0 }])
  assert.deepEqual(divide([], 0, 2), [])
})

test('incomplete parts are not in any run', () => {
  const covered = (size) => divide([10, 10, 10], size, 2).reduce((sum, run) => sum + run.count, 0)
  assert.deepEqual([0, 9, 10, 29, 30, 31].map(covered), [0, 0, 1, 2, 3, 3])
})

const signed = { trusted: true, keyId: 'k', keyGiven: true }
const found = (fileSize, bad) =>
  judge({ fileSize, lengths: Array(20).fill(10), bad }, signed).findings
    .map(({ first, last, start, end, what }) => `${first}-${last} ${start}-${end} ${what}`)

test('consecutive parts with the same damage are one finding', () => {
  assert.deepEqual(found(200, [2, 3, 7]), ['2-3 10-30 damaged', '7-7 60-70 damaged'])
  assert.deepEqual(found(175, [2]), ['2-2 10-20 damaged', '18-18 170-180 truncated', '19-20 180-200 missing'])
  assert.deepEqual(found(180, []), ['19-20 180-200 missing'])
  assert.deepEqual(found(203, [20]), ['20-20 190-200 damaged', '0-0 200-203 not part of the backup'])
})

test('a file of which hardly any part matches is another file', () => {
  const title = (fileSize, bad) => judge({ fileSize, lengths: Array(20).fill(10), bad }, signed).title
  const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n)
  assert.equal(title(200, numbers(1, 20)), 'This is not the file of this backup')
  assert.equal(title(200, numbers(3, 20)), 'This is not the file of this backup')
  assert.equal(title(105, numbers(1, 10)), 'This is not the file of this backup')
  assert.equal(title(200, numbers(4, 20)), '17 parts are damaged')
  assert.equal(title(105, []), 'The file is truncated: part 11 is incomplete')
  assert.equal(title(0, []), 'The file is truncated: part 1 is incomplete')
})

test('a missing signature is reported along with the damage', () => {
  const outcome = judge({ fileSize: 10, lengths: [5, 5], bad: [2] }, { ...signed, trusted: false })
  assert.equal(outcome.verdict, 'bad')
  assert.match(outcome.text.join(' '), /no signature either/)
})

test('numbers, times and names are formatted for people', () => {
  assert.equal(bytes(1), '1 byte')
  assert.equal(bytes(1023), '1,023 bytes')
  assert.equal(bytes(1024 ** 3), '1,073,741,824 bytes (1 GiB)')
  assert.equal(bytes(40_000), '40,000 bytes (39.1 KiB)')
  assert.equal(time(1_764_000_000_999n), '2025-11-24 16:00:00 UTC')
  assert.equal(time(2n ** 62n), '4611686018427387904 ms after 1970')
  assert.deepEqual([0.2, 61, 7260].map(duration), ['1 s', '1 min 1 s', '2 h 1 min'])
  assert.equal(visible('a\u202eb\n\u200bü'), 'a\\u{202e}b\\u{a}\\u{200b}ü')
})

test('what is still needed to decrypt is named', () => {
  const title = (known) => locked({ hasData: true, hasEscrow: true, ...known }).title
  assert.equal(title({ hasEscrow: false }), 'Nothing to decrypt yet')
  assert.equal(title({ hasEscrow: false, encryption: 'envelope' }), 'This backup is encrypted, and was not decrypted')
  assert.equal(title({ encryption: 'envelope' }), 'Reading the escrow file')
  assert.equal(title({ encryption: 'envelope', secret: 'passphrase' }), 'Still needed to decrypt: the passphrase')
  assert.equal(title({ hasData: false, secret: 'identity' }),
    'Still needed to decrypt: a manifest that is verified and the stored file and the identity file')
  for (const encryption of ['none', 'sse-c', 'sse-kms']) {
    assert.equal(title({ encryption, secret: 'passphrase' }), 'There is nothing to decrypt')
  }
})

test('a decryption is good only if its result has a hash', () => {
  const result = { damage: [], excess: 0, size: 10, segments: 3, hash: 'abc' }
  const damage = (first, last) => ({ first, last, part: 1, start: 10 * (first - 1), end: 10 * last, what: 'damaged' })
  const judged = (changes, how = { signed: true }) => judgeDecrypted({ ...result, hash: undefined, ...changes }, how)
  assert.equal(judged({ hash: 'abc' }).state, 'good')
  assert.match(judged({ hash: 'abc' }, { signed: false }).text.join(' '), /no signature/)
  assert.match(judged({ hash: 'abc' }, { signed: true, saved: 'disk.img' }).text.join(' '), /saved as ‘disk.img’/)
  assert.deepEqual([judged({ damage: [damage(2, 2)] }).state, judged({ damage: [damage(2, 2)] }).title],
    ['bad', 'Segment 2 cannot be decrypted'])
  assert.match(judged({ damage: [damage(2, 2)] }, { signed: true, saved: 'disk.img' }).text.join(' '), /Nothing was saved/)
  assert.equal(judged({ damage: [damage(1, 3)] }).title, 'Nothing of this file can be decrypted')
  const long = judged({ excess: 4 })
  assert.deepEqual([long.state, long.title], ['bad', 'The file is too long'])
  assert.deepEqual(judged({ damage: [damage(3, 3)], excess: 4 }).findings.map(({ first, start, end }) => [first, start, end]),
    [[3, 20, 30], [0, 30, 34]])
})
