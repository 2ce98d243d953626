//! Connections: a limited number of requests in progress, in turns between transfers.
//!
//! A transfer with waiting requests has one place in the round, however many requests it has, so that a wide transfer
//! does not delay another's first request. Within a transfer, requests without payload go first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::{self, Sender};

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// No payload.
    First,
    Payload,
}

/// The connections of all transfers.
pub(crate) struct Connections(Mutex<State>);

struct State {
    limit: usize,
    used: usize,
    peak: usize,
    /// Transfers with waiting requests; a transfer that was served goes to the end.
    round: VecDeque<u64>,
    waiting: HashMap<u64, Waiting>,
}

#[derive(Default)]
struct Waiting {
    first: VecDeque<Sender<Permit>>,
    payload: VecDeque<Sender<Permit>>,
}

impl Connections {
    pub(crate) fn new(limit: u64) -> Arc<Connections> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (round, waiting) = (VecDeque::new(), HashMap::new());
        Arc::new(Connections(Mutex::new(State { limit, used: 0, peak: 0, round, waiting })))
    }

    /// Changes the limit; requests in progress are not stopped for it.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: u64) {
        self.change(|state| state.limit = usize::try_from(limit).unwrap_or(usize::MAX));
    }

    /// Requests in progress, their peak, and their limit.
    pub(crate) fn figures(&self) -> (u64, u64, u64) {
        let state = self.state();
        (state.used as u64, state.peak as u64, state.limit as u64)
    }

    /// Waits until this transfer may have one more request in progress.
    pub(crate) async fn take(self: &Arc<Self>, transfer: u64, urgency: Urgency) -> Permit {
        loop {
            let (sender, receiver) = oneshot::channel();
            self.change(|state| {
                let waiting = state.waiting.entry(transfer).or_insert_with(|| {
                    state.round.push_back(transfer);
                    Waiting::default()
                });
                match urgency {
                    Urgency::First => waiting.first.push_back(sender),
                    Urgency::Payload => waiting.payload.push_back(sender),
                }
            });
            // No sender is dropped before it was served; if one ever is, the request waits again.
            if let Ok(permit) = receiver.await {
                return permit;
            }
        }
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let mut served = Vec::new();
        let mut state = self.state();
        change(&mut state);
        while state.used < state.limit
            && let Some(transfer) = state.round.pop_front()
        {
            let Some(waiting) = state.waiting.get_mut(&transfer) else { continue };
            let next = waiting.first.pop_front().or_else(|| waiting.payload.pop_front());
            if waiting.first.is_empty() && waiting.payload.is_empty() {
                state.waiting.remove(&transfer);
            } else {
                state.round.push_back(transfer);
            }
            if let Some(next) = next
                && !next.is_closed()
            {
                state.used += 1;
                state.peak = state.peak.max(state.used);
                served.push(next);
            }
        }
        drop(state);
        for next in served {
            // The receiver may be gone; then the permit is returned at once.
            let _ = next.send(Permit(self.clone()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission for one request in progress.
pub(crate) struct Permit(Arc<Connections>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.change(|state| state.used -= 1);
    }
}
