//! A download into a file: each range is written where it belongs, as it comes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use s3vault_core::http::Range;
use s3vault_core::{Code, Error, Machine, Result};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;

use super::Host;
use super::engine::{Message, Payload};
use super::progress::Progress;
use super::request::Sink;
use super::task::Task;
use crate::control::Control;
use crate::transport::body::name;
use crate::transport::frames::Frame;

/// Runs a machine whose ranges go into this file, which is open for writing; `total` is for progress only. The
/// file is not synced: who called knows whether it is renamed afterwards. After an error a write that was under
/// way may still land in it.
pub(crate) fn download_file<M>(host: &Host, machine: M, file: File, total: u64, control: &mut Control<'_>) -> Result<()>
where
    M: Machine<Done = ()> + Send + 'static,
{
    let file = Arc::new(file);
    let task = Task::start_with(host, machine, Progress::new(Some(total)), |inbox, _| FileTarget {
        file,
        slots: HashMap::new(),
        engine: inbox.sender.clone(),
    })?;
    task.end(control)
}

struct FileTarget {
    file: Arc<File>,
    /// Of ranges that were begun and not accepted.
    slots: HashMap<u32, Arc<Slot>>,
    engine: UnboundedSender<Message>,
}

/// The place of a range in the file: one attempt writes to it at a time, and none once it is verified. An
/// attempt that was abandoned may have a write under way, which must not land on what a later one wrote.
#[derive(Default)]
struct Slot {
    writer: Arc<Mutex<()>>,
    accepted: AtomicBool,
}

impl Payload for FileTarget {
    fn sink(&mut self, range: Range) -> Result<Sink> {
        let slot = self.slots.entry(range.index).or_default().clone();
        let (file, position) = (self.file.clone(), range.offset);
        Ok(Sink::File(FileSink { file, position, slot, hold: None, writing: None }))
    }

    fn accept(&mut self, range: Range) -> Result<()> {
        if let Some(slot) = self.slots.remove(&range.index) {
            slot.accepted.store(true, Ordering::Release);
        }
        // What is in the file takes no memory. The engine ends before its inbox does.
        let _ = self.engine.send(Message::RangeConsumed { index: range.index });
        Ok(())
    }
}

/// Writes the frames of one attempt, one at a time, on a thread that may block.
pub(super) struct FileSink {
    file: Arc<File>,
    position: u64,
    slot: Arc<Slot>,
    /// The right to write; writes under way share it, so that it outlives an attempt that is dropped.
    hold: Option<Arc<OwnedMutexGuard<()>>>,
    writing: Option<JoinHandle<Result<()>>>,
}

impl FileSink {
    /// Waits until no other attempt writes. `false`: the range is verified already.
    pub(super) async fn begin(&mut self) -> bool {
        self.hold = Some(Arc::new(self.slot.writer.clone().lock_owned().await));
        !self.slot.accepted.load(Ordering::Acquire)
    }

    pub(super) async fn put(&mut self, frame: Frame) -> Result<()> {
        self.written().await?;
        let (file, position, hold) = (self.file.clone(), self.position, self.hold.clone());
        self.position += frame.filled().len() as u64;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let written = file.write_all_at(frame.filled(), position).map_err(|e| refused(&file, position, &e));
            drop(hold);
            written
        }));
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<()> {
        self.written().await
    }

    async fn written(&mut self) -> Result<()> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        writing.await.map_err(|e| Error::new(Code::Internal, format!("writing {}: {e}", name(&self.file))))?
    }
}

fn refused(file: &File, position: u64, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    Error::new(code, format!("writing {} at byte {position}: {error}", name(file)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::transport::frames::Pool;

    #[test]
    fn a_write_of_an_attempt_that_was_dropped_is_waited_for() {
        // One thread for what may block, so that the write has to wait for the gate.
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_time().build().unwrap();
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        let (sender, _inbox) = tokio::sync::mpsc::unbounded_channel();
        let file = Arc::new(File::options().write(true).open("/dev/null").unwrap());
        let mut target = FileTarget { file, slots: HashMap::new(), engine: sender };
        let range = Range { index: 0, offset: 0, length: 5 };
        let mut sink = || match target.sink(range).unwrap() {
            Sink::File(sink) => sink,
            Sink::Frames(_) => unreachable!(),
        };
        let (mut first, mut second, mut third) = (sink(), sink(), sink());
        runtime.block_on(async {
            tokio::task::spawn_blocking(move || crate::transport::testserver::until(|| gate.load(Ordering::Acquire)));
            assert!(first.begin().await);
            let mut frame = Arc::new(Pool::default()).take();
            frame.fill(b"wrong");
            first.put(frame).await.unwrap();
            drop(first);
            // Nothing can happen until the gate opens, so this wait ends by its time-out, however long it is.
            let early = tokio::time::timeout(Duration::from_millis(50), second.begin()).await;
            open.store(true, Ordering::Release);
            assert!(early.is_err(), "a later attempt began while a write was under way");
            assert!(second.begin().await);
            drop(second);
            target.accept(range).unwrap();
            assert!(!third.begin().await, "nothing is written to a range that is verified");
        });
    }
}
