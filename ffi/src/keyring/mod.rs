//! The keys of a vault's owner: a keyring in memory or in a file, and the changes of it.
//!
//! A keyring that vaults use does not change: a change makes a new one, which the next vault that is opened gets.
//! Changes of a file are made under a lock, to what the file has then, so that two processes that add a key at once
//! lose nothing; a key that only this process knows is added to the file again, unless it was retired.

pub mod escrow;
mod external;
mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use s3vault_core::crypto::escrow::Escrow;
use s3vault_core::crypto::external::ExternalKek;
use s3vault_core::crypto::keyring::{Kek, Keyring};
use s3vault_core::settings::Settings;
use s3vault_core::{Error, Result};
use zeroize::Zeroizing;

use crate::entropy;
use crate::transport::clock;

use escrow::Reader;

/// Creates a keyring with a new signing key and a first KEK, in memory.
pub fn generate() -> Result<Keyring> {
    let mut keyring = Keyring::generate(*Zeroizing::new(entropy::bytes()?));
    keyring.add_kek(new_kek()?);
    Ok(keyring)
}

/// Creates a keyring with new keys in the file `path`, which must not exist yet; only its owner can access it (mode
/// 0600).
pub fn create(path: &Path) -> Result<Keyring> {
    let keyring = generate()?;
    file::create("keyring", path, &keyring.to_bytes())?;
    Ok(keyring)
}

/// Reads the keyring in the file `path`. A file that other users own, can read or can write is refused.
pub fn open(path: &Path) -> Result<Keyring> {
    file::open(path)
}

fn new_kek() -> Result<Kek> {
    Ok(Kek::new(*Zeroizing::new(entropy::bytes()?), clock::now().unix_ms))
}

/// A keyring that can be changed, and the file that has it. Threads may share it.
#[derive(Debug)]
pub struct Keys {
    file: Option<PathBuf>,
    keyring: RwLock<Arc<Keyring>>,
    changing: Mutex<()>,
}

impl Keys {
    /// The keys of this keyring, in memory.
    pub fn in_memory(keyring: Keyring) -> Keys {
        Keys { file: None, keyring: RwLock::new(Arc::new(keyring)), changing: Mutex::new(()) }
    }

    /// The keys of this keyring, which is in the file `path`. The path stays valid when the working folder changes.
    fn in_file(path: &Path, keyring: Keyring) -> Keys {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Keys { file: Some(path), ..Keys::in_memory(keyring) }
    }

    /// Opens the keyring in the file `path`.
    pub fn open(path: &Path) -> Result<Keys> {
        Ok(Keys::in_file(path, open(path)?))
    }

    /// Creates a keyring with new keys in the file `path`, which must not exist yet.
    pub fn create(path: &Path) -> Result<Keys> {
        Ok(Keys::in_file(path, create(path)?))
    }

    /// Creates a keyring from an escrow file: in the file `path`, which must not exist yet, or in memory.
    pub fn restore(path: Option<&Path>, escrow: &[u8], secret: &[u8]) -> Result<Keys> {
        let keyring = Escrow::open(escrow, secret)?.keyring;
        let Some(path) = path else { return Ok(Keys::in_memory(keyring)) };
        file::create("keyring", path, &keyring.to_bytes())?;
        Ok(Keys::in_file(path, keyring))
    }

    /// These keys as they are now, and an external KEK, which is current: 16 lower-case hex digits, and the functions that
    /// wrap and unwrap with it. They are in memory only, with the changes that are made of them.
    pub fn with_external(&self, id: &str, functions: Arc<dyn ExternalKek>) -> Result<Keys> {
        let functions = Arc::new(external::Caller(functions));
        Ok(Keys::in_memory(self.keyring().with_external(id, functions, clock::now().unix_ms)?))
    }

