//! Storing: a stream that is written, or a file that is read by position.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use s3vault_core::vault::{Found, PutRequest};
use s3vault_core::{Code, Error, Result};

use super::{Vault, Version};
use crate::control::Control;
use crate::driver::upload::{CheckpointFile, StreamUpload, upload_file, upload_sealed_file};
use crate::source_file::SourceFile;

/// A backup that is being stored. Dropped without a commit, it is suspended in the background if it has a checkpoint,
/// and otherwise aborted: it is then not listed.
pub struct Put {
    vault: Vault,
    upload: StreamUpload<Found>,
}

impl Put {
    pub(super) fn open(
        vault: &Vault,
        mut request: PutRequest,
        checkpoint: Option<&Path>,
        control: &mut Control<'_>,
    ) -> Result<Put> {
        control.one_call(|control| {
            let file = open_checkpoint(vault, &mut request, checkpoint, control)?;
            let machine = s3vault_core::vault::Put::new(vault.0.vault.clone(), request)?;
            let key = machine.seals_with();
            let upload = StreamUpload::start(&vault.0.client.host, machine, key, file, control)?;
            Ok(Put { vault: vault.clone(), upload })
        })
    }

    /// The position at which the stream continues: after open, what the checkpoint already had; from then on, the
    /// number of bytes accepted, also after a failed write.
    pub fn offset(&self) -> u64 {
        self.upload.offset()
    }

    /// Accepts all bytes, or fails after accepting the first of them. Waits while the store is slower than the writer.
    pub fn write(&mut self, bytes: &[u8], control: &mut Control<'_>) -> Result<()> {
        self.upload.write(bytes, control)
    }

    /// Ends the stream. When it returns, the version is listed and can be restored. After [`Code::OutcomeUnknown`] it
    /// may be called again.
    pub fn commit(&mut self, control: &mut Control<'_>) -> Result<Version> {
        let found = self.upload.finish(control)?;
        self.vault.note_seen(&found, control);
        Ok(Version::new(&self.vault, found))
    }

    /// Stops the put, so that a put that is opened with the same checkpoint resumes it. Without a checkpoint, it does
    /// the same as [`abort`](Put::abort). A triggered cancel is ignored.
    pub fn suspend(&mut self, control: &mut Control<'_>) -> Result<()> {
        self.upload.suspend(control)
    }

    /// Abandons the backup; it is not listed, and its checkpoint is removed. A triggered cancel is ignored.
    pub fn abort(&mut self, control: &mut Control<'_>) -> Result<()> {
        self.upload.abort(control)
    }
}

/// Opens the checkpoint, and adds its contents to the request.
fn open_checkpoint(
    vault: &Vault,
    request: &mut PutRequest,
    path: Option<&Path>,
    control: &mut Control<'_>,
) -> Result<Option<CheckpointFile>> {
    let Some(path) = path else { return Ok(None) };
    let (file, checkpoint) = CheckpointFile::open(path, vault.0.vault.checkpoint_key(), control)?;
    request.checkpoint = Some(checkpoint);
    Ok(Some(file))
}

pub(super) fn put_file(
    vault: &Vault,
    request: PutRequest,
    path: &Path,
    checkpoint: Option<&Path>,
    control: &mut Control<'_>,
) -> Result<Version> {
    let name = path.display().to_string();
    let file = open_source(path).map_err(|e| unreadable(&name, &e))?;
    control.one_call(|control| put_open_file(vault, request, file, &name, checkpoint, control))
}

/// Opens the source. If a pipe has no writer yet, this does not wait, since no cancel is noticed here: [`Pipe::read`]
/// waits.
fn open_source(path: &Path) -> io::Result<File> {
    let is_pipe = fs::metadata(path)?.file_type().is_fifo();
    let flags = if is_pipe { OFlag::O_NONBLOCK } else { OFlag::empty() };
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

pub(super) fn put_fd(
    vault: &Vault,
    request: PutRequest,
    fd: BorrowedFd<'_>,
    checkpoint: Option<&Path>,
    control: &mut Control<'_>,
) -> Result<Version> {
    let name = format!("file descriptor {}", fd.as_raw_fd());
    let own = fd.try_clone_to_owned().map_err(|e| unreadable(&name, &e))?;
    control.one_call(|control| put_open_file(vault, request, File::from(own), &name, checkpoint, control))
}

fn put_open_file(
    vault: &Vault,
    mut request: PutRequest,
    file: File,
    name: &str,
    checkpoint: Option<&Path>,
    control: &mut Control<'_>,
) -> Result<Version> {
    let found = file.metadata().map_err(|e| unreadable(name, &e))?;
    let kind = found.file_type();
    if kind.is_dir() {
        return Err(Error::new(Code::Io, format!("{name} is a directory"))
            .with_hint("Store a file, or pipe an archive of the directory."));
    }
    if !kind.is_file() && !kind.is_block_device() {
        return Pipe { file, name, position: None, end: None }.run(vault, request, checkpoint, control);
    }
    if kind.is_file() && !is_as_long_as_its_size(&file).map_err(|e| unreadable(name, &e))? {
        return Pipe { file, name, position: Some(0), end: None }.run(vault, request, checkpoint, control);
    }
    let file = SourceFile::new(file).map_err(|e| unreadable(name, &e))?;
    let identity = file.identity();
    if request.live {
        // Each byte is read once, so no two readings can differ. The file may grow faster than it can be stored.
        let pipe = &mut Pipe { file: file.file, name, position: Some(0), end: Some(identity.size) };
        return pipe.run(vault, request, checkpoint, control);
    }
    request.length = Some(identity.size);
    request.source = Some(identity);
    let saved = open_checkpoint(vault, &mut request, checkpoint, control)?;
    let machine = s3vault_core::vault::Put::new(vault.0.vault.clone(), request)?;
    let host = &vault.0.client.host;
    let found = match machine.seals_with() {
        Some(key) => upload_sealed_file(host, machine, key, file, saved, control)?,
        None => upload_file(host, machine, file, saved, control)?,
    };
    vault.note_seen(&found, control);
    Ok(Version::new(vault, found))
}

fn unreadable(name: &str, e: &io::Error) -> Error {
    Error::new(Code::Io, format!("cannot read {name}: {e}"))
}

/// How many bytes of a pipe are read at once.
const PIPE_READ: usize = 1 << 20;

/// How long to wait for a pipe between two checks of the call, in milliseconds.
const PIPE_SLICE: u16 = 50;

/// Whether the size of a file is its length. The kernel's files (`/proc`, `/sys`) have size 0, or that of a page, and
/// another length, which only reading to the end shows.
fn is_as_long_as_its_size(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    if size > 0 && !has_byte(file, size - 1)? {
        return Ok(file.metadata()?.len() < size);
    }
    // A file that others append to is as long as its size is now.
    Ok(!has_byte(file, size)? || file.metadata()?.len() > size)
}

/// Whether there is a byte at this position.
fn has_byte(file: &File, position: u64) -> io::Result<bool> {
    loop {
        match file.read_at(&mut [0], position) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return Ok(read? > 0),
        }
    }
}

