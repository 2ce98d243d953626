//! A download that is read in order: accepted ranges wait in frames until the reader takes them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::Sender;
use s3vault_core::checksum::{Digest, Digester, SliceHash};
use s3vault_core::http::Range;
use s3vault_core::{Code, Error, Machine, Result};
use tokio::sync::oneshot::Receiver;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Host;
use super::engine::{Message, Payload};
use super::progress::Progress;
use super::request::Sink;
use super::task::{News, Task};
use super::wait::Deadline;
use crate::budget::{Account, Grant, Pool};
use crate::control::Control;
use crate::transport::frames::Frame;

/// What a download reserves: the longest slice.
const BASE: u64 = 8 << 20;

/// A reader of a backup. Dropped before its end, it cancels the download.
///
/// Memory: the ranges that the machine has open. One is open until its last byte was read
/// ([`Input::RangeConsumed`](s3vault_core::Input::RangeConsumed)), so a slow reader holds the machine back.
pub(crate) struct StreamDownload {
    task: Task<(), RangeFrames>,
    current: Option<RangeFrames>,
    /// In the first frame of the current range.
    position: usize,
    /// How the download ended.
    end: Option<Result<()>>,
}

impl StreamDownload {
    /// Starts the machine; its first error is the first read's.
    pub(crate) fn start<M>(host: &Host, machine: M, _control: &mut Control<'_>) -> Result<StreamDownload>
    where
        M: Machine<Done = ()> + Send + 'static,
    {
        let pool = host.transport.pool().clone();
        let task = Task::start_with(host, machine, Progress::new(None), |_, to_reader| StreamTarget {
            pool,
            account: None,
            begun: BTreeMap::new(),
            accepted: BTreeMap::new(),
            next: 0,
            to_reader,
        })?;
        Ok(StreamDownload { task, current: None, position: 0, end: None })
    }

    /// Reads at least one byte, and as many as are there without waiting; 0 is the end, after all ranges were
    /// verified. A wait that was ended (cancel, time-out, callback) can be begun again.
    pub(crate) fn read(&mut self, buffer: &mut [u8], control: &mut Control<'_>) -> Result<usize> {
        let deadline = Deadline::of(control);
        self.task.look(deadline, control)?;
        let mut count = 0;
        while count < buffer.len() {
            if self.current.is_none() {
                // What was said already is still there after the end.
                let news = match self.task.next_now() {
                    Some(news) => news,
                    None if count > 0 => break,
                    None => match &self.end {
                        Some(end) => return end.clone().map(|()| 0),
                        None => self.task.next(deadline, control)?,
                    },
                };
                match news {
                    News::Ask(frames) => self.current = Some(frames),
                    News::Done(result) => {
                        self.end = Some(result);
                        continue;
                    }
                }
            }
            count += self.take(&mut buffer[count..]);
        }
        if self.end.is_some() {
            self.task.tell_last(control);
        }
        Ok(count)
    }

    /// Copies from the current range, and lets go of what was read.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let Some(range) = &mut self.current else { return 0 };
        let mut count = 0;
        while let Some(frame) = range.frames.front() {
            let rest = &frame.filled()[self.position..];
            let part = rest.len().min(buffer.len() - count);
            buffer[count..count + part].copy_from_slice(&rest[..part]);
            count += part;
            self.position += part;
            if part < rest.len() {
                return count;
            }
            range.frames.pop_front();
            self.position = 0;
        }
        self.task.say(Message::RangeConsumed { index: range.index });
        self.current = None;
        count
    }
}

/// A range in memory.
pub(super) struct RangeFrames {
    index: u32,
    frames: VecDeque<Frame>,
}

/// The memory of a range; it stays the range's until it was read, whatever becomes of its attempts.
enum Memory {
    Asked(Receiver<Grant>),
    There(Grant),
}

/// What of a range came.
struct Gathered {
    memory: Memory,
    frames: VecDeque<Frame>,
    /// Bytes of the last frame that were hashed.
    hashed: usize,
    digester: Digester,
    done: u64,
}

impl Gathered {
    fn new(hash: SliceHash, asked: Receiver<Grant>) -> Gathered {
        Gathered {
            memory: Memory::Asked(asked),
            frames: VecDeque::new(),
            hashed: 0,
            digester: Digester::of(hash),
            done: 0,
        }
    }

