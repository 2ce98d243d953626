//! The file that a restore writes before it gets its name.
//!
//! After the data, from the backup's size on, it contains a header that says which version it is, and a byte for each
//! part, which is 1 once the part was verified. A restore that was killed is resumed with it. Since anything may have
//! happened to the file in the meantime, the marked parts are read from it and compared with the manifest, which needs
//! no network.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use s3vault_core::checksum::Digester;
use s3vault_core::vault::Manifest;
use s3vault_core::vault::manifest::PlacedPart;
use s3vault_core::{Code, Error, Family, Result};

use crate::disk;

/// A restore that was just cancelled ends in the background; this is how long to wait for its partial file.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// A partial file. It is removed unless it was finished or kept; one that a killed restore left is resumed.
pub(super) struct PartialFile {
    pub(super) file: File,
    path: PathBuf,
    size: u64,
    /// The header: which version it is.
    head: String,
    parts: usize,
    /// It may have parts of an earlier restore.
    pub(super) found: bool,
    keep: bool,
}

impl PartialFile {
    /// Opens the partial file for the version with this manifest, whose hash is `hash`, and for the file `path`.
    pub(super) fn open(path: &Path, manifest: &Manifest, hash: &str, stop: &AtomicBool) -> Result<PartialFile> {
        let Some(name) = path.file_name() else {
            return Err(Error::new(Code::Io, format!("{} does not name a file", path.display())));
        };
        let own = path.with_file_name(format!(".{}.{}.restoring", name.to_string_lossy(), manifest.vid));
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&own);
        let file = options.map_err(|e| failed(path, &e))?;
        lock(&file, path, &own, stop)?;
        let mut partial = PartialFile {
            file,
            path: own,
            size: manifest.size,
            head: format!("s3vault restore 1 {hash}\n"),
            parts: manifest.parts().count(),
            found: false,
            keep: false,
        };
        partial.found = partial.is_ours();
        // If the call ends early, nothing of it is lost.
        partial.keep = partial.found;
        if !partial.found {
            partial.initialize().map_err(|e| failed(&partial.path, &e))?;
        }
        Ok(partial)
    }

    /// Where the bytes of the parts are.
    pub(super) fn marks(&self) -> u64 {
        self.size + self.head.len() as u64
    }

    fn is_ours(&self) -> bool {
        let mut head = vec![0; self.head.len()];
        let length = self.file.metadata().map(|found| found.len()).unwrap_or(0);
        length == self.marks() + self.parts as u64
            && self.file.read_exact_at(&mut head, self.size).is_ok()
            && head == self.head.as_bytes()
    }

    fn initialize(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.set_len(self.marks() + self.parts as u64)?;
        self.file.write_all_at(self.head.as_bytes(), self.size)
    }

    /// Reads the marked parts, and returns those whose bytes are correct.
    pub(super) fn verified_parts(
        file: &File,
        marks: u64,
        manifest: &Manifest,
        stop: &AtomicBool,
    ) -> io::Result<BTreeSet<u32>> {
        let mut marked = vec![0; manifest.parts().count()];
        file.read_exact_at(&mut marked, marks)?;
        let mut verified = BTreeSet::new();
        let mut buffer = vec![0; 1 << 18];
        for ((number, PlacedPart { offset, length, hash, .. }), marked) in (0..).zip(manifest.parts()).zip(marked) {
            if marked != 1 || stop.load(Ordering::Acquire) {
                continue;
            }
            let (mut digester, mut done) = (Digester::new(), 0);
            while done < length {
                let next = (length - done).min(buffer.len() as u64) as usize;
                file.read_exact_at(&mut buffer[..next], offset + done)?;
                digester.update(&buffer[..next]);
                done += next as u64;
            }
            if hash.matches(length, &digester.finish()) {
                verified.insert(number);
            }
        }
        Ok(verified)
    }

    /// Renames it to its final name. Its data must have been synced.
    pub(super) fn finish(mut self, path: &Path) -> Result<()> {
        self.keep = false;
        self.file.set_len(self.size).map_err(|e| failed(&self.path, &e))?;
        self.file.sync_data().map_err(|e| failed(&self.path, &e))?;
        fs::rename(&self.path, path).map_err(|e| failed(path, &e))?;
        self.keep = true;
        disk::sync_name(path).map_err(|e| failed(path, &e))
    }

    /// After an error: it stays if a later restore can use its parts.
    pub(super) fn keep_after(&mut self, error: &Error) {
        let is_temporary = match error.code() {
            Code::Cancelled | Code::TimedOut | Code::Stopped | Code::Suspended => true,
            code => code == Code::Unavailable || error.family() == Family::Transport || error.is_retryable(),
        };
        let mut marked = vec![0; self.parts];
        self.keep = is_temporary && self.file.read_exact_at(&mut marked, self.marks()).is_ok() && marked.contains(&1);
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.keep {
            // A file that cannot be removed is resumed by the next restore.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock(file: &File, path: &Path, partial: &Path, stop: &AtomicBool) -> Result<()> {
    let end = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < end && !stop.load(Ordering::Acquire) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                let why = format!("this version is already being restored to {}", path.display());
                return Err(Error::new(Code::Busy, why).with_hint("Wait for the other restore to end."));
            }
            Err(TryLockError::Error(e)) => return Err(failed(partial, &e)),
        }
    }
}

pub(super) fn failed(path: &Path, e: &io::Error) -> Error {
    disk::refused(format_args!("cannot write {}", path.display()), e)
}
