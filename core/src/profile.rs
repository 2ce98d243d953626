//! Provider profiles: what a store supports, and how it differs from S3, as data. No other code depends on a provider's
//! name.
//!
//! A preset describes how the servers behaved when they were tried; the tests of the operations run on these servers and
//! check it. A probe that measures a user's own bucket will follow.

use serde::Serialize;

use crate::error::{Code, Error, Result};

/// The properties of a provider.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Profile {
    /// Name of the provider in the option `provider`.
    pub name: &'static str,
    /// Smallest size of a part, except the last, in bytes.
    pub min_part_size: u64,
    /// Largest size of a part and of a single PUT, in bytes.
    pub max_part_size: u64,
    /// Most parts per object.
    pub max_parts: u32,
    /// Largest size of an object, in bytes; a larger backup is stored in several objects.
    pub max_object_size: u64,
    /// All parts of an upload except the last must have the same length.
    pub equal_parts: bool,
    /// How long after its date a request can still take effect, in milliseconds; the store refuses older dates.
    pub max_request_age_ms: i64,
    /// Accepts a checksum in a trailer after an unsigned payload (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`).
    pub trailers: bool,
    /// Accepts a checksum in a trailer after signed chunks (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`).
    pub signed_trailers: bool,
    /// Refuses a wrong signature of the last chunk, which is empty. All stores refuse those of other chunks.
    pub checks_last_chunk: bool,
    /// Verifies the checksums that are sent with the data, including CRC64NVME; otherwise they are ignored.
    pub checksums: bool,
    /// Keeps versions of objects.
    pub versioning: bool,
    /// `If-None-Match: *` on PutObject never replaces an object, also in a bucket with versioning.
    pub conditional_put: bool,
    /// `If-Match` on PutObject replaces only an object with this ETag, also in a bucket with versioning; otherwise the
    /// condition is ignored, or never holds.
    pub matching_put: bool,
    /// Supports `x-amz-copy-source-if-match` on CopyObject.
    pub conditional_copy: bool,
    /// Supports the default encryption of a bucket.
    pub bucket_encryption: bool,
    /// Supports the list of encryption types that a bucket refuses (`BlockedEncryptionTypes`).
    pub blocked_encryption: bool,
    /// Encrypts with customer keys (SSE-C).
    pub sse_c: bool,
    /// Copies objects that are encrypted with SSE-C.
    pub sse_c_copy: bool,
    /// Supports object lock.
    pub object_lock: bool,
    /// Allows the removal of a lock in governance mode with permission (`x-amz-bypass-governance-retention`).
    pub governance_bypass: bool,
    /// Refuses a signature for another region than its own.
    pub checks_region: bool,
    /// Keys may start with `/`; otherwise it is silently dropped.
    pub leading_slash: bool,
    /// Lists keys with control characters correctly; otherwise with another character instead.
    pub control_characters: bool,
    /// Refuses to create a bucket that the caller already owns (`BucketAlreadyOwnedByYou`).
    pub refuses_own_bucket: bool,
    /// Lists buckets in pages (`max-buckets`); otherwise all at once.
    pub pages_buckets: bool,
    /// Supports UploadPartCopy.
    pub part_copy: bool,
    /// Computes the right checksums of copied parts; otherwise such an upload must not have checksums.
    pub part_copy_checksums: bool,
    /// Answers CompleteMultipartUpload for an upload that does not exist with `NoSuchUpload`; otherwise with 500.
    pub complete_knows_uploads: bool,
    /// Answers a CompleteMultipartUpload that is sent again after it took effect as it did before; otherwise with
    /// `NoSuchUpload`.
    pub completes_again: bool,
    /// Answers an AbortMultipartUpload that is sent again as it did before; otherwise with `NoSuchUpload`.
    pub aborts_again: bool,
    /// Lists uploads in pages (`max-uploads`); otherwise all at once, or it refuses the second page.
    pub pages_uploads: bool,
    /// Lists uploads by a prefix that is not a whole key.
    pub upload_prefixes: bool,
    /// A list of uploads says whether its keys are encoded; otherwise they must be requested without encoding.
    pub says_upload_encoding: bool,
}

/// Amazon S3 (multipart upload limits, S3 user guide).
pub const S3: Profile = Profile {
    name: "s3",
    min_part_size: 5 << 20,
    max_part_size: 5 << 30,
    max_parts: 10_000,
    max_object_size: 10_000 * (5 << 30),
    equal_parts: false,
    max_request_age_ms: 15 * 60 * 1000,
    trailers: true,
    signed_trailers: true,
    checks_last_chunk: true,
    checksums: true,
    versioning: true,
    conditional_put: true,
    matching_put: true,
    conditional_copy: true,
    bucket_encryption: true,
    blocked_encryption: true,
    sse_c: true,
    sse_c_copy: true,
    object_lock: true,
    governance_bypass: true,
    checks_region: true,
    leading_slash: true,
    control_characters: true,
    refuses_own_bucket: true,
    pages_buckets: true,
    part_copy: true,
    part_copy_checksums: true,
    complete_knows_uploads: true,
    completes_again: true,
    aborts_again: false,
    pages_uploads: true,
    upload_prefixes: true,
    says_upload_encoding: true,
};

/// The value of the option `provider` that leaves it open.
pub const AUTO: &str = "auto";

/// A store that is not known (yet): as Amazon S3, with the object size that other stores have too.
pub const UNKNOWN: Profile = Profile { name: AUTO, max_object_size: 5 << 40, ..S3 };

