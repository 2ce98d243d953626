//! Keys of the objects that a vault keeps: the catalogue's rows and markers, locators, data.
//!
//! ```text
//! _s3vault/vault.json
//! _s3vault/1/cat/c/p/<vid>.<recorded ms>.<kind>.<size>.<parent vid or ->     a row
//! _s3vault/1/cat/c/p/<vid>.-d   <vid>.-s                                    markers: deleted, suspected by sweep
//! _s3vault/1/kek/<kek id>.closed                                            no new locator may name this key
//! _s3vault/1/loc/c/p/<vid>.<generation>.<kek id or ->.<parent vid or ->      a locator
//! _s3vault/1/probe/<random>                                                 tries the store, for seconds (put/preflight.rs)
//! container/path                                                            data, extent 1
//! container/path@<vid>.<n>                                                  data, extent n
//! container/path@<vid>.r<generation>-<kek id>                                re-keyed data, extent 1; .<n> follows for n
//! ```
//! `c` and `p` are container and path as one [segment](super::names::segment) each.

use std::fmt;

use bytes::Bytes;

use super::Vault;
use super::names::{Name, parse_segment, segment};
use super::vid::Vid;
use crate::error::{Code, Error, Result};
use crate::op::{Content, PutObject};

/// Key of the vault's description.
pub const VAULT_KEY: &str = "_s3vault/vault.json";
/// Prefix of the catalogue.
pub const CATALOGUE: &str = "_s3vault/1/cat/";
/// Prefix of all locators.
pub const LOCATORS: &str = "_s3vault/1/loc/";
/// Prefix of objects that try what the store does. None of them is kept.
pub(crate) const PROBES: &str = "_s3vault/1/probe/";

/// Prefix of the markers of key-encryption keys.
pub const KEKS: &str = "_s3vault/1/kek/";

/// Key of the marker that closes a key-encryption key: nothing more may be wrapped with it.
pub fn closed_key(kek: &str) -> String {
    format!("{KEKS}{kek}.closed")
}

/// The kind of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A full backup: restores by itself.
    Full,
    /// An incremental backup: needs its parent.
    Inc,
    /// A record that the backup was deleted.
    Del,
}

impl Kind {
    /// The text in keys and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Full => "full",
            Kind::Inc => "inc",
            Kind::Del => "del",
        }
    }

    fn parse(text: &str) -> Option<Kind> {
        [Kind::Full, Kind::Inc, Kind::Del].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Vault {
    /// The PUT of one of the vault's own objects, all of which are JSON. With SSE-S3 or SSE-KMS they are encrypted as the
    /// data is: a bucket's policy may refuse whatever is not.
    pub(crate) fn put_json(&self, key: impl Into<String>, object: impl Into<Bytes>) -> PutObject {
        let headers = vec![("content-type".into(), "application/json".into())];
        let encryption = self.encryption().of_objects();
        PutObject { encryption, ..PutObject::new(key, Content::Bytes(object.into()), headers) }
    }
}

/// The prefix of all catalogue objects of one backup.
pub fn catalogue_prefix(name: &Name) -> String {
    format!("{}{}/", container_prefix(name.container()), segment(name.path()))
}

/// The prefix of all catalogue objects of one container.
pub fn container_prefix(container: &str) -> String {
    format!("{CATALOGUE}{}/", segment(container))
}

/// The prefix of all locators of one backup.
pub fn locators_prefix(name: &Name) -> String {
    format!("{LOCATORS}{}/{}/", segment(name.container()), segment(name.path()))
}

/// The prefix of all locators of one version.
pub fn locator_prefix(name: &Name, vid: Vid) -> String {
    format!("{}{vid}.", locators_prefix(name))
}

/// The key of the data's extent 1.
pub fn data_key(name: &Name, leading_slash: bool) -> String {
    format!("{}{}/{}", if leading_slash { "/" } else { "" }, name.container(), name.path())
}

/// Prefix of the key of extent n >= 2; n follows.
pub fn extent_prefix(name: &Name, vid: Vid, leading_slash: bool) -> String {
    format!("{}@{vid}.", data_key(name, leading_slash))
}

/// The fields in the last segment of a row's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// The version.
    pub vid: Vid,
    /// Recorded time in Unix milliseconds.
    pub recorded_ms: i64,
    /// Full, incremental, or deleted.
    pub kind: Kind,
    /// Size in plaintext bytes.
    pub size: u64,
    /// The version that an incremental builds on.
    pub parent: Option<Vid>,
}

