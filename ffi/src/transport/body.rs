//! Request bodies: bytes, frames held in memory, or a range of a file that is read while it is sent.
//!
//! A range of a file whose digest is not known yet is sent with aws-chunked encoding: it is hashed while it is read, and its
//! CRC64NVME follows in the trailer ("Signature calculations: trailing headers", S3 API reference; the payload is not
//! signed).

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

use super::failure::SourceFailure;
use super::frames::{FRAME, Frame};
use super::page_cache;
use super::watchdog::Activity;
use crate::budget::{Budget, Flow, Pool};
use crate::source_file::SourceFile;

/// Payload is handed to the connection in slices of this length in bytes, so that progress is visible on slow links: a slice
/// is dropped when it is written.
const SLICE: usize = 64 * 1024;

/// The disk is read ahead while fewer frames than this are in use (6 MiB). Beyond that, other connections have something to
/// send while one waits for its disk.
const READ_AHEAD: usize = 24;

/// Called with the digest of a part once all of it has been read.
pub(crate) type OnDigest = Box<dyn FnOnce(Digest) + Send + Sync>;

/// Called when the last byte of a body has been written, or when the body is dropped before.
pub(crate) type OnSent = Box<dyn FnOnce() + Send + Sync>;

/// The body of one attempt.
pub(crate) struct Outgoing {
    source: Source,
    /// Length on the wire in bytes.
    length: u64,
    chunked: Option<AwsChunked>,
    on_sent: Option<OnSent>,
    /// It is data of a backup, which counts and waits for bandwidth.
    is_data: bool,
}

enum Source {
    Bytes(Bytes),
    Frames(VecDeque<Arc<Frame>>),
    File(Box<FilePart>),
}

impl Outgoing {
    /// A body of these bytes.
    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Outgoing {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        Outgoing { length, source: Source::Bytes(bytes), chunked: None, on_sent: None, is_data: false }
    }

    /// A body of these bytes, which are data of a backup.
    pub(crate) fn data(bytes: Bytes) -> Outgoing {
        Outgoing { is_data: true, ..Outgoing::bytes(bytes) }
    }

    /// A body of these frames, in order.
    pub(crate) fn frames(frames: &[Arc<Frame>]) -> Outgoing {
        let length = frames.iter().map(|frame| frame.filled().len() as u64).sum();
        let source = Source::Frames(frames.iter().cloned().collect());
        Outgoing { length, source, chunked: None, on_sent: None, is_data: true }
    }

    /// A body that is a part of a file. The part is read while it is sent. The last frame is held back until the CRC of
    /// everything read matches the part's, so the store never receives a complete part with other bytes than promised.
    pub(crate) fn file(file: Arc<SourceFile>, pool: Arc<Pool>, part: Part) -> Outgoing {
        let source = Source::File(Box::new(FilePart::new(file, pool, part)));
        Outgoing { length: part.stored, source, chunked: None, on_sent: None, is_data: true }
    }

    /// Sends a part of a file with aws-chunked encoding and its CRC64NVME in a trailer, for parts whose digest is not known.
    /// `on_digest` is called before the last chunk is sent.
    pub(crate) fn with_trailer(&mut self, on_digest: OnDigest) -> Result<(), Error> {
        if !matches!(self.source, Source::File(_)) || self.chunked.is_some() {
            return Err(Error::new(Code::Internal, "only a part of a file can be hashed while it is sent"));
        }
        self.length = AwsChunked::encoded_length(self.length);
        self.chunked = Some(AwsChunked { on_digest: Some(on_digest), pending: VecDeque::new() });
        Ok(())
    }

    /// Sets what is called when all of the body has been written. It is never called for an empty body.
    pub(crate) fn when_sent(&mut self, on_sent: OnSent) {
        self.on_sent = Some(on_sent);
    }

