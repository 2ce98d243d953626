//! The checkpoint file. The put that names it opens and locks it; records are appended on blocking threads; it is
//! removed when there is nothing left to resume.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use s3vault_core::transfer::checkpoint::Checkpoint;
use s3vault_core::{Code, Error, JournalKey, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_blocking};

use super::blocking;
use super::engine::Message;
use crate::control::Control;
use crate::disk::{self, NotOpened, PrivateFile};

/// How long an open waits for the lock: a put of this process that was just freed may still be writing.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// An open checkpoint. The lock lasts as long as this value. A file without records is removed.
pub(crate) struct CheckpointFile {
    file: File,
    path: PathBuf,
    /// Length in bytes of the records that are complete and on disk.
    length: u64,
}

impl CheckpointFile {
    /// Opens or creates the file, reads its records, and drops an incomplete last one. The checkpoint of another put,
    /// a file that is not a checkpoint, and one that somebody else owns or may change are left unchanged.
    pub(crate) fn open(
        path: &Path,
        key: JournalKey,
        control: &mut Control<'_>,
    ) -> Result<(CheckpointFile, Checkpoint)> {
        let path = path.to_owned();
        blocking(move |stop| read(path, &key, stop), control)?
    }

    /// Appends a record, or replaces all records with it; it is on disk when this returns. A record that could not be
    /// saved leaves the earlier ones unchanged.
    fn save(&mut self, record: &[u8], replace: bool) -> Result<()> {
        let start = if replace { 0 } else { self.length };
        let saved = self.write(start, record);
        match saved {
            Ok(()) => self.length = start + record.len() as u64,
            Err(_) if replace => self.length = 0,
            Err(_) => {}
        }
        saved.map_err(|e| failed("write", &self.path, &e))
    }

    fn write(&self, start: u64, record: &[u8]) -> io::Result<()> {
        // Also drops an earlier record that was not saved completely.
        self.file.set_len(start)?;
        self.file.write_all_at(record, start)?;
        disk::sync_data(&self.file)
    }

    /// Removes a checkpoint with nothing left to resume. It is emptied first: a file that cannot be removed must not be
    /// mistaken for the checkpoint of an unfinished put.
    fn remove(mut self) {
        if self.file.set_len(0).and_then(|()| disk::sync_data(&self.file)).is_ok() {
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

/// Best effort: the put has ended, whether or not its file can be removed.
fn unlink(path: &Path) {
    if fs::remove_file(path).is_ok() {
        let _ = disk::sync_name(path);
    }
}

fn read(path: PathBuf, key: &JournalKey, stop: &AtomicBool) -> Result<(CheckpointFile, Checkpoint)> {
    let mut file = open_locked(&path, stop)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| failed("read", &path, &e))?;
    let (checkpoint, length) =
        Checkpoint::parse(&bytes, key).map_err(|e| e.context(format_args!("the checkpoint {}", path.display())))?;
    if length < bytes.len() {
        file.set_len(length as u64).map_err(|e| failed("write", &path, &e))?;
    }
    Ok((CheckpointFile { file, path, length: length as u64 }, checkpoint))
}

/// Opens and locks the file that has this name.
fn open_locked(path: &Path, stop: &AtomicBool) -> Result<File> {
    let why = match disk::open_private(path, LOCK_WAIT, stop) {
        Ok(PrivateFile { file, is_new }) => {
            if is_new {
                disk::sync_name(path).map_err(|e| failed("create", path, &e))?;
            }
            return Ok(file);
        }
        Err(NotOpened::Io(what, e)) => return Err(failed(what, path, &e)),
        Err(NotOpened::Locked) => {
            let why = format!("another put is using the checkpoint {}", path.display());
            return Err(Error::new(Code::Busy, why).with_hint("Wait for the other put, or use a different checkpoint."));
        }
        Err(NotOpened::Unprotected(why)) => {
            let why = format!("the checkpoint {} {why}", path.display());
            return Err(Error::new(Code::Io, why).with_hint(
                "Put the checkpoint on a local disk: without locks (flock) and file modes, a second put could use it at the same time, and other users could change it. The source of the backup may stay where it is.",
            ));
        }
        Err(NotOpened::NotPrivate(why)) => why,
    };
    let why = format!("the checkpoint {} {why}, and was left as it is", path.display());
    Err(Error::new(Code::BadCheckpoint, why).with_hint(
        "Use a file in a folder that only you can write to, with mode 0600; put creates it if it does not exist.",
    ))
}

fn failed(what: &str, path: &Path, e: &io::Error) -> Error {
    disk::refused(format_args!("cannot {what} the checkpoint {}", path.display()), e)
}

/// Writes an engine's records to the checkpoint, one after the other, while the engine continues.
pub(super) struct RecordWriter {
    records: UnboundedSender<Record>,
    writer: JoinHandle<Option<CheckpointFile>>,
}

struct Record {
    bytes: Vec<u8>,
    replace: bool,
}

impl RecordWriter {
    /// Call it inside the runtime. The engine is told of each saved record, in order.
    pub(super) fn start(file: CheckpointFile, engine: UnboundedSender<Message>) -> RecordWriter {
        let (records, receiver) = unbounded_channel();
        RecordWriter { records, writer: tokio::spawn(save_each(file, receiver, engine)) }
    }

    pub(super) fn save(&self, bytes: Vec<u8>, replace: bool) {
        // The writer lives as long as this sender, except after a defect, which it reports.
        let _ = self.records.send(Record { bytes, replace });
    }

    /// Waits for the record that is being written, and closes the file: when this returns, other puts may use it.
    pub(super) async fn close(self, remove: bool) {
        let RecordWriter { records, writer } = self;
        drop(records);
        if let Ok(Some(file)) = writer.await {
            let closed = spawn_blocking(move || if remove { file.remove() } else { drop(file) });
            let _ = closed.await;
        }
    }
}

/// Saves each record. Returns `None` after a defect.
async fn save_each(
    mut file: CheckpointFile,
    mut records: UnboundedReceiver<Record>,
    engine: UnboundedSender<Message>,
) -> Option<CheckpointFile> {
    while let Some(Record { bytes, replace }) = records.recv().await {
        let saving = spawn_blocking(move || {
            let saved = file.save(&bytes, replace);
            (file, saved)
        });
        let saved = match saving.await {
            Ok((returned, saved)) => {
                file = returned;
                saved
            }
            Err(e) => {
                let _ = engine.send(Message::Fatal(Error::new(Code::Internal, format!("saving a record failed: {e}"))));
                return None;
            }
        };
        let _ = engine.send(Message::Saved(saved));
    }
    Some(file)
}
