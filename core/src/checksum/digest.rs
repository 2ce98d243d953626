//! The digest of a part: CRC64NVME, which the store verifies, and BLAKE3, which is in the manifest.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use super::crc::{Crc, Crc64, combine};

/// Both hashes of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// CRC-64/NVME, as S3 defines it (checking object integrity, S3 user guide).
    pub crc64nvme: u64,
    /// BLAKE3, 256 bits.
    pub blake3: [u8; 32],
}

/// Size of the slices in which a large part is read and hashed, in bytes. With it, each slice is a subtree of the part's
/// BLAKE3 (§2.1 of its paper).
pub const SLICE: u64 = 8 << 20;

/// How a slice of a part is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceHash {
    /// The slice is the whole part: its digest is the part's.
    Whole,
    /// The slice starts at this offset in its part, a multiple of [`SLICE`]: its BLAKE3 is a chaining value for [`merge`].
    Subtree(u64),
    /// The slice is not a subtree of its part: only its CRC64NVME counts.
    Crc,
    /// The slice is not hashed.
    Nothing,
}

/// Computes a digest of streamed bytes.
#[derive(Clone)]
pub struct Digester {
    hash: SliceHash,
    crc: Crc64,
    blake3: blake3::Hasher,
}

impl Default for Digester {
    fn default() -> Digester {
        Digester::of(SliceHash::Whole)
    }
}

impl Digester {
    /// A digester for a whole part.
    pub fn new() -> Digester {
        Digester::default()
    }

    /// A digester for a slice.
    pub fn of(hash: SliceHash) -> Digester {
        let mut blake3 = blake3::Hasher::new();
        if let SliceHash::Subtree(start) = hash {
            // blake3 panics if this is not a multiple of a chunk, which is never right.
            blake3.set_input_offset(start - start % blake3::CHUNK_LEN as u64);
        }
        Digester { hash, crc: Crc64::default(), blake3 }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if self.hash != SliceHash::Nothing {
            self.crc.update(bytes);
        }
        if !matches!(self.hash, SliceHash::Nothing | SliceHash::Crc) {
            self.blake3.update(bytes);
        }
    }

    /// The digest of all bytes so far.
    pub fn finish(&self) -> Digest {
        let blake3 = match self.hash {
            // An empty subtree has no chaining value.
            SliceHash::Subtree(_) if self.blake3.count() > 0 => self.blake3.finalize_non_root(),
            _ => *self.blake3.finalize().as_bytes(),
        };
        Digest { crc64nvme: self.crc.finish(), blake3 }
    }
}

/// Merges the digests of slices into that of their part of `length` bytes. Each slice except the last has `slice` bytes.
pub fn merge(slices: &[Digest], slice: u64, length: u64) -> Option<Digest> {
    if slices.len() as u64 != length.div_ceil(slice).max(1) {
        return None;
    }
    let (first, others) = slices.split_first()?;
    if others.is_empty() {
        return Some(*first);
    }
    let (mut crc64nvme, mut start) = (first.crc64nvme, slice);
    for other in others {
        let this = slice.min(length - start);
        crc64nvme = combine(Crc::Crc64Nvme, crc64nvme, other.crc64nvme, this);
        start += this;
    }
    let (left, right) = subtrees(slices, slice, length)?;
    Some(Digest { crc64nvme, blake3: *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes() })
}

/// Splits a tree of this many bytes into its two subtrees: the left one is the largest complete one that leaves at least
/// one byte to the right.
fn subtrees(slices: &[Digest], slice: u64, length: u64) -> Option<(ChainingValue, ChainingValue)> {
    let left = left_subtree_len(length);
    let (first, second) = slices.split_at_checked((left / slice) as usize)?;
    Some((subtree(first, slice, left)?, subtree(second, slice, length - left)?))
}

fn subtree(slices: &[Digest], slice: u64, length: u64) -> Option<ChainingValue> {
    match slices {
        [] => None,
        [one] => Some(one.blake3),
        _ => {
            let (left, right) = subtrees(slices, slice, length)?;
            Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
        }
    }
}

/// The digest of these bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut digester = Digester::new();
    digester.update(bytes);
    digester.finish()
}

#[cfg(test)]
mod tests {
    use super::super::{crc_text, parse_crc};
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The check value of CRC-64/NVME (NVM Express NVM Command Set 1.0d, figure 118) and BLAKE3's first test vector.
    #[test]
    fn known_values() {
        let d = digest(b"123456789");
        assert_eq!(d.crc64nvme, 0xAE8B_1486_0A79_9888);
        assert_eq!(crc_text(d.crc64nvme), "rosUhgp5mIg=");
        assert_eq!(parse_crc("rosUhgp5mIg="), Some(d.crc64nvme));
        assert_eq!(parse_crc("rosUhgp5"), None);
        assert_eq!(hex::encode(digest(b"").blake3), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }

    #[test]
    fn slices_merge_into_the_digest_of_their_part() {
        let bytes: Vec<u8> = (0..70_000u64).map(|n| ((n * n) >> 7) as u8).collect();
        for slice in [1024, 4096, 32_768] {
            for length in [0, 1, 1023, 1024, 1025, 2048, 3072, 4096, 4097, 5 * 4096, 32_768, 32_769, 65_537, 70_000] {
                let part = &bytes[..length];
                let mut slices: Vec<Digest> = Vec::new();
                for (n, piece) in part.chunks(slice).enumerate() {
                    let hash = if length <= slice { SliceHash::Whole } else { SliceHash::Subtree((n * slice) as u64) };
                    let mut digester = Digester::of(hash);
                    let (a, b) = piece.split_at(piece.len() / 3);
                    digester.update(a);
                    digester.update(b);
                    slices.push(digester.finish());
                }
                if length == 0 {
                    slices.push(digest(b""));
                }
                let merged = merge(&slices, slice as u64, length as u64);
                assert_eq!(merged, Some(digest(part)), "{length} in {slice}");
                slices.pop();
                assert_eq!(merge(&slices, slice as u64, length as u64), None);
            }
        }
    }

    #[test]
    fn pieces_give_the_same_digest() {
        let bytes: Vec<u8> = (0..100_000u64).map(|n| ((n * n) >> 7) as u8).collect();
        let whole = digest(&bytes);
        for cut in [0, 1, 7, 64 * 1024, 99_999, 100_000] {
            let (a, b) = bytes.split_at(cut);
            let mut pieces = Digester::new();
            pieces.update(a);
            pieces.update(b);
            assert_eq!(pieces.finish(), whole);
        }
    }
}
