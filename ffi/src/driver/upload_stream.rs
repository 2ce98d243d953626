//! An upload of a stream: the caller writes, parts gather in frames, and the machine's window presses back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::Sender;
use s3vault_core::checksum::Digester;
use s3vault_core::http::Part;
use s3vault_core::{Code, Error, Machine, PartRequest, Result};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot::Receiver;

use super::Host;
use super::checkpoint::CheckpointFile;
use super::engine::{Message, Payload};
use super::progress::Progress;
use super::task::{News, Task, is_unknown};
use super::wait::Deadline;
use crate::budget::{Account, Grant, Pool};
use crate::control::Control;
use crate::transport::body::Outgoing;
use crate::transport::frames::Frame;

/// Bytes are hashed in runs of at least this length: BLAKE3 is several times as fast as on small pieces, and
/// the run is still in the cache.
const HASH_RUN: usize = 64 * 1024;

/// A stream on its way into the store. Dropped before its end, it suspends the upload in the background where there is a
/// checkpoint, and else cancels it.
///
/// Memory: the parts that the machine asked for and has not released.
pub(crate) struct StreamUpload<T> {
    task: Task<T, Said>,
    /// Parts that the machine asked for, after the current one.
    asked: VecDeque<Granted>,
    /// The part that is being written.
    current: Option<Filling>,
    offset: u64,
    /// Whether the machine has said where the source goes on.
    begun: bool,
    has_checkpoint: bool,
    /// Whether nothing more is taken: the last part was handed over, in an earlier run perhaps.
    finished: bool,
    /// How the upload ended, from then on.
    end: Option<Error>,
    /// The result was given to the caller.
    committed: bool,
    /// The last step may be tried again.
    unknown: bool,
}

/// What the payload says to the writer.
pub(super) enum Said {
    Begin { offset: u64, ended: bool },
    Part(Granted),
}

/// The machine asks for a part, and there is memory for the least of it.
pub(super) struct Granted {
    ask: PartRequest,
    grant: Grant,
}

