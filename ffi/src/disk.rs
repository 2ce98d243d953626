//! This machine's disks: errors of the operating system as errors of the library, bytes and file names that survive a crash,
//! files that nobody else can access, names of drafts, the length of a block device, and the numbers of standard streams.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use s3vault_core::checksum::digest;
use s3vault_core::{Code, Error};

/// Makes an error from one of the operating system; `tried` says what was done, and to which file. If no more bytes can
/// be written, it is [`Code::DiskFull`], whether the disk is full, a quota is used up, or the file would be too large.
pub(crate) fn refused(tried: impl Display, error: &io::Error) -> Error {
    let of = |code| Error::new(code, format!("{tried}: {error}"));
    match error.kind() {
        ErrorKind::StorageFull => of(Code::DiskFull),
        ErrorKind::QuotaExceeded => of(Code::DiskFull)
            .with_hint("Remove some of your files from this disk, ask for a larger quota, or use another disk."),
        ErrorKind::FileTooLarge => of(Code::DiskFull)
            .with_hint("Raise the file size limit (ulimit -f), or use a file system that supports files of this size."),
        ErrorKind::PermissionDenied => {
            of(Code::Io).with_hint("Check the owner and the permissions of the file and of its folder.")
        }
        ErrorKind::ReadOnlyFilesystem => of(Code::Io).with_hint("Use a file system that is mounted for writing."),
        ErrorKind::NotFound => of(Code::Io).with_hint("Create the folder first, or correct the path."),
        ErrorKind::InvalidFilename => of(Code::Io).with_hint("Use a shorter name, or one without special characters."),
        _ => of(Code::Io),
    }
}

/// The folder of a file with this path.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether the file system does not know this operation. What it cannot sync, nobody can.
fn is_unknown(e: &io::Error) -> bool {
    [Errno::EINVAL, Errno::EOPNOTSUPP, Errno::ENOSYS].iter().any(|errno| e.raw_os_error() == Some(*errno as i32))
}

/// Makes the bytes of a file survive a crash, if its file system can do that.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data().or_else(|e| if is_unknown(&e) { Ok(()) } else { Err(e) })
}

/// Makes a created, renamed or removed name survive a crash, by syncing its folder, if that is possible: some file
/// systems do not sync folders, or not those that are open for reading (EBADF), and a folder that can be written may not
/// be readable.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    let folder = match File::open(folder_of(path)) {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Ok(()),
        folder => folder?,
    };
    match folder.sync_all() {
        Err(e) if is_unknown(&e) || e.raw_os_error() == Some(Errno::EBADF as i32) => Ok(()),
        synced => synced,
    }
}

/// What the names of all drafts of the file `path` start with: a dot, its name, and a dot. Up to `rest` bytes can follow.
/// A name that is too long for that is cut, and gets a hash. `None`: the path does not name a file.
pub(crate) fn draft_prefix(path: &Path, rest: usize) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    // Some file systems have a limit in characters, which they report in bytes.
    let limit = statvfs(folder_of(path)).map_or(255, |found| found.name_max().min(255) as usize);
    let room = limit.saturating_sub(rest + 2);
    if name.len() <= room {
        return Some(format!(".{name}."));
    }
    let hash = hex::encode(&digest(name.as_bytes()).blake3[..8]);
    let mut end = room.saturating_sub(hash.len() + 1);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Some(format!(".{}~{hash}.", &name[..end]))
}

/// Returns the length of a block device in bytes, which is where it ends. The device is opened again, in whichever way
/// is allowed, since a duplicated descriptor shares its position with the original.
pub(crate) fn device_length(device: &File) -> io::Result<u64> {
    let again = format!("/proc/self/fd/{}", device.as_raw_fd());
    let mut own = File::open(&again).or_else(|_| OpenOptions::new().write(true).open(&again))?;
    own.seek(SeekFrom::End(0))
}

/// Occupies the numbers 0, 1 and 2 if they are free, as they are in a process that was started with closed standard streams.
/// A descriptor of the library would get such a number otherwise, and whatever reads or writes the stream would read or write
/// it. Reading and writing these fails as on a closed one (EBADF).
pub(crate) fn occupy_standard_streams() {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlag::O_PATH.bits());
    // The lowest free number, so the first one above 2 shows that these are taken.
    while let Ok(file) = options.open("/dev/null").or_else(|_| options.open("/"))
        && file.as_raw_fd() <= 2
    {
        let _ = file.into_raw_fd();
    }
}

