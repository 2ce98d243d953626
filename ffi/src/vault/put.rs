//! Storing: a stream that is written, or a file that is read where it lies.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use s3vault_core::vault::{Found, PutRequest};
use s3vault_core::{Code, Error, Result};

use super::{Vault, Version};
use crate::control::Control;
use crate::driver::upload::{StreamUpload, upload_file};

/// A backup that is being written. Dropped without a commit, it is aborted in the background: nothing of it is listed.
pub struct Put {
    vault: Vault,
    upload: StreamUpload<Found>,
}

impl Put {
    pub(super) fn open(vault: &Vault, request: PutRequest, control: &mut Control<'_>) -> Result<Put> {
        let machine = s3vault_core::vault::Put::new(vault.0.vault.clone(), request)?;
        Ok(Put { vault: vault.clone(), upload: StreamUpload::start(&vault.0.client.host, machine, control)? })
    }

    /// How many bytes were taken. After a write that failed, the stream goes on here.
    pub fn offset(&self) -> u64 {
        self.upload.offset()
    }

    /// Takes all bytes, or fails having taken a prefix. Waits while the store is slower than the writer.
    pub fn write(&mut self, bytes: &[u8], control: &mut Control<'_>) -> Result<()> {
        self.upload.write(bytes, control)
    }

    /// Ends the stream. When it returns, the version is listed and can be restored. After
    /// [`Code::OutcomeUnknown`] it may be called again.
    pub fn commit(&mut self, control: &mut Control<'_>) -> Result<Version> {
        let found = self.upload.finish(control)?;
        Ok(Version::new(&self.vault, found))
    }

    /// Gives the backup up; nothing of it is listed.
    pub fn abort(&mut self, control: &mut Control<'_>) -> Result<()> {
        self.upload.abort(control)
    }
}

/// How much of a pipe is read at once, in bytes.
const PIPE_READ: usize = 1 << 20;

pub(super) fn put_file(
    vault: &Vault,
    mut request: PutRequest,
    path: &Path,
    control: &mut Control<'_>,
) -> Result<Version> {
    let failed = |e: std::io::Error| Error::new(Code::Io, format!("cannot read {}: {e}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err(Error::new(Code::Io, format!("{} is a folder", path.display()))
            .with_hint("Store a file, or an archive of the folder through a pipe."));
    }
    if !kind.is_file() && !kind.is_block_device() {
        return put_pipe(vault, request, file, path, control);
    }
    // A block device has no length of its own, but an end.
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    request.length = Some(length);
    let machine = s3vault_core::vault::Put::new(vault.0.vault.clone(), request)?;
    let found = upload_file(&vault.0.client.host, machine, file, length, control)?;
    Ok(Version::new(vault, found))
}

fn put_pipe(
    vault: &Vault,
    request: PutRequest,
    mut pipe: File,
    path: &Path,
    control: &mut Control<'_>,
) -> Result<Version> {
    let mut put = Put::open(vault, request, control)?;
    let mut buffer = vec![0; PIPE_READ];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return put.commit(control),
            Ok(count) => put.write(&buffer[..count], control)?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => {
                put.abort(control)?;
                return Err(Error::new(Code::Io, format!("cannot read {}: {e}", path.display())));
            }
        }
    }
}
