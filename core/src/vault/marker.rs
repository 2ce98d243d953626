//! Markers: small signed objects in the catalogue that say something about a version. They are the same bytes no matter who
//! writes them, and never withdrawn, except that a finished sweep removes one whose version turned out to be alive.
//!
//! Text without a signature decides nothing: in a vault that trusts a key, what hides a version (a marker, a `del` row, a
//! row in the future) counts only once it was read and verified. [`Vault::must_prove`] says what has to be read, and
//! [`Vault::prove`] verifies it. What was verified is remembered, since it never changes; what was not is read again, since
//! its owner may replace a forgery.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::manifest::Opened;
use super::names::Name;
use super::objects::{CatalogueKey, Entry, catalogue_prefix};
use super::signed::{self, FORMAT};
use super::vid::Vid;
use super::{Vault, manifest};
use crate::account::Bucket;
use crate::crypto::keyring::SigningKey;
use crate::error::{Code, Error, Result};
use crate::text::presentable_key;

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// The version is deleted: readers hide it, and its data goes when nothing depends on it.
    Deleted,
    /// Sweep suspects that the put was abandoned. Readers ignore it, and its put gives the version up.
    Suspected,
}

impl Mark {
    /// The key of this marker for a version.
    pub(crate) fn key(self, name: &Name, vid: Vid) -> String {
        let letter = match self {
            Mark::Deleted => 'd',
            Mark::Suspected => 's',
        };
        format!("{}{vid}.-{letter}", catalogue_prefix(name))
    }
}

/// A marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    format: u32,
    /// Key of this object.
    pub key: String,
    /// The vault's id.
    pub vault: String,
    /// The container.
    pub container: String,
    /// The path.
    pub path: String,
    /// The version id.
    pub vid: String,
    /// What it says.
    pub marker: Mark,
}

/// Maximum size of a marker that is read, in bytes: names are escaped, and have up to 900 bytes.
const MARKER_LIMIT: usize = 32 << 10;

impl Marker {
    /// A marker for a version.
    pub(crate) fn new(vault: &str, name: &Name, vid: Vid, marker: Mark) -> Marker {
        Marker {
            format: FORMAT,
            key: marker.key(name, vid),
            vault: vault.to_owned(),
            container: name.container().to_owned(),
            path: name.path().to_owned(),
            vid: vid.to_string(),
            marker,
        }
    }

    /// The object to store.
    pub(crate) fn to_object(&self, key: Option<&SigningKey>) -> Vec<u8> {
        signed::encode(serde_json::to_vec(self).unwrap_or_default(), key)
    }

    /// Parses the JSON of an object that was found at a key.
    pub(crate) fn parse(json: &[u8], found_at: &str) -> Result<Marker> {
        let marker: Marker = signed::parse(json, Some(found_at))?;
        let own = Name::new(&marker.container, &marker.path).and_then(|name| Ok((name, Vid::parse(&marker.vid)?)));
        match own {
            Ok((name, vid)) if marker.marker.key(&name, vid) == marker.key => Ok(marker),
            _ => {
                let why =
                    format!("the marker at {} is not valid: its key does not match it", presentable_key(found_at));
                Err(Error::new(Code::Format, why))
            }
        }
    }
}

/// Keys of objects that were verified. Bounded: a vault may have millions of markers.
#[derive(Debug, Default)]
pub(super) struct Proven(Mutex<HashSet<String>>);

/// Most keys that are remembered: about 2 MB.
const REMEMBERED: usize = 10_000;

impl Proven {
    fn contains(&self, key: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn add(&self, key: &str) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= REMEMBERED {
            keys.clear();
        }
        keys.insert(key.to_owned());
    }
}

impl Vault {
    /// Whether an object of the catalogue that hides something counts only once it was read and verified. Returns the most
    /// bytes to read of it.
    pub(crate) fn must_prove(&self, key: &str, size: u64) -> Option<Result<usize>> {
        if self.verify_keys.is_empty() || self.proven.contains(key) {
            return None;
        }
        Some(match CatalogueKey::parse(key).map(|key| key.entry) {
            Some(Entry::Row(row)) => manifest::read_limit(key, row.size, size),
            _ => Ok(MARKER_LIMIT),
        })
    }

    /// This process stored an object of the catalogue with its own signature, so that it need not read it again.
    pub(crate) fn stored(&self, key: &str) {
        if self.signing_key().is_some() {
            self.proven.add(key);
        }
    }

    /// Verifies an object of the catalogue. Returns its manifest if it is a row.
    pub(super) fn prove(&self, bucket: &Bucket, key: &str, object: &[u8]) -> Result<Option<Opened>> {
        let opened = if let Some(CatalogueKey { entry: Entry::Row(_), .. }) = CatalogueKey::parse(key) {
            Some(self.open_manifest(bucket, object, key)?)
        } else {
            let (json, _) = self.open_signed(bucket, object, key)?;
            let marker = Marker::parse(json, key)?;
            self.check_vault(bucket, key, &marker.vault)?;
            None
        };
        if !self.verify_keys.is_empty() {
            self.proven.add(key);
        }
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keyring::Keyring;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The format on the store is a promise: this test changes only together with the format's number.
    #[test]
    fn the_exact_format() {
        let (name, vid) = (Name::new("vm", "disk.img").unwrap(), Vid::new(1_764_000_000_000, [5; 10]));
        for (mark, letter, word) in [(Mark::Deleted, 'd', "deleted"), (Mark::Suspected, 's', "suspected")] {
            let marker = Marker::new("00ff", &name, vid, mark);
            let object = marker.to_object(None);
            let expected = format!(
                "{{\"format\":1,\"key\":\"_s3vault/1/cat/vm/disk.img/{vid}.-{letter}\",\"vault\":\"00ff\",\
                 \"container\":\"vm\",\"path\":\"disk.img\",\"vid\":\"{vid}\",\"marker\":\"{word}\"}}\n"
            );
            assert_eq!(String::from_utf8(object.clone()).unwrap(), expected);
            assert_eq!(Marker::parse(signed::json(&object).unwrap(), &marker.key).unwrap(), marker);
            let ring = Keyring::generate([1; 32]);
            let signed = |key| marker.to_object(Some(key));
            assert_eq!(
                signed(ring.signing_key()),
                signed(ring.signing_key()),
                "the same bytes no matter who writes it"
            );
        }
    }

    #[test]
    fn a_marker_that_says_something_else_than_its_key_is_refused() {
        let (name, vid) = (Name::new("vm", "disk.img").unwrap(), Vid::new(1_764_000_000_000, [5; 10]));
        let marker = Marker::new("00ff", &name, vid, Mark::Deleted);
        let suspected = Marker { marker: Mark::Suspected, ..marker.clone() };
        let other_path = Marker { path: "other".into(), ..marker.clone() };
        for bad in [suspected, other_path] {
            let e = Marker::parse(signed::json(&bad.to_object(None)).unwrap(), &marker.key).unwrap_err();
            assert_eq!(e.code(), Code::Format, "{bad:?}");
        }
    }
}
