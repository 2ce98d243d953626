//! The operations of a multipart upload.

use s3_model::{Algorithm, Checksum, Completion, Content as _, ListedPart, MAX_PAGE, Refusal, crc64_text};
use s3s::S3Request;
use s3s::dto::*;

use super::convert::{self, Answer, answer, attributes, etag, owner, set_checksum, size, timestamp};
use super::objects::full_object;
use crate::checksum::Announced;
use crate::shared::Shared;

pub(super) async fn create(
    shared: &Shared,
    req: S3Request<CreateMultipartUploadInput>,
) -> Answer<CreateMultipartUploadOutput> {
    let mut input = req.input;
    let algorithm = match &input.checksum_algorithm {
        None => None,
        Some(name) => Some(Algorithm::from_name(name.as_str()).ok_or_else(|| {
            Refusal::invalid_request(format!("Checksum algorithm provided is unsupported: {:?}.", name.as_str()))
        })?),
    };
    let composite = input.checksum_type.as_ref().is_some_and(|one| one.as_str() == ChecksumType::COMPOSITE);
    if composite && algorithm == Some(Algorithm::Crc64Nvme) {
        return Err(Refusal::invalid_request(
            "The COMPOSITE checksum type cannot be used with the crc64nvme algorithm.",
        ));
    }
    let checksum_type = input.checksum_type.take().or(match algorithm {
        None => None,
        Some(Algorithm::Crc64Nvme) => full_object(),
        Some(_) => Some(ChecksumType::from_static(ChecksumType::COMPOSITE)),
    });
    let attributes = attributes!(input);
    let now = shared.clock.now();
    let upload_id = shared.store().create_upload(&input.bucket, &input.key, attributes, algorithm, now)?;
    answer(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type,
        key: Some(input.key),
        upload_id: Some(upload_id),
        ..Default::default()
    })
}

pub(super) async fn upload_part(shared: &Shared, req: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
    let UploadPartInput { bucket, key, upload_id, part_number, body, .. } = req.input;
    let number = u32::try_from(part_number).unwrap_or(0);
    let announced = Announced::of(&req.headers)?;
    {
        let store = shared.store();
        store.check_length(announced.length().unwrap_or(0))?;
        store.check_part(&bucket, &key, &upload_id, number, announced.algorithm())?;
        let own = store.upload(&bucket, &key, &upload_id)?.attributes.retention;
        store.check_digest(&bucket, own.as_ref(), announced.has_digest())?;
    }
    let received = announced.receive(body, req.trailing_headers, &shared.budget).await?;
    let mut output = UploadPartOutput::default();
    match &received.checksum {
        Some(checksum) => set_checksum!(output, checksum.algorithm, checksum.value.clone()),
        None => output.checksum_crc64nvme = Some(crc64_text(received.crc64nvme)),
    }
    let now = shared.clock.now();
    output.e_tag = etag(&shared.store().put_part(&bucket, &key, &upload_id, number, received, now)?);
    answer(output)
}

pub(super) async fn complete(
    shared: &Shared,
    req: S3Request<CompleteMultipartUploadInput>,
) -> Answer<CompleteMultipartUploadOutput> {
    let input = req.input;
    for (name, given) in [
        ("crc32", &input.checksum_crc32),
        ("crc32c", &input.checksum_crc32c),
        ("sha1", &input.checksum_sha1),
        ("sha256", &input.checksum_sha256),
    ] {
        if given.is_some() {
            let what = format!("x-amz-checksum-{name} on CompleteMultipartUpload");
            return Err(Refusal::not_implemented(&what));
        }
    }
    let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let completion = Completion {
        parts: parts.into_iter().map(listed).collect::<Result<_, _>>()?,
        crc64nvme: input.checksum_crc64nvme,
        size: input.mpu_object_size.map(|size| u64::try_from(size).unwrap_or(u64::MAX)),
        condition: convert::condition(input.if_match.as_ref(), input.if_none_match.as_ref())?,
    };
    let full_object_only = completion.crc64nvme.is_some();
    if full_object_only && input.checksum_type.is_some_and(|one| one.as_str() != ChecksumType::FULL_OBJECT) {
        return Err(Refusal::invalid_request("A CRC64NVME of the whole object has the checksum type FULL_OBJECT."));
    }
    let completed = shared.store().complete(&input.bucket, &input.key, &input.upload_id, &completion)?;
    answer(CompleteMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_crc64nvme: Some(crc64_text(completed.crc64nvme)),
        checksum_type: full_object(),
        e_tag: etag(&completed.etag),
        key: Some(input.key),
        version_id: completed.version,
        ..Default::default()
    })
}

