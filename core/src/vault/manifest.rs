//! The manifest: the body of a catalogue row. Together with a public key it is all that a verifier needs.

use serde::{Deserialize, Serialize};

use super::adopted::Adopted;
use super::encryption::Encryption;
use super::immutable::Lock;
use super::labels::Labels;
use super::names::Name;
use super::objects::{Kind, RowKey, catalogue_prefix};
use super::signed::{self, FORMAT};
use super::vid::Vid;
use super::{OBJECT_LIMIT, Row};
use crate::crypto::data_key::{DataKey, WrappedKey};
use crate::crypto::keyring::{SigningKey, VerifyKeys};
use crate::crypto::segment::Segments;
use crate::error::{Code, Error, Result};
use crate::text::{presentable, presentable_key};
use crate::time::rfc3339;
pub use crate::transfer::extent::{Extent, PartHash};
use crate::transfer::stored_form::StoredForm;

/// The complete description of a version: written once, after its data. Times are Unix milliseconds of the store's
/// clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
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
    /// Full, incremental, or deleted.
    pub kind: Kind,
    /// The version that an incremental builds on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// When the put started.
    pub initiated: i64,
    /// When the data was complete.
    pub completed: i64,
    /// The instant that identifies the version: one of the two above, chosen by the setting `record_after_store`.
    pub recorded: i64,
    /// `Date` of the reply that completed the data.
    pub stored: i64,
    /// Size of the backup in plaintext bytes.
    pub size: u64,
    /// The data objects, in the order of their bytes.
    pub extents: Vec<Extent>,
    /// Storage class of the data, if one was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// [`LIVE`] if the source might change while it was stored: the backup need not show it at any one instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Says that another program wrote the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
    /// The labels that the put chose.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// The lock that its objects were stored with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// How the data is encrypted, as the setting `encryption` names it; `None`: not by this vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// The version's data key as it was when the data was stored, if it has one; the locator has it as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<WrappedKey>,
    /// The form in which the data is stored, which follows from its encryption.
    #[serde(skip)]
    pub(crate) form: StoredForm,
}

/// The value of [`Manifest::source`] for a live source.
pub const LIVE: &str = "live";

/// A part of a version, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedPart<'a> {
    /// Index of its extent, from 0.
    pub extent: usize,
    /// Offset in its extent, in stored bytes.
    pub start: u64,
    /// Offset in the backup, in bytes.
    pub offset: u64,
    /// Length in bytes of the backup.
    pub length: u64,
    /// Length and hashes of the stored bytes.
    pub hash: &'a PartHash,
}

/// A manifest that was read.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The manifest.
    pub manifest: Manifest,
    /// BLAKE3 of the object as it is stored, in hex: the value of a pin.
    pub hash: String,
    /// Id of the trusted key that signed it, if its signature was checked.
    pub signed_by: Option<String>,
}

impl Opened {
    /// The version as a listing shows it, with what only the object says.
    pub fn row(&self) -> Row {
        self.manifest.row(self.hash.clone(), self.signed_by.clone())
    }
}