/// All presets.
pub const PROFILES: &[Profile] = &[
    S3,
    Profile {
        name: "minio",
        blocked_encryption: false,
        leading_slash: false,
        pages_buckets: false,
        part_copy_checksums: false,
        completes_again: false,
        aborts_again: true,
        pages_uploads: false,
        upload_prefixes: false,
        ..S3
    },
    Profile {
        name: "ceph",
        max_object_size: 5 << 40,
        trailers: false,
        signed_trailers: false,
        checks_last_chunk: false,
        checksums: false,
        conditional_put: false,
        matching_put: false,
        conditional_copy: false,
        bucket_encryption: false,
        blocked_encryption: false,
        sse_c_copy: false,
        checks_region: false,
        refuses_own_bucket: false,
        pages_buckets: false,
        complete_knows_uploads: false,
        says_upload_encoding: false,
        ..S3
    },
    Profile {
        name: "garage",
        // It refuses every signed trailer with a right signature (2.5.0).
        signed_trailers: false,
        min_part_size: 1,
        max_request_age_ms: 24 * 3600 * 1000,
        versioning: false,
        conditional_put: false,
        matching_put: false,
        bucket_encryption: false,
        blocked_encryption: false,
        object_lock: false,
        governance_bypass: false,
        leading_slash: false,
        pages_buckets: false,
        completes_again: false,
        ..S3
    },
    Profile {
        name: "versitygw",
        versioning: false,
        bucket_encryption: false,
        blocked_encryption: false,
        // It accepts customer keys, and stores the data unencrypted.
        sse_c: false,
        sse_c_copy: false,
        governance_bypass: false,
        leading_slash: false,
        control_characters: false,
        // The checksum of a range is that of the whole source, and a marker with an upload id is not supported (1.7.0).
        part_copy_checksums: false,
        pages_uploads: false,
        ..S3
    },
];

/// The preset of the store that sent a reply with these headers, if they tell.
pub fn recognized<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<&'static Profile> {
    let server = header("server").unwrap_or("").to_ascii_lowercase();
    let starts = [("amazons3", "s3"), ("minio", "minio"), ("versitygw", "versitygw"), ("ceph object gateway", "ceph")];
    let name = starts.iter().find(|(start, _)| server.starts_with(start)).map(|(_, name)| *name);
    let name = name.or_else(|| has_request_id_of_ceph(header).then_some("ceph"))?;
    PROFILES.iter().find(|profile| profile.name == name)
}

/// Ceph numbers its requests (`tx0000031b64243a298684c-006b0c8030-1017-default`), as OpenStack Swift does, which names
/// them in another header too.
fn has_request_id_of_ceph<'a>(header: impl Fn(&str) -> Option<&'a str>) -> bool {
    let Some(id) = header("x-amz-request-id").and_then(|id| id.strip_prefix("tx")) else { return false };
    let mut fields = id.split('-');
    let is_hex = |field: Option<&str>, least: usize| {
        field.is_some_and(|field| field.len() >= least && field.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    is_hex(fields.next(), 20)
        && is_hex(fields.next(), 8)
        && fields.count() >= 2
        && header("x-trans-id").is_none()
        && header("x-openstack-request-id").is_none()
}

/// The preset with this name.
pub fn named(name: &str) -> Result<Profile> {
    PROFILES.iter().find(|profile| profile.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        Error::new(
            Code::InvalidOption,
            format!("invalid value '{name}' for option provider: expected {}", names.join(" or ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Kind, OPTIONS};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_option_accepts_the_names_of_the_presets() {
        let row = OPTIONS.iter().find(|row| row.key == "provider").unwrap();
        let Kind::Words(words) = row.kind else { panic!("{row:?}") };
        let presets = PROFILES.iter().map(|profile| profile.name);
        assert_eq!([AUTO].into_iter().chain(presets).collect::<Vec<_>>(), words);
        assert!(words[1..].iter().all(|word| named(word).unwrap().name == *word));
        assert_eq!(named("other").unwrap_err().code(), Code::InvalidOption);
    }

    /// Headers of replies of the servers: MinIO of 2026, versitygw 1.7, Ceph 16.2, and OpenStack Swift's documentation.
    #[test]
    fn a_store_is_recognized_by_the_headers_of_its_replies() {
        let recognized = |headers: &[(&str, &str)]| {
            let header = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
            recognized(header).map(|profile| profile.name)
        };
        assert_eq!(recognized(&[("server", "AmazonS3")]), Some("s3"));
        assert_eq!(recognized(&[("server", "MinIO")]), Some("minio"));
        assert_eq!(recognized(&[("server", "MinIO/RELEASE.2020-01-03")]), Some("minio"));
        assert_eq!(recognized(&[("server", "VERSITYGW")]), Some("versitygw"));
        assert_eq!(recognized(&[("server", "Ceph Object Gateway (squid)")]), Some("ceph"));
        let ceph = ("x-amz-request-id", "tx0000031b64243a298684c-006b0c8030-1017-default");
        assert_eq!(recognized(&[ceph]), Some("ceph"));
        let swift = ("x-amz-request-id", "tx0000031b64243a298684c-006b0c8030-1017-default");
        assert_eq!(recognized(&[swift, ("x-trans-id", swift.1)]), None);
        assert_eq!(recognized(&[("x-amz-request-id", "txn-1")]), None);
        assert_eq!(recognized(&[("x-amz-request-id", "318BC8BC143432E5"), ("server", "nginx")]), None);
        assert_eq!(recognized(&[]), None);
    }
}
