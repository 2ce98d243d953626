//! An upload of a file. Parts are read by position, one frame at a time, so a part takes no memory.
//!
//! If the store accepts trailers, a part is read once: the body hashes what it sends ([`Outgoing::with_trailer`]).
//! Otherwise, and for a single PUT, it is read twice: here to be hashed, part after part in the order of the file, and
//! by the body ([`Outgoing::file`]), which compares.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use s3vault_core::checksum::{ContentMd5, Digest, Digester};
use s3vault_core::http::Part;
use s3vault_core::{Code, Error, Machine, PartRequest, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Host;
use super::checkpoint::CheckpointFile;
use super::engine::{Message, Payload};
use super::progress::Progress;
use super::task::Task;
use super::wait::Deadline;
use crate::budget::Pool;
use crate::control::Control;
use crate::source_file::SourceFile;
use crate::transport::body::{Outgoing, name, read_at};
use crate::transport::frames::{FRAME, Frame};

/// Runs a machine that uploads this file. If the file changes before all of it was read, or its bytes change between two
/// readings, it fails with [`Code::SourceChanged`].
pub(crate) fn upload_file<M>(
    host: &Host,
    machine: M,
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
        FileSource::start(file, host.transport.pool().clone(), inbox.sender.clone())
    })?;
    task.end(deadline, control)
}

struct FileSource {
    file: Arc<SourceFile>,
    length: u64,
    pool: Arc<Pool>,
    requests: UnboundedSender<PartToRead>,
    /// Lengths of parts by number, until they are released.
    lengths: HashMap<u32, u64>,
    stopped: Arc<AtomicBool>,
}

/// A part to read.
struct PartToRead {
    number: u32,
    offset: u64,
    length: u64,
    purpose: Purpose,
}

/// What a part is read for.
enum Purpose {
    /// It is ready, at once or when it is hashed.
    Ready { last: bool, hash_first: bool },
    /// The store needs its MD5 too.
    Md5,
}

impl FileSource {
    fn start(file: SourceFile, pool: Arc<Pool>, engine: UnboundedSender<Message>) -> FileSource {
        let (requests, requested) = unbounded_channel();
        let source = FileSource {
            length: file.identity().size,
            file: Arc::new(file),
            pool,
            requests,
            lengths: HashMap::new(),
            stopped: Arc::new(AtomicBool::new(false)),
        };
        let (file, pool, stopped) = (source.file.clone(), source.pool.clone(), source.stopped.clone());
        tokio::spawn(read_parts(file, pool, stopped, requested, engine));
        source
    }
}

impl Payload for FileSource {
    fn need_part(&mut self, request: PartRequest) -> Result<()> {
        let PartRequest { number, offset, length, hash_first, .. } = request;
        if offset > 0 && offset >= self.length {
            // After the last part, which was marked as the last: there are no more.
            return Ok(());
        }
        let length = length.min(self.length.saturating_sub(offset));
        let last = offset + length == self.length;
        self.lengths.insert(number, length);
        // The reading task lives as long as this sender.
        let purpose = Purpose::Ready { last, hash_first };
        let _ = self.requests.send(PartToRead { number, offset, length, purpose });
        Ok(())
    }

    fn hash_part(&mut self, part: &Part) -> Result<()> {
        let Part { number, offset, length, .. } = *part;
        let _ = self.requests.send(PartToRead { number, offset, length, purpose: Purpose::Md5 });
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
    file: Arc<SourceFile>,
    pool: Arc<Pool>,
    stopped: Arc<AtomicBool>,
    mut requested: UnboundedReceiver<PartToRead>,
    engine: UnboundedSender<Message>,
) {
    while let Some(part) = requested.recv().await {
        let PartToRead { number, offset, length, purpose } = part;
        let read = if let Purpose::Ready { hash_first: false, .. } = purpose {
            Ok(Ok(None))
        } else {
            let (file, stopped, frame) = (file.clone(), stopped.clone(), pool.take().await);
            let md5 = matches!(purpose, Purpose::Md5).then(ContentMd5::default);
            let hash = tokio::task::spawn_blocking(move || hash(&file, frame, &stopped, (offset, length), md5));
            hash.await.map(|hashes| hashes.map(Some))
        };
        let message = match (read, purpose) {
            (Ok(Ok(hashes)), Purpose::Ready { last, .. }) => {
                let digest = hashes.map(|(digest, _)| digest);
                Message::PartReady { number, frames: Vec::new(), length, digest, last, salt: None }
            }
            (Ok(Ok(Some((digest, Some(md5))))), Purpose::Md5) => Message::PartHashed { number, digest, md5 },
            (Ok(Ok(_)), Purpose::Md5) => {
                Message::Fatal(Error::new(Code::Internal, format!("part {number} was not hashed")))
            }
            (Ok(Err(error)), _) => Message::SourceFailed(error),
            (Err(e), _) => Message::Fatal(Error::new(Code::Internal, format!("reading part {number} failed: {e}"))),
        };
        if engine.send(message).is_err() {
            return;
        }
    }
}

/// Computes the digest of a range of the file, read through one frame, and its MD5 if that is asked for.
fn hash(
    source: &SourceFile,
    mut frame: Frame,
    stopped: &AtomicBool,
    (offset, length): (u64, u64),
    mut md5: Option<ContentMd5>,
) -> Result<(Digest, Option<[u8; 16]>)> {
    let (mut digester, mut position, end, file) = (Digester::new(), offset, offset + length, &source.file);
    while position < end && !stopped.load(Ordering::Relaxed) {
        frame.clear();
        let count = (end - position).min(FRAME as u64) as usize;
        read_at(file, &mut frame, position, count).map_err(|e| not_read(file, position, end, &e))?;
        digester.update(frame.filled());
        if let Some(md5) = &mut md5 {
            md5.update(frame.filled());
        }
        position += count as u64;
    }
    source.check()?;
    Ok((digester.finish(), md5.map(|md5| md5.finish())))
}

/// Why bytes of a file that was at least `end` bytes long could not be read.
pub(super) fn not_read(file: &File, position: u64, end: u64, e: &io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            let why = format!("{} became shorter than {end} bytes while it was being stored", name(file));
            Error::new(Code::SourceChanged, why)
        }
        _ => Error::new(Code::Io, format!("cannot read {} at byte {position}: {e}", name(file))),
    }
}
