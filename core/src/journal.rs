//! The journal: the records that a machine wants saved before it takes its next step, as lines of a file. It knows their
//! order, how many are not on the disk yet, and whether a line that is read back was written here; nothing of what they
//! say.
//!
//! ```text
//! s3vault checkpoint 2
//! <tag, 32 hex digits> <JSON>
//! ```
//! A file without the first line is something else, and is left alone. A tag is the first half of keyed BLAKE3 (§2.1 of
//! its paper) over the tag before it, zeros for the first, and the JSON. So a line counts only behind the lines that it
//! was written behind, in a file that was written with the same key. A torn last line is dropped: it was being written
//! when the process ended.

use std::collections::VecDeque;
use std::fmt;

use constant_time_eq::constant_time_eq;
use zeroize::Zeroizing;

use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};

/// The first line.
pub(crate) const FIRST_LINE: &[u8] = b"s3vault checkpoint 2\n";
/// Length of what precedes a line's JSON: its tag in hex, and a space.
const BEFORE_JSON: usize = 33;

/// The tag of a line.
pub(crate) type Tag = [u8; 16];

/// The key of the tags.
#[derive(Clone)]
pub struct JournalKey(Zeroizing<[u8; 32]>);

impl JournalKey {
    /// The key that belongs to this secret. Without a secret (empty) the tags tell damage, and not who wrote a line.
    pub fn derive(secret: &[u8]) -> JournalKey {
        JournalKey(Zeroizing::new(blake3::derive_key("s3vault 2026-11-29 tags of checkpoint records", secret)))
    }

    fn tag(&self, before: &Tag, json: &[u8]) -> Tag {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(before).update(json);
        let mut tag = Tag::default();
        hasher.finalize_xof().fill(&mut tag);
        tag
    }
}

impl fmt::Debug for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JournalKey(***)")
    }
}

/// Records of a put that have to be saved, and the number of those whose save is not confirmed yet.
pub(crate) struct Journal {
    key: JournalKey,
    /// Tag of the last line.
    last: Tag,
    records: VecDeque<(Vec<u8>, bool)>,
    unsaved: usize,
}

impl Journal {
    /// A journal that continues behind a line with this tag; zeros if there is none.
    pub(crate) fn new(key: JournalKey, last: Tag) -> Journal {
        Journal { key, last, records: VecDeque::new(), unsaved: 0 }
    }

    /// Adds a record. With `restart` it replaces everything that was saved before.
    pub(crate) fn add(&mut self, json: impl Into<Vec<u8>>, restart: bool) {
        let (json, mut line) = (json.into(), Vec::new());
        if restart {
            self.last = Tag::default();
            line.extend_from_slice(FIRST_LINE);
        }
        self.last = self.key.tag(&self.last, &json);
        line.extend_from_slice(hex::encode(self.last).as_bytes());
        line.push(b' ');
        line.extend(json);
        line.push(b'\n');
        self.records.push_back((line, restart));
        self.unsaved += 1;
    }

    /// Takes the next record to save, and whether it replaces everything before it.
    pub(crate) fn next(&mut self) -> Option<(Vec<u8>, bool)> {
        self.records.pop_front()
    }

    /// Notes that the oldest unsaved record is on the disk.
    pub(crate) fn saved(&mut self) {
        self.unsaved = self.unsaved.saturating_sub(1);
    }

    /// Whether every record is on the disk.
    pub(crate) fn is_saved(&self) -> bool {
        self.unsaved == 0
    }
}

/// The lines of a file that count.
pub(crate) struct Lines<'a> {
    /// The JSON of each, and where its line starts in the file.
    pub(crate) records: Vec<(usize, &'a [u8])>,
    /// Length of the file up to the end of the last of them; 0 if there are none.
    pub(crate) valid: usize,
    /// Tag of the last of them.
    pub(crate) last: Tag,
}

/// Reads a file. An empty one has no lines.
pub(crate) fn read<'a>(bytes: &'a [u8], key: &JournalKey) -> Result<Lines<'a>> {
    let mut lines = Lines { records: Vec::new(), valid: 0, last: Tag::default() };
    if FIRST_LINE.starts_with(bytes) {
        return Ok(lines);
    }
    if !bytes.starts_with(FIRST_LINE) {
        return Err(Error::new(Code::BadCheckpoint, "it is not a checkpoint, and was left as it is")
            .with_hint("Name another file, or remove this one if it is not needed."));
    }
    let mut at = FIRST_LINE.len();
    while let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end) {
        let Some((tag, json)) = line(&bytes[at..end], key, &lines.last) else {
            if end + 1 == bytes.len() && !lines.records.is_empty() {
                break;
            }
            let why = format!(
                "the record at byte {at} was changed, or written with another signing key, or another record before it is missing"
            );
            return Err(Error::new(Code::BadCheckpoint, why).with_hint(
                "Open the vault with the keyring that the put was started with. If the keyring has got a new signing key since, or to store the backup from the start, remove the checkpoint.",
            ));
        };
        lines.records.push((at, json));
        at = end + 1;
        (lines.last, lines.valid) = (tag, at);
    }
    Ok(lines)
}

