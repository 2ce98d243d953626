//! What a caller holds over a call that may take long: events, a cancel, a time-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use s3vault_core::{Code, Error, Result};

/// Ends calls from another thread, or from a signal handler: [`trigger`](Cancel::trigger) is one atomic store.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Not triggered.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Ends every call that was given this cancel, now and later: each returns within 250 ms.
    pub fn trigger(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was triggered.
    pub fn is_triggered(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What an event is about. The numbers are those of the C interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum EventKind {
    /// Bytes or parts were moved since the last event.
    Progress = 1,
    /// A warning for a log: nothing failed, but somebody should know.
    Log = 2,
    /// The store refuses the credentials, or they expired.
    Credentials = 3,
    /// Something was left behind in the store.
    Orphan = 4,
    /// Nothing happened for 200 ms; the call still waits.
    Heartbeat = 5,
}

/// What a callback is told. At least one event comes every 200 ms while a call waits.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What it is about.
    pub kind: EventKind,
    /// Payload bytes moved; never less than in the event before.
    pub done: u64,
    /// Payload bytes in all, where that is known.
    pub total: Option<u64>,
    /// Parts done.
    pub parts: u64,
    /// Attempts beyond the first, over all parts.
    pub retries: u64,
    /// For people.
    pub text: Option<&'a str>,
}

/// Called on the calling thread, never after its call returned; `false` stops the call
/// ([`Code::Stopped`](s3vault_core::Code::Stopped)).
pub type OnEvent<'a> = &'a mut dyn FnMut(&Event<'_>) -> bool;

/// What a caller holds over one call.
#[derive(Default)]
pub struct Control<'a> {
    /// Told what happens.
    pub on_event: Option<OnEvent<'a>>,
    /// Ends the call early.
    pub cancel: Option<Cancel>,
    /// The longest that each call may take.
    pub timeout: Option<Duration>,
}

impl Control<'_> {
    /// No events, no cancel, no time-out.
    pub fn none() -> Control<'static> {
        Control::default()
    }

    /// Reports a warning as a log event.
    pub(crate) fn log(&mut self, text: &str) -> Result<()> {
        let event = Event { kind: EventKind::Log, done: 0, total: None, parts: 0, retries: 0, text: Some(text) };
        if self.on_event.as_mut().is_none_or(|on_event| on_event(&event)) {
            Ok(())
        } else {
            Err(Error::new(Code::Stopped, "the caller's callback stopped the call"))
        }
    }
}
