//! What a driver does with data that is encrypted on this side: it encrypts the parts of a put, and decrypts the ranges of a
//! read. The bytes are real, so a version that is read with another key or salt is found.

use std::collections::BTreeMap;

use bytes::Bytes;
use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::crypto::segment::{OVERHEAD, SEGMENT, Salt, SegmentKey, Segments};
use s3vault_core::http::Range;

use crate::content::{Content, mix};

/// Encrypts the parts of a put.
pub(crate) struct Sealing {
    key: DataKey,
    /// Each part has a salt of its own, as its random numbers have.
    random: u64,
    parts: BTreeMap<u32, Content>,
}

impl Sealing {
    pub(crate) fn new(key: DataKey, random: u64) -> Sealing {
        Sealing { key, random, parts: BTreeMap::new() }
    }

    /// Encrypts a part that starts at this offset, and keeps it until it is released. Returns what is stored.
    pub(crate) fn seal(&mut self, number: u32, offset: u64, content: &Content, last: bool) -> (&Content, Salt) {
        let mut salt = Salt([0; 16]);
        for half in salt.0.chunks_mut(8) {
            self.random = mix(self.random, u64::from(number));
            half.copy_from_slice(&self.random.to_le_bytes());
        }
        let (key, bytes) = (SegmentKey::derive(&self.key, &salt), content.to_vec());
        let mut stored = Vec::with_capacity(bytes.len() + (bytes.len() / SEGMENT + 1) * OVERHEAD);
        let mut index = (offset / SEGMENT as u64) as u32;
        let mut segments = bytes.chunks(SEGMENT).peekable();
        // An empty backup is one empty segment.
        let mut next = segments.next().or(Some(&[]));
        while let Some(segment) = next {
            let from = stored.len();
            stored.extend_from_slice(segment);
            let tag = key.seal(index, last && segments.peek().is_none(), &mut stored[from..]);
            stored.extend_from_slice(&tag);
            (index, next) = (index + 1, segments.next());
        }
        self.parts.insert(number, Content::Bytes(Bytes::from(stored)));
        (&self.parts[&number], salt)
    }

    /// The stored bytes of a part.
    pub(crate) fn part(&self, number: u32) -> &Content {
        &self.parts[&number]
    }

    pub(crate) fn release(&mut self, number: u32) {
        self.parts.remove(&number);
    }
}

/// The bytes of the backup that a range has; `None` if they are not what was encrypted there.
pub(crate) fn open(segments: &Segments, range: Range, stored: &Content) -> Option<Vec<u8>> {
    let (of_part, mut bytes) = (segments.of_part(range.part)?, Vec::new());
    for segment in stored.as_bytes().chunks(SEGMENT + OVERHEAD) {
        let offset = range.offset + bytes.len() as u64;
        bytes.extend_from_slice(of_part.open(offset, &mut segment.to_vec())?);
    }
    Some(bytes)
}
