//! The loop that runs one machine: it handles what happened, polls until the machine waits, and does what it says.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use s3vault_core::checksum::Digest;
use s3vault_core::crypto::segment::{Salt, Segments};
use s3vault_core::http::{Body, Part, Range, ReplyBody, ReplyHead, Request, RequestId, TransportFailure};
use s3vault_core::{Code, Error, Input, Machine, Output, PartRequest, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::Host;
use super::checkpoint::RecordWriter;
use super::external;
use super::keys::KeyRequest;
use super::progress::Progress;
use super::request::{self, Sink};
use crate::budget::{Collected, Transfer};
use crate::transport::body::Outgoing;
use crate::transport::clock;
use crate::transport::frames::Frame;
use crate::transport::runtime::Background;

/// The longest sleep: see [`clock::until`].
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// What an engine receives. The channel needs no bound: payload does not pass through it, and each request adds one
/// head and a body of limited length.
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
        /// What the body takes in memory until it is handled.
        memory: Collected,
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
        salt: Option<Salt>,
    },
    PartSent {
        id: RequestId,
        digest: Digest,
    },
    PartHashed {
        number: u32,
        digest: Digest,
        md5: [u8; 16],
    },
    SourceFailed(Error),
    /// All bytes of the request were handed to the connection.
    Sent {
        id: RequestId,
    },
    /// The result for the oldest record that is being saved.
    Saved(Result<()>),
    RangeConsumed {
        index: u32,
    },
    /// The answer to the request for new keys.
    Keys(KeyReply),
    Cancel,
    /// Stop so that the checkpoint can be resumed.
    Suspend,
    /// Repeat the last step, whose outcome is unknown.
    Retry,
    /// The caller no longer waits: suspend if there is a checkpoint, otherwise cancel; and count as background work
    /// until the end.
    Detach(Background),
    /// End the transfer with this error, whatever state the machine is in.
    Fatal(Error),
}

/// The answer to a request for new keys.
pub(super) enum KeyReply {
    Renewed,
    /// There are no others; the error says why, if their source failed.
    Unchanged(Option<Error>),
}

/// An engine's incoming messages: the receiver, and a sender to give to others.
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

/// Holds the payload of a transfer. The defaults are for machines that have none.
pub(super) trait Payload: Send + 'static {
    /// The source continues at this byte, or had already ended.
    fn start(&mut self, _offset: u64, _ended: bool) {}

    /// Reads this part, hashes it if required, and then sends [`Message::PartReady`].
    fn need_part(&mut self, request: PartRequest) -> Result<()> {
        Err(Error::new(Code::Internal, format!("part {} was requested, but there is no source", request.number)))
    }

    /// A part of a stream was received. Only its frames are passed here; the engine tells the machine.
    fn part_ready(&mut self, _number: u32, _frames: Vec<Arc<Frame>>) {}

    /// Hashes this part, which is ready, and then sends [`Message::PartHashed`].
    fn hash_part(&mut self, part: &Part) -> Result<()> {
        Err(Error::new(Code::Internal, format!("part {} is to be hashed, but there is no source", part.number)))
    }

    /// The part is no longer needed. Returns its length.
    fn release_part(&mut self, _number: u32) -> u64 {
        0
    }

    /// Returns the part as the body of a request.
    fn body(&self, part: &Part) -> Result<Outgoing> {
        Err(Error::new(Code::Internal, format!("part {} is to be sent, but there is no source", part.number)))
    }

    /// The ranges from here on consist of encrypted segments. Where nothing is delivered, none is decrypted.
    fn segments(&mut self, _segments: Arc<Segments>) {}

    /// Returns where the bytes of this range go.
    fn sink(&mut self, range: Range) -> Result<Sink> {
        Err(Error::new(Code::Internal, format!("range {} was received, but there is no destination", range.index)))
    }

    /// The range that was received under this index is correct, or wanted as it is.
    fn accept(&mut self, range: Range) -> Result<()> {
        Err(Error::new(Code::Internal, format!("range {} was accepted, but there is no destination", range.index)))
    }
}

/// A machine with everything that it needs to run.
pub(super) struct Engine<M, P> {
    /// Its share of the budget.
    transfer: Transfer,
    host: Host,
    machine: M,
    payload: P,
    inbox: Inbox,
    progress: Arc<Progress>,
    requests: HashMap<RequestId, AbortHandle>,
    remainder: request::Remainder,
    background: Option<Background>,
    /// Writes the checkpoint, if there is one.
    records: Option<RecordWriter>,
    /// A request for new keys is in progress.
    keys_requested: bool,
}

