//! The calling thread's side of a running machine.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use s3vault_core::{Code, Error, Machine, Result};
use tokio::sync::mpsc::UnboundedSender;

use super::Host;
use super::checkpoint::{CheckpointFile, RecordWriter};
use super::engine::{Engine, Inbox, Message, Payload};
use super::progress::Progress;
use super::wait::{Deadline, Waiter};
use crate::control::Control;
use crate::transport::runtime::{self, Background};

/// What a machine and its payload tell the calling thread. `A` is what the payload tells.
pub(super) enum Notice<T, A> {
    Payload(A),
    Done(Result<T>),
}

impl<T, A> Notice<T, A> {
    /// Whether the engine is gone after this. It stays after an unknown outcome.
    fn is_end(&self) -> bool {
        match self {
            Notice::Payload(_) => false,
            Notice::Done(result) => !is_unknown(result),
        }
    }
}

/// Whether the machine stays, since its last step can be retried.
pub(super) fn is_unknown<T>(result: &Result<T>) -> bool {
    matches!(result, Err(e) if e.code() == Code::OutcomeUnknown)
}

/// Whether there is nothing left to resume: the backup was stored or aborted, or its file is no longer what it was.
fn leaves_nothing<T>(result: &Result<T>) -> bool {
    result.as_ref().err().is_none_or(|e| matches!(e.code(), Code::Cancelled | Code::SourceChanged))
}

/// A running machine. Dropped before its end, it suspends the machine if it has a checkpoint, otherwise cancels it; the
/// machine then ends in the background.
pub(super) struct Task<T, A = ()> {
    /// Empty only while it is being dropped.
    link: Option<Link<T, A>>,
    pub(super) progress: Arc<Progress>,
    waiter: Waiter,
    ended: bool,
}

struct Link<T, A> {
    inbox: UnboundedSender<Message>,
    notices: Receiver<Notice<T, A>>,
}

impl<T: Send + 'static> Task<T> {
    /// Starts a machine whose payload does not talk to the calling thread.
    pub(super) fn start<M, P>(host: &Host, machine: M, payload: P, progress: Arc<Progress>) -> Result<Self>
    where
        M: Machine<Done = T> + Send + 'static,
        P: Payload,
    {
        Task::start_with(host, machine, progress, |_, _| payload)
    }

    /// Waits for the end.
    pub(super) fn end(mut self, deadline: Deadline, control: &mut Control<'_>) -> Result<T> {
        self.waiter = Waiter::of(control);
        loop {
            if let Notice::Done(result) = self.next(deadline, control)? {
                self.report_end(control);
                return result;
            }
        }
    }
}

impl<T: Send + 'static, A: Send + 'static> Task<T, A> {
    /// Starts a machine. `payload` gets the channel to the engine and the channel to the calling thread.
    pub(super) fn start_with<M, P>(
        host: &Host,
        machine: M,
        progress: Arc<Progress>,
        payload: impl FnOnce(&Inbox, Sender<Notice<T, A>>) -> P,
    ) -> Result<Self>
    where
        M: Machine<Done = T> + Send + 'static,
        P: Payload,
    {
        Task::start_saving(host, machine, progress, None, payload)
    }

    /// Starts a machine that may have a checkpoint.
    pub(super) fn start_saving<M, P>(
        host: &Host,
        machine: M,
        progress: Arc<Progress>,
        checkpoint: Option<CheckpointFile>,
        payload: impl FnOnce(&Inbox, Sender<Notice<T, A>>) -> P,
    ) -> Result<Self>
    where
        M: Machine<Done = T> + Send + 'static,
        P: Payload,
    {
        // Inside the runtime, since the payload may start tasks.
        let handle = runtime::handle()?;
        let _inside = handle.enter();
        let (to_caller, notices) = unbounded();
        let inbox = Inbox::new();
        let payload = payload(&inbox, to_caller.clone());
        let link = Link { inbox: inbox.sender.clone(), notices };
        let records = checkpoint.map(|file| RecordWriter::start(file, inbox.sender.clone()));
        let mut engine = Engine::new(host.clone(), machine, payload, inbox, progress.clone()).with_records(records);
        handle.spawn(async move {
            loop {
                let result = engine.run().await;
                let is_over = !is_unknown(&result);
                if is_over {
                    // The caller may use the checkpoint once it learns of the end.
                    engine.close(leaves_nothing(&result)).await;
                }
                if is_over {
                    // The machine and its keys go before the caller learns of the end.
                    drop(engine);
                    // The caller may be gone.
                    let _ = to_caller.send(Notice::Done(result));
                    return;
                }
                let is_received = to_caller.send(Notice::Done(result)).is_ok();
                match if is_received { engine.wait_for_retry().await } else { Ok(false) } {
                    Ok(true) => {}
                    Ok(false) => return engine.close(false).await,
                    Err(e) => {
                        engine.close(false).await;
                        let _ = to_caller.send(Notice::Done(Err(e)));
                        return;
                    }
                }
            }
        });
        Ok(Task { link: Some(link), progress, waiter: Waiter::new(), ended: false })
    }

    /// Waits for the next notice.
    pub(super) fn next(&mut self, deadline: Deadline, control: &mut Control<'_>) -> Result<Notice<T, A>> {
        runtime::guard_fork()?;
        let Some(link) = &self.link else { return Err(engine_gone()) };
        let notice = self.waiter.wait(&link.notices, &self.progress, deadline, control)?;
        if notice.is_end() {
            self.ended = true;
            // What the machine reported just before its end, such as an upload that it could not abort.
            self.report_end(control);
        }
        Ok(notice)
    }

    /// Returns a notice that has already arrived, without waiting.
    pub(super) fn next_now(&mut self) -> Option<Notice<T, A>> {
        let notice = self.link.as_ref()?.notices.try_recv().ok()?;
        self.ended |= notice.is_end();
        Some(notice)
    }

    /// Checks whether the call may continue; for calls that do not wait.
    pub(super) fn check(&mut self, deadline: Deadline, control: &mut Control<'_>) -> Result<()> {
        self.waiter.check(&self.progress, deadline, control)
    }

    /// Reports the final figures to the callback.
    pub(super) fn report_end(&mut self, control: &mut Control<'_>) {
        self.waiter.report_end(&self.progress, control);
    }

    /// Sends a message to the engine; does nothing if it has ended.
    pub(super) fn send(&self, message: Message) {
        if let Some(link) = &self.link {
            let _ = link.inbox.send(message);
        }
    }
}

impl<T, A> Drop for Task<T, A> {
    fn drop(&mut self) {
        if runtime::guard_fork().is_err() {
            // The other ends belong to threads that do not exist in this process.
            std::mem::forget(self.link.take());
        } else if !self.ended
            && let Some(link) = &self.link
        {
            self.progress.leave_alone();
            let _ = link.inbox.send(Message::Detach(Background::start()));
        }
    }
}

fn engine_gone() -> Error {
    Error::new(Code::Internal, "the engine has ended without a result")
}
