//! What the vault knows of data that another program wrote: which object it is, and its version id.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::vid::Vid;

/// Says in a manifest and in a locator that another program wrote the data. Such data has no metadata of the vault, so only
/// the object itself identifies it: its key, its version id if it has one, its size and its ETag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// ETag of the object without its quotes; empty for a delete marker.
    pub etag: String,
    /// MD5 of the object in hex, if the store says that its ETag is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
}

impl Adopted {
    /// The MD5 of the object, if it is known.
    pub fn md5(&self) -> Option<[u8; 16]> {
        let mut md5 = [0; 16];
        hex::decode_to_slice(self.md5.as_deref()?, &mut md5).ok()?;
        Some(md5)
    }
}

/// The MD5 that an ETag is: that of an object which was stored by one request, and is not encrypted with a key of KMS.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>
pub(crate) fn md5_of(etag: &str, server_side_encryption: Option<&str>) -> Option<String> {
    let is_md5 = etag.len() == 32 && etag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_plain = server_side_encryption.is_none_or(|with| with == "AES256");
    (is_md5 && is_plain).then(|| etag.to_owned())
}

/// The random bits of an adopted object's version id: the same for each run, and for each object others. Where the object
/// has no version id of its own, its ETag and size stand for it, since another may replace it.
pub(crate) fn random_bits(key: &str, version_id: Option<&str>, etag: &str, size: u64) -> [u8; 10] {
    let identity = match version_id {
        Some(id) if id != "null" => id.to_owned(),
        _ => format!("{etag}\0{size}"),
    };
    let hash = Sha256::digest(format!("s3vault/1 adopt\0{key}\0{identity}"));
    let mut bits = [0; 10];
    bits.copy_from_slice(&hash[..10]);
    bits
}

/// The version id of an object that was modified at this time, if it is later than the versions of its key before it:
/// `Last-Modified` has whole seconds on many stores.
pub(crate) fn vid_of(modified_ms: i64, before: Option<i64>, random: [u8; 10]) -> Vid {
    Vid::new(before.map_or(modified_ms, |before| modified_ms.max(before + 1)), random)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The ids are a promise: a second run recognizes by them what the first has adopted.
    #[test]
    fn the_exact_bits() {
        // hashlib.sha256(b"s3vault/1 adopt\0vm/disk\0v1").hexdigest()[:20]
        assert_eq!(hex::encode(random_bits("vm/disk", Some("v1"), "e", 5)), "b4d6f1f663856b96e2b8");
        // hashlib.sha256(b"s3vault/1 adopt\0vm/disk\0e\x005").hexdigest()[:20]
        for none in [None, Some("null")] {
            assert_eq!(hex::encode(random_bits("vm/disk", none, "e", 5)), "2ab98a79eaaedf8fa622");
        }
    }

    #[test]
    fn versions_of_one_second_stay_in_their_order() {
        let first = vid_of(5_000, None, [9; 10]);
        let second = vid_of(5_000, Some(first.unix_ms()), [1; 10]);
        let third = vid_of(5_000, Some(second.unix_ms()), [5; 10]);
        assert!(third < second && second < first, "the newest sorts first");
        assert_eq!(vid_of(7_000, Some(third.unix_ms()), [0; 10]).unix_ms(), 7_000);
    }

    #[test]
    fn an_etag_is_an_md5_only_if_the_store_made_it_of_one_plain_object() {
        let md5 = "9e107d9d372bb6826bd81d3542a419d6";
        assert_eq!(md5_of(md5, None).as_deref(), Some(md5));
        assert_eq!(md5_of(md5, Some("AES256")).as_deref(), Some(md5));
        for (etag, with) in [
            (md5, Some("aws:kms")),
            ("9e107d9d372bb6826bd81d3542a419d6-2", None),
            ("", None),
            ("9E107D9D372BB6826BD81D3542A419D6", None),
        ] {
            assert_eq!(md5_of(etag, with), None, "{etag} {with:?}");
        }
        let adopted = Adopted { etag: md5.into(), md5: Some(md5.into()) };
        assert_eq!(adopted.md5().map(hex::encode).as_deref(), Some(md5));
    }
}
