//! S3's checksum algorithms, and the values of checksums.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::crc::{Crc, combine};
use super::hasher::Hasher;

/// A checksum algorithm of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// CRC-32/ISO-HDLC, of Ethernet and zip.
    Crc32,
    /// CRC-32/ISCSI, of Castagnoli.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

    /// The name in `x-amz-checksum-algorithm`, `x-amz-sdk-checksum-algorithm` and in XML.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Crc64Nvme => "CRC64NVME",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
        }
    }

    /// The algorithm with this name, in any case.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Name of the header, or trailer, with the value.
    pub fn header(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "x-amz-checksum-crc32",
            Algorithm::Crc32c => "x-amz-checksum-crc32c",
            Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Algorithm::Sha1 => "x-amz-checksum-sha1",
            Algorithm::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Length of a value in bytes.
    pub fn size(self) -> usize {
        match self {
            Algorithm::Crc32 | Algorithm::Crc32c => 4,
            Algorithm::Crc64Nvme => 8,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
        }
    }

    /// The CRC, if it is one.
    pub fn crc(self) -> Option<Crc> {
        match self {
            Algorithm::Crc32 => Some(Crc::Crc32),
            Algorithm::Crc32c => Some(Crc::Crc32c),
            Algorithm::Crc64Nvme => Some(Crc::Crc64Nvme),
            Algorithm::Sha1 | Algorithm::Sha256 => None,
        }
    }

    /// Whether a multipart object can have the checksum of all its bytes (`FULL_OBJECT`). Only CRCs can, since the CRCs of
    /// the parts can be combined.
    pub fn full_object(self) -> bool {
        self.crc().is_some()
    }

    /// Whether a multipart object can have a checksum of its parts' checksums (`COMPOSITE`).
    pub fn composite(self) -> bool {
        self != Algorithm::Crc64Nvme
    }
}

/// The checksum of some bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    /// The value in the first `algorithm.size()` bytes; the others are 0.
    bytes: [u8; 32],
}

impl Checksum {
    pub(super) fn of<const SIZE: usize>(algorithm: Algorithm, value: [u8; SIZE]) -> Checksum {
        let mut bytes = [0; 32];
        bytes[..SIZE].copy_from_slice(&value);
        Checksum { algorithm, bytes }
    }

    /// The checksum with this value; `None` if the length is not the algorithm's.
    pub fn new(algorithm: Algorithm, value: &[u8]) -> Option<Checksum> {
        let mut bytes = [0; 32];
        bytes.get_mut(..algorithm.size()).filter(|room| room.len() == value.len())?.copy_from_slice(value);
        Some(Checksum { algorithm, bytes })
    }

    /// Parses base64; `None` if it is not a value of this algorithm, or is a composite checksum (`...-3`).
    pub fn parse(algorithm: Algorithm, text: &str) -> Option<Checksum> {
        Checksum::new(algorithm, &STANDARD.decode(text).ok()?)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The value; a CRC is big-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.size()]
    }

    /// The value in base64, as in headers, trailers and XML.
    pub fn text(&self) -> String {
        STANDARD.encode(self.bytes())
    }

    /// Combines the checksums of two byte strings into that of their concatenation. `None` if the algorithm does not allow
    /// it, or the algorithms differ.
    pub fn combine(&self, second: &Checksum, second_length: u64) -> Option<Checksum> {
        let crc = self.algorithm.crc().filter(|_| self.algorithm == second.algorithm)?;
        let value = combine(crc, self.number(), second.number(), second_length);
        Checksum::new(self.algorithm, &value.to_be_bytes()[8 - self.algorithm.size()..])
    }

    fn number(&self) -> u64 {
        self.bytes().iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm.name(), self.text())
    }
}

/// The `COMPOSITE` checksum of an object with these parts: the checksum of their checksums, `-`, and their number. `None`
/// if the algorithm does not have one, or the checksum of a part has another algorithm.
pub fn composite(algorithm: Algorithm, parts: &[Checksum]) -> Option<String> {
    if !algorithm.composite() || parts.iter().any(|part| part.algorithm != algorithm) {
        return None;
    }
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        hasher.update(part.bytes());
    }
    Some(format!("{}-{}", hasher.finish().text(), parts.len()))
}

#[cfg(test)]
mod tests {
    use super::super::checksum;
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn names_headers_and_sizes_match() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.header(), format!("x-amz-checksum-{}", algorithm.name().to_lowercase()));
            assert_eq!(Algorithm::from_name(&algorithm.name().to_lowercase()), Some(algorithm));
            assert_eq!(checksum(algorithm, b"").bytes().len(), algorithm.size());
        }
        assert_eq!(Algorithm::from_name("CRC16"), None);
    }

    /// The table "Using supported checksum algorithms" in the guide that the module cites.
    #[test]
    fn whole_objects_have_crcs_and_composites_all_but_crc64() {
        use Algorithm::*;
        let which = |of: fn(Algorithm) -> bool| Algorithm::ALL.into_iter().filter(|a| of(*a)).collect::<Vec<_>>();
        assert_eq!(which(Algorithm::full_object), [Crc32, Crc32c, Crc64Nvme]);
        assert_eq!(which(Algorithm::composite), [Crc32, Crc32c, Sha1, Sha256]);
    }

    #[test]
    fn only_the_algorithm_itself_parses_a_value() {
        let value = checksum(Algorithm::Crc32, b"123456789");
        assert_eq!(Checksum::parse(Algorithm::Crc32, &value.text()), Some(value));
        assert_eq!(Checksum::parse(Algorithm::Crc64Nvme, &value.text()), None);
        for text in ["", "y/Q5Jg", "y/Q5Jg==-2", "y/Q5J===", "y_Q5Jg==", " y/Q5Jg=="] {
            assert_eq!(Checksum::parse(Algorithm::Crc32, text), None, "{text}");
        }
        assert_eq!(format!("{value:?}"), "CRC32 y/Q5Jg==");
    }

    #[test]
    fn checksums_of_one_crc_combine_and_others_do_not() {
        let (a, b) = (b"1234", b"56789");
        for algorithm in Algorithm::ALL {
            let (first, second) = (checksum(algorithm, a), checksum(algorithm, b));
            let whole = algorithm.full_object().then(|| checksum(algorithm, b"123456789"));
            assert_eq!(first.combine(&second, 5), whole);
        }
        let mixed = checksum(Algorithm::Crc32, a).combine(&checksum(Algorithm::Crc32c, b), 5);
        assert_eq!(mixed, None);
    }

    /// Computed with Python's hashlib: SHA-256 over the digests of "a" and "b".
    #[test]
    fn a_composite_is_the_checksum_of_the_parts_checksums_and_their_number() {
        let parts = [checksum(Algorithm::Sha256, b"a"), checksum(Algorithm::Sha256, b"b")];
        let expected = "5aAf7hTg7VxIcU8iGA8lrYNltT+XefedxKPX6Tlj+Uo=-2";
        assert_eq!(composite(Algorithm::Sha256, &parts).as_deref(), Some(expected));
        assert_eq!(composite(Algorithm::Sha1, &parts), None);
        assert_eq!(composite(Algorithm::Crc64Nvme, &[checksum(Algorithm::Crc64Nvme, b"a")]), None);
    }
}
