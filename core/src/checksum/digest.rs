//! What the vault keeps of bytes: CRC64NVME, which the store verifies, and BLAKE3, which the manifest promises.

use super::crc::Crc64;

/// What bytes are: both hashes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// CRC-64/NVME, as S3 defines it (checking object integrity, S3 user guide).
    pub crc64nvme: u64,
    /// BLAKE3, 256 bits.
    pub blake3: [u8; 32],
}

/// Hashes bytes as they pass.
#[derive(Clone, Default)]
pub struct Digester {
    crc: Crc64,
    blake3: blake3::Hasher,
}

impl Digester {
    /// Of no bytes yet.
    pub fn new() -> Digester {
        Digester::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.blake3.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn finish(&self) -> Digest {
        Digest { crc64nvme: self.crc.finish(), blake3: *self.blake3.finalize().as_bytes() }
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
    fn pieces_give_the_same() {
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
