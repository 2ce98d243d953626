//! The checkpoint's file: opened and locked by the put that names it, appended to record by record on blocking threads,
//! removed when nothing is left to go on with.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use s3vault_core::transfer::checkpoint::Checkpoint;
use s3vault_core::{Code, Error, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_blocking};

use super::blocking;
use super::engine::Message;
use crate::control::Control;
use crate::disk;

/// How long an open waits for the lock: a put of this process that was just freed still writes for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// An open checkpoint. The lock lasts as long as this value. One without records is not left behind.
pub(crate) struct CheckpointFile {
    file: File,
    path: PathBuf,
    /// In bytes, of the records that are whole and on disk.
    length: u64,
}

impl CheckpointFile {
    /// Opens the file, or creates it; reads what it has, and drops a last record that is torn. What is another put's, or
    /// no checkpoint, stays as it is.
    pub(crate) fn open(path: &Path, control: &mut Control<'_>) -> Result<(CheckpointFile, Checkpoint)> {
        let path = path.to_owned();
        blocking(move |stop| read(path, stop), control)?
    }

    /// Appends a record, or puts it in place of all; it is on disk when this returns. A record that could not be saved
    /// leaves those before it as they were.
    fn save(&mut self, record: &[u8], anew: bool) -> Result<()> {
        let start = if anew { 0 } else { self.length };
        let saved = self.write(start, record);
        match saved {
            Ok(()) => self.length = start + record.len() as u64,
            Err(_) if anew => self.length = 0,
            Err(_) => {}
        }
        saved.map_err(|e| failed("write", &self.path, &e))
    }

    fn write(&self, start: u64, record: &[u8]) -> io::Result<()> {
        // Also what an earlier record left that was not saved whole.
        self.file.set_len(start)?;
        self.file.write_all_at(record, start)?;
        self.file.sync_data()
    }

    /// Nothing is left to go on with. It is emptied first: a file that cannot be removed must not be taken for a put that
    /// is under way.
    fn remove(mut self) {
        if self.file.set_len(0).and_then(|()| self.file.sync_data()).is_ok() {
            self.length = 0;
        } else {
            unlink(&self.path);
        }
    }
}

impl Drop for CheckpointFile {
    fn drop(&mut self) {
        if self.length == 0 {
            unlink(&self.path);
        }
    }
}

/// Best effort: what has ended has ended, whatever becomes of its file.
fn unlink(path: &Path) {
    if fs::remove_file(path).is_ok() {
        let _ = disk::sync_name(path);
    }
}

fn read(path: PathBuf, stop: &AtomicBool) -> Result<(CheckpointFile, Checkpoint)> {
    let mut file = locked(&path, stop)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| failed("read", &path, &e))?;
    let (checkpoint, length) =
        Checkpoint::parse(&bytes).map_err(|e| e.context(format_args!("the checkpoint {}", path.display())))?;
    if length == 0 && !is_torn_begin(&bytes) {
        let why = format!("the checkpoint {}: it is another kind of file", path.display());
        return Err(Error::new(Code::BadCheckpoint, why));
    }
    if length < bytes.len() {
        file.set_len(length as u64).map_err(|e| failed("write", &path, &e))?;
    }
    Ok((CheckpointFile { file, path, length: length as u64 }, checkpoint))
}

/// Whether the first record was being written when its process or the machine ended; else the file is something of the
/// caller's, named by mistake.
fn is_torn_begin(bytes: &[u8]) -> bool {
    bytes.iter().take(16).all(u8::is_ascii_hexdigit) || bytes.iter().all(|byte| *byte == 0)
}

/// The file under this name, and no other's.
fn locked(path: &Path, stop: &AtomicBool) -> Result<File> {
    let end = Instant::now() + PATIENCE;
    loop {
        let file = opened(path)?;
        match file.try_lock() {
            // Who had it before may have removed it meanwhile.
            Ok(()) if is_still(path, &file) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(failed("lock", path, &e)),
            Err(TryLockError::WouldBlock) if Instant::now() < end && !stop.load(Ordering::Acquire) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                let why = format!("another put is using the checkpoint {}", path.display());
                return Err(
                    Error::new(Code::Busy, why).with_hint("Wait for the other put, or name a checkpoint of its own.")
                );
            }
        }
    }
}

fn opened(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            disk::sync_name(path).map_err(|e| failed("create", path, &e))?;
            return Ok(file);
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return Err(failed("create", path, &e)),
    }
    let is_file = fs::metadata(path).map_err(|e| failed("open", path, &e))?.is_file();
    if !is_file {
        let why = format!("the checkpoint {} is no regular file", path.display());
        return Err(Error::new(Code::BadCheckpoint, why));
    }
    // Removed since: the next look creates it.
    options.create(true).truncate(false).mode(0o600).open(path).map_err(|e| failed("open", path, &e))
}

fn is_still(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(own)) => (named.dev(), named.ino()) == (own.dev(), own.ino()),
        _ => false,
    }
}

fn failed(what: &str, path: &Path, e: &io::Error) -> Error {
    disk::refused(format_args!("cannot {what} the checkpoint {}", path.display()), e)
}

/// An engine's way to its checkpoint: records go to disk one after the other, while the engine goes on.
pub(super) struct Records {
    records: UnboundedSender<Record>,
    writer: JoinHandle<Option<CheckpointFile>>,
}

struct Record {
    bytes: Vec<u8>,
    anew: bool,
}

impl Records {
    /// Inside of the runtime. The engine is told of each record, in order.
    pub(super) fn start(file: CheckpointFile, engine: UnboundedSender<Message>) -> Records {
        let (records, receiver) = unbounded_channel();
        Records { records, writer: tokio::spawn(save_each(file, receiver, engine)) }
    }

    pub(super) fn save(&self, bytes: Vec<u8>, anew: bool) {
        // The writer lives as long as this sender, but for a defect, of which it tells.
        let _ = self.records.send(Record { bytes, anew });
    }

    /// Waits for what is being written, and lets go of the file: other puts may use it when this returns.
    pub(super) async fn close(self, remove: bool) {
        let Records { records, writer } = self;
        drop(records);
        if let Ok(Some(file)) = writer.await {
            let closed = spawn_blocking(move || if remove { file.remove() } else { drop(file) });
            let _ = closed.await;
        }
    }
}

/// `None` after a defect.
async fn save_each(
    mut file: CheckpointFile,
    mut records: UnboundedReceiver<Record>,
    engine: UnboundedSender<Message>,
) -> Option<CheckpointFile> {
    while let Some(Record { bytes, anew }) = records.recv().await {
        let saving = spawn_blocking(move || {
            let saved = file.save(&bytes, anew);
            (file, saved)
        });
        let saved = match saving.await {
            Ok((back, saved)) => {
                file = back;
                saved
            }
            Err(e) => {
                let _ = engine.send(Message::Fatal(Error::new(Code::Internal, format!("saving a record: {e}"))));
                return None;
            }
        };
        let _ = engine.send(Message::Saved(saved));
    }
    Some(file)
}
