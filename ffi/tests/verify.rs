//! Verification and adoption through the Rust API, on an embedded store: damaged, missing and untrusted are told apart, a
//! run that was stopped continues, a sample covers everything in turn, and what other programs wrote is restored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use embedded_store::{Options, Server, Versioning};
use s3vault::op::{Content, DeleteObject, PutObject};
use s3vault::{
    Client, Code, Control, Error, Event, EventKind, Keyring, Settings, Vault, Verdict, VerifyReport, Version,
};
use s3vault_core::vault::signed;
use serde_json::Value;
use support::settings;

struct Rig {
    _store: Server,
    vault: Vault,
    client: Client,
    keyring: Arc<Keyring>,
}

/// A vault in a bucket without versioning, in which other programs can replace a version's data.
fn emulated() -> Rig {
    rig(&[("mode", "single-bucket-no-versioning"), ("bucket", "plain")])
}

fn rig(changes: &[(&str, &str)]) -> Rig {
    let mut options = Options::new("access", "secret").bucket("versioned");
    options.buckets.push(("plain".into(), Versioning::Off));
    let store = Server::start(options).unwrap();
    let mut settings = support::reaching(&store.url(), "versioned");
    for (key, value) in changes {
        settings.set(key, value).unwrap();
    }
    let none = &mut Control::none();
    let keyring = Arc::new(s3vault::keyring::generate().unwrap());
    let vault = Vault::open(&settings, Some(keyring.clone()), none).unwrap();
    let bucket = changes.iter().find(|(key, value)| *key == "bucket" && !value.is_empty());
    let bucket = bucket.map_or("versioned", |(_, bucket)| bucket);
    let client = Client::open(&support::reaching(&store.url(), bucket), none).unwrap();
    Rig { _store: store, vault, client, keyring }
}

impl Rig {
    fn put(&self, path: &str, bytes: &[u8]) -> Version {
        let none = &mut Control::none();
        let mut put = self.vault.put("vm", path, &Settings::new(), none).unwrap();
        put.write(bytes, none).unwrap();
        put.commit(none).unwrap()
    }

    /// Another program stores an object.
    fn put_object(&self, key: &str, bytes: &[u8]) {
        let content = Content::Bytes(bytes.to_vec().into());
        self.client.call(PutObject::new(key, content, Vec::new()), &mut Control::none()).unwrap();
    }

    /// Writes the marker that deletes a version, as the owner of the keyring does, without a look at what builds on it.
    fn mark_deleted(&self, version: &Version) {
        let vid = &version.row().vid;
        let manifest: Value = serde_json::from_slice(first_line(version)).unwrap();
        let key = format!("_s3vault/1/cat/vm/disk/{vid}.-d");
        let json = serde_json::json!({
            "format": 1, "key": key, "vault": manifest["vault"], "container": "vm", "path": "disk", "vid": vid,
            "marker": "deleted",
        });
        self.put_object(&key, &signed::encode(json.to_string().into_bytes(), Some(self.keyring.signing_key())));
    }

    fn delete_object(&self, key: &str) {
        self.client.call(DeleteObject { key: key.into() }, &mut Control::none()).unwrap();
    }

    fn find(&self, path: &str) -> Version {
        self.vault.find("vm", path, &Settings::new(), &mut Control::none()).unwrap()
    }

    /// Verifies; the call is stopped after this many items.
    fn verify(&self, options: &[(&str, &str)], most: usize) -> (Result<VerifyReport, Error>, Vec<Value>) {
        let mut items = Vec::new();
        let mut on_event = |event: &Event<'_>| {
            if event.kind == EventKind::Item {
                items.push(serde_json::from_str(event.text.unwrap()).unwrap());
            }
            items.len() < most
        };
        let mut control = Control { on_event: Some(&mut on_event), ..Control::none() };
        let result = self.vault.verify(&settings(options), &mut control);
        (result, items)
    }
}

fn first_line(version: &Version) -> &[u8] {
    version.object().split(|byte| *byte == b'\n').next().unwrap()
}

fn key_of(version: &Version) -> String {
    let manifest: Value = serde_json::from_slice(first_line(version)).unwrap();
    manifest["extents"][0]["key"].as_str().unwrap().to_owned()
}

fn row_key_of(version: &Version) -> String {
    let manifest: Value = serde_json::from_slice(first_line(version)).unwrap();
    manifest["key"].as_str().unwrap().to_owned()
}