impl Manifest {
    /// The manifest of a version that is stored completely.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        vault: &str,
        name: &Name,
        row: &RowKey,
        times: Times,
        extents: Vec<Extent>,
        storage_class: Option<String>,
    ) -> Manifest {
        Manifest {
            format: FORMAT,
            key: format!("{}{row}", catalogue_prefix(name)),
            vault: vault.to_owned(),
            container: name.container().to_owned(),
            path: name.path().to_owned(),
            vid: row.vid.to_string(),
            kind: row.kind,
            parent: row.parent.map(|vid| vid.to_string()),
            initiated: times.initiated,
            completed: times.completed,
            recorded: row.recorded_ms,
            stored: times.stored,
            size: row.size,
            extents,
            storage_class,
            source: None,
            adopted: None,
            labels: Labels::default(),
            lock: None,
            encryption: None,
            wrapped: None,
            form: StoredForm::PLAIN,
        }
    }

    /// The object to store.
    pub(crate) fn to_object(&self, key: Option<&SigningKey>) -> Vec<u8> {
        // Strings, numbers and lists of them always serialize.
        signed::encode(serde_json::to_vec(self).unwrap_or_default(), key)
    }

    /// Reads an object as it is stored; one without a signature is accepted too. Without a store there is no key to
    /// compare with: the manifest itself names its key.
    pub fn open(object: &[u8], keys: &VerifyKeys) -> Result<Opened> {
        let (json, signed_by) = signed::open(object, keys)?;
        let signed_by = signed_by.map(str::to_owned);
        Ok(Opened { manifest: Manifest::parse(json, None)?, hash: hash(object), signed_by })
    }

    /// Parses the JSON of an object that was found at a key.
    pub(crate) fn parse(json: &[u8], found_at: Option<&str>) -> Result<Manifest> {
        let mut manifest: Manifest = signed::parse(json, found_at)?;
        manifest.form = manifest.encryption()?.form();
        manifest.check()?;
        Ok(manifest)
    }

    /// Sets how the data is encrypted.
    pub(crate) fn set_encryption(&mut self, encryption: &Encryption, wrapped: Option<WrappedKey>) {
        self.encryption = (*encryption != Encryption::None).then(|| encryption.name().to_owned());
        (self.wrapped, self.form) = (wrapped, encryption.form());
    }

    /// How the data is encrypted.
    pub(crate) fn encryption(&self) -> Result<Encryption> {
        Encryption::named(self.encryption.as_deref().unwrap_or(Encryption::None.name()), self.wrapped.as_ref())
    }

    /// The fields that its key repeats.
    fn row_key(&self) -> Result<RowKey> {
        let parent = self.parent.as_deref().map(Vid::parse).transpose()?;
        Ok(RowKey { vid: Vid::parse(&self.vid)?, recorded_ms: self.recorded, kind: self.kind, size: self.size, parent })
    }

    /// Refuses a manifest that contradicts itself.
    fn check(&self) -> Result<()> {
        let refuse = |why: &str| {
            Err(Error::new(Code::Format, format!("the manifest at {} is not valid: {why}", presentable_key(&self.key))))
        };
        let Ok(name) = Name::new(&self.container, &self.path) else {
            return refuse("its names are not allowed");
        };
        let Ok(row) = self.row_key() else {
            return refuse("it contains a version id that is not valid");
        };
        if self.key != format!("{}{row}", catalogue_prefix(&name)) {
            return refuse("its key does not match its contents");
        }
        if self.has_no_hashes() {
            return match &self.extents[..] {
                [extent] if extent.size == self.size => Ok(()),
                _ => refuse("it has no hashes, and is not one object of its size"),
            };
        }
        let mut size = 0u64;
        for extent in &self.extents {
            if extent.crc64nvme.is_none() {
                return refuse("it contains an extent without a checksum");
            }
            if extent.salts.len() != if self.form.is_plain() { 0 } else { extent.parts.len() } {
                return refuse("it does not have one salt for each part that is encrypted");
            }
            let parts = extent.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.length));
            if parts != Some(extent.size) {
                return refuse("the lengths of an extent's parts do not add up to its size");
            }
            let mut length = 0u64;
            for part in &extent.parts {
                match self.form.length(part.length) {
                    None => return refuse("it contains a part with a length that no part can have"),
                    Some(0) if extent.parts.len() > 1 => return refuse("it contains an empty part"),
                    Some(part) => length = length.saturating_add(part),
                }
            }
            size = size.saturating_add(length);
        }
        if size != self.size {
            return refuse("the lengths of its parts do not add up to its size");
        }
        Ok(())
    }

    /// Whether its data was adopted without reading it: then it has no parts, and nothing of it can be verified but its
    /// size, its ETag, and the MD5 if that is known.
    pub fn has_no_hashes(&self) -> bool {
        self.adopted.is_some()
            && self.extents.iter().any(|extent| extent.parts.is_empty() && extent.crc64nvme.is_none())
    }

    /// Whether it has the label `hold`, which keeps it from being deleted.
    pub(crate) fn is_held(&self) -> bool {
        self.labels.holds()
    }

    /// Until when its data is locked, in Unix milliseconds: at least, since locks are extended for later incrementals.
    pub(crate) fn locked_until_ms(&self) -> Option<i64> {
        self.lock.map(|lock| lock.until)
    }

    /// Refuses the deletion of a version that is held or locked.
    pub(crate) fn check_may_go(&self, now_ms: i64) -> Result<()> {
        let why = match self.locked_until_ms() {
            _ if self.is_held() => "has the label hold".to_owned(),
            Some(until) if until > now_ms => format!("is locked until {}", rfc3339(until)),
            _ => return Ok(()),
        };
        let why = format!("version {} of {} {} {why}", self.vid, self.container, self.path);
        Err(Error::new(Code::Held, why))
    }

    /// How its data is decrypted with its data key, if it is one of envelope mode.
    pub(crate) fn segments(&self, key: DataKey) -> Segments {
        let salts = self.extents.iter().flat_map(|extent| extent.salts.iter().copied()).collect();
        let version = presentable(format!("version {} of {} {}", self.vid, self.container, self.path));
        Segments::new(key, salts, self.size, version)
    }

    /// All parts in order.
    pub fn parts(&self) -> impl Iterator<Item = PlacedPart<'_>> {
        let (form, mut offset, mut start, mut current) = (self.form, 0, 0, 0);
        let parts =
            self.extents.iter().enumerate().flat_map(|(n, extent)| extent.parts.iter().map(move |part| (n, part)));
        parts.map(move |(extent, hash)| {
            if extent != current {
                (current, start) = (extent, 0);
            }
            let part = PlacedPart { extent, start, offset, length: form.length(hash.length).unwrap_or(0), hash };
            (offset, start) = (offset + part.length, start + hash.length);
            part
        })
    }

    /// The version as a listing shows it, with the hash of the object and the key that signed it.
    pub(crate) fn row(&self, hash: String, signed_by: Option<String>) -> Row {
        Row {
            kind: Some(self.kind),
            container: self.container.clone(),
            path: self.path.clone(),
            vid: self.vid.clone(),
            parent: self.parent.clone(),
            // The same value as in a listing, so that a version has the same row wherever it comes from.
            initiated_ms: self.row_key().map_or(self.initiated, |key| key.initiated_ms()),
            recorded_ms: self.recorded,
            bytes: self.size,
            manifest_hash: Some(hash),
            signed_by,
            upload_id: None,
            labels: Some(self.labels.clone()),
        }
    }
}

