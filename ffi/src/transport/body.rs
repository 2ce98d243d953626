//! Bodies of requests: bytes, frames that are held in memory, or a range of a file that is read as it is sent.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, SizeHint};
use s3vault_core::Code;
use s3vault_core::checksum::Crc64;
use s3vault_core::http::Part;
use tokio::task::JoinHandle;

use super::activity::Activity;
use super::failure::SourceFailure;
use super::frames::{FRAME, Frame, Pool};

/// Payload is handed to the connection in slices of this length, so that progress shows on slow links:
/// a slice is dropped when it is written.
const SLICE: usize = 64 * 1024;

/// The body of one attempt.
pub(crate) struct Outgoing {
    source: Source,
    length: u64,
}

enum Source {
    Bytes(Bytes),
    Frames(VecDeque<Arc<Frame>>),
    File(Box<FilePart>),
}

impl Outgoing {
    /// These bytes.
    pub(crate) fn bytes(bytes: Vec<u8>) -> Outgoing {
        Outgoing { length: bytes.len() as u64, source: Source::Bytes(bytes.into()) }
    }

    /// These frames, one after the other.
    pub(crate) fn frames(frames: &[Arc<Frame>]) -> Outgoing {
        let length = frames.iter().map(|frame| frame.filled().len() as u64).sum();
        Outgoing { length, source: Source::Frames(frames.iter().cloned().collect()) }
    }

    /// A part of a file. It is read while it is sent, and the last frame is held back until the CRC of all that
    /// was read is the part's; so a store never gets a whole part whose bytes are not those that were promised.
    pub(crate) fn file(file: Arc<File>, pool: Arc<Pool>, part: Part) -> Outgoing {
        Outgoing { length: part.length, source: Source::File(Box::new(FilePart::new(file, pool, part))) }
    }

    /// In bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// As reqwest takes it; what moves is counted in `activity`.
    pub(crate) fn into_body(self, activity: Arc<Activity>) -> reqwest::Body {
        let Outgoing { source, length } = self;
        reqwest::Body::wrap(Sending { source, remaining: length, current: None, activity })
    }
}

/// A body on its way.
struct Sending {
    source: Source,
    /// In bytes, of what was not handed over yet.
    remaining: u64,
    /// The frame that is being handed over, and from where on.
    current: Option<(Arc<Frame>, usize)>,
    activity: Arc<Activity>,
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
        let (frame, start) = match this.current.take() {
            Some(current) => current,
            None => match ready!(this.poll_source(context)) {
                Ok(frame) => (frame, 0),
                Err(failure) => return Poll::Ready(Some(Err(failure))),
            },
        };
        let end = frame.filled().len().min(start + SLICE);
        if end < frame.filled().len() {
            this.current = Some((frame.clone(), end));
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
    fn hand_over(&mut self, bytes: impl AsRef<[u8]> + Send + 'static) -> http_body::Frame<Bytes> {
        self.remaining = self.remaining.saturating_sub(bytes.as_ref().len() as u64);
        let activity = self.activity.clone();
        http_body::Frame::data(Bytes::from_owner(Piece { bytes, activity }))
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Frame>, SourceFailure>> {
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

/// A piece of payload on its way through the connection, which drops it once it is written.
struct Piece<B: AsRef<[u8]>> {
    bytes: B,
    activity: Arc<Activity>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Piece<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl<B: AsRef<[u8]>> Drop for Piece<B> {
    fn drop(&mut self) {
        self.activity.moved(self.bytes.as_ref().len() as u64);
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

/// Reads a part of a file, one frame ahead of the connection.
struct FilePart {
    file: Arc<File>,
    pool: Arc<Pool>,
    part: Part,
    /// In the file, from where the next frame is read.
    position: u64,
    reading: Option<JoinHandle<Result<(Frame, Crc64), SourceFailure>>>,
    crc: Crc64,
}

impl FilePart {
    fn new(file: Arc<File>, pool: Arc<Pool>, part: Part) -> FilePart {
        FilePart { file, pool, part, position: part.offset, reading: None, crc: Crc64::default() }
    }

    fn end(&self) -> u64 {
        self.part.offset.saturating_add(self.part.length)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Frame>, SourceFailure>> {
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => self.reading.insert(self.start()),
        };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let (frame, crc) = match read {
            Ok(read) => read?,
            Err(e) => return Poll::Ready(Err(SourceFailure { code: Code::Internal, detail: e.to_string() })),
        };
        self.crc = crc;
        self.position += frame.filled().len() as u64;
        if self.position < self.end() {
            self.reading = Some(self.start());
        } else if self.crc.finish() != self.part.digest.crc64nvme {
            return Poll::Ready(Err(changed(&self.file, &self.part, "its bytes differ")));
        }
        Poll::Ready(Ok(Arc::new(frame)))
    }

    fn start(&self) -> JoinHandle<Result<(Frame, Crc64), SourceFailure>> {
        let (file, pool, part, position) = (self.file.clone(), self.pool.clone(), self.part, self.position);
        let (mut crc, length) = (self.crc.clone(), (self.end() - self.position).min(FRAME as u64) as usize);
        tokio::task::spawn_blocking(move || {
            let mut frame = pool.take();
            read_at(&file, &mut frame, position, length).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => changed(&file, &part, "it is shorter now"),
                _ => {
                    SourceFailure { code: Code::Io, detail: format!("reading {} at byte {position}: {e}", name(&file)) }
                }
            })?;
            crc.update(frame.filled());
            Ok((frame, crc))
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
