//! How a caller watches and stops a call that may take long: events, a cancel, a time-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use s3vault_core::{Code, Error, Result};

/// Stops calls from another thread or from a signal handler: [`trigger`](Cancel::trigger) is one atomic store.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Creates a cancel that is not triggered.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Stops every call that has this cancel, now and later: each returns within 250 ms.
    pub fn trigger(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was triggered.
    pub fn is_triggered(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The kind of an event. The numbers are those of the C interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum EventKind {
    /// Bytes or parts were transferred since the last event.
    Progress = 1,
    /// A warning for a log: nothing failed, but somebody should know.
    Log = 2,
    /// The store refuses the credentials, or they expired.
    Credentials = 3,
    /// An upload was left in the store.
    Orphan = 4,
    /// Nothing happened for 200 ms; the call still waits.
    Heartbeat = 5,
    /// What a job does with one version: a line of JSON.
    Item = 6,
}

/// What happened. While a call waits, there is at least one event every 200 ms.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The kind of the event.
    pub kind: EventKind,
    /// Payload bytes transferred, or items of a job; never less than in the previous event.
    pub done: u64,
    /// Payload bytes in total, if known.
    pub total: Option<u64>,
    /// Parts transferred.
    pub parts: u64,
    /// Attempts beyond the first, over all parts.
    pub retries: u64,
    /// Text for the user.
    pub text: Option<&'a str>,
}

/// Called on the calling thread, never after the call returned. Returning `false` stops the call
/// ([`Code::Stopped`](s3vault_core::Code::Stopped)).
pub type OnEvent<'a> = &'a mut dyn FnMut(&Event<'_>) -> bool;

/// How to watch and stop one call.
#[derive(Default)]
pub struct Control<'a> {
    /// Called for each event.
    pub on_event: Option<OnEvent<'a>>,
    /// Stops the call early.
    pub cancel: Option<Cancel>,
    /// Time limit of the call.
    pub timeout: Option<Duration>,
    /// The call in progress: leave the default.
    #[doc(hidden)]
    pub in_progress: InProgress,
}

/// A call in progress whose steps share its time limit and its events.
#[derive(Clone, Copy, Debug, Default)]
pub struct InProgress(Option<Progress>);

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// When the call must return.
    end: Option<Instant>,
    /// When the last event was sent, or the call started.
    last_event: Instant,
}

/// Adds to the error of a call that its caller ended what to do next.
pub(crate) fn after_interrupt(e: Error, hint: impl FnOnce() -> String) -> Error {
    if matches!(e.code(), Code::Cancelled | Code::Stopped) { e.with_hint(hint()) } else { e }
}

impl Control<'_> {
    /// No events, no cancel, no time-out.
    pub fn none() -> Control<'static> {
        Control::default()
    }

    /// Makes a call of several steps: they share its time limit, and events come as often as if it were one step.
    pub(crate) fn one_call<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.in_progress.0.is_some() {
            return call(self);
        }
        self.in_progress.0 = Some(Progress { end: self.new_end(), last_event: Instant::now() });
        let result = call(self);
        self.in_progress.0 = None;
        result
    }

    fn new_end(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    /// When the call must return.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.in_progress.0.map_or_else(|| self.new_end(), |call| call.end)
    }

    /// When the last event of the call was sent, or the call started.
    pub(crate) fn last_event(&self) -> Instant {
        self.in_progress.0.map_or_else(Instant::now, |call| call.last_event)
    }

    /// Records that an event was sent.
    pub(crate) fn event_sent(&mut self, at: Instant) {
        if let Some(call) = &mut self.in_progress.0 {
            call.last_event = at;
        }
    }

    /// Fails if the cancel was triggered.
    pub(crate) fn check_cancel(&self) -> Result<()> {
        match &self.cancel {
            Some(cancel) if cancel.is_triggered() => Err(Error::new(Code::Cancelled, "the call was cancelled")),
            _ => Ok(()),
        }
    }

    /// Reports a warning as a log event.
    pub(crate) fn log(&mut self, text: &str) -> Result<()> {
        self.tell(EventKind::Log, 0, text)
    }

    /// Reports an item: the `done`th of the call.
    pub(crate) fn item(&mut self, done: u64, json: &str) -> Result<()> {
        self.tell(EventKind::Item, done, json)
    }

    fn tell(&mut self, kind: EventKind, done: u64, text: &str) -> Result<()> {
        let event = Event { kind, done, total: None, parts: 0, retries: 0, text: Some(text) };
        if self.on_event.as_mut().is_none_or(|on_event| on_event(&event)) {
            Ok(())
        } else {
            Err(Error::new(Code::Stopped, "the caller's callback stopped the call"))
        }
    }
}
