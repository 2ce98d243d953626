//! Time-outs of one attempt: the idle time-out, stalled connections, and the deadline of a dated request.
//!
//! A byte counts as moved when the operating system accepts or returns it. Outgoing payload is handed to the connection in
//! slices, and the connection drops a slice once it is written. So a slow link is never mistaken for a dead one, however
//! large the request is and however long it takes overall.

use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use s3vault_core::Code;
use s3vault_core::http::TransportFailure;

use super::clock;

/// The longest interval between two checks of the clock.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Monotonic time at which payload last moved on any connection of a transport.
#[derive(Default)]
pub(crate) struct LastPayload(AtomicU64);

/// What one attempt is doing, and when its last byte moved.
pub(crate) struct Activity {
    /// Shared by all attempts of the transport.
    last_payload: Arc<LastPayload>,
    /// Monotonic time at which a byte last moved.
    last: AtomicU64,
    /// Number of payload bytes that have moved.
    payload: AtomicU64,
    /// A connection is being made: `connect_timeout_ms` applies, and nothing has been sent.
    connecting: AtomicBool,
    /// The body waits for its source, for example a slow disk, so silence is not the network's fault.
    waiting: AtomicBool,
    /// Payload is being transferred, so neither side has anything else to wait for.
    transferring: AtomicBool,
    /// The task that waits for payload to move.
    waker: AtomicWaker,
    /// Address that the connection goes to, if the store's host is a name and the address is known.
    address: Mutex<Option<IpAddr>>,
}

impl Activity {
    pub(super) fn new(last_payload: Arc<LastPayload>) -> Arc<Activity> {
        Arc::new(Activity {
            last_payload,
            last: AtomicU64::new(clock::mono_ms()),
            payload: AtomicU64::new(0),
            connecting: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            transferring: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            address: Mutex::default(),
        })
    }

    /// Records that a byte moved.
    pub(crate) fn touch(&self) {
        self.last.store(clock::mono_ms(), Ordering::Relaxed);
    }

    /// Records that this many bytes of payload moved.
    pub(crate) fn moved(&self, bytes: u64) {
        self.payload.fetch_add(bytes, Ordering::Relaxed);
        let now = clock::mono_ms();
        self.last.store(now, Ordering::Relaxed);
        self.last_payload.0.store(now, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Waits until moving payload has made `condition` true. Only one task at a time may wait.
    pub(super) fn poll_until(&self, context: &mut Context<'_>, condition: impl Fn() -> bool) -> Poll<()> {
        if condition() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // It may have become true in between.
        if condition() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Records that payload starts or stops being transferred.
    pub(crate) fn transferring(&self, yes: bool) {
        self.transferring.store(yes, Ordering::Relaxed);
    }

    /// Number of payload bytes that have moved so far.
    pub(crate) fn payload(&self) -> u64 {
        self.payload.load(Ordering::Relaxed)
    }

    /// Records that connecting starts or ends.
    fn connecting(&self, yes: bool) {
        self.connecting.store(yes, Ordering::Relaxed);
        self.touch();
    }

    /// Records the address that the connection goes to.
    pub(super) fn connected_to(&self, address: IpAddr) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// Address that the connection goes to; `None` before it is known, and if the store's host is an address itself.
    pub(super) fn address(&self) -> Option<IpAddr> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the body starts or stops waiting for its source.
    pub(crate) fn waiting(&self, yes: bool) {
        if self.waiting.swap(yes, Ordering::Relaxed) != yes {
            self.touch();
        }
    }
}

/// Ends an attempt when no byte moves, or when the date that its request was signed with has passed.
pub(crate) struct Watchdog {
    /// Description of the attempt for error messages: the operation, and the store's scheme, host and port.
    pub(crate) what: String,
    pub(crate) activity: Arc<Activity>,
    /// The idle time-out.
    pub(crate) idle: Duration,
    /// The shorter time-out that applies while other attempts of the transport make progress.
    pub(crate) stall: Duration,
    /// Monotonic time after which the request must not be sent any more.
    pub(crate) drop_at: Option<u64>,
}

impl Watchdog {
    /// Runs this future to its end, unless a time-out ends the attempt first.
    pub(crate) async fn guard<F: Future>(&self, future: F) -> Result<F::Output, TransportFailure> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                () = tokio::time::sleep(self.next_check()) => self.check()?,
            }
        }
    }