impl RowKey {
    /// Start of the put, as far as the key tells: its version id may run ahead, its recorded time never does.
    pub fn initiated_ms(&self) -> i64 {
        self.vid.unix_ms().min(self.recorded_ms)
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}.{}", self.vid, self.recorded_ms, self.kind.as_str(), self.size, Parent(self.parent))
    }
}

struct Parent(Option<Vid>);

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(vid) => vid.fmt(f),
            None => f.write_str("-"),
        }
    }
}

fn parse_parent(text: &str) -> Option<Option<Vid>> {
    if text == "-" { Some(None) } else { Vid::try_parse(text).map(Some) }
}

/// Parses a number in a key: digits without a sign or leading zeros.
fn parse_number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// An object of the catalogue, parsed from its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A version.
    Row(RowKey),
    /// A marker: the version is hidden because it was deleted.
    Deleted(Vid),
    /// A marker: sweep suspects that the put was abandoned. Readers ignore it.
    Suspected(Vid),
}

impl Entry {
    /// Parses the last segment of a key. Anything else is not an entry, and readers skip it.
    pub fn parse(last: &str) -> Option<Entry> {
        let (vid, rest) = last.split_once('.')?;
        let vid = Vid::try_parse(vid)?;
        match rest {
            "-d" => return Some(Entry::Deleted(vid)),
            "-s" => return Some(Entry::Suspected(vid)),
            _ => {}
        }
        let mut fields = rest.split('.');
        let row = RowKey {
            vid,
            recorded_ms: parse_number(fields.next()?)?,
            kind: Kind::parse(fields.next()?)?,
            size: parse_number(fields.next()?)?,
            parent: parse_parent(fields.next()?)?,
        };
        fields.next().is_none().then_some(Entry::Row(row))
    }

    /// The version of this entry.
    pub fn vid(&self) -> Vid {
        match self {
            Entry::Row(row) => row.vid,
            Entry::Deleted(vid) | Entry::Suspected(vid) => *vid,
        }
    }
}

/// The key of an object of the catalogue: the segments of container and path, and the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueKey {
    /// The container's segment, still encoded.
    pub container: String,
    /// The path's segment, still encoded.
    pub path: String,
    /// Full, incremental, or deleted.
    pub entry: Entry,
}

impl CatalogueKey {
    /// Parses a whole key; `None` for objects that do not belong in the catalogue.
    pub fn parse(key: &str) -> Option<CatalogueKey> {
        let mut segments = key.strip_prefix(CATALOGUE)?.split('/');
        let (container, path, last) = (segments.next()?, segments.next()?, segments.next()?);
        if segments.next().is_some() || container.is_empty() || path.is_empty() {
            return None;
        }
        Some(CatalogueKey { container: container.into(), path: path.into(), entry: Entry::parse(last)? })
    }

    /// Container and path, if neither is hashed.
    pub fn names(&self) -> Option<(String, String)> {
        Some((parse_segment(&self.container)?, parse_segment(&self.path)?))
    }
}

/// The generations between two re-keyings. Locators of one epoch name the same data, under the same data key.
pub(crate) const EPOCH: u32 = 65_536;
/// The highest generation that fits into a key.
pub(crate) const LAST_GENERATION: u32 = 999_999;

/// The epoch of a generation: how often the version was re-keyed before it.
pub(crate) fn epoch(generation: u32) -> u32 {
    generation / EPOCH
}

