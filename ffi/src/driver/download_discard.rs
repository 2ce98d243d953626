//! A download that is read and hashed, and kept nowhere: for verifying, and for hashing what is adopted.

use std::collections::BTreeMap;
use std::sync::Arc;

use s3vault_core::checksum::{Digest, Digester};
use s3vault_core::http::Range;
use s3vault_core::{Code, Error, Machine, Result};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Host;
use super::engine::{Message, Payload};
use super::progress::Progress;
use super::request::Sink;
use super::task::Task;
use super::wait::Deadline;
use crate::budget::Pool;
use crate::control::Control;
use crate::transport::frames::Frame;

/// A machine whose data is discarded, and that runs beside others. Dropped before its end, it is cancelled.
pub(crate) struct Discarding<T>(Task<T>);

impl<T: Send + 'static> Discarding<T> {
    /// Starts the machine, unless the call was cancelled.
    pub(crate) fn start<M>(host: &Host, machine: M, control: &Control<'_>) -> Result<Discarding<T>>
    where
        M: Machine<Done = T> + Send + 'static,
    {
        control.check_cancel()?;
        let pool = host.transport.pool().clone();
        let progress = Progress::new(None);
        let task = Task::start_with(host, machine, progress, |inbox, _| DiscardTarget {
            pool,
            slots: BTreeMap::new(),
            engine: inbox.sender.clone(),
        })?;
        Ok(Discarding(task))
    }

    /// Waits for the end. `done` bytes were done by earlier steps of the same call.
    pub(crate) fn end(self, done: u64, control: &mut Control<'_>) -> Result<T> {
        self.0.progress.already_done(done);
        self.0.end(Deadline::of(control)?, control)
    }

    /// Waits for the end of a job. `items` were reported by earlier steps of the same call.
    pub(crate) fn end_job(self, items: u64, control: &mut Control<'_>) -> Result<T> {
        self.0.progress.count_items_after(items);
        self.0.end(Deadline::of(control)?, control)
    }
}

/// Ranges that are kept in mind after they were read: an attempt may be repeated until the machine has judged the last.
const KEPT: u32 = 256;

struct DiscardTarget {
    pool: Arc<Pool>,
    /// Ranges that were started, by index.
    slots: BTreeMap<u32, Arc<Mutex<Read>>>,
    engine: UnboundedSender<Message>,
}

/// What was read of a range.
#[derive(Default)]
struct Read {
    digester: Digester,
    done: u64,
    /// Which reading of its part the bytes belong to.
    reading: Option<u32>,
    /// All of it was read.
    is_whole: bool,
}

impl Payload for DiscardTarget {
    fn sink(&mut self, range: Range) -> Result<Sink> {
        // A machine that verifies accepts its ranges; one that only hashes never does.
        let is_old = |index: u32| range.index.saturating_sub(index) > KEPT;
        let is_whole = |slot: &Arc<Mutex<Read>>| slot.try_lock().is_ok_and(|read| read.is_whole);
        self.slots.retain(|index, slot| !is_old(*index) || !is_whole(slot));
        let slot = self.slots.entry(range.index).or_default().clone();
        Ok(Sink::Discard(DiscardSink { pool: self.pool.clone(), range, slot, held: None, frame: None }))
    }

    fn accept(&mut self, range: Range) -> Result<()> {
        self.slots.remove(&range.index);
        // The engine ends before its inbox does.
        let _ = self.engine.send(Message::RangeConsumed { index: range.index });
        Ok(())
    }
}

/// Hashes the bytes of one attempt.
pub(super) struct DiscardSink {
    pool: Arc<Pool>,
    range: Range,
    slot: Arc<Mutex<Read>>,
    held: Option<OwnedMutexGuard<Read>>,
    /// The frame that is being filled, again and again.
    frame: Option<Frame>,
}

impl DiscardSink {
    /// Waits until no other attempt reads the range. Returns how many bytes of it were read.
    pub(super) async fn start(&mut self) -> u64 {
        let mut read = self.slot.clone().lock_owned().await;
        if read.reading != Some(self.range.reading) {
            let (digester, reading) = (Digester::of(self.range.hash), Some(self.range.reading));
            *read = Read { digester, done: 0, reading, is_whole: false };
        }
        let done = read.done;
        self.held = Some(read);
        done
    }

    /// Where the next bytes go. Not empty.
    pub(super) async fn room(&mut self) -> &mut [u8] {
        let frame = match self.frame.take() {
            Some(frame) => frame,
            None => self.pool.take().await,
        };
        self.frame.insert(frame).room()
    }

    /// `bytes` bytes were put into the room.
    pub(super) fn received(&mut self, bytes: usize) -> Result<()> {
        let Some(frame) = &mut self.frame else { return Ok(()) };
        frame.grow(bytes);
        if frame.is_full() { self.hash() } else { Ok(()) }
    }

    /// Hashes the frame, and empties it.
    fn hash(&mut self) -> Result<()> {
        let Some(frame) = &mut self.frame else { return Ok(()) };
        let Some(read) = self.held.as_deref_mut() else {
            return Err(Error::new(Code::Internal, format!("range {} was not started", self.range.index)));
        };
        read.digester.update(frame.filled());
        read.done += frame.filled().len() as u64;
        frame.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(u64, Digest)> {
        self.hash()?;
        let Some(mut read) = self.held else { return Ok((0, Digester::of(self.range.hash).finish())) };
        read.is_whole = read.done == self.range.stored;
        Ok((read.done, read.digester.finish()))
    }
}
