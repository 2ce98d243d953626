//! The bytes of objects and parts, as the owner of the model keeps them.

use md5::{Digest as _, Md5};

/// The bytes of an object or a part: in blocks that share memory, or only described.
pub trait Content: Clone + Default {
    /// Length in bytes.
    fn length(&self) -> u64;

    /// Appends other bytes.
    fn append(&mut self, other: &Self);
}

/// What the HTTP face needs of content in addition: it computes the checksums that it compares.
pub trait Payload: Content {
    /// These bytes of it. The range ends at `length()` or before.
    #[must_use]
    fn slice(&self, start: u64, end: u64) -> Self;

    /// CRC64NVME of the bytes.
    fn crc64nvme(&self) -> u64;

    /// MD5 of the bytes, or another value that stands for them.
    fn etag(&self) -> [u8; 16];

    /// The bytes, unless they are only described. The XML of a request always has them.
    fn bytes(&self) -> Option<&[u8]>;
}

impl Content for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn append(&mut self, other: &Self) {
        self.extend_from_slice(other);
    }
}

impl Payload for Vec<u8> {
    fn slice(&self, start: u64, end: u64) -> Self {
        self.get(start as usize..end as usize).map(<[u8]>::to_vec).unwrap_or_default()
    }

    fn crc64nvme(&self) -> u64 {
        const CRC: crc::Crc<u64, crc::Table<16>> = crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_NVME);
        CRC.checksum(self)
    }

    fn etag(&self) -> [u8; 16] {
        Md5::digest(self).into()
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}
