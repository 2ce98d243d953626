//! A download into a file: each range is written at its position as it arrives.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use s3vault_core::checksum::{Digest, Digester};
use s3vault_core::crypto::segment::Segments;
use s3vault_core::http::Range;
use s3vault_core::{Code, Error, Machine, Result};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot::Receiver;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Host;
use super::engine::{Message, Payload};
use super::file_writer::FileWriter;
use super::progress::Progress;
use super::range_segments::RangeSegments;
use super::request::Sink;
use super::sparse::{self, Zeros};
use super::task::Task;
use super::wait::Deadline;
use crate::budget::Pool;
use crate::control::Control;
use crate::disk;
use crate::transport::body::name;
use crate::transport::frames::{FRAME, Frame};

/// Where a download is written.
pub(crate) struct Destination {
    /// Open for writing.
    pub(crate) file: File,
    /// How zeros in the data are written.
    pub(crate) zeros: Zeros,
    /// From this byte of the file, the byte of each verified part is set to 1.
    pub(crate) marks: Option<u64>,
    /// Bytes that the file already has; for progress only.
    pub(crate) already_done: u64,
}

/// Runs a machine whose ranges are written to a file. `total` is for progress only. The file is not synced: the caller
/// knows whether it is renamed afterwards. After an error, a write that was in progress may still reach the file.
pub(crate) fn download_file<M>(
    host: &Host,
    machine: M,
    destination: Destination,
    total: u64,
    control: &mut Control<'_>,
) -> Result<()>
where
    M: Machine<Done = ()> + Send + 'static,
{
    let pool = host.transport.pool().clone();
    let progress = Progress::new(Some(total));
    progress.already_done(destination.already_done);
    let deadline = Deadline::of(control)?;
    let task = Task::start_with(host, machine, progress, |inbox, _| FileTarget {
        file: Arc::new(destination.file),
        writes: FileWriter::default(),
        zeros: destination.zeros,
        marks: destination.marks,
        marked: None,
        pool,
        segments: None,
        slots: HashMap::new(),
        engine: inbox.sender.clone(),
    })?;
    task.end(deadline, control)
}

struct FileTarget {
    file: Arc<File>,
    writes: FileWriter,
    zeros: Zeros,
    marks: Option<u64>,
    /// The part that was marked last.
    marked: Option<u32>,
    pool: Arc<Pool>,
    /// How the ranges are decrypted, if they are.
    segments: Option<Arc<Segments>>,
    /// Ranges that were started and not yet accepted.
    slots: HashMap<u32, Arc<Slot>>,
    engine: UnboundedSender<Message>,
}

/// The place of a range in the file. One attempt writes to it at a time, and none once it is verified. An abandoned
/// attempt may have a write in progress, which must not overwrite what a later attempt wrote.
#[derive(Default)]
struct Slot {
    written: Arc<Mutex<Written>>,
    /// How the newest reading is decrypted, if it is.
    segments: std::sync::Mutex<Option<Arc<RangeSegments>>>,
    accepted: AtomicBool,
}

impl Slot {
    fn segments(&self) -> Option<Arc<RangeSegments>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The bytes of a range that are in the file, and their digest.
#[derive(Default)]
struct Written {
    digester: Digester,
    done: u64,
    /// Which reading of its part the bytes belong to.
    reading: Option<u32>,
    /// How they are decrypted, if they are.
    segments: Option<Arc<RangeSegments>>,
    /// The segment that follows those bytes, as far as it arrived: a later attempt continues it. It is taken before an attempt
    /// gets its connection, and kept until the range is there.
    segment: Option<Frame>,
    /// How many bytes of the segment are hashed.
    hashed: usize,
}

impl Written {
    /// How many bytes of the range are there.
    fn there(&self) -> u64 {
        self.done + self.segment.as_ref().map_or(0, |segment| segment.filled().len() as u64)
    }

    /// Hashes the bytes of the segment that were not hashed yet.
    fn hash_segment(&mut self) {
        if let Some(segment) = &self.segment {
            self.digester.update(&segment.filled()[self.hashed..]);
            self.hashed = segment.filled().len();
        }
    }
}

impl Payload for FileTarget {
    fn segments(&mut self, segments: Arc<Segments>) {
        self.segments = Some(segments);
    }

    fn sink(&mut self, range: Range) -> Result<Sink> {
        let slot = self.slots.entry(range.index).or_default().clone();
        let zeros = if range.reading == 0 { self.zeros } else { self.zeros.over_old_data() };
        Ok(Sink::File(FileSink {
            file: self.file.clone(),
            writes: self.writes.clone(),
            pool: self.pool.clone(),
            zeros,
            range,
            slot,
            segments: self.segments.clone(),
            frame: None,
            state: State::Idle,
        }))
    }

