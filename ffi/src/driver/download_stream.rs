//! A download that is read in order: accepted ranges wait in frames until the reader takes them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::Sender;
use s3vault_core::checksum::{Digest, Digester, SliceHash};
use s3vault_core::crypto::segment::{SEGMENT, Segments};
use s3vault_core::http::Range;
use s3vault_core::{Code, Error, Machine, Result};
use tokio::sync::oneshot::Receiver;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Host;
use super::engine::{Message, Payload};
use super::progress::Progress;
use super::range_segments::RangeSegments;
use super::request::Sink;
use super::task::{Notice, Task};
use super::wait::Deadline;
use crate::budget::{Account, Grant, Pool};
use crate::control::Control;
use crate::transport::frames::{FRAME, Frame, Size};

/// Memory that a download reserves: the longest slice.
const BASE: u64 = 8 << 20;

/// Reads a backup in order. Dropped before its end, it cancels the download.
///
/// It holds the ranges that the machine has open. A range stays open until its last byte was read
/// ([`Input::RangeConsumed`](s3vault_core::Input::RangeConsumed)), so a slow reader slows down the machine.
pub(crate) struct StreamDownload {
    task: Task<(), RangeFrames>,
    current: Option<RangeFrames>,
    /// Position in the first frame of the current range.
    position: usize,
    /// The first byte of the backup that is wanted. Where the data is encrypted, the bytes before it in its segment come too.
    first: u64,
    /// How the download ended.
    end: Option<Result<()>>,
}

impl StreamDownload {
    /// Starts the machine; its first error is returned by the first read.
    pub(crate) fn start<M>(host: &Host, machine: M, control: &mut Control<'_>) -> Result<StreamDownload>
    where
        M: Machine<Done = ()> + Send + 'static,
    {
        StreamDownload::start_at(host, machine, 0, control)
    }

    /// The same, where bytes of the backup before this one are not wanted.
    pub(crate) fn start_at<M>(host: &Host, machine: M, first: u64, control: &mut Control<'_>) -> Result<StreamDownload>
    where
        M: Machine<Done = ()> + Send + 'static,
    {
        control.check_cancel()?;
        let pool = host.transport.pool().clone();
        let task = Task::start_with(host, machine, Progress::new(None), |_, to_reader| StreamTarget {
            pool,
            account: None,
            segments: None,
            started: BTreeMap::new(),
            accepted: BTreeMap::new(),
            next: 0,
            to_reader,
        })?;
        Ok(StreamDownload { task, current: None, position: 0, first, end: None })
    }

    /// Reads at least one byte, and as many as are available without waiting. Returns 0 at the end, after all ranges
    /// were verified. A wait that was ended (cancel, time-out, callback) can be repeated.
    pub(crate) fn read(&mut self, buffer: &mut [u8], control: &mut Control<'_>) -> Result<usize> {
        let deadline = Deadline::of(control)?;
        self.task.check(deadline, control)?;
        let mut count = 0;
        while count < buffer.len() {
            if self.current.is_none() {
                // Notices that arrived before the end can still be read after it.
                let notice = match self.task.next_now() {
                    Some(notice) => notice,
                    None if count > 0 => break,
                    None => match &self.end {
                        Some(end) => return end.clone().map(|()| 0),
                        None => self.task.next(deadline, control)?,
                    },
                };
                match notice {
                    Notice::Payload(frames) => self.current = Some(frames.without_bytes_before(self.first)),
                    Notice::Done(result) => {
                        self.end = Some(result);
                        continue;
                    }
                }
            }
            count += self.take(&mut buffer[count..]);
        }
        if self.end.is_some() {
            self.task.report_end(control);
        }
        Ok(count)
    }

    /// Copies from the current range, and releases the frames that were read.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let Some(range) = &mut self.current else { return 0 };
        let mut count = 0;
        while let Some(frame) = range.frames.front() {
            let start = self.position.max(range.skipped);
            let rest = &frame.filled()[start..];
            let part = rest.len().min(buffer.len() - count);
            buffer[count..count + part].copy_from_slice(&rest[..part]);
            count += part;
            self.position = start + part;
            if part < rest.len() {
                return count;
            }
            range.frames.pop_front();
            (self.position, range.skipped) = (0, 0);
        }
        self.task.send(Message::RangeConsumed { index: range.index });
        self.current = None;
        count
    }
}

/// A range in memory.
pub(super) struct RangeFrames {
    index: u32,
    /// Offset in the backup.
    offset: u64,
    frames: VecDeque<Frame>,
    /// How many bytes of the first frame are not wanted.
    skipped: usize,
}

impl RangeFrames {
    fn without_bytes_before(mut self, first: u64) -> RangeFrames {
        let mut skip = first.saturating_sub(self.offset);
        while let Some(frame) = self.frames.front() {
            let length = frame.filled().len();
            if skip < length as u64 {
                self.skipped = skip as usize;
                break;
            }
            skip -= length as u64;
            self.frames.pop_front();
        }
        self
    }
}

/// The memory of a range. It belongs to the range until it was read, however many attempts that takes.
enum Memory {
    Requested(Receiver<Grant>),
    Granted(Grant),
}

/// The bytes of a range that have arrived.
struct RangeBuffer {
    memory: Memory,
    frames: VecDeque<Frame>,
    /// The last frame is not complete.
    is_open: bool,
    /// Bytes of the last frame that were hashed.
    hashed: usize,
    digester: Digester,
    done: u64,
    /// How it is decrypted, if it is.
    segments: Option<RangeSegments>,
}

impl RangeBuffer {
    fn new(hash: SliceHash, asked: Receiver<Grant>, segments: Option<RangeSegments>) -> RangeBuffer {
        RangeBuffer {
            memory: Memory::Requested(asked),
            frames: VecDeque::new(),
            is_open: false,
            hashed: 0,
            digester: Digester::of(hash),
            done: 0,
            segments,
        }
    }