/// Why a private file was not opened.
pub(crate) enum NotOpened {
    /// What could not be done, and the operating system's answer.
    Io(&'static str, io::Error),
    /// Other users could have prepared the file, or could read or change it; says why.
    NotPrivate(String),
    /// Somebody else has locked it.
    Locked,
    /// The file system has no locks, or does not keep owners and modes; says why. No new file stays.
    Unprotected(String),
}

/// A private file that was opened and locked.
pub(crate) struct PrivateFile {
    pub(crate) file: File,
    /// It did not exist before.
    pub(crate) is_new: bool,
}

/// Opens and locks a file that this user alone can access, and creates it with mode 0600 if it does not exist. Links are
/// not followed, and what others could have prepared is left as it is. Waits this long for the lock.
pub(crate) fn open_private(path: &Path, wait: Duration, stop: &AtomicBool) -> Result<PrivateFile, NotOpened> {
    let end = Instant::now() + wait;
    loop {
        let Some(opened) = open_or_create(path)? else { continue };
        match opened.file.try_lock() {
            // The previous owner may have renamed or removed it in the meantime.
            Ok(()) if is_named(path, &opened.file) => return Ok(opened),
            Ok(()) => {}
            Err(TryLockError::Error(e)) => {
                if opened.is_new {
                    // Nobody can have written to it. An empty file would look like something that can be resumed.
                    let _ = fs::remove_file(path);
                }
                let has_no_locks = is_unknown(&e) || e.raw_os_error() == Some(Errno::ENOLCK as i32);
                let why = format!("cannot be locked: its file system has no locks ({e})");
                return Err(if has_no_locks { NotOpened::Unprotected(why) } else { NotOpened::Io("lock", e) });
            }
            Err(TryLockError::WouldBlock) if Instant::now() < end && !stop.load(Ordering::Acquire) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Err(NotOpened::Locked),
        }
    }
}

/// `None`: the file was removed just now.
fn open_or_create(path: &Path) -> Result<Option<PrivateFile>, NotOpened> {
    // Opening a pipe would wait for its other end.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags);
    match options.clone().create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            // FAT and some network file systems give all files the mode and the owner that they are mounted with.
            return match not_private(&file).map_err(|e| NotOpened::Io("open", e))? {
                None => Ok(Some(PrivateFile { file, is_new: true })),
                Some(why) => {
                    let _ = fs::remove_file(path);
                    Err(NotOpened::Unprotected(format!("{why}, although it was created with mode 0600")))
                }
            };
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return Err(NotOpened::Io("create", e)),
    }
    let file = match options.open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Err(NotOpened::NotPrivate("is a symbolic link".into()));
        }
        Err(e) if e.kind() == ErrorKind::IsADirectory => return Err(NotOpened::NotPrivate("is a folder".into())),
        Err(e) => return Err(NotOpened::Io("open", e)),
    };
    match not_private(&file).map_err(|e| NotOpened::Io("open", e))? {
        None => Ok(Some(PrivateFile { file, is_new: false })),
        Some(why) => Err(NotOpened::NotPrivate(why)),
    }
}

/// Why other users could have prepared this file, or could read or change it: it is not a regular file with one name that
/// belongs to this process's user, with mode 0600.
pub(crate) fn not_private(file: &File) -> io::Result<Option<String>> {
    let found = file.metadata()?;
    let (mode, own) = (found.mode() & 0o777, geteuid().as_raw());
    Ok(if !found.is_file() {
        Some("is not a regular file".into())
    } else if found.uid() != own {
        Some(format!("belongs to another user (uid {}, not {own})", found.uid()))
    } else if mode & 0o077 != 0 {
        Some(format!("can be accessed by other users (mode {mode:04o})"))
    } else if found.nlink() > 1 {
        Some("has more than one name (hard links)".into())
    } else {
        None
    })
}

/// Whether this is the file with this name.
fn is_named(path: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(own)) => (named.dev(), named.ino()) == (own.dev(), own.ino()),
        _ => false,
    }
}