#[test]
fn damaged_missing_and_untrusted_are_told_apart() {
    let rig = emulated();
    let versions = ["good", "damaged", "missing", "untrusted"].map(|path| rig.put(path, b"a backup"));
    rig.put_object(&key_of(&versions[1]), b"A backup");
    rig.delete_object(&key_of(&versions[2]));
    rig.put_object(&row_key_of(&versions[3]), b"{}\n");
    let (report, items) = rig.verify(&[], usize::MAX);
    let report = report.unwrap();
    let numbers = [report.versions, report.good, report.damaged, report.missing, report.untrusted, report.unverifiable];
    assert_eq!(numbers, [4, 1, 1, 1, 1, 0], "{}", report.to_json());
    assert!(report.has_bad() && report.bytes == 8);
    for item in &items {
        assert_eq!(item["verdict"], item["path"], "{item}");
    }
    assert_eq!((items.len(), report.not_good.len()), (4, 3));
    let damaged = versions[1].verify(&Settings::new(), &mut Control::none()).unwrap();
    assert_eq!(damaged.verdict, Verdict::Damaged);
    let bad = damaged.bad.unwrap();
    assert_eq!((bad.number, bad.extent, bad.offset, bad.length, bad.key), (1, 1, 0, 8, key_of(&versions[1])));
    let (one, _) = rig.verify(&[("container", "vm"), ("path", "good")], usize::MAX);
    let one = one.unwrap();
    assert!((one.versions, one.good) == (1, 1) && !one.has_bad());
}