    /// Length on the wire in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Converts to the HTTP client's body type. Bytes that move are counted in `activity`.
    pub(super) fn into_body(self, activity: Arc<Activity>, budget: Arc<Budget>) -> Sending {
        let Outgoing { source, length, chunked, on_sent, is_data } = self;
        Sending {
            source,
            remaining: length,
            current: None,
            chunked,
            on_sent,
            is_data,
            activity,
            flow: Flow::new(budget.up.clone()),
            budget,
        }
    }
}

/// A body that is being sent.
pub(super) struct Sending {
    source: Source,
    /// Number of bytes that have not been handed to the connection yet.
    remaining: u64,
    /// The frame that is being handed over, and the position in it.
    current: Option<(Arc<Frame>, usize)>,
    chunked: Option<AwsChunked>,
    on_sent: Option<OnSent>,
    is_data: bool,
    activity: Arc<Activity>,
    /// Limits the bandwidth.
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
            let length = bytes.len().min(SLICE);
            if this.is_data {
                let passes = this.flow.poll_pass(length as u64, context);
                this.activity.waiting(passes.is_pending());
                ready!(passes);
                this.budget.bytes_up.fetch_add(length as u64, Ordering::Relaxed);
            }
            let slice = bytes.split_to(length);
            return Poll::Ready(Some(Ok(this.hand_over(slice))));
        }
        if let Some(text) = this.next_chunk_text() {
            return Poll::Ready(Some(Ok(text)));
        }
        let (frame, start) = match this.current.take() {
            Some(current) => current,
            None => match ready!(this.poll_next(context)) {
                Ok(frame) => {
                    if let Some(chunked) = &mut this.chunked {
                        chunked.start_chunk(&frame);
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
        // Waiting for bandwidth is not the network's fault.
        this.activity.waiting(passes.is_pending());
        if passes.is_pending() {
            this.current = Some((frame, start));
            return Poll::Pending;
        }
        this.budget.bytes_up.fetch_add((end - start) as u64, Ordering::Relaxed);
        if end < frame.filled().len() {
            this.current = Some((frame.clone(), end));
        } else if let (Some(chunked), Source::File(part)) = (&mut this.chunked, &this.source) {
            chunked.end_chunk(part.finished());
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
    /// The next text of the aws-chunked encoding, if one is due.
    fn next_chunk_text(&mut self) -> Option<http_body::Frame<Bytes>> {
        let text = self.chunked.as_mut()?.pending.pop_front()?;
        self.remaining = self.remaining.saturating_sub(text.len() as u64);
        Some(http_body::Frame::data(match self.on_sent_if_last() {
            Some(sent) => {
                Bytes::from_owner(LastPiece { bytes: text, on_sent: Some(sent), activity: self.activity.clone() })
            }
            None => text,
        }))
    }

    fn hand_over(&mut self, bytes: impl AsRef<[u8]> + Send + 'static) -> http_body::Frame<Bytes> {
        let (activity, length) = (self.activity.clone(), bytes.as_ref().len() as u64);
        self.remaining = self.remaining.saturating_sub(length);
        activity.transferring(true);
        let piece = Piece { bytes, counter: CountOnDrop { activity: activity.clone(), length } };
        http_body::Frame::data(match self.on_sent_if_last() {
            Some(sent) => Bytes::from_owner(LastPiece { bytes: piece, on_sent: Some(sent), activity }),
            None => Bytes::from_owner(piece),
        })
    }

    /// What to call when this piece is written, if it is the last one.
    fn on_sent_if_last(&mut self) -> Option<OnSent> {
        if self.remaining == 0 { self.on_sent.take() } else { None }
    }

    /// Returns the next frame. For a file it waits until the previous frame is written.
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
                let detail = "the part is shorter than its announced length".to_owned();
                Err(SourceFailure { code: Code::Internal, detail })
            })
        })
    }
}

/// The aws-chunked encoding: one chunk per frame, then an empty chunk, then the trailer.
struct AwsChunked {
    on_digest: Option<OnDigest>,
    /// Texts to send before the next bytes of a frame.
    pending: VecDeque<Bytes>,
}

impl AwsChunked {
    fn start_chunk(&mut self, frame: &Frame) {
        self.pending.push_back(format!("{:x}\r\n", frame.filled().len()).into());
    }