fn listed(part: CompletedPart) -> Result<ListedPart, Refusal> {
    let (Some(number), Some(etag)) = (part.part_number, part.e_tag) else {
        let message = "The XML you provided was not well-formed: every Part has a PartNumber and an ETag.";
        return Err(Refusal::new(400, "MalformedXML", message));
    };
    let checksums = [
        (Algorithm::Crc32, part.checksum_crc32),
        (Algorithm::Crc32c, part.checksum_crc32c),
        (Algorithm::Crc64Nvme, part.checksum_crc64nvme),
        (Algorithm::Sha1, part.checksum_sha1),
        (Algorithm::Sha256, part.checksum_sha256),
    ];
    let checksums = checksums.into_iter().filter_map(|(algorithm, value)| Some(Checksum { algorithm, value: value? }));
    // The number 0 is no part's.
    Ok(ListedPart {
        number: u32::try_from(number).unwrap_or(0),
        etag: etag.into_value(),
        checksums: checksums.collect(),
    })
}

pub(super) async fn abort(
    shared: &Shared,
    req: S3Request<AbortMultipartUploadInput>,
) -> Answer<AbortMultipartUploadOutput> {
    let input = req.input;
    if input.if_match_initiated_time.is_some() {
        return Err(Refusal::not_implemented("a condition on AbortMultipartUpload"));
    }
    shared.store().abort(&input.bucket, &input.key, &input.upload_id)?;
    answer(AbortMultipartUploadOutput::default())
}

pub(super) async fn list_parts(shared: &Shared, req: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
    let input = req.input;
    let max = input.max_parts.map_or(MAX_PAGE, |max| usize::try_from(max).unwrap_or(0).min(MAX_PAGE));
    let marker = input.part_number_marker.unwrap_or(0);
    let first = u32::try_from(marker).unwrap_or(0).saturating_add(1);
    let store = shared.store();
    let upload = store.upload(&input.bucket, &input.key, &input.upload_id)?;
    let mut rest = upload.parts.range(first..);
    let mut parts = Vec::new();
    for (number, part) in rest.by_ref().take(max) {
        let mut output = Part {
            e_tag: etag(&part.etag()),
            last_modified: timestamp(part.modified),
            part_number: i32::try_from(*number).ok(),
            size: size(part.received.content.length()),
            ..Default::default()
        };
        match &part.received.checksum {
            Some(checksum) => set_checksum!(output, checksum.algorithm, checksum.value.clone()),
            None => output.checksum_crc64nvme = Some(crc64_text(part.received.crc64nvme)),
        }
        parts.push(output);
    }
    let truncated = max > 0 && rest.next().is_some();
    let next = parts.last().and_then(|part| part.part_number);
    answer(ListPartsOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: upload.algorithm.map(|one| ChecksumAlgorithm::from_static(one.name())),
        is_truncated: Some(truncated),
        key: Some(input.key),
        max_parts: Some(max as i32),
        next_part_number_marker: if truncated { next } else { None },
        owner: owner(),
        part_number_marker: Some(marker),
        parts: Some(parts),
        storage_class: Some(StorageClass::from(
            upload.attributes.storage_class.clone().unwrap_or_else(|| StorageClass::STANDARD.to_owned()),
        )),
        upload_id: Some(input.upload_id),
        ..Default::default()
    })
}
