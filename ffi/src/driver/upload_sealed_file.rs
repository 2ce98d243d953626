//! An upload of a file that is encrypted here. Each part is read once, straight into the frames in which it is encrypted, and
//! is kept until the store has it, like a stream's: nothing depends on the file standing still.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::crypto::segment::OVERHEAD;
use s3vault_core::http::Part;
use s3vault_core::{Code, Error, Machine, PartRequest, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot::Receiver;

use super::Host;
use super::checkpoint::CheckpointFile;
use super::engine::{Message, Payload};
use super::held_parts::HeldParts;
use super::part_buffer::{GrantedPart, PartBuffer};
use super::progress::Progress;
use super::task::Task;
use super::upload_file::not_read;
use super::wait::Deadline;
use crate::budget::{Grant, Pool};
use crate::control::Control;
use crate::source_file::SourceFile;
use crate::transport::body::Outgoing;
use crate::transport::frames::Frame;

/// Runs a machine that uploads this file, encrypted with this key. If the file changes before all of it was read, it fails
/// with [`Code::SourceChanged`].
pub(crate) fn upload_sealed_file<M>(
    host: &Host,
    machine: M,
    key: DataKey,
    file: SourceFile,
    checkpoint: Option<CheckpointFile>,
    control: &mut Control<'_>,
) -> Result<M::Done>
where
    M: Machine + Send + 'static,
    M::Done: Send + 'static,
{
    let (deadline, length) = (Deadline::of(control)?, file.identity().size);
    let task = Task::start_saving(host, machine, Progress::new(Some(length)), checkpoint, |inbox, _| {
        SealedFileSource::start(file, key, host.transport.pool().clone(), inbox.sender.clone())
    })?;
    task.end(deadline, control)
}

struct SealedFileSource {
    parts: HeldParts,
    requests: UnboundedSender<(PartRequest, Receiver<Grant>)>,
    stopped: Arc<AtomicBool>,
}

impl SealedFileSource {
    fn start(file: SourceFile, key: DataKey, pool: Arc<Pool>, engine: UnboundedSender<Message>) -> SealedFileSource {
        let (requests, requested) = unbounded_channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let parts = HeldParts::new(pool, OVERHEAD, engine.clone());
        tokio::spawn(read_parts(Arc::new(file), key, stopped.clone(), requested, engine));
        SealedFileSource { parts, requests, stopped }
    }
}

impl Payload for SealedFileSource {
    fn need_part(&mut self, request: PartRequest) -> Result<()> {
        let granted = self.parts.ask(&request)?;
        // The reading task lives as long as this sender.
        let _ = self.requests.send((request, granted));
        Ok(())
    }

    fn part_ready(&mut self, number: u32, frames: Vec<Arc<Frame>>) {
        self.parts.insert(number, frames);
    }

    fn release_part(&mut self, number: u32) -> u64 {
        self.parts.release(number)
    }

    fn hash_part(&mut self, part: &Part) -> Result<()> {
        self.parts.hash(part)
    }

    fn body(&self, part: &Part) -> Result<Outgoing> {
        self.parts.body(part)
    }
}

impl Drop for SealedFileSource {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

async fn read_parts(
    file: Arc<SourceFile>,
    key: DataKey,
    stopped: Arc<AtomicBool>,
    mut requested: UnboundedReceiver<(PartRequest, Receiver<Grant>)>,
    engine: UnboundedSender<Message>,
) {
    while let Some((request, granted)) = requested.recv().await {
        // The account ends with the upload.
        let Ok(grant) = granted.await else { return };
        let (file, key, stopped) = (file.clone(), key.clone(), stopped.clone());
        let read = move || read_part(&file, &key, GrantedPart { request, grant }, &stopped);
        let message = match tokio::task::spawn_blocking(read).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(error)) => Message::SourceFailed(error),
            Err(e) => {
                Message::Fatal(Error::new(Code::Internal, format!("reading part {} failed: {e}", request.number)))
            }
        };
        if engine.send(message).is_err() {
            return;
        }
    }
}

/// Reads a part, and encrypts it.
fn read_part(source: &SourceFile, key: &DataKey, granted: GrantedPart, stopped: &AtomicBool) -> Result<Message> {
    let (size, mut position) = (source.identity().size, granted.request.offset);
    let mut part = PartBuffer::new(granted, Some(key))?;
    while position < size && !part.is_full() && !stopped.load(Ordering::Relaxed) {
        let Some(room) = part.room() else { break };
        let count = room.len().min(usize::try_from(size - position).unwrap_or(usize::MAX));
        source
            .file
            .read_exact_at(&mut room[..count], position)
            .map_err(|e| not_read(&source.file, position, size, &e))?;
        part.filled(count);
        position += count as u64;
    }
    source.check()?;
    Ok(part.ready(position >= size))
}
