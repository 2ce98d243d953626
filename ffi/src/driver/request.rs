//! One attempt of one request: sends it, and reports the reply to the engine.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use s3vault_core::checksum::Digest;
use s3vault_core::http::{
    Body, ERROR_LIMIT, Method, Range, ReplyBody, ReplyHead, Request, RequestId, TransportFailure,
};
use s3vault_core::{Code, Error, Result};
use tokio::sync::mpsc::UnboundedSender;

use super::download_discard::DiscardSink;
use super::download_file::FileSink;
use super::download_stream::FrameSink;
use super::engine::Message;
use crate::budget::{Budget, Collected, Urgency};
use crate::transport::body::Outgoing;
use crate::transport::watchdog::Activity;
use crate::transport::{Reply, Transport, clock};

/// Where the bytes of a range go. Each attempt has its own sink, but the bytes belong to the range, so that a later
/// attempt continues after them.
pub(super) enum Sink {
    File(FileSink),
    Frames(FrameSink),
    Discard(DiscardSink),
}

impl Sink {
    /// Before the request is sent: waits for the memory that its bytes need.
    async fn reserve(&mut self) {
        match self {
            Sink::Frames(frames) => frames.reserve().await,
            Sink::File(file) => file.reserve().await,
            Sink::Discard(_) => {}
        }
    }

    /// Before the first bytes: returns how many bytes of the range are there, or `None` if the range is no longer
    /// wanted.
    async fn start(&mut self) -> Result<Option<u64>> {
        match self {
            Sink::File(file) => file.start().await,
            Sink::Frames(frames) => Ok(Some(frames.start().await)),
            Sink::Discard(discard) => Ok(Some(discard.start().await)),
        }
    }

    /// Where the next bytes go.
    async fn room(&mut self) -> Result<&mut [u8]> {
        match self {
            Sink::File(file) => file.room().await,
            Sink::Frames(frames) => frames.room(),
            Sink::Discard(discard) => Ok(discard.room().await),
        }
    }

    /// `bytes` bytes were put into the room.
    async fn received(&mut self, bytes: usize) -> Result<()> {
        match self {
            Sink::File(file) => file.received(bytes).await,
            Sink::Frames(frames) => {
                frames.received(bytes);
                Ok(())
            }
            Sink::Discard(discard) => discard.received(bytes),
        }
    }

    /// After the last bytes of this attempt: returns how many bytes of the range are there, and their digest.
    async fn finish(self) -> Result<(u64, Digest)> {
        match self {
            Sink::File(file) => file.finish().await,
            Sink::Frames(frames) => Ok(frames.finish()),
            Sink::Discard(discard) => discard.finish(),
        }
    }
}

/// The rest of a reply that is a whole object, although a range of it was requested: the slices that follow are read from
/// it. Nothing is read ahead: while nobody reads, the connection waits.
struct WholeObject {
    /// The URL that the object was requested from.
    url: String,
    head: ReplyHead,
    /// Offset in the object of the next byte.
    position: u64,
    reply: Reply,
}

/// Where the requests of a transfer leave such a reply for each other.
#[derive(Clone, Default)]
pub(super) struct Remainder(Arc<Mutex<Option<WholeObject>>>);

impl Remainder {
    fn keep(&self, rest: WholeObject) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
    }

    /// The reply that this request's range can be read from. One that it cannot be read from is dropped.
    fn take(&self, request: &Request) -> Option<WholeObject> {
        let ReplyBody::Range(range) = request.reply else { return None };
        let rest = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        (rest.url == request.url && rest.position <= range.start + range.done).then_some(rest)
    }
}

/// What the task of a request owns.
pub(super) struct Attempt {
    pub(super) transport: Transport,
    pub(super) engine: UnboundedSender<Message>,
    pub(super) request: Request,
    pub(super) body: Option<Outgoing>,
    pub(super) sink: Option<Sink>,
    pub(super) activity: Arc<Activity>,
    pub(super) remainder: Remainder,
    /// The transfer whose turn it takes.
    pub(super) transfer: u64,
}

/// Why an attempt has no complete reply.
enum AttemptError {
    /// The machine decides what to do.
    Failed(TransportFailure),
    /// A failure on this machine: another attempt cannot help.
    Fatal(Error),
}

impl From<TransportFailure> for AttemptError {
    fn from(failure: TransportFailure) -> AttemptError {
        AttemptError::Failed(failure)
    }
}

impl Attempt {
    pub(super) async fn run(self) {
        let (id, engine) = (self.request.id, self.engine.clone());
        let _guard = OnPanic(engine.clone());
        let message = match self.attempt().await {
            Ok(message) => message,
            Err(AttemptError::Failed(failure)) => Message::Failed { id, failure },
            Err(AttemptError::Fatal(error)) => Message::Fatal(error),
        };
        let _ = engine.send(message);
    }