impl<T: Send + 'static> StreamUpload<T> {
    /// Starts the machine in the background; returns when the source may go on, or with the machine's error.
    pub(crate) fn start<M>(
        host: &Host,
        machine: M,
        checkpoint: Option<CheckpointFile>,
        control: &mut Control<'_>,
    ) -> Result<Self>
    where
        M: Machine<Done = T> + Send + 'static,
    {
        let deadline = Deadline::of(control);
        let has_checkpoint = checkpoint.is_some();
        let pool = host.transport.pool().clone();
        let task = Task::start_saving(host, machine, Progress::new(None), checkpoint, |_, to_writer| {
            StreamSource::start(pool, to_writer)
        })?;
        let mut upload = StreamUpload {
            task,
            asked: VecDeque::new(),
            current: None,
            offset: 0,
            begun: false,
            has_checkpoint,
            finished: false,
            end: None,
            committed: false,
            unknown: false,
        };
        while !upload.begun {
            let news = upload.task.next(deadline, control)?;
            upload.hear(news)?;
        }
        Ok(upload)
    }

    /// Where the source goes on: what was taken before, and since.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes all of `bytes`, or fails having taken a prefix; [`offset`](StreamUpload::offset) says which. After
    /// a wait that was ended (cancel, time-out, callback) the stream may go on from there.
    pub(crate) fn write(&mut self, bytes: &[u8], control: &mut Control<'_>) -> Result<()> {
        self.open()?;
        if self.finished {
            return Err(Error::new(Code::WrongState, "the stream has ended: nothing can be written any more")
                .with_hint("Commit it."));
        }
        let deadline = Deadline::of(control);
        self.look(control)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            // A part is handed over only when another byte follows it, since the last one is marked.
            if self.current.as_ref().is_some_and(Filling::is_full) {
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

    /// Whether nothing more is taken.
    pub(crate) fn has_ended(&self) -> bool {
        self.finished
    }

    /// Whether the call may go on, for one that does not wait here; an upload that failed says so at once, not at the next
    /// part.
    pub(crate) fn look(&mut self, control: &mut Control<'_>) -> Result<()> {
        self.task.look(Deadline::of(control), control)?;
        while !self.finished
            && let Some(news) = self.task.next_now()
        {
            self.hear(news)?;
        }
        Ok(())
    }

    /// The source ends; waits for the result. After a wait that was ended it may be called again, or abort; after an
    /// outcome that is unknown, called again it tries the last step once more.
    pub(crate) fn finish(&mut self, control: &mut Control<'_>) -> Result<T> {
        self.open()?;
        let deadline = Deadline::of(control);
        if !self.finished {
            if self.current.is_none() {
                self.next_part(deadline, control)?;
            }
            self.hand_over(true);
            self.finished = true;
        } else if std::mem::take(&mut self.unknown) {
            self.task.say(Message::Again);
        }
        loop {
            // Parts that were asked for beyond the last one are not there.
            if let News::Done(result) = self.task.next(deadline, control)? {
                self.task.tell_last(control);
                match &result {
                    Ok(_) => self.committed = true,
                    Err(_) if is_unknown(&result) => self.unknown = true,
                    Err(error) => self.end = Some(error.clone()),
                }
                return result;
            }
        }
    }

    /// Ends the upload with as little left behind as can be, and waits for that. Nothing is left to be done
    /// after an upload that failed by itself. A triggered cancel is ignored.
    pub(crate) fn abort(&mut self, control: &mut Control<'_>) -> Result<()> {
        if self.unknown {
            return Err(may_be_stored());
        }
        self.stop(Message::Cancel, control)
    }

    /// Stops the upload so that its checkpoint can go on, and waits for that; without one, it is aborted. A triggered
    /// cancel is ignored.
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
            return Err(Error::new(Code::WrongState, "the backup is stored: the handle can only be freed"));
        }
        if self.end.is_some() {
            return Ok(());
        }
        let deadline = Deadline::of(control);
        // What is not handed over by now is not wanted; what is asked for now has no writer.
        (self.current, self.finished) = (None, true);
        let suspends = matches!(how, Message::Suspend) && self.has_checkpoint;
        self.task.say(how);
        loop {
            match self.task.next(deadline, control)? {
                News::Ask(_) => {}
                News::Done(Ok(_)) => {
                    self.committed = true;
                    return Err(Error::new(Code::WrongState, "the backup was stored before it could be stopped"));
                }
                News::Done(Err(error)) if error.code() == Code::Cancelled => {
                    self.end = Some(Error::new(Code::WrongState, "the upload was aborted"));
                    return Ok(());
                }
                News::Done(Err(error)) if error.code() == Code::Suspended => {
                    self.end = Some(error);
                    return Ok(());
                }
                // The engine hears of the suspension next.
                News::Done(Err(error)) if error.code() == Code::OutcomeUnknown && suspends => self.unknown = true,
                News::Done(Err(error)) if error.code() == Code::OutcomeUnknown => {
                    self.unknown = true;
                    return Err(may_be_stored());
                }
                News::Done(Err(error)) => {
                    self.end = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    fn open(&self) -> Result<()> {
        if self.committed {
            return Err(Error::new(Code::WrongState, "the backup is stored: the handle can only be freed"));
        }
        self.end.clone().map_or(Ok(()), Err)
    }

    /// Waits until the machine asks for the next part: this is where a fast writer is held back.
    fn next_part(&mut self, deadline: Deadline, control: &mut Control<'_>) -> Result<()> {
        loop {
            if let Some(ask) = self.asked.pop_front() {
                self.current = Some(Filling::new(ask));
                return Ok(());
            }
            let news = self.task.next(deadline, control)?;
            self.hear(news)?;
        }
    }

    /// Before the source has ended, the machine can only ask, or fail.
    fn hear(&mut self, news: News<T, Said>) -> Result<()> {
        let error = match news {
            News::Ask(Said::Begin { offset, ended }) => {
                (self.begun, self.offset, self.finished) = (true, offset, ended);
                return Ok(());
            }
            News::Ask(Said::Part(ask)) => {
                self.asked.push_back(ask);
                return Ok(());
            }
            News::Done(Err(error)) => error,
            News::Done(Ok(_)) => Error::new(Code::Internal, "the upload ended before its source"),
        };
        self.end = Some(error.clone());
        Err(error)
    }

    fn hand_over(&mut self, last: bool) {
        let Some(part) = self.current.take() else { return };
        self.task.say(part.ready(last));
    }
}

fn may_be_stored() -> Error {
    Error::new(Code::WrongState, "the backup may be stored already: it cannot be aborted any more")
        .with_hint("Commit again, or free the handle.")
}

/// A part that is being written.
struct Filling {
    number: u32,
    /// At most so many bytes.
    length: u64,
    /// At least so many, but at the stream's end.
    least: u64,
    grant: Grant,
    /// No more memory is there now: the part ends before its length.
    ends: bool,
    filled: u64,
    full: Vec<Arc<Frame>>,
    frame: Option<Frame>,
    digester: Digester,
    /// How much of the frame is hashed.
    hashed: usize,
}

impl Filling {
    fn new(Granted { ask, grant }: Granted) -> Filling {
        Filling {
            number: ask.number,
            length: ask.length,
            least: ask.min_length,
            grant,
            ends: false,
            filled: 0,
            full: Vec::new(),
            frame: None,
            digester: Digester::new(),
            hashed: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.ends || self.filled == self.length
    }

    /// Whether it is long enough to be handed over though more bytes follow.
    fn may_end(&self) -> bool {
        self.filled >= self.least
    }

    /// Copies as much as the current frame and the part take.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let most = (self.length - self.filled).min(bytes.len() as u64) as usize;
        let Some(mut frame) = self.frame.take().or_else(|| self.grant.take()) else {
            self.ends = true;
            return 0;
        };
        let taken = frame.fill(&bytes[..most]);
        self.filled += taken as u64;
        if frame.is_full() || frame.filled().len() - self.hashed >= HASH_RUN {
            self.digester.update(&frame.filled()[self.hashed..]);
            self.hashed = frame.filled().len();
        }
        if frame.is_full() {
            self.full.push(Arc::new(frame));
            self.hashed = 0;
        } else {
            self.frame = Some(frame);
        }
        taken
    }

    fn ready(mut self, last: bool) -> Message {
        debug_assert!(last || self.may_end(), "only the last part may be shorter than was asked for");
        if let Some(frame) = self.frame {
            self.digester.update(&frame.filled()[self.hashed..]);
            self.full.push(Arc::new(frame));
        }
        let digest = Some(self.digester.finish());
        Message::PartReady { number: self.number, frames: self.full, length: self.filled, digest, last }
    }
}

/// Holds parts until they are released.
struct StreamSource<T> {
    parts: HashMap<u32, Vec<Arc<Frame>>>,
    pool: Arc<Pool>,
    /// From the first part on, of which it holds the least.
    account: Option<Account>,
    /// To the task that waits for memory.
    asks: UnboundedSender<(PartRequest, Receiver<Grant>)>,
    to_writer: Sender<News<T, Said>>,
}

impl<T: Send + 'static> StreamSource<T> {
    fn start(pool: Arc<Pool>, to_writer: Sender<News<T, Said>>) -> StreamSource<T> {
        let (asks, mut asked) = unbounded_channel::<(PartRequest, Receiver<Grant>)>();
        let writer = to_writer.clone();
        tokio::spawn(async move {
            while let Some((ask, granted)) = asked.recv().await {
                // The writer may be gone, then the engine hears of it; the account goes with the upload.
                let Ok(grant) = granted.await else { return };
                let _ = writer.send(News::Ask(Said::Part(Granted { ask, grant })));
            }
        });
        StreamSource { parts: HashMap::new(), pool, account: None, asks, to_writer }
    }
}

impl<T: Send + 'static> Payload for StreamSource<T> {
    fn begin(&mut self, offset: u64, ended: bool) {
        // The writer may be gone; then the engine hears of it.
        let _ = self.to_writer.send(News::Ask(Said::Begin { offset, ended }));
    }

    fn need_part(&mut self, ask: PartRequest) -> Result<()> {
        if ask.length == 0 {
            return Err(Error::new(Code::Internal, format!("part {} was asked for with no length", ask.number)));
        }
        let least = ask.min_length.clamp(1, ask.length);
        let granted = self.account.get_or_insert_with(|| self.pool.account(least)).ask(least)?;
        let _ = self.asks.send((ask, granted));
        Ok(())
    }

    fn part_ready(&mut self, number: u32, frames: Vec<Arc<Frame>>) {
        self.parts.insert(number, frames);
    }

    fn release_part(&mut self, number: u32) -> u64 {
        let frames = self.parts.remove(&number).unwrap_or_default();
        frames.iter().map(|frame| frame.filled().len() as u64).sum()
    }

    fn body(&self, part: &Part) -> Result<Outgoing> {
        let frames = self.parts.get(&part.number).ok_or_else(|| {
            Error::new(Code::Internal, format!("part {} is to be sent, and was released", part.number))
        })?;
        let body = Outgoing::frames(frames);
        if body.length() == part.length {
            return Ok(body);
        }
        let lengths = format!("{} bytes, not {}", body.length(), part.length);
        Err(Error::new(Code::Internal, format!("part {} has {lengths}", part.number)))
    }
}
