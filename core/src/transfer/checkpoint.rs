//! The checkpoint of an upload: what a new process needs to resume it, appended record by record to a [journal](crate::journal).
//! A checkpoint contains no secrets.
//!
//! ```text
//!  begin ─▶ (extent ─▶ part … ─▶ complete ─▶ stored)… ─▶ row
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checksum::{Crc, Digest, combine_all};
use crate::crypto::data_key::WrappedKey;
use crate::crypto::segment::Salt;
use crate::error::{Code, Error, Result};
use crate::journal::{self, JournalKey, Tag};
use crate::text::presentable;
use crate::transfer::extent::{Extent, PartHash};
use crate::transfer::stored_form::StoredForm;

/// Version of the record format. Format 1 had no first line and no tags.
const FORMAT: u32 = 2;

/// Identity of a file, to tell whether it is still the one that a checkpoint was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Device number of the file system. It may change with a reboot or on another host, so it is informational only.
    pub device: u64,
    /// Inode number in the file system.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last modification, in Unix nanoseconds.
    pub modified_ns: i64,
    /// Time of the last change of content or status (ctime), in Unix nanoseconds: a program that rewrites a file can set
    /// the time of modification back, but not this one. `None` in checkpoints of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_ns: Option<i64>,
}

impl FileIdentity {
    /// Says what changed in the file from then (`self`) to `now`. `None`: it is the same file with the same content, as far
    /// as the file system can tell.
    pub fn change(&self, now: &FileIdentity) -> Option<String> {
        if self.size != now.size {
            Some(format!("its size changed from {} to {} bytes", self.size, now.size))
        } else if self.inode != now.inode {
            Some("it was replaced by another file".into())
        } else if self.modified_ns != now.modified_ns {
            Some("its time of modification (mtime) changed".into())
        } else if self.changed_ns.zip(now.changed_ns).is_some_and(|(then, now)| then != now) {
            Some(
                "its time of status change (ctime) changed: it was rewritten, renamed, linked, or got another mode"
                    .into(),
            )
        } else {
            None
        }
    }
}

/// The backup that a checkpoint belongs to, and what was decided when its put started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) vault: String,
    pub(crate) container: String,
    pub(crate) path: String,
    pub(crate) parent: Option<String>,
    pub(crate) vid: String,
    /// Start of the put, in Unix milliseconds.
    pub(crate) initiated: i64,
    pub(crate) source: Option<FileIdentity>,
    /// Length in bytes; known for a file only.
    pub(crate) length: Option<u64>,
    /// Size of a file's parts, in bytes.
    pub(crate) part: u64,
    /// The source may change while it is stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) live: bool,
    /// Labels of the version, one `key=value` per line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) labels: String,
    /// The lock of what the put stores, as its settings name it; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) immutable: String,
    /// How the data is encrypted; empty if it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) encryption: String,
    /// The data key, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wrapped: Option<WrappedKey>,
}

/// A completed step of a put.
#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
#[allow(clippy::large_enum_variant)] // A record is encoded at once.
pub(crate) enum Record<'a> {
    #[serde(rename = "begin")]
    Header {
        format: u32,
        #[serde(flatten)]
        header: Header,
    },
    /// An upload was created, for the object that starts with this part.
    Extent { key: String, upload_id: String, first: u32, offset: u64, signed: i64 },
    /// The store has a part.
    Part {
        number: u32,
        #[serde(flatten)]
        hash: PartHash,
        etag: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        salt: Option<Salt>,
    },
    /// All parts of the extent are stored, and Complete is about to be sent. `ended`: the source ends with this extent.
    Complete { last: u32, ended: bool },
    /// The extent's object is complete.
    Stored { version_id: Option<String>, date: Option<i64> },
    /// The catalogue row, in its final bytes.
    Row { object: Cow<'a, str> },
}

/// Its JSON.
impl From<Record<'_>> for Vec<u8> {
    fn from(record: Record<'_>) -> Vec<u8> {
        // Strings, numbers and structs of them always serialize.
        serde_json::to_vec(&record).unwrap_or_default()
    }
}

