//! The CRCs, with the fastest crate for each target.
//!
//! Natively that is crc-fast (carry-less multiplication). On wasm, its tables for all CRCs would add 670 KB to the page,
//! and the slicing-by-16 of the crate crc is faster. The parameters are those of the CRC catalogue (reveng).

use std::collections::BTreeMap;

/// A kind of CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crc {
    /// CRC-32/ISO-HDLC.
    Crc32,
    /// CRC-32/ISCSI.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
}

/// Combines the CRCs of two byte strings into that of their concatenation. It needs the length of the second one.
///
/// The values of 32-bit CRCs are in the lower half.
//
// Own code: crc-fast squares matrices, which takes 135 us per call and would delay the Complete of 10,000 parts by more
// than a second (this takes 3 us); the crate crc has no such function.
pub fn combine(crc: Crc, first: u64, second: u64, second_length: u64) -> u64 {
    // The first CRC is multiplied by x^8 for each of the `second_length` bytes after it; the initial and final inversions
    // cancel each other out.
    crc.times(first, crc.shift(second_length)) ^ second
}

/// Combines the CRCs of byte strings, with their lengths, into that of their concatenation; 0 if there are none. Parts
/// have few different lengths, and the factor of each is computed once.
pub fn combine_all(crc: Crc, pieces: impl IntoIterator<Item = (u64, u64)>) -> u64 {
    let mut factors = BTreeMap::new();
    let mut pieces = pieces.into_iter();
    let first = pieces.next().map_or(0, |(first, _)| first);
    pieces.fold(first, |whole, (piece, length)| {
        let factor = *factors.entry(length).or_insert_with(|| crc.shift(length));
        crc.times(whole, factor) ^ piece
    })
}

impl Crc {
    /// x^0 and the polynomial. All three CRCs are reflected: the highest bit is the coefficient of x^0.
    fn parameters(self) -> (u64, u64) {
        match self {
            Crc::Crc32 => (1 << 31, 0xEDB8_8320),
            Crc::Crc32c => (1 << 31, 0x82F6_3B78),
            Crc::Crc64Nvme => (1 << 63, 0x9A6C_9329_AC4B_C9B5),
        }
    }

    /// The product of two polynomials, modulo the CRC's.
    fn times(self, a: u64, mut b: u64) -> u64 {
        let (one, polynomial) = self.parameters();
        let (mut product, mut bit) = (0, one);
        while bit != 0 {
            if a & bit != 0 {
                product ^= b;
            }
            b = (b >> 1) ^ if b & 1 == 1 { polynomial } else { 0 };
            bit >>= 1;
        }
        product
    }

    /// x^8 to the power of the number of bytes.
    fn shift(self, length: u64) -> u64 {
        let (one, _) = self.parameters();
        let (mut product, mut power, mut left) = (one, one >> 8, length);
        while left != 0 {
            if left & 1 == 1 {
                product = self.times(product, power);
            }
            power = self.times(power, power);
            left >>= 1;
        }
        product
    }
}

