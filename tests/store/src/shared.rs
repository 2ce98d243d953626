//! What all connections of one server share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use s3_model::Store;
use serde::Serialize;

use crate::clock::Clock;
use crate::fault::Faults;
use crate::payload::{Budget, Payload};

pub(crate) struct Shared {
    store: Mutex<Store<Payload>>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) stats: Counters,
    /// The access key that is known, and its secret.
    keys: Mutex<(String, String)>,
    activity: Activity,
    requests: AtomicU64,
}

impl Shared {
    pub(crate) fn new(store: Store<Payload>, max_bytes: u64, access_key: String, secret_key: String) -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::new(store),
            budget: Budget::new(max_bytes),
            clock: Clock::default(),
            faults: Faults::default(),
            stats: Counters::default(),
            keys: Mutex::new((access_key, secret_key)),
            activity: Activity { open: AtomicUsize::new(0), last: Mutex::new(Instant::now()) },
            requests: AtomicU64::new(0),
        })
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store<Payload>> {
        lock(&self.store)
    }

    /// The secret of an access key, where that is the one that is known.
    pub(crate) fn secret_of(&self, access_key: &str) -> Option<String> {
        let keys = lock(&self.keys);
        (keys.0 == access_key).then(|| keys.1.clone())
    }

    /// Other keys are known from now on, and these only.
    pub(crate) fn set_keys(&self, access_key: String, secret_key: String) {
        *lock(&self.keys) = (access_key, secret_key);
    }

    pub(crate) fn next_request_id(&self) -> String {
        format!("{:016X}", self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.activity.open.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// How long no request has been in flight.
    pub(crate) fn idle(&self) -> Duration {
        if self.activity.open.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        lock(&self.activity.last).elapsed()
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            requests: lock(&self.stats.requests).clone(),
            bytes_in: self.stats.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.stats.bytes_out.load(Ordering::Relaxed),
            stored_bytes: self.budget.used(),
        }
    }
}

struct Activity {
    open: AtomicUsize,
    last: Mutex<Instant>,
}

/// A request under way, until its reply is sent.
pub(crate) struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        *lock(&self.0.activity.last) = Instant::now();
        self.0.activity.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a server has done so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests by operation. `refused` are those that failed a check before an operation was known.
    pub requests: BTreeMap<String, u64>,
    /// Bytes of request bodies, as sent.
    pub bytes_in: u64,
    /// Bytes of reply bodies.
    pub bytes_out: u64,
    /// Bytes of payload held: objects, parts of open uploads, and bodies that are arriving.
    pub stored_bytes: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    requests: Mutex<BTreeMap<String, u64>>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, operation: &str) {
        *lock(&self.requests).entry(operation.to_owned()).or_insert(0) += 1;
    }

    pub(crate) fn add_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A panic in one request must not take the others down.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
