//! This machine's disks: errors of the operating system as errors of the library, file names that survive a crash, and
//! the length of a block device.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::Path;

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
        _ => of(Code::Io),
    }
}

/// Makes a created, renamed or removed name survive a crash, by syncing its folder, if that is possible: some file
/// systems do not sync folders (EINVAL), and a folder that can be written may not be readable.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::PermissionDenied) => Ok(()),
        synced => synced,
    }
}

/// Returns the length of a block device in bytes, which is where it ends. The device is opened again, in whichever way
/// is allowed, since a duplicated descriptor shares its position with the original.
pub(crate) fn device_length(device: &File) -> io::Result<u64> {
    let again = format!("/proc/self/fd/{}", device.as_raw_fd());
    let mut own = File::open(&again).or_else(|_| OpenOptions::new().write(true).open(&again))?;
    own.seek(SeekFrom::End(0))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use nix::errno::Errno;

    use super::*;

    #[test]
    fn a_full_disk_a_quota_and_a_size_limit_are_told_apart_by_the_hint() {
        for (errno, code, hint) in [
            (Errno::ENOSPC, Code::DiskFull, "Free some space"),
            (Errno::EDQUOT, Code::DiskFull, "quota"),
            (Errno::EFBIG, Code::DiskFull, "ulimit -f"),
            (Errno::EIO, Code::Io, "operating system's message"),
            (Errno::EACCES, Code::Io, "operating system's message"),
            (Errno::EROFS, Code::Io, "operating system's message"),
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

    #[test]
    fn a_file_system_that_does_not_sync_folders_is_accepted() {
        let refused = File::open("/proc/self").and_then(|folder| folder.sync_all()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::EINVAL as i32));
        sync_name(Path::new("/proc/self/name")).unwrap();
        sync_name(Path::new("name")).unwrap();
        assert_eq!(sync_name(Path::new("/proc/none/name")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
