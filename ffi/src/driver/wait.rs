//! The one place where a calling thread waits.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use s3vault_core::{Code, Error, Result};

use super::progress::{Figures, Progress};
use crate::control::{Control, Event, EventKind};

/// A cancel is seen after at most so long.
const SLICE: Duration = Duration::from_millis(50);

/// An event comes at least so often.
const BEAT: Duration = Duration::from_millis(200);

/// When a call must return.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// Of a call that begins now.
    pub(super) fn of(control: &Control<'_>) -> Deadline {
        Deadline(control.timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }
}

/// What a handle remembers of its events from call to call.
pub(super) struct Pulse {
    last: Instant,
    told: Figures,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        Pulse { last: Instant::now(), told: Figures::default() }
    }

    /// Waits for something to receive. A channel whose other end is gone without a result is a defect, or a
    /// shutdown.
    pub(super) fn wait<T>(
        &mut self,
        from: &Receiver<T>,
        progress: &Progress,
        deadline: Deadline,
        control: &mut Control<'_>,
    ) -> Result<T> {
        let mut slice = Duration::ZERO;
        loop {
            match from.recv_timeout(slice) {
                Ok(received) => return Ok(received),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(
                        Code::Internal,
                        "the call ended without a result, by a defect or a shutdown",
                    ));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.look(progress, deadline, control)?;
            slice = deadline.0.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()).min(SLICE));
        }
    }

    /// Whether the call may go on; tells the callback what is due.
    pub(super) fn look(&mut self, progress: &Progress, deadline: Deadline, control: &mut Control<'_>) -> Result<()> {
        if control.cancel.as_ref().is_some_and(|cancel| cancel.is_triggered()) {
            return Err(Error::new(Code::Cancelled, "the call was cancelled"));
        }
        let now = Instant::now();
        if deadline.0.is_some_and(|end| now >= end) {
            return Err(Error::new(Code::TimedOut, "the call took longer than its time-out")
                .with_hint("The call's own timeout_ms set the limit."));
        }
        if let Some(wish) = progress.take_wish() {
            let goes_on = say(EventKind::Credentials, self.figures(progress), Some(&wish.text()), progress, control);
            wish.answer();
            goes_on?;
        }
        if now.duration_since(self.last) < BEAT {
            return Ok(());
        }
        self.last = now;
        self.tell(progress, control)
    }

    /// Tells the callback the figures at the end; it can stop nothing any more.
    pub(super) fn last(&mut self, progress: &Progress, control: &mut Control<'_>) {
        if progress.figures() != self.told {
            let _ = self.tell(progress, control);
        }
    }

    fn tell(&mut self, progress: &Progress, control: &mut Control<'_>) -> Result<()> {
        let figures = self.figures(progress);
        let kind = if figures == self.told { EventKind::Heartbeat } else { EventKind::Progress };
        self.told = figures;
        say(kind, figures, None, progress, control)
    }

    /// As an event has them: what is done never goes back.
    fn figures(&self, progress: &Progress) -> Figures {
        let figures = progress.figures();
        Figures { done: figures.done.max(self.told.done), ..figures }
    }
}

/// Tells the callback, which may stop the call.
fn say(
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