    fn accept(&mut self, range: Range) -> Result<()> {
        if let Some(slot) = self.slots.remove(&range.index) {
            if let Some(segments) = slot.segments() {
                segments.check()?;
            }
            slot.accepted.store(true, Ordering::Release);
        }
        if let Some(marks) = self.marks
            && self.marked.replace(range.part) != Some(range.part)
        {
            // One byte into the page cache, at once and not on another thread: the caller truncates the file when it
            // learns of the end. If the byte is lost, one part is read again.
            let _ = self.file.write_all_at(&[1], marks + u64::from(range.part));
        }
        // Bytes in the file take no memory. The engine ends before its inbox does.
        let _ = self.engine.send(Message::RangeConsumed { index: range.index });
        Ok(())
    }
}

/// Writes the frames of one attempt, one at a time.
pub(super) struct FileSink {
    file: Arc<File>,
    writes: FileWriter,
    pool: Arc<Pool>,
    zeros: Zeros,
    range: Range,
    slot: Arc<Slot>,
    /// How the range is decrypted, if it is.
    segments: Option<Arc<Segments>>,
    /// The frame that is being filled, unless the range is decrypted.
    frame: Option<Frame>,
    state: State,
}

/// The right to write belongs to the sink or to a write in progress, so that it outlives an attempt that is dropped.
enum State {
    Idle,
    Held(OwnedMutexGuard<Written>),
    Writing(Receiver<Result<OwnedMutexGuard<Written>>>),
}

impl FileSink {
    /// Waits for the memory of a segment, which is kept until the range is there.
    pub(super) async fn reserve(&mut self) {
        if self.segments.is_none() {
            return;
        }
        let mut written = self.slot.written.clone().lock_owned().await;
        if written.segment.is_none() && !self.slot.accepted.load(Ordering::Acquire) {
            written.segment = Some(self.pool.take_segment().await);
            written.hashed = 0;
        }
        self.state = State::Held(written);
    }

    /// Waits until no other attempt is writing. Returns how many bytes of the range are there; `None` if it was
    /// accepted.
    pub(super) async fn start(&mut self) -> Result<Option<u64>> {
        let mut written = match std::mem::replace(&mut self.state, State::Idle) {
            State::Held(written) => written,
            _ => self.slot.written.clone().lock_owned().await,
        };
        if self.slot.accepted.load(Ordering::Acquire) {
            written.segment = None;
            return Ok(None);
        }
        if written.reading != Some(self.range.reading) {
            let segments = match &self.segments {
                Some(segments) => Some(Arc::new(RangeSegments::new(segments, self.range)?)),
                None => None,
            };
            *self.slot.segments.lock().unwrap_or_else(PoisonError::into_inner) = segments.clone();
            let (digester, mut segment) = (Digester::of(self.range.hash), written.segment.take());
            if let Some(segment) = &mut segment {
                segment.clear();
            }
            *written = Written { digester, done: 0, reading: Some(self.range.reading), segments, segment, hashed: 0 };
        }
        let there = written.there();
        self.state = State::Held(written);
        Ok(Some(there))
    }

    /// Where the next bytes go. Not empty.
    pub(super) async fn room(&mut self) -> Result<&mut [u8]> {
        if self.segments.is_some() {
            return self.segment_room().await;
        }
        let frame = match self.frame.take() {
            Some(frame) => frame,
            None => {
                // One frame per attempt: if the file is slower than the network, the network waits.
                self.state = State::Held(self.acquire().await?);
                self.pool.take().await
            }
        };
        Ok(self.frame.insert(frame).room())
    }

    /// The same, where the range is decrypted.
    async fn segment_room(&mut self) -> Result<&mut [u8]> {
        let none = || Error::new(Code::Internal, "a segment has no memory");
        self.state = State::Held(self.acquire().await?);
        let State::Held(written) = &mut self.state else { return Err(none()) };
        let missing = written.segments.as_ref().map_or(0, |segments| segments.stored(written.done));
        let segment = written.segment.as_mut().ok_or_else(none)?;
        let missing = missing.saturating_sub(segment.filled().len());
        let room = segment.room();
        let most = missing.min(room.len());
        if most == 0 {
            let why = format!("range {} has more bytes than {}", self.range.index, self.range.stored);
            return Err(Error::new(Code::Internal, why));
        }
        Ok(&mut room[..most])
    }