/// A part that the store has.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// Length in bytes of the backup.
    pub(crate) length: u64,
    /// Length in bytes as stored.
    pub(crate) stored: u64,
    /// Hashes of the stored bytes.
    pub(crate) digest: Digest,
    pub(crate) etag: String,
    pub(crate) salt: Option<Salt>,
}

/// An upload that was created and is not known to be completed.
#[derive(Clone, Debug)]
pub(crate) struct OpenUpload {
    pub(crate) key: String,
    pub(crate) upload_id: String,
    pub(crate) first: u32,
    pub(crate) offset: u64,
    pub(crate) signed: i64,
    pub(crate) parts: BTreeMap<u32, Finished>,
    /// If Complete may have been sent: the last part, and whether the source ends with it.
    pub(crate) complete: Option<(u32, bool)>,
}

impl OpenUpload {
    /// The extent that this upload makes once it is completed.
    fn extent(&self, version_id: Option<String>) -> Extent {
        extent(&self.key, version_id, &self.parts)
    }
}

/// The extent that consists of these parts.
pub(crate) fn extent(key: &str, version_id: Option<String>, parts: &BTreeMap<u32, Finished>) -> Extent {
    Extent {
        key: key.to_owned(),
        // The id of all objects that were stored while versioning is suspended.
        version_id: version_id.filter(|id| id != "null"),
        size: stored_length_of(parts.values()),
        crc64nvme: Some(whole_crc(parts)),
        parts: parts.values().map(|part| PartHash::new(part.stored, &part.digest)).collect(),
        salts: parts.values().filter_map(|part| part.salt).collect(),
    }
}

/// Total length of these parts, in bytes of the backup.
pub(crate) fn length_of<'a>(parts: impl Iterator<Item = &'a Finished>) -> u64 {
    parts.map(|part| part.length).sum()
}

/// Total stored length of these parts, in bytes.
pub(crate) fn stored_length_of<'a>(parts: impl Iterator<Item = &'a Finished>) -> u64 {
    parts.map(|part| part.stored).sum()
}

/// CRC64NVME of the object that consists of these parts.
pub(crate) fn whole_crc(parts: &BTreeMap<u32, Finished>) -> u64 {
    combine_all(Crc::Crc64Nvme, parts.values().map(|part| (part.digest.crc64nvme, part.stored)))
}

/// A checkpoint that was read; one without records belongs to a put that has not started.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The form in which the backup is stored.
    form: StoredForm,
    /// Tag of the last record.
    pub(crate) last: Tag,
    pub(crate) header: Option<Header>,
    /// Extents that are stored, and the `Date` of the reply that completed the last of them.
    pub(crate) extents: Vec<Extent>,
    pub(crate) stored_ms: Option<i64>,
    /// Number of the first part after the last extent, and its offset in the backup.
    pub(crate) next: (u32, u64),
    pub(crate) open: Option<OpenUpload>,
    /// The source ends with the last extent.
    pub(crate) ended: bool,
    pub(crate) row: Option<String>,
}

impl Checkpoint {
    /// Parses the file's bytes, and returns the length of their valid part: a torn last record is dropped, and the file
    /// must be truncated there before the next record is appended. A file that is not a checkpoint, or was written with
    /// another key, is an error.
    pub fn parse(bytes: &[u8], key: &JournalKey) -> Result<(Checkpoint, usize)> {
        Checkpoint::read(bytes, key, StoredForm::PLAIN)
    }

    fn read(bytes: &[u8], key: &JournalKey, form: StoredForm) -> Result<(Checkpoint, usize)> {
        let lines = journal::read(bytes, key)?;
        let mut checkpoint = Checkpoint { form, next: (1, 0), last: lines.last, ..Checkpoint::default() };
        for (at, json) in lines.records {
            let record = serde_json::from_slice(json)
                .map_err(|e| malformed(&format!("the record at byte {at} cannot be parsed: {}", presentable(e))))?;
            checkpoint.apply(record, at)?;
        }
        Ok((checkpoint, lines.valid))
    }

