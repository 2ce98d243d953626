//! A vault whose backups are encrypted before they leave this machine.

use std::path::PathBuf;
use std::sync::Arc;

use embedded_store::{Options, Server, Versioning};
use s3vault::op::GetObject;
use s3vault::{Client, Control, Error, Settings, Vault, Version};
use s3vault_core::crypto::keyring::{Kek, Keyring};

use super::{reaching, settings};

pub const MIB: usize = 1 << 20;
/// Length of a whole segment as it is stored.
pub const STORED: usize = MIB + 16;
/// The mode in which anybody who may write can replace the data of a version.
pub const NO_VERSIONING: &str = "single-bucket-no-versioning";

pub struct Rig {
    pub store: Server,
    pub keyring: Arc<Keyring>,
    pub folder: tempfile::TempDir,
    mode: &'static str,
}

pub fn rig() -> Rig {
    rig_in("single-bucket")
}

pub fn rig_in(mode: &'static str) -> Rig {
    let mut keyring = s3vault::keyring::generate().unwrap();
    keyring.add_kek(Kek::new([7; 32], 1_764_000_000_000));
    let mut options = Options::new("access", "secret").bucket("sealed");
    options.buckets.push(("plain".into(), Versioning::Off));
    Rig {
        store: Server::start(options).unwrap(),
        keyring: Arc::new(keyring),
        folder: tempfile::tempdir().unwrap(),
        mode,
    }
}

impl Rig {
    pub fn vault_with(&self, pairs: &[(&str, &str)]) -> Vault {
        let mut settings = reaching(&self.store.url(), self.bucket());
        settings.set("encryption", "envelope").unwrap();
        if self.mode == "bucket-per-vm" {
            settings.set("bucket", "").unwrap();
            settings.set("bucket_prefix", "sealed-").unwrap();
        }
        settings.set("idle_timeout_ms", "1000").unwrap();
        settings.set("mode", self.mode).unwrap();
        for (key, value) in pairs {
            settings.set(key, value).unwrap();
        }
        Vault::open(&settings, Some(self.keyring.clone()), &mut Control::none()).unwrap()
    }

    pub fn vault(&self) -> Vault {
        self.vault_with(&[])
    }

    pub fn put(&self, path: &str, data: &[u8]) -> Version {
        let none = &mut Control::none();
        let mut put = self.vault().put("vm", path, &Settings::new(), none).unwrap();
        for piece in data.chunks(300_000) {
            put.write(piece, none).unwrap();
        }
        put.commit(none).unwrap()
    }

    pub fn put_file(&self, path: &str, data: &[u8]) -> Version {
        self.vault().put_file("vm", path, &self.file(data), &Settings::new(), &mut Control::none()).unwrap()
    }

    pub fn file(&self, data: &[u8]) -> PathBuf {
        let file = self.folder.path().join("source");
        std::fs::write(&file, data).unwrap();
        file
    }

    pub fn restored(&self, version: &Version, options: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let file = self.folder.path().join("restored");
        version.restore(&file, &settings(options), &mut Control::none())?;
        Ok(std::fs::read(file).unwrap())
    }

    fn bucket(&self) -> &'static str {
        if self.mode == NO_VERSIONING { "plain" } else { "sealed" }
    }

    pub fn client(&self) -> Client {
        Client::open(&reaching(&self.store.url(), self.bucket()), &mut Control::none()).unwrap()
    }

    /// The stored bytes of a version that is one object.
    pub fn stored(&self, version: &Version) -> Vec<u8> {
        let key = manifest(version)["extents"][0]["key"].as_str().unwrap().to_owned();
        let get = GetObject { key, limit: 1 << 30, ..GetObject::default() };
        self.client().call(get, &mut Control::none()).unwrap()
    }

    pub fn fault(&self, json: &str) {
        self.store.fault(serde_json::from_str(json).unwrap()).unwrap();
    }
}

/// Reads a version in order.
pub fn read(version: &Version, options: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
    let none = &mut Control::none();
    let mut get = version.open(&settings(options), none)?;
    let (mut all, mut buffer) = (Vec::new(), vec![0; 100_000]);
    loop {
        match get.read(&mut buffer, none)? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

pub fn read_at(version: &Version, verify: &str, at: usize, length: usize) -> Result<Vec<u8>, Error> {
    let none = &mut Control::none();
    let reader = version.open(&settings(&[("verify", verify)]), none)?.positional();
    let mut buffer = vec![0; length];
    let count = reader.read(at as u64, &mut buffer, none)?;
    buffer.truncate(count);
    Ok(buffer)
}

/// The manifest as it is stored.
pub fn manifest(version: &Version) -> serde_json::Value {
    let line = version.object().split(|byte| *byte == b'\n').next().unwrap();
    serde_json::from_slice(line).unwrap()
}