/// The generation that a rotation writes above this one. It is never that of a re-keying: otherwise one of two that read
/// the same locator could replace the other's.
pub(crate) fn next_in_epoch(generation: u32) -> Result<u32> {
    let next = generation.saturating_add(1);
    if next <= LAST_GENERATION && epoch(next) == epoch(generation) {
        return Ok(next);
    }
    let why = format!("its locator has generation {generation}, the last one before a re-keying");
    Err(Error::new(Code::Unsupported, why).with_hint("Run s3vault rekey for this version, or store the backup again."))
}

/// The generation that a re-keying writes above this one.
pub(crate) fn next_epoch(generation: u32) -> Result<u32> {
    let next = (epoch(generation) + 1).saturating_mul(EPOCH);
    if next <= LAST_GENERATION {
        return Ok(next);
    }
    let (most, why) = (epoch(LAST_GENERATION), "no generation is left for its locator");
    let why = format!("{why}: it has generation {generation}, and a version can be re-keyed {most} times");
    Err(Error::new(Code::Unsupported, why)
        .with_hint("Store the backup again: a new version has a new data key. Then delete this one."))
}

/// The fields in the last segment of a locator's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatorKey {
    /// The version.
    pub vid: Vid,
    /// 0 before the data. A rotation writes the next one, a re-keying the next multiple of [`EPOCH`].
    pub generation: u32,
    /// The key-encryption key that wrapped the data key.
    pub kek: Option<String>,
    /// The version that an incremental builds on.
    pub parent: Option<Vid>,
}

impl fmt::Display for LocatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kek = self.kek.as_deref().unwrap_or("-");
        write!(f, "{}.{:06}.{kek}.{}", self.vid, self.generation, Parent(self.parent))
    }
}

impl LocatorKey {
    /// Parses the last segment of a key.
    pub fn parse(last: &str) -> Option<LocatorKey> {
        let mut fields = last.split('.');
        let vid = Vid::try_parse(fields.next()?)?;
        let generation = fields.next().filter(|g| g.len() == 6 && g.bytes().all(|b| b.is_ascii_digit()))?;
        let kek = match fields.next()? {
            "-" => None,
            id if id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => Some(id.to_owned()),
            _ => return None,
        };
        let parent = parse_parent(fields.next()?)?;
        let key = LocatorKey { vid, generation: generation.parse().ok()?, kek, parent };
        fields.next().is_none().then_some(key)
    }

    /// Parses a whole key; `None` for other objects.
    pub(crate) fn of(key: &str) -> Option<LocatorKey> {
        LocatorKey::parse(key.rsplit_once('/')?.1)
    }

