//! ListObjectsV2, ListObjectVersions, ListMultipartUploads.

use s3_model::{Content as _, MAX_PAGE, Position, Query, Refusal, url_encode};
use s3s::S3Request;
use s3s::dto::*;

use super::convert::{Answer, answer, etag, owner, size, timestamp};
use crate::shared::Shared;

/// What the three listings are asked alike.
struct Asked {
    query: Query,
    max: i32,
    url: bool,
}

impl Asked {
    fn new(
        shared: &Shared,
        prefix: Option<&String>,
        delimiter: Option<&String>,
        max: Option<i32>,
        encoding: Option<&EncodingType>,
        after: Position,
    ) -> Result<Self, Refusal> {
        let max = max.map_or(Ok(MAX_PAGE), usize::try_from);
        let max = max.map_err(|_| Refusal::invalid_argument("The number of entries must not be negative."))?;
        let (max, max_passed) = {
            let store = shared.store();
            (max.min(store.rules.max_page), store.rules.max_passed)
        };
        let url = match encoding.map(EncodingType::as_str) {
            None => false,
            Some(EncodingType::URL) => true,
            Some(other) => return Err(Refusal::invalid_argument(format!("Invalid Encoding Method: {other:?}"))),
        };
        let prefix = prefix.cloned().unwrap_or_default();
        let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty()).cloned();
        Ok(Self { query: Query { prefix, delimiter, after, max, max_passed }, max: max as i32, url })
    }

    fn encode(&self, text: &str) -> String {
        if self.url { url_encode(text) } else { text.to_owned() }
    }

    fn encode_opt(&self, text: Option<&String>) -> Option<String> {
        text.map(|text| self.encode(text))
    }

    fn prefixes(&self, prefixes: &[String]) -> Option<Vec<CommonPrefix>> {
        Some(prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.encode(prefix)) }).collect())
    }
}

pub(super) async fn objects(shared: &Shared, req: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
    let input = req.input;
    let start_after = input.start_after.as_ref().filter(|key| !key.is_empty());
    let after = match (&input.continuation_token, start_after) {
        (Some(token), _) => Position::of_token(token)?,
        (None, Some(key)) => Position::Key(key.clone()),
        (None, None) => Position::Start,
    };
    let asked = Asked::new(
        shared,
        input.prefix.as_ref(),
        input.delimiter.as_ref(),
        input.max_keys,
        input.encoding_type.as_ref(),
        after,
    )?;
    let store = shared.store();
    let page = store.bucket(&input.bucket)?.list_objects(&asked.query);
    let with_owner = input.fetch_owner == Some(true);
    let contents: Vec<Object> = page
        .entries
        .iter()
        .map(|(key, (version, object))| Object {
            checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(ChecksumAlgorithm::CRC64NVME)]),
            checksum_type: super::objects::full_object(),
            e_tag: etag(&object.etag),
            key: Some(asked.encode(key)),
            last_modified: timestamp(version.modified),
            owner: if with_owner { owner() } else { None },
            restore_status: None,
            size: size(object.content.length()),
            storage_class: Some(ObjectStorageClass::from(class(object.attributes.storage_class.as_deref()))),
        })
        .collect();
    answer(ListObjectsV2Output {
        common_prefixes: asked.prefixes(&page.prefixes),
        continuation_token: input.continuation_token,
        delimiter: asked.encode_opt(asked.query.delimiter.as_ref()),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.next.is_some()),
        key_count: i32::try_from(contents.len() + page.prefixes.len()).ok(),
        max_keys: Some(asked.max),
        name: Some(input.bucket),
        next_continuation_token: page.next.as_ref().map(Position::token),
        prefix: Some(asked.encode(&asked.query.prefix)),
        start_after: asked.encode_opt(input.start_after.as_ref()),
        contents: Some(contents),
        ..Default::default()
    })
}

fn class(class: Option<&str>) -> String {
    class.unwrap_or(StorageClass::STANDARD).to_owned()
}

/// The markers of the next page.
fn next_markers(asked: &Asked, next: Option<Position>) -> (Option<String>, Option<String>) {
    let (key, id) = next.map(Position::markers).unwrap_or_default();
    (key.map(|key| asked.encode(&key)), id)
}

/// The position of markers that are optional strings.
fn marked(
    key: Option<&String>,
    id: Option<&String>,
    prefix: Option<&String>,
    delimiter: Option<&String>,
) -> Result<Position, Refusal> {
    let [key, id, prefix, delimiter] = [key, id, prefix, delimiter].map(|text| text.map(String::as_str));
    Position::of_markers(key, id, prefix, delimiter)
}

