//! Bytes that are described instead of held: ranges of sources, whose digests are real and computed once.
//!
//! A source is a row of blocks of 8 MiB, each of them one of a few patterns; so a simulated backup of gigabytes costs the
//! digests of its patterns only, and what arrives somewhere is compared by what it is: source, edition, offset.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use bytes::Bytes;
use s3vault_core::checksum::{Crc, Digest, Digester, SliceHash, combine, digest, md5};

/// A block of a source, in bytes: as long as a part, so that most digests are of whole blocks.
pub const BLOCK: u64 = 8 << 20;
const PATTERNS: u64 = 61;

/// A range of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Which source.
    pub source: u32,
    /// Number of times that the source was changed.
    pub edition: u32,
    /// Offset in the source, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// One bit of its first byte is flipped.
    pub flipped: bool,
}

/// The bytes of an object, a request or a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The bytes themselves, shared with their creator: a manifest of millions of parts is in memory once.
    Bytes(Bytes),
    /// Ranges of sources, one after the other.
    Chunks(Vec<Chunk>),
}

impl Default for Content {
    fn default() -> Self {
        Content::bytes(b"")
    }
}

impl Content {
    /// A copy of these bytes.
    pub fn bytes(bytes: &[u8]) -> Content {
        Content::Bytes(Bytes::copy_from_slice(bytes))
    }

    /// A range of a source.
    pub fn chunk(chunk: Chunk) -> Content {
        Content::Chunks(vec![chunk])
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Chunks(chunks) => chunks.iter().map(|chunk| chunk.length).sum(),
        }
    }

    /// The bytes of a small object; a data object has none to show.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Content::Bytes(bytes) => bytes,
            Content::Chunks(_) => &[],
        }
    }

    /// The bytes, also of ranges.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.as_bytes().to_vec();
        read(&pieces(self.chunks()), |piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// The ranges that it is made of.
    pub fn chunks(&self) -> &[Chunk] {
        match self {
            Content::Bytes(_) => &[],
            Content::Chunks(chunks) => chunks,
        }
    }

    /// Flips one bit.
    #[must_use]
    pub fn flip(&self, at: u64) -> Content {
        match self {
            Content::Bytes(bytes) if bytes.is_empty() => self.clone(),
            Content::Bytes(bytes) => {
                let mut bytes = bytes.to_vec();
                let at = at as usize % bytes.len();
                bytes[at] ^= 1;
                Content::bytes(&bytes)
            }
            Content::Chunks(chunks) => {
                let mut chunks = chunks.clone();
                if let Some(first) = chunks.first_mut() {
                    first.flipped ^= true;
                }
                Content::Chunks(chunks)
            }
        }
    }

    /// `length` bytes from `start`, or less at the end.
    #[must_use]
    pub fn slice(&self, start: u64, length: u64) -> Content {
        let end = start.saturating_add(length).min(self.length());
        match self {
            Content::Bytes(bytes) => Content::Bytes(bytes.slice(start.min(end) as usize..end as usize)),
            Content::Chunks(chunks) => {
                let (mut at, mut out) = (0, Vec::new());
                for chunk in chunks {
                    let (from, to) = (start.max(at), end.min(at + chunk.length));
                    if from < to {
                        out.push(Chunk {
                            offset: chunk.offset + (from - at),
                            length: to - from,
                            flipped: chunk.flipped && from == at,
                            ..*chunk
                        });
                    }
                    at += chunk.length;
                }
                Content::Chunks(out)
            }
        }
    }

    /// Concatenates contents.
    pub fn concat<'a>(all: impl Iterator<Item = &'a Content>) -> Content {
        let (mut chunks, mut bytes) = (Vec::<Chunk>::new(), Vec::new());
        for content in all {
            match content {
                Content::Bytes(more) => bytes.extend_from_slice(more),
                Content::Chunks(more) => {
                    for chunk in more {
                        match chunks.last_mut() {
                            Some(last)
                                if (last.source, last.edition) == (chunk.source, chunk.edition)
                                    && last.offset + last.length == chunk.offset
                                    && !last.flipped
                                    && !chunk.flipped =>
                            {
                                last.length += chunk.length;
                            }
                            _ => chunks.push(*chunk),
                        }
                    }
                }
            }
        }
        if chunks.is_empty() { Content::bytes(&bytes) } else { Content::Chunks(chunks) }
    }

    /// Digest of the bytes as a slice of a part.
    pub fn digest_of(&self, hash: SliceHash) -> Digest {
        match (self, hash) {
            (Content::Chunks(chunks), _) if !SYNTHETIC.get() => real(chunks, hash),
            (Content::Bytes(bytes), SliceHash::Subtree(_)) => {
                let mut digester = Digester::of(hash);
                digester.update(bytes);
                digester.finish()
            }
            _ => self.digest(),
        }
    }

    /// MD5 of the bytes, or another value that stands for it.
    pub fn md5(&self) -> [u8; 16] {
        if let Content::Bytes(bytes) = self {
            return md5(bytes);
        }
        let mut md5 = [0; 16];
        md5.copy_from_slice(&self.digest().blake3[..16]);
        md5
    }

    /// Digest of the bytes.
    pub fn digest(&self) -> Digest {
        match self {
            Content::Bytes(bytes) => digest(bytes),
            Content::Chunks(chunks) if SYNTHETIC.get() => synthetic(chunks),
            Content::Chunks(chunks) => real(chunks, SliceHash::Whole),
        }
    }
}

