//! Restoring into a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::geteuid;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use s3vault_core::settings::Settings;
use s3vault_core::transfer::ReadRequest;
use s3vault_core::vault::{Locate, Vid};
use s3vault_core::{Code, Error, Result};

use super::partial_file::{PartialFile, failed};
use super::{Version, adopted};
use crate::control::{Control, after_interrupt};
use crate::disk;
use crate::driver;
use crate::driver::download::{Destination, Zeros, download_file};
use crate::entropy;
use crate::transport::body::name;

/// How often to check whether a pipe has a reader.
const READER_CHECK: Duration = Duration::from_millis(20);

/// How many links the kernel follows before it calls them a loop.
const MOST_LINKS: usize = 40;

/// How many bytes are written to a pipe at once.
const PIECE: usize = 1 << 18;

pub(super) fn restore(version: &Version, path: &Path, options: &Settings, control: &mut Control<'_>) -> Result<()> {
    let target =
        target_of(path).map_err(|e| disk::refused(format_args!("cannot restore to {}", path.display()), &e))?;
    match fs::metadata(&target).map(|found| found.file_type()) {
        Ok(kind) if kind.is_dir() => {
            Err(Error::new(Code::Io, format!("cannot restore to {}: it is a directory", path.display())))
        }
        // A disk is written in place.
        Ok(kind) if kind.is_block_device() => {
            let disk = open_unused(&target)?;
            on_disk(version, disk, control)
        }
        Ok(kind) if !kind.is_file() => {
            let own = target.clone();
            let file = driver::blocking(move |stop| open_unwritten(&own, kind.is_fifo(), stop), control)?;
            in_order(version, file.map_err(|e| failed(&target, &e))?, options, control)
        }
        _ => {
            check_replaceable(&target)?;
            through_partial_file(version, &target, options.flag("holes"), control)
        }
    }
}

/// The file that a path names. A link stays a link: its target is replaced, or created if it does not exist.
fn target_of(path: &Path) -> io::Result<PathBuf> {
    // Asks the kernel first: it knows links that lead nowhere, and those that somebody else put into a shared folder.
    match fs::metadata(path) {
        Ok(_) => return fs::canonicalize(path),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        Err(_) => {}
    }
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&target) {
            Ok(next) => target = disk::folder_of(&target).join(next),
            Err(_) => return Ok(target),
        }
    }
    Err(Errno::ELOOP.into())
}

/// Fails if no other file can be put in the place of this one, before anything is downloaded.
fn check_replaceable(path: &Path) -> Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    // A new file, or a kernel that does not tell.
    let Ok(found) = statx(CWD, path, flags, StatxFlags::BASIC_STATS) else { return Ok(()) };
    let refuse = |why: &str, hint: &str| {
        let (shown, why) = (path.display(), format!("cannot restore to {}: {why}", path.display()));
        Err(Error::new(Code::Io, why).with_hint(hint.replace("FILE", &shown.to_string())))
    };
    if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return refuse(
            "it is mounted there, so no other file can be put in its place",
            "Write into it in place (s3vault get CONTAINER PATH - > FILE), or restore to another file.",
        );
    }
    if found.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
        return refuse(
            "it is marked as immutable or as append-only",
            "Run 'chattr -i -a FILE' as root first, or restore to another file.",
        );
    }
    let own = geteuid().as_raw();
    let Ok(folder) = fs::metadata(disk::folder_of(path)) else { return Ok(()) };
    if folder.mode() & 0o1000 != 0 && ![folder.uid(), found.stx_uid].contains(&own) {
        return refuse(
            "it belongs to another user, and its folder is sticky (as /tmp is)",
            "Restore to another file, or in another folder.",
        );
    }
    Ok(())
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
        return on_disk(version, file, control);
    }
    // It may have old data.
    let zeros = if options.flag("holes") { Zeros::Punched } else { Zeros::Written };
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

