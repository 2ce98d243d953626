//! How far a transfer is: written by its engine and its requests, read by the calling thread.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3vault_core::http::{Range, RequestId};

use super::keys::Wish;
use crate::transport::watchdog::Activity;

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
    /// Bytes of ranges that arrived by earlier attempts, and of those that wait for the rest of their part.
    arrived: HashMap<u32, u64>,
    /// Their sum.
    arrived_in_all: u64,
    /// The ranges of attempts under way.
    ranges: HashMap<RequestId, u32>,
    /// The part that a range was accepted of last.
    last_part: Option<u32>,
}

impl Counts {
    fn arrive(&mut self, index: u32, bytes: u64) {
        let before = self.arrived.insert(index, bytes).unwrap_or(0);
        self.arrived_in_all = self.arrived_in_all + bytes - before;
    }
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

    /// An attempt to move the rest of this range begins.
    pub(super) fn begin_range(&self, id: RequestId, range: &Range, activity: &Arc<Activity>) {
        self.begin(id, range.index, activity);
        let mut counts = self.counts();
        counts.ranges.insert(id, range.index);
        counts.arrive(range.index, range.done);
    }

    /// So many bytes of the attempt's range are there.
    pub(super) fn arrived(&self, id: RequestId, bytes: u64) {
        let mut counts = self.counts();
        counts.live.remove(&id);
        if let Some(index) = counts.ranges.get(&id).copied() {
            counts.arrive(index, bytes);
        }
    }

    /// A range is done.
    pub(super) fn accept(&self, range: &Range) {
        let mut counts = self.counts();
        counts.arrive(range.index, 0);
        counts.arrived.remove(&range.index);
        counts.begun.remove(&range.index);
        counts.settled += range.length;
        if counts.last_part.replace(range.part) != Some(range.part) {
            counts.parts += 1;
        }
    }

    /// The attempt is over; what it moved counts only once its part is settled.
    pub(super) fn end(&self, id: RequestId) {
        let mut counts = self.counts();
        counts.live.remove(&id);
        counts.ranges.remove(&id);
    }

    /// So many bytes were there before.
    pub(super) fn there(&self, bytes: u64) {
        self.counts().settled += bytes;
    }

    /// A part is done.
    pub(super) fn settle(&self, bytes: u64) {
        let mut counts = self.counts();
        counts.settled += bytes;
        counts.parts += 1;
    }

    /// So many bytes are done where the source begins, before this run or another beginning of it.
    pub(super) fn resume(&self, bytes: u64) {
        let mut counts = self.counts();
        (counts.settled, counts.parts) = (bytes, 0);
        counts.begun.clear();
    }

    /// May go back a little, when an attempt fails; who shows it shows the greatest so far.
    pub(super) fn figures(&self) -> Figures {
        let counts = self.counts();
        let live: u64 = counts.live.values().map(|activity| activity.payload()).sum();
        let done = counts.settled + counts.arrived_in_all + live;
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