    /// The whole key, for a backup of this name.
    pub fn key(&self, name: &Name) -> String {
        format!("{LOCATORS}{}/{}/{self}", segment(name.container()), segment(name.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn vid(n: u8) -> Vid {
        Vid::new(1_764_000_000_000, [n; 10])
    }

    #[test]
    fn the_exact_formats() {
        let name = Name::new("vm 1", "disks/a.img").unwrap();
        let row =
            RowKey { vid: vid(1), recorded_ms: 1_764_000_000_123, kind: Kind::Inc, size: 42, parent: Some(vid(2)) };
        assert_eq!(catalogue_prefix(&name), "_s3vault/1/cat/vm=201/disks=2Fa.img/");
        assert_eq!(row.to_string(), format!("{}.1764000000123.inc.42.{}", vid(1), vid(2)));
        let locator = LocatorKey { vid: vid(1), generation: 7, kek: None, parent: None };
        assert_eq!(locator.key(&name), format!("_s3vault/1/loc/vm=201/disks=2Fa.img/{}.000007.-.-", vid(1)));
        assert_eq!(data_key(&name, false), "vm 1/disks/a.img");
        assert_eq!(data_key(&name, true), "/vm 1/disks/a.img");
        assert_eq!(extent_prefix(&name, vid(1), false), format!("vm 1/disks/a.img@{}.", vid(1)));
    }

    #[test]
    fn a_rotation_and_a_rekeying_never_write_the_same_generation() {
        assert_eq!([next_in_epoch(0), next_in_epoch(7), next_in_epoch(65_536)], [Ok(1), Ok(8), Ok(65_537)]);
        assert_eq!([next_epoch(0), next_epoch(65_535), next_epoch(65_536)], [Ok(65_536), Ok(65_536), Ok(131_072)]);
        assert_eq!((next_epoch(983_039), next_in_epoch(999_998)), (Ok(983_040), Ok(999_999)));
        for (end, says) in [
            (next_in_epoch(65_535), "the last one before a re-keying"),
            (next_in_epoch(999_999), "the last one before a re-keying"),
            (next_epoch(983_040), "re-keyed 15 times"),
            (next_epoch(999_999), "no generation is left"),
        ] {
            let e = end.unwrap_err();
            assert!(e.code() == Code::Unsupported && e.message().contains(says), "{e}");
        }
        let key = LocatorKey { vid: vid(1), generation: LAST_GENERATION, kek: None, parent: None };
        assert_eq!(LocatorKey::parse(&key.to_string()), Some(key));
    }

    #[test]
    fn keys_round_trip() {
        for kind in [Kind::Full, Kind::Inc, Kind::Del] {
            for parent in [None, Some(vid(3))] {
                let row = RowKey { vid: vid(1), recorded_ms: 1, kind, size: u64::MAX, parent };
                assert_eq!(Entry::parse(&row.to_string()), Some(Entry::Row(row)));
                let locator = LocatorKey { vid: vid(1), generation: 0, kek: Some("0123456789abcdef".into()), parent };
                assert_eq!(LocatorKey::parse(&locator.to_string()), Some(locator));
            }
        }
        assert_eq!(Entry::parse(&format!("{}.-d", vid(1))), Some(Entry::Deleted(vid(1))));
        assert_eq!(Entry::parse(&format!("{}.-s", vid(1))), Some(Entry::Suspected(vid(1))));
    }

    #[test]
    fn a_marker_comes_before_its_row() {
        let row = RowKey { vid: vid(1), recorded_ms: 0, kind: Kind::Full, size: 0, parent: None };
        assert!(format!("{}.-d", vid(1)) < row.to_string());
    }

    #[test]
    fn other_keys_are_skipped() {
        let v = vid(1);
        for bad in [
            String::new(),
            format!("{v}"),
            format!("{v}."),
            format!("{v}.-x"),
            format!("{v}.1.full.2"),
            format!("{v}.1.full.2.-.x"),
            format!("{v}.01.full.2.-"),
            format!("{v}.-1.full.2.-"),
            format!("{v}.1.half.2.-"),
            format!("{v}.1.full.+2.-"),
            format!("{v}.1.full.2.x"),
            format!("x{v}.1.full.2.-"),
        ] {
            assert_eq!(Entry::parse(&bad), None, "{bad}");
        }
        for bad in [
            "1.-.-",
            "0000001.-.-",
            "00000a.-.-",
            "000000.ABCDEF0123456789.-",
            "000000.-",
            "000000.-.-.-",
            "000000.0123456789abcde.-",
        ] {
            assert_eq!(LocatorKey::parse(&format!("{v}.{bad}")), None, "{bad}");
        }
        for bad in ["c/V", "c/p/q/V", "c/p/V/q", "c//V", "/p/V"] {
            let bad = format!("{CATALOGUE}{}", bad.replace('V', &format!("{v}.-d")));
            assert_eq!(CatalogueKey::parse(&bad), None, "{bad}");
        }
        assert_eq!(CatalogueKey::parse(&format!("x/c/p/{v}.-d")), None);
        let key = CatalogueKey::parse(&format!("{CATALOGUE}a=2Fb/p/{v}.-d")).unwrap();
        assert_eq!(key.names(), Some(("a/b".into(), "p".into())));
    }
}
