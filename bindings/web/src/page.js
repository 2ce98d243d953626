// The page: whenever the choice changes, it aborts the verification in progress and starts a new one. Decryption starts when
// the user says so.

import * as decryption from './decryption.js'
import { chosen, watch, watchDecrypt } from './inputs.js'
import { verify } from './verify.js'
import { progress, show } from './view.js'

const SHOW_EVERY_MS = 200

let run = new AbortController()
/** What is verified.
 * @type {import('./inputs.js').Chosen | undefined} */
let verified

function start() {
  const now = chosen()
  decryption.choose(now)
  // An escrow file does not change what is verified.
  if (verified !== undefined && !decryption.isOtherBackup(now, verified)) return
  verified = now
  run.abort()
  run = new AbortController()
  let started = 0
  let shown = 0
  const listener = {
    /** @type {import('./verify.js').Listener['show']} */
    show(outcome, described) {
      started = performance.now()
      show(outcome, described)
      decryption.describe(described)
    },
    /** @type {import('./verify.js').Listener['progress']} */
    progress(done, total) {
      const now = performance.now()
      if (now - shown < SHOW_EVERY_MS && done < total) return
      shown = now
      progress(done, total, (now - started) / 1000)
    },
  }
  void verify(now, listener, run.signal)
}

watch(start)
watchDecrypt(decryption.start, decryption.nameOfBackup)
// Some browsers keep the chosen files after a reload.
start()
