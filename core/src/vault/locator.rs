//! The locator: which put owns a version's data, where the data is, and (with encryption) its wrapped data key.

use serde::{Deserialize, Serialize};

use super::adopted::Adopted;
use super::encryption::Encryption;
use super::names::Name;
use super::objects::LocatorKey;
use super::signed::{self, FORMAT};
use super::vid::Vid;
use crate::crypto::data_key::WrappedKey;
use crate::crypto::keyring::SigningKey;
use crate::error::Result;

/// Maximum size of a locator that is read, in bytes: it has names and keys, each at most a few KiB.
pub(crate) const LOCATOR_LIMIT: usize = 64 << 10;

/// A locator. Generation 0 is written before the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locator {
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
    /// Generation number: rotation, re-keying and a change of storage class write the next one.
    pub generation: u32,
    /// The version that an incremental builds on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The store's clock before the first LIST of the put, in Unix milliseconds.
    pub t0: i64,
    /// How the data is encrypted, as the setting `encryption` names it.
    pub encryption: String,
    /// The version's data key, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<WrappedKey>,
    /// Where the data is.
    pub data: DataKeys,
    /// Says that another program wrote the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
}

/// The keys of the data objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeys {
    /// Key of extent 1.
    pub first: String,
    /// Prefix of the other keys: extent n >= 2 is at this prefix followed by n in decimal.
    pub next: String,
    /// Native version ids of the extents in their order, where the catalogue entry does not have them: a hint, since a
    /// replica has other ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub version_ids: Vec<String>,
}

impl DataKeys {
    /// The key of an extent, numbered from 1.
    pub fn extent(&self, number: usize) -> String {
        if number == 1 { self.first.clone() } else { format!("{}{number}", self.next) }
    }

    /// The keys of data that was re-keyed: they belong to the version alone, and to the KEK that the data key was made with.
    pub(crate) fn rekeyed(&self, vid: Vid, generation: u32, kek: &str) -> DataKeys {
        let own = format!("@{vid}");
        // A put's prefix ends with the version and a dot, that of a re-keying has more after it.
        let end = self.next.rfind(&own).map_or(self.next.len(), |at| at + own.len());
        let first = format!("{}.r{generation:06}-{kek}", &self.next[..end]);
        DataKeys { next: format!("{first}."), first, version_ids: Vec::new() }
    }
}

/// The key of a backup's data without the version, of a key that [`DataKeys::rekeyed`] has made, and the generation and the
/// KEK in it.
pub(crate) fn parse_rekeyed(key: &str, vid: Vid) -> Option<(&str, u32, &str)> {
    let own = format!("@{vid}.r");
    let at = key.rfind(&own)?;
    let (generation, rest) = key[at + own.len()..].split_once('-')?;
    let kek = rest.split_once('.').map_or(rest, |(kek, _)| kek);
    let is_number = generation.len() == 6 && generation.bytes().all(|b| b.is_ascii_digit());
    let is_kek = kek.len() == 16 && kek.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_number && is_kek).then_some((&key[..at], generation.parse().ok()?, kek))
}

impl Locator {
    /// Generation 0 of a version that is not encrypted.
    pub(crate) fn first(vault: &str, name: &Name, vid: Vid, parent: Option<Vid>, t0: i64, data: DataKeys) -> Locator {
        let key = LocatorKey { vid, generation: 0, kek: None, parent };
        Locator {
            format: FORMAT,
            key: key.key(name),
            vault: vault.to_owned(),
            container: name.container().to_owned(),
            path: name.path().to_owned(),
            vid: vid.to_string(),
            generation: 0,
            parent: parent.map(|vid| vid.to_string()),
            t0,
            encryption: Encryption::None.name().into(),
            wrapped: None,
            data,
            adopted: None,
        }
    }

    /// The same for a version that is encrypted.
    pub(crate) fn encrypted(mut self, name: &Name, encryption: &Encryption, wrapped: Option<WrappedKey>) -> Locator {
        if let Some(mut key) = LocatorKey::of(&self.key) {
            key.kek = wrapped.as_ref().map(|wrapped| wrapped.kek.clone());
            self.key = key.key(name);
        }
        (self.encryption, self.wrapped) = (encryption.name().to_owned(), wrapped);
        self
    }

    /// The same in another generation, with its data key wrapped again.
    pub(crate) fn rewrapped(&self, name: &Name, generation: u32, wrapped: WrappedKey) -> Result<Locator> {
        let encryption = self.encryption()?;
        let mut next = self.clone();
        next.generation = generation;
        if let Some(key) = LocatorKey::of(&self.key) {
            next.key = LocatorKey { generation, ..key }.key(name);
        }
        Ok(next.encrypted(name, &encryption, Some(wrapped)))
    }

    /// The same for a copy of the data, under the data key that is wrapped here.
    pub(crate) fn rekeyed(&self, name: &Name, generation: u32, wrapped: WrappedKey, data: DataKeys) -> Result<Locator> {
        Ok(Locator { data, ..self.rewrapped(name, generation, wrapped)? })
    }

