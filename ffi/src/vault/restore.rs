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
use super::draft::{Draft, failed};
use crate::control::Control;
use crate::disk;
use crate::driver;
use crate::driver::download::{Place, Zeros, download_file};
use crate::transport::body::name;

/// What a restore may be told.
pub(super) const OPTIONS: &[&str] = &["verify", "holes"];

/// How often a pipe's reader is looked for.
const READER: Duration = Duration::from_millis(20);

/// A pipe is written in pieces of so many bytes.
const PIECE: usize = 1 << 18;

pub(super) fn restore(version: &Version, path: &Path, options: &Settings, control: &mut Control<'_>) -> Result<()> {
    // A link stays a link: its target is what is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target).map(|found| found.file_type()) {
        Ok(kind) if kind.is_dir() => {
            Err(Error::new(Code::Io, format!("cannot restore to {}: it is a folder", path.display())))
        }
        // A disk is written where it is.
        Ok(kind) if kind.is_block_device() => {
            let disk = unused(&target)?;
            fits(version, &disk)?;
            in_place(version, disk, Zeros::Written, control)
        }
        Ok(kind) if !kind.is_file() => {
            let own = target.clone();
            let file = driver::blocking(move |stop| opened(&own, kind.is_fifo(), stop), control)?;
            in_order(version, file.map_err(|e| failed(&target, &e))?, options, control)
        }
        _ => beside(version, &target, options.flag("holes"), control),
    }
}

/// Into what is open already, which keeps its name.
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
        let why = format!("{} is open for appending, and parts are written where they belong", name(&file));
        return Err(Error::new(Code::InvalidArgument, why).with_hint("Open it without O_APPEND (> instead of >>)."));
    }
    if kind.is_block_device() {
        fits(version, &file)?;
    }
    // It may hold anything.
    let zeros = if options.flag("holes") && kind.is_file() { Zeros::Punched } else { Zeros::Written };
    in_place(version, file, zeros, control)
}

/// A pipe is open once somebody reads from it; that is waited for without holding it open, since a reader who comes after
/// the call was ended must not find its end.
fn opened(path: &Path, is_pipe: bool, stop: &AtomicBool) -> io::Result<File> {
    if !is_pipe {
        return OpenOptions::new().write(true).open(path);
    }
    loop {
        match OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path) {
            Err(e) if e.raw_os_error() == Some(Errno::ENXIO as i32) => {
                std::thread::sleep(READER);
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

/// A disk that nobody has mounted, or has in use otherwise: Linux refuses it to a second one who asks like this.
fn unused(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().write(true).custom_flags(OFlag::O_EXCL.bits()).open(path);
    opened.map_err(|e| match e.kind() {
        ErrorKind::ResourceBusy => failed(path, &e)
            .with_hint("Unmount the disk, and stop what else has it (swap, LVM, RAID, another restore)."),
        _ => failed(path, &e),
    })
}

/// Said before anything is written.
fn fits(version: &Version, disk: &File) -> Result<()> {
    let there = disk::length(disk).map_err(|e| failed(Path::new(&name(disk)), &e))?;
    let needed = version.row().bytes;
    if needed <= there {
        return Ok(());
    }
    let why = format!("cannot restore to {}: the backup has {needed} bytes, and the disk {there}", name(disk));
    Err(Error::new(Code::DiskFull, why).with_hint("Restore to a disk that is as large as the backup, or into a file."))
}

fn appends(file: &File) -> bool {
    fcntl(file, FcntlArg::F_GETFL).is_ok_and(|flags| OFlag::from_bits_truncate(flags).contains(OFlag::O_APPEND))
}

fn in_place(version: &Version, file: File, zeros: Zeros, control: &mut Control<'_>) -> Result<()> {
    let (name, length) = (name(&file), version.row().bytes);
    let refused = |e| failed(Path::new(&name), &e);
    let own = file.try_clone().map_err(refused)?;
    let place = Place { file, zeros, marks: None, there: 0 };
    download_file(version.host(), version.machine(ReadRequest::default())?, place, length, control)?;
    let end = move |_: &_| {
        if own.metadata()?.is_file() {
            own.set_len(length)?;
        }
        own.sync_data()
    };
    driver::blocking(end, control)?.map_err(refused)
}

/// A pipe or a terminal takes bytes in their order. It may take them when it likes: a thread of the library waits for it.
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

/// A file appears under its name when all of it was verified, and not before.
fn beside(version: &Version, path: &Path, holes: bool, control: &mut Control<'_>) -> Result<()> {
    let manifest = version.manifest();
    let hash = version.row().manifest_hash.clone().unwrap_or_default();
    let open = {
        let (path, manifest) = (path.to_owned(), manifest.clone());
        move |stop: &_| Draft::open(&path, &manifest, &hash, stop)
    };
    let mut draft = driver::blocking(open, control)??;
    let marks = draft.marks();
    let file = || draft.file.try_clone().map_err(|e| failed(path, &e));
    let mut request = ReadRequest::default();
    if draft.found {
        let (file, manifest) = (file()?, manifest.clone());
        // What cannot be read of it comes from the store.
        let look = move |stop: &_| Draft::have(&file, marks, &manifest, stop).unwrap_or_default();
        request.skip = driver::blocking(look, control)?;
    }
    let parts = (0..).zip(manifest.parts()).filter(|(number, _)| request.skip.contains(number));
    let there = parts.map(|(_, (_, _, hash))| hash.length).sum();
    let zeros = match (holes, draft.found) {
        (false, _) => Zeros::Written,
        (true, false) => Zeros::LeftOut,
        (true, true) => Zeros::Punched,
    };
    let place = Place { file: file()?, zeros, marks: Some(marks), there };
    let synced = file()?;
    let restored = download_file(version.host(), version.machine(request)?, place, version.row().bytes, control)
        .and_then(|()| driver::blocking(move |_| synced.sync_data(), control))
        .and_then(|synced| synced.map_err(|e| failed(path, &e)));
    match restored {
        Ok(()) => draft.finish(path),
        Err(e) => {
            draft.keep_for(&e);
            Err(e)
        }
    }
}
