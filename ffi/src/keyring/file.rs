//! Keyring files. A file is created completely or not at all, never replaces another file, and is created and read
//! only if nobody but its owner can access it.
//!
//! A change is made under a lock, to what the file has then, and its result replaces the file at once: a new file is
//! written, synced, and renamed. The lock is on the keyring file itself. A process that waited for it looks whether
//! the name still means the file that it locked, and otherwise starts again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::unistd::geteuid;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::{Code, Error, Result};
use zeroize::Zeroizing;

use crate::disk::{self, NotOpened};
use crate::entropy;

/// Larger than any keyring; a larger file is something else.
const LARGEST: u64 = 1 << 20;

/// How long a change waits for that of another process, which may encrypt a copy for a passphrase meanwhile.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// How the names of temporary files end, after 16 hexadecimal digits.
const DRAFT: &str = ".new";

/// Creates the file `path`, which must not exist yet, with this secret content; only its owner can access it (mode
/// 0600). `what` names it in errors.
pub(super) fn create(what: &str, path: &Path, content: &[u8]) -> Result<()> {
    let suffix = u64::from_le_bytes(entropy::bytes()?);
    let cannot = |why: &str| Error::new(Code::Keyring, format!("cannot create the {what} {}: {why}", path.display()));
    write_new(path, content, suffix).map_err(|why| match why {
        NotCreated::Exists => {
            cannot("it exists already").with_hint("Choose another name: a lost key cannot be recovered.")
        }
        NotCreated::NotPrivate(why) => {
            let why = format!("a new file on its file system {why}, although it was created with mode 0600");
            cannot(&why).with_hint(
                "Use another file system, or mount this one with the options uid= (your user id) and umask=077.",
            )
        }
        NotCreated::Io(e) => cannot(&e.to_string()).with_hint("Check the folder, its permissions and its disk."),
    })
}

/// Changes the keyring in the file `path`, and returns it as it is then. An error of `edit` leaves the file as it is.
pub(super) fn change<T>(path: &Path, edit: impl FnOnce(&mut Keyring) -> Result<T>) -> Result<(Keyring, T)> {
    // The link to a keyring stays a link.
    let path = &fs::canonicalize(path).map_err(|e| cannot_read(path, &e))?;
    let locked = lock(path)?;
    remove_drafts(path);
    let mut keyring = read(&locked, path)?;
    let before = keyring.to_bytes();
    let value = edit(&mut keyring)?;
    let content = keyring.to_bytes();
    if content != before {
        replace(path, &content)?;
    }
    Ok((keyring, value))
}

/// Opens and locks the keyring file.
fn lock(path: &Path) -> Result<File> {
    let shown = path.display();
    let locked = disk::open_private(path, LOCK_WAIT, &AtomicBool::new(false)).map_err(|why| match why {
        NotOpened::Io(what, e) => disk::refused(format!("cannot {what} the keyring {shown}"), &e),
        NotOpened::Locked => Error::new(Code::Busy, format!("another process is changing the keyring {shown}"))
            .with_hint("Wait until it has ended, and try again."),
        NotOpened::Unprotected(why) => Error::new(Code::Keyring, format!("the keyring {shown} {why}"))
            .with_hint("Copy the keyring to a local file system, and change it there."),
        NotOpened::NotPrivate(why) => Error::new(Code::Keyring, format!("the keyring {shown} {why}"))
            .with_hint("Use a regular file of your own with mode 0600, and without other names (hard links)."),
    })?;
    if locked.is_new {
        // It was removed after its name was resolved.
        let _ = fs::remove_file(path);
        return Err(cannot_read(path, &ErrorKind::NotFound.into()));
    }
    Ok(locked.file)
}

/// Puts a new file in the place of the keyring `path`, which must be locked: the old content is there, or the new one,
/// also after a crash.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let cannot = |e: &io::Error| disk::refused(format!("cannot write the keyring {}", path.display()), e);
    let temporary = draft(path, u64::from_le_bytes(entropy::bytes()?)).map_err(|e| cannot(&e))?;
    write_file(&temporary, content).map_err(|why| match why {
        NotCreated::Exists => cannot(&ErrorKind::AlreadyExists.into()),
        NotCreated::NotPrivate(why) => {
            Error::new(Code::Keyring, format!("cannot write the keyring {}: a new file {why}", path.display()))
        }
        NotCreated::Io(e) => cannot(&e),
    })?;
    fs::rename(&temporary, path).and_then(|()| disk::sync_name(path)).map_err(|e| {
        let _ = fs::remove_file(&temporary);
        cannot(&e)
    })
}

/// The name of a temporary file for the file `path`.
fn draft(path: &Path, suffix: u64) -> io::Result<PathBuf> {
    let suffix = format!("{suffix:016x}{DRAFT}");
    let prefix = disk::draft_prefix(path, suffix.len());
    let prefix = prefix.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path does not name a file"))?;
    Ok(path.with_file_name(prefix + &suffix))
}