fn changed(why: String) -> Error {
    Error::new(Code::SourceChanged, why).with_hint("Write the same bytes again, or remove the checkpoint.")
}

/// A source that is read in order.
struct Pipe<'a> {
    file: File,
    name: &'a str,
    /// Where the next bytes of a file are read, whose own position does not move.
    position: Option<u64>,
    /// Where a live file ends: its size at the start.
    end: Option<u64>,
}

impl Pipe<'_> {
    fn run(
        &mut self,
        vault: &Vault,
        request: PutRequest,
        checkpoint: Option<&Path>,
        control: &mut Control<'_>,
    ) -> Result<Version> {
        let mut put = Put::open(vault, request, checkpoint, control)?;
        if put.upload.has_ended() {
            return self.compare(&mut put, control);
        }
        match self.store(&mut put, control) {
            Ok(()) => put.commit(control),
            Err(e) => {
                // A checkpoint can be resumed once the source is available again; without one, nothing is left in the store.
                // A call that has to return leaves this to the background.
                if !matches!(e.code(), Code::Cancelled | Code::Stopped | Code::TimedOut) {
                    let _ = put.suspend(control);
                }
                Err(e)
            }
        }
    }

    /// Finishes a put whose source was already read to its end, and compares the length of this source with it.
    fn compare(&mut self, put: &mut Put, control: &mut Control<'_>) -> Result<Version> {
        let (mut buffer, mut length, stored) = (vec![0; PIPE_READ], 0, put.offset());
        while length <= stored {
            match self.read(&mut buffer, put, control)? {
                0 => break,
                count => length += count as u64,
            }
        }
        let version = put.commit(control)?;
        // A live source need not be as it was.
        if length == stored || self.end.is_some() {
            return Ok(version);
        }
        let (vid, how) = (&version.row().vid, if length < stored { "fewer" } else { "more" });
        let why = format!("{} has {how} bytes than the {stored} that an earlier run had read", self.name);
        Err(Error::new(Code::SourceChanged, format!("{why}; those are stored as version {vid}"))
            .with_hint("The earlier put is complete: store the new contents as another backup."))
    }

    fn store(&mut self, put: &mut Put, control: &mut Control<'_>) -> Result<()> {
        let mut buffer = vec![0; PIPE_READ];
        // The writer starts from the beginning: skip what is already stored.
        let stored = put.offset();
        let mut skip = stored;
        loop {
            let count = self.read(&mut buffer, put, control)?;
            if count == 0 && skip > 0 {
                let why =
                    format!("{} ended after {} bytes, but {stored} bytes are already stored", self.name, stored - skip);
                return Err(changed(why));
            }
            if count == 0 {
                return Ok(());
            }
            let skipped = skip.min(count as u64);
            skip -= skipped;
            let rest = &buffer[skipped as usize..count];
            if rest.is_empty() {
                continue;
            }
            put.write(rest, control)?;
        }
    }

    /// Waits for bytes, until the call ends.
    fn read(&mut self, buffer: &mut [u8], put: &mut Put, control: &mut Control<'_>) -> Result<usize> {
        loop {
            put.upload.check(control)?;
            let mut polled = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::from(PIPE_SLICE)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(e) => return Err(unreadable(self.name, &e.into())),
            }
            let read = match self.position {
                Some(position) => {
                    let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(position));
                    let length = left.min(buffer.len() as u64) as usize;
                    self.file.read_at(&mut buffer[..length], position)
                }
                None => self.file.read(buffer),
            };
            match read {
                Ok(count) => {
                    self.position = self.position.map(|position| position + count as u64);
                    return Ok(count);
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(e) => return Err(unreadable(self.name, &e)),
            }
        }
    }
}
