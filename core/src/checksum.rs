//! Checksums: CRC64NVME, which the store verifies, and BLAKE3, which the manifest promises.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm::Crc64Nvme;

/// What bytes are: both hashes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// CRC-64/NVME, as S3 defines it (checking object integrity, S3 user guide).
    pub crc64nvme: u64,
    /// BLAKE3, 256 bits.
    pub blake3: [u8; 32],
}

/// Hashes bytes as they pass.
#[derive(Clone)]
pub struct Digester {
    crc: crc_fast::Digest,
    blake3: blake3::Hasher,
}

impl Default for Digester {
    fn default() -> Self {
        Digester::new()
    }
}

impl Digester {
    /// Of no bytes yet.
    pub fn new() -> Digester {
        Digester { crc: crc_fast::Digest::new(Crc64Nvme), blake3: blake3::Hasher::new() }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.blake3.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn finish(&self) -> Digest {
        Digest { crc64nvme: self.crc.clone().finalize(), blake3: *self.blake3.finalize().as_bytes() }
    }
}

/// Only the CRC, for bytes that are read a second time.
#[derive(Clone)]
pub struct Crc64(crc_fast::Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Crc64(crc_fast::Digest::new(Crc64Nvme))
    }
}

impl Crc64 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The CRC of all bytes so far.
    pub fn finish(&self) -> u64 {
        self.0.clone().finalize()
    }
}

/// The digest of these bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut digester = Digester::new();
    digester.update(bytes);
    digester.finish()
}

/// The CRC of two byte strings one after the other, from theirs and the second one's length.
pub fn combine(first: u64, second: u64, second_length: u64) -> u64 {
    crc_fast::checksum_combine(Crc64Nvme, first, second, second_length)
}

/// A CRC as it stands on the wire and in a manifest: its eight bytes, big-endian, in base64.
pub fn crc_text(crc: u64) -> String {
    STANDARD.encode(crc.to_be_bytes())
}

/// A CRC from its text.
pub fn parse_crc(text: &str) -> Option<u64> {
    Some(u64::from_be_bytes(STANDARD.decode(text).ok()?.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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
    fn pieces_and_halves_give_the_same() {
        let bytes: Vec<u8> = (0..100_000u64).map(|n| ((n * n) >> 7) as u8).collect();
        let whole = digest(&bytes);
        for cut in [0, 1, 7, 64 * 1024, 99_999, 100_000] {
            let (a, b) = bytes.split_at(cut);
            let mut pieces = Digester::new();
            pieces.update(a);
            pieces.update(b);
            assert_eq!(pieces.finish(), whole);
            assert_eq!(combine(digest(a).crc64nvme, digest(b).crc64nvme, b.len() as u64), whole.crc64nvme);
            let mut crc = Crc64::default();
            crc.update(a);
            crc.update(b);
            assert_eq!(crc.finish(), whole.crc64nvme);
        }
    }
}