/// Tag and JSON of a line, if it was written behind the line with the tag `before`.
fn line<'a>(line: &'a [u8], key: &JournalKey, before: &Tag) -> Option<(Tag, &'a [u8])> {
    let (found, json) = line.split_at_checked(BEFORE_JSON)?;
    let tag = key.tag(before, json);
    // In constant time: the time of a refusal must not tell how much of a forged tag is right.
    let is_right = constant_time_eq(found.strip_suffix(b" ")?, hex::encode(tag).as_bytes());
    (is_right || is_active(Mutation::AcceptTornRecord)).then_some((tag, json))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    pub(crate) fn key() -> JournalKey {
        JournalKey::derive(b"secret")
    }

    /// The file with these records.
    pub(crate) fn file<R: Into<Vec<u8>>>(records: impl IntoIterator<Item = R>) -> Vec<u8> {
        let mut journal = Journal::new(key(), Tag::default());
        for (n, record) in records.into_iter().enumerate() {
            journal.add(record, n == 0);
        }
        std::iter::from_fn(|| journal.next()).flat_map(|(line, _)| line).collect()
    }

    fn texts(bytes: &[u8]) -> Result<Vec<String>> {
        let lines = read(bytes, &key())?;
        Ok(lines.records.iter().map(|(_, json)| String::from_utf8_lossy(json).into_owned()).collect())
    }

    #[test]
    fn the_exact_format() {
        let file = String::from_utf8(file(["{}", "[1]"])).unwrap();
        let expected =
            "s3vault checkpoint 2\n2869eba3f455fc725ae9432cce50f79b {}\nef9451c679625f0acc631d18f2aa68b4 [1]\n";
        assert_eq!(file, expected);
    }

    #[test]
    fn records_come_back_and_more_can_follow() {
        let mut bytes = file(["{}", "[1]"]);
        let lines = read(&bytes, &key()).unwrap();
        assert_eq!(lines.valid, bytes.len());
        let mut journal = Journal::new(key(), lines.last);
        journal.add("[2]", false);
        bytes.extend(journal.next().unwrap().0);
        assert_eq!(texts(&bytes).unwrap(), ["{}", "[1]", "[2]"]);
        journal.add("[3]", true);
        assert_eq!(texts(&journal.next().unwrap().0).unwrap(), ["[3]"]);
    }

    #[test]
    fn a_torn_last_line_is_dropped_wherever_it_was_cut() {
        let (two, three) = (file(["{}", "[1]"]), file(["{}", "[1]", "[2]"]));
        for cut in two.len()..three.len() {
            let lines = read(&three[..cut], &key()).unwrap();
            assert_eq!((lines.records.len(), lines.valid), (2, two.len()), "cut at {cut}");
        }
        let one = file(["{}"]);
        for cut in 0..one.len() {
            assert_eq!(read(&one[..cut], &key()).unwrap().valid, 0, "cut at {cut}");
        }
    }

    #[test]
    fn any_changed_byte_is_found() {
        let bytes = file(["{}", "[1]", "[2]"]);
        let last = file(["{}", "[1]"]).len();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            match texts(&changed) {
                // Without the end of its line, the second record is a part of the torn third one.
                Ok(texts) if at == last - 1 => assert_eq!(texts, ["{}"]),
                Ok(texts) => assert!(at >= last && texts == ["{}", "[1]"], "byte {at}: {texts:?}"),
                Err(e) => assert!(at < last && e.code() == Code::BadCheckpoint, "byte {at}: {e}"),
            }
        }
        // The only record is not a torn one: its put did not start before it was on the disk.
        let mut only = file(["{}"]);
        only[FIRST_LINE.len()] ^= 1;
        assert_eq!(texts(&only).map_err(|e| e.code()), Err(Code::BadCheckpoint));
    }

    #[test]
    fn all_records_are_saved_when_each_of_them_is() {
        let mut journal = Journal::new(key(), Tag::default());
        assert!(journal.is_saved());
        (0..2).for_each(|n| journal.add("{}", n == 0));
        while journal.next().is_some() {
            assert!(!journal.is_saved());
        }
        journal.saved();
        assert!(!journal.is_saved(), "one of two");
        journal.saved();
        assert!(journal.is_saved());
    }

    #[test]
    fn lines_that_are_left_out_moved_or_of_another_file_or_key_are_found() {
        let bytes = file(["{}", "[1]", "[2]", "[3]"]);
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let refused = |order: &[usize]| {
            let file: Vec<u8> = order.iter().flat_map(|n| lines[*n]).copied().collect();
            texts(&file).map_err(|e| e.code()) == Err(Code::BadCheckpoint)
        };
        assert!(!refused(&[0, 1, 2, 3, 4]) && !refused(&[0, 1, 2]));
        for order in [&[0, 2, 3, 4][..], &[0, 1, 3, 4], &[0, 1, 3, 2, 4], &[0, 1, 2, 2, 4], &[0, 0, 1, 2], &[1, 2, 3]] {
            assert!(refused(order), "{order:?}");
        }
        assert!(read(&bytes, &JournalKey::derive(b"")).is_err_and(|e| e.message().contains("another signing key")));
    }

    #[test]
    fn what_has_no_first_line_is_something_else() {
        let hash = format!("{}  disk.img\n", "0123456789abcdef".repeat(4));
        for content in [b"hello\nworld\n".as_slice(), b"x", &[0; 100], &[0], hash.as_bytes(), b"s3vault checkpoint 1\n"]
        {
            let e = texts(content).unwrap_err();
            assert!(e.code() == Code::BadCheckpoint && e.message().contains("it is not a checkpoint"), "{e}");
        }
        assert_eq!(texts(b"").unwrap(), [""; 0]);
    }
}