    fn hash_last(&mut self) {
        if let Some(frame) = self.frames.back() {
            self.digester.update(&frame.filled()[self.hashed..]);
            self.hashed = frame.filled().len();
        }
    }

    /// Counts bytes that arrived in the last frame.
    fn received(&mut self, bytes: usize) {
        let Some(frame) = self.frames.back_mut() else { return };
        frame.grow(bytes);
        self.done += bytes as u64;
        let length = frame.filled().len();
        let is_whole = match &self.segments {
            Some(segments) => length == segments.stored(self.done - length as u64),
            None => frame.is_full(),
        };
        if is_whole || length - self.hashed >= FRAME {
            self.hash_last();
        }
        if !is_whole {
            return;
        }
        self.is_open = false;
        if let (Some(segments), Some(frame)) = (&self.segments, self.frames.back_mut()) {
            segments.open(self.done - length as u64, frame);
            self.hashed = frame.filled().len();
        }
    }
}

/// Keeps the bytes of a range in frames. One attempt uses it at a time.
pub(super) struct FrameSink {
    buffer: Arc<Mutex<RangeBuffer>>,
    held: Option<OwnedMutexGuard<RangeBuffer>>,
}

impl FrameSink {
    /// Waits until the range has its memory.
    pub(super) async fn reserve(&mut self) {
        let mut buffer = self.buffer.lock().await;
        if let Memory::Requested(asked) = &mut buffer.memory
            && let Ok(grant) = asked.await
        {
            buffer.memory = Memory::Granted(grant);
        }
    }

    /// Waits until no other attempt uses the range. Returns how many bytes of it are there.
    pub(super) async fn start(&mut self) -> u64 {
        let held = self.buffer.clone().lock_owned().await;
        let done = held.done;
        self.held = Some(held);
        done
    }

