//! The rules about what other programs wrote.

use s3vault_core::vault::manifest::Extent;
use s3vault_core::vault::objects::catalogue_prefix;
use s3vault_core::vault::{Kind, Vid};

use super::actor::{PATHS, name};
use super::plan::Op;
use super::rules::{Checked, Rules, Sender};
use super::snapshot::{Held, Snapshot};

/// An object of another program, as a row names it: an object that replaced it is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    key: String,
    id: String,
    etag: String,
}

/// The id of objects in a bucket without versions.
const NULL: &str = "null";

/// The backup whose row this is.
pub(super) fn name_of(key: &str) -> Result<usize, String> {
    let of = (0..PATHS.len()).find(|number| key.starts_with(&catalogue_prefix(&name(*number))));
    of.ok_or_else(|| format!("{key} is no row of a backup that other programs wrote"))
}

impl Snapshot {
    /// Whether this object is there, and no other one in its place.
    pub(super) fn has(&self, object: &Object) -> bool {
        let there = self.objects.get(&(object.key.clone(), object.id.clone()));
        there.is_some_and(|held| held.etag == object.etag)
    }
}

impl Rules {
    /// What the manifest of an adopted version names: an object that is there, which the vault did not write, and which no
    /// other version names.
    pub(super) fn adopted(
        &self,
        sender: &Sender,
        row: &str,
        vid: Vid,
        manifest: &serde_json::Value,
        extents: &[Extent],
        now: &Snapshot,
    ) -> Result<Option<Object>, String> {
        let (Op::Adopt { .. }, Some(etag), [extent]) = (sender.op, manifest["adopted"]["etag"].as_str(), extents)
        else {
            let is_adopted = !manifest["adopted"].is_null() || matches!(sender.op, Op::Adopt { .. });
            return if is_adopted { Err(format!("{row} names no object of another program")) } else { Ok(None) };
        };
        let id = extent.version_id.clone().unwrap_or_else(|| NULL.to_owned());
        let object = Object { key: extent.key.clone(), id: id.clone(), etag: etag.to_owned() };
        let there = now.objects.get(&(object.key.clone(), id));
        match there.filter(|held| held.etag == etag) {
            Some(Held { vid: Some(own), .. }) => return Err(format!("{row} adopts what the vault wrote as {own}")),
            None if !self.is_replaced(&object) => return Err(format!("{row} adopts {object:?}, which is gone")),
            _ => {}
        }
        match self.committed.iter().find(|(_, one)| one.adopted.as_ref() == Some(&object)) {
            Some((other, _)) if *other != vid => Err(format!("{row} adopts what version {other} names")),
            _ => Ok(Some(object)),
        }
    }

    /// The adopted version that names this object.
    pub(super) fn owner(&self, key: &str, id: &str, etag: &str) -> Option<Vid> {
        let is_it = |object: &Object| object.key == key && object.id == id && object.etag == etag;
        self.committed.iter().find(|(_, one)| one.adopted.as_ref().is_some_and(is_it)).map(|(vid, _)| *vid)
    }

    /// Whether another program replaced this object.
    pub(super) fn is_replaced(&self, object: &Object) -> bool {
        self.replaced.contains(&(object.key.clone(), object.etag.clone()))
    }

    /// Whether another program replaced the object of a key after this process started: nothing in S3 makes a deletion of
    /// a key depend on what is there.
    pub(super) fn is_replaced_since(&self, key: &str, id: &str, sender: &Sender) -> bool {
        id == NULL && self.written.get(key).is_some_and(|at| *at >= sender.since)
    }

    /// Whether a version has data, and all that it builds on, which no other program has replaced.
    pub(super) fn is_readable(&self, vid: Vid) -> bool {
        let Some(one) = self.committed.get(&vid) else { return false };
        one.row.kind != Kind::Del && !one.adopted.as_ref().is_some_and(|object| self.is_replaced(object))
    }

    /// Whether the object of an adopted version is there.
    pub(super) fn has_adopted(&self, vid: Vid, now: &Snapshot) -> bool {
        self.committed.get(&vid).and_then(|one| one.adopted.as_ref()).is_some_and(|object| now.has(object))
    }

    /// Every object of other programs is named by one version, after an adoption without faults.
    pub(super) fn all_adopted(&self, now: &Snapshot) -> Checked {
        let is_foreign = |(id, held): &(&(String, String), &Held)| held.vid.is_none() && !id.0.starts_with("_s3vault/");
        for ((key, id), held) in now.objects.iter().filter(is_foreign) {
            let owner = self.owner(key, id, &held.etag).and_then(|vid| self.committed.get(&vid));
            if !owner.is_some_and(|one| now.rows.contains(&one.key)) {
                return Err(format!("{id} of {key} was not adopted"));
            }
        }
        Ok(())
    }
}
