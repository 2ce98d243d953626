//! The only place where a calling thread waits.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use s3vault_core::{Code, Error, Result};

use super::progress::{Figures, Progress};
use crate::control::{Control, Event, EventKind};
use crate::transport::runtime;

/// A cancel is noticed after at most this long.
const SLICE: Duration = Duration::from_millis(50);

/// An event is sent at least this often.
const EVENT_INTERVAL: Duration = Duration::from_millis(200);

/// When a call must return.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// The deadline of a call that starts now, or of one whose next step starts now. Fails if the cancel was triggered
    /// before: nothing is sent then, and no reply can be faster.
    pub(super) fn of(control: &Control<'_>) -> Result<Deadline> {
        control.check_cancel()?;
        Ok(Deadline(control.end()))
    }
}

/// What a handle remembers of its events between calls.
pub(super) struct Waiter {
    last: Instant,
    reported: Figures,
    /// How often the library had been shut down when it started.
    shutdowns: u64,
}

impl Waiter {
    pub(super) fn new() -> Waiter {
        Waiter { last: Instant::now(), reported: Figures::default(), shutdowns: runtime::shutdowns() }
    }

    /// A waiter for a step of a call: an event is due when it is due for the call.
    pub(super) fn of(control: &Control<'_>) -> Waiter {
        Waiter { last: control.last_event(), ..Waiter::new() }
    }

    /// Waits for something to receive.
    pub(super) fn wait<T>(
        &mut self,
        from: &Receiver<T>,
        progress: &Progress,
        deadline: Deadline,
        control: &mut Control<'_>,
    ) -> Result<T> {
        let mut slice = Duration::ZERO;
        control.check_cancel()?;
        loop {
            match from.recv_timeout(slice) {
                Ok(received) => return Ok(received),
                Err(RecvTimeoutError::Disconnected) if runtime::shutdowns() > self.shutdowns => {
                    let why = "the library was shut down while the call or its handle was in use";
                    return Err(Error::new(Code::WrongState, why)
                        .with_hint("Make no call while s3v_shutdown runs, and open the handle again after it."));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(Code::Internal, "the call ended without a result"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.check(progress, deadline, control)?;
            slice = deadline.0.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()).min(SLICE));
        }
    }

    /// Checks whether the call may continue, and reports events that are due.
    pub(super) fn check(&mut self, progress: &Progress, deadline: Deadline, control: &mut Control<'_>) -> Result<()> {
        control.check_cancel()?;
        let now = Instant::now();
        if deadline.0.is_some_and(|end| now >= end) {
            return Err(Error::new(Code::TimedOut, "the call took longer than its time-out")
                .with_hint("Raise timeout_ms of this call."));
        }
        if let Some(key_request) = progress.take_key_request() {
            let outcome = send_event(
                EventKind::Credentials,
                self.figures(progress),
                Some(&key_request.text()),
                progress,
                control,
            );
            key_request.answer();
            outcome?;
        }
        self.report_events(progress, control)?;
        if now.duration_since(self.last) < EVENT_INTERVAL {
            return Ok(());
        }
        self.last = now;
        control.event_sent(now);
        self.report(progress, control)
    }

    /// Reports the final figures to the callback, which can no longer stop the call.
    pub(super) fn report_end(&mut self, progress: &Progress, control: &mut Control<'_>) {
        let _ = self.report_events(progress, control);
        if progress.figures() != self.reported {
            let _ = self.report(progress, control);
        }
    }

    /// Reports what the machine said since the last time.
    fn report_events(&mut self, progress: &Progress, control: &mut Control<'_>) -> Result<()> {
        while let Some(event) = progress.take_event() {
            let kind = match &event {
                s3vault_core::Event::Orphan { .. } => EventKind::Orphan,
                s3vault_core::Event::Item { .. } => {
                    progress.count_item();
                    EventKind::Item
                }
                _ => EventKind::Log,
            };
            send_event(kind, self.figures(progress), Some(&event.to_string()), progress, control)?;
        }
        Ok(())
    }

    fn report(&mut self, progress: &Progress, control: &mut Control<'_>) -> Result<()> {
        let figures = self.figures(progress);
        let kind = if figures == self.reported { EventKind::Heartbeat } else { EventKind::Progress };
        self.reported = figures;
        send_event(kind, figures, None, progress, control)
    }

    /// The figures of an event: `done` never goes back.
    fn figures(&self, progress: &Progress) -> Figures {
        let figures = progress.figures();
        Figures { done: figures.done.max(self.reported.done), ..figures }
    }
}

/// Calls the callback, which may stop the call.
fn send_event(
    kind: EventKind,
    Figures { done, parts, retries }: Figures,
    text: Option<&str>,
    progress: &Progress,
    control: &mut Control<'_>,
) -> Result<()> {
    let event = Event { kind, done, total: progress.total, parts, retries, text };
    if control.on_event.as_mut().is_none_or(|on_event| on_event(&event)) {
        Ok(())
    } else {
        Err(Error::new(Code::Stopped, "the caller's callback stopped the call"))
    }
}
