//! What earlier commits wrote is listed, restored and verified, byte for byte: `tests/cases/written` has a bucket of each.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use embedded_store::{Options, Server};
use s3vault::op::{Content, PutObject};
use s3vault::{Client, Control, Settings, Vault};
use serde_json::Value;

/// The bytes that `write.py` stored.
fn content(of: &Value) -> Vec<u8> {
    let (seed, size) = (of[0].as_u64().unwrap(), of[1].as_u64().unwrap() as usize);
    let block: Vec<u8> = (0..1u64 << 16).map(|i| (i * 31 + (i >> 8) * 7 + seed) as u8).collect();
    block.iter().copied().cycle().take(size).collect()
}

/// A store with the bucket, version ids included.
fn load(written: &Value) -> (Server, Settings) {
    let bucket = written["bucket"].as_str().unwrap();
    let store = Server::start(Options::new("access", "secret").bucket(bucket)).unwrap();
    let mut settings = support::reaching(&store.url(), bucket);
    settings.set("verify_keys", written["public_key"].as_str().unwrap()).unwrap();
    let client = Client::open(&settings, &mut Control::none()).unwrap();
    for object in written["objects"].as_array().unwrap() {
        let key = object["key"].as_str().unwrap();
        let body = match &object["base64"] {
            Value::String(text) => STANDARD.decode(text).unwrap(),
            _ => content(&object["content"]),
        };
        let metadata = object["metadata"].as_object().unwrap().iter();
        let headers =
            metadata.map(|(name, value)| (format!("x-amz-meta-{name}"), value.as_str().unwrap().to_owned())).collect();
        client.call(PutObject::new(key, Content::Bytes(body.into()), headers), &mut Control::none()).unwrap();
        store.set_version_id(bucket, key, object["version_id"].as_str().unwrap()).unwrap();
    }
    (store, settings)
}

#[test]
fn every_backup_of_the_last_commit_before_the_vault_is_restored() {
    let written: Value = serde_json::from_str(include_str!("../../tests/cases/written/5c0b324.json")).unwrap();
    let (_store, settings) = load(&written);
    let none = &mut Control::none();
    let vault = Vault::open(&settings, None, none).unwrap();
    let mut list = vault.versions(None, None, &Settings::new()).unwrap();
    let mut listed = Vec::new();
    while let Some(row) = list.next(none).unwrap() {
        listed.push((row.container, row.path, row.vid, row.bytes, row.parent));
    }
    let mut expected = Vec::new();
    for backup in written["backups"].as_array().unwrap() {
        let text = |field: &str| backup[field].as_str().unwrap().to_owned();
        let (container, path, vid, bytes) = (text("container"), text("path"), text("vid"), content(&backup["content"]));
        let version = vault.find(&container, &path, &support::settings(&[("version", &vid)]), none).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("restored");
        version.restore(&file, &Settings::new(), none).unwrap();
        assert!(std::fs::read(&file).unwrap() == bytes, "{container} {path} {vid}");
        expected.push((container, path, vid, bytes.len() as u64, backup["parent"].as_str().map(str::to_owned)));
    }
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    // A put of today's library continues the same backup, and describes the vault with the same bytes.
    let newest = vault.find("web01", "stream", &Settings::new(), none).unwrap();
    let mut put = vault.put("web01", "stream", &Settings::new(), none).unwrap();
    put.write(b"newer", none).unwrap();
    let newer = put.commit(none).unwrap();
    assert!(newer.row().vid < newest.row().vid, "version ids sort newest first");
}