/// The mode of a file that is put in the place of `path`: that of the file that is there, or that of a new file.
pub(crate) fn mode_at(path: &Path) -> u32 {
    if let Ok(found) = fs::metadata(path)
        && found.is_file()
    {
        return found.mode() & 0o777;
    }
    // The call umask(2) would change it, for the whole process.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("Umask:")?.trim(), 8).ok());
    0o666 & !umask.unwrap_or(0o077)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_full_disk_a_quota_and_a_size_limit_are_told_apart_by_the_hint() {
        for (errno, code, hint) in [
            (Errno::ENOSPC, Code::DiskFull, "Free some space"),
            (Errno::EDQUOT, Code::DiskFull, "quota"),
            (Errno::EFBIG, Code::DiskFull, "ulimit -f"),
            (Errno::EIO, Code::Io, "its disk"),
            (Errno::EACCES, Code::Io, "permissions"),
            (Errno::EROFS, Code::Io, "mounted for writing"),
            (Errno::ENOENT, Code::Io, "Create the folder"),
            (Errno::ENAMETOOLONG, Code::Io, "shorter name"),
        ] {
            let error = io::Error::from(errno);
            let made = refused("cannot write the file", &error);
            assert_eq!(made.code(), code, "{errno}");
            assert!(made.hint().contains(hint), "{errno}: {}", made.hint());
            assert_eq!(made.message(), format!("cannot write the file: {error}"));
        }
        let full = File::options().write(true).open("/dev/full").and_then(|mut file| file.write_all(b"a")).unwrap_err();
        assert_eq!(refused("", &full).code(), Code::DiskFull);
    }

    fn open(path: &Path, wait: Duration) -> Result<PrivateFile, NotOpened> {
        open_private(path, wait, &AtomicBool::new(false))
    }

    /// The owner of a lock may remove or replace its file before it releases the lock.
    #[test]
    fn the_file_that_is_opened_has_its_name_when_it_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private");
        for is_replaced in [true, false] {
            let held = open(&path, Duration::ZERO).ok().unwrap();
            assert!(held.is_new && matches!(open(&path, Duration::ZERO), Err(NotOpened::Locked)));
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| open(&path, Duration::from_secs(60)).ok().unwrap());
                std::thread::sleep(Duration::from_millis(200));
                fs::remove_file(&path).unwrap();
                if is_replaced {
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
                }
                drop(held);
                let opened = waits.join().unwrap();
                let (named, own) = (fs::metadata(&path).unwrap(), opened.file.metadata().unwrap());
                assert_eq!((named.ino(), opened.is_new, own.mode() & 0o777), (own.ino(), !is_replaced, 0o600));
            });
            fs::remove_file(&path).unwrap();
        }
        let file = File::create(&path).unwrap();
        assert!(is_named(&path, &file));
        fs::rename(&path, folder.path().join("other")).unwrap();
        assert!(!is_named(&path, &file), "nothing has the name");
        File::create(&path).unwrap();
        assert!(!is_named(&path, &file), "another file has it");
    }

    #[test]
    fn what_others_could_have_prepared_or_could_read_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let create = |name: &str, mode: u32| {
            let file = OpenOptions::new().write(true).create_new(true).open(path(name)).unwrap();
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        };
        for (name, mode) in [("own", 0o600), ("group", 0o640), ("others", 0o602), ("two", 0o600)] {
            create(name, mode);
        }
        fs::hard_link(path("two"), path("names")).unwrap();
        std::os::unix::fs::symlink(path("own"), path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
        assert!(open(&path("own"), Duration::ZERO).is_ok_and(|opened| !opened.is_new));
        for (name, why) in [
            ("group", "can be accessed by other users (mode 0640)"),
            ("others", "can be accessed by other users (mode 0602)"),
            ("names", "has more than one name (hard links)"),
            ("link", "is a symbolic link"),
            ("folder", "is a folder"),
            ("pipe", "is not a regular file"),
        ] {
            let refused = match open(&path(name), Duration::ZERO) {
                Err(NotOpened::NotPrivate(why)) => why,
                _ => "opened".to_owned(),
            };
            assert_eq!(refused, why, "{name}");
        }
    }

    #[test]
    fn a_draft_of_a_file_with_a_long_name_has_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = |name: &str| draft_prefix(&folder.path().join(name), 53).unwrap();
        assert_eq!(prefix("disk.img"), ".disk.img.");
        assert_eq!(prefix(&"x".repeat(200)), format!(".{}.", "x".repeat(200)));
        for name in ["x".repeat(201), "x".repeat(255), "ä".repeat(120), format!("x{}", "漢".repeat(84))] {
            let other = format!("{}y", &name[..name.len() - name.chars().next_back().unwrap().len_utf8()]);
            assert!(prefix(&name) != prefix(&other), "{name}");
            File::create(folder.path().join(format!("{}{}", prefix(&name), "z".repeat(53)))).unwrap();
        }
        assert_eq!(draft_prefix(Path::new("/"), 53), None);
    }

    #[test]
    fn a_file_system_that_does_not_sync_folders_is_accepted() {
        let refused = File::open("/proc/self").and_then(|folder| folder.sync_all()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::EINVAL as i32));
        sync_name(Path::new("/proc/self/name")).unwrap();
        sync_name(Path::new("name")).unwrap();
        assert_eq!(sync_name(Path::new("/proc/none/name")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