    /// Returns the last message of the attempt.
    async fn attempt(self) -> Result<Message, AttemptError> {
        let Attempt { transport, engine, request, body, mut sink, activity, remainder, transfer } = self;
        let id = request.id;
        let budget = transport.budget().clone();
        // Memory first: an attempt that has a connection must not wait for one that needs a connection.
        if let Some(sink) = &mut sink {
            sink.reserve().await;
        }
        let urgency = match (&request.body, &request.reply) {
            (Body::Part(_), _) | (_, ReplyBody::Range(_)) => Urgency::Payload,
            _ if request.is_data => Urgency::Payload,
            _ => Urgency::First,
        };
        let _permit = budget.connections.take(transfer, urgency).await;
        if request.drop_at.is_some_and(|at| clock::mono_ms() >= at) {
            let detail = format!(
                "{}: not sent, because its signature expired while it waited for a connection",
                request.operation
            );
            return Err(TransportFailure { code: Code::TimedOut, maybe_sent: false, detail }.into());
        }
        activity.touch();
        let (mut reply, head, position) = match remainder.take(&request) {
            Some(WholeObject { head, position, reply, .. }) => (reply, head, position),
            None => {
                if body.as_ref().is_none_or(|body| body.length() == 0) {
                    let _ = engine.send(Message::Sent { id });
                }
                let mut reply = transport.send(&request, body, activity.clone()).await?;
                let head = std::mem::take(&mut reply.head);
                (reply, head, 0)
            }
        };
        let (success, status) = (head.is_success(), head.status);
        let mut pace = Pace::new(request.method, transport.idle_timeout());
        if request.is_data && request.method == Method::Get && success {
            pace.budget = Some(budget.clone());
        }
        let mut memory = budget.memory.collected();
        // Only a whole object that answers a range may be read on by the next request.
        let kept = (status == 200 && matches!(request.reply, ReplyBody::Range(_))).then(|| head.clone());
        let _ = engine.send(Message::Head { id, head });
        match (request.reply, sink) {
            (ReplyBody::Range(range), Some(sink)) if success => {
                let first = range.start + range.done;
                // Status 200: the whole object, of which the bytes before those of the range are not needed.
                let before = if status == 200 { first.saturating_sub(position) } else { 0 };
                let end = range.start + range.stored;
                let more_follows = status == 200 && range.object.is_some_and(|object| object > end);
                let received =
                    receive_range(&mut reply, id, range, before, more_follows, sink, &activity, &engine, &budget)
                        .await?;
                if let (true, Some(head)) = (more_follows, kept) {
                    remainder.keep(WholeObject { url: request.url, head, position: end, reply });
                }
                Ok(received)
            }
            (ReplyBody::Collect { limit }, _) if success => {
                if collect(&mut reply, id, limit, pace, &mut memory, &engine).await? {
                    let detail = format!("{}: the reply's body is longer than {limit} bytes", reply.what());
                    return Err(TransportFailure { code: Code::BadReply, maybe_sent: true, detail }.into());
                }
                Ok(Message::End { id, memory })
            }
            // A refusal. Its status matters, however long the page that a proxy sent with it.
            _ => {
                collect(&mut reply, id, ERROR_LIMIT, pace, &mut memory, &engine).await?;
                Ok(Message::End { id, memory })
            }
        }
    }
}

/// How many bytes of a collected body the engine gets at once. A store may send chunks of one byte, each of which would be
/// a message of many times that size.
const PIECE: usize = 64 * 1024;

/// Passes up to `limit` bytes of a body to the engine. Returns whether the body is longer.
async fn collect(
    reply: &mut Reply,
    id: RequestId,
    limit: usize,
    mut pace: Pace,
    memory: &mut Collected,
    engine: &UnboundedSender<Message>,
) -> Result<bool, TransportFailure> {
    let (mut left, mut piece) = (limit, Vec::new());
    let is_longer = loop {
        let bytes = match reply.chunk().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break Ok(false),
            Err(failure) => break Err(failure),
        };
        if let Some(budget) = &pace.budget {
            budget.bytes_down.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            budget.down.pass(bytes.len() as u64).await;
        } else if let Err(failure) = pace.check(reply, bytes.len()) {
            break Err(failure);
        }
        let taken = bytes.len().min(left);
        piece.extend_from_slice(&bytes[..taken]);
        left -= taken;
        memory.add(taken);
        if taken < bytes.len() {
            break Ok(true);
        }
        if piece.len() >= PIECE {
            let _ = engine.send(Message::Body { id, bytes: exactly(std::mem::take(&mut piece)) });
        }
    };
    // What arrived before a failure, too.
    let _ = engine.send(Message::Body { id, bytes: exactly(piece) });
    is_longer
}

/// A piece without the spare room of a buffer that grew: the engine may be behind by many pieces.
fn exactly(piece: Vec<u8>) -> Bytes {
    piece.into_boxed_slice().into()
}

/// How many bytes of a collected body must arrive within each [`Pace::limit`].
const PACE_BYTES: usize = 64 * 1024;

