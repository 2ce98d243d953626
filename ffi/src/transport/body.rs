//! Bodies of requests: bytes, frames that are held in memory, or a range of a file that is read as it is sent.
//!
//! A range of a file whose digest is not known goes in aws-chunked framing, hashed as it is read, with its CRC64NVME in the
//! trailer ("Signature calculations: trailing headers", S3 API reference; the payload is not signed).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, SizeHint};
use s3vault_core::checksum::{Crc64, Digest, Digester, crc_text};
use s3vault_core::http::Part;
use s3vault_core::op::CRC64NVME;
use s3vault_core::{Code, Error};
use tokio::task::JoinHandle;

use super::activity::Activity;
use super::cached;
use super::failure::SourceFailure;
use super::frames::{FRAME, Frame};
use crate::budget::{Budget, Flow, Pool};

/// Payload is handed to the connection in slices of this length, so that progress shows on slow links:
/// a slice is dropped when it is written.
const SLICE: usize = 64 * 1024;

/// A disk is read ahead of the connection while fewer frames than these are in use (6 MiB). With more, other connections have
/// something to send while one waits for its disk.
const AHEAD: usize = 24;

/// Is told the digest of a part when all of it was read.
pub(crate) type Told = Box<dyn FnOnce(Digest) + Send + Sync>;

/// Is called when the last byte of a body was handed over to the system, or will never be.
pub(crate) type Sent = Box<dyn FnOnce() + Send + Sync>;

/// The body of one attempt.
pub(crate) struct Outgoing {
    source: Source,
    /// As it goes over the wire.
    length: u64,
    framing: Option<Framing>,
    sent: Option<Sent>,
}

enum Source {
    Bytes(Bytes),
    Frames(VecDeque<Arc<Frame>>),
    File(Box<FilePart>),
}

impl Outgoing {
    /// These bytes.
    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Outgoing {
        let bytes = bytes.into();
        Outgoing { length: bytes.len() as u64, source: Source::Bytes(bytes), framing: None, sent: None }
    }

    /// These frames, one after the other.
    pub(crate) fn frames(frames: &[Arc<Frame>]) -> Outgoing {
        let length = frames.iter().map(|frame| frame.filled().len() as u64).sum();
        Outgoing { length, source: Source::Frames(frames.iter().cloned().collect()), framing: None, sent: None }
    }

    /// A part of a file. It is read while it is sent, and the last frame is held back until the CRC of all that
    /// was read is the part's; so a store never gets a whole part whose bytes are not those that were promised.
    pub(crate) fn file(file: Arc<File>, pool: Arc<Pool>, part: Part) -> Outgoing {
        let source = Source::File(Box::new(FilePart::new(file, pool, part)));
        Outgoing { length: part.length, source, framing: None, sent: None }
    }

    /// Puts the part of a file whose digest is not known into chunks, with its CRC64NVME behind them; `told` hears the
    /// digest before the last chunk is sent.
    pub(crate) fn with_trailer(&mut self, told: Told) -> Result<(), Error> {
        if !matches!(self.source, Source::File(_)) || self.framing.is_some() {
            return Err(Error::new(Code::Internal, "only a part of a file is hashed while it is sent"));
        }
        let framing = Framing { told: Some(told), texts: VecDeque::new() };
        self.length = Framing::length(self.length);
        self.framing = Some(framing);
        Ok(())
    }

    /// Whom to tell when all of it is on its way; never of a body without bytes.
    pub(crate) fn when_sent(&mut self, sent: Sent) {
        self.sent = Some(sent);
    }

    /// In bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// As the client takes it; what moves is counted in `activity`.
    pub(super) fn into_body(self, activity: Arc<Activity>, budget: Arc<Budget>) -> Sending {
        let Outgoing { source, length, framing, sent } = self;
        Sending {
            source,
            remaining: length,
            current: None,
            framing,
            sent,
            activity,
            flow: Flow::new(budget.up.clone()),
            budget,
        }
    }
}

