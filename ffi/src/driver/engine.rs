//! The loop that runs one machine: handle what happened, poll until it waits, do what it says.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use s3vault_core::checksum::Digest;
use s3vault_core::http::{Body, Part, Range, ReplyBody, ReplyHead, Request, RequestId, TransportFailure};
use s3vault_core::{Code, Error, Input, Machine, Output, PartRequest, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::Host;
use super::checkpoint::Records;
use super::keys::Wish;
use super::progress::Progress;
use super::request::{self, Sink};
use crate::budget::Transfer;
use crate::transport::body::Outgoing;
use crate::transport::clock;
use crate::transport::frames::Frame;
use crate::transport::runtime::Background;

/// The longest sleep: see [`clock::until`].
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// What an engine is told. The channel has no bound of its own: payload does not pass through it, and each
/// request adds one head and a body with a limit.
pub(super) enum Message {
    Head {
        id: RequestId,
        head: ReplyHead,
    },
    Body {
        id: RequestId,
        bytes: Bytes,
    },
    End {
        id: RequestId,
    },
    Arrived {
        id: RequestId,
        length: u64,
    },
    RangeEnd {
        id: RequestId,
        length: u64,
        digest: Digest,
    },
    Failed {
        id: RequestId,
        failure: TransportFailure,
    },
    PartReady {
        number: u32,
        frames: Vec<Arc<Frame>>,
        length: u64,
        digest: Option<Digest>,
        last: bool,
    },
    PartSent {
        id: RequestId,
        digest: Digest,
    },
    SourceFailed(Error),
    /// All bytes of the request were handed to the connection.
    Sent {
        id: RequestId,
    },
    /// What became of the oldest record that is being saved.
    Saved(Result<()>),
    RangeConsumed {
        index: u32,
    },
    /// The wish for new keys was answered.
    Keys(KeysAnswer),
    Cancel,
    /// Stop, so that the checkpoint can go on.
    Suspend,
    /// After an unknown outcome: the last step once more.
    Again,
    /// Nobody waits any more: suspend where there is a checkpoint, else cancel; and count as background work until the end.
    Detach(Background),
    /// The transfer ends with this error, whatever the machine thinks.
    Fatal(Error),
}

/// What came of a wish for new keys.
pub(super) enum KeysAnswer {
    Renewed,
    /// There are no others; why, where a source of them failed.
    Kept(Option<Error>),
}

/// An engine's mail: its own end, and one to give away.
pub(super) struct Inbox {
    pub(super) sender: UnboundedSender<Message>,
    receiver: UnboundedReceiver<Message>,
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        let (sender, receiver) = unbounded_channel();
        Inbox { sender, receiver }
    }
}

/// Who holds the payload of a transfer. The defaults are for machines that have none.
pub(super) trait Payload: Send + 'static {
    /// The source goes on at this byte, or was at its end before.
    fn begin(&mut self, _offset: u64, _ended: bool) {}

    /// Read this part, and hash it where that must be; then say [`Message::PartReady`].
    fn need_part(&mut self, part: PartRequest) -> Result<()> {
        Err(Error::new(Code::Internal, format!("part {} was asked for, and there is no source", part.number)))
    }

    /// A part of a stream is there. Only its frames come here; the machine is told by the engine.
    fn part_ready(&mut self, _number: u32, _frames: Vec<Arc<Frame>>) {}

    /// The part is not needed any more. Says how long it was.
    fn release_part(&mut self, _number: u32) -> u64 {
        0
    }

    /// The part as the body of a request.
    fn body(&self, part: &Part) -> Result<Outgoing> {
        Err(Error::new(Code::Internal, format!("part {} is to be sent, and there is no source", part.number)))
    }

    /// Where the bytes of this range go.
    fn sink(&mut self, range: Range) -> Result<Sink> {
        Err(Error::new(Code::Internal, format!("range {} comes, and there is no place for it", range.index)))
    }

    /// The range that came under this index is right, or wanted as it is.
    fn accept(&mut self, range: Range) -> Result<()> {
        Err(Error::new(Code::Internal, format!("range {} was accepted, and there is no place for it", range.index)))
    }
}

/// A machine with everything that it needs to run.
pub(super) struct Engine<M, P> {
    /// Its place among all that share the budget.
    transfer: Transfer,
    host: Host,
    machine: M,
    payload: P,
    inbox: Inbox,
    progress: Arc<Progress>,
    requests: HashMap<RequestId, AbortHandle>,
    background: Option<Background>,
    /// The way to the checkpoint, where there is one.
    records: Option<Records>,
    /// Somebody is getting new keys.
    keys_asked: bool,
}

