//! An upload of a stream: the caller writes, the bytes of a part are collected in frames, and the machine's window
//! holds back a fast writer.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::Sender;
use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::crypto::segment::OVERHEAD;
use s3vault_core::http::Part;
use s3vault_core::{Code, Error, Machine, PartRequest, Result};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot::Receiver;

use super::Host;
use super::checkpoint::CheckpointFile;
use super::engine::{Message, Payload};
use super::held_parts::HeldParts;
use super::part_buffer::{GrantedPart, PartBuffer};
use super::progress::Progress;
use super::task::{Notice, Task, is_unknown};
use super::wait::Deadline;
use crate::budget::Grant;
use crate::control::Control;
use crate::transport::body::Outgoing;
use crate::transport::frames::Frame;

/// A stream that is being stored. Dropped before its end, it suspends the upload in the background if there is a
/// checkpoint, and otherwise cancels it.
///
/// It holds the parts that the machine asked for and has not released.
pub(crate) struct StreamUpload<T> {
    task: Task<T, SourceEvent>,
    /// Parts that the machine asked for, after the current one.
    requested: VecDeque<GrantedPart>,
    /// The part that is being written.
    current: Option<PartBuffer>,
    /// A byte that was accepted and is in no part yet: what is encrypted and was handed over promises that it follows.
    carried: Option<u8>,
    /// The key that the parts are encrypted with, if they are.
    key: Option<DataKey>,
    offset: u64,
    /// Whether the machine has told where the source continues.
    started: bool,
    has_checkpoint: bool,
    /// Whether no more bytes are accepted: the last part was handed over, perhaps in an earlier run.
    finished: bool,
    /// How the upload ended, once it has.
    end: Option<Error>,
    /// The result was returned to the caller.
    committed: bool,
    /// The last step can be retried.
    unknown: bool,
}

/// What the payload tells the writer.
pub(super) enum SourceEvent {
    Start { offset: u64, ended: bool },
    Part(GrantedPart),
}

