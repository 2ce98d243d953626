//! Between the types of s3s and those of the model.

use std::time::{Duration, SystemTime};

use s3_model::{Refusal, WriteCondition};
use s3s::dto::{ETag, ETagCondition, Owner, Timestamp, TimestampFormat};

use crate::access::OWNER;

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

/// A time before 1970 is 1970.
pub(super) fn system_time(time: &Timestamp) -> SystemTime {
    let mut text = Vec::new();
    let written = time.format(TimestampFormat::EpochSeconds, &mut text).is_ok();
    let seconds = std::str::from_utf8(&text).ok().filter(|_| written).and_then(|text| text.parse().ok());
    let since = Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + since
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
) -> Result<WriteCondition, Refusal> {
    match (if_match, if_none_match) {
        (None, None) => Ok(WriteCondition::None),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::Absent),
        (Some(ETagCondition::ETag(etag)), None) => Ok(WriteCondition::Matches(etag.value().to_owned())),
        (None, Some(_)) => Err(Refusal::not_implemented("If-None-Match with an ETag on a write")),
        (Some(ETagCondition::Any), None) => Err(Refusal::not_implemented("If-Match: * on a write")),
        (Some(_), Some(_)) => Err(Refusal::not_implemented("If-Match and If-None-Match together on a write")),
    }
}

/// The attributes that PutObject, CreateMultipartUpload and CopyObject have in common.
macro_rules! attributes {
    ($input:expr) => {{
        let content_type = $input.content_type.take().or_else(|| Some("binary/octet-stream".to_owned()));
        let expires = $input.expires.take().and_then(|time| $crate::s3::convert::http_date(&time));
        let headers = [
            ("cache-control", $input.cache_control.take()),
            ("content-disposition", $input.content_disposition.take()),
            ("content-encoding", $crate::s3::convert::content_encoding($input.content_encoding.take())),
            ("content-language", $input.content_language.take()),
            ("content-type", content_type),
            ("expires", expires),
        ];
        s3_model::Attributes {
            headers: headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            metadata: $input.metadata.take().unwrap_or_default().into_iter().collect(),
            storage_class: $input.storage_class.take().map(|class| class.as_str().to_owned()),
            retention: $crate::s3::lock::requested(
                $input.object_lock_mode.take(),
                $input.object_lock_retain_until_date.take(),
            )?,
            // What asks for one is refused before.
            encryption: s3_model::Encryption::None,
        }
    }};
}
pub(super) use attributes;

/// `Fri, 24 May 2013 00:00:00 GMT`
pub(super) fn http_date(time: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    time.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

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
            s3_model::Algorithm::Crc32 => $output.checksum_crc32 = Some($value),
            s3_model::Algorithm::Crc32c => $output.checksum_crc32c = Some($value),
            s3_model::Algorithm::Crc64Nvme => $output.checksum_crc64nvme = Some($value),
            s3_model::Algorithm::Sha1 => $output.checksum_sha1 = Some($value),
            s3_model::Algorithm::Sha256 => $output.checksum_sha256 = Some($value),
        }
    };
}
pub(super) use set_checksum;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_chunked_is_not_kept() {
        assert_eq!(content_encoding(Some("aws-chunked".to_owned())), None);
        assert_eq!(content_encoding(Some("gzip,aws-chunked".to_owned())).as_deref(), Some("gzip"));
        assert_eq!(content_encoding(Some("aws-chunked, br".to_owned())).as_deref(), Some("br"));
    }
}