thread_local! {
    static SYNTHETIC: Cell<bool> = const { Cell::new(false) };
    static KNOWN: RefCell<HashMap<(Vec<Piece>, u64), Digest>> = RefCell::default();
    static NOISE: Vec<u8> = {
        let mut random = fastrand::Rng::with_seed(1);
        (0..BLOCK / 8).flat_map(|_| random.u64(..).to_le_bytes()).collect()
    };
}

/// From now on, digests of ranges are made up: for terabytes that are never read back.
pub fn without_bytes() {
    SYNTHETIC.set(true);
}

/// Whether digests are made up.
pub fn are_without_bytes() -> bool {
    SYNTHETIC.get()
}

/// Pattern, start, length, flipped.
type Piece = (u64, u64, u64, bool);

/// The pieces of blocks that ranges consist of.
fn pieces(chunks: &[Chunk]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for chunk in chunks {
        let (mut at, end, mut flipped) = (chunk.offset, chunk.offset + chunk.length, chunk.flipped);
        while at < end {
            let block = at / BLOCK;
            let to = end.min((block + 1) * BLOCK);
            let pattern = mix(mix(u64::from(chunk.source), u64::from(chunk.edition)), block) % PATTERNS;
            pieces.push((pattern, at % BLOCK, to - at, flipped));
            (at, flipped) = (to, false);
        }
    }
    pieces
}

/// Hands over the bytes of pieces.
fn read(pieces: &[Piece], mut take: impl FnMut(&[u8])) {
    NOISE.with(|noise| {
        for &(pattern, first_byte, length, flipped) in pieces {
            // A pattern is the same noise, started at another offset.
            let at = ((first_byte + pattern * 65_537) % BLOCK) as usize;
            let length = length as usize;
            let (mut first, rest) = (&noise[at..noise.len().min(at + length)], at + length);
            if flipped && let [byte, others @ ..] = first {
                take(&[byte ^ 1]);
                first = others;
            }
            take(first);
            take(&noise[..rest.saturating_sub(noise.len())]);
        }
    });
}

fn real(chunks: &[Chunk], hash: SliceHash) -> Digest {
    let pieces = pieces(chunks);
    let start = if let SliceHash::Subtree(offset) = hash { offset + 1 } else { 0 };
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&(pieces.clone(), start)).copied()) {
        return known;
    }
    let mut digester = Digester::of(if start > 0 { hash } else { SliceHash::Whole });
    read(&pieces, |piece| digester.update(piece));
    let digest = digester.finish();
    KNOWN.with_borrow_mut(|known| {
        if known.len() > 100_000 {
            known.clear();
        }
        known.insert((pieces, start), digest)
    });
    digest
}

/// A digest whose CRCs combine as real ones do.
fn synthetic(chunks: &[Chunk]) -> Digest {
    let (mut crc, mut name) = (None, 0);
    for chunk in chunks {
        let own = [chunk.source.into(), chunk.edition.into(), chunk.offset, chunk.length, chunk.flipped.into()];
        let own = own.into_iter().fold(1, mix);
        name = mix(name, own);
        crc = Some(crc.map_or(own, |crc| combine(Crc::Crc64Nvme, crc, own, chunk.length)));
    }
    let mut blake3 = [0; 32];
    blake3[..8].copy_from_slice(&name.to_le_bytes());
    Digest { crc64nvme: crc.unwrap_or(0), blake3 }
}

/// One number of two (SplitMix64's last steps).
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xD134_2543_DE82_EF95) ^ b;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: u64, length: u64) -> Content {
        Content::chunk(Chunk { source: 1, edition: 0, offset, length, flipped: false })
    }

    #[test]
    fn the_same_bytes_have_the_same_digest_however_they_are_cut() {
        let whole = chunk(BLOCK - 1000, 3000);
        let cut = [whole.slice(0, 999), whole.slice(999, 1), whole.slice(1000, 5000)];
        assert_eq!(Content::concat(cut.iter()), whole);
        assert_eq!(cut[2].length(), 2000);
        let crc = cut[1..].iter().fold(cut[0].digest().crc64nvme, |crc, part| {
            combine(Crc::Crc64Nvme, crc, part.digest().crc64nvme, part.length())
        });
        assert_eq!(crc, whole.digest().crc64nvme);
    }

    #[test]
    fn other_bytes_have_another_digest() {
        let whole = chunk(0, 5000);
        assert_ne!(whole.flip(0).digest(), whole.digest());
        assert_eq!(whole.flip(0).slice(1, 10).digest(), whole.slice(1, 10).digest());
        assert_ne!(whole.slice(0, 10).digest(), whole.slice(1, 10).digest());
        assert_ne!(whole.digest(), chunk(BLOCK, 5000).digest());
        assert_eq!(digest(&chunk(BLOCK - 10, 5000).flip(0).to_vec()), chunk(BLOCK - 10, 5000).flip(0).digest());
    }
}
