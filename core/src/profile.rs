//! What a provider can do and where it differs from S3, as data: nothing else in the code asks for a provider by name.
//!
//! A preset is what servers answered when they were tried; the tests of the operations run on the servers hold each of
//! them to it. The probe, which measures a user's own bucket, comes with the stores.

use serde::Serialize;

use crate::error::{Code, Error, Result};

/// A provider's facts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Profile {
    /// As the setting `provider` names it.
    pub name: &'static str,
    /// Smallest part but the last, in bytes.
    pub least_part: u64,
    /// Largest part and single PUT, in bytes.
    pub most_part: u64,
    /// Most parts of one object.
    pub most_parts: u32,
    /// Largest object, in bytes; a larger backup takes several.
    pub most_object: u64,
    /// All parts of an upload but the last must have the same length.
    pub equal_parts: bool,
    /// How long after its date a request may still take effect, in milliseconds: stores refuse an older date.
    /// DESIGN's B.
    pub late_ms: i64,
    /// Takes a checksum in a trailer behind an unsigned payload (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`).
    pub trailers: bool,
    /// Takes a checksum in a trailer behind signed chunks (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`).
    pub signed_trailers: bool,
    /// Refuses a wrong signature of the last chunk, which is empty. Those of the others all refuse.
    pub checks_last_chunk: bool,
    /// Verifies the checksums that go with the data, CRC64NVME among them; else they are ignored.
    pub checksums: bool,
    /// Keeps versions of objects.
    pub versioning: bool,
    /// `If-None-Match: *` on PutObject keeps what is there, in a bucket with versioning too.
    pub conditional_put: bool,
    /// `If-Match` on PutObject keeps what has another ETag, and lets the right one through, in a bucket with versioning
    /// too; else it is ignored, or never holds.
    pub matching_put: bool,
    /// `x-amz-copy-source-if-match` on CopyObject is heeded.
    pub conditional_copy: bool,
    /// Keeps a bucket's default encryption.
    pub bucket_encryption: bool,
    /// Keeps which kinds of encryption a bucket refuses (`BlockedEncryptionTypes`).
    pub blocked_encryption: bool,
    /// Encrypts with the caller's keys (SSE-C).
    pub sse_c: bool,
    /// Copies from an object with SSE-C.
    pub sse_c_copy: bool,
    /// Keeps a bucket's and an object's lock.
    pub object_lock: bool,
    /// Lets those who may lift a lock in governance mode (`x-amz-bypass-governance-retention`).
    pub governance_bypass: bool,
    /// Refuses a signature for another region than its own.
    pub checks_region: bool,
    /// A key may begin with `/`; else that is dropped in silence.
    pub leading_slash: bool,
    /// Lists keys with control characters as they are; else with another character in their place.
    pub control_characters: bool,
    /// Refuses to make a bucket that is the caller's already (`BucketAlreadyOwnedByYou`).
    pub refuses_own_bucket: bool,
    /// Lists buckets in pages (`max-buckets`); else all at once.
    pub pages_buckets: bool,
    /// Copies parts of an upload (UploadPartCopy).
    pub part_copy: bool,
    /// Has the right checksums of parts that it copied; else such an upload must do without.
    pub part_copy_checksums: bool,
    /// Answers CompleteMultipartUpload of an upload that is not there with `NoSuchUpload`; else with 500.
    pub complete_knows_uploads: bool,
    /// CompleteMultipartUpload that is sent again after it took effect is answered as the first time; else with
    /// `NoSuchUpload`.
    pub completes_again: bool,
    /// AbortMultipartUpload that is sent again is answered as the first time; else with `NoSuchUpload`.
    pub aborts_again: bool,
    /// Lists uploads in pages (`max-uploads`); else all at once, or refuses the second page.
    pub pages_uploads: bool,
    /// Lists uploads by a prefix that is not a whole key.
    pub upload_prefixes: bool,
    /// A list of uploads says whether its keys are encoded; else they must be asked for as they are.
    pub says_upload_encoding: bool,
}

/// Amazon S3 (multipart upload limits, S3 user guide), and what is assumed of a store that is not named.
pub const S3: Profile = Profile {
    name: "s3",
    least_part: 5 << 20,
    most_part: 5 << 30,
    most_parts: 10_000,
    most_object: 10_000 * (5 << 30),
    equal_parts: false,
    late_ms: 15 * 60 * 1000,
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
        most_object: 5 << 40,
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
        // It refuses every signed trailer whose signature is right (2.5.0).
        signed_trailers: false,
        least_part: 1,
        late_ms: 24 * 3600 * 1000,
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
        // It takes the keys and stores in the clear.
        sse_c: false,
        sse_c_copy: false,
        governance_bypass: false,
        leading_slash: false,
        control_characters: false,
        // The checksum of a range is that of the whole source, and no marker with an upload id is known (1.7.0).
        part_copy_checksums: false,
        pages_uploads: false,
        ..S3
    },
];

/// The preset of this name.
pub fn named(name: &str) -> Result<Profile> {
    PROFILES.iter().find(|profile| profile.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        Error::new(Code::InvalidOption, format!("provider = '{name}': {} expected", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Kind, OPTIONS};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_setting_takes_the_names_of_the_presets() {
        let row = OPTIONS.iter().find(|row| row.key == "provider").unwrap();
        let Kind::Words(words) = row.kind else { panic!("{row:?}") };
        assert_eq!(PROFILES.iter().map(|profile| profile.name).collect::<Vec<_>>(), words);
        assert!(words.iter().all(|word| named(word).unwrap().name == *word));
        assert_eq!(named("other").unwrap_err().code(), Code::InvalidOption);
    }
}
