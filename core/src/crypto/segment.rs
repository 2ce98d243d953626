//! Segments: how the bytes of a backup are encrypted before they leave this machine (envelope mode).
//!
//! The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015) with AES-256-GCM. The backup is split into segments
//! of 1 MiB; only the last one may be shorter, and it alone carries the last flag, so that a backup that was truncated, or
//! whose segments were reordered, repeated or taken from another place, does not open.
//!
//! ```text
//! segment key = HKDF-SHA256(key: the version's data key, salt: 16 random bytes of the part, info: "s3vault/1 segment")
//! nonce       = 7 zero bytes, the segment's index in the backup (u32, big-endian), 1 for the last segment, else 0
//! stored      = ciphertext, tag (16 bytes); no associated data
//! ```
//! Each time that a part is encrypted it gets a new salt, so no key and nonce are used for two plaintexts, whatever
//! happens to the source between two attempts.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::aead::{Aead, KEY_LENGTH, NONCE_LENGTH, TAG_LENGTH};
use super::data_key::DataKey;
use super::hkdf::hkdf;
use crate::error::{Code, Error};

/// Length of a segment in bytes of the backup: 1 MiB.
pub const SEGMENT: usize = 1 << 20;
/// Bytes that a segment takes in addition: its authentication tag.
pub const OVERHEAD: usize = TAG_LENGTH;
/// Length of a part's salt, in bytes.
pub const SALT_LENGTH: usize = 16;
/// The largest backup: the index of a segment has 32 bits.
pub const MAX_LENGTH: u64 = (SEGMENT as u64) << 32;

const INFO: &[u8] = b"s3vault/1 segment";

/// A part's salt, new for each time that the part is encrypted, from the operating system's entropy. In JSON it is in
/// lower-case hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub [u8; SALT_LENGTH]);

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Salt, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        let mut salt = [0; SALT_LENGTH];
        hex::decode_to_slice(&*text, &mut salt).map_err(|_| D::Error::custom("a salt is 32 hexadecimal digits"))?;
        Ok(Salt(salt))
    }
}

/// The key of the segments of one part.
pub struct SegmentKey(Aead);

impl SegmentKey {
    /// The key of the part that has this salt.
    pub fn derive(data_key: &DataKey, salt: &Salt) -> SegmentKey {
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        hkdf(data_key.bytes(), &salt.0, INFO, &mut *key);
        SegmentKey(Aead::new(&key))
    }

    /// Encrypts a segment in place, and returns its tag. `index` is the segment's in the whole backup.
    #[must_use]
    pub fn seal(&self, index: u32, last: bool, segment: &mut [u8]) -> [u8; OVERHEAD] {
        self.0.seal(nonce(index, last), &[], segment)
    }

    /// Decrypts a stored segment in place; its bytes of the backup are then those before the tag. Returns `None` if it is not
    /// the segment that was stored there: then nothing of it may be used.
    #[must_use]
    pub fn open<'a>(&self, index: u32, last: bool, stored: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (data, tag) = stored.split_last_chunk_mut::<OVERHEAD>()?;
        if self.0.open(nonce(index, last), &[], data, *tag) {
            return Some(data);
        }
        data.fill(0);
        None
    }
}

/// How the data of a backup is decrypted.
pub struct Segments {
    key: DataKey,
    /// The salt of each part.
    salts: Vec<Salt>,
    /// Size of the backup in bytes.
    size: u64,
    /// The version, for messages.
    version: String,
}

impl Segments {
    pub(crate) fn new(key: DataKey, salts: Vec<Salt>, size: u64, version: String) -> Segments {
        Segments { key, salts, size, version }
    }

    /// The error for the segment that starts at this offset in the backup, in this part, and does not open.
    pub fn damaged(&self, part: u32, offset: u64) -> Error {
        let (version, number, parts) = (&self.version, u64::from(part) + 1, self.salts.len());
        let end = self.size.min(offset.saturating_add(SEGMENT as u64));
        let why = format!(
            "{version} is damaged: bytes {offset} to {end} of the backup, in part {number} of {parts}, are not what was encrypted there, so they cannot be decrypted"
        );
        Error::new(Code::Damaged, why).with_hint("Verify the version, and restore an older one or its replica.")
    }