    fn apply(&mut self, record: Record<'_>, at: usize) -> Result<()> {
        let out_of_order = || Err(malformed(&format!("the record at byte {at} is out of order")));
        match record {
            Record::Header { format, .. } if format != FORMAT => {
                return Err(malformed(&format!("its format is {format}, but this version reads format {FORMAT}")));
            }
            Record::Header { header, .. } if self.header.is_none() => {
                if !header.encryption.is_empty() {
                    self.form = StoredForm::of_encryption(&header.encryption);
                }
                self.header = Some(header);
            }
            _ if self.header.is_none() => return out_of_order(),
            Record::Extent { key, upload_id, first, offset, signed } if self.open.is_none() && !self.ended => {
                if (first, offset) != self.next {
                    return out_of_order();
                }
                let parts = BTreeMap::new();
                self.open = Some(OpenUpload { key, upload_id, first, offset, signed, parts, complete: None });
            }
            Record::Part { number, hash, etag, salt } => {
                let Some(open) = &mut self.open else { return out_of_order() };
                let Some(length) = self.form.length(hash.length) else {
                    return Err(malformed(&format!("the part at byte {at} has a length that no part can have")));
                };
                if salt.is_some() == self.form.is_plain() {
                    return Err(malformed(&format!("the part at byte {at} is not in the form of its backup")));
                }
                open.parts.insert(number, Finished { length, stored: hash.length, digest: hash.digest(), etag, salt });
            }
            Record::Complete { last, ended } => match &mut self.open {
                Some(open) if (open.first..=last).all(|number| open.parts.contains_key(&number)) => {
                    open.complete = Some((last, ended));
                }
                _ => return out_of_order(),
            },
            Record::Stored { version_id, date } => {
                let Some(open @ OpenUpload { complete: Some((last, ended)), .. }) = self.open.take() else {
                    return out_of_order();
                };
                let extent = open.extent(version_id);
                self.next = (last + 1, open.offset + length_of(open.parts.values()));
                self.ended = ended;
                self.stored_ms = date;
                self.extents.push(extent);
            }
            Record::Row { object } if self.open.is_none() => self.row = Some(object.into_owned()),
            Record::Header { .. } | Record::Extent { .. } | Record::Row { .. } => return out_of_order(),
        }
        Ok(())
    }

    /// Refuses the checkpoint of a backup other than `wanted`, and that of a file that has changed.
    pub(crate) fn check(&self, wanted: &Header) -> Result<()> {
        let Some(header) = &self.header else { return Ok(()) };
        for (what, have, want) in [
            ("vault", &header.vault, &wanted.vault),
            ("container", &header.container, &wanted.container),
            ("path", &header.path, &wanted.path),
        ] {
            if have != want {
                return Err(Error::new(
                    Code::BadCheckpoint,
                    format!("the checkpoint belongs to another backup: its {what} is {have}, not {want}"),
                ));
            }
        }
        let parent = |header: &Header| header.parent.clone().unwrap_or_else(|| "none".into());
        if header.parent != wanted.parent {
            let why = format!(
                "the checkpoint belongs to another backup: its parent is {}, not {}",
                parent(header),
                parent(wanted)
            );
            return Err(Error::new(Code::BadCheckpoint, why));
        }
        if header.live != wanted.live {
            let word = |header: &Header| if header.live { "live" } else { "fixed" };
            let (have, want) = (word(header), word(wanted));
            let why = format!("the checkpoint was started with source = {have}, not {want}");
            return Err(Error::new(Code::BadCheckpoint, why).with_hint(format!(
                "Set source = {have}, or remove the checkpoint to store the backup from the start."
            )));
        }
        for (option, have, want) in [
            ("labels", &header.labels, &wanted.labels),
            ("immutable_days", &header.immutable, &wanted.immutable),
            ("encryption", &header.encryption, &wanted.encryption),
        ] {
            if have != want {
                let shown = |text: &str| match presentable(text.trim_end().replace('\n', ",")) {
                    text if text.is_empty() => "none".to_owned(),
                    text => text,
                };
                let (have, want) = (shown(have), shown(want));
                let why = format!("the checkpoint was started with other {option}: {have}, not {want}");
                return Err(Error::new(Code::BadCheckpoint, why).with_hint(format!(
                    "Set {option} as it was, or remove the checkpoint to store the backup from the start."
                )));
            }
        }
        match (&header.source, &wanted.source) {
            (Some(have), Some(now)) => match have.change(now) {
                None => Ok(()),
                Some(change) => {
                    let why = format!("the file is not the one that the checkpoint was started with: {change}");
                    Err(Error::new(Code::SourceChanged, why)
                        .with_hint("Remove the checkpoint to store the file from the start."))
                }
            },
            (None, None) if header.length == wanted.length => Ok(()),
            _ => Err(Error::new(
                Code::BadCheckpoint,
                "the checkpoint belongs to another source: one is a file and the other a stream, or their lengths differ",
            )),
        }
    }

