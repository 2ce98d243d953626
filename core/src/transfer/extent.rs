//! The stored data of a backup: extents, each one data object, and the parts that they are verified by. A manifest
//! lists them, and a checkpoint records its parts in the same format.

use serde::{Deserialize, Serialize};

use crate::checksum::{Digest, json};
use crate::crypto::segment::Salt;

/// One data object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Key of the object when it was written; the locator says where it is now.
    pub key: String,
    /// Native version id of the object when it was written: a hint, since a replica has other ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Size of the object in stored bytes.
    pub size: u64,
    /// CRC64NVME of the whole object; `None` if the object was adopted without reading it.
    #[serde(default, with = "json::optional_crc64nvme", skip_serializing_if = "Option::is_none")]
    pub crc64nvme: Option<u64>,
    /// The parts, in order; their lengths add up to `size`. An object that was adopted without reading it has none.
    pub parts: Vec<PartHash>,
    /// The salt of each part, if the backup is encrypted here; otherwise empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub salts: Vec<Salt>,
}

/// A part: the unit of verification. Hashes are over the bytes that a GET returns.
///
/// A backup may have millions of parts, so each takes 48 bytes in memory. On the store the CRC is base64, the BLAKE3
/// hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartHash {
    /// Length in bytes.
    pub length: u64,
    /// CRC64NVME.
    #[serde(with = "json::crc64nvme")]
    pub crc64nvme: u64,
    /// BLAKE3.
    #[serde(with = "json::blake3")]
    pub blake3: [u8; 32],
}

impl PartHash {
    /// The hashes of a part with this length and digest.
    pub fn new(length: u64, digest: &Digest) -> PartHash {
        PartHash { length, crc64nvme: digest.crc64nvme, blake3: digest.blake3 }
    }

    /// The digest of the part.
    pub(crate) fn digest(&self) -> Digest {
        Digest { crc64nvme: self.crc64nvme, blake3: self.blake3 }
    }

    /// Whether a part with this length and digest is the stored one.
    pub fn matches(&self, length: u64, digest: &Digest) -> bool {
        *self == PartHash::new(length, digest)
    }
}
