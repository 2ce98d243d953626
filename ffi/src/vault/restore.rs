//! Restoring into a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use s3vault_core::settings::Settings;
use s3vault_core::transfer::ReadRequest;
use s3vault_core::{Code, Error, Result};

use super::Version;
use super::partial_file::{PartialFile, failed};
use crate::control::Control;
use crate::disk;
use crate::driver;
use crate::driver::download::{Destination, Zeros, download_file};
use crate::transport::body::name;

/// How often to check whether a pipe has a reader.
const READER_CHECK: Duration = Duration::from_millis(20);

/// How many bytes are written to a pipe at once.
const PIECE: usize = 1 << 18;

pub(super) fn restore(version: &Version, path: &Path, options: &Settings, control: &mut Control<'_>) -> Result<()> {
    // A link stays a link: its target is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target).map(|found| found.file_type()) {
        Ok(kind) if kind.is_dir() => {
            Err(Error::new(Code::Io, format!("cannot restore to {}: it is a directory", path.display())))
        }
        // A disk is written in place.
        Ok(kind) if kind.is_block_device() => {
            let disk = open_unused(&target)?;
            check_size(version, &disk)?;
            in_place(version, disk, Zeros::Written, control)
        }
        Ok(kind) if !kind.is_file() => {
            let own = target.clone();
            let file = driver::blocking(move |stop| open_unwritten(&own, kind.is_fifo(), stop), control)?;
            in_order(version, file.map_err(|e| failed(&target, &e))?, options, control)
        }
        _ => through_partial_file(version, &target, options.flag("holes"), control),
    }
}

/// Restores into a file that is open already, and keeps its name.
pub(super) fn restore_fd(
    version: &Version,
    fd: BorrowedFd<'_>,
    options: &Settings,
    control: &mut Control<'_>,
) -> Result<()> {
    let refused = |e: io::Error| disk::refused(format_args!("cannot write to file descriptor {}", fd.as_raw_fd()), &e);
    let file = File::from(fd.try_clone_to_owned().map_err(refused)?);
    let kind = file.metadata().map_err(refused)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return in_order(version, file, options, control);
    }
    if appends(&file) {
        let why = format!("{} is open for appending, but parts must be written at their positions", name(&file));
        return Err(Error::new(Code::InvalidArgument, why).with_hint("Open it without O_APPEND (> instead of >>)."));
    }
    if kind.is_block_device() {
        check_size(version, &file)?;
    }
    // It may have old data.
    let zeros = if options.flag("holes") && kind.is_file() { Zeros::Punched } else { Zeros::Written };
    in_place(version, file, zeros, control)
}

/// Opens a device or a pipe. A pipe can be opened once it has a reader. This waits for one without holding the pipe
/// open, since a reader that comes after the call ended must not see an empty pipe.
fn open_unwritten(path: &Path, is_pipe: bool, stop: &AtomicBool) -> io::Result<File> {
    if !is_pipe {
        return OpenOptions::new().write(true).open(path);
    }
    loop {
        match OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path) {
            Err(e) if e.raw_os_error() == Some(Errno::ENXIO as i32) => {
                std::thread::sleep(READER_CHECK);
                if stop.load(Ordering::Acquire) {
                    return Err(e);
                }
            }
            Err(e) => return Err(e),
            Ok(file) => {
                fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
                return Ok(file);
            }
        }
    }
}

/// Opens a disk that is neither mounted nor in use otherwise: Linux refuses O_EXCL for any other.
fn open_unused(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().write(true).custom_flags(OFlag::O_EXCL.bits()).open(path);
    opened.map_err(|e| match e.kind() {
        ErrorKind::ResourceBusy => failed(path, &e)
            .with_hint("Unmount the disk, and stop whatever else uses it (swap, LVM, RAID, another restore)."),
        _ => failed(path, &e),
    })
}