/// A body on its way.
pub(super) struct Sending {
    source: Source,
    /// In bytes, of what was not handed over yet.
    remaining: u64,
    /// The frame that is being handed over, and from where on.
    current: Option<(Arc<Frame>, usize)>,
    framing: Option<Framing>,
    sent: Option<Sent>,
    activity: Arc<Activity>,
    /// Payload waits here for its share of the bandwidth.
    flow: Flow,
    budget: Arc<Budget>,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = SourceFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, SourceFailure>>> {
        let this = &mut *self;
        if this.remaining == 0 {
            return Poll::Ready(None);
        }
        if let Source::Bytes(bytes) = &mut this.source {
            let slice = bytes.split_to(bytes.len().min(SLICE));
            return Poll::Ready(Some(Ok(this.hand_over(slice))));
        }
        if let Some(text) = this.next_text() {
            return Poll::Ready(Some(Ok(text)));
        }
        let (frame, start) = match this.current.take() {
            Some(current) => current,
            None => match ready!(this.poll_next(context)) {
                Ok(frame) => {
                    if let Some(framing) = &mut this.framing {
                        framing.begin(&frame);
                        this.current = Some((frame, 0));
                        return self.poll_frame(context);
                    }
                    (frame, 0)
                }
                Err(failure) => return Poll::Ready(Some(Err(failure))),
            },
        };
        let end = frame.filled().len().min(start + SLICE);
        let passes = this.flow.poll_pass((end - start) as u64, context);
        // The line is not to blame for a wait.
        this.activity.waiting(passes.is_pending());
        if passes.is_pending() {
            this.current = Some((frame, start));
            return Poll::Pending;
        }
        this.budget.bytes_up.fetch_add((end - start) as u64, Ordering::Relaxed);
        if end < frame.filled().len() {
            this.current = Some((frame.clone(), end));
        } else if let (Some(framing), Source::File(part)) = (&mut this.framing, &this.source) {
            framing.end(part.finished());
        }
        Poll::Ready(Some(Ok(this.hand_over(FrameSlice { frame, start, end }))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

impl Sending {
    /// The next piece of the framing, where one is due.
    fn next_text(&mut self) -> Option<http_body::Frame<Bytes>> {
        let text = self.framing.as_mut()?.texts.pop_front()?;
        self.remaining = self.remaining.saturating_sub(text.len() as u64);
        Some(http_body::Frame::data(match self.sent_with_this() {
            Some(sent) => Bytes::from_owner(Last { bytes: text, sent: Some(sent), activity: self.activity.clone() }),
            None => text,
        }))
    }

    fn hand_over(&mut self, bytes: impl AsRef<[u8]> + Send + 'static) -> http_body::Frame<Bytes> {
        let (activity, length) = (self.activity.clone(), bytes.as_ref().len() as u64);
        self.remaining = self.remaining.saturating_sub(length);
        activity.on_its_way(true);
        let piece = Piece { bytes, moves: Moves { activity: activity.clone(), length } };
        http_body::Frame::data(match self.sent_with_this() {
            Some(sent) => Bytes::from_owner(Last { bytes: piece, sent: Some(sent), activity }),
            None => Bytes::from_owner(piece),
        })
    }

    /// Whom to tell of the last piece.
    fn sent_with_this(&mut self) -> Option<Sent> {
        if self.remaining == 0 { self.sent.take() } else { None }
    }

    /// The next frame; of a file once the one before it is written.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Frame>, SourceFailure>> {
        if let Source::File(part) = &self.source
            && self.activity.poll_until(context, || part.is_written()).is_pending()
        {
            return Poll::Pending;
        }
        let next = match &mut self.source {
            Source::Bytes(_) => Poll::Ready(None),
            Source::Frames(frames) => Poll::Ready(frames.pop_front().map(Ok)),
            Source::File(part) => part.poll_next(context).map(Some),
        };
        self.activity.waiting(next.is_pending());
        next.map(|frame| {
            frame.unwrap_or_else(|| {
                let detail = "the part is shorter than it was said to be".to_owned();
                Err(SourceFailure { code: Code::Internal, detail })
            })
        })
    }
}

/// The chunks of aws-chunked: one for each frame, then an empty one, then the trailer.
struct Framing {
    told: Option<Told>,
    /// What is due before the next bytes of a frame.
    texts: VecDeque<Bytes>,
}

impl Framing {
    fn begin(&mut self, frame: &Frame) {
        self.texts.push_back(format!("{:x}\r\n", frame.filled().len()).into());
    }

    /// A frame is handed over; with the last one the digest of all of them is known.
    fn end(&mut self, finished: Option<Digest>) {
        self.texts.push_back(Bytes::from_static(b"\r\n"));
        if let Some(digest) = finished {
            self.texts.push_back(format!("0\r\n{CRC64NVME}:{}\r\n\r\n", crc_text(digest.crc64nvme)).into());
            if let Some(told) = self.told.take() {
                told(digest);
            }
        }
    }

    /// Of so many bytes in chunks of a frame each, with the trailer; in bytes.
    fn length(payload: u64) -> u64 {
        let chunk = |length: u64| format!("{length:x}\r\n").len() as u64 + length + 2;
        let (full, rest) = (payload / FRAME as u64, payload % FRAME as u64);
        let rest = if rest > 0 { chunk(rest) } else { 0 };
        full * chunk(FRAME as u64) + rest + (3 + CRC64NVME.len() + 1 + 12 + 4) as u64
    }
}

/// A piece of payload on its way through the connection, which drops it once it is written.
struct Piece<B> {
    bytes: B,
    /// Dropped after them, as fields are: whoever it wakes finds them gone.
    #[expect(dead_code, reason = "it acts when it is dropped")]
    moves: Moves,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Piece<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Tells, when it is dropped, that so many bytes moved.
struct Moves {
    activity: Arc<Activity>,
    length: u64,
}

impl Drop for Moves {
    fn drop(&mut self) {
        self.activity.moved(self.length);
    }
}

/// The last piece of a body.
struct Last<B> {
    bytes: B,
    sent: Option<Sent>,
    activity: Arc<Activity>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Last<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl<B> Drop for Last<B> {
    fn drop(&mut self) {
        self.activity.on_its_way(false);
        if let Some(sent) = self.sent.take() {
            sent();
        }
    }
}

struct FrameSlice {
    frame: Arc<Frame>,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for FrameSlice {
    fn as_ref(&self) -> &[u8] {
        &self.frame.filled()[self.start..self.end]
    }
}

/// Reads a part of a file: what the system has in memory right here, since another thread would cost more than the read and
/// would leave the bytes in another core's cache; what a disk has to bring on a thread that may block, one frame ahead of the
/// connection while few frames are in use.
///
/// A connection has one frame: the next is read when it is written. More of them would only wait for the line.
struct FilePart {
    file: Arc<File>,
    pool: Arc<Pool>,
    part: Part,
    /// In the file, from where the next frame is read.
    position: u64,
    /// The frame that was handed over last.
    last: Weak<Frame>,
    reading: Option<JoinHandle<Result<Read, SourceFailure>>>,
    hash: Hash,
}

/// What a thread that may block brings.
struct Read {
    frame: Frame,
    /// Of all bytes up to this frame's last.
    hash: Hash,
    /// A disk was waited for.
    waited: bool,
}

/// What is computed of the bytes as they are read.
#[derive(Clone)]
enum Hash {
    /// They were hashed before: their CRC must be the same.
    Again(Box<Crc64>),
    /// Both hashes, for the first time.
    First(Box<Digester>),
}

impl Hash {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Again(crc) => crc.update(bytes),
            Hash::First(digester) => digester.update(bytes),
        }
    }
}

impl FilePart {
    fn new(file: Arc<File>, pool: Arc<Pool>, part: Part) -> FilePart {
        let hash = match part.digest {
            Some(_) => Hash::Again(Box::default()),
            None => Hash::First(Box::default()),
        };
        FilePart { file, pool, part, position: part.offset, last: Weak::new(), reading: None, hash }
    }

    fn end(&self) -> u64 {
        self.part.offset.saturating_add(self.part.length)
    }

    /// Whether the connection is done with the last frame.
    fn is_written(&self) -> bool {
        self.last.strong_count() == 0
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Frame>, SourceFailure>> {
        if self.reading.is_none()
            && let Some(mut frame) = self.pool.try_take()
            && cached::read(&self.file, &mut frame, self.position, self.next_length())
        {
            self.hash.update(frame.filled());
            return Poll::Ready(self.passed(frame));
        }
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => self.reading.insert(self.start()),
        };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let Read { frame, hash, waited } = match read {
            Ok(read) => read?,
            Err(e) => return Poll::Ready(Err(SourceFailure { code: Code::Internal, detail: e.to_string() })),
        };
        self.hash = hash;
        let passed = self.passed(frame);
        if waited && passed.is_ok() && self.position < self.end() && self.pool.in_use() < AHEAD {
            self.reading = Some(self.start());
        }
        Poll::Ready(passed)
    }

    /// This frame was read and hashed. The last one is held back where its part is not what it was.
    fn passed(&mut self, frame: Frame) -> Result<Arc<Frame>, SourceFailure> {
        self.position += frame.filled().len() as u64;
        if self.position >= self.end()
            && let (Hash::Again(crc), Some(digest)) = (&self.hash, &self.part.digest)
            && crc.finish() != digest.crc64nvme
        {
            return Err(changed(&self.file, &self.part, "its bytes differ"));
        }
        let frame = Arc::new(frame);
        self.last = Arc::downgrade(&frame);
        Ok(frame)
    }

    /// The digest of all bytes, once they were read, where it was not known before.
    fn finished(&self) -> Option<Digest> {
        match &self.hash {
            Hash::First(digester) if self.position >= self.end() => Some(digester.finish()),
            _ => None,
        }
    }

    /// Of the frame that is read next, in bytes.
    fn next_length(&self) -> usize {
        (self.end() - self.position).min(FRAME as u64) as usize
    }

    fn start(&self) -> JoinHandle<Result<Read, SourceFailure>> {
        let (file, pool, part, position) = (self.file.clone(), self.pool.clone(), self.part, self.position);
        let (mut hash, length) = (self.hash.clone(), self.next_length());
        // The frame is waited for before a thread that may block is taken: who holds frames may need one to let go of them.
        tokio::spawn(async move {
            let mut frame = pool.take().await;
            let reading = tokio::task::spawn_blocking(move || {
                let waited = !cached::read(&file, &mut frame, position, length);
                if waited {
                    read_at(&file, &mut frame, position, length).map_err(|e| match e.kind() {
                        io::ErrorKind::UnexpectedEof => changed(&file, &part, "it is shorter now"),
                        _ => {
                            let detail = format!("reading {} at byte {position}: {e}", name(&file));
                            SourceFailure { code: Code::Io, detail }
                        }
                    })?;
                }
                hash.update(frame.filled());
                Ok(Read { frame, hash, waited })
            });
            reading.await.unwrap_or_else(|e| Err(SourceFailure { code: Code::Internal, detail: e.to_string() }))
        })
    }
}

fn changed(file: &File, part: &Part, how: &str) -> SourceFailure {
    SourceFailure {
        code: Code::SourceChanged,
        detail: format!(
            "{} changed while it was stored: {how} (bytes {} to {}, read for the second time)",
            name(file),
            part.offset,
            part.offset.saturating_add(part.length)
        ),
    }
}

/// Reads exactly `length` bytes of a file into an empty frame.
pub(crate) fn read_at(file: &File, frame: &mut Frame, position: u64, length: usize) -> io::Result<()> {
    file.read_exact_at(&mut frame.room()[..length], position)?;
    frame.grow(length);
    Ok(())
}

/// The name of an open file, for messages: what the system knows it by.
pub(crate) fn name(file: &File) -> String {
    use std::os::fd::AsRawFd;
    match std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        Ok(path) => path.display().to_string(),
        Err(_) => "the file".to_owned(),
    }
}
