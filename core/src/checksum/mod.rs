//! Checksums: those that stores verify, MD5 for stores that require it, and BLAKE3 for the manifest.
//!
//! Source: "Checking object integrity in Amazon S3" (S3 user guide): names, headers, and which algorithms can be the
//! checksum of a whole object or of the parts' checksums.

mod algorithm;
mod crc;
mod digest;
mod hasher;
pub(crate) mod json;

pub use algorithm::{Algorithm, Checksum, composite};
pub use crc::{Crc, Crc32, Crc32c, Crc64, combine, combine_all};
pub use digest::{Digest, Digester, SLICE, SliceHash, digest, merge};
pub use hasher::{ContentMd5, Hasher, checksum, content_md5, md5, md5_text};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A CRC64NVME as text, on the wire and in a manifest: base64 of its eight bytes, big-endian.
pub fn crc_text(crc: u64) -> String {
    STANDARD.encode(crc.to_be_bytes())
}

/// Parses the text of a CRC64NVME.
pub fn parse_crc(text: &str) -> Option<u64> {
    Some(u64::from_be_bytes(STANDARD.decode(text).ok()?.try_into().ok()?))
}