    /// Ends the chunk of a frame. After the last frame the digest is known, and the trailer follows.
    fn end_chunk(&mut self, finished: Option<Digest>) {
        self.pending.push_back(Bytes::from_static(b"\r\n"));
        if let Some(digest) = finished {
            self.pending.push_back(format!("0\r\n{CRC64NVME}:{}\r\n\r\n", crc_text(digest.crc64nvme)).into());
            if let Some(on_digest) = self.on_digest.take() {
                on_digest(digest);
            }
        }
    }

    /// Length in bytes of a payload of this many bytes once it is encoded, with the trailer.
    fn encoded_length(payload: u64) -> u64 {
        let chunk = |length: u64| format!("{length:x}\r\n").len() as u64 + length + 2;
        let (full, rest) = (payload / FRAME as u64, payload % FRAME as u64);
        let rest = if rest > 0 { chunk(rest) } else { 0 };
        full * chunk(FRAME as u64) + rest + (3 + CRC64NVME.len() + 1 + 12 + 4) as u64
    }
}

/// A piece of payload inside the connection, which drops it once it is written.
struct Piece<B> {
    bytes: B,
    /// Fields are dropped in order, so the task that this wakes finds the bytes released.
    #[expect(dead_code, reason = "it acts when it is dropped")]
    counter: CountOnDrop,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Piece<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Records when it is dropped that this many bytes moved.
struct CountOnDrop {
    activity: Arc<Activity>,
    length: u64,
}

impl Drop for CountOnDrop {
    fn drop(&mut self) {
        self.activity.moved(self.length);
    }
}

/// The last piece of a body.
struct LastPiece<B> {
    bytes: B,
    on_sent: Option<OnSent>,
    activity: Arc<Activity>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for LastPiece<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl<B> Drop for LastPiece<B> {
    fn drop(&mut self) {
        self.activity.transferring(false);
        if let Some(on_sent) = self.on_sent.take() {
            on_sent();
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

/// Reads a part of a file. What is in the page cache is read on the calling thread, since another thread would cost more than
/// the read and would leave the bytes in another core's cache. What must come from the disk is read on a blocking thread, one
/// frame ahead of the connection while few frames are in use.
///
/// A connection holds one frame, and the next is read when that one is written. More frames would only wait for the network.
struct FilePart {
    source: Arc<SourceFile>,
    pool: Arc<Pool>,
    part: Part,
    /// Position in the file of the next frame.
    position: u64,
    /// The last frame that was handed over.
    last: Weak<Frame>,
    reading: Option<JoinHandle<Result<FrameRead, SourceFailure>>>,
    hash: Hash,
}

/// A frame that a blocking thread read.
struct FrameRead {
    frame: Frame,
    /// Hash of all bytes of the part up to the end of this frame.
    hash: Hash,
    /// Whether the disk had to be waited for.
    waited: bool,
}

/// What is computed from the bytes while they are read.
#[derive(Clone)]
enum Hash {
    /// The part was hashed before, and its CRC must be the same.
    Verify(Box<Crc64>),
    /// The part is hashed for the first time.
    Compute(Box<Digester>),
}

impl Hash {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Verify(crc) => crc.update(bytes),
            Hash::Compute(digester) => digester.update(bytes),
        }
    }
}

impl FilePart {
    fn new(source: Arc<SourceFile>, pool: Arc<Pool>, part: Part) -> FilePart {
        let hash = match part.digest {
            Some(_) => Hash::Verify(Box::default()),
            None => Hash::Compute(Box::default()),
        };
        FilePart { source, pool, part, position: part.offset, last: Weak::new(), reading: None, hash }
    }

    fn end(&self) -> u64 {
        self.part.offset.saturating_add(self.part.length)
    }

    /// Whether the connection has written the last frame.
    fn is_written(&self) -> bool {
        self.last.strong_count() == 0
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Frame>, SourceFailure>> {
        if self.reading.is_none()
            && !self.reads_last_bytes()
            && let Some(mut frame) = self.pool.try_take()
            && page_cache::read(&self.source.file, &mut frame, self.position, self.next_length())
        {
            self.hash.update(frame.filled());
            return Poll::Ready(self.finish_frame(frame));
        }
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => self.reading.insert(self.start_reading()),
        };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let FrameRead { frame, hash, waited } = match read {
            Ok(read) => read?,
            Err(e) => return Poll::Ready(Err(SourceFailure { code: Code::Internal, detail: e.to_string() })),
        };
        self.hash = hash;
        let frame = self.finish_frame(frame);
        if waited && frame.is_ok() && self.position < self.end() && self.pool.in_use() < READ_AHEAD {
            self.reading = Some(self.start_reading());
        }
        Poll::Ready(frame)
    }

    /// Counts a frame that was read and hashed. The last one is refused if the part has changed.
    fn finish_frame(&mut self, frame: Frame) -> Result<Arc<Frame>, SourceFailure> {
        self.position += frame.filled().len() as u64;
        if self.position >= self.end()
            && let (Hash::Verify(crc), Some(digest)) = (&self.hash, &self.part.digest)
            && crc.finish() != digest.crc64nvme
        {
            return Err(changed(&self.source.file, &self.part, "its content differs"));
        }
        let frame = Arc::new(frame);
        self.last = Arc::downgrade(&frame);
        Ok(frame)
    }

    /// Digest of the part once all of it is read, if it was not known before.
    fn finished(&self) -> Option<Digest> {
        match &self.hash {
            Hash::Compute(digester) if self.position >= self.end() => Some(digester.finish()),
            _ => None,
        }
    }

    /// Whether the next frame ends the first reading of the part. Then the file is compared, on a blocking thread, since a
    /// file server may have to be asked.
    fn reads_last_bytes(&self) -> bool {
        matches!(self.hash, Hash::Compute(_)) && self.end() - self.position <= FRAME as u64
    }

    /// Length of the next frame in bytes.
    fn next_length(&self) -> usize {
        (self.end() - self.position).min(FRAME as u64) as usize
    }

    fn start_reading(&self) -> JoinHandle<Result<FrameRead, SourceFailure>> {
        let (source, pool, part, position) = (self.source.clone(), self.pool.clone(), self.part, self.position);
        let (mut hash, length, is_compared) = (self.hash.clone(), self.next_length(), self.reads_last_bytes());
        // A blocking thread is used only once there is a frame: the holders of frames may need such a thread to release them.
        tokio::spawn(async move {
            let mut frame = pool.take().await;
            let reading = tokio::task::spawn_blocking(move || {
                let file = &source.file;
                let waited = !page_cache::read(file, &mut frame, position, length);
                if waited {
                    read_at(file, &mut frame, position, length).map_err(|e| match e.kind() {
                        io::ErrorKind::UnexpectedEof => changed(file, &part, "it is shorter than before"),
                        _ => {
                            let detail = format!("reading {} at byte {position}: {e}", name(file));
                            SourceFailure { code: Code::Io, detail }
                        }
                    })?;
                }
                if is_compared {
                    let failure = |e: Error| SourceFailure { code: e.code(), detail: e.message().to_owned() };
                    source.check().map_err(failure)?;
                }
                hash.update(frame.filled());
                Ok(FrameRead { frame, hash, waited })
            });
            reading.await.unwrap_or_else(|e| Err(SourceFailure { code: Code::Internal, detail: e.to_string() }))
        })
    }
}

fn changed(file: &File, part: &Part, how: &str) -> SourceFailure {
    SourceFailure {
        code: Code::SourceChanged,
        detail: format!(
            "{} changed while it was being stored: {how} (bytes {} to {}, on the second reading)",
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

/// Path of an open file for messages, as the operating system knows it.
pub(crate) fn name(file: &File) -> String {
    use std::os::fd::AsRawFd;
    match std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        Ok(path) => path.display().to_string(),
        Err(_) => "the file".to_owned(),
    }
}