    /// Whether no byte moved during the idle time-out.
    pub(super) fn is_silent(&self) -> bool {
        self.idle_at().is_some_and(|at| clock::mono_ms() >= at)
    }

    /// Whether no byte of the payload moved while other attempts made progress, so both network and store are reachable.
    pub(super) fn is_stalled(&self) -> bool {
        let a = &self.activity;
        if !self.idle_counts() || !a.transferring.load(Ordering::Relaxed) {
            return false;
        }
        let (last, stall) = (a.last.load(Ordering::Relaxed), self.stall.as_millis() as u64);
        // Others must have moved in the second half of that time: an attempt that stopped together with all others waits
        // for the network.
        let moved = a.last_payload.0.load(Ordering::Relaxed) >= last.saturating_add(stall / 2);
        moved && clock::mono_ms() >= last.saturating_add(stall)
    }

    /// Whether silence is the fault of the network or the store.
    fn idle_counts(&self) -> bool {
        let a = &self.activity;
        !a.connecting.load(Ordering::Relaxed) && !a.waiting.load(Ordering::Relaxed)
    }

    fn idle_at(&self) -> Option<u64> {
        let last = &self.activity.last;
        self.idle_counts().then(|| last.load(Ordering::Relaxed).saturating_add(self.idle.as_millis() as u64))
    }

    fn next_check(&self) -> Duration {
        let end = self.idle_at().into_iter().chain(self.drop_at).min();
        // One millisecond more, since the clock rounds down.
        end.map_or(CHECK_INTERVAL, |end| clock::until(end, CHECK_INTERVAL)) + Duration::from_millis(1)
    }

    fn check(&self) -> Result<(), TransportFailure> {
        let now = clock::mono_ms();
        let maybe_sent = !self.activity.connecting.load(Ordering::Relaxed);
        let failure = |detail| Err(TransportFailure { code: Code::TimedOut, maybe_sent, detail });
        if self.drop_at.is_some_and(|at| now >= at) {
            return failure(format!(
                "{}: abandoned, because the date that the request was signed with has expired",
                self.what
            ));
        }
        if self.is_silent() {
            return failure(format!("{}: no byte moved for {} ms (idle_timeout_ms)", self.what, self.idle.as_millis()));
        }
        if self.is_stalled() {
            return failure(format!(
                "{}: the connection stalled: no byte moved for {} ms (a sixth of idle_timeout_ms) while other connections made progress",
                self.what,
                self.stall.as_millis()
            ));
        }
        Ok(())
    }
}

/// Marks an attempt as connecting until it is dropped.
pub(super) struct Connecting(Arc<Activity>);

impl Connecting {
    pub(super) fn start(activity: Arc<Activity>) -> Connecting {
        activity.connecting(true);
        Connecting(activity)
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attempt that moved its last byte when the machine started, in the state that the caller chooses.
    fn is_stalled(stall: Duration, last_payload: u64, state: impl Fn(&Activity)) -> bool {
        let activity = Activity::new(Arc::new(LastPayload(AtomicU64::new(last_payload))));
        state(&activity);
        activity.last.store(0, Ordering::Relaxed);
        Watchdog { what: String::new(), activity, idle: Duration::MAX, stall, drop_at: None }.is_stalled()
    }

    #[test]
    fn a_transfer_stalls_if_others_made_progress_in_the_second_half_of_the_time() {
        let (passed, future) = (Duration::from_millis(1000), Duration::from_secs(1 << 40));
        let transfers = |activity: &Activity| activity.transferring(true);
        for (last_payload, stalled) in [(0, false), (1, false), (499, false), (500, true), (2000, true)] {
            assert_eq!(is_stalled(passed, last_payload, transfers), stalled, "{last_payload}");
        }
        assert!(!is_stalled(future, u64::MAX, transfers), "its time has not passed");
        assert!(!is_stalled(passed, 2000, |_| {}), "it waits for the store, and not for payload to move");
        let waits = |activity: &Activity| (activity.transferring(true), activity.waiting(true)).0;
        assert!(!is_stalled(passed, 2000, waits), "it waits for its source");
    }
}