pub(super) async fn versions(
    shared: &Shared,
    req: S3Request<ListObjectVersionsInput>,
) -> Answer<ListObjectVersionsOutput> {
    let input = req.input;
    let (prefix, delimiter) = (input.prefix.as_ref(), input.delimiter.as_ref());
    let after = marked(input.key_marker.as_ref(), input.version_id_marker.as_ref(), prefix, delimiter)?;
    let asked = Asked::new(shared, prefix, delimiter, input.max_keys, input.encoding_type.as_ref(), after)?;
    let store = shared.store();
    let page = store.bucket(&input.bucket)?.list_versions(&asked.query);
    let (mut versions, mut delete_markers) = (Vec::new(), Vec::new());
    for (key, (version, newest)) in &page.entries {
        let (key, version_id) = (Some(asked.encode(key)), Some(version.id.clone()));
        let (is_latest, last_modified) = (Some(*newest), timestamp(version.modified));
        match &version.object {
            None => {
                delete_markers.push(DeleteMarkerEntry { is_latest, key, last_modified, owner: owner(), version_id })
            }
            Some(object) => versions.push(ObjectVersion {
                checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(ChecksumAlgorithm::CRC64NVME)]),
                checksum_type: super::objects::full_object(),
                e_tag: etag(&object.etag),
                is_latest,
                key,
                last_modified,
                owner: owner(),
                restore_status: None,
                size: size(object.content.length()),
                storage_class: Some(ObjectVersionStorageClass::from(class(object.attributes.storage_class.as_deref()))),
                version_id,
            }),
        }
    }
    let common_prefixes = asked.prefixes(&page.prefixes);
    let is_truncated = Some(page.next.is_some());
    let (next_key_marker, next_version_id_marker) = next_markers(&asked, page.next);
    answer(ListObjectVersionsOutput {
        common_prefixes,
        delete_markers: Some(delete_markers),
        delimiter: asked.encode_opt(asked.query.delimiter.as_ref()),
        encoding_type: input.encoding_type,
        is_truncated,
        key_marker: Some(asked.encode(&input.key_marker.unwrap_or_default())),
        max_keys: Some(asked.max),
        name: Some(input.bucket),
        next_key_marker,
        next_version_id_marker,
        prefix: Some(asked.encode(&asked.query.prefix)),
        request_charged: None,
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        versions: Some(versions),
    })
}

pub(super) async fn uploads(
    shared: &Shared,
    req: S3Request<ListMultipartUploadsInput>,
) -> Answer<ListMultipartUploadsOutput> {
    let input = req.input;
    let (prefix, delimiter) = (input.prefix.as_ref(), input.delimiter.as_ref());
    // S3 ignores an upload id marker without a key marker.
    let id = input.upload_id_marker.as_ref().filter(|_| input.key_marker.as_ref().is_some_and(|key| !key.is_empty()));
    let after = marked(input.key_marker.as_ref(), id, prefix, delimiter)?;
    let asked = Asked::new(shared, prefix, delimiter, input.max_uploads, input.encoding_type.as_ref(), after)?;
    let store = shared.store();
    let page = store.bucket(&input.bucket)?.list_uploads(&asked.query);
    let uploads = page.entries.iter().map(|(key, upload)| MultipartUpload {
        checksum_algorithm: upload.algorithm.map(|one| ChecksumAlgorithm::from_static(one.name())),
        checksum_type: None,
        initiated: timestamp(upload.initiated),
        initiator: None,
        key: Some(asked.encode(key)),
        owner: owner(),
        storage_class: Some(StorageClass::from(class(upload.attributes.storage_class.as_deref()))),
        upload_id: Some(upload.id.clone()),
    });
    let uploads = Some(uploads.collect());
    let common_prefixes = asked.prefixes(&page.prefixes);
    let is_truncated = Some(page.next.is_some());
    let (next_key_marker, next_upload_id_marker) = next_markers(&asked, page.next);
    answer(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        common_prefixes,
        delimiter: asked.encode_opt(asked.query.delimiter.as_ref()),
        encoding_type: input.encoding_type,
        is_truncated,
        key_marker: Some(asked.encode(&input.key_marker.unwrap_or_default())),
        max_uploads: Some(asked.max),
        next_key_marker,
        next_upload_id_marker,
        prefix: Some(asked.encode(&asked.query.prefix)),
        request_charged: None,
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        uploads,
    })
}
