// Divides the parts among workers. A run is a range of the file of about 64 MiB, so that a worker reads sequentially;
// a small file is divided into several smaller runs.

const RUN = 64 * 1024 * 1024
const RUNS_PER_WORKER = 4

/**
 * @typedef {object} Run
 * @property {number} first number of its first part, from 1
 * @property {number} count number of parts
 * @property {number} start offset in the file of its first byte
 * @property {number} end offset in the file after its last byte
 */

/** The runs over all parts that a file of this size contains completely.
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
    if (run === undefined || run.end - run.start >= target) {
      run = { first: n + 1, count: 0, start: end, end }
      runs.push(run)
    }
    end += lengths[n]
    run.count++
    run.end = end
  }
  return runs
}