impl<M: Machine, P: Payload> Engine<M, P> {
    pub(super) fn new(host: Host, machine: M, payload: P, inbox: Inbox, progress: Arc<Progress>) -> Self {
        Engine {
            transfer: host.transport.budget().begin(),
            host,
            machine,
            payload,
            inbox,
            progress,
            requests: HashMap::new(),
            background: None,
            records: None,
            keys_asked: false,
        }
    }

    /// Gives it a checkpoint.
    pub(super) fn saving(mut self, records: Option<Records>) -> Self {
        self.records = records;
        self
    }

    /// Runs the machine to its end, or to an outcome that is unknown: then it may be run [`again`](Engine::again). A
    /// panic in it is an error like any other.
    pub(super) async fn run(&mut self) -> Result<M::Done> {
        loop {
            let wait = match self.poll_until_wait()? {
                Step::Wait(wait) => wait,
                Step::Done(result) => return result,
            };
            let sleep = wait.map_or(LONGEST_SLEEP, |at| clock::until(at, LONGEST_SLEEP));
            tokio::select! {
                biased;
                message = self.inbox.receiver.recv() => {
                    // The engine holds a sender itself, so there is always a message.
                    if let Some(message) = message {
                        self.take(message)?;
                    }
                }
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// After an unknown outcome: waits until the caller wants the last step once more (`true`), suspends or is gone.
    pub(super) async fn again(&mut self) -> Result<bool> {
        loop {
            match self.inbox.receiver.recv().await {
                Some(Message::Again) => return self.handle(Input::Retry).map(|()| true),
                Some(Message::Suspend) if self.records.is_some() => {
                    return Err(Error::new(Code::Suspended, "the put was suspended, its outcome unknown"));
                }
                Some(Message::Detach(background)) => {
                    self.background = Some(background);
                    return Ok(false);
                }
                None => return Ok(false),
                Some(_) => {}
            }
        }
    }

    /// After the machine's end: lets go of the checkpoint.
    pub(super) async fn close(&mut self, remove: bool) {
        if let Some(records) = self.records.take() {
            records.close(remove).await;
        }
    }

    fn poll_until_wait(&mut self) -> Result<Step<M::Done>> {
        loop {
            match guarded(|| self.machine.poll(clock::now()))? {
                Output::Send(request) => self.send(request)?,
                Output::Abandon(id) => self.forget(id),
                Output::Start(start) => {
                    self.progress.resume(start.stored);
                    self.payload.begin(start.offset, start.ended);
                }
                Output::Save { record, restart } => match &self.records {
                    Some(records) => records.save(record, restart),
                    None => return Err(Error::new(Code::Internal, "there is no checkpoint to save a record in")),
                },
                Output::NeedPart(part) => self.payload.need_part(part)?,
                Output::ReleasePart(number) => {
                    let length = self.payload.release_part(number);
                    self.progress.settle(length);
                }
                Output::Accept(range) => {
                    self.payload.accept(range)?;
                    self.progress.accept(&range);
                }
                Output::NeedCredentials { generation } => self.need_keys(generation)?,
                Output::Wait(until) => return Ok(Step::Wait(until)),
                Output::Done(result) => return Ok(Step::Done(result)),
            }
        }
    }

    fn send(&mut self, request: Request) -> Result<()> {
        let id = request.id;
        let activity = self.host.transport.activity();
        let mut body = match &request.body {
            Body::Empty => None,
            Body::Bytes(bytes) => Some(Outgoing::bytes(bytes.clone())),
            Body::Part(part) => {
                self.progress.begin(id, part.number, &activity);
                let mut body = self.payload.body(part)?;
                if part.digest.is_none() {
                    let engine = self.inbox.sender.clone();
                    body.with_trailer(Box::new(move |digest| {
                        let _ = engine.send(Message::PartSent { id, digest });
                    }))?;
                }
                Some(body)
            }
        };
        if let Some(body) = &mut body {
            let engine = self.inbox.sender.clone();
            body.when_sent(Box::new(move || {
                let _ = engine.send(Message::Sent { id });
            }));
        }
        let sink = match request.reply {
            ReplyBody::Collect { .. } => None,
            ReplyBody::Range(range) => {
                self.progress.begin_range(id, &range, &activity);
                Some(self.payload.sink(range)?)
            }
        };
        let attempt = request::Attempt {
            transport: self.host.transport.clone(),
            engine: self.inbox.sender.clone(),
            request,
            body,
            sink,
            activity,
            transfer: self.transfer.id,
        };
        let task = tokio::spawn(attempt.run());
        self.requests.insert(id, task.abort_handle());
        Ok(())
    }

    /// Forgets a request; what still comes of it is nobody's.
    fn forget(&mut self, id: RequestId) {
        if let Some(task) = self.requests.remove(&id) {
            task.abort();
            self.progress.end(id);
        }
    }

    /// Whether the machine still wants to hear of this request; at its end it is forgotten.
    fn wanted(&mut self, id: RequestId, ends: bool) -> bool {
        let known = self.requests.contains_key(&id);
        if known && ends {
            self.requests.remove(&id);
        }
        known
    }

    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Head { id, head } if self.wanted(id, false) => self.handle(Input::Head { id, head }),
            Message::Body { id, bytes } if self.wanted(id, false) => self.handle(Input::Body { id, bytes: &bytes }),
            Message::End { id } if self.wanted(id, true) => self.ended(id, Input::End { id }),
            Message::Arrived { id, length } if self.wanted(id, false) => {
                self.progress.arrived(id, length);
                self.handle(Input::RangeProgress { id, length })
            }
            Message::RangeEnd { id, length, digest } if self.wanted(id, true) => {
                self.progress.arrived(id, length);
                self.ended(id, Input::RangeEnd { id, length, digest })
            }
            Message::Failed { id, failure } if self.wanted(id, true) => self.ended(id, Input::Failed { id, failure }),
            Message::PartSent { id, digest } if self.wanted(id, false) => self.handle(Input::PartSent { id, digest }),
            Message::Sent { id } if self.wanted(id, false) => self.handle(Input::Sent { id }),
            Message::Head { .. }
            | Message::Body { .. }
            | Message::End { .. }
            | Message::Arrived { .. }
            | Message::RangeEnd { .. }
            | Message::PartSent { .. }
            | Message::Sent { .. }
            | Message::Failed { .. } => Ok(()),
            Message::PartReady { number, frames, length, digest, last } => {
                self.payload.part_ready(number, frames);
                self.handle(Input::PartReady { number, length, digest, last })
            }
            Message::SourceFailed(error) => self.handle(Input::SourceFailed(error)),
            Message::RangeConsumed { index } => self.handle(Input::RangeConsumed { index }),
            Message::Keys(answer) => self.keys_answered(answer),
            Message::Saved(Ok(())) => self.handle(Input::Saved),
            Message::Saved(Err(error)) => self.handle(Input::SaveFailed(error)),
            Message::Cancel => self.handle(Input::Cancel),
            Message::Suspend => self.suspend(),
            // It came before the outcome was unknown: nothing is to be done again.
            Message::Again => Ok(()),
            Message::Detach(background) => {
                self.background = Some(background);
                if self.keys_asked {
                    self.keys_answered(KeysAnswer::Kept(None))?;
                }
                self.suspend()
            }
            Message::Fatal(error) => Err(error),
        }
    }

    fn suspend(&mut self) -> Result<()> {
        self.handle(if self.records.is_some() { Input::Suspend } else { Input::Cancel })
    }

    /// The machine needs other keys than those of this generation.
    fn need_keys(&mut self, generation: u64) -> Result<()> {
        let Some(keys) = self.host.keys.clone() else { return self.handle(Input::CredentialsKept(None)) };
        if keys.generation() > generation {
            return self.handle(Input::CredentialsRenewed);
        }
        if self.background.is_some() {
            return self.handle(Input::CredentialsKept(None));
        }
        if !std::mem::replace(&mut self.keys_asked, true) {
            let wish = Wish::new(generation, keys, self.inbox.sender.clone());
            wish.make(self.progress.clone());
        }
        Ok(())
    }

    fn keys_answered(&mut self, answer: KeysAnswer) -> Result<()> {
        if !std::mem::take(&mut self.keys_asked) {
            return Ok(());
        }
        match answer {
            KeysAnswer::Renewed => self.handle(Input::CredentialsRenewed),
            KeysAnswer::Kept(why) => self.handle(Input::CredentialsKept(why)),
        }
    }

    fn handle(&mut self, input: Input<'_>) -> Result<()> {
        guarded(|| self.machine.handle(clock::now(), input))
    }

    /// Tells the machine of a request's end. The bytes of the attempt are counted until the machine has heard:
    /// by then they are settled, or lost.
    fn ended(&mut self, id: RequestId, input: Input<'_>) -> Result<()> {
        let handled = self.handle(input);
        self.progress.end(id);
        handled
    }
}

impl<M, P> Drop for Engine<M, P> {
    fn drop(&mut self) {
        for task in self.requests.values() {
            task.abort();
        }
    }
}

enum Step<T> {
    Wait(Option<u64>),
    Done(Result<T>),
}

/// Runs a piece of the machine; a panic in it becomes an error. After that the machine is not used again.
fn guarded<R>(piece: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(piece)).map_err(|panic| defect("the machine", &*panic))
}

/// The error of a panic.
pub(super) fn defect(whose: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(Code::Internal, format!("{whose} panicked: {}", text.unwrap_or("without a message")))
}
