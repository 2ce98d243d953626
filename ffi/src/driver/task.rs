//! The calling thread's end of a machine that runs.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use s3vault_core::{Code, Error, Machine, Result};
use tokio::sync::mpsc::UnboundedSender;

use super::Host;
use super::checkpoint::{CheckpointFile, Records};
use super::engine::{Engine, Inbox, Message, Payload};
use super::progress::Progress;
use super::wait::{Deadline, Pulse};
use crate::control::Control;
use crate::transport::runtime::{self, Background};

/// What a machine and its payload say to the calling thread. `A` is what the payload says.
pub(super) enum News<T, A> {
    Ask(A),
    Done(Result<T>),
}

impl<T, A> News<T, A> {
    /// Whether the engine is gone after this: not so after an outcome that is unknown.
    fn is_end(&self) -> bool {
        match self {
            News::Ask(_) => false,
            News::Done(result) => !is_unknown(result),
        }
    }
}

/// Whether the machine stays, since its last step may be tried again.
pub(super) fn is_unknown<T>(result: &Result<T>) -> bool {
    matches!(result, Err(e) if e.code() == Code::OutcomeUnknown)
}

/// Whether a checkpoint has nothing to go on with: what it is of was stored or aborted.
fn leaves_nothing<T>(result: &Result<T>) -> bool {
    result.as_ref().err().is_none_or(|e| e.code() == Code::Cancelled)
}

/// A machine that runs. When it is dropped before its end, the machine is suspended where it has a checkpoint, else
/// cancelled, and ends in the background.
pub(super) struct Task<T, A = ()> {
    /// Empty only while it is dropped.
    link: Option<Link<T, A>>,
    pub(super) progress: Arc<Progress>,
    pulse: Pulse,
    ended: bool,
}

struct Link<T, A> {
    inbox: UnboundedSender<Message>,
    news: Receiver<News<T, A>>,
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
    pub(super) fn end(mut self, control: &mut Control<'_>) -> Result<T> {
        let deadline = Deadline::of(control);
        loop {
            if let News::Done(result) = self.next(deadline, control)? {
                self.tell_last(control);
                return result;
            }
        }
    }
}

impl<T: Send + 'static, A: Send + 'static> Task<T, A> {
    /// Starts a machine; `payload` is made from the way to the engine and the way to the calling thread.
    pub(super) fn start_with<M, P>(
        host: &Host,
        machine: M,
        progress: Arc<Progress>,
        payload: impl FnOnce(&Inbox, Sender<News<T, A>>) -> P,
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
        payload: impl FnOnce(&Inbox, Sender<News<T, A>>) -> P,
    ) -> Result<Self>
    where
        M: Machine<Done = T> + Send + 'static,
        P: Payload,
    {
        // Inside of the runtime, since payload may start tasks of its own.
        let handle = runtime::handle()?;
        let _inside = handle.enter();
        let (to_caller, news) = unbounded();
        let inbox = Inbox::new();
        let payload = payload(&inbox, to_caller.clone());
        let link = Link { inbox: inbox.sender.clone(), news };
        let records = checkpoint.map(|file| Records::start(file, inbox.sender.clone()));
        let mut engine = Engine::new(host.clone(), machine, payload, inbox, progress.clone()).saving(records);
        handle.spawn(async move {
            loop {
                let result = engine.run().await;
                let is_over = !is_unknown(&result);
                if is_over {
                    // Who hears of the end may use the checkpoint.
                    engine.close(leaves_nothing(&result)).await;
                }
                // Nobody may be there any more.
                let is_heard = to_caller.send(News::Done(result)).is_ok();
                if is_over {
                    return;
                }
                match if is_heard { engine.again().await } else { Ok(false) } {
                    Ok(true) => {}
                    Ok(false) => return engine.close(false).await,
                    Err(e) => {
                        engine.close(false).await;
                        let _ = to_caller.send(News::Done(Err(e)));
                        return;
                    }
                }
            }
        });
        Ok(Task { link: Some(link), progress, pulse: Pulse::new(), ended: false })
    }

    /// Waits for the next thing that the machine or the payload says.
    pub(super) fn next(&mut self, deadline: Deadline, control: &mut Control<'_>) -> Result<News<T, A>> {
        runtime::guard_fork()?;
        let Some(link) = &self.link else { return Err(gone()) };
        let news = self.pulse.wait(&link.news, &self.progress, deadline, control)?;
        self.ended |= news.is_end();
        Ok(news)
    }

    /// What was said already, without waiting.
    pub(super) fn next_now(&mut self) -> Option<News<T, A>> {
        let news = self.link.as_ref()?.news.try_recv().ok()?;
        self.ended |= news.is_end();
        Some(news)
    }

    /// Whether the call may go on; for calls that do not wait.
    pub(super) fn look(&mut self, deadline: Deadline, control: &mut Control<'_>) -> Result<()> {
        self.pulse.look(&self.progress, deadline, control)
    }

    /// Tells the callback the figures at the end.
    pub(super) fn tell_last(&mut self, control: &mut Control<'_>) {
        self.pulse.last(&self.progress, control);
    }

    /// Says something to the engine; nothing happens when it has ended.
    pub(super) fn say(&self, message: Message) {
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
            let _ = link.inbox.send(Message::Detach(Background::start()));
        }
    }
}

fn gone() -> Error {
    Error::new(Code::Internal, "the machine is gone")
}