/// Removes the temporary files of changes that ended in a crash: they have keys. Nobody writes one while the keyring is
/// locked.
fn remove_drafts(path: &Path) {
    let Some(prefix) = disk::draft_prefix(path, 16 + DRAFT.len()) else { return };
    for entry in fs::read_dir(disk::folder_of(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(&*prefix)?.strip_suffix(DRAFT));
        if digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Why no keyring file was created.
enum NotCreated {
    Exists,
    /// The file system does not keep owners and modes; says what a new file got.
    NotPrivate(String),
    Io(io::Error),
}

impl From<io::Error> for NotCreated {
    fn from(e: io::Error) -> NotCreated {
        if e.kind() == ErrorKind::AlreadyExists { NotCreated::Exists } else { NotCreated::Io(e) }
    }
}

/// Writes a temporary file in the same folder and gives it the name `path`, if that is free: the name appears with the
/// whole content, or not at all; so if two processes create the same keyring, one succeeds and the other gets an error.
fn write_new(path: &Path, content: &[u8], suffix: u64) -> Result<(), NotCreated> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(NotCreated::Exists);
    }
    let temporary = draft(path, suffix)?;
    let written = write_file(&temporary, content).and_then(|()| give_name(&temporary, path, content));
    // Best effort: a file that stays contains a key that no keyring uses.
    let _ = fs::remove_file(&temporary);
    written?;
    disk::sync_name(path).map_err(|e| {
        // The next try must not find a keyring that this one says was not created.
        let _ = fs::remove_file(path);
        e.into()
    })
}

/// Creates a file that only its owner can access, on disk.
fn write_file(path: &Path, content: &[u8]) -> Result<(), NotCreated> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = match disk::not_private(&file)? {
        None => file.write_all(content).and_then(|()| disk::sync_data(&file)).map_err(NotCreated::Io),
        // FAT and some network file systems give all files the owner and the mode that they are mounted with.
        Some(why) => Err(NotCreated::NotPrivate(why)),
    };
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Gives the temporary file its name, unless that exists. FAT and some network file systems have no hard links; most of
/// them can rename a file to a name that is free. Where neither is possible, the file is written under its name.
fn give_name(temporary: &Path, path: &Path, content: &[u8]) -> Result<(), NotCreated> {
    let named = fs::hard_link(temporary, path);
    let named = named.or_else(|e| match e.kind() {
        ErrorKind::AlreadyExists => Err(e),
        _ => Ok(renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE)?),
    });
    match named {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(NotCreated::Exists),
        Err(_) => write_file(path, content),
    }
}

/// Reads the keyring in the file `path`. A file that other users own, can read or can write is refused.
pub(super) fn open(path: &Path) -> Result<Keyring> {
    read(&File::open(path).map_err(|e| cannot_read(path, &e))?, path)
}

fn cannot_read(path: &Path, e: &io::Error) -> Error {
    Error::new(Code::Keyring, format!("cannot read the keyring {}: {e}", path.display()))
}

fn read(file: &File, path: &Path) -> Result<Keyring> {
    let shown = path.display();
    let cannot = |e: io::Error| cannot_read(path, &e);
    let about = file.metadata().map_err(cannot)?;
    if !about.is_file() {
        return Err(Error::new(Code::Keyring, format!("the keyring {shown} is not a regular file")));
    }
    let own = geteuid().as_raw();
    if about.uid() != own {
        let message = format!("another user owns the keyring {shown} (uid {}, not {own})", about.uid());
        return Err(Error::new(Code::Keyring, message).with_hint(
            "Use a keyring of your own: what its owner signs is trusted by everyone who has its public key.",
        ));
    }
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("other users can access the keyring {shown} (mode {mode:04o})");
        return Err(Error::new(Code::Keyring, message).with_hint(format!("Run: chmod 600 {shown}")));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(about.len().min(LARGEST) as usize + 1));
    file.take(LARGEST + 1).read_to_end(&mut content).map_err(cannot)?;
    if content.len() as u64 > LARGEST {
        return Err(Error::new(Code::Keyring, format!("{shown} is too large for a keyring")));
    }
    Keyring::from_bytes(&content).map_err(|e| e.context(format!("keyring {shown}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// As where hard links and the rename to a free name are not known: there is nothing to link or to rename.
    #[test]
    fn a_keyring_that_cannot_get_its_name_by_a_link_or_a_rename_is_written_under_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, missing) = (folder.path().join("k"), folder.path().join("missing"));
        assert!(give_name(&missing, &path, b"content").is_ok());
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(give_name(&missing, &path, b"other"), Err(NotCreated::Exists)));
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_keyring_and_the_next_change_removes_the_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        create("keyring", &path, &Keyring::generate([7; 32]).to_bytes()).unwrap();
        let before = fs::read(&path).unwrap();
        for (suffix, content) in [(1, &before[..20]), (u64::MAX, &before[..])] {
            write_file(&draft(&path, suffix).unwrap(), content).ok().unwrap();
        }
        let other = folder.path().join(".k.mine.new");
        fs::write(&other, "not a draft").unwrap();
        assert_eq!(open(&path).unwrap().to_bytes()[..], before);
        change(&path, |_| Ok(())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::remove_file(other).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a draft stayed");
    }

    #[test]
    fn a_change_waits_for_the_lock_and_finds_the_file_that_replaced_the_one_it_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        create("keyring", &path, &Keyring::generate([7; 32]).to_bytes()).unwrap();
        let locked = lock(&path).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| change(&path, |keyring| Ok(keyring.signing_key().public().clone())));
            std::thread::sleep(Duration::from_millis(50));
            let newer = Keyring::generate([8; 32]);
            replace(&path, &newer.to_bytes()).unwrap();
            drop(locked);
            let (_, found) = waiting.join().unwrap().unwrap();
            assert_eq!(&found, newer.signing_key().public());
        });
    }
}
