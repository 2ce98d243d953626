//! The checkpoint of an upload: what a new process needs to resume it, appended record by record.
//!
//! A record is a line, `<CRC64NVME of the JSON, 16 hex digits> <JSON>\n`. A torn last line is dropped: it was being
//! written when the process ended. A checkpoint contains no secrets.
//!
//! ```text
//!  begin ─▶ (extent ─▶ part … ─▶ complete ─▶ stored)… ─▶ row
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checksum::{Crc, Digest, combine_all};
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::transfer::extent::{Extent, PartHash};
use crate::transfer::stored_form::StoredForm;

/// Version of the record format.
const FORMAT: u32 = 1;

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
}

impl FileIdentity {
    /// Whether this is still the same file with the same content, as far as the file system can tell.
    fn is_same_file(&self, other: &FileIdentity) -> bool {
        (self.inode, self.size, self.modified_ns) == (other.inode, other.size, other.modified_ns)
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
}

/// A completed step of a put.
#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
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
    },
    /// All parts of the extent are stored, and Complete is about to be sent. `ended`: the source ends with this extent.
    Complete { last: u32, ended: bool },
    /// The extent's object is complete.
    Stored { version_id: Option<String>, date: Option<i64> },
    /// The catalogue row, in its final bytes.
    Row { object: Cow<'a, str> },
}

/// Length of what precedes a record's JSON: its checksum and a space.
const SUM: usize = 17;

impl Record<'_> {
    /// The line to append to the checkpoint.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = vec![b' '; SUM];
        // Writing strings and numbers into memory cannot fail.
        let _ = serde_json::to_writer(&mut line, self);
        let sum = format!("{:016x}", crate::checksum::digest(&line[SUM..]).crc64nvme);
        line[..SUM - 1].copy_from_slice(sum.as_bytes());
        line.push(b'\n');
        line
    }

    fn parse(line: &[u8]) -> Option<Record<'static>> {
        let (crc, json) = line.split_at_checked(SUM)?;
        let crc = u64::from_str_radix(std::str::from_utf8(crc.strip_suffix(b" ")?).ok()?, 16).ok()?;
        let is_whole = crate::checksum::digest(json).crc64nvme == crc || is_active(Mutation::AcceptTornRecord);
        is_whole.then(|| serde_json::from_slice(json).ok())?
    }
}

