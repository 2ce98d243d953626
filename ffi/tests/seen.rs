//! The `seen` file: a store that shows an older version as the newest is found out, and a deletion by the vault's owner is
//! not mistaken for that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use embedded_store::{Options, Server};
use s3vault::op::{Content, DeleteObject, PutObject};
use s3vault::{Client, Code, Control, Error, Event, EventKind, Keyring, Settings, Vault, Version};
use s3vault_core::vault::signed;

struct Rig {
    store: Server,
    settings: Settings,
    keyring: Arc<Keyring>,
    client: Client,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        let store = Server::start(Options::new("access", "secret").bucket("seen")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = support::reaching(&store.url(), "seen");
        let client = Client::open(&settings, &mut Control::none()).unwrap();
        settings.set("seen", folder.path().join("seen").to_str().unwrap()).unwrap();
        Rig { store, settings, keyring: Arc::new(s3vault::keyring::generate().unwrap()), client, folder }
    }

    /// Another process of the same machine.
    fn vault(&self) -> Vault {
        Vault::open(&self.settings, Some(self.keyring.clone()), &mut Control::none()).unwrap()
    }

    fn put(&self, data: &[u8]) -> Version {
        let none = &mut Control::none();
        let mut put = self.vault().put("vm", "disk", &Settings::new(), none).unwrap();
        put.write(data, none).unwrap();
        put.commit(none).unwrap()
    }

    fn find(&self) -> Result<String, Error> {
        let found = self.vault().find("vm", "disk", &Settings::new(), &mut Control::none())?;
        Ok(found.row().vid.clone())
    }

    /// Hides an object, as anybody can who may delete.
    fn remove(&self, key: &str) {
        let op = DeleteObject { key: key.to_owned() };
        self.client.call(op, &mut Control::none()).unwrap();
    }

    fn write(&self, key: &str, object: Vec<u8>) {
        let op = PutObject::new(key, Content::Bytes(object.into()), Vec::new());
        self.client.call(op, &mut Control::none()).unwrap();
    }

    /// Writes the marker that deletes a version, as the owner of the keyring does.
    fn delete(&self, version: &Version) {
        let key = marker(version);
        let manifest = manifest(version);
        let json = serde_json::json!({
            "format": 1, "key": key, "vault": manifest["vault"], "container": "vm", "path": "disk",
            "vid": version.row().vid, "marker": "deleted",
        });
        self.write(&key, signed::encode(json.to_string().into_bytes(), Some(self.keyring.signing_key())));
    }

    fn notes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("seen")).unwrap();
        let notes = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        notes.map(|note| note["vid"].as_str().unwrap().to_owned()).collect()
    }
}

fn manifest(version: &Version) -> serde_json::Value {
    let object = std::str::from_utf8(version.object()).unwrap();
    serde_json::from_str(object.lines().next().unwrap()).unwrap()
}

fn row(version: &Version) -> String {
    manifest(version)["key"].as_str().unwrap().to_owned()
}

fn marker(version: &Version) -> String {
    format!("_s3vault/1/cat/vm/disk/{}.-d", version.row().vid)
}

#[test]
fn an_older_version_that_is_shown_as_the_newest_is_refused() {
    let rig = Rig::new();
    let (first, second) = (rig.put(b"1"), rig.put(b"2"));
    assert_eq!(rig.find().unwrap(), second.row().vid);
    rig.remove(&row(&second));
    for _ in 0..2 {
        let e = rig.find().unwrap_err();
        assert_eq!(e.code(), Code::RolledBack, "{e}");
        assert!(e.message().contains(&first.row().vid) && e.message().contains(&second.row().vid), "{e}");
    }
    // An unsigned marker explains nothing.
    rig.write(&marker(&second), Vec::new());
    assert_eq!(rig.find().unwrap_err().code(), Code::RolledBack);
    // A newer one is stored: all is as before.
    let third = rig.put(b"3");
    assert_eq!(rig.find().unwrap(), third.row().vid);
}

#[test]
fn a_version_that_its_owner_deleted_is_no_rollback() {
    let rig = Rig::new();
    let (first, second) = (rig.put(b"1"), rig.put(b"2"));
    rig.delete(&second);
    assert_eq!(rig.find().unwrap(), first.row().vid);
    assert_eq!(rig.notes().last(), Some(&first.row().vid), "the older one is the newest now");
    // The deletion is finished, and nothing of the version is left.
    rig.remove(&row(&second));
    rig.remove(&marker(&second));
    assert_eq!(rig.find().unwrap(), first.row().vid);
}

#[test]
fn what_is_found_or_stored_is_noted_once() {
    let rig = Rig::new();
    let (first, second) = (rig.put(b"1"), rig.put(b"2"));
    (0..3).for_each(|_| drop(rig.find().unwrap()));
    assert_eq!(rig.notes(), [first.row().vid.clone(), second.row().vid.clone()]);
}

/// Frees what was deleted: there is nothing left in the store that tells of it.
fn freed(rig: &Rig, version: &Version) {
    rig.remove(&row(version));
    rig.remove(&marker(version));
}

#[test]
fn what_this_machine_deleted_is_no_rollback_after_it_was_freed() {
    let none = &mut Control::none();
    let rig = Rig::new();
    let (first, second) = (rig.put(b"1"), rig.put(b"2"));
    let newest = rig.vault().find("vm", "disk", &Settings::new(), none).unwrap();
    newest.delete(&Settings::new(), none).unwrap();
    freed(&rig, &second);
    assert_eq!(rig.find().unwrap(), first.row().vid);
    // From now on, the older one is the newest that was seen.
    assert_eq!(rig.notes().last(), Some(&first.row().vid));
}

#[test]
fn what_a_sweep_of_this_machine_freed_is_no_rollback() {
    let rig = Rig::new();
    let (first, second) = (rig.put(b"1"), rig.put(b"2"));
    // Another machine deletes it.
    rig.delete(&second);
    rig.store.age("seen", ".-d", Duration::from_secs(3600)).unwrap();
    let sweep = |dry_run: &str| {
        let mut told = Vec::new();
        let mut on_event = |event: &Event<'_>| {
            told.extend(event.text.filter(|_| event.kind == EventKind::Item).map(str::to_owned));
            true
        };
        let mut control = Control { on_event: Some(&mut on_event), ..Control::none() };
        rig.vault().sweep(&support::settings(&[("dry_run", dry_run)]), &mut control).unwrap();
        told
    };
    for dry_run in ["true", "false"] {
        let told = sweep(dry_run);
        assert!(told.len() == 1 && told[0].contains(&second.row().vid), "the caller gets the item: {told:?}");
    }
    assert_eq!(rig.find().unwrap(), first.row().vid);
}

#[test]
fn what_only_would_be_freed_is_not_noted_and_the_hint_names_deletions_by_others() {
    let rig = Rig::new();
    let (_, second) = (rig.put(b"1"), rig.put(b"2"));
    rig.delete(&second);
    rig.store.age("seen", ".-d", Duration::from_secs(3600)).unwrap();
    rig.vault().sweep(&support::settings(&[("dry_run", "true")]), &mut Control::none()).unwrap();
    freed(&rig, &second);
    let e = rig.find().unwrap_err();
    assert!(e.code() == Code::RolledBack && e.hint().contains("whether another machine has deleted"), "{e}");
}