/// Maximum number of bytes in a manifest of a part, of a part's salt, of an extent without its parts, and of everything
/// else: names are escaped, keys and version ids have up to 1,024 bytes, and labels up to 11,000.
const PART: u64 = 140;
const SALT: u64 = 35;
const EXTENT: u64 = 8 << 10;
const REST: u64 = 48 << 10;

/// Whether a manifest of this many parts in this many extents is small enough to be read, whatever its contents.
pub(crate) fn is_readable(form: StoredForm, parts: u64, extents: u64) -> bool {
    let part = if form.is_plain() { PART } else { PART + SALT };
    let size = parts.saturating_mul(part).saturating_add(extents.saturating_mul(EXTENT));
    size.saturating_add(REST) <= OBJECT_LIMIT as u64
}

/// Minimum length of a part that is not the last of its extent, in bytes: stores refuse smaller ones.
const LEAST_PART: u64 = 5 << 20;
/// Minimum number of parts of an extent that is not the last.
const LEAST_PARTS: u64 = 64;
/// How much longer than listed a manifest may be, in bytes.
const ROOM: u64 = 64 << 10;

/// The size limit for reading the manifest at `key` of a backup of `bytes` bytes: its `listed` size, with some room. Fails
/// if that is more than a manifest of such a backup can have. Nothing of it is trusted before all of it was read.
pub(crate) fn read_limit(key: &str, bytes: u64, listed: u64) -> Result<usize> {
    let parts = bytes / LEAST_PART + 1;
    let most = parts.saturating_mul(PART + SALT).saturating_add((parts / LEAST_PARTS + 2).saturating_mul(EXTENT));
    let most = most.saturating_add(REST + ROOM).min(OBJECT_LIMIT as u64);
    if listed > most {
        let why = format!("the object at {key} has {listed} bytes, but a manifest of {bytes} bytes has at most {most}");
        return Err(Error::new(Code::Format, why));
    }
    Ok((listed + ROOM).min(OBJECT_LIMIT as u64) as usize)
}

/// The instants of a put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) initiated: i64,
    pub(crate) completed: i64,
    pub(crate) stored: i64,
}