impl<T: Send + 'static> StreamUpload<T> {
    /// Starts the machine in the background; returns when the source may continue, or with the machine's error. With a
    /// key, the parts are encrypted before they are handed over.
    pub(crate) fn start<M>(
        host: &Host,
        machine: M,
        key: Option<DataKey>,
        checkpoint: Option<CheckpointFile>,
        control: &mut Control<'_>,
    ) -> Result<Self>
    where
        M: Machine<Done = T> + Send + 'static,
    {
        let deadline = Deadline::of(control)?;
        let has_checkpoint = checkpoint.is_some();
        let (pool, overhead) = (host.transport.pool().clone(), if key.is_some() { OVERHEAD } else { 0 });
        let task = Task::start_saving(host, machine, Progress::new(None), checkpoint, |inbox, to_writer| {
            let parts = HeldParts::new(pool, overhead, inbox.sender.clone());
            StreamSource::start(parts, to_writer)
        })?;
        let mut upload = StreamUpload {
            task,
            requested: VecDeque::new(),
            current: None,
            carried: None,
            key,
            offset: 0,
            started: false,
            has_checkpoint,
            finished: false,
            end: None,
            committed: false,
            unknown: false,
        };
        while !upload.started {
            let notice = upload.task.next(deadline, control)?;
            upload.receive(notice)?;
        }
        Ok(upload)
    }

    /// The position at which the source continues: all bytes accepted so far, in earlier runs too.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Accepts all of `bytes`, or fails after accepting the first of them; [`offset`](StreamUpload::offset) tells how
    /// many. After a wait that was ended (cancel, time-out, callback) the stream can continue from there.
    pub(crate) fn write(&mut self, bytes: &[u8], control: &mut Control<'_>) -> Result<()> {
        self.check_open()?;
        if self.finished {
            return Err(Error::new(Code::WrongState, "the stream has ended: no more bytes are accepted")
                .with_hint("Commit the put."));
        }
        let deadline = Deadline::of(control)?;
        self.check(control)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            // A part is handed over only when another byte follows, since the last part is marked as such.
            if self.current.as_ref().is_some_and(PartBuffer::is_full) {
                if self.key.is_some() {
                    // If no part is to be had now, the caller may end the stream here.
                    (self.carried, self.offset) = (rest.first().copied(), self.offset + 1);
                    rest = &rest[1..];
                }
                self.hand_over(false);
            }
            if self.current.is_none() {
                self.next_part(deadline, control)?;
            }
            let Some(part) = &mut self.current else { continue };
            let taken = part.fill(rest);
            self.offset += taken as u64;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Whether no more bytes are accepted.
    pub(crate) fn has_ended(&self) -> bool {
        self.finished
    }

    /// Checks whether the call may continue, for a caller that does not wait here. An upload that failed says so at
    /// once, not at the next part.
    pub(crate) fn check(&mut self, control: &mut Control<'_>) -> Result<()> {
        self.task.check(Deadline::of(control)?, control)?;
        while !self.finished
            && let Some(notice) = self.task.next_now()
        {
            self.receive(notice).inspect_err(|_| self.task.report_end(control))?;
        }
        Ok(())
    }

    /// Ends the source and waits for the result. After a wait that was ended, call it again, or abort; after an unknown
    /// outcome, calling it again retries the last step.
    pub(crate) fn finish(&mut self, control: &mut Control<'_>) -> Result<T> {
        self.check_open()?;
        let deadline = Deadline::of(control)?;
        if !self.finished {
            if self.current.is_none() {
                self.next_part(deadline, control)?;
            }
            self.hand_over(true);
            self.finished = true;
        } else if std::mem::take(&mut self.unknown) {
            self.task.send(Message::Retry);
        }
        loop {
            // Requests for parts after the last one are ignored.
            if let Notice::Done(result) = self.task.next(deadline, control)? {
                self.task.report_end(control);
                match &result {
                    Ok(_) => self.committed = true,
                    Err(_) if is_unknown(&result) => self.unknown = true,
                    Err(error) => self.end = Some(error.clone()),
                }
                return result;
            }
        }
    }

    /// Aborts the upload, leaving as little as possible in the store, and waits for that. Does nothing after an upload
    /// that failed by itself. A triggered cancel is ignored.
    pub(crate) fn abort(&mut self, control: &mut Control<'_>) -> Result<()> {
        if self.unknown {
            return Err(may_be_stored());
        }
        self.stop(Message::Cancel, control)
    }

    /// Stops the upload so that its checkpoint can be resumed, and waits for that; without a checkpoint, aborts it. A
    /// triggered cancel is ignored.
    pub(crate) fn suspend(&mut self, control: &mut Control<'_>) -> Result<()> {
        if self.unknown && !self.has_checkpoint {
            return Err(may_be_stored());
        }
        self.stop(Message::Suspend, control)
    }

    fn stop(&mut self, how: Message, control: &mut Control<'_>) -> Result<()> {
        let cancel = control.cancel.take();
        let stopped = self.stop_uncancelled(how, control);
        control.cancel = cancel;
        stopped
    }

    fn stop_uncancelled(&mut self, how: Message, control: &mut Control<'_>) -> Result<()> {
        if self.committed {
            return Err(Error::new(Code::WrongState, "the backup is already stored"));
        }
        if let Some(end) = &self.end {
            // After a failure nothing is left to stop. After a stop, another one would not do what it says: an abort would
            // not remove the checkpoint of a suspended upload.
            let was_stopped = matches!(end.code(), Code::WrongState | Code::Suspended);
            return if was_stopped { Err(end.clone()) } else { Ok(()) };
        }
        let deadline = Deadline::of(control)?;
        // A part that was not handed over yet is dropped, and no more parts are written.
        (self.current, self.finished) = (None, true);
        let suspends = matches!(how, Message::Suspend) && self.has_checkpoint;
        self.task.send(how);
        loop {
            match self.task.next(deadline, control)? {
                Notice::Payload(_) => {}
                Notice::Done(Ok(_)) => {
                    self.committed = true;
                    return Err(Error::new(Code::WrongState, "the backup was stored before it could be stopped"));
                }
                Notice::Done(Err(error)) if error.code() == Code::Cancelled => {
                    self.end = Some(Error::new(Code::WrongState, "the upload was aborted"));
                    return Ok(());
                }
                Notice::Done(Err(error)) if error.code() == Code::Suspended => {
                    self.end = Some(error);
                    return Ok(());
                }
                // The engine receives the suspension next.
                Notice::Done(Err(error)) if error.code() == Code::OutcomeUnknown && suspends => self.unknown = true,
                Notice::Done(Err(error)) if error.code() == Code::OutcomeUnknown => {
                    self.unknown = true;
                    return Err(may_be_stored());
                }
                Notice::Done(Err(error)) => {
                    self.end = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.committed {
            return Err(Error::new(Code::WrongState, "the backup is already stored"));
        }
        self.end.clone().map_or(Ok(()), Err)
    }

    /// Waits until the machine asks for the next part: this is where a fast writer is held back.
    fn next_part(&mut self, deadline: Deadline, control: &mut Control<'_>) -> Result<()> {
        loop {
            if let Some(part) = self.requested.pop_front() {
                let started = PartBuffer::new(part, self.key.as_ref()).inspect_err(|e| self.end = Some(e.clone()))?;
                let part = self.current.insert(started);
                if let Some(byte) = self.carried.take() {
                    part.fill(&[byte]);
                }
                return Ok(());
            }
            let notice = self.task.next(deadline, control)?;
            self.receive(notice)?;
        }
    }

    /// Before the source has ended, the machine can only ask for parts, or fail.
    fn receive(&mut self, notice: Notice<T, SourceEvent>) -> Result<()> {
        let error = match notice {
            Notice::Payload(SourceEvent::Start { offset, ended }) => {
                (self.started, self.offset, self.finished) = (true, offset, ended);
                return Ok(());
            }
            Notice::Payload(SourceEvent::Part(part)) => {
                self.requested.push_back(part);
                return Ok(());
            }
            Notice::Done(Err(error)) => error,
            Notice::Done(Ok(_)) => Error::new(Code::Internal, "the upload ended before its source"),
        };
        self.end = Some(error.clone());
        Err(error)
    }

    fn hand_over(&mut self, last: bool) {
        let Some(part) = self.current.take() else { return };
        self.task.send(part.ready(last));
    }
}

fn may_be_stored() -> Error {
    Error::new(Code::WrongState, "the backup may already be stored, so it cannot be aborted")
        .with_hint("Commit again, or free the handle.")
}

/// Holds parts until they are released.
struct StreamSource<T> {
    parts: HeldParts,
    /// Part requests, for the task that waits for memory.
    requests: UnboundedSender<(PartRequest, Receiver<Grant>)>,
    to_writer: Sender<Notice<T, SourceEvent>>,
}

impl<T: Send + 'static> StreamSource<T> {
    fn start(parts: HeldParts, to_writer: Sender<Notice<T, SourceEvent>>) -> StreamSource<T> {
        let (requests, mut requested) = unbounded_channel::<(PartRequest, Receiver<Grant>)>();
        let writer = to_writer.clone();
        tokio::spawn(async move {
            while let Some((request, granted)) = requested.recv().await {
                // If the writer is gone, the engine is told separately; the account ends with the upload.
                let Ok(grant) = granted.await else { return };
                let _ = writer.send(Notice::Payload(SourceEvent::Part(GrantedPart { request, grant })));
            }
        });
        StreamSource { parts, requests, to_writer }
    }
}

impl<T: Send + 'static> Payload for StreamSource<T> {
    fn start(&mut self, offset: u64, ended: bool) {
        // If the writer is gone, the engine is told separately.
        let _ = self.to_writer.send(Notice::Payload(SourceEvent::Start { offset, ended }));
    }

    fn need_part(&mut self, request: PartRequest) -> Result<()> {
        let granted = self.parts.ask(&request)?;
        let _ = self.requests.send((request, granted));
        Ok(())
    }

    fn part_ready(&mut self, number: u32, frames: Vec<Arc<Frame>>) {
        self.parts.insert(number, frames);
    }

    fn release_part(&mut self, number: u32) -> u64 {
        self.parts.release(number)
    }

    fn hash_part(&mut self, part: &Part) -> Result<()> {
        self.parts.hash(part)
    }

    fn body(&self, part: &Part) -> Result<Outgoing> {
        self.parts.body(part)
    }
}