/// Restores to a disk. Fails before anything is written if the backup does not fit, and says afterwards how much of a larger
/// disk was left as it was.
fn on_disk(version: &Version, disk: File, control: &mut Control<'_>) -> Result<()> {
    let name = name(&disk);
    let available = disk::device_length(&disk).map_err(|e| failed(Path::new(&name), &e))?;
    let needed = version.row().bytes;
    let Some(left) = available.checked_sub(needed) else {
        let why = format!("cannot restore to {name}: the backup has {needed} bytes, but the disk only {available}");
        return Err(
            Error::new(Code::DiskFull, why).with_hint("Restore to a disk that is large enough, or into a file.")
        );
    };
    in_place(version, disk, Zeros::Written, control)?;
    if left > 0 {
        // The disk is restored: nothing stops that any more.
        let _ = control.log(&format!(
            "{name} is larger than the backup: its last {left} bytes, from byte {needed} on, were left as they were"
        ));
    }
    Ok(())
}

fn appends(file: &File) -> bool {
    fcntl(file, FcntlArg::F_GETFL).is_ok_and(|flags| OFlag::from_bits_truncate(flags).contains(OFlag::O_APPEND))
}

fn in_place(version: &Version, file: File, zeros: Zeros, control: &mut Control<'_>) -> Result<()> {
    if let Some(warning) = adopted::warning(version.manifest()) {
        control.log(&warning)?;
    }
    let (name, length) = (name(&file), version.row().bytes);
    let refused = |e| failed(Path::new(&name), &e);
    let own = file.try_clone().map_err(refused)?;
    let destination = Destination { file, zeros, marks: None, already_done: 0 };
    download_file(version.host(), version.machine(ReadRequest::default())?, destination, length, control)?;
    if adopted::md5(version.manifest()).is_some() {
        let (own, manifest) = (own.try_clone().map_err(refused)?, version.manifest().clone());
        match driver::blocking(move |stop| adopted::compare_file(&own, &manifest, stop), control)? {
            Ok(compared) => compared?,
            Err(e) => control.log(&format!("{name} cannot be read, so its MD5 was not compared: {e}"))?,
        }
    }
    let end = move |_: &_| {
        if own.metadata()?.is_file() {
            own.set_len(length)?;
        }
        disk::sync_data(&own)
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
    if let Some(warning) = adopted::warning(version.manifest()) {
        control.log(&warning)?;
    }
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
        let segments = match manifest.encryption {
            Some(_) => {
                let locate = Locate::new(version.core(), manifest.clone(), entropy::seed()?)?;
                driver::run(version.host(), locate, control)?.segments().cloned()
            }
            None => None,
        };
        // Parts that cannot be read from it are read from the store.
        let verify = move |stop: &_| {
            PartialFile::verified_parts(&file, marks, &manifest, segments.as_deref(), stop).unwrap_or_default()
        };
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
    let (compared, of) = (file()?, manifest.clone());
    let restored = download_file(version.host(), version.machine(request)?, destination, version.row().bytes, control)
        .and_then(|()| driver::blocking(move |stop| adopted::compare_file(&compared, &of, stop), control))
        .and_then(|compared| compared.map_err(|e| failed(path, &e))?)
        .and_then(|()| driver::blocking(move |_| disk::sync_data(&synced), control))
        .and_then(|synced| synced.map_err(|e| failed(path, &e)));
    match restored {
        Ok(()) => {
            partial.finish(path)?;
            let older = Vid::parse(&manifest.vid).map(|vid| PartialFile::remove_older(path, vid));
            for left in older.unwrap_or_default() {
                // The file is restored: nothing stops that any more.
                let _ = control.log(&format!(
                    "{} is left of an interrupted restore of an older version: remove it, unless a restore uses it",
                    left.display()
                ));
            }
            Ok(())
        }
        Err(e) => Err(match partial.keep_after(&e) {
            true => after_interrupt(e, || {
                "Make the same call again to resume: the parts that were restored are kept beside the file.".into()
            }),
            false => e,
        }),
    }
}
