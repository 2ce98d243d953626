//! Keyring files. A file is created completely or not at all, never replaces another, and is created and read only if nobody
//! but its owner can access it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::geteuid;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::{Code, Error, Result};
use zeroize::Zeroizing;

use crate::{disk, entropy};

/// Larger than any keyring; a larger file is something else.
const LARGEST: u64 = 1 << 20;

/// Creates a keyring with a new key, in memory.
pub fn generate() -> Result<Keyring> {
    Ok(Keyring::generate(*Zeroizing::new(entropy::bytes()?)))
}

/// Creates a keyring with a new key in the file `path`, which must not exist yet; only its owner can access it (mode
/// 0600).
pub fn create(path: &Path) -> Result<Keyring> {
    let keyring = generate()?;
    let suffix = u64::from_le_bytes(entropy::bytes()?);
    write_new(path, &keyring.to_bytes(), suffix).map_err(|why| match why {
        NotCreated::Exists => {
            cannot_create(path, "it exists already").with_hint("Choose another name: a lost key cannot be recovered.")
        }
        NotCreated::NotPrivate(why) => {
            let why = format!("a new file on its file system {why}, although it was created with mode 0600");
            cannot_create(path, &why).with_hint(
                "Use another file system, or mount this one with the options uid= (your user id) and umask=077.",
            )
        }
        NotCreated::Io(e) => {
            cannot_create(path, &e.to_string()).with_hint("Check the folder, its permissions and its disk.")
        }
    })?;
    Ok(keyring)
}

fn cannot_create(path: &Path, why: &str) -> Error {
    Error::new(Code::Keyring, format!("cannot create the keyring {}: {why}", path.display()))
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
    let suffix = format!("{suffix:016x}.new");
    let prefix = disk::draft_prefix(path, suffix.len());
    let prefix = prefix.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path does not name a file"))?;
    let temporary = path.with_file_name(prefix + &suffix);
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
pub fn open(path: &Path) -> Result<Keyring> {
    let shown = path.display();
    let cannot = |e: io::Error| Error::new(Code::Keyring, format!("cannot read the keyring {shown}: {e}"));
    let file = File::open(path).map_err(cannot)?;
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
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("s3vault-keyring-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_new_keyring_belongs_to_its_owner_alone_and_can_be_read() {
        let folder = folder("made");
        let path = folder.join("k");
        let made = create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(open(&path).unwrap().info_json(), made.info_json());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a temporary file was left");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_of_many_that_create_the_same_keyring_succeeds() {
        let folder = folder("race");
        let path = folder.join("k");
        let made: Vec<Result<Keyring>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&path))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<_> = made.iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(open(&path).unwrap().info_json(), winners[0].info_json());
        assert!(made.iter().flat_map(|m| m.as_ref().err()).all(|e| e.code() == Code::Keyring));
        fs::remove_dir_all(folder).unwrap();
    }

    /// As where hard links and the rename to a free name are not known: there is nothing to link or to rename.
    #[test]
    fn a_keyring_that_cannot_get_its_name_by_a_link_or_a_rename_is_written_under_it() {
        let folder = folder("name");
        let (path, missing) = (folder.join("k"), folder.join("missing"));
        assert!(give_name(&missing, &path, b"content").is_ok());
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(give_name(&missing, &path, b"other"), Err(NotCreated::Exists)));
        assert_eq!(fs::read(&path).unwrap(), b"content");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_existing_file_is_never_replaced() {
        let folder = folder("exists");
        let path = folder.join("k");
        fs::write(&path, "mine").unwrap();
        let e = create(&path).map(|_| ()).unwrap_err();
        assert_eq!(e.code(), Code::Keyring);
        assert!(e.message().ends_with("it exists already"), "{e}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_keyring_that_others_can_read_is_refused() {
        let folder = folder("mode");
        let path = folder.join("k");
        create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let e = open(&path).map(|_| ()).unwrap_err();
            assert_eq!((e.code(), e.hint()), (Code::Keyring, format!("Run: chmod 600 {}", path.display()).as_str()));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(open(&path).is_ok());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_keyring_of_another_user_is_refused() {
        let folder = folder("owner");
        let path = folder.join("k");
        create(&path).unwrap();
        // Only root can give a file away; for others, a file of root's.
        let theirs = if geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            path.clone()
        } else {
            PathBuf::from("/etc/passwd")
        };
        let e = open(&theirs).map(|_| ()).unwrap_err();
        assert!(e.code() == Code::Keyring && e.message().contains("another user owns"), "{e}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_not_a_keyring_is_named() {
        let folder = folder("other");
        let path = folder.join("k");
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap().write_all(b"hello").unwrap();
        for path in [&path, &folder, &folder.join("absent")] {
            let e = open(path).map(|_| ()).unwrap_err();
            assert_eq!(e.code(), Code::Keyring);
            assert!(e.message().contains(&path.display().to_string()), "{e}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
