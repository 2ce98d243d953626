// Dealing the parts to workers: each run is a range of the file of about 64 MiB, so that a worker reads on without
// jumping; the whole of a small file is dealt in some smaller ones.

const RUN = 64 * 1024 * 1024
const RUNS_PER_WORKER = 4

/**
 * @typedef {object} Run
 * @property {number} first number of its first part, from 1
 * @property {number} count parts in it
 * @property {number} begin offset of its first byte in the file
 * @property {number} end offset behind its last byte
 */

/** The runs over all parts that a file of this size holds whole.
 * @param {ArrayLike<number>} lengths of all parts
 * @param {number} fileSize
 * @param {number} workers
 * @returns {Run[]} */
export function divide(lengths, fileSize, workers) {
  const target = Math.min(RUN, Math.ceil(fileSize / (workers * RUNS_PER_WORKER)))
  /** @type {Run[]} */
  const runs = []
  /** @type {Run | undefined} */
  let run
  let end = 0
  for (let n = 0; n < lengths.length && end + lengths[n] <= fileSize; n++) {
    if (run === undefined || run.end - run.begin >= target) {
      run = { first: n + 1, count: 0, begin: end, end }
      runs.push(run)
    }
    end += lengths[n]
    run.count++
    run.end = end
  }
  return runs
}