    /// The segments of a part, by its index from 0; `None` if there is no such part.
    pub fn of_part(&self, part: u32) -> Option<PartSegments> {
        let salt = self.salts.get(part as usize)?;
        Some(PartSegments { key: SegmentKey::derive(&self.key, salt), size: self.size })
    }
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segments(of {} parts)", self.salts.len())
    }
}

/// Decrypts the segments of one part.
pub struct PartSegments {
    key: SegmentKey,
    size: u64,
}

impl PartSegments {
    /// Decrypts the stored segment that starts at this offset in the backup, in place: its bytes of the backup are then
    /// those before the tag. Returns `None` if it is not the segment that was stored there: then nothing of it may be used.
    #[must_use]
    pub fn open<'a>(&self, offset: u64, stored: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let length = stored.len().checked_sub(OVERHEAD)? as u64;
        let (index, last) = self.place(offset, length)?;
        self.key.open(index, last, stored)
    }

    /// Encrypts bytes of the backup in place as those at this offset were encrypted when it was stored, so that they can be
    /// compared with the hash of what is stored. The result must be dropped then: other bytes than those of the backup would
    /// be encrypted with a nonce that was used before.
    #[must_use]
    pub fn seal_to_compare(&self, offset: u64, segment: &mut [u8]) -> Option<[u8; OVERHEAD]> {
        let (index, last) = self.place(offset, segment.len() as u64)?;
        Some(self.key.seal(index, last, segment))
    }

    /// The index of a segment of this length, and whether it is the last.
    fn place(&self, offset: u64, length: u64) -> Option<(u32, bool)> {
        Some((u32::try_from(offset / SEGMENT as u64).ok()?, offset.checked_add(length)? == self.size))
    }
}

fn nonce(index: u32, last: bool) -> [u8; NONCE_LENGTH] {
    let mut nonce = [0; NONCE_LENGTH];
    nonce[7..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn key(salt: u8) -> SegmentKey {
        SegmentKey::derive(&DataKey::new([7; 32]), &Salt([salt; SALT_LENGTH]))
    }

    fn sealed(index: u32, last: bool, plain: &[u8]) -> Vec<u8> {
        let mut data = plain.to_vec();
        let tag = key(9).seal(index, last, &mut data);
        data.extend_from_slice(&tag);
        data
    }

    /// Computed with Python's `cryptography`. The format on the store is a promise: this does not change.
    #[test]
    fn the_exact_format() {
        assert_eq!(
            hex::encode(sealed(3, true, b"a backup of a virtual machine")),
            "75b22677b6f75e531e90b389943e5d393588b73ac3b69fb7ed4b8e3c425389682cde8bf0ccca6e96499951660d"
        );
    }

    #[test]
    fn a_segment_opens_only_where_and_as_it_was_stored() {
        for plain in [&b""[..], b"x", &[5; 1000]] {
            let good = sealed(3, false, plain);
            assert_eq!(key(9).open(3, false, &mut good.clone()).as_deref(), Some(plain));
            assert_eq!(key(9).open(4, false, &mut good.clone()), None, "another place");
            assert_eq!(key(9).open(3, true, &mut good.clone()), None, "the last flag");
            assert_eq!(key(8).open(3, false, &mut good.clone()), None, "another part");
            assert_eq!(key(9).open(3, false, &mut good[..good.len() - 1].to_vec()), None, "truncated");
            for n in 0..good.len() {
                let mut changed = good.clone();
                changed[n] ^= 1;
                assert_eq!(key(9).open(3, false, &mut changed), None, "byte {n}");
                assert!(changed[..plain.len()].iter().all(|byte| *byte == 0), "nothing is left of what did not open");
            }
        }
        assert_eq!(key(9).open(0, true, &mut [0; OVERHEAD - 1]), None);
    }
}