/// How many times as long a request may take that changes something: while it works, a store sends blanks, so that the
/// connection stays open.
const WORKING: u32 = 10;

/// Ends a reply that is collected and arrives byte by byte. Its bytes are few, so a time-out that starts again with each
/// of them is no limit.
struct Pace {
    limit: Duration,
    /// When the bytes that are still missing must be there.
    end: u64,
    missing: usize,
    /// For data of a backup, which counts, and which may have to wait for bandwidth: then no pace is expected.
    budget: Option<Arc<Budget>>,
}

impl Pace {
    fn new(method: Method, idle_timeout: Duration) -> Pace {
        let limit = match method {
            Method::Get | Method::Head => idle_timeout,
            Method::Put | Method::Post | Method::Delete => idle_timeout * WORKING,
        };
        let end = clock::mono_ms().saturating_add(limit.as_millis() as u64);
        Pace { limit, end, missing: PACE_BYTES, budget: None }
    }

    /// Counts bytes that arrived. Silence is the watchdog's business, so this need not wait.
    fn check(&mut self, reply: &Reply, bytes: usize) -> Result<(), TransportFailure> {
        let now = clock::mono_ms();
        if bytes >= self.missing {
            (self.end, self.missing) = (now.saturating_add(self.limit.as_millis() as u64), PACE_BYTES);
            return Ok(());
        }
        self.missing -= bytes;
        if now < self.end {
            return Ok(());
        }
        let (what, limit) = (reply.what(), self.limit.as_millis());
        let detail = format!("{what}: less than {PACE_BYTES} bytes of the reply came in {limit} ms (idle_timeout_ms)");
        Err(TransportFailure { code: Code::TimedOut, maybe_sent: true, detail })
    }
}

/// Stores the body of a range. A sink collects it in frames, so that only the received bytes are held (a chunk from the
/// connection keeps alive a buffer that may be many times as large), and hashes each frame while it is in the cache.
///
/// The first `before` bytes of the body are not those of the range. If `more_follows`, neither are those after it, and they
/// are not read.
#[allow(clippy::too_many_arguments)] // One call, of what an attempt has.
async fn receive_range(
    reply: &mut Reply,
    id: RequestId,
    range: Range,
    mut before: u64,
    more_follows: bool,
    mut sink: Sink,
    activity: &Activity,
    engine: &UnboundedSender<Message>,
    budget: &Budget,
) -> Result<Message, AttemptError> {
    let Some(there) = sink.start().await.map_err(AttemptError::Fatal)? else {
        return Err(reply.broken(format!("range {} was received by another request", range.index)).into());
    };
    // An abandoned attempt may have stored more bytes than the machine knows of.
    let Some(mut known) = there.checked_sub(range.done) else {
        let why = format!("range {} was requested from byte {}, but has only {there}", range.index, range.done);
        return Err(AttemptError::Fatal(Error::new(Code::Internal, why)));
    };
    let mut left = range.stored - range.done;
    activity.transferring(true);
    let broke = loop {
        if left == 0 && more_follows {
            break None;
        }
        let mut beyond = [0];
        let room = if left > 0 { sink.room().await.map_err(AttemptError::Fatal)? } else { &mut beyond };
        // Bytes before the range, and those that are there already, are read on their own, and dropped.
        let most = [before, known].into_iter().find(|dropped| *dropped > 0).unwrap_or(left);
        let most = most.min(left.max(before)).clamp(1, room.len() as u64);
        let length = match reply.read(&mut room[..most as usize]).await {
            Ok(0) => break None,
            Ok(length) => length,
            Err(_) if left == 0 => break None,
            Err(failure) => break Some(failure),
        };
        if left == 0 {
            break Some(reply.broken(format!("the reply has more than the {} bytes of the range", range.stored)));
        }
        budget.bytes_down.fetch_add(length as u64, Ordering::Relaxed);
        budget.down.pass(length as u64).await;
        if before > 0 {
            before -= length as u64;
            continue;
        }
        left -= length as u64;
        activity.moved(length as u64);
        if known > 0 {
            known -= length as u64;
        } else {
            sink.received(length).await.map_err(AttemptError::Fatal)?;
        }
    };
    let (length, digest) = sink.finish().await.map_err(AttemptError::Fatal)?;
    match broke {
        None => Ok(Message::RangeEnd { id, length, digest }),
        Some(failure) => {
            let _ = engine.send(Message::Arrived { id, length });
            Err(failure.into())
        }
    }
}

impl Reply {
    /// The failure of a reply that is not as expected.
    fn broken(&self, how: String) -> TransportFailure {
        TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail: format!("{}: {how}", self.what()) }
    }
}

/// A task that panics must not leave its machine waiting.
struct OnPanic(UnboundedSender<Message>);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::new(Code::Internal, "the task of a request panicked");
            let _ = self.0.send(Message::Fatal(error));
        }
    }
}
