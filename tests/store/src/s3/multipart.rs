//! The operations of a multipart upload.

use s3s::S3Request;
use s3s::dto::*;

use super::convert::{self, Answer, answer, attributes, etag, owner, set_checksum, size, timestamp};
use super::objects::full_object;
use crate::checksum::{Algorithm, Announced, Given, crc64_text};
use crate::model::multipart::{Completion, Listed, MAX_PARTS};
use crate::refusal::Refusal;
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
    if !(1..=MAX_PARTS).contains(&part_number) {
        let message = format!("Part number must be an integer between 1 and {MAX_PARTS}, inclusive");
        return Err(Refusal::invalid_argument(message));
    }
    let announced = Announced::of(&req.headers)?;
    convert::check_length(announced.length())?;
    let expected = shared.store().upload(&bucket, &key, &upload_id)?.algorithm;
    if let Some(actual) = announced.algorithm()
        && expected != Some(actual)
    {
        return Err(checksum_type_mismatch(expected, actual));
    }

    let received = announced.receive(body, req.trailing_headers, &shared.budget).await?;
    let mut output = UploadPartOutput::default();
    match &received.given {
        Some(given) => set_checksum!(output, given.algorithm, given.value.clone()),
        None => output.checksum_crc64nvme = Some(crc64_text(received.crc64)),
    }
    let now = shared.clock.now();
    output.e_tag = etag(&shared.store().put_part(&bucket, &key, &upload_id, part_number, received, now)?);
    answer(output)
}

/// S3 wants every part's algorithm announced by CreateMultipartUpload.
fn checksum_type_mismatch(expected: Option<Algorithm>, actual: Algorithm) -> Refusal {
    Refusal::invalid_request(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
        expected.map_or("null", Algorithm::name).to_lowercase(),
        actual.name().to_lowercase()
    ))
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
        crc64: input.checksum_crc64nvme,
        size: input.mpu_object_size.map(|size| u64::try_from(size).unwrap_or(u64::MAX)),
        condition: convert::condition(input.if_match.as_ref(), input.if_none_match.as_ref())?,
    };
    let mut store = shared.store();
    let algorithm = store.upload(&input.bucket, &input.key, &input.upload_id)?.algorithm;
    if completion.crc64.is_some() {
        if algorithm.is_some_and(|algorithm| algorithm != Algorithm::Crc64Nvme) {
            return Err(checksum_type_mismatch(algorithm, Algorithm::Crc64Nvme));
        }
        if input.checksum_type.is_some_and(|one| one.as_str() != ChecksumType::FULL_OBJECT) {
            return Err(Refusal::invalid_request("A CRC64NVME of the whole object has the checksum type FULL_OBJECT."));
        }
    }
    let completed = store.complete(&input.bucket, &input.key, &input.upload_id, &completion)?;
    answer(CompleteMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_crc64nvme: Some(crc64_text(completed.crc64)),
        checksum_type: full_object(),
        e_tag: etag(&completed.etag),
        key: Some(input.key),
        version_id: completed.version,
        ..Default::default()
    })
}

fn listed(part: CompletedPart) -> Result<Listed, Refusal> {
    let (Some(number), Some(etag)) = (part.part_number, part.e_tag) else {
        let message = "The XML you provided was not well-formed: every Part has a PartNumber and an ETag.";
        return Err(Refusal::new(400, "MalformedXML", message));
    };
    let given = [
        (Algorithm::Crc32, part.checksum_crc32),
        (Algorithm::Crc32c, part.checksum_crc32c),
        (Algorithm::Crc64Nvme, part.checksum_crc64nvme),
        (Algorithm::Sha1, part.checksum_sha1),
        (Algorithm::Sha256, part.checksum_sha256),
    ];
    let given = given.into_iter().filter_map(|(algorithm, value)| Some(Given { algorithm, value: value? }));
    Ok(Listed { number, etag: etag.into_value(), given: given.collect() })
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

/// The most parts in one page.
const MAX_PAGE: i32 = 1000;

pub(super) async fn list_parts(shared: &Shared, req: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
    let input = req.input;
    let max = input.max_parts.unwrap_or(MAX_PAGE).clamp(0, MAX_PAGE);
    let marker = input.part_number_marker.unwrap_or(0);
    let store = shared.store();
    let upload = store.upload(&input.bucket, &input.key, &input.upload_id)?;
    let mut rest = upload.parts.range(marker.saturating_add(1)..);
    let mut parts = Vec::new();
    for (number, part) in rest.by_ref().take(usize::try_from(max).unwrap_or(0)) {
        let mut output = Part {
            e_tag: etag(&part.etag()),
            last_modified: timestamp(part.modified),
            part_number: Some(*number),
            size: size(part.received.payload.len()),
            ..Default::default()
        };
        match &part.received.given {
            Some(given) => set_checksum!(output, given.algorithm, given.value.clone()),
            None => output.checksum_crc64nvme = Some(crc64_text(part.received.crc64)),
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
        max_parts: Some(max),
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
