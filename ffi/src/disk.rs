//! This machine's disks: what they refuse, as an error of the library, names that last, and the length of a block device.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::Path;

use s3vault_core::{Code, Error};

/// What the operating system refused; `tried` says what was done, and to which file. A place that takes no more bytes is
/// [`Code::DiskFull`], whether the disk is full, a quota is used up, or a file may not be so large.
pub(crate) fn refused(tried: impl Display, error: &io::Error) -> Error {
    let of = |code| Error::new(code, format!("{tried}: {error}"));
    match error.kind() {
        ErrorKind::StorageFull => of(Code::DiskFull),
        ErrorKind::QuotaExceeded => of(Code::DiskFull)
            .with_hint("Remove files of yours from this disk, have your quota raised, or use another disk."),
        ErrorKind::FileTooLarge => of(Code::DiskFull)
            .with_hint("Raise the process's limit (ulimit -f), or use a file system that takes files of this size."),
        _ => of(Code::Io),
    }
}

/// A name that was made, given or removed in a folder lasts once the folder is written, too: as far as it can be. Some file
/// systems sync no folders (EINVAL), and one that can be written may not be readable.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::PermissionDenied) => Ok(()),
        synced => synced,
    }
}

/// In bytes, of a block device: it has no length of its own, but an end. It is opened once more, for whatever it may be,
/// since the position of a descriptor is shared with the one that it was duplicated from.
pub(crate) fn length(device: &File) -> io::Result<u64> {
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
    fn a_place_that_takes_no_more_is_full_and_the_hint_says_what_helps() {
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
    fn a_file_system_that_syncs_no_folders_takes_names_all_the_same() {
        let refused = File::open("/proc/self").and_then(|folder| folder.sync_all()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::EINVAL as i32));
        sync_name(Path::new("/proc/self/name")).unwrap();
        sync_name(Path::new("name")).unwrap();
        assert_eq!(sync_name(Path::new("/proc/none/name")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