/// The line that is appended.
impl From<Record<'_>> for Vec<u8> {
    fn from(record: Record<'_>) -> Vec<u8> {
        record.line()
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
        version_id,
        size: stored_length_of(parts.values()),
        crc64nvme: whole_crc(parts),
        parts: parts.values().map(|part| PartHash::new(part.stored, &part.digest)).collect(),
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
    /// The form in which the backup is stored. Format 1 has no other form than [`StoredForm::PLAIN`].
    form: StoredForm,
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
    /// must be truncated there before the next record is appended.
    pub fn parse(bytes: &[u8]) -> Result<(Checkpoint, usize)> {
        Checkpoint::read(bytes, StoredForm::PLAIN)
    }

    fn read(bytes: &[u8], form: StoredForm) -> Result<(Checkpoint, usize)> {
        let mut checkpoint = Checkpoint { form, next: (1, 0), ..Checkpoint::default() };
        let mut valid = 0;
        while valid < bytes.len() {
            let rest = &bytes[valid..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let is_last = end.is_none_or(|end| end + 1 == rest.len());
            let record = end.and_then(|end| Record::parse(&rest[..end]));
            let Some(record) = record else {
                if is_last {
                    break;
                }
                return Err(malformed(&format!("the record at byte {valid} is damaged, and other records follow it")));
            };
            checkpoint.apply(record, valid)?;
            valid += end.unwrap_or(0) + 1;
        }
        Ok((checkpoint, valid))
    }

    fn apply(&mut self, record: Record<'_>, at: usize) -> Result<()> {
        let out_of_order = || Err(malformed(&format!("the record at byte {at} is out of order")));
        match record {
            Record::Header { format, .. } if format != FORMAT => {
                return Err(malformed(&format!("its format is {format}, but this version reads format {FORMAT}")));
            }
            Record::Header { header, .. } if self.header.is_none() => self.header = Some(header),
            _ if self.header.is_none() => return out_of_order(),
            Record::Extent { key, upload_id, first, offset, signed } if self.open.is_none() && !self.ended => {
                if (first, offset) != self.next {
                    return out_of_order();
                }
                let parts = BTreeMap::new();
                self.open = Some(OpenUpload { key, upload_id, first, offset, signed, parts, complete: None });
            }
            Record::Part { number, hash, etag } => {
                let Some(open) = &mut self.open else { return out_of_order() };
                let Some(length) = self.form.length(hash.length) else {
                    return Err(malformed(&format!("the part at byte {at} has a length that no part can have")));
                };
                open.parts.insert(number, Finished { length, stored: hash.length, digest: hash.digest(), etag });
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
        match (&header.source, &wanted.source) {
            (Some(have), Some(now)) if have.is_same_file(now) => Ok(()),
            (Some(have), Some(now)) => {
                let why = format!(
                    "the file is not the one that the checkpoint was started with: {}",
                    if have.size == now.size { "it was modified or replaced since" } else { "its size changed" }
                );
                Err(Error::new(Code::SourceChanged, why)
                    .with_hint("Remove the checkpoint to store the file from the start."))
            }
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
            source: Some(FileIdentity { device: 1, inode: 2, size: 3, modified_ns: 4 }),
            length: Some(3),
            part: 8,
        }
    }

    fn records() -> Vec<Vec<u8>> {
        let hash = |text: &[u8]| PartHash::new(text.len() as u64, &digest(text));
        [
            Checkpoint::record(header()),
            Record::Extent { key: "vm/disk".into(), upload_id: "u".into(), first: 1, offset: 0, signed: 5 },
            Record::Part { number: 2, hash: hash(b"cd"), etag: "\"2\"".into() },
            Record::Part { number: 1, hash: hash(b"ab"), etag: "\"1\"".into() },
            Record::Complete { last: 2, ended: false },
            Record::Stored { version_id: Some("v".into()), date: Some(6) },
            Record::Extent { key: "vm/disk@x.2".into(), upload_id: "w".into(), first: 3, offset: 4, signed: 7 },
            Record::Part { number: 3, hash: hash(b"e"), etag: "\"3\"".into() },
        ]
        .iter()
        .map(Record::line)
        .collect()
    }

    #[test]
    fn records_round_trip() {
        let bytes = records().concat();
        let (checkpoint, valid) = Checkpoint::parse(&bytes).unwrap();
        assert_eq!(valid, bytes.len());
        assert_eq!(checkpoint.header, Some(header()));
        let [extent] = checkpoint.extents.as_slice() else { panic!("{:?}", checkpoint.extents) };
        assert_eq!((extent.size, extent.parts.len(), extent.version_id.as_deref()), (4, 2, Some("v")));
        assert_eq!(extent.crc64nvme, digest(b"abcd").crc64nvme);
        assert_eq!((checkpoint.next, checkpoint.ended, checkpoint.stored_ms), ((3, 4), false, Some(6)));
        let open = checkpoint.open.unwrap();
        assert_eq!((open.upload_id.as_str(), open.first, open.parts.len()), ("w", 3, 1));
    }

    #[test]
    fn offsets_are_of_the_backup_and_sizes_as_stored() {
        let text = [b'a'; 1016 + 1016 + 21];
        let hash = |range: std::ops::Range<usize>| PartHash::new(range.len() as u64, &digest(&text[range]));
        let mut records = vec![
            Checkpoint::record(header()),
            Record::Extent { key: "k".into(), upload_id: "u".into(), first: 1, offset: 0, signed: 5 },
            Record::Part { number: 1, hash: hash(0..2032), etag: String::new() },
            Record::Complete { last: 1, ended: false },
            Record::Stored { version_id: None, date: None },
            Record::Extent { key: "k.2".into(), upload_id: "u".into(), first: 2, offset: 2000, signed: 5 },
            Record::Part { number: 2, hash: hash(2032..2053), etag: String::new() },
        ];
        let read = |records: &[Record<'_>]| {
            let bytes: Vec<u8> = records.iter().flat_map(Record::line).collect();
            Checkpoint::read(&bytes, segments_of(1000)).map(|(checkpoint, _)| checkpoint)
        };
        let checkpoint = read(&records).unwrap();
        assert_eq!((checkpoint.extents[0].size, checkpoint.next), (2032, (2, 2000)));
        let open = checkpoint.open.unwrap();
        assert_eq!((open.parts[&2].length, open.parts[&2].stored, open.extent(None).size), (5, 21, 21));
        assert_eq!(open.extent(None).crc64nvme, digest(&text[2032..]).crc64nvme);
        records[6] = Record::Part { number: 2, hash: hash(0..15), etag: String::new() };
        let e = read(&records).unwrap_err();
        assert!(e.code() == Code::BadCheckpoint && e.message().contains("a length that no part can have"), "{e}");
    }

    #[test]
    fn a_torn_last_record_is_dropped_wherever_it_was_cut() {
        let records = records();
        let bytes = records.concat();
        let whole = bytes.len() - records.last().unwrap().len();
        for cut in whole..bytes.len() {
            let (checkpoint, valid) = Checkpoint::parse(&bytes[..cut]).unwrap();
            assert_eq!(valid, whole, "cut at {cut}");
            assert!(checkpoint.open.unwrap().parts.is_empty());
        }
        let mut malformed = bytes.clone();
        *malformed.iter_mut().rev().nth(5).unwrap() ^= 1;
        assert_eq!(Checkpoint::parse(&malformed).unwrap().1, whole, "a last record with another byte counts as torn");
    }

    #[test]
    fn damage_before_the_last_record_is_refused() {
        let records = records();
        let mut bytes = records.concat();
        bytes[30] ^= 1;
        assert_eq!(Checkpoint::parse(&bytes).unwrap_err().code(), Code::BadCheckpoint);
        for missing in [0, 1, 2, 4, 5] {
            let rest: Vec<u8> =
                records.iter().enumerate().filter(|(n, _)| *n != missing).flat_map(|(_, r)| r.clone()).collect();
            assert_eq!(Checkpoint::parse(&rest).unwrap_err().code(), Code::BadCheckpoint, "without record {missing}");
        }
        assert_eq!(Checkpoint::parse(b"hello\nworld\n").unwrap_err().code(), Code::BadCheckpoint);
        assert!(Checkpoint::parse(b"").unwrap().0.header.is_none());
    }

    #[test]
    fn another_backups_checkpoint_is_refused() {
        let (checkpoint, _) = Checkpoint::parse(&records().concat()).unwrap();
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
    }
}