    pub(crate) fn record(header: Header) -> Record<'static> {
        Record::Header { format: FORMAT, header }
    }
}

fn malformed(why: &str) -> Error {
    Error::new(Code::BadCheckpoint, format!("the checkpoint cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::digest;
    use crate::journal::tests::{file, key};
    use crate::transfer::stored_form::tests::segments_of;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn header() -> Header {
        Header {
            vault: "00ff".into(),
            container: "vm".into(),
            path: "disk".into(),
            parent: None,
            vid: "7YCN4PG5ZZ0W3GE1R70W3GE1R7".into(),
            initiated: 1,
            source: Some(FileIdentity { device: 1, inode: 2, size: 3, modified_ns: 4, changed_ns: Some(5) }),
            length: Some(3),
            part: 8,
            live: false,
            labels: String::new(),
            immutable: String::new(),
            encryption: String::new(),
            wrapped: None,
        }
    }

    fn records() -> Vec<Record<'static>> {
        let hash = |text: &[u8]| PartHash::new(text.len() as u64, &digest(text));
        [
            Checkpoint::record(header()),
            Record::Extent { key: "vm/disk".into(), upload_id: "u".into(), first: 1, offset: 0, signed: 5 },
            Record::Part { number: 2, hash: hash(b"cd"), etag: "\"2\"".into(), salt: None },
            Record::Part { number: 1, hash: hash(b"ab"), etag: "\"1\"".into(), salt: None },
            Record::Complete { last: 2, ended: false },
            Record::Stored { version_id: Some("v".into()), date: Some(6) },
            Record::Extent { key: "vm/disk@x.2".into(), upload_id: "w".into(), first: 3, offset: 4, signed: 7 },
            Record::Part { number: 3, hash: hash(b"e"), etag: "\"3\"".into(), salt: None },
        ]
        .into()
    }

    fn parse(records: Vec<Record<'_>>) -> Result<Checkpoint> {
        Checkpoint::parse(&file(records), &key()).map(|(checkpoint, _)| checkpoint)
    }

    #[test]
    fn records_round_trip() {
        let bytes = file(records());
        let (checkpoint, valid) = Checkpoint::parse(&bytes, &key()).unwrap();
        assert_eq!(valid, bytes.len());
        assert_eq!(checkpoint.header, Some(header()));
        let [extent] = checkpoint.extents.as_slice() else { panic!("{:?}", checkpoint.extents) };
        assert_eq!((extent.size, extent.parts.len(), extent.version_id.as_deref()), (4, 2, Some("v")));
        assert_eq!(extent.crc64nvme, Some(digest(b"abcd").crc64nvme));
        assert_eq!((checkpoint.next, checkpoint.ended, checkpoint.stored_ms), ((3, 4), false, Some(6)));
        let open = checkpoint.open.unwrap();
        assert_eq!((open.upload_id.as_str(), open.first, open.parts.len()), ("w", 3, 1));
    }

    #[test]
    fn the_date_of_the_last_extent_counts() {
        let mut records = records();
        records.push(Record::Complete { last: 3, ended: true });
        records.push(Record::Stored { version_id: None, date: Some(8) });
        let checkpoint = parse(records).unwrap();
        assert_eq!((checkpoint.extents.len(), checkpoint.stored_ms, checkpoint.ended), (2, Some(8), true));
    }

    #[test]
    fn offsets_are_of_the_backup_and_sizes_as_stored() {
        let text: Vec<u8> = (0..1016 + 1016 + 21).map(|n| (n % 251) as u8).collect();
        let hash = |range: std::ops::Range<usize>| PartHash::new(range.len() as u64, &digest(&text[range]));
        let mut records = vec![
            Checkpoint::record(header()),
            Record::Extent { key: "k".into(), upload_id: "u".into(), first: 1, offset: 0, signed: 5 },
            Record::Part { number: 1, hash: hash(0..1016), etag: String::new(), salt: Some(Salt([1; 16])) },
            Record::Part { number: 2, hash: hash(1016..2032), etag: String::new(), salt: Some(Salt([1; 16])) },
            Record::Complete { last: 2, ended: false },
            Record::Stored { version_id: None, date: None },
            Record::Extent { key: "k.2".into(), upload_id: "u".into(), first: 3, offset: 2000, signed: 5 },
            Record::Part { number: 3, hash: hash(2032..2053), etag: String::new(), salt: Some(Salt([1; 16])) },
        ];
        let read = |records: &[Record<'_>]| {
            let records = records.iter().map(|record| serde_json::to_vec(record).unwrap());
            Checkpoint::read(&file(records), &key(), segments_of(1000)).map(|(checkpoint, _)| checkpoint)
        };
        let checkpoint = read(&records).unwrap();
        assert_eq!((checkpoint.extents[0].size, checkpoint.next), (2032, (3, 2000)));
        assert_eq!(checkpoint.extents[0].crc64nvme, Some(digest(&text[..2032]).crc64nvme));
        let open = checkpoint.open.unwrap();
        assert_eq!((open.parts[&3].length, open.parts[&3].stored, open.extent(None).size), (5, 21, 21));
        assert_eq!(open.extent(None).crc64nvme, Some(digest(&text[2032..]).crc64nvme));
        records[7] = Record::Part { number: 3, hash: hash(0..15), etag: String::new(), salt: Some(Salt([1; 16])) };
        let e = read(&records).unwrap_err();
        assert!(e.code() == Code::BadCheckpoint && e.message().contains("a length that no part can have"), "{e}");
    }

    #[test]
    fn a_torn_last_record_is_dropped() {
        let bytes = file(records());
        let (checkpoint, valid) = Checkpoint::parse(&bytes[..bytes.len() - 5], &key()).unwrap();
        assert!(checkpoint.open.unwrap().parts.is_empty());
        let mut seven = records();
        seven.pop();
        assert_eq!(valid, file(seven).len());
    }

    #[test]
    fn records_that_are_out_of_order_or_of_another_format_are_refused() {
        for missing in [0, 1, 2, 4, 5] {
            let mut rest = records();
            rest.remove(missing);
            assert_eq!(parse(rest).unwrap_err().code(), Code::BadCheckpoint, "without record {missing}");
        }
        for json in ["{}", "[", r#"{"record":"other"}"#] {
            let e = Checkpoint::parse(&file([json]), &key()).unwrap_err();
            assert!(e.code() == Code::BadCheckpoint && e.message().contains("at byte 21"), "{e}");
        }
        // A Complete names parts that were recorded, and an extent starts where the one before ends.
        let mut lacking = records();
        lacking.truncate(5);
        lacking.remove(2);
        assert_eq!(parse(lacking).unwrap_err().code(), Code::BadCheckpoint);
        for (first, offset) in [(4, 4), (3, 5), (1, 0)] {
            let mut moved = records();
            moved.truncate(6);
            let (key, upload_id) = ("k.2".into(), "w".into());
            moved.push(Record::Extent { key, upload_id, first, offset, signed: 7 });
            assert_eq!(parse(moved).unwrap_err().code(), Code::BadCheckpoint, "part {first} at {offset}");
        }
        // Nothing follows the end of the source, and the row comes when nothing is open.
        let mut ended = records();
        ended[4] = Record::Complete { last: 2, ended: true };
        assert_eq!(parse(ended).unwrap_err().code(), Code::BadCheckpoint);
        let mut open = records();
        open.push(Record::Row { object: "{}".into() });
        assert_eq!(parse(open).unwrap_err().code(), Code::BadCheckpoint);
        let e = parse(vec![Record::Header { format: 1, header: header() }]).unwrap_err();
        assert!(e.message().contains("its format is 1, but this version reads format 2"), "{e}");
        assert!(Checkpoint::parse(b"", &key()).unwrap().0.header.is_none());
    }

    /// The header of a version that recorded no time of status change, and knew no live sources.
    #[test]
    fn a_header_without_the_newer_fields_is_that_of_a_fixed_file() {
        let fixed = serde_json::to_value(header()).unwrap();
        let mut older = fixed.clone();
        assert!(older["source"].as_object_mut().unwrap().remove("changed_ns").is_some());
        assert!(fixed.get("live").is_none(), "{fixed}");
        let older: Header = serde_json::from_value(older).unwrap();
        assert!(!older.live && older.source.unwrap().changed_ns.is_none());
        let checkpoint = parse(vec![Checkpoint::record(older)]).unwrap();
        assert_eq!(checkpoint.check(&header()), Ok(()));
        let live = Header { live: true, source: None, ..header() };
        let e = parse(vec![Checkpoint::record(live)]).unwrap().check(&header()).unwrap_err();
        let text = format!("{e} {}", e.hint());
        assert!(text.contains("source = live, not fixed") && text.contains("Set source = live"), "{text}");
    }

    #[test]
    fn another_backups_checkpoint_is_refused() {
        let checkpoint = parse(records()).unwrap();
        let code = |change: fn(&mut Header)| {
            let mut wanted = header();
            change(&mut wanted);
            checkpoint.check(&wanted).err().map(|e| e.code())
        };
        assert_eq!(code(|b| b.source.as_mut().unwrap().device = 9), None, "a device's number may change with a reboot");
        assert_eq!(code(|b| b.vault = "x".into()), Some(Code::BadCheckpoint));
        assert_eq!(code(|b| b.container = "x".into()), Some(Code::BadCheckpoint));
        assert_eq!(code(|b| b.path = "x".into()), Some(Code::BadCheckpoint));
        assert_eq!(code(|b| b.parent = Some("x".into())), Some(Code::BadCheckpoint));
        assert_eq!(code(|b| (b.source, b.length) = (None, None)), Some(Code::BadCheckpoint));
        assert_eq!(code(|b| b.source.as_mut().unwrap().modified_ns = 9), Some(Code::SourceChanged));
        assert_eq!(code(|b| b.source.as_mut().unwrap().inode = 9), Some(Code::SourceChanged));
        assert_eq!(code(|b| b.source.as_mut().unwrap().size = 9), Some(Code::SourceChanged));
        assert_eq!(code(|b| b.source.as_mut().unwrap().changed_ns = Some(9)), Some(Code::SourceChanged));
        assert_eq!(code(|b| b.source.as_mut().unwrap().changed_ns = None), None, "there is nothing to compare");
        assert_eq!(code(|b| b.live = true), Some(Code::BadCheckpoint));
        let stream = parse(vec![Checkpoint::record(Header { source: None, ..header() })]).unwrap();
        assert!(stream.check(&Header { source: None, ..header() }).is_ok());
        let other = stream.check(&Header { source: None, length: Some(4), ..header() }).unwrap_err();
        assert_eq!(other.code(), Code::BadCheckpoint, "another length");
    }
}