    /// The key-encryption key that its data key was made with, if its data was re-keyed.
    pub(crate) fn rekeyed_with(&self) -> Option<&str> {
        parse_rekeyed(&self.data.first, Vid::try_parse(&self.vid)?).map(|(_, _, kek)| kek)
    }

    /// How the data is encrypted.
    pub(crate) fn encryption(&self) -> Result<Encryption> {
        Encryption::named(&self.encryption, self.wrapped.as_ref())
    }

    /// The object to store.
    pub(crate) fn to_object(&self, key: Option<&SigningKey>) -> Vec<u8> {
        signed::encode(serde_json::to_vec(self).unwrap_or_default(), key)
    }

    /// Parses the JSON of an object that was found at a key.
    pub(crate) fn parse(json: &[u8], found_at: &str) -> Result<Locator> {
        Locator::read(json, Some(found_at))
    }

    /// Parses the JSON of an object. `found_at` is the key that it was read from, if it came from a store.
    pub(super) fn read(json: &[u8], found_at: Option<&str>) -> Result<Locator> {
        let locator: Locator = signed::parse(json, found_at)?;
        locator.encryption()?;
        Ok(locator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The format on the store is a promise: this test changes only together with the format's number.
    #[test]
    fn the_exact_format() {
        let name = Name::new("vm", "disk.img").unwrap();
        let (vid, parent) = (Vid::new(1_764_000_000_000, [5; 10]), Vid::new(1_763_000_000_000, [6; 10]));
        let (first, next, version_ids) = ("vm/disk.img".to_owned(), format!("vm/disk.img@{vid}."), Vec::new());
        let data = DataKeys { first, next, version_ids };
        let locator = Locator::first("00ff", &name, vid, Some(parent), 1_764_000_000_000, data);
        let object = locator.to_object(None);
        let expected = format!(
            "{{\"format\":1,\"key\":\"_s3vault/1/loc/vm/disk.img/{vid}.000000.-.{parent}\",\"vault\":\"00ff\",\
             \"container\":\"vm\",\"path\":\"disk.img\",\"vid\":\"{vid}\",\"generation\":0,\"parent\":\"{parent}\",\
             \"t0\":1764000000000,\"encryption\":\"none\",\
             \"data\":{{\"first\":\"vm/disk.img\",\"next\":\"vm/disk.img@{vid}.\"}}}}\n"
        );
        assert_eq!(String::from_utf8(object.clone()).unwrap(), expected);
        assert_eq!(Locator::parse(signed::json(&object).unwrap(), &locator.key).unwrap(), locator);
        assert_eq!(locator.data.extent(1), "vm/disk.img");
        assert_eq!(locator.data.extent(2), format!("vm/disk.img@{vid}.2"));
        for (other, code) in [("tar", Code::Unsupported), ("sse-c", Code::Format), ("envelope", Code::Format)] {
            let other = expected.replace("\"none\"", &format!("\"{other}\""));
            let e = Locator::parse(signed::json(other.as_bytes()).unwrap(), &locator.key).unwrap_err();
            assert_eq!(e.code(), code);
        }
        let copied = locator.data.rekeyed(vid, 65_536, "0123456789abcdef");
        assert_eq!(copied.extent(1), format!("vm/disk.img@{vid}.r065536-0123456789abcdef"));
        assert_eq!(copied.extent(2), format!("vm/disk.img@{vid}.r065536-0123456789abcdef.2"));
        let again = copied.rekeyed(vid, 131_072, "fedcba9876543210");
        assert_eq!(again.extent(1), format!("vm/disk.img@{vid}.r131072-fedcba9876543210"));
        for key in [copied.extent(1), copied.extent(2)] {
            assert_eq!(parse_rekeyed(&key, vid), Some(("vm/disk.img", 65_536, "0123456789abcdef")));
        }
        for key in [locator.data.extent(1), locator.data.extent(2), format!("vm/disk.img@{vid}.r1-0123456789abcdef")] {
            assert_eq!(parse_rekeyed(&key, vid), None, "{key}");
        }
        let ids = serde_json::to_string(&DataKeys { version_ids: vec!["a".into()], ..copied.clone() }).unwrap();
        assert!(ids.ends_with(",\"version_ids\":[\"a\"]}"), "{ids}");
        let wrapped = WrappedKey { kek: "0123456789abcdef".into(), key: "AAAA".into() };
        let locator = locator.encrypted(&name, &Encryption::SseC, Some(wrapped));
        let (of_sse_c, key) =
            ("\"sse-c\",\"wrapped\":{\"kek\":\"0123456789abcdef\",\"key\":\"AAAA\"}", "000000.0123456789abcdef.");
        let expected = expected.replace("\"none\"", of_sse_c).replace("000000.-.", key);
        assert_eq!(String::from_utf8(locator.to_object(None)).unwrap(), expected);
        let without = expected.replace("\"sse-c\"", "\"none\"");
        assert_eq!(
            Locator::parse(signed::json(without.as_bytes()).unwrap(), &locator.key).unwrap_err().code(),
            Code::Format
        );
    }
}