    /// Where the next bytes go. Not empty.
    pub(super) fn room(&mut self) -> Result<&mut [u8]> {
        let none = || Error::new(Code::Internal, "a range has more bytes than its reserved memory");
        let buffer = self.held.as_deref_mut().ok_or_else(none)?;
        if !buffer.is_open {
            let size = if buffer.segments.is_some() { Size::Segment } else { Size::Plain };
            let frame = match &mut buffer.memory {
                Memory::Granted(grant) => grant.take(size),
                Memory::Requested(_) => None,
            };
            buffer.frames.push_back(frame.ok_or_else(none)?);
            (buffer.hashed, buffer.is_open) = (0, true);
        }
        buffer.frames.back_mut().map(Frame::room).ok_or_else(none)
    }

    /// `bytes` bytes were put into the room.
    pub(super) fn received(&mut self, bytes: usize) {
        if let Some(buffer) = self.held.as_deref_mut() {
            buffer.received(bytes);
        }
    }

    pub(super) fn finish(self) -> (u64, Digest) {
        let Some(mut buffer) = self.held else { return (0, Digester::of(SliceHash::Nothing).finish()) };
        buffer.hash_last();
        (buffer.done, buffer.digester.finish())
    }
}

struct StreamTarget {
    pool: Arc<Pool>,
    /// Opened with the first range.
    account: Option<Account>,
    /// How the ranges are decrypted, if they are.
    segments: Option<Arc<Segments>>,
    /// Ranges that were started and not yet accepted, each with the reading that it belongs to.
    started: BTreeMap<u32, (u32, Arc<Mutex<RangeBuffer>>)>,
    /// Ranges that were accepted and wait for an earlier one.
    accepted: BTreeMap<u32, RangeFrames>,
    /// The index of the range that the reader gets next.
    next: u32,
    to_reader: Sender<Notice<(), RangeFrames>>,
}

impl Payload for StreamTarget {
    fn segments(&mut self, segments: Arc<Segments>) {
        self.segments = Some(segments);
    }

    fn sink(&mut self, range: Range) -> Result<Sink> {
        let memory = match self.segments {
            // The tag of each segment is not counted; an empty backup is one empty segment.
            Some(_) => range.length.max(1).next_multiple_of(SEGMENT as u64),
            None => range.length,
        };
        let account = self.account.get_or_insert_with(|| self.pool.account(BASE.max(memory)));
        let asked = match self.started.get(&range.index) {
            Some((reading, buffer)) if *reading == range.reading => {
                return Ok(Sink::Frames(FrameSink { buffer: buffer.clone(), held: None }));
            }
            // Later ranges may be waiting for memory that is released only when this one was read.
            Some(_) => account.ask_first(memory)?,
            None => account.ask(memory)?,
        };
        let segments = self.segments.as_ref().map(|segments| RangeSegments::new(segments, range)).transpose()?;
        let buffer = Arc::new(Mutex::new(RangeBuffer::new(range.hash, asked, segments)));
        self.started.insert(range.index, (range.reading, buffer.clone()));
        Ok(Sink::Frames(FrameSink { buffer, held: None }))
    }

    fn accept(&mut self, range: Range) -> Result<()> {
        let never = || Error::new(Code::Internal, format!("range {} was accepted but never received", range.index));
        let (_, buffer) = self.started.remove(&range.index).ok_or_else(never)?;
        let mut buffer = buffer.try_lock().map_err(|_| never())?;
        if let Some(segments) = &buffer.segments {
            segments.check()?;
        }
        let (frames, offset) = (std::mem::take(&mut buffer.frames), range.offset);
        drop(buffer);
        self.accepted.insert(range.index, RangeFrames { index: range.index, offset, frames, skipped: 0 });
        while let Some(next) = self.accepted.remove(&self.next) {
            self.next += 1;
            // If the reader is gone, the engine is told separately.
            let _ = self.to_reader.send(Notice::Payload(next));
        }
        Ok(())
    }
}
