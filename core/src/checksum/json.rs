//! Serialization of hashes: binary in memory, text in JSON.

use std::fmt;

use serde::de::{Error, Visitor};

/// A CRC64NVME in base64 of its eight bytes, big-endian.
pub(crate) mod crc64nvme {
    use serde::{Deserializer, Serializer};

    use super::Text;
    use crate::checksum::{crc_text, parse_crc};

    pub(crate) fn serialize<S: Serializer>(crc: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crc_text(*crc))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_str(Text("a CRC64NVME in base64", parse_crc))
    }
}

/// A CRC64NVME that may be missing.
pub(crate) mod optional_crc64nvme {
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(crc: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match crc {
            Some(crc) => super::crc64nvme::serialize(crc, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        super::crc64nvme::deserialize(deserializer).map(Some)
    }
}

/// A BLAKE3 hash in 64 lower-case hex digits.
pub(crate) mod blake3 {
    use serde::{Deserializer, Serializer};

    use super::Text;

    pub(crate) fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(hash))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        deserializer.deserialize_str(Text("a BLAKE3 in hex", |text| {
            let mut hash = [0; 32];
            hex::decode_to_slice(text, &mut hash).ok()?;
            Some(hash)
        }))
    }
}

/// Deserializes a value from text: the description of the text, and its parser.
struct Text<T>(&'static str, fn(&str) -> Option<T>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).ok_or_else(|| E::custom(format_args!("'{text}' is not {}", self.0)))
    }
}
