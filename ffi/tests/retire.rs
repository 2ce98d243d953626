//! The retirement of a key-encryption key (KEK) through the Rust API, on an embedded store, in all modes: what it waits
//! for, what it refuses, and what it leaves in the keyring's file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use embedded_store::{Options, Server, Versioning};
use s3vault::keyring::{Keys, escrow};
use s3vault::{Client, Code, Control, RetireState, Retirement, Settings, Vault, op};
use support::bytes;

const MODES: [&str; 4] = ["single-bucket", "single-bucket-no-versioning", "per-vm", "per-vm-emulated"];

struct Rig {
    store: Server,
    settings: Settings,
    folder: tempfile::TempDir,
    keys: Keys,
    /// The KEK that is replaced.
    old: String,
}

/// A vault with two backups, in containers of their own, under the old KEK; another KEK is current now.
fn rig(mode: &str) -> Rig {
    let mut options = Options::new("access", "secret").bucket("keys");
    options.buckets.push(("plain".into(), Versioning::Off));
    let store = Server::start(options).unwrap();
    let own: &[(&str, &str)] = match mode {
        "single-bucket" => &[],
        "single-bucket-no-versioning" => &[("mode", "single-bucket-no-versioning"), ("bucket", "plain")],
        "per-vm" => &[("mode", "bucket-per-vm"), ("bucket", ""), ("bucket_prefix", "vm-")],
        _ => &[("mode", "bucket-per-vm"), ("bucket", ""), ("bucket_prefix", "vm-"), ("per_vm_versioning", "emulated")],
    };
    let mut settings = support::reaching(&store.url(), "keys");
    for (key, value) in own.iter().chain(&[("encryption", "envelope")]) {
        settings.set(key, value).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::create(&folder.path().join("vault.keys")).unwrap();
    let old = keys.keyring().current_kek().unwrap().id().to_owned();
    let rig = Rig { store, settings, folder, keys, old };
    rig.put("a");
    rig.put("b");
    let new = rig.keys.add().unwrap();
    let recipient = "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef";
    let reader = escrow::Reader::new("recipients", recipient.as_bytes()).unwrap();
    rig.keys.export(None, &reader, None).unwrap();
    rig.keys.activate(&new).unwrap();
    rig
}

impl Rig {
    fn vault(&self) -> Vault {
        Vault::open(&self.settings, Some(self.keys.keyring()), &mut Control::none()).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("vault.keys")
    }

    fn put(&self, container: &str) {
        let none = &mut Control::none();
        let mut put = self.vault().put(container, "disk", &Settings::new(), none).unwrap();
        put.write(&bytes(1000), none).unwrap();
        put.commit(none).unwrap();
    }

    fn retire(&self) -> Retirement {
        self.vault().retire(&self.keys, &self.old, &mut Control::none()).unwrap()
    }

    fn rotate(&self) {
        let report = self.vault().rotate(&Settings::new(), &mut Control::none()).unwrap();
        assert_eq!(report.problems, 0, "{report:?}");
    }

    fn buckets(&self) -> Vec<String> {
        let client = Client::open(&self.settings, &mut Control::none()).unwrap();
        let list = op::ListBuckets::default();
        client.call(list, &mut Control::none()).unwrap().buckets.into_iter().map(|bucket| bucket.name).collect()
    }

    /// Makes the markers so old that every put from before them has ended.
    fn age_markers(&self) {
        for bucket in self.buckets() {
            self.store.age(&bucket, ".closed", Duration::from_secs(2 * 3600)).unwrap();
        }
    }

    fn assert_restores(&self, container: &str) {
        let keyring = std::sync::Arc::new(s3vault::keyring::open(&self.file()).unwrap());
        let vault = Vault::open(&self.settings, Some(keyring), &mut Control::none()).unwrap();
        let version = vault.find(container, "disk", &Settings::new(), &mut Control::none()).unwrap();
        let restored = self.folder.path().join("restored");
        version.restore(&restored, &Settings::new(), &mut Control::none()).unwrap();
        assert!(fs::read(restored).unwrap() == bytes(1000));
    }

    fn has_old(&self) -> bool {
        s3vault::keyring::open(&self.file()).unwrap().kek(&self.old).is_some()
    }
}

#[test]
fn a_key_is_retired_after_the_rotation_and_the_wait_and_everything_restores() {
    for mode in MODES {
        let rig = rig(mode);
        rig.rotate();
        let first = rig.retire();
        assert_eq!((first.state(), first.needed()), (RetireState::Waiting, 0), "{mode}");
        assert!(first.wait_until_ms().unwrap() > 1_764_000_000_000, "{mode}");
        let again = rig.retire();
        assert_eq!(again.state(), RetireState::Waiting, "{mode}: the marker is young");
        assert!(rig.has_old(), "{mode}");
        rig.age_markers();
        let last = rig.retire();
        assert_eq!((last.state(), last.wait_until_ms()), (RetireState::Retired, None), "{mode}");
        assert!(!rig.has_old(), "{mode}");
        assert_eq!(s3vault::keyring::open(&rig.file()).unwrap().retired(), std::slice::from_ref(&rig.old), "{mode}");
        rig.assert_restores("a");
        rig.assert_restores("b");
        assert_eq!(rig.retire(), last, "{mode}: it can be repeated");
    }
}

#[test]
fn a_key_that_versions_need_is_kept_and_they_are_named() {
    for mode in MODES {
        let rig = rig(mode);
        rig.retire();
        rig.age_markers();
        let needed = rig.retire();
        assert_eq!((needed.state(), needed.needed()), (RetireState::Needed, 2), "{mode}");
        let mut named: Vec<_> = needed.first().iter().map(|key| &key[..17]).collect();
        named.sort();
        assert_eq!(named, ["_s3vault/1/loc/a/", "_s3vault/1/loc/b/"], "{mode}");
        let json: serde_json::Value = serde_json::from_str(&needed.to_json()).unwrap();
        assert_eq!((&json["state"], &json["needed"], &json["wait_until"]), (&"needed".into(), &2.into(), &().into()));
        assert!(rig.has_old(), "{mode}");
        rig.rotate();
        assert_eq!(rig.retire().state(), RetireState::Retired, "{mode}");
    }
}

/// A bucket of a container that needs the key, or may need it, keeps it, whatever the others say.
#[test]
fn the_buckets_of_all_containers_count() {
    let rig = rig("per-vm");
    let of = |container: &str| {
        let start = format!("vm-{container}-");
        rig.buckets().into_iter().find(|name| name.starts_with(&start)).unwrap()
    };
    let (a, b) = (of("a"), of("b"));
    rig.retire();
    rig.store.age(&a, ".closed", Duration::from_secs(2 * 3600)).unwrap();
    let found = rig.retire();
    assert_eq!((found.state(), found.needed()), (RetireState::Needed, 1), "a needs it");
    assert!(found.wait_until_ms().is_some(), "b waits: {found:?}");
    rig.rotate();
    assert_eq!(rig.retire().state(), RetireState::Waiting, "b waits");
    rig.store.age(&b, ".closed", Duration::from_secs(2 * 3600)).unwrap();
    // It could be the vault's, and cannot be read.
    let fault = r#"{"operation": "GetObject", "target": "BUCKET/_s3vault/vault.json", "times": 1,
        "answer": {"status": 403, "code": "AccessDenied"}}"#;
    rig.store.fault(serde_json::from_str(&fault.replace("BUCKET", &b)).unwrap()).unwrap();
    let e = rig.vault().retire(&rig.keys, &rig.old, &mut Control::none()).unwrap_err();
    assert_eq!(e.code(), Code::AccessDenied, "{e}");
    assert!(rig.has_old());
    assert_eq!(rig.retire().state(), RetireState::Retired);
}

