//! A file that is being stored, and whether it has changed since its put started.
//!
//! The file is compared after the last byte of each part was read. What is written later is not in the backup, and needs
//! no comparison. Three kinds of writes are not seen: within the file system's clock tick in which the put started (some
//! milliseconds), through a memory mapping whose pages were already dirty, and to a block device, which has no times.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use s3vault_core::transfer::checkpoint::FileIdentity;
use s3vault_core::{Code, Error, Result};

use crate::disk;
use crate::transport::body::name;

/// A file that is read by position.
pub(crate) struct SourceFile {
    pub(crate) file: File,
    /// What it was when the put started.
    before: FileIdentity,
}

impl SourceFile {
    pub(crate) fn new(file: File) -> io::Result<SourceFile> {
        Ok(SourceFile { before: identity(&file)?, file })
    }

    /// Its identity when the put started.
    pub(crate) fn identity(&self) -> FileIdentity {
        self.before
    }

    /// Fails if the file has changed since the put started, as far as the file system can tell.
    pub(crate) fn check(&self) -> Result<()> {
        let unreadable = |e: io::Error| Error::new(Code::Io, format!("cannot read {}: {e}", name(&self.file)));
        match self.before.change(&identity(&self.file).map_err(unreadable)?) {
            None => Ok(()),
            Some(change) => {
                let why = format!("{} changed while it was being stored: {change}", name(&self.file));
                Err(Error::new(Code::SourceChanged, why))
            }
        }
    }
}

fn identity(file: &File) -> io::Result<FileIdentity> {
    let found = file.metadata()?;
    if found.file_type().is_block_device() {
        // Not the inode and the times of its name: a device can have several names, and they say nothing about its bytes.
        let size = disk::device_length(file)?;
        return Ok(FileIdentity { device: found.dev(), inode: found.rdev(), size, modified_ns: 0, changed_ns: None });
    }
    let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Ok(FileIdentity {
        device: found.dev(),
        inode: found.ino(),
        size: found.len(),
        modified_ns: ns(found.mtime(), found.mtime_nsec()),
        changed_ns: Some(ns(found.ctime(), found.ctime_nsec())),
    })
}
