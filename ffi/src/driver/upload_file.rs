//! An upload of a file: parts are read where they lie, one frame at a time, so a part costs no memory.
//!
//! Where the store takes trailers, a part is read once: the body hashes what it sends ([`Outgoing::with_trailer`]). Else,
//! and for a single PUT, it is read twice: here to be hashed, one part after the other in the order of the file, and by
//! the body ([`Outgoing::file`]), which compares.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use s3vault_core::checksum::{Digest, Digester};
use s3vault_core::http::Part;
use s3vault_core::{Code, Error, Machine, PartRequest, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Host;
use super::checkpoint::CheckpointFile;
use super::engine::{Message, Payload};
use super::progress::Progress;
use super::task::Task;
use crate::budget::Pool;
use crate::control::Control;
use crate::transport::body::{Outgoing, name, read_at};
use crate::transport::frames::{FRAME, Frame};

/// Runs a machine whose parts are those of this file's first `length` bytes. A file that shrinks, or whose
/// bytes change between the two readings, ends in [`Code::SourceChanged`].
pub(crate) fn upload_file<M>(
    host: &Host,
    machine: M,
    file: File,
    length: u64,
    checkpoint: Option<CheckpointFile>,
    control: &mut Control<'_>,
) -> Result<M::Done>
where
    M: Machine + Send + 'static,
    M::Done: Send + 'static,
{
    let task = Task::start_saving(host, machine, Progress::new(Some(length)), checkpoint, |inbox, _| {
        FileSource::start(file, length, host.transport.pool().clone(), inbox.sender.clone())
    })?;
    task.end(control)
}

struct FileSource {
    file: Arc<File>,
    length: u64,
    pool: Arc<Pool>,
    asks: UnboundedSender<Wanted>,
    /// Lengths of parts, by their numbers, until they are released.
    lengths: HashMap<u32, u64>,
    stopped: Arc<AtomicBool>,
}

/// A part to be read.
struct Wanted {
    number: u32,
    offset: u64,
    length: u64,
    last: bool,
    hash_first: bool,
}

impl FileSource {
    fn start(file: File, length: u64, pool: Arc<Pool>, engine: UnboundedSender<Message>) -> FileSource {
        let (asks, asked) = unbounded_channel();
        let source = FileSource {
            file: Arc::new(file),
            length,
            pool,
            asks,
            lengths: HashMap::new(),
            stopped: Arc::new(AtomicBool::new(false)),
        };
        let (file, pool, stopped) = (source.file.clone(), source.pool.clone(), source.stopped.clone());
        tokio::spawn(read_parts(file, pool, stopped, asked, engine));
        source
    }
}

impl Payload for FileSource {
    fn need_part(&mut self, part: PartRequest) -> Result<()> {
        let PartRequest { number, offset, length, hash_first, .. } = part;
        if offset > 0 && offset >= self.length {
            // Beyond the last part, which says so: there is none, as in a stream that ended.
            return Ok(());
        }
        let length = length.min(self.length.saturating_sub(offset));
        let last = offset + length == self.length;
        self.lengths.insert(number, length);
        // The reading task lives as long as this sender.
        let _ = self.asks.send(Wanted { number, offset, length, last, hash_first });
        Ok(())
    }

    fn release_part(&mut self, number: u32) -> u64 {
        self.lengths.remove(&number).unwrap_or(0)
    }

    fn body(&self, part: &Part) -> Result<Outgoing> {
        Ok(Outgoing::file(self.file.clone(), self.pool.clone(), *part))
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

async fn read_parts(
    file: Arc<File>,
    pool: Arc<Pool>,
    stopped: Arc<AtomicBool>,
    mut asked: UnboundedReceiver<Wanted>,
    engine: UnboundedSender<Message>,
) {
    while let Some(ask) = asked.recv().await {
        let Wanted { number, offset, length, last, hash_first } = ask;
        let read = if hash_first {
            let (file, stopped, frame) = (file.clone(), stopped.clone(), pool.take().await);
            let hash = tokio::task::spawn_blocking(move || hash(&file, frame, &stopped, offset, length));
            hash.await.map(|digest| digest.map(Some))
        } else {
            Ok(Ok(None))
        };
        let message = match read {
            Ok(Ok(digest)) => Message::PartReady { number, frames: Vec::new(), length, digest, last },
            Ok(Err(error)) => Message::SourceFailed(error),
            Err(e) => Message::Fatal(Error::new(Code::Internal, format!("reading part {number}: {e}"))),
        };
        if engine.send(message).is_err() {
            return;
        }
    }
}

/// The digest of a range of the file, read through one frame.
fn hash(file: &File, mut frame: Frame, stopped: &AtomicBool, offset: u64, length: u64) -> Result<Digest> {
    let (mut digester, mut position, end) = (Digester::new(), offset, offset + length);
    while position < end && !stopped.load(Ordering::Relaxed) {
        frame.clear();
        let count = (end - position).min(FRAME as u64) as usize;
        read_at(file, &mut frame, position, count).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::new(
                Code::SourceChanged,
                format!("{} became shorter than {end} bytes while it was stored", name(file)),
            ),
            _ => Error::new(Code::Io, format!("reading {} at byte {position}: {e}", name(file))),
        })?;
        digester.update(frame.filled());
        position += count as u64;
    }
    Ok(digester.finish())
}
