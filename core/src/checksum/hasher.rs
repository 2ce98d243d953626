//! Streaming checksums with any of S3's algorithms, and `Content-MD5` (RFC 1864) for stores that require it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::algorithm::{Algorithm, Checksum};
use super::crc::{Crc32, Crc32c, Crc64};

/// Computes a checksum of streamed bytes.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64(Crc64),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    /// A hasher for this algorithm.
    pub fn new(algorithm: Algorithm) -> Hasher {
        Hasher(match algorithm {
            Algorithm::Crc32 => State::Crc32(Crc32::default()),
            Algorithm::Crc32c => State::Crc32c(Crc32c::default()),
            Algorithm::Crc64Nvme => State::Crc64(Crc64::default()),
            Algorithm::Sha1 => State::Sha1(Sha1::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
        })
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc32(state) => state.update(bytes),
            State::Crc32c(state) => state.update(bytes),
            State::Crc64(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
        }
    }

    /// The checksum of all bytes so far.
    pub fn finish(&self) -> Checksum {
        match &self.0 {
            State::Crc32(state) => Checksum::of(Algorithm::Crc32, state.finish().to_be_bytes()),
            State::Crc32c(state) => Checksum::of(Algorithm::Crc32c, state.finish().to_be_bytes()),
            State::Crc64(state) => Checksum::of(Algorithm::Crc64Nvme, state.finish().to_be_bytes()),
            State::Sha1(state) => Checksum::of(Algorithm::Sha1, state.clone().finalize().into()),
            State::Sha256(state) => Checksum::of(Algorithm::Sha256, state.clone().finalize().into()),
        }
    }
}

/// The checksum of these bytes.
pub fn checksum(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// Computes `Content-MD5` of streamed bytes. It only protects against accidental changes.
#[derive(Clone, Default)]
pub struct ContentMd5(Md5);

impl ContentMd5 {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The MD5 of all bytes so far.
    pub fn finish(&self) -> [u8; 16] {
        self.0.clone().finalize().into()
    }
}

/// The value of `Content-MD5` for this body.
pub fn content_md5(bytes: &[u8]) -> String {
    md5_text(md5(bytes))
}

/// The MD5 of these bytes.
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// An MD5 as `Content-MD5` has it.
pub fn md5_text(md5: [u8; 16]) -> String {
    STANDARD.encode(md5)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The CRC catalogue's check values, FIPS 180-4's example "abc" for the SHAs.
    #[test]
    fn known_values() {
        let hex = |algorithm, bytes: &[u8]| hex::encode(checksum(algorithm, bytes).bytes());
        assert_eq!(hex(Algorithm::Crc32, b"123456789"), "cbf43926");
        assert_eq!(hex(Algorithm::Crc32c, b"123456789"), "e3069283");
        assert_eq!(hex(Algorithm::Crc64Nvme, b"123456789"), "ae8b14860a799888");
        assert_eq!(hex(Algorithm::Sha1, b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(Algorithm::Sha256, b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    /// AWS's example of a chunked upload with a trailer: 65 KiB of "a" and their CRC32C.
    #[test]
    fn the_documented_trailer() {
        assert_eq!(checksum(Algorithm::Crc32c, &[b'a'; 66_560]).text(), "sOO8/Q==");
    }

    /// RFC 1321, appendix A.5.
    #[test]
    fn content_md5_is_the_digest_in_base64() {
        assert_eq!(content_md5(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
        let digest = hex::decode("f96b697d7cb7938d525a2f31aaf161d0").unwrap();
        assert_eq!(content_md5(b"message digest"), STANDARD.encode(digest));
    }

    #[test]
    fn pieces_give_the_same_checksum() {
        let bytes: Vec<u8> = (0..10_000u64).map(|n| ((n * n) >> 7) as u8).collect();
        for cut in [0, 1, 63, 64, 9_999, 10_000] {
            let (a, b) = bytes.split_at(cut);
            for algorithm in Algorithm::ALL {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(a);
                assert_eq!(hasher.finish(), checksum(algorithm, a), "finish must leave the state as it is");
                hasher.update(b);
                assert_eq!(hasher.finish(), checksum(algorithm, &bytes));
            }
            let mut md5 = ContentMd5::default();
            md5.update(a);
            md5.update(b);
            assert_eq!(md5_text(md5.finish()), content_md5(&bytes));
        }
    }
}
