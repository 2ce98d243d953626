//! Another program with the vault's keyring, which deletes as `docs/format.md` says: one object for each deletion, written
//! from that page alone.

use s3_model::{Attributes, Received, WriteCondition};
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::vault::objects::{catalogue_prefix, locators_prefix};
use s3vault_core::vault::signed::encode;
use s3vault_core::vault::{Kind, Name, Vid};
use serde_json::{Value, json};

use super::operation::name;
use super::outcome::Outcome;
use super::reference::Version;
use super::run::{Checked, Run};
use super::sequence::{NAMES, Op};
use crate::content::Content;
use crate::store::at;

/// The id of the vault.
pub(super) const VAULT_ID: &str = "00112233445566778899aabbccddeeff";

/// An object of the catalogue: its key and its bytes.
struct Object {
    key: String,
    bytes: Vec<u8>,
}

/// The marker that hides a version.
fn marker(keyring: &Keyring, name: &Name, vid: Vid) -> Object {
    object(keyring, name, vid, "-d", json!({ "marker": "deleted" }))
}

/// The row that says that the backup was deleted.
fn deleted(keyring: &Keyring, name: &Name, vid: Vid, recorded_ms: i64) -> Object {
    let rest = json!({
        "kind": "del", "initiated": recorded_ms, "completed": recorded_ms, "recorded": recorded_ms,
        "stored": recorded_ms, "size": 0, "extents": [],
    });
    object(keyring, name, vid, &format!("{recorded_ms}.del.0.-"), rest)
}

fn object(keyring: &Keyring, name: &Name, vid: Vid, end: &str, rest: Value) -> Object {
    let key = format!("{}{vid}.{end}", catalogue_prefix(name));
    let mut all = json!({
        "format": 1, "key": key, "vault": VAULT_ID, "container": name.container(), "path": name.path(),
        "vid": vid.to_string(),
    });
    if let (Some(all), Value::Object(rest)) = (all.as_object_mut(), rest) {
        all.extend(rest);
    }
    let bytes = encode(all.to_string().into_bytes(), Some(keyring.signing_key()));
    Object { key, bytes }
}

impl Run {
    /// What another program does.
    pub(super) fn stranger(&mut self, op: Op) -> Checked<Outcome> {
        let (index, number) = match op {
            Op::Delete { name, pick } => {
                let own = self.reference.of(name);
                (name, pick.checked_rem(own.len()).map(|pick| own[pick]))
            }
            Op::Remove { name } | Op::Undelete { name } => (name, self.reference.of(name).first().copied()),
            _ => return Err(format!("another program cannot do {op:?}")),
        };
        let Some(number) = number else { return Ok(Outcome::Nothing) };
        let (vid, is_deleted) = {
            let version = &self.reference.versions[number];
            (version.vid, version.kind == Kind::Del)
        };
        match op {
            Op::Remove { .. } if !is_deleted => {
                self.sources += 1;
                let newest = self.reference.all(index)[0];
                let after = self.reference.versions[newest].vid.unix_ms() + 1;
                let (clock, mut entropy) = (self.clock(), [0; 10]);
                entropy[..4].copy_from_slice(&self.sources.to_be_bytes());
                let vid = Vid::new(clock.max(after), entropy);
                self.place(index, deleted(&self.keyring, &name(index), vid, clock))?;
                self.reference.versions.push(Version::deleted(index, vid, clock));
                return Ok(Outcome::Deleted(self.reference.versions.len() - 1));
            }
            Op::Remove { .. } => return Ok(Outcome::Nothing),
            Op::Undelete { .. } if !is_deleted => return Ok(Outcome::Nothing),
            Op::Delete { .. } if self.reference.has_dependent(number) || self.is_awaited(index, vid) => {
                return Ok(Outcome::Kept);
            }
            _ => {}
        }
        self.place(index, marker(&self.keyring, &name(index), vid))?;
        self.reference.versions[number].is_hidden = true;
        Ok(Outcome::Deleted(number))
    }

    /// Whether the locator of some put of its backup names this version as its parent.
    fn is_awaited(&self, index: usize, vid: Vid) -> bool {
        let bucket = self.buckets.get(NAMES[index].0).and_then(|bucket| self.store.bucket(bucket).ok());
        // A put of another backup that named it was refused, and may have left its locator.
        let (locators, end) = (locators_prefix(&name(index)), format!(".{vid}"));
        bucket.is_some_and(|bucket| bucket.keys(&locators).any(|(key, _)| key.ends_with(&end)))
    }

    /// Stores an object of another program.
    fn place(&mut self, index: usize, object: Object) -> Checked<()> {
        let Some(bucket) = self.buckets.get(NAMES[index].0) else { return Err("there is no bucket".to_owned()) };
        let content = Content::bytes(&object.bytes);
        let (etag, crc64nvme) = (content.md5(), content.digest().crc64nvme);
        let received = Received { content, etag, crc64nvme, checksum: None };
        let stored = s3_model::Object::whole(received, Attributes::default());
        let now = at(self.clock());
        let put = self.store.put(bucket, &object.key, stored, &WriteCondition::None, now);
        put.map(|_| ()).map_err(|refusal| format!("another program cannot write: {refusal:?}"))
    }
}
