//! PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects.

use std::ops::Range;

use hyper::StatusCode;
use s3_model::{Algorithm, Content as _, Object as Stored, ReadConditions, Refusal, Version, crc64_text};
use s3s::S3Request;
use s3s::dto::*;

use super::convert::{self, Answer, answer, attributes, etag, set_checksum, size, system_time, timestamp};
use crate::access::Orders;
use crate::checksum::Announced;
use crate::payload::Payload;
use crate::shared::Shared;

pub(super) async fn put(shared: &Shared, req: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
    let mut input = req.input;
    let announced = Announced::of(&req.headers)?;
    let condition = convert::condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    shared.store().check_length(announced.length().unwrap_or(0))?;
    let attributes = attributes!(input);
    shared.store().check_digest(&input.bucket, attributes.retention.as_ref(), announced.has_digest())?;

    let received = announced.receive(input.body.take(), req.trailing_headers, &shared.budget).await?;
    let object = Stored::whole(received, attributes);
    let mut output = PutObjectOutput { checksum_type: full_object(), ..Default::default() };
    match &object.checksum {
        Some(checksum) => set_checksum!(output, checksum.algorithm, checksum.value.clone()),
        None => output.checksum_crc64nvme = Some(crc64_text(object.crc64nvme)),
    }
    let stored = shared.store().put(&input.bucket, &input.key, object, &condition, shared.clock.now())?;
    (output.e_tag, output.version_id) = (etag(&stored.etag), stored.version);
    answer(output)
}

pub(super) fn full_object() -> Option<ChecksumType> {
    Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT))
}

/// The conditions of a read.
pub(super) fn read_conditions(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    if_modified_since: Option<&Timestamp>,
    if_unmodified_since: Option<&Timestamp>,
) -> ReadConditions {
    let etag = |condition: &ETagCondition| condition.as_etag().map(|etag| etag.value().to_owned());
    ReadConditions {
        if_match: if_match.map(etag),
        if_none_match: if_none_match.map(etag),
        if_modified_since: if_modified_since.map(system_time),
        if_unmodified_since: if_unmodified_since.map(system_time),
    }
}

/// What a GET or a HEAD found.
struct Found {
    version_id: Option<String>,
    version: Version<Payload>,
    object: Stored<Payload>,
    range: Option<Range<u64>>,
}

impl Found {
    fn bytes(&self) -> Range<u64> {
        self.range.clone().unwrap_or(0..self.object.content.length())
    }

    fn content_range(&self) -> Option<String> {
        let range = self.range.as_ref()?;
        Some(format!("bytes {}-{}/{}", range.start, range.end - 1, self.object.content.length()))
    }
}

/// GetObject and HeadObject have inputs of the same fields.
macro_rules! find {
    ($shared:expr, $input:expr) => {{
        if $input.part_number.is_some() {
            return Err(Refusal::not_implemented("partNumber on a read"));
        }
        let conditions = read_conditions(
            $input.if_match.as_ref(),
            $input.if_none_match.as_ref(),
            $input.if_modified_since.as_ref(),
            $input.if_unmodified_since.as_ref(),
        );
        let version_id = $input.version_id.as_deref();
        find($shared, &$input.bucket, &$input.key, version_id, &conditions, $input.range)?
    }};
}

fn find(
    shared: &Shared,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
    conditions: &ReadConditions,
    range: Option<s3s::dto::Range>,
) -> Result<Found, Refusal> {
    let store = shared.store();
    let (version, object) = store.get(bucket, key, version_id)?;
    conditions.check(version, object)?;
    let length = object.content.length();
    let range = range
        .map(|range| {
            let inside = range.check(length).ok().filter(|range| !range.is_empty());
            inside.ok_or_else(|| {
                Refusal::new(416, "InvalidRange", "The requested range is not satisfiable")
                    .header("content-range", format!("bytes */{length}"))
            })
        })
        .transpose()?;
    let version_id = store.bucket(bucket)?.shown(&version.id);
    Ok(Found { version_id, version: version.clone(), object: object.clone(), range })
}

