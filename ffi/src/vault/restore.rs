//! Restoring into a file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use s3vault_core::settings::Settings;
use s3vault_core::{Code, Error, Result};

use super::Version;
use crate::control::Control;
use crate::driver::download::download_file;

pub(super) fn restore(version: &Version, path: &Path, control: &mut Control<'_>) -> Result<()> {
    // A link stays a link: its target is what is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target).map(|found| found.file_type()) {
        Ok(kind) if kind.is_dir() => {
            Err(Error::new(Code::Io, format!("cannot restore to {}: it is a folder", path.display())))
        }
        Ok(kind) if kind.is_block_device() => in_place(version, &target, control),
        Ok(kind) if !kind.is_file() => in_order(version, &target, control),
        _ => beside(version, &target, control),
    }
}

/// A disk is written where it is.
fn in_place(version: &Version, path: &Path, control: &mut Control<'_>) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).map_err(|e| failed(path, &e))?;
    let synced = file.try_clone().map_err(|e| failed(path, &e))?;
    download_file(&version.vault().0.client.host, version.machine()?, file, version.row().bytes, control)?;
    synced.sync_data().map_err(|e| failed(path, &e))
}

/// A pipe or a terminal takes bytes in their order.
fn in_order(version: &Version, path: &Path, control: &mut Control<'_>) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(path).map_err(|e| failed(path, &e))?;
    let mut get = version.open(&Settings::new(), control)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match get.read(&mut buffer, control)? {
            0 => return Ok(()),
            count => file.write_all(&buffer[..count]).map_err(|e| failed(path, &e))?,
        }
    }
}

/// A file appears under its name when all of it was verified, and not before.
fn beside(version: &Version, path: &Path, control: &mut Control<'_>) -> Result<()> {
    let draft = Draft::open(path, &version.row().vid)?;
    let file = draft.file.try_clone().map_err(|e| failed(&draft.path, &e))?;
    download_file(&version.vault().0.client.host, version.machine()?, file, version.row().bytes, control)?;
    draft.file.sync_data().map_err(|e| failed(&draft.path, &e))?;
    draft.finish(path)
}

/// The file that is written. It is removed unless it was finished; one that a killed restore left is taken over.
struct Draft {
    file: File,
    path: PathBuf,
    finished: bool,
}

impl Draft {
    fn open(path: &Path, vid: &str) -> Result<Draft> {
        let Some(name) = path.file_name() else {
            return Err(Error::new(Code::Io, format!("{} names no file", path.display())));
        };
        let draft = path.with_file_name(format!(".{}.{vid}.restoring", name.to_string_lossy()));
        let options = OpenOptions::new().write(true).create(true).truncate(false).open(&draft);
        let file = options.map_err(|e| failed(path, &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = format!("this version is being restored to {} already", path.display());
                return Err(Error::new(Code::Busy, why).with_hint("Wait for the other restore."));
            }
            Err(TryLockError::Error(e)) => return Err(failed(&draft, &e)),
        }
        let draft = Draft { file, path: draft, finished: false };
        draft.file.set_len(0).map_err(|e| failed(&draft.path, &e))?;
        Ok(draft)
    }

    fn finish(mut self, path: &Path) -> Result<()> {
        fs::rename(&self.path, path).map_err(|e| failed(path, &e))?;
        self.finished = true;
        // The name lasts once its folder is written, too.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(path, &e))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed is taken over by the next restore.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failed(path: &Path, e: &std::io::Error) -> Error {
    let code = if e.kind() == std::io::ErrorKind::StorageFull { Code::DiskFull } else { Code::Io };
    Error::new(code, format!("cannot write {}: {e}", path.display()))
}