/// Fails before anything is written if the backup does not fit.
fn check_size(version: &Version, disk: &File) -> Result<()> {
    let available = disk::device_length(disk).map_err(|e| failed(Path::new(&name(disk)), &e))?;
    let needed = version.row().bytes;
    if needed <= available {
        return Ok(());
    }
    let why = format!("cannot restore to {}: the backup has {needed} bytes, but the disk only {available}", name(disk));
    Err(Error::new(Code::DiskFull, why).with_hint("Restore to a disk that is large enough, or into a file."))
}

fn appends(file: &File) -> bool {
    fcntl(file, FcntlArg::F_GETFL).is_ok_and(|flags| OFlag::from_bits_truncate(flags).contains(OFlag::O_APPEND))
}

fn in_place(version: &Version, file: File, zeros: Zeros, control: &mut Control<'_>) -> Result<()> {
    let (name, length) = (name(&file), version.row().bytes);
    let refused = |e| failed(Path::new(&name), &e);
    let own = file.try_clone().map_err(refused)?;
    let destination = Destination { file, zeros, marks: None, already_done: 0 };
    download_file(version.host(), version.machine(ReadRequest::default())?, destination, length, control)?;
    let end = move |_: &_| {
        if own.metadata()?.is_file() {
            own.set_len(length)?;
        }
        own.sync_data()
    };
    driver::blocking(end, control)?.map_err(refused)
}

/// Writes in order, to a pipe or a terminal. Writing may block, so a thread of the library does it.
fn in_order(version: &Version, file: File, options: &Settings, control: &mut Control<'_>) -> Result<()> {
    let file = Arc::new(file);
    let mut settings = Settings::new();
    settings.set("verify", options.text("verify"))?;
    let mut get = version.open(&settings, control)?;
    let mut buffer = vec![0; PIECE];
    loop {
        let count = get.read(&mut buffer, control)?;
        if count == 0 {
            return Ok(());
        }
        let file = file.clone();
        let write = move |_: &_| {
            let written = (&*file).write_all(&buffer[..count]);
            written.map(|()| buffer).map_err(|e| failed(Path::new(&name(&file)), &e))
        };
        buffer = driver::blocking(write, control)??;
    }
}

/// Writes to a partial file, which gets its name when all of it was verified, and not before.
fn through_partial_file(version: &Version, path: &Path, holes: bool, control: &mut Control<'_>) -> Result<()> {
    let manifest = version.manifest();
    let hash = version.row().manifest_hash.clone().unwrap_or_default();
    let open = {
        let (path, manifest) = (path.to_owned(), manifest.clone());
        move |stop: &_| PartialFile::open(&path, &manifest, &hash, stop)
    };
    let mut partial = driver::blocking(open, control)??;
    let marks = partial.marks();
    let file = || partial.file.try_clone().map_err(|e| failed(path, &e));
    let mut request = ReadRequest::default();
    if partial.found {
        let (file, manifest) = (file()?, manifest.clone());
        // Parts that cannot be read from it are read from the store.
        let verify = move |stop: &_| PartialFile::verified_parts(&file, marks, &manifest, stop).unwrap_or_default();
        request.skip = driver::blocking(verify, control)?;
    }
    let parts = (0..).zip(manifest.parts()).filter(|(number, _)| request.skip.contains(number));
    let already_done = parts.map(|(_, part)| part.length).sum();
    let zeros = match (holes, partial.found) {
        (false, _) => Zeros::Written,
        (true, false) => Zeros::LeftOut,
        (true, true) => Zeros::Punched,
    };
    let destination = Destination { file: file()?, zeros, marks: Some(marks), already_done };
    let synced = file()?;
    let restored = download_file(version.host(), version.machine(request)?, destination, version.row().bytes, control)
        .and_then(|()| driver::blocking(move |_| synced.sync_data(), control))
        .and_then(|synced| synced.map_err(|e| failed(path, &e)));
    match restored {
        Ok(()) => partial.finish(path),
        Err(e) => {
            partial.keep_after(&e);
            Err(e)
        }
    }
}