/// Fills the fields that the outputs of GetObject and HeadObject share.
macro_rules! describe {
    ($output:expr, $found:expr, $checksum_mode:expr) => {{
        let attributes = &$found.object.attributes;
        $output.accept_ranges = Some("bytes".to_owned());
        $output.cache_control = attributes.header("cache-control").cloned();
        $output.content_disposition = attributes.header("content-disposition").cloned();
        $output.content_encoding = attributes.header("content-encoding").cloned();
        $output.content_language = attributes.header("content-language").cloned();
        $output.content_type = attributes.header("content-type").cloned();
        $output.expires =
            attributes.header("expires").and_then(|text| Timestamp::parse(TimestampFormat::HttpDate, text).ok());
        $output.metadata = (!attributes.metadata.is_empty()).then(|| attributes.metadata.clone().into_iter().collect());
        $output.object_lock_mode =
            attributes.retention.map(|retention| ObjectLockMode::from_static(retention.mode.name()));
        $output.object_lock_retain_until_date = attributes.retention.and_then(|retention| timestamp(retention.until));
        // STANDARD is the class that S3 does not name here.
        let class = attributes.storage_class.as_deref().filter(|class| *class != StorageClass::STANDARD);
        $output.storage_class = class.map(|class| StorageClass::from(class.to_owned()));
        $output.content_length = size($found.bytes().end - $found.bytes().start);
        $output.content_range = $found.content_range();
        $output.e_tag = etag(&$found.object.etag);
        $output.last_modified = timestamp($found.version.modified);
        $output.version_id = $found.version_id.clone();
        // A checksum of the whole says nothing about a range.
        let wanted = $checksum_mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        if wanted && $found.range.is_none() {
            $output.checksum_type = full_object();
            if let Some(checksum) = &$found.object.checksum {
                set_checksum!($output, checksum.algorithm, checksum.value.clone());
            }
            set_checksum!($output, Algorithm::Crc64Nvme, crc64_text($found.object.crc64nvme));
        }
    }};
}

pub(super) async fn get(shared: &Shared, req: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
    let mut input = req.input;
    if req.extensions.get::<Orders>().is_some_and(Orders::is_whole) {
        input.range = None;
    }
    let found = find!(shared, input);
    let mut output = GetObjectOutput::default();
    describe!(output, found, input.checksum_mode);
    output.body = Some(StreamingBlob::new(found.object.content.slice(found.bytes())));
    answer(output)
}

pub(super) async fn head(shared: &Shared, req: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
    let input = req.input;
    let found = find!(shared, input);
    let mut output = HeadObjectOutput::default();
    describe!(output, found, input.checksum_mode);
    let status = if found.range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    Ok(s3s::S3Response::with_status(output, status))
}

pub(super) async fn delete(shared: &Shared, req: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
    let input = req.input;
    if input.if_match.is_some() || input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
        return Err(Refusal::not_implemented("a condition on DeleteObject"));
    }
    let (id, bypass) = (input.version_id.as_deref(), input.bypass_governance_retention == Some(true));
    let deleted = shared.store().delete(&input.bucket, &input.key, id, bypass, shared.clock.now())?;
    answer(DeleteObjectOutput {
        delete_marker: deleted.marker.then_some(true),
        request_charged: None,
        version_id: deleted.version,
    })
}

pub(super) async fn delete_many(shared: &Shared, req: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
    let Delete { objects, quiet } = req.input.delete;
    if objects.iter().any(|one| one.e_tag.is_some() || one.size.is_some() || one.last_modified_time.is_some()) {
        return Err(Refusal::not_implemented("a condition in DeleteObjects"));
    }
    let bypass = req.input.bypass_governance_retention == Some(true);
    let named = objects.iter().map(|one| (one.key.as_str(), one.version_id.as_deref()));
    let results = shared.store().delete_many(&req.input.bucket, named, bypass, shared.clock.now())?;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (ObjectIdentifier { key, version_id, .. }, result) in objects.into_iter().zip(results) {
        match result {
            Ok(done) => deleted.push(DeletedObject {
                delete_marker: done.marker.then_some(true),
                delete_marker_version_id: done.version.filter(|_| done.marker),
                key: Some(key),
                version_id,
            }),
            Err(refusal) => errors.push(Error {
                code: Some(refusal.code.to_owned()),
                key: Some(key),
                message: Some(refusal.message),
                version_id,
            }),
        }
    }
    let deleted = (quiet != Some(true)).then_some(deleted);
    let errors = (!errors.is_empty()).then_some(errors);
    answer(DeleteObjectsOutput { deleted, errors, request_charged: None })
}
