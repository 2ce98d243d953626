//! What was sent, to compare with an object that the store shows.

use std::collections::BTreeMap;

use crate::checksum::md5;
use crate::op::HeadReply;
use crate::transfer::checkpoint::{Finished, stored_length_of, whole_crc};

/// The object that consists of the parts that were sent.
pub(super) struct Sent {
    /// Size in bytes.
    pub(super) size: u64,
    pub(super) crc64nvme: u64,
    parts: usize,
    /// The ETag that stores compose of those of the parts, if the parts have such ETags.
    etag: Option<String>,
}

impl Sent {
    pub(super) fn new(finished: &BTreeMap<u32, Finished>) -> Sent {
        Sent {
            size: stored_length_of(finished.values()),
            crc64nvme: whole_crc(finished),
            parts: finished.len(),
            etag: composed_etag(finished.values().map(|part| part.etag.as_str())),
        }
    }

    /// Whether an object consists of these bytes; `None` if the store shows nothing that tells, except the size. Without
    /// `by_checksum` the store's checksums do not count.
    pub(super) fn is(&self, found: &HeadReply, by_checksum: bool) -> Option<bool> {
        if found.size.is_some_and(|size| size != self.size) {
            return Some(false);
        }
        match found.whole_crc64nvme().filter(|_| by_checksum) {
            Some(crc) if crc == self.crc64nvme => Some(true),
            // The ETag proves more than a checksum that the store may compute wrongly.
            Some(_) => Some(self.has_etag(found) == Some(true)),
            None => self.has_etag(found),
        }
    }

    /// Whether the ETag is that of these parts; `None` if it is of another form.
    fn has_etag(&self, found: &HeadReply) -> Option<bool> {
        let etag = found.etag.trim_matches('"');
        let (_, parts) = etag.split_once('-')?;
        if parts.parse() != Ok(self.parts) {
            return Some(false);
        }
        self.etag.as_ref().map(|own| etag.eq_ignore_ascii_case(own))
    }
}

/// The ETag of an object with these parts, if each has an MD5 as its ETag: the MD5 of the MD5s, and the number of parts
/// ("Checking object integrity", S3 user guide).
fn composed_etag<'a>(etags: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut digests = Vec::new();
    let mut count = 0;
    for etag in etags {
        let digest = hex::decode(etag.trim_matches('"')).ok().filter(|digest| digest.len() == 16)?;
        digests.extend(digest);
        count += 1;
    }
    Some(format!("{}-{count}", hex::encode(md5(&digests))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{crc_text, digest};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn sent() -> Sent {
        let part = |bytes: &[u8], etag: &str| Finished {
            length: bytes.len() as u64,
            stored: bytes.len() as u64,
            digest: digest(bytes),
            etag: etag.into(),
            salt: None,
        };
        let etags = ["\"5d41402abc4b2a76b9719d911017c592\"", "\"7d793037a0760186574b0282f2f435e7\""];
        Sent::new(&BTreeMap::from([(1, part(b"hello", etags[0])), (2, part(b"world", etags[1]))]))
    }

    /// Computed with Python's hashlib: the MD5 of the MD5s of "hello" and "world".
    const ETAG: &str = "\"065947336a2f2a95ba8899f3675c3be6-2\"";

    #[test]
    fn the_checksum_of_the_whole_decides_then_the_etag_of_the_parts() {
        let sent = sent();
        let own = crc_text(digest(b"helloworld").crc64nvme);
        let found = |size, crc: Option<&str>, etag: &str| HeadReply {
            size: Some(size),
            etag: etag.into(),
            checksums: crc.map(|crc| ("crc64nvme".to_owned(), crc.to_owned())).into_iter().collect(),
            ..HeadReply::default()
        };
        assert_eq!(sent.is(&found(10, Some(&own), "\"x\""), true), Some(true));
        assert_eq!(sent.is(&found(10, Some("AAAAAAAAAAA="), "\"x\""), true), Some(false));
        assert_eq!(
            sent.is(&found(10, Some("AAAAAAAAAAA="), ETAG), true),
            Some(true),
            "a store whose checksum is wrong"
        );
        assert_eq!(sent.is(&found(10, Some("AAAAAAAAAAA="), ETAG), false), Some(true), "not by a wrong checksum");
        assert_eq!(sent.is(&found(10, Some("AAAAAAAAAAA=-2"), ETAG), true), Some(true), "a composite one");
        assert_eq!(sent.is(&found(10, None, ETAG), true), Some(true));
        assert_eq!(sent.is(&found(11, Some(&own), ETAG), true), Some(false), "another size");
        assert_eq!(sent.is(&found(10, None, "\"00000000000000000000000000000000-2\""), true), Some(false));
        assert_eq!(sent.is(&found(10, None, "\"00000000000000000000000000000000-3\""), true), Some(false));
        assert_eq!(sent.is(&found(10, None, "\"opaque\""), true), None);
        assert_eq!(sent.is(&HeadReply::default(), true), None, "not even a size");
    }

    #[test]
    fn parts_with_other_etags_tell_nothing() {
        assert_eq!(composed_etag(["\"5d41402abc4b2a76b9719d911017c592\"", "\"opaque\""].into_iter()), None);
        assert_eq!(composed_etag(["\"5d41402abc4b2a76b9719d911017c592-1\""].into_iter()), None);
    }
}
