//! How far a transfer is: written by its engine and its requests, read by the calling thread.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3vault_core::http::RequestId;

use super::keys::Wish;
use crate::transport::activity::Activity;

/// What has been done, and what is being done.
pub(super) struct Progress {
    pub(super) total: Option<u64>,
    retries: AtomicU64,
    counts: Mutex<Counts>,
    /// What the machine wants of the calling thread.
    wish: Mutex<Option<Wish>>,
}

#[derive(Default)]
struct Counts {
    /// Bytes of parts that are done, those of an earlier run too.
    settled: u64,
    /// Parts that are done.
    parts: u64,
    /// Parts that were begun, done ones too.
    begun: HashSet<u32>,
    /// Attempts under way that move payload.
    live: HashMap<RequestId, Arc<Activity>>,
}

/// A moment's view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) done: u64,
    pub(super) parts: u64,
    pub(super) retries: u64,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Arc<Progress> {
        Arc::new(Progress { total, retries: AtomicU64::new(0), counts: Mutex::default(), wish: Mutex::default() })
    }

    /// An attempt to move this part (or range) begins.
    pub(super) fn begin(&self, id: RequestId, number: u32, activity: &Arc<Activity>) {
        let mut counts = self.counts();
        counts.live.insert(id, activity.clone());
        if !counts.begun.insert(number) {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The attempt is over; what it moved counts only once its part is settled.
    pub(super) fn end(&self, id: RequestId) {
        self.counts().live.remove(&id);
    }

    /// A part is done.
    pub(super) fn settle(&self, bytes: u64) {
        let mut counts = self.counts();
        counts.settled += bytes;
        counts.parts += 1;
    }

    /// So many bytes were done before this run.
    pub(super) fn resume(&self, bytes: u64) {
        self.counts().settled += bytes;
    }

    /// May go back a little, when an attempt fails; who shows it shows the greatest so far.
    pub(super) fn figures(&self) -> Figures {
        let counts = self.counts();
        let live: u64 = counts.live.values().map(|activity| activity.payload()).sum();
        let done = counts.settled + live;
        Figures {
            done: self.total.map_or(done, |total| done.min(total)),
            parts: counts.parts,
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// Waits for the calling thread: it takes the wish when it looks.
    pub(super) fn wish(&self, wish: Wish) {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner) = Some(wish);
    }

    pub(super) fn take_wish(&self) -> Option<Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