    /// The keyring as it is now.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The content of the keyring file, which is secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.keyring().to_bytes()
    }

    /// Adds a new KEK and returns its id. The first one is current at once, a later one after
    /// [`activate`](Keys::activate).
    pub fn add(&self) -> Result<String> {
        let kek = new_kek()?;
        let id = kek.id().to_owned();
        self.change(|keyring| {
            keyring.add_kek(kek);
            Ok(id)
        })
    }

    /// Makes a KEK current: it wraps the data keys of new versions. It is refused until it is escrowed.
    pub fn activate(&self, id: &str) -> Result<()> {
        self.change(|keyring| keyring.activate(id))
    }

    /// Replaces the signing key by a new one, and returns its id: it signs the backups of vaults that are opened from now on.
    /// The public key of the old one stays in the keyring, and verifies what it has signed.
    pub fn new_signing_key(&self) -> Result<String> {
        let seed = Zeroizing::new(entropy::bytes()?);
        self.change(|keyring| {
            keyring.new_signing_key(*seed);
            Ok(keyring.signing_key().public().id().to_owned())
        })
    }

    /// Drops the public key of an earlier signing key: vaults that are opened from now on trust nothing that it has signed.
    pub fn distrust(&self, id: &str) -> Result<()> {
        self.change(|keyring| keyring.distrust(id))
    }

    /// Drops a KEK that nothing needs any more; [`Vault::retire`](crate::Vault::retire) makes sure of that. Its id is kept,
    /// so that no other process, and no escrow, adds it to this file again.
    pub(crate) fn retire(&self, id: &str) -> Result<()> {
        self.change(|keyring| keyring.retire(id))
    }

    /// Returns an escrow file for `reader`, with all keys and what the settings tell of the vault, and notes that all
    /// KEKs are escrowed. With `path`, that file is created with the same bytes before anything is noted.
    pub fn export(&self, settings: Option<&Settings>, reader: &Reader, path: Option<&Path>) -> Result<Vec<u8>> {
        self.change(|keyring| {
            keyring.mark_escrowed();
            let escrow = escrow::describe(keyring, settings, clock::now().unix_ms)?;
            let bytes = escrow::lock(&escrow, reader)?;
            if let Some(path) = path {
                file::create("escrow file", path, &bytes)?;
            }
            Ok(bytes)
        })
    }

    /// Adds the KEKs of an escrow file that are missing here, except those that were retired. Returns a report as JSON:
    /// `{"added":["<id of a KEK>"],"left_out":["<id of a KEK>"],"external":["<id of a KEK>"],"vault_id":…,"verify_keys":
    /// ["ed25519 …"],"settings":{…}}`; `left_out` are those that were retired, `external` those that are elsewhere. The
    /// escrow of another signing key is refused.
    pub fn import(&self, escrow: &[u8], secret: &[u8]) -> Result<String> {
        let escrow = Escrow::open(escrow, secret)?;
        let merged = self.change(|keyring| {
            keyring.merge(&escrow.keyring).map_err(|e| {
                let hint = "Import it into a new file, which gets all of its keys. To read its backups with this keyring, add \
                            its public key to verify_keys.";
                let message = format!("the escrow file belongs to another keyring: {}", e.message());
                Error::new(e.code(), message).with_hint(hint)
            })
        })?;
        Ok(escrow::report_json(&escrow, &merged))
    }

    /// Changes the keyring, in its file if it has one. An error of `edit` changes nothing.
    fn change<T>(&self, edit: impl FnOnce(&mut Keyring) -> Result<T>) -> Result<T> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.keyring();
        let (keyring, value) = match &self.file {
            Some(path) => file::change(path, |keyring| {
                keyring.merge(&held).map_err(|e| {
                    e.context(format!("the keyring {} was replaced by another since it was opened", path.display()))
                })?;
                edit(keyring)
            })?,
            None => {
                let mut keyring = held.copy();
                let value = edit(&mut keyring)?;
                (keyring, value)
            }
        };
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
