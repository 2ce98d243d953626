//! The progress of a transfer: written by its engine and its requests, read by the calling thread.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3vault_core::Event;
use s3vault_core::http::{Range, RequestId};
use tokio::sync::Notify;

use super::keys::KeyRequest;
use crate::transport::watchdog::Activity;

/// What is done, and what is in progress.
pub(super) struct Progress {
    pub(super) total: Option<u64>,
    retries: AtomicU64,
    counts: Mutex<Counts>,
    /// The request for keys that waits for the calling thread.
    key_request: Mutex<Option<KeyRequest>>,
    /// Events of the machine that wait for the calling thread.
    events: Mutex<VecDeque<Event>>,
    /// Items among them.
    items: AtomicUsize,
    /// There is room for more items.
    room: Notify,
    /// The calling thread is gone, and takes no more events.
    is_alone: AtomicBool,
}

/// Most items of a job that wait for the calling thread. The machine pauses until they are taken, so that none is lost
/// and a slow callback fills no memory.
pub(super) const ITEMS: usize = 4096;

#[derive(Default)]
struct Counts {
    /// Bytes of parts that are done, also in an earlier run.
    settled: u64,
    /// Items that reached the calling thread, for a job: it counts them, and not the bytes that it reads.
    items: Option<u64>,
    /// Parts that are done.
    parts: u64,
    /// Parts that were started, including those that are done.
    started: HashSet<u32>,
    /// Attempts in progress that transfer payload.
    live: HashMap<RequestId, Arc<Activity>>,
    /// Bytes of ranges that earlier attempts received, and of ranges that wait for the rest of their part.
    arrived: HashMap<u32, u64>,
    /// Sum of `arrived`.
    arrived_in_all: u64,
    /// The range of each attempt in progress.
    ranges: HashMap<RequestId, u32>,
    /// The part of the range that was accepted last.
    last_part: Option<u32>,
}

impl Counts {
    fn arrive(&mut self, index: u32, bytes: u64) {
        let before = self.arrived.insert(index, bytes).unwrap_or(0);
        self.arrived_in_all = self.arrived_in_all + bytes - before;
    }
}

/// A snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) done: u64,
    pub(super) parts: u64,
    pub(super) retries: u64,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Arc<Progress> {
        Arc::new(Progress {
            total,
            retries: AtomicU64::new(0),
            counts: Mutex::default(),
            events: Mutex::default(),
            key_request: Mutex::default(),
            items: AtomicUsize::new(0),
            room: Notify::new(),
            is_alone: AtomicBool::new(false),
        })
    }

    /// An attempt to transfer this part (or range) starts.
    pub(super) fn start(&self, id: RequestId, number: u32, activity: &Arc<Activity>) {
        let mut counts = self.counts();
        counts.live.insert(id, activity.clone());
        if !counts.started.insert(number) {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An attempt to receive the rest of this range starts.
    pub(super) fn start_range(&self, id: RequestId, range: &Range, activity: &Arc<Activity>) {
        self.start(id, range.index, activity);
        let mut counts = self.counts();
        counts.ranges.insert(id, range.index);
        counts.arrive(range.index, range.done);
    }

    /// `bytes` bytes of the attempt's range have arrived.
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
        counts.started.remove(&range.index);
        counts.settled += range.length;
        if counts.last_part.replace(range.part) != Some(range.part) {
            counts.parts += 1;
        }
    }

    /// The attempt is over; its bytes count only once its part is settled.
    pub(super) fn end(&self, id: RequestId) {
        let mut counts = self.counts();
        counts.live.remove(&id);
        counts.ranges.remove(&id);
    }

    /// `bytes` bytes were done before this run.
    pub(super) fn already_done(&self, bytes: u64) {
        self.counts().settled += bytes;
    }

    /// A part is done.
    pub(super) fn settle(&self, bytes: u64) {
        let mut counts = self.counts();
        counts.settled += bytes;
        counts.parts += 1;
    }

    /// `bytes` bytes are done where the source starts. Called again if the machine starts from scratch.
    pub(super) fn resume(&self, bytes: u64) {
        let mut counts = self.counts();
        (counts.settled, counts.parts) = (bytes, 0);
        counts.started.clear();
    }

    /// The figures can go back a little when an attempt fails; callers show the highest value so far.
    pub(super) fn figures(&self) -> Figures {
        let counts = self.counts();
        let live: u64 = counts.live.values().map(|activity| activity.payload()).sum();
        let done = counts.items.unwrap_or(counts.settled + counts.arrived_in_all + live);
        Figures {
            done: self.total.map_or(done, |total| done.min(total)),
            parts: counts.parts,
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// Keeps the request until the calling thread takes it.
    pub(super) fn set_key_request(&self, key_request: KeyRequest) {
        *self.key_request.lock().unwrap_or_else(PoisonError::into_inner) = Some(key_request);
    }

    pub(super) fn take_key_request(&self) -> Option<KeyRequest> {
        self.key_request.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// It is that of a job, of which earlier steps of the call reported this many items.
    pub(super) fn count_items_after(&self, items: u64) {
        self.counts().items = Some(items);
    }

    /// An item of a job reaches the calling thread.
    pub(super) fn count_item(&self) {
        *self.counts().items.get_or_insert(0) += 1;
    }

    /// Whether the calling thread has to take items before there can be more.
    pub(super) fn is_full(&self) -> bool {
        self.items.load(Ordering::Acquire) >= ITEMS && !self.is_left_alone()
    }

    /// Waits until there is room for more items.
    pub(super) async fn room(&self) {
        while self.is_full() {
            self.room.notified().await;
        }
    }

    /// Whether the calling thread is gone.
    pub(super) fn is_left_alone(&self) -> bool {
        self.is_alone.load(Ordering::Acquire)
    }

    /// The calling thread is gone.
    pub(super) fn leave_alone(&self) {
        self.is_alone.store(true, Ordering::Release);
        self.room.notify_one();
    }

    /// Keeps an event of the machine for the calling thread.
    pub(super) fn report(&self, event: Event) {
        if let Event::Item { .. } = event {
            self.items.fetch_add(1, Ordering::AcqRel);
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }

    /// The oldest event that the calling thread was not told yet.
    pub(super) fn take_event(&self) -> Option<Event> {
        let event = self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(Event::Item { .. }) = event
            && self.items.fetch_sub(1, Ordering::AcqRel) == ITEMS
        {
            self.room.notify_one();
        }
        event
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
