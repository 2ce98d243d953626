//! The life of one attempt: when a byte moved last, how many moved, and when it must end.
//!
//! A byte counts as moved when the system takes it or gives it: outgoing payload is handed over in slices, and
//! the connection drops a slice once it is written. So a slow link does not look like a dead one, however large
//! the request is, and however long it takes in all.

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

/// Between two looks at the clock pass at most so many milliseconds.
const LOOK: Duration = Duration::from_secs(1);

/// When payload moved last on any connection of a transport, by the monotonic clock.
#[derive(Default)]
pub(crate) struct Pulse(AtomicU64);

/// What is known about an attempt.
pub(crate) struct Activity {
    /// Of all attempts of the transport.
    pulse: Arc<Pulse>,
    /// When a byte moved last, by the monotonic clock.
    last: AtomicU64,
    /// Payload bytes moved.
    payload: AtomicU64,
    /// A connection is being made: the connector has its own time-out, and nothing was sent.
    connecting: AtomicBool,
    /// The body waits for its source, for example a slow disk: the network is not to blame.
    waiting: AtomicBool,
    /// It is in the midst of its payload: neither side has anything else to wait for.
    on_its_way: AtomicBool,
    /// Whoever waits for payload to move.
    waker: AtomicWaker,
    /// The address of the store's name that its connection goes to, where that is known.
    dialled: Mutex<Option<IpAddr>>,
}

impl Activity {
    pub(super) fn new(pulse: Arc<Pulse>) -> Arc<Activity> {
        Arc::new(Activity {
            pulse,
            last: AtomicU64::new(clock::mono_ms()),
            payload: AtomicU64::new(0),
            connecting: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            on_its_way: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            dialled: Mutex::default(),
        })
    }

    /// A byte moved.
    pub(crate) fn touch(&self) {
        self.last.store(clock::mono_ms(), Ordering::Relaxed);
    }

    /// So many bytes of payload moved.
    pub(crate) fn moved(&self, bytes: u64) {
        self.payload.fetch_add(bytes, Ordering::Relaxed);
        let now = clock::mono_ms();
        self.last.store(now, Ordering::Relaxed);
        self.pulse.0.store(now, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Waits until so much moved that this is so. One at a time can wait.
    pub(super) fn poll_until(&self, context: &mut Context<'_>, is_so: impl Fn() -> bool) -> Poll<()> {
        if is_so() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // It may have moved in between.
        if is_so() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Its payload begins or ends to move.
    pub(crate) fn on_its_way(&self, yes: bool) {
        self.on_its_way.store(yes, Ordering::Relaxed);
    }

    /// Payload bytes moved so far.
    pub(crate) fn payload(&self) -> u64 {
        self.payload.load(Ordering::Relaxed)
    }

    /// A connection begins or ends to be made.
    pub(crate) fn connecting(&self, yes: bool) {
        self.connecting.store(yes, Ordering::Relaxed);
        self.touch();
    }

    /// Its connection goes to this address.
    pub(super) fn dialled(&self, address: IpAddr) {
        *self.dialled.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// The address that its connection goes to; `None` where it has none yet, or the name is an address.
    pub(super) fn address(&self) -> Option<IpAddr> {
        *self.dialled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body begins or ends to wait for its source.
    pub(crate) fn waiting(&self, yes: bool) {
        if self.waiting.swap(yes, Ordering::Relaxed) != yes {
            self.touch();
        }
    }
}

/// Ends an attempt when no byte moves, or when its date has passed.
pub(crate) struct Watch {
    /// The store's scheme, host and port, and what is done there.
    pub(crate) what: String,
    pub(crate) activity: Arc<Activity>,
    pub(crate) idle: Duration,
    /// The same, while others of the transport move.
    pub(crate) stall: Duration,
    pub(crate) drop_at: Option<u64>,
}

impl Watch {
    /// Runs this future, unless the attempt must end before it does.
    pub(crate) async fn over<F: Future>(&self, future: F) -> Result<F::Output, TransportFailure> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                () = tokio::time::sleep(self.next_look()) => self.check()?,
            }
        }
    }

    /// Whether no byte moved for too long.
    pub(super) fn is_silent(&self) -> bool {
        self.idle_at().is_some_and(|at| clock::mono_ms() >= at)
    }

    /// Whether no byte of its payload moved for a while in which others moved: the line is there, and the store too.
    pub(super) fn is_stalled(&self) -> bool {
        let a = &self.activity;
        if !self.counts() || !a.on_its_way.load(Ordering::Relaxed) {
            return false;
        }
        let (last, stall) = (a.last.load(Ordering::Relaxed), self.stall.as_millis() as u64);
        // In its second half: who stopped together with all others waits for the line.
        let moved = a.pulse.0.load(Ordering::Relaxed) >= last.saturating_add(stall / 2);
        moved && clock::mono_ms() >= last.saturating_add(stall)
    }

    /// Whether silence is the line's or the store's.
    fn counts(&self) -> bool {
        let a = &self.activity;
        !a.connecting.load(Ordering::Relaxed) && !a.waiting.load(Ordering::Relaxed)
    }

    fn idle_at(&self) -> Option<u64> {
        let last = &self.activity.last;
        self.counts().then(|| last.load(Ordering::Relaxed).saturating_add(self.idle.as_millis() as u64))
    }

    fn next_look(&self) -> Duration {
        let end = self.idle_at().into_iter().chain(self.drop_at).min();
        // A millisecond more, since the clock's are cut off.
        end.map_or(LOOK, |end| clock::until(end, LOOK)) + Duration::from_millis(1)
    }

    fn check(&self) -> Result<(), TransportFailure> {
        let now = clock::mono_ms();
        let maybe_sent = !self.activity.connecting.load(Ordering::Relaxed);
        let failure = |detail| Err(TransportFailure { code: Code::TimedOut, maybe_sent, detail });
        if self.drop_at.is_some_and(|at| now >= at) {
            return failure(format!("{}: dropped, since the date that it was signed with has passed", self.what));
        }
        if self.is_silent() {
            return failure(format!("{}: no byte moved for {} ms (idle_timeout_ms)", self.what, self.idle.as_millis()));
        }
        if self.is_stalled() {
            return failure(format!(
                "{}: the connection stalled: no byte moved for {} ms (a sixth of idle_timeout_ms) while others moved",
                self.what,
                self.stall.as_millis()
            ));
        }
        Ok(())
    }
}