#[test]
fn a_run_that_was_stopped_continues_with_its_state_file() {
    let rig = emulated();
    for n in 0..10 {
        rig.put(&format!("disk{n}"), &support::bytes(100 + n));
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let state = state.to_str().unwrap();
    let (stopped, first) = rig.verify(&[("state", state)], 3);
    assert_eq!(stopped.unwrap_err().code(), Code::Stopped);
    assert_eq!(first.len(), 3);
    let (other, _) = rig.verify(&[("state", state), ("sample", "50")], usize::MAX);
    let e = other.unwrap_err();
    assert!(e.code() == Code::InvalidOption && e.message().contains("another verification"), "{e}");
    // A line that was not written completely counts as not written.
    let text = std::fs::read_to_string(state).unwrap();
    std::fs::write(state, &text[..text.len() - 5]).unwrap();
    let (report, rest) = rig.verify(&[("state", state)], usize::MAX);
    let report = report.unwrap();
    assert_eq!((report.good, report.resumed, rest.len()), (10, 2, 8), "{}", report.to_json());
    assert!(!std::path::Path::new(state).exists(), "nothing is left of a run that ended");
    std::fs::write(state, "something else\n").unwrap();
    let (refused, _) = rig.verify(&[("state", state)], usize::MAX);
    assert_eq!(refused.unwrap_err().code(), Code::InvalidOption);
    assert_eq!(std::fs::read_to_string(state).unwrap(), "something else\n");
}

#[test]
fn samples_with_consecutive_seeds_cover_every_version() {
    let rig = emulated();
    for n in 0..12 {
        rig.put(&format!("disk{n}"), b"x");
    }
    let mut seen = BTreeSet::new();
    for seed in 7..11 {
        let (report, items) = rig.verify(&[("sample", "25"), ("sample_seed", &seed.to_string())], usize::MAX);
        let report = report.unwrap();
        assert!(report.versions == 12 && report.chosen >= 1 && report.chosen < 12, "{}", report.to_json());
        seen.extend(items.into_iter().map(|item| item["path"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen.len(), 12);
    let (few, items) = rig.verify(&[("container", "vm"), ("path", "disk0"), ("sample", "1")], usize::MAX);
    assert_eq!((few.unwrap().chosen, items.len()), (1, 1), "at least one version");
}

#[test]
fn what_another_program_wrote_is_adopted_restored_and_verified() {
    for changes in [&[][..], &[("mode", "single-bucket-no-versioning"), ("bucket", "plain")]] {
        let rig = rig(changes);
        let data = support::bytes(9 << 20);
        rig.put_object("vm/disk", &data);
        rig.put_object("vm/empty", b"");
        let none = &mut Control::none();
        let dry = rig.vault.adopt(&settings(&[("dry_run", "true")]), none).unwrap();
        assert_eq!((dry.adopted, dry.problems), (2, 0), "{dry:?}");
        let report = rig.vault.adopt(&settings(&[("container", "vm")]), none).unwrap();
        assert_eq!((report.adopted, report.problems), (2, 0), "{report:?}");
        let version = rig.find("disk");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        let mut logged = String::new();
        let mut on_event = |event: &Event<'_>| {
            logged += event.text.unwrap_or_default();
            true
        };
        let mut control = Control { on_event: Some(&mut on_event), ..Control::none() };
        version.restore(&file, &Settings::new(), &mut control).unwrap();
        assert!(std::fs::read(&file).unwrap() == data, "{changes:?}");
        assert!(logged.contains("was adopted without hashes: its size and its MD5"), "{changes:?} {logged}");
        let mut get = version.open(&Settings::new(), none).unwrap();
        let (mut read, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            match get.read(&mut buffer, none).unwrap() {
                0 => break,
                count => read.extend_from_slice(&buffer[..count]),
            }
        }
        assert!(read == data);
        let mut middle = [0; 10];
        assert_eq!(get.positional().read(5 << 20, &mut middle, none).unwrap(), 10);
        assert_eq!(middle, data[5 << 20..][..10]);
        assert_eq!(rig.find("empty").verify(&Settings::new(), none).unwrap().verdict, Verdict::Good);
        let (report, _) = rig.verify(&[], usize::MAX);
        let report = report.unwrap();
        assert_eq!((report.good, report.bytes), (2, 9 << 20), "{}", report.to_json());
        // With hashes, later: the same versions.
        let hashed = rig.vault.adopt(&settings(&[("hash", "true")]), none).unwrap();
        assert_eq!((hashed.adopted, hashed.kept), (2, 0), "{hashed:?}");
        let again = rig.find("disk");
        assert_eq!(again.row().vid, version.row().vid);
        let verified = again.verify(&Settings::new(), none).unwrap();
        assert_eq!((verified.verdict, verified.parts), (Verdict::Good, 1), "{}", verified.to_json());
        assert_eq!(rig.vault.adopt(&settings(&[("hash", "true")]), none).unwrap().kept, 2);
    }
}

#[test]
fn only_the_containers_own_buckets_can_be_adopted_where_each_has_one() {
    let rig = rig(&[("mode", "bucket-per-vm"), ("bucket", ""), ("bucket_prefix", "vm-")]);
    let adopt = |buckets: &str| rig.vault.adopt(&settings(&[("adopt_buckets", buckets)]), &mut Control::none());
    let e = adopt("versioned=vm").unwrap_err();
    assert!(e.code() == Code::InvalidOption && e.message().contains("whose bucket is vm-vm-lphjr5z7h3"), "{e}");
    assert!(e.hint().contains("Copy its objects into the container's own bucket"), "{}", e.hint());
    assert_eq!(adopt("versioned").unwrap_err().code(), Code::InvalidOption);
    let e = emulated().vault.adopt(&settings(&[("adopt_buckets", "plain=vm")]), &mut Control::none()).unwrap_err();
    assert!(e.message().contains("this vault has one bucket"), "{e}");
}

/// A put that started before its parent was deleted leaves an incremental whose parent is hidden.
#[test]
fn a_hidden_version_that_another_needs_is_verified_and_restored() {
    let none = &mut Control::none();
    let rig = emulated();
    let full = rig.put("disk", b"full");
    let options = settings(&[("kind", "incremental"), ("parent", &full.row().vid)]);
    let mut put = rig.vault.put("vm", "disk", &options, none).unwrap();
    put.write(b"changes", none).unwrap();
    let incremental = put.commit(none).unwrap();
    // Written by somebody who looked before the incremental was started.
    rig.mark_deleted(&full);
    let (report, items) = rig.verify(&[], 100);
    let report = report.unwrap();
    assert_eq!((report.versions, report.hidden, report.good), (2, 1, 2), "{}", report.to_json());
    assert_eq!(items.len(), 2);
    let vids: BTreeSet<&str> = items.iter().map(|item| item["vid"].as_str().unwrap()).collect();
    assert_eq!(vids, BTreeSet::from([&*full.row().vid, &*incremental.row().vid]));
    let by_id = |version: &Version| settings(&[("version", &version.row().vid)]);
    rig.vault.find("vm", "disk", &by_id(&full), none).unwrap().verify(&Settings::new(), none).unwrap();

    // Its data is gone: the incremental alone looks good, and cannot be restored.
    rig.delete_object(&key_of(&full));
    let report = rig.verify(&[], 100).0.unwrap();
    assert_eq!((report.good, report.missing, report.hidden), (1, 1, 1), "{}", report.to_json());
    // So is all of it.
    rig.delete_object(&row_key_of(&full));
    let (report, items) = rig.verify(&[("container", "vm")], 100);
    let report = report.unwrap();
    assert_eq!((report.good, report.missing, report.hidden), (1, 1, 1), "{}", report.to_json());
    assert!(items.iter().any(|item| item["vid"] == *full.row().vid && item["verdict"] == "missing"), "{items:?}");
}
