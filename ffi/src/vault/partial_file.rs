//! The file that a restore writes before it gets its name.
//!
//! After the data, from the backup's size on, it contains a header that says which version it is, and a byte for each
//! part, which is 1 once the part was verified. A restore that was killed is resumed with it. Since anything may have
//! happened to the file in the meantime, the marked parts are read from it and compared with the manifest, which needs
//! no network. Only its owner can access it, and no link is followed, so nobody can prepare it or change it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use s3vault_core::checksum::Digester;
use s3vault_core::crypto::segment::{SEGMENT, Segments};
use s3vault_core::vault::manifest::PlacedPart;
use s3vault_core::vault::{Manifest, Vid};
use s3vault_core::{Code, Error, Family, Result};

use crate::disk::{self, NotOpened};
use crate::entropy;

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
    /// A later restore can use its parts.
    can_resume: bool,
    keep: bool,
}

/// What a name ends with: the version id, a dot and 16 random digits if there are no locks, and this.
const EXTENSION: &str = ".restoring";

/// What the header starts with; the hash of the manifest follows, in 64 digits, and a line end.
const HEAD: &str = "s3vault restore 1 ";

/// More bytes than any partial file has after its data: the header, and a byte for each part.
const LONGEST_END: u64 = 4 << 20;

fn prefix(path: &Path) -> Result<String> {
    disk::draft_prefix(path, Vid::LENGTH + 1 + 16 + EXTENSION.len())
        .ok_or_else(|| Error::new(Code::Io, format!("{} does not name a file", path.display())))
}

