//! The store of a run: the model of S3, as the profile and the seed have it.

use std::time::{Duration, SystemTime};

use s3_model::{Accepts, Bucket, Payload, Rules, Store, Whole};
use s3vault_core::profile::Profile;

use crate::content::Content;
use crate::mode::Mode;

/// Where the store is.
pub const URL: &str = "http://127.0.0.1:9000";
/// The name of its bucket.
pub const BUCKET: &str = "bkt";

/// Behaviour of a store that its profile does not describe.
#[derive(Clone, Copy, Debug)]
pub struct Quirks {
    /// Each attempt at a part has an ETag of its own, as in stores that encrypt.
    pub unique_etags: bool,
    /// Maximum number of entries in a page of a listing.
    pub page: usize,
    /// Which checksums of payload it accepts.
    pub accepts: Accepts,
    /// What it says of the checksum of a multipart object.
    pub whole: Whole,
    /// It stores the framing of aws-chunked as data.
    pub keeps_framing: bool,
}

impl Default for Quirks {
    fn default() -> Quirks {
        let Rules { unique_etags, max_page, accepts, whole, keeps_framing, .. } = Rules::default();
        Quirks { unique_etags, page: max_page, accepts, whole, keeps_framing }
    }
}

/// A store with an empty bucket for a vault of this mode.
pub fn new(profile: &Profile, quirks: Quirks, mode: Mode, seed: u64) -> Store<Content> {
    let rules = Rules {
        min_part: profile.min_part_size,
        max_part: profile.max_part_size,
        max_parts: profile.max_parts,
        max_object: profile.max_object_size,
        max_page: quirks.page,
        unique_etags: quirks.unique_etags,
        checksums: profile.checksums,
        accepts: quirks.accepts,
        whole: quirks.whole,
        keeps_framing: quirks.keeps_framing,
        date_tolerance: Duration::from_millis(profile.max_request_age_ms.unsigned_abs()),
        completes_again: profile.completes_again,
        complete_knows_uploads: profile.complete_knows_uploads,
        aborts_again: profile.aborts_again,
        ..Rules::default()
    };
    let mut store = Store::new(rules, seed);
    let created = store.create_bucket(BUCKET, mode.versioning(), SystemTime::UNIX_EPOCH);
    created.unwrap_or_else(|refusal| unreachable!("the bucket is the first: {refusal:?}"));
    store
}

/// The store's bucket.
pub fn bucket(store: &Store<Content>) -> &Bucket<Content> {
    store.bucket(BUCKET).unwrap_or_else(|refusal| unreachable!("nobody deletes the bucket: {refusal:?}"))
}

/// The store's bucket.
pub fn bucket_mut(store: &mut Store<Content>) -> &mut Bucket<Content> {
    store.bucket_mut(BUCKET).unwrap_or_else(|refusal| unreachable!("nobody deletes the bucket: {refusal:?}"))
}

/// A time from Unix milliseconds.
pub fn at(unix_ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms.unsigned_abs())
}

impl s3_model::Content for Content {
    fn length(&self) -> u64 {
        Content::length(self)
    }

    fn append(&mut self, other: &Self) {
        *self = Content::concat([&*self, other].into_iter());
    }
}

impl Payload for Content {
    fn slice(&self, start: u64, end: u64) -> Self {
        Content::slice(self, start, end - start)
    }

    fn crc64nvme(&self) -> u64 {
        self.digest().crc64nvme
    }

    fn etag(&self) -> [u8; 16] {
        self.md5()
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Content::Bytes(bytes) => Some(bytes),
            Content::Chunks(_) => None,
        }
    }
}