/// BLAKE3 of an object as it is stored, in hex.
pub fn hash(object: &[u8]) -> String {
    blake3::hash(object).to_hex().to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::checksum;
    use crate::checksum::Digest;
    use crate::crypto::keyring::Keyring;
    use crate::crypto::segment::Salt;
    use crate::transfer::stored_form::tests::segments_of;
    use crate::vault::immutable::Mode;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    pub(crate) fn sample(parts: &[&[u8]]) -> Manifest {
        let name = Name::new("vm", "disk.img").unwrap();
        let bytes = parts.concat();
        let vid = Vid::new(1_764_000_000_000, [5; 10]);
        let row =
            RowKey { vid, recorded_ms: 1_764_000_000_000, kind: Kind::Full, size: bytes.len() as u64, parent: None };
        let extent = Extent {
            key: "vm/disk.img".into(),
            version_id: Some("v1".into()),
            size: bytes.len() as u64,
            crc64nvme: Some(checksum::digest(&bytes).crc64nvme),
            parts: parts.iter().map(|p| PartHash::new(p.len() as u64, &checksum::digest(p))).collect(),
            salts: Vec::new(),
        };
        let times = Times { initiated: 1_764_000_000_000, completed: 1_764_000_001_000, stored: 1_764_000_001_000 };
        Manifest::new("00112233445566778899aabbccddeeff", &name, &row, times, vec![extent], None)
    }

    /// The format on the store is a promise: this test changes only together with the format's number.
    #[test]
    fn the_exact_format() {
        let object = sample(&[b"abc"]).to_object(None);
        let vid = Vid::new(1_764_000_000_000, [5; 10]);
        let expected = format!(
            "{{\"format\":1,\"key\":\"_s3vault/1/cat/vm/disk.img/{vid}.1764000000000.full.3.-\",\
             \"vault\":\"00112233445566778899aabbccddeeff\",\"container\":\"vm\",\"path\":\"disk.img\",\"vid\":\"{vid}\",\
             \"kind\":\"full\",\"initiated\":1764000000000,\"completed\":1764000001000,\"recorded\":1764000000000,\
             \"stored\":1764000001000,\"size\":3,\"extents\":[{{\"key\":\"vm/disk.img\",\"version_id\":\"v1\",\"size\":3,\
             \"crc64nvme\":\"BeXKuz/B+us=\",\"parts\":[{{\"length\":3,\"crc64nvme\":\"BeXKuz/B+us=\",\
             \"blake3\":\"6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85\"}}]}}]}}\n"
        );
        assert_eq!(String::from_utf8(object).unwrap(), expected);
    }

    #[test]
    fn labels_and_the_lock_follow_in_their_exact_form_and_are_left_out_where_they_are_missing() {
        let mut manifest = sample(&[b"abc"]);
        let text = |manifest: &Manifest| String::from_utf8(manifest.to_object(None)).unwrap();
        assert!(!text(&manifest).contains("labels") && !text(&manifest).contains("lock"));
        manifest.labels = Labels::parse("policy=daily,hold=").unwrap();
        manifest.lock = Some(Lock { mode: Mode::Compliance, until: 1_764_000_000_000 });
        let end = r#""labels":{"hold":"","policy":"daily"},"lock":{"mode":"compliance","until":1764000000000}}"#;
        assert!(text(&manifest).ends_with(&format!("{end}\n")), "{}", text(&manifest));
        let opened = Manifest::open(text(&manifest).as_bytes(), &VerifyKeys::default()).unwrap();
        assert_eq!((&opened.manifest, opened.row().labels), (&manifest, Some(manifest.labels.clone())));
    }

    #[test]
    fn a_live_source_is_named_and_any_other_word_is_kept() {
        let mut manifest = sample(&[b"abc"]);
        assert!(!String::from_utf8(manifest.to_object(None)).unwrap().contains("\"source\""));
        for word in [LIVE, "a word of a newer version"] {
            manifest.source = Some(word.to_owned());
            let object = manifest.to_object(None);
            assert!(String::from_utf8_lossy(&object).ends_with(&format!(",\"source\":\"{word}\"}}\n")));
            assert_eq!(Manifest::open(&object, &VerifyKeys::default()).unwrap().manifest, manifest);
        }
    }

    /// A stream of 49 TiB has more than a million parts, and its machine holds all of their hashes.
    #[test]
    fn a_part_is_held_in_48_bytes_and_nothing_beside_them() {
        fn is_plain<T: Copy>() -> usize {
            size_of::<T>()
        }
        assert_eq!(is_plain::<PartHash>(), 48);
    }

    #[test]
    fn no_manifest_is_larger_than_estimated() {
        let digest = Digest { crc64nvme: u64::MAX, blake3: [255; 32] };
        let part = PartHash::new(u64::MAX, &digest);
        let text = |key: usize, parts: usize| {
            let key = "\u{1}".repeat(key);
            let (crc64nvme, version_id) = (u64::MAX, Some("v".repeat(1024)));
            let (parts, salts) = (vec![part; parts], vec![Salt([255; 16]); parts]);
            serde_json::to_string(&Extent { key, version_id, size: u64::MAX, crc64nvme: Some(crc64nvme), parts, salts })
                .unwrap()
                .len() as u64
        };
        assert!(text(1024, 3) - text(1024, 2) <= PART + SALT);
        assert!(text(1024, 0) < EXTENT);
        let name = Name::new(&"\u{1}".repeat(200), &vec!["\u{1}".repeat(200); 3].join("/")).unwrap();
        let vid = Vid::new(0, [255; 10]);
        let row = RowKey { vid, recorded_ms: i64::MIN, kind: Kind::Full, size: u64::MAX, parent: Some(vid) };
        let times = Times { initiated: i64::MIN, completed: i64::MIN, stored: i64::MIN };
        let class = Some("x".repeat(1000));
        let manifest = Manifest::new(&"0".repeat(32), &name, &row, times, Vec::new(), class);
        let ring = Keyring::generate([3; 32]);
        assert!((manifest.to_object(Some(ring.signing_key())).len() as u64) < REST);
        let plain = |parts, extents| is_readable(StoredForm::PLAIN, parts, extents);
        assert!(plain(1_900_000, 190) && !plain(2_000_000, 1));
        assert!(plain(10_000, 32_000) && !plain(10_000, 33_000));
        let sealed = |parts, extents| is_readable(StoredForm::ENVELOPE, parts, extents);
        assert!(sealed(1_500_000, 150) && !sealed(1_600_000, 1));
    }

    #[test]
    fn only_a_plausible_manifest_is_read() {
        let limit = |bytes, listed| read_limit("k", bytes, listed).map_err(|e| e.code());
        let refused = Err(Code::Format);
        assert_eq!(limit(0, 1000), Ok(1000 + (64 << 10)));
        assert_eq!(
            (limit(1, 1 << 20), limit(1 << 30, 1 << 20), limit(1 << 40, 1 << 20)),
            (refused, refused, Ok((1 << 20) + (64 << 10)))
        );
        assert_eq!((limit(u64::MAX, 256 << 20), limit(u64::MAX, (256 << 20) + 1)), (Ok(256 << 20), refused));
        // Every manifest that a put can write is read: parts have 8 MiB at least, and extents 640 of them.
        for parts in [1, 2, 639, 641, 10_000, 1_000_000] {
            let extents = parts / 640 + 1;
            let longest = parts * (PART + SALT) + extents * EXTENT + REST;
            assert!(limit((parts - 1) * (8 << 20), longest).is_ok(), "{parts}");
        }
    }

    #[test]
    fn malformed_hashes_are_refused() {
        let text = String::from_utf8(sample(&[b"abc"]).to_object(None)).unwrap();
        let open = |text: &str| Manifest::open(text.as_bytes(), &VerifyKeys::default()).map_err(|e| e.code());
        assert!(open(&text).is_ok());
        for (right, wrong) in [("BeXKuz/B+us=", "BeXKuz/B+us"), ("6437b3ac", "6437b3a"), ("6437b3ac", "6437b3ag")] {
            assert_eq!(open(&text.replace(right, wrong)).err(), Some(Code::Format), "{wrong}");
        }
    }

    #[test]
    fn a_manifest_round_trips() {
        let ring = Keyring::generate([3; 32]);
        let keys = VerifyKeys::one(ring.signing_key().public());
        let manifest = sample(&[b"abc", b"de"]);
        let object = manifest.to_object(Some(ring.signing_key()));
        let opened = Manifest::open(&object, &keys).unwrap();
        assert_eq!((&opened.manifest, opened.hash), (&manifest, hash(&object)));
        assert_eq!(opened.signed_by.as_deref(), Some(ring.signing_key().public().id()));
        let parts: Vec<_> = manifest.parts().map(|part| (part.extent, part.offset, part.length)).collect();
        assert_eq!(parts, [(0, 0, 3), (0, 3, 2)]);
    }

    #[test]
    fn places_are_in_the_backup_and_in_the_object() {
        let mut manifest = sample(&[&[1; 2032], &[2; 1016]]);
        manifest.extents.push(Extent { parts: vec![manifest.extents[0].parts[1]], ..manifest.extents[0].clone() });
        (manifest.form, manifest.extents[1].size, manifest.size) = (segments_of(1000), 1016, 4000);
        for extent in &mut manifest.extents {
            extent.salts = vec![Salt([1; 16]); extent.parts.len()];
        }
        let places: Vec<_> = manifest.parts().map(|p| (p.extent, p.start, p.offset, p.length, p.hash.length)).collect();
        assert_eq!(places, [(0, 0, 0, 2000, 2032), (0, 2032, 2000, 1000, 1016), (1, 0, 3000, 1000, 1016)]);
        let row = RowKey { size: 4000, ..manifest.row_key().unwrap() };
        let name = Name::new("vm", "disk.img").unwrap();
        manifest.key = format!("{}{row}", catalogue_prefix(&name));
        manifest.check().unwrap();
        manifest.extents[1].size = 15;
        manifest.extents[1].parts[0].length = 15;
        assert!(manifest.check().unwrap_err().message().contains("a length that no part can have"));
        manifest.extents[0].salts.pop();
        assert!(manifest.check().unwrap_err().message().contains("one salt for each part"));
    }

    fn without_hashes(manifest: &mut Manifest) {
        manifest.adopted = Some(Adopted { etag: "e".into(), md5: None });
        (manifest.extents[0].crc64nvme, manifest.extents[0].parts) = (None, Vec::new());
    }

    /// The format on the store is a promise: this test changes only together with the format's number.
    #[test]
    fn the_exact_format_of_what_was_adopted_without_hashes() {
        let mut manifest = sample(&[b"abc"]);
        without_hashes(&mut manifest);
        let object = manifest.to_object(None);
        let end = "\"size\":3,\"extents\":[{\"key\":\"vm/disk.img\",\"version_id\":\"v1\",\"size\":3,\"parts\":[]}],\
                   \"adopted\":{\"etag\":\"e\"}}\n";
        assert!(String::from_utf8_lossy(&object).ends_with(end), "{}", String::from_utf8_lossy(&object));
        let opened = Manifest::open(&object, &VerifyKeys::default()).unwrap().manifest;
        assert!(opened == manifest && opened.has_no_hashes() && opened.parts().next().is_none());
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        let change = |f: fn(&mut Manifest)| {
            let mut manifest = sample(&[b"abc", b"de"]);
            f(&mut manifest);
            Manifest::open(&manifest.to_object(None), &VerifyKeys::default()).map_err(|e| e.code())
        };
        assert!(change(|_| ()).is_ok());
        for wrong in [
            (|m| m.size = 6) as fn(&mut Manifest),
            |m| m.container = "other".into(),
            |m| m.vid = Vid::new(0, [0; 10]).to_string(),
            |m| m.recorded += 1,
            |m| m.kind = Kind::Inc,
            |m| m.extents[0].size = 4,
            |m| m.extents[0].parts[0].length = u64::MAX,
            |m| m.extents.clear(),
            |m| m.path = "a/../b".into(),
            |m| m.extents[0].crc64nvme = None,
            // Only what was adopted may lack hashes, and then it is one object.
            |m| (m.extents[0].crc64nvme, m.extents[0].parts) = (None, Vec::new()),
            |m| (m.adopted, m.extents[0].parts) = (Some(Adopted { etag: "e".into(), md5: None }), Vec::new()),
            |m| {
                without_hashes(m);
                m.extents[0].size = 4;
            },
            |m| {
                without_hashes(m);
                m.extents.push(m.extents[0].clone());
            },
            |m| m.extents[0].parts.insert(0, PartHash::new(0, &checksum::digest(b""))),
        ] {
            assert_eq!(change(wrong).err(), Some(Code::Format));
        }
    }
}