impl<M: Machine, P: Payload> Engine<M, P> {
    pub(super) fn new(host: Host, machine: M, payload: P, inbox: Inbox, progress: Arc<Progress>) -> Self {
        Engine {
            transfer: host.transport.budget().start(),
            host,
            machine,
            payload,
            inbox,
            progress,
            requests: HashMap::new(),
            remainder: request::Remainder::default(),
            background: None,
            records: None,
            keys_requested: false,
        }
    }

    /// Adds a checkpoint.
    pub(super) fn with_records(mut self, records: Option<RecordWriter>) -> Self {
        self.records = records;
        self
    }

    /// Runs the machine to its end or to an unknown outcome; in that case it can be run again after
    /// [`wait_for_retry`](Engine::wait_for_retry). A panic in the machine is reported as an error.
    pub(super) async fn run(&mut self) -> Result<M::Done> {
        loop {
            let wait = match self.poll_until_wait()? {
                Step::Wait(wait) => wait,
                Step::Done(result) => return result,
                Step::Full => {
                    let progress = self.progress.clone();
                    progress.room().await;
                    continue;
                }
            };
            let sleep = wait.map_or(LONGEST_SLEEP, |at| clock::until(at, LONGEST_SLEEP));
            tokio::select! {
                biased;
                message = self.inbox.receiver.recv() => {
                    // The engine holds a sender itself, so the channel is never closed.
                    if let Some(message) = message {
                        self.receive(message)?;
                    }
                }
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// After an unknown outcome, waits until the caller retries the last step (`true`), suspends, or is gone.
    pub(super) async fn wait_for_retry(&mut self) -> Result<bool> {
        loop {
            match self.inbox.receiver.recv().await {
                Some(Message::Retry) => return self.handle(Input::Retry).map(|()| true),
                Some(Message::Suspend) if self.records.is_some() => {
                    return Err(Error::new(Code::Suspended, "the put was suspended while its outcome was unknown"));
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

    /// After the machine's end, closes the checkpoint.
    pub(super) async fn close(&mut self, remove: bool) {
        if let Some(records) = self.records.take() {
            records.close(remove).await;
        }
    }

    fn poll_until_wait(&mut self) -> Result<Step<M::Done>> {
        loop {
            if self.progress.is_full() {
                return Ok(Step::Full);
            }
            match guarded(|| external::run(&self.progress, || self.machine.poll(clock::now())))? {
                Output::Send(request) => self.send(request)?,
                Output::Abandon(id) => self.forget(id),
                Output::Start(start) => {
                    self.progress.resume(start.stored);
                    self.payload.start(start.offset, start.ended);
                }
                Output::Save { record, restart } => match &self.records {
                    Some(records) => records.save(record, restart),
                    None => return Err(Error::new(Code::Internal, "there is no checkpoint to save a record in")),
                },
                Output::NeedPart(request) => self.payload.need_part(request)?,
                Output::HashPart(part) => self.payload.hash_part(&part)?,
                Output::ReleasePart(number) => {
                    let length = self.payload.release_part(number);
                    self.progress.settle(length);
                }
                Output::Segments(segments) => self.payload.segments(segments),
                Output::Accept(range) => {
                    self.payload.accept(range)?;
                    self.progress.accept(&range);
                }
                Output::NeedCredentials { generation } => self.request_keys(generation)?,
                Output::Event(event) => {
                    self.progress.report(event);
                    self.keep_for_shutdown();
                }
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
            Body::Bytes(bytes) if request.is_data => Some(Outgoing::data(bytes.clone())),
            Body::Bytes(bytes) => Some(Outgoing::bytes(bytes.clone())),
            Body::Part(part) => {
                self.progress.start(id, part.number, &activity);
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
                self.progress.start_range(id, &range, &activity);
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
            remainder: self.remainder.clone(),
            transfer: self.transfer.id,
        };
        let task = tokio::spawn(attempt.run());
        self.requests.insert(id, task.abort_handle());
        Ok(())
    }

    /// Forgets a request, and ignores whatever it still reports.
    fn forget(&mut self, id: RequestId) {
        if let Some(task) = self.requests.remove(&id) {
            task.abort();
            self.progress.end(id);
        }
    }

    /// Whether the machine still expects news of this request. The last message of a request removes it.
    fn is_expected(&mut self, id: RequestId, ends: bool) -> bool {
        let known = self.requests.contains_key(&id);
        if known && ends {
            self.requests.remove(&id);
        }
        known
    }

    fn receive(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Head { id, head } if self.is_expected(id, false) => self.handle(Input::Head { id, head }),
            Message::Body { id, bytes } if self.is_expected(id, false) => {
                self.handle(Input::Body { id, bytes: &bytes })
            }
            Message::End { id, memory } if self.is_expected(id, true) => {
                let ended = self.ended(id, Input::End { id });
                drop(memory);
                ended
            }
            Message::Arrived { id, length } if self.is_expected(id, false) => {
                self.progress.arrived(id, length);
                self.handle(Input::RangeProgress { id, length })
            }
            Message::RangeEnd { id, length, digest } if self.is_expected(id, true) => {
                self.progress.arrived(id, length);
                self.ended(id, Input::RangeEnd { id, length, digest })
            }
            Message::Failed { id, failure } if self.is_expected(id, true) => {
                self.ended(id, Input::Failed { id, failure })
            }
            Message::PartSent { id, digest } if self.is_expected(id, false) => {
                self.handle(Input::PartSent { id, digest })
            }
            Message::Sent { id } if self.is_expected(id, false) => self.handle(Input::Sent { id }),
            Message::Head { .. }
            | Message::Body { .. }
            | Message::End { .. }
            | Message::Arrived { .. }
            | Message::RangeEnd { .. }
            | Message::PartSent { .. }
            | Message::Sent { .. }
            | Message::Failed { .. } => Ok(()),
            Message::PartReady { number, frames, length, digest, last, salt } => {
                self.payload.part_ready(number, frames);
                self.handle(Input::PartReady { number, length, digest, last, salt })
            }
            Message::PartHashed { number, digest, md5 } => self.handle(Input::PartHashed { number, digest, md5 }),
            Message::SourceFailed(error) => self.handle(Input::SourceFailed(error)),
            Message::RangeConsumed { index } => self.handle(Input::RangeConsumed { index }),
            Message::Keys(answer) => self.receive_key_reply(answer),
            Message::Saved(Ok(())) => self.handle(Input::Saved),
            Message::Saved(Err(error)) => self.handle(Input::SaveFailed(error)),
            Message::Cancel => self.handle(Input::Cancel),
            Message::Suspend => self.suspend(),
            // It arrived before the outcome was unknown: there is nothing to retry.
            Message::Retry => Ok(()),
            Message::Detach(background) => {
                self.background = Some(background);
                self.keep_for_shutdown();
                if self.keys_requested {
                    self.receive_key_reply(KeyReply::Unchanged(None))?;
                }
                self.suspend()
            }
            Message::Fatal(error) => Err(error),
        }
    }

    /// Once the caller is gone, [`runtime::shutdown`](crate::transport::runtime::shutdown) says what is in the store.
    fn keep_for_shutdown(&self) {
        let Some(background) = &self.background else { return };
        while let Some(event) = self.progress.take_event() {
            match event {
                s3vault_core::Event::Orphan { .. } => background.leave(event.to_string()),
                s3vault_core::Event::StoredAnyway { .. } => background.store(event.to_string()),
                _ => {}
            }
        }
    }

    fn suspend(&mut self) -> Result<()> {
        self.handle(if self.records.is_some() { Input::Suspend } else { Input::Cancel })
    }

    /// Answers a machine that needs keys newer than this generation.
    fn request_keys(&mut self, generation: u64) -> Result<()> {
        let Some(keys) = self.host.keys.clone() else { return self.handle(Input::CredentialsKept(None)) };
        if keys.generation() > generation {
            return self.handle(Input::CredentialsRenewed);
        }
        if self.background.is_some() {
            return self.handle(Input::CredentialsKept(None));
        }
        if !std::mem::replace(&mut self.keys_requested, true) {
            let key_request = KeyRequest::new(generation, keys, self.inbox.sender.clone());
            key_request.start(self.progress.clone());
        }
        Ok(())
    }

    fn receive_key_reply(&mut self, answer: KeyReply) -> Result<()> {
        if !std::mem::take(&mut self.keys_requested) {
            return Ok(());
        }
        match answer {
            KeyReply::Renewed => self.handle(Input::CredentialsRenewed),
            KeyReply::Unchanged(why) => self.handle(Input::CredentialsKept(why)),
        }
    }

    fn handle(&mut self, input: Input<'_>) -> Result<()> {
        guarded(|| external::run(&self.progress, || self.machine.handle(clock::now(), input)))
    }

    /// Passes the last input of a request to the machine.
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
    /// The calling thread has to take the items that wait for it.
    Full,
    Done(Result<T>),
}

/// Runs code of the machine, and turns a panic into an error. After that the machine is not used again.
fn guarded<R>(code: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| defect("the machine", &*panic))
}

/// Makes an error from a panic.
pub(super) fn defect(whose: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(Code::Internal, format!("{whose} panicked: {}", text.unwrap_or("without a message")))
}