#[test]
fn what_is_current_unknown_or_of_another_keyring_is_refused_before_a_request() {
    let rig = rig("single-bucket");
    let vault = rig.vault();
    let current = rig.keys.keyring().current_kek().unwrap().id().to_owned();
    let refused = |keys: &Keys, kek: &str| vault.retire(keys, kek, &mut Control::none()).unwrap_err();
    let e = refused(&rig.keys, &current);
    assert!(e.code() == Code::Keyring && e.message().contains("is current"), "{e}");
    let e = refused(&rig.keys, "0123456789abcdef");
    assert!(e.code() == Code::Keyring && e.hint().contains(&current) && e.hint().contains(&rig.old), "{e:?}");
    let other = Keys::in_memory(s3vault::keyring::generate().unwrap());
    assert!(refused(&other, &rig.old).message().contains("another keyring"));
    let unsigned = Vault::open(&rig.settings, None, &mut Control::none()).unwrap();
    let e = unsigned.retire(&rig.keys, &rig.old, &mut Control::none()).unwrap_err();
    assert_eq!(e.code(), Code::Keyring, "{e}");
    let listed = op::ListObjectsV2 { prefix: "_s3vault/1/kek/".into(), ..Default::default() };
    let client = Client::open(&rig.settings, &mut Control::none()).unwrap();
    assert!(client.call(listed, &mut Control::none()).unwrap().objects.is_empty(), "nothing was closed");
}

/// As after a crash between the look and the write of the file.
#[test]
fn a_keyring_that_cannot_be_written_keeps_the_key_and_the_next_run_drops_it() {
    let rig = rig("single-bucket");
    rig.rotate();
    rig.retire();
    rig.age_markers();
    let before = fs::read(rig.file()).unwrap();
    fs::set_permissions(rig.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let e = rig.vault().retire(&rig.keys, &rig.old, &mut Control::none()).unwrap_err();
    assert_eq!(e.code(), Code::Keyring, "{e}");
    assert_eq!(fs::read(rig.file()).unwrap(), before);
    fs::set_permissions(rig.file(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(rig.retire().state(), RetireState::Retired);
    assert!(!rig.has_old());
    rig.assert_restores("a");
}

#[test]
fn a_process_that_still_has_the_key_neither_stores_with_it_nor_brings_it_back() {
    let rig = rig("single-bucket");
    let older = Keys::open(&rig.file()).unwrap();
    older.activate(&rig.old).unwrap();
    let vault = Vault::open(&rig.settings, Some(older.keyring()), &mut Control::none()).unwrap();
    rig.keys.activate(rig.keys.keyring().keks()[1].id()).unwrap();
    rig.rotate();
    rig.retire();
    rig.age_markers();
    assert_eq!(rig.retire().state(), RetireState::Retired);
    let none = &mut Control::none();
    let put = vault.put("a", "disk", &Settings::new(), none).and_then(|mut put| {
        put.write(&bytes(10), none)?;
        put.commit(none).map(|_| ())
    });
    assert_eq!(put.unwrap_err().code(), Code::Keyring);
    older.add().unwrap();
    assert!(!rig.has_old());
}
