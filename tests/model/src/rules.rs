//! Where stores differ, and where they have limits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::SseC;

/// How a store behaves. The default is Amazon S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Smallest part except the last, in bytes.
    pub min_part: u64,
    /// Largest part and largest single PUT, in bytes.
    pub max_part: u64,
    /// Highest part number.
    pub max_parts: u32,
    /// Largest object, in bytes.
    pub max_object: u64,
    /// Most entries in one page of a listing.
    pub max_page: usize,
    /// Most keys without an entry, such as those with a delete marker, that one page of a listing passes. After them the
    /// page ends: it may be short, or empty.
    pub max_passed: usize,
    /// Most buckets of the account.
    pub max_buckets: usize,
    /// A version id of another form than the store's own is refused with 400. Otherwise it is a version that is not there.
    pub checks_version_ids: bool,
    /// Replies to PutObject name a version, also in a bucket without versioning, as Garage's do.
    pub names_all_versions: bool,
    /// Operations that the store does not have, by their names in S3.
    pub missing: BTreeMap<&'static str, Missing>,
    /// Each attempt at an object or a part has an ETag of its own, as in stores that encrypt. Otherwise the ETag is that
    /// of the bytes.
    pub unique_etags: bool,
    /// Checksums are verified, stored and returned. Otherwise they are ignored.
    pub checksums: bool,
    /// Which checksums of payload a request may have. What is not accepted is answered with NotImplemented.
    pub accepts: Accepts,
    /// What the store does with the keys of SSE-C.
    pub sse_c: SseC,
    /// Objects that are encrypted with SSE-C can be copied. Otherwise a copy is answered with NotImplemented, as Ceph does.
    pub copies_sse_c: bool,
    /// What the store says of the checksum of a multipart object.
    pub whole: Whole,
    /// The framing and the trailer of aws-chunked are stored as data.
    pub keeps_framing: bool,
    /// How far the date of a request may be from the store's clock.
    pub date_tolerance: Duration,
    /// A CompleteMultipartUpload that is sent again after it took effect is answered as the first time. Otherwise its
    /// upload is unknown.
    pub completes_again: bool,
    /// CompleteMultipartUpload of an unknown upload is answered with NoSuchUpload. Otherwise with a 500.
    pub complete_knows_uploads: bool,
    /// AbortMultipartUpload of an unknown upload succeeds. Otherwise it is answered with NoSuchUpload.
    pub aborts_again: bool,
}

/// Checksums that a store accepts with payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// In trailers and in headers.
    Trailers,
    /// In headers only.
    Headers,
    /// Only `Content-MD5`.
    Md5,
}

/// How a store answers an operation that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// With 501 NotImplemented.
    NotImplemented,
    /// With 405 MethodNotAllowed.
    NotAllowed,
}

/// What a store says of the checksum of a multipart object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// It computes the right one.
    Right,
    /// It answers with a checksum of the parts' checksums, and compares nothing.
    Composite,
    /// It answers with a wrong one, and compares nothing.
    Wrong,
    /// It refuses every Complete that names one, with BadDigest.
    Refused,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            min_part: 5 << 20,
            max_part: 5 << 30,
            max_parts: 10_000,
            max_object: 10_000 * (5 << 30),
            max_page: super::MAX_PAGE,
            max_passed: usize::MAX,
            max_buckets: 10_000,
            checks_version_ids: true,
            names_all_versions: false,
            missing: BTreeMap::new(),
            unique_etags: false,
            checksums: true,
            accepts: Accepts::Trailers,
            sse_c: SseC::Kept,
            copies_sse_c: true,
            whole: Whole::Right,
            keeps_framing: false,
            date_tolerance: Duration::from_secs(15 * 60),
            completes_again: true,
            complete_knows_uploads: true,
            aborts_again: false,
        }
    }
}