    /// `bytes` bytes were put into the room.
    pub(super) async fn received(&mut self, bytes: usize) -> Result<()> {
        if self.segments.is_some() {
            return self.segment_received(bytes);
        }
        if let Some(frame) = &mut self.frame {
            frame.grow(bytes);
            if frame.is_full() {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// The same, where the range is decrypted: writes a segment that is complete.
    fn segment_received(&mut self, bytes: usize) -> Result<()> {
        let State::Held(mut written) = std::mem::replace(&mut self.state, State::Idle) else {
            return Err(Error::new(Code::Internal, format!("range {} was not started", self.range.index)));
        };
        let (Some(segments), Some(segment)) = (written.segments.clone(), written.segment.as_mut()) else {
            return Err(Error::new(Code::Internal, "a segment has no memory"));
        };
        segment.grow(bytes);
        let length = segment.filled().len();
        let is_whole = length == segments.stored(written.done);
        if is_whole || length - written.hashed >= FRAME {
            written.hash_segment();
        }
        if !is_whole {
            self.state = State::Held(written);
            return Ok(());
        }
        let (file, zeros, start) = (self.file.clone(), self.zeros, written.done);
        self.state = State::Writing(self.writes.run(move || {
            if let Some(mut segment) = written.segment.take() {
                // A write that fails leaves no segment: what is decrypted is not hashed again.
                let position = segments.open(start, &mut segment);
                sparse::write_at(&file, segment.filled(), position, zeros)
                    .map_err(|e| disk::refused(format_args!("cannot write {} at byte {position}", name(&file)), &e))?;
                segment.clear();
                (written.segment, written.hashed) = (Some(segment), 0);
            }
            written.done += length as u64;
            Ok(written)
        }));
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<(u64, Digest)> {
        self.write().await?;
        let mut written = self.acquire().await?;
        written.hash_segment();
        if written.done == self.range.stored {
            written.segment = None;
        }
        Ok((written.there(), written.digester.finish()))
    }

    /// Starts to write the frame.
    async fn write(&mut self) -> Result<()> {
        let Some(frame) = self.frame.take() else { return Ok(()) };
        let mut written = self.acquire().await?;
        let (file, zeros, position) = (self.file.clone(), self.zeros, self.range.offset + written.done);
        // Hashed here, while the bytes are in this core's cache.
        written.digester.update(frame.filled());
        self.state = State::Writing(self.writes.run(move || {
            let bytes = frame.filled();
            sparse::write_at(&file, bytes, position, zeros)
                .map_err(|e| disk::refused(format_args!("cannot write {} at byte {position}", name(&file)), &e))?;
            written.done += bytes.len() as u64;
            Ok(written)
        }));
        Ok(())
    }

    /// Gets the right to write, once no write is in progress.
    async fn acquire(&mut self) -> Result<OwnedMutexGuard<Written>> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Held(written) => Ok(written),
            State::Writing(writing) => writing
                .await
                .map_err(|e| Error::new(Code::Internal, format!("writing {} failed: {e}", name(&self.file))))?,
            State::Idle => Err(Error::new(Code::Internal, format!("range {} was not started", self.range.index))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_later_attempt_waits_for_the_write_of_a_dropped_one() {
        // One blocking thread, so that the write has to wait for the gate.
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_time().build().unwrap();
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        let (sender, _inbox) = tokio::sync::mpsc::unbounded_channel();
        let file = Arc::new(File::options().write(true).open("/dev/null").unwrap());
        let pool = Pool::new(1 << 20);
        let mut target = FileTarget {
            file,
            zeros: Zeros::Written,
            marks: None,
            marked: None,
            writes: FileWriter::default(),
            pool: pool.clone(),
            segments: None,
            slots: HashMap::new(),
            engine: sender,
        };
        target.writes.avoid();
        let length = 2 * FRAME as u64;
        let range = Range::of_part(0, 0, length);
        let mut sink = || match target.sink(range).unwrap() {
            Sink::File(sink) => sink,
            Sink::Frames(_) | Sink::Discard(_) => unreachable!(),
        };
        let (mut first, mut second, mut third) = (sink(), sink(), sink());
        runtime.block_on(async {
            tokio::task::spawn_blocking(move || crate::transport::testserver::until(|| gate.load(Ordering::Acquire)));
            assert_eq!(first.start().await.unwrap(), Some(0));
            let half = first.room().await.unwrap().len();
            assert_eq!(half as u64, length / 2);
            first.received(half).await.unwrap();
            // Nothing can happen until the gate opens, so these waits always time out.
            let more = tokio::time::timeout(Duration::from_millis(50), first.room()).await.is_ok();
            assert!(!more && pool.in_use() == 1, "an attempt has one frame, until it is written");
            drop(first);
            let early = tokio::time::timeout(Duration::from_millis(50), second.start()).await;
            open.store(true, Ordering::Release);
            assert!(early.is_err(), "a later attempt started while a write was in progress");
            assert_eq!(
                second.start().await.unwrap(),
                Some(length / 2),
                "it continues after the bytes of the first attempt"
            );
            drop(second);
            target.accept(range).unwrap();
            assert_eq!(third.start().await.unwrap(), None, "nothing is written to a verified range");
        });
    }
}
