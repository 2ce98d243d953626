//! Between the types of s3s and those of the model.

use std::collections::HashMap;
use std::time::SystemTime;

use s3s::dto::{ETag, ETagCondition, Owner, Timestamp};

use crate::access::OWNER;
use crate::model::object::Condition;
use crate::refusal::Refusal;

/// A single PUT, a part or a copy is at most this long.
const MAX_PUT: u64 = 5 << 30;
/// User metadata, names and values together.
const MAX_METADATA: usize = 2048;

pub(super) type Answer<T> = Result<s3s::S3Response<T>, Refusal>;

pub(super) fn answer<T>(output: T) -> Answer<T> {
    Ok(s3s::S3Response::new(output))
}

pub(super) fn etag(etag: &str) -> Option<ETag> {
    Some(ETag::Strong(etag.to_owned()))
}

pub(super) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Some(Timestamp::from(time))
}

pub(super) fn size(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

pub(super) fn owner() -> Option<Owner> {
    Some(Owner { display_name: Some(OWNER.to_owned()), id: Some(OWNER.to_owned()) })
}

/// The condition of a write.
pub(super) fn condition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> Result<Condition, Refusal> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::None),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Matches(etag.value().to_owned())),
        (None, Some(_)) => Err(Refusal::not_implemented("If-None-Match with an ETag on a write")),
        (Some(ETagCondition::Any), None) => Err(Refusal::not_implemented("If-Match: * on a write")),
        (Some(_), Some(_)) => Err(Refusal::not_implemented("If-Match and If-None-Match together on a write")),
    }
}

pub(super) fn check_length(length: Option<u64>) -> Result<(), Refusal> {
    match length {
        Some(length) if length > MAX_PUT => Err(Refusal::new(
            400,
            "EntityTooLarge",
            format!("Your proposed upload exceeds the maximum allowed size: {length} bytes, of {MAX_PUT}."),
        )),
        _ => Ok(()),
    }
}

pub(super) fn metadata(metadata: Option<HashMap<String, String>>) -> Result<HashMap<String, String>, Refusal> {
    let metadata = metadata.unwrap_or_default();
    let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_METADATA {
        return Err(Refusal::new(
            400,
            "MetadataTooLarge",
            format!("Your metadata headers exceed the maximum allowed metadata size: {size} bytes, of {MAX_METADATA}."),
        ));
    }
    Ok(metadata)
}

/// The attributes that PutObject, CreateMultipartUpload and CopyObject carry alike.
macro_rules! attributes {
    ($input:expr) => {
        $crate::model::object::Attributes {
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $crate::s3::convert::content_encoding($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            content_type: $input.content_type.take().or_else(|| Some("binary/octet-stream".to_owned())),
            expires: $input.expires.take(),
            metadata: $crate::s3::convert::metadata($input.metadata.take())?,
            storage_class: $input.storage_class.take().map(|class| class.as_str().to_owned()),
        }
    };
}
pub(super) use attributes;

/// `aws-chunked` is how the request came, not what the object is.
pub(super) fn content_encoding(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let kept: Vec<&str> =
        encoding.split(',').map(str::trim).filter(|one| !one.is_empty() && *one != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// Puts one checksum into an output.
macro_rules! set_checksum {
    ($output:expr, $algorithm:expr, $value:expr) => {
        match $algorithm {
            $crate::checksum::Algorithm::Crc32 => $output.checksum_crc32 = Some($value),
            $crate::checksum::Algorithm::Crc32c => $output.checksum_crc32c = Some($value),
            $crate::checksum::Algorithm::Crc64Nvme => $output.checksum_crc64nvme = Some($value),
            $crate::checksum::Algorithm::Sha1 => $output.checksum_sha1 = Some($value),
            $crate::checksum::Algorithm::Sha256 => $output.checksum_sha256 = Some($value),
        }
    };
}
pub(super) use set_checksum;

/// The escaping of `encoding-type=url`: that of an HTML form, with `/` left as it is.
pub(super) fn url_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b'*' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_encoding_is_that_of_s3() {
        assert_eq!(url_encode("/lead a+b=2F~\u{fc}%2F*"), "/lead+a%2Bb%3D2F%7E%C3%BC%252F*");
    }

    #[test]
    fn aws_chunked_is_not_kept() {
        assert_eq!(content_encoding(Some("aws-chunked".to_owned())), None);
        assert_eq!(content_encoding(Some("gzip,aws-chunked".to_owned())).as_deref(), Some("gzip"));
        assert_eq!(content_encoding(Some("aws-chunked, br".to_owned())).as_deref(), Some("br"));
    }
}
