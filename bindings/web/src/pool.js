// Two workers check the parts of a file; with more of them the disk is the limit.

export const WORKERS = 2

/**
 * The numbers of the damaged parts among those of the runs, in order.
 * @param {import('./worker.js').Start} start
 * @param {import('./runs.js').Run[]} runs
 * @param {(bytes: number) => void} onBytes called with the number of bytes checked since the last call
 * @param {AbortSignal} signal
 * @returns {Promise<number[]>}
 */
export async function checkParts(start, runs, onBytes, signal) {
  const url = URL.createObjectURL(new Blob([WORKER_SOURCE], { type: 'text/javascript' }))
  const queue = [...runs]
  /** @type {Worker[]} */
  const workers = []
  try {
    const lists = Array.from({ length: Math.min(WORKERS, runs.length) }, () => {
      const worker = new Worker(url)
      workers.push(worker)
      return work(worker, start, queue, onBytes, signal)
    })
    return (await Promise.all(lists)).flat().sort((a, b) => a - b)
  } finally {
    for (const worker of workers) worker.terminate()
    URL.revokeObjectURL(url)
  }
}

/**
 * Gives runs from the queue to a worker until the queue is empty.
 * @param {Worker} worker
 * @param {import('./worker.js').Start} start
 * @param {import('./runs.js').Run[]} queue
 * @param {(bytes: number) => void} onBytes
 * @param {AbortSignal} signal
 * @returns {Promise<number[]>}
 */
function work(worker, start, queue, onBytes, signal) {
  return new Promise((resolve, reject) => {
    /** @type {number[]} */
    const bad = []
    const next = () => {
      const run = queue.shift()
      if (run === undefined) resolve(bad)
      else worker.postMessage({ run })
    }
    worker.onmessage = (/** @type {MessageEvent<import('./worker.js').Report>} */ { data }) => {
      if ('bytes' in data) onBytes(data.bytes)
      else if ('failed' in data) reject(Object.assign(new Error(data.failed.message), { name: data.failed.name }))
      else {
        bad.push(...data.bad)
        next()
      }
    }
    worker.onerror = (event) => reject(new Error(event.message || 'the worker did not start'))
    worker.onmessageerror = () => reject(new Error('the file could not be sent to the worker'))
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    worker.postMessage(start)
    next()
  })
}
