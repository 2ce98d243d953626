//! CopyObject.

use s3_model::{Content as _, Object, ReadConditions, Refusal, WriteCondition, crc64_text};
use s3s::S3Request;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::*;

use super::convert::{Answer, answer, attributes, etag, timestamp};
use super::objects::{full_object, read_conditions};
use crate::payload::Payload;
use crate::shared::Shared;

pub(super) async fn copy(shared: &Shared, req: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
    let mut input = req.input;
    if req.headers.contains_key("if-match") || req.headers.contains_key("if-none-match") {
        return Err(Refusal::not_implemented("If-Match and If-None-Match on CopyObject"));
    }
    let CopySource::Bucket { bucket, key, version_id } = &input.copy_source else {
        return Err(Refusal::not_implemented("access points"));
    };
    let replace = input.metadata_directive.as_ref().is_some_and(|one| one.as_str() == MetadataDirective::REPLACE);
    let unchanged = !replace && input.storage_class.is_none() && version_id.is_none();
    if unchanged && **bucket == *input.bucket && **key == *input.key {
        return Err(Refusal::invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's \
             metadata, storage class, website redirect location or encryption attributes.",
        ));
    }

    let (mut object, source_version) = {
        let store = shared.store();
        let (version, object) = store.get(bucket, key, version_id.as_deref())?;
        let conditions: ReadConditions = read_conditions(
            input.copy_source_if_match.as_ref(),
            input.copy_source_if_none_match.as_ref(),
            input.copy_source_if_modified_since.as_ref(),
            input.copy_source_if_unmodified_since.as_ref(),
        );
        // A copy knows no 304.
        conditions.check(version, object).map_err(|refusal| match refusal.status {
            304 => Refusal::precondition_failed("x-amz-copy-source-if-none-match"),
            _ => refusal,
        })?;
        (object.clone(), store.bucket(bucket)?.shown(&version.id))
    };
    shared.store().check_length(object.content.length())?;
    if replace {
        object.attributes = attributes!(input);
    } else {
        object.attributes.storage_class = input.storage_class.take().map(|class| class.as_str().to_owned());
        let (mode, until) = (input.object_lock_mode.take(), input.object_lock_retain_until_date.take());
        object.attributes.retention = super::lock::requested(mode, until)?;
    }
    if object.etag.contains('-') {
        object = Object { etag: md5(&object.content).await, checksum: None, ..object };
    }

    let (now, crc64nvme) = (shared.clock.now(), object.crc64nvme);
    let stored = shared.store().put(&input.bucket, &input.key, object, &WriteCondition::None, now)?;
    let result = CopyObjectResult {
        checksum_crc64nvme: Some(crc64_text(crc64nvme)),
        checksum_type: full_object(),
        e_tag: etag(&stored.etag),
        last_modified: timestamp(now),
        ..Default::default()
    };
    answer(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: source_version,
        version_id: stored.version,
        ..Default::default()
    })
}

/// The copy of a multipart object is one piece, with the ETag of one.
async fn md5(payload: &Payload) -> String {
    let mut md5 = Md5::new();
    let mut blocks = payload.slice(0..payload.len());
    while let Some(Ok(block)) = futures::StreamExt::next(&mut blocks).await {
        md5.update(&block);
    }
    hex::encode(md5.finalize())
}