macro_rules! running {
    ($(#[$doc:meta])* $name:ident, $value:ty) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(engine::$name);

        impl Default for $name {
            fn default() -> Self {
                $name(engine::$name::new())
            }
        }

        impl $name {
            /// Adds the next bytes.
            pub fn update(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }

            /// The CRC of all bytes so far.
            pub fn finish(&self) -> $value {
                self.0.finish()
            }
        }
    };
}

// There are three types, not one with a choice inside, so that a program that uses one CRC does not include all tables.
running!(
    /// Streaming CRC32.
    Crc32,
    u32
);
running!(
    /// Streaming CRC32C.
    Crc32c,
    u32
);
running!(
    /// Streaming CRC64NVME.
    Crc64,
    u64
);

#[cfg(not(target_family = "wasm"))]
mod engine {
    use crc_fast::{CrcAlgorithm, Digest};

    macro_rules! engine {
        ($name:ident, $value:ty, $algorithm:ident) => {
            #[derive(Clone)]
            pub(super) struct $name(Digest);

            impl $name {
                pub(super) fn new() -> $name {
                    $name(Digest::new(CrcAlgorithm::$algorithm))
                }

                pub(super) fn update(&mut self, bytes: &[u8]) {
                    self.0.update(bytes);
                }

                pub(super) fn finish(&self) -> $value {
                    self.0.finalize() as $value
                }
            }
        };
    }

    engine!(Crc32, u32, Crc32IsoHdlc);
    engine!(Crc32c, u32, Crc32Iscsi);
    engine!(Crc64, u64, Crc64Nvme);
}

#[cfg(target_family = "wasm")]
mod engine {
    use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, CRC_64_NVME, Digest, Table};

    macro_rules! engine {
        ($name:ident, $value:ty, $algorithm:ident) => {
            #[derive(Clone)]
            pub(super) struct $name(Digest<'static, $value, Table<16>>);

            impl $name {
                pub(super) fn new() -> $name {
                    static TABLES: crc::Crc<$value, Table<16>> = crc::Crc::<$value, Table<16>>::new(&$algorithm);
                    $name(TABLES.digest())
                }

                pub(super) fn update(&mut self, bytes: &[u8]) {
                    self.0.update(bytes);
                }

                pub(super) fn finish(&self) -> $value {
                    self.0.clone().finalize()
                }
            }
        };
    }

    engine!(Crc32, u32, CRC_32_ISO_HDLC);
    engine!(Crc32c, u32, CRC_32_ISCSI);
    engine!(Crc64, u64, CRC_64_NVME);
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The check values of the catalogue.
    #[test]
    fn known_values() {
        let (mut crc32, mut crc32c, mut crc64) = (Crc32::default(), Crc32c::default(), Crc64::default());
        assert_eq!((crc32.finish(), crc32c.finish(), crc64.finish()), (0, 0, 0));
        crc32.update(b"123456789");
        crc32c.update(b"123456789");
        crc64.update(b"123456789");
        assert_eq!(crc32.finish(), 0xCBF4_3926);
        assert_eq!(crc32c.finish(), 0xE306_9283);
        assert_eq!(crc64.finish(), 0xAE8B_1486_0A79_9888);
    }

    #[test]
    fn pieces_and_combined_halves_give_the_same_value() {
        let bytes: Vec<u8> = (0..100_000u64).map(|n| ((n * n) >> 7) as u8).collect();
        let all = |pieces: &[&[u8]]| {
            let (mut crc32, mut crc32c, mut crc64) = (Crc32::default(), Crc32c::default(), Crc64::default());
            for piece in pieces {
                crc32.update(piece);
                crc32c.update(piece);
                crc64.update(piece);
            }
            [u64::from(crc32.finish()), u64::from(crc32c.finish()), crc64.finish()]
        };
        let whole = all(&[&bytes]);
        for cut in [0, 1, 7, 15, 64 * 1024, 99_999, 100_000] {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(all(&[a, b]), whole);
            let (first, second) = (all(&[a]), all(&[b]));
            for (n, crc) in [Crc::Crc32, Crc::Crc32c, Crc::Crc64Nvme].into_iter().enumerate() {
                assert_eq!(combine(crc, first[n], second[n], b.len() as u64), whole[n], "{crc:?} cut at {cut}");
            }
        }
        for (n, crc) in [Crc::Crc32, Crc::Crc32c, Crc::Crc64Nvme].into_iter().enumerate() {
            let (pieces, odd) = bytes.split_at(99_000);
            let pieces = [&[], odd].into_iter().chain(pieces.chunks(9_000)).chain([&[][..], odd]);
            let bytes = pieces.clone().collect::<Vec<_>>().concat();
            let combined = combine_all(crc, pieces.map(|piece| (all(&[piece])[n], piece.len() as u64)));
            assert_eq!(combined, all(&[&bytes])[n], "{crc:?}");
            assert_eq!(combine_all(crc, []), 0);
        }
    }

    /// A second half of 2^40 zeros, whose length does not fit 32 bits, gives the same as 1,024 steps of 2^30.
    #[test]
    fn a_long_second_half_combines() {
        for crc in [Crc::Crc32, Crc::Crc32c, Crc::Crc64Nvme] {
            let zeros = |length_log: u32| {
                // The CRC of one zero byte, doubled.
                let one = match crc {
                    Crc::Crc32 => 0xD202_EF8D,
                    Crc::Crc32c => 0x527D_5351,
                    Crc::Crc64Nvme => {
                        let mut one = Crc64::default();
                        one.update(&[0]);
                        one.finish()
                    }
                };
                (0..length_log).fold(one, |value, log| combine(crc, value, value, 1 << log))
            };
            let piece = zeros(30);
            let pieces = (1..1024).fold(piece, |value, _| combine(crc, value, piece, 1 << 30));
            assert_eq!(pieces, zeros(40));
        }
    }
}
