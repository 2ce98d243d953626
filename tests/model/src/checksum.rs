//! The checksums that S3 keeps with objects and parts.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};

/// An algorithm whose value a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are S3's")]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The name as `x-amz-checksum-algorithm` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The algorithm of this name, in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

/// A checksum as a client sent it, in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The value in base64.
    pub value: String,
}

/// A CRC64NVME as S3 writes it: big-endian, in base64.
pub fn crc64_text(crc: u64) -> String {
    BASE64.encode(crc.to_be_bytes())
}

/// The CRC64NVME of byte strings one after the other, from the CRC and the length of each.
///
/// The CRC of the bytes before is multiplied by x^8 for each byte that follows, modulo the polynomial; the inversions at
/// the start and the end cancel each other out.
pub fn crc64_concat(pieces: impl IntoIterator<Item = (u64, u64)>) -> u64 {
    // Parts have few different lengths.
    let mut factors = BTreeMap::new();
    pieces.into_iter().fold(0, |whole, (crc, length)| {
        let factor = *factors.entry(length).or_insert_with(|| x_to_the(8 * u128::from(length)));
        multiply(whole, factor) ^ crc
    })
}

/// The polynomial of CRC-64/NVME, reflected: the highest bit is the coefficient of x^0.
const POLYNOMIAL: u64 = 0x9A6C_9329_AC4B_C9B5;
const ONE: u64 = 1 << 63;

fn multiply(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    for bit in (0..64).rev() {
        if a >> bit & 1 == 1 {
            product ^= b;
        }
        b = (b >> 1) ^ if b & 1 == 1 { POLYNOMIAL } else { 0 };
    }
    product
}

fn x_to_the(mut exponent: u128) -> u64 {
    let (mut product, mut power) = (ONE, ONE >> 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = multiply(product, power);
        }
        power = multiply(power, power);
        exponent >>= 1;
    }
    product
}

/// The ETag of a multipart object: the MD5 of the parts' ETags, and their number.
pub(crate) fn multipart_etag<'a>(parts: impl ExactSizeIterator<Item = &'a [u8; 16]>) -> String {
    let (mut md5, count) = (Md5::new(), parts.len());
    for part in parts {
        md5.update(part);
    }
    format!("{}-{count}", hex::encode(md5.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Payload as _;

    /// The check value of the CRC catalogue for CRC-64/NVME over "123456789".
    const NINE_DIGITS: u64 = 0xae8b_1486_0a79_9888;

    #[test]
    fn the_crc_of_parts_is_that_of_the_whole() {
        let crc = |text: &str| (text.as_bytes().to_vec().crc64nvme(), text.len() as u64);
        assert_eq!(crc("123456789").0, NINE_DIGITS);
        assert_eq!(crc64_concat([crc("1234"), crc("56789")]), NINE_DIGITS);
        assert_eq!(crc64_concat([crc("1"), crc("234567"), crc("89"), crc("")]), NINE_DIGITS);
        let long: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(31) >> 3) as u8).collect();
        let pieces = long.chunks(7_777).map(|piece| (piece.to_vec().crc64nvme(), piece.len() as u64));
        assert_eq!(crc64_concat(pieces), long.crc64nvme());
        assert_eq!(crc64_text(NINE_DIGITS), "rosUhgp5mIg=");
    }
}