    fn hash_last(&mut self) {
        if let Some(frame) = self.frames.back() {
            self.digester.update(&frame.filled()[self.hashed..]);
            self.hashed = frame.filled().len();
        }
    }
}

/// Keeps what comes of a range in frames. One attempt has it at a time.
pub(super) struct FrameSink {
    gathered: Arc<Mutex<Gathered>>,
    held: Option<OwnedMutexGuard<Gathered>>,
}

impl FrameSink {
    /// Waits until the range has its memory.
    pub(super) async fn reserve(&mut self) {
        let mut gathered = self.gathered.lock().await;
        if let Memory::Asked(asked) = &mut gathered.memory
            && let Ok(grant) = asked.await
        {
            gathered.memory = Memory::There(grant);
        }
    }

    /// Waits until no other attempt has the range. Says how many bytes of it are there.
    pub(super) async fn begin(&mut self) -> u64 {
        let held = self.gathered.clone().lock_owned().await;
        let done = held.done;
        self.held = Some(held);
        done
    }

    /// Where the next bytes go. Not empty.
    pub(super) fn room(&mut self) -> Result<&mut [u8]> {
        let none = || Error::new(Code::Internal, "a range has more bytes than memory was reserved for");
        let gathered = self.held.as_deref_mut().ok_or_else(none)?;
        if gathered.frames.back().is_none_or(Frame::is_full) {
            let frame = match &mut gathered.memory {
                Memory::There(grant) => grant.take(),
                Memory::Asked(_) => None,
            };
            gathered.frames.push_back(frame.ok_or_else(none)?);
            gathered.hashed = 0;
        }
        gathered.frames.back_mut().map(Frame::room).ok_or_else(none)
    }

    /// So many bytes came into the room.
    pub(super) fn came(&mut self, bytes: usize) {
        let Some(gathered) = self.held.as_deref_mut() else { return };
        gathered.done += bytes as u64;
        let Some(frame) = gathered.frames.back_mut() else { return };
        frame.grow(bytes);
        if frame.is_full() {
            gathered.hash_last();
        }
    }

    pub(super) fn finish(self) -> (u64, Digest) {
        let Some(mut gathered) = self.held else { return (0, Digester::of(SliceHash::Nothing).finish()) };
        gathered.hash_last();
        (gathered.done, gathered.digester.finish())
    }
}

struct StreamTarget {
    pool: Arc<Pool>,
    /// From the first range on.
    account: Option<Account>,
    /// Of ranges that were begun and not accepted, with the reading that they are of.
    begun: BTreeMap<u32, (u32, Arc<Mutex<Gathered>>)>,
    /// Accepted, and waiting for an earlier one.
    accepted: BTreeMap<u32, RangeFrames>,
    /// The index that the reader gets next.
    next: u32,
    to_reader: Sender<News<(), RangeFrames>>,
}

impl Payload for StreamTarget {
    fn sink(&mut self, range: Range) -> Result<Sink> {
        let account = self.account.get_or_insert_with(|| self.pool.account(BASE.max(range.length)));
        let asked = match self.begun.get(&range.index) {
            Some((reading, gathered)) if *reading == range.reading => {
                return Ok(Sink::Frames(FrameSink { gathered: gathered.clone(), held: None }));
            }
            // Later ranges may wait for memory that is had when this one was read.
            Some(_) => account.ask_first(range.length)?,
            None => account.ask(range.length)?,
        };
        let gathered = Arc::new(Mutex::new(Gathered::new(range.hash, asked)));
        self.begun.insert(range.index, (range.reading, gathered.clone()));
        Ok(Sink::Frames(FrameSink { gathered, held: None }))
    }

    fn accept(&mut self, range: Range) -> Result<()> {
        let never = || Error::new(Code::Internal, format!("range {} was accepted, and never came", range.index));
        let (_, gathered) = self.begun.remove(&range.index).ok_or_else(never)?;
        let frames = std::mem::take(&mut gathered.try_lock().map_err(|_| never())?.frames);
        self.accepted.insert(range.index, RangeFrames { index: range.index, frames });
        while let Some(next) = self.accepted.remove(&self.next) {
            self.next += 1;
            // The reader may be gone; then the engine hears of it.
            let _ = self.to_reader.send(News::Ask(next));
        }
        Ok(())
    }
}