impl PartialFile {
    /// Opens the partial file for the version with this manifest, whose hash is `hash`, and for the file `path`.
    pub(super) fn open(path: &Path, manifest: &Manifest, hash: &str, stop: &AtomicBool) -> Result<PartialFile> {
        let own = path.with_file_name(format!("{}{}{EXTENSION}", prefix(path)?, manifest.vid));
        let (own, file, can_resume) = match open_locked(path, &own, stop)? {
            Some(file) => (own, file, true),
            // Nobody else uses a file with a random name, and nobody can tell whether it is still being used.
            None => {
                let random = u64::from_le_bytes(entropy::bytes()?);
                let own = own.with_extension(format!("{random:016x}{EXTENSION}"));
                let mut options = OpenOptions::new();
                let created = options.read(true).write(true).create_new(true).mode(0o600).open(&own);
                let file = created.map_err(|e| disk::refused(format_args!("cannot create {}", own.display()), &e))?;
                (own, file, false)
            }
        };
        let mut partial = PartialFile {
            file,
            path: own,
            size: manifest.size,
            head: format!("{HEAD}{hash}\n"),
            parts: manifest.parts().count(),
            found: false,
            can_resume,
            keep: false,
        };
        partial.found = can_resume && partial.is_ours();
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

    /// Reads the marked parts, and returns those whose bytes are correct. The hashes are those of what is stored, so bytes
    /// that were decrypted are encrypted again to be compared.
    pub(super) fn verified_parts(
        file: &File,
        marks: u64,
        manifest: &Manifest,
        segments: Option<&Segments>,
        stop: &AtomicBool,
    ) -> io::Result<BTreeSet<u32>> {
        let mut marked = vec![0; manifest.parts().count()];
        file.read_exact_at(&mut marked, marks)?;
        let mut verified = BTreeSet::new();
        let mut buffer = vec![0; if segments.is_some() { SEGMENT } else { 1 << 18 }];
        for ((number, PlacedPart { offset, length, hash, .. }), marked) in (0..).zip(manifest.parts()).zip(marked) {
            if marked != 1 || stop.load(Ordering::Acquire) {
                continue;
            }
            let of_part = segments.and_then(|segments| segments.of_part(number));
            let (mut digester, mut done) = (Digester::new(), 0);
            while done < length {
                let next = (length - done).min(buffer.len() as u64) as usize;
                file.read_exact_at(&mut buffer[..next], offset + done)?;
                let tag = of_part.as_ref().and_then(|part| part.seal_to_compare(offset + done, &mut buffer[..next]));
                digester.update(&buffer[..next]);
                digester.update(tag.as_ref().map_or(&[], |tag| tag));
                done += next as u64;
            }
            if hash.matches(hash.length, &digester.finish()) {
                verified.insert(number);
            }
        }
        Ok(verified)
    }

    /// Renames it to its final name. Its data must have been synced.
    pub(super) fn finish(mut self, path: &Path) -> Result<()> {
        self.keep = false;
        self.file.set_len(self.size).map_err(|e| failed(&self.path, &e))?;
        disk::sync_data(&self.file).map_err(|e| failed(&self.path, &e))?;
        let mode = Permissions::from_mode(disk::mode_at(path));
        let renamed = fs::rename(&self.path, path);
        self.keep = true;
        renamed.map_err(|e| {
            let own = self.path.display();
            failed(path, &e).with_hint(format!("All of the backup is in {own}, and was verified: rename that file."))
        })?;
        // Until now nobody else could open it, so nobody can change what was verified. A restore that waits for this one
        // refuses a partial file that is not private, so the file has its final name first.
        match self.file.set_permissions(mode) {
            // The file system keeps no modes.
            Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {}
            set => set.map_err(|e| failed(path, &e))?,
        }
        disk::sync_name(path).map_err(|e| failed(path, &e))
    }

    /// Removes the partial files that restores of versions before `vid` to `path` left: once a newer version is there,
    /// nobody resumes them. Returns those that may be in use or may be somebody else's.
    pub(super) fn remove_older(path: &Path, vid: Vid) -> Vec<PathBuf> {
        let (Ok(prefix), Ok(entries)) = (prefix(path), fs::read_dir(disk::folder_of(path))) else { return Vec::new() };
        let mut left = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let middle = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(EXTENSION));
            let Some((version, random)) = middle.map(|text| text.split_once('.').unwrap_or((text, ""))) else {
                continue;
            };
            // Version ids sort newest first.
            if !Vid::parse(version).is_ok_and(|found| found > vid) {
                continue;
            }
            let own = path.with_file_name(&name);
            match disk::open_private(&own, Duration::ZERO, &AtomicBool::new(false)) {
                Err(NotOpened::Locked) => {}
                Ok(opened) if opened.is_new || random.is_empty() && has_header(&opened.file) => {
                    // What cannot be removed is removed by the next restore.
                    let _ = fs::remove_file(&own);
                }
                _ => left.push(own),
            }
        }
        left
    }

    /// After an error: it stays if a later restore can use its parts. Returns whether it does.
    pub(super) fn keep_after(&mut self, error: &Error) -> bool {
        let is_temporary = match error.code() {
            Code::Cancelled | Code::TimedOut | Code::Stopped | Code::Suspended => true,
            code => code == Code::Unavailable || error.family() == Family::Transport || error.is_retryable(),
        };
        let mut marked = vec![0; self.parts];
        self.keep = self.can_resume
            && is_temporary
            && self.file.read_exact_at(&mut marked, self.marks()).is_ok()
            && marked.contains(&1);
        self.keep
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

/// Whether this is a partial file: it ends with a header and the bytes of the parts. An empty one has not started.
fn has_header(file: &File) -> bool {
    let length = file.metadata().map_or(u64::MAX, |found| found.len());
    let mut end = vec![0; length.min(LONGEST_END) as usize];
    let start = length - end.len() as u64;
    if file.read_exact_at(&mut end, start).is_err() {
        return false;
    }
    let head = &end[..end.iter().rposition(|byte| *byte > 1).map_or(0, |last| last + 1)];
    let Some(head) = head.len().checked_sub(HEAD.len() + 64 + 1).map(|start| &head[start..]) else {
        return length == 0;
    };
    head.starts_with(HEAD.as_bytes()) && head.ends_with(b"\n")
}

/// Opens and locks the partial file `own` of a restore to `path`. `None`: the file system cannot protect it.
fn open_locked(path: &Path, own: &Path, stop: &AtomicBool) -> Result<Option<File>> {
    match disk::open_private(own, LOCK_WAIT, stop) {
        Ok(opened) => Ok(Some(opened.file)),
        Err(NotOpened::Unprotected(_)) => Ok(None),
        Err(NotOpened::Io(what, e)) => {
            let refused = disk::refused(format_args!("cannot {what} {}", own.display()), &e);
            // The file itself may be writable.
            let is_folder = matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
            if !is_folder || !path.exists() {
                return Err(refused);
            }
            let hint = "A restore creates a file beside its target, which then gets the name of the target";
            let path = path.display();
            Err(refused.with_hint(format!("{hint}. To write into it in place: s3vault get CONTAINER PATH - > {path}")))
        }
        Err(NotOpened::Locked) => {
            let why = format!("this version is already being restored to {}", path.display());
            Err(Error::new(Code::Busy, why).with_hint("Wait for the other restore to end."))
        }
        Err(NotOpened::NotPrivate(why)) => {
            let why = format!("the partial file {} {why}, and was left as it is", own.display());
            Err(Error::new(Code::Io, why).with_hint("Remove it, or restore to a folder that only you can write to."))
        }
    }
}

pub(super) fn failed(path: &Path, e: &io::Error) -> Error {
    disk::refused(format_args!("cannot write {}", path.display()), e)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn manifest() -> (Manifest, String) {
        let json = r#"{"format":1,"key":"_s3vault/1/cat/vm/disk/06GZ4Q8G00000000000000000.1764000000000.full.8.-","vault":"00","container":"vm","path":"disk","vid":"06GZ4Q8G00000000000000000","kind":"full","initiated":0,"completed":0,"recorded":1764000000000,"stored":0,"size":8,"extents":[{"key":"vm/disk","size":8,"crc64nvme":"AAAAAAAAAAA=","parts":[{"length":8,"crc64nvme":"AAAAAAAAAAA=","blake3":"HASH"}]}]}"#;
        let hash = "0".repeat(64);
        (serde_json::from_str(&json.replace("HASH", &hash)).unwrap(), hash)
    }

    /// What a restore leaves after this, and whether the next one finds it.
    #[test]
    fn a_partial_file_stays_while_a_later_restore_can_use_it() {
        let folder = tempfile::tempdir().unwrap();
        let (manifest, hash) = manifest();
        let open = |hash: &str| {
            let path = folder.path().join("restored");
            PartialFile::open(&path, &manifest, hash, &AtomicBool::new(false)).unwrap()
        };
        let left = || fs::read_dir(folder.path()).unwrap().count();
        let (temporary, permanent) = (Error::new(Code::ConnectionLost, "x"), Error::new(Code::AccessDenied, "x"));
        for (is_marked, error, stays) in [(false, &temporary, 0), (true, &permanent, 0), (true, &temporary, 1)] {
            let mut partial = open(&hash);
            assert!(!partial.found);
            partial.file.write_all_at(&[0xAA; 8], 0).unwrap();
            partial.file.write_all_at(&[u8::from(is_marked)], partial.marks()).unwrap();
            partial.keep_after(error);
            drop(partial);
            assert_eq!(left(), stays, "{error}, {is_marked}");
        }
        // A call that ends before it reads anything loses nothing.
        let again = open(&hash);
        assert!(again.found);
        drop(again);
        assert_eq!(left(), 1);
        // Of another version nothing stays: what is zero in a backup may be left out of the file.
        let other = open(&"1".repeat(64));
        let mut bytes = [1; 8];
        other.file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(!other.found && bytes == [0; 8]);
    }

    /// The second restore has opened the partial file of the first before that gets its final name.
    #[test]
    fn a_restore_that_waits_for_another_does_not_touch_the_restored_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("restored");
        let (manifest, hash) = manifest();
        let stop = AtomicBool::new(false);
        let first = PartialFile::open(&path, &manifest, &hash, &stop).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| PartialFile::open(&path, &manifest, &hash, &stop).unwrap());
            std::thread::sleep(Duration::from_millis(200));
            first.file.write_all_at(b"restored", 0).unwrap();
            first.finish(&path).unwrap();
            let second = second.join().unwrap();
            assert!(!second.found && fs::read(&path).unwrap() == b"restored");
            drop(second);
        });
        assert_eq!(fs::read(&path).unwrap(), b"restored");
    }
}
