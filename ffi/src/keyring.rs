//! Keyring files. A file is created completely or not at all, never replaces another, and is read only if nobody but
//! its owner can access it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::{Code, Error, Result};
use zeroize::Zeroizing;

use crate::entropy;

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
    write_new(path, &keyring.to_bytes(), suffix).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            cannot_create(path, "it exists already").with_hint("Choose another name: a lost key cannot be recovered.")
        }
        _ => cannot_create(path, &e.to_string()).with_hint("Check the folder and its permissions."),
    })?;
    Ok(keyring)
}

fn cannot_create(path: &Path, why: &str) -> Error {
    Error::new(Code::Keyring, format!("cannot create the keyring {}: {why}", path.display()))
}

/// Writes a temporary file in the same folder and links it to `path`. The link either finds the name free and appears
/// with the whole content, or fails; so if two processes create the same keyring, one succeeds and the other gets an
/// error.
fn write_new(path: &Path, content: &[u8], suffix: u64) -> std::io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let temporary = folder.join(format!(".{}.{suffix:016x}.new", name(path)?));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let temporary = TemporaryFile(temporary);
    file.write_all(content)?;
    file.sync_all()?;
    fs::hard_link(&temporary.0, path)?;
    drop(temporary);
    File::open(folder)?.sync_all()
}

fn name(path: &Path) -> std::io::Result<String> {
    match path.file_name() {
        Some(name) => Ok(name.to_string_lossy().into_owned()),
        None => Err(std::io::Error::new(ErrorKind::InvalidInput, "the path does not name a file")),
    }
}

/// A file that is removed when it is dropped.
struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Best effort: a file that stays contains a key that no keyring uses.
        let _ = fs::remove_file(&self.0);
    }
}

/// Reads the keyring in the file `path`. A file that other users own, can read or can write is refused.
pub fn open(path: &Path) -> Result<Keyring> {
    let shown = path.display();
    let cannot = |e: std::io::Error| Error::new(Code::Keyring, format!("cannot read the keyring {shown}: {e}"));
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
