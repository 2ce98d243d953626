// The page: whenever the choice changes, it aborts the verification in progress and starts a new one.

import { chosen, watch } from './inputs.js'
import { verify } from './verify.js'
import { progress, show } from './view.js'

const SHOW_EVERY_MS = 200

let run = new AbortController()

function start() {
  run.abort()
  run = new AbortController()
  let started = 0
  let shown = 0
  const listener = {
    /** @type {import('./verify.js').Listener['show']} */
    show(outcome, described) {
      started = performance.now()
      show(outcome, described)
    },
    /** @type {import('./verify.js').Listener['progress']} */
    progress(done, total) {
      const now = performance.now()
      if (now - shown < SHOW_EVERY_MS && done < total) return
      shown = now
      progress(done, total, (now - started) / 1000)
    },
  }
  void verify(chosen(), listener, run.signal)
}

watch(start)
// Some browsers keep the chosen files after a reload.
start()
