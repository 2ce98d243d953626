//! Multipart uploads.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::object::{Attributes, Condition, Object, Version};
use super::{Bucket, Store};
use crate::checksum::{Algorithm, Given, Received, crc64_join, crc64_text, multipart_etag};
use crate::payload::Payload;
use crate::refusal::Refusal;

/// Every part but the last is at least this long.
pub(crate) const MIN_PART: u64 = 5 << 20;
/// The highest part number.
pub(crate) const MAX_PARTS: i32 = 10_000;

#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) initiated: SystemTime,
    pub(crate) attributes: Attributes,
    /// The algorithm that every part must use; `None`: parts carry no checksum.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) parts: BTreeMap<i32, Part>,
}

#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) received: Received,
    pub(crate) modified: SystemTime,
}

impl Part {
    pub(crate) fn etag(&self) -> String {
        hex::encode(self.received.md5)
    }

    /// The checksum in `algorithm`, where the store knows it.
    fn checksum(&self, algorithm: Algorithm) -> Option<String> {
        match &self.received.given {
            Some(given) if given.algorithm == algorithm => Some(given.value.clone()),
            _ if algorithm == Algorithm::Crc64Nvme => Some(crc64_text(self.received.crc64)),
            _ => None,
        }
    }
}

/// A part as CompleteMultipartUpload names it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) number: i32,
    pub(crate) etag: String,
    pub(crate) given: Vec<Given>,
}

/// What CompleteMultipartUpload asks for.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) parts: Vec<Listed>,
    /// The CRC64NVME of the whole object, as the client computed it.
    pub(crate) crc64: Option<String>,
    /// The size of the whole object, as the client counted it.
    pub(crate) size: Option<u64>,
    pub(crate) condition: Condition,
}

/// What CompleteMultipartUpload made.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) version: Option<String>,
    pub(crate) etag: String,
    pub(crate) crc64: u64,
}

impl Bucket {
    fn upload(&self, key: &str, id: &str) -> Result<&Upload, Refusal> {
        self.uploads
            .get(key)
            .and_then(|uploads| uploads.iter().find(|upload| upload.id == id))
            .ok_or_else(|| Refusal::no_such_upload(id))
    }

    fn take_upload(&mut self, key: &str, id: &str) -> Result<Upload, Refusal> {
        let missing = || Refusal::no_such_upload(id);
        let uploads = self.uploads.get_mut(key).ok_or_else(missing)?;
        let at = uploads.iter().position(|upload| upload.id == id).ok_or_else(missing)?;
        let upload = uploads.remove(at);
        if uploads.is_empty() {
            self.uploads.remove(key);
        }
        Ok(upload)
    }
}

impl Store {
    pub(crate) fn create_upload(
        &mut self,
        bucket: &str,
        key: &str,
        attributes: Attributes,
        algorithm: Option<Algorithm>,
        now: SystemTime,
    ) -> Result<String, Refusal> {
        let id = self.ids.next();
        let upload = Upload { id: id.clone(), initiated: now, attributes, algorithm, parts: BTreeMap::new() };
        self.bucket_mut(bucket)?.uploads.entry(key.to_owned()).or_default().push(upload);
        Ok(id)
    }

    pub(crate) fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<&Upload, Refusal> {
        self.bucket(bucket)?.upload(key, id)
    }

    /// Stores a part, over an earlier one of the same number, and returns its ETag.
    pub(crate) fn put_part(
        &mut self,
        bucket: &str,
        key: &str,
        id: &str,
        number: i32,
        received: Received,
        now: SystemTime,
    ) -> Result<String, Refusal> {
        let uploads = self.bucket_mut(bucket)?.uploads.get_mut(key);
        let upload = uploads
            .and_then(|uploads| uploads.iter_mut().find(|upload| upload.id == id))
            .ok_or_else(|| Refusal::no_such_upload(id))?;
        let part = Part { received, modified: now };
        let etag = part.etag();
        upload.parts.insert(number, part);
        Ok(etag)
    }

    pub(crate) fn abort(&mut self, bucket: &str, key: &str, id: &str) -> Result<(), Refusal> {
        self.bucket_mut(bucket)?.take_upload(key, id).map(|_| ())
    }

    /// Makes an object of the listed parts. A refused completion leaves the upload open.
    pub(crate) fn complete(
        &mut self,
        bucket: &str,
        key: &str,
        id: &str,
        completion: &Completion,
    ) -> Result<Completed, Refusal> {
        let place = self.bucket(bucket)?;
        let upload = place.upload(key, id)?;
        let parts = listed_parts(upload, &completion.parts)?;
        let mut payload = Payload::default();
        let mut crc64 = 0;
        for part in &parts {
            crc64 = crc64_join(crc64, part.received.crc64, part.received.payload.len());
            payload.append(&part.received.payload);
        }
        if let Some(size) = completion.size
            && size != payload.len()
        {
            return Err(Refusal::invalid_request(format!(
                "The provided 'x-amz-mp-object-size' header value {size} does not match what was computed: {}",
                payload.len()
            )));
        }
        if let Some(given) = &completion.crc64
            && *given != crc64_text(crc64)
        {
            return Err(Refusal::bad_digest("CRC64NVME", given, &crc64_text(crc64)));
        }
        place.check(key, &completion.condition)?;

        let digests: Vec<[u8; 16]> = parts.iter().map(|part| part.received.md5).collect();
        let etag = multipart_etag(&digests);
        let version = self.new_version_id(bucket)?;
        let place = self.bucket_mut(bucket)?;
        let upload = place.take_upload(key, id)?;
        let object = Object { attributes: upload.attributes, payload, etag: etag.clone(), crc64, given: None };
        let shown = place.shown(&version);
        // AWS dates a multipart object by its initiation.
        place.add(key, Version { id: version, modified: upload.initiated, object: Some(object) });
        Ok(Completed { version: shown, etag, crc64 })
    }
}

fn listed_parts<'a>(upload: &'a Upload, listed: &[Listed]) -> Result<Vec<&'a Part>, Refusal> {
    if listed.is_empty() {
        return Err(Refusal::new(
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema: it lists no part.",
        ));
    }
    if !listed.is_sorted_by(|a, b| a.number < b.number) {
        return Err(Refusal::new(
            400,
            "InvalidPartOrder",
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
        ));
    }
    let mut parts = Vec::with_capacity(listed.len());
    for entry in listed {
        let part = upload.parts.get(&entry.number).filter(|part| {
            part.etag() == entry.etag
                && entry.given.iter().all(|given| part.checksum(given.algorithm).as_ref() == Some(&given.value))
        });
        parts.push(part.ok_or_else(|| {
            Refusal::new(
                400,
                "InvalidPart",
                format!(
                    "Part {} could not be found. It may not have been uploaded, or its ETag or checksum may not match.",
                    entry.number
                ),
            )
        })?);
    }
    let all_but_last = parts.len() - 1;
    for (part, entry) in parts.iter().zip(listed).take(all_but_last) {
        let len = part.received.payload.len();
        if len < MIN_PART {
            return Err(Refusal::new(
                400,
                "EntityTooSmall",
                format!(
                    "Your proposed upload is smaller than the minimum allowed size: part {} has {len} bytes, the least is \
                     {MIN_PART}.",
                    entry.number
                ),
            ));
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Versioning;
    use super::super::fixture::{at, object, received, store};
    use super::*;

    fn begin(store: &mut Store) -> String {
        store.create_upload("b", "k", Attributes::default(), None, at(10)).unwrap()
    }

    fn part(store: &mut Store, id: &str, number: i32, data: &[u8]) -> Listed {
        let etag = store.put_part("b", "k", id, number, received(data), at(11)).unwrap();
        Listed { number, etag, given: Vec::new() }
    }

    fn completion(parts: &[Listed]) -> Completion {
        Completion { parts: parts.to_vec(), crc64: None, size: None, condition: Condition::None }
    }

    fn code(store: &mut Store, id: &str, completion: &Completion) -> &'static str {
        store.complete("b", "k", id, completion).unwrap_err().code
    }

    #[test]
    fn the_object_is_the_parts_joined_and_dated_by_initiation() {
        let mut store = store(Versioning::Enabled);
        let id = begin(&mut store);
        let big = vec![7; MIN_PART as usize];
        let listed = [part(&mut store, &id, 2, &big), part(&mut store, &id, 9, b"tail")];
        let whole = object(&[big.as_slice(), b"tail"].concat());
        let good = Completion { crc64: Some(crc64_text(whole.crc64)), size: Some(MIN_PART + 4), ..completion(&listed) };
        let completed = store.complete("b", "k", &id, &good).unwrap();
        assert_eq!(completed.crc64, whole.crc64);
        assert!(completed.etag.ends_with("-2"));
        let (version, object) = store.get("b", "k", None).unwrap();
        assert_eq!((version.modified, object.payload.len()), (at(10), MIN_PART + 4));
        assert_eq!(Some(&version.id), completed.version.as_ref());
        assert_eq!(code(&mut store, &id, &good), "NoSuchUpload");
    }

    #[test]
    fn a_refused_completion_leaves_the_upload_open() {
        let mut store = store(Versioning::Enabled);
        let id = begin(&mut store);
        let first = part(&mut store, &id, 1, &vec![1; MIN_PART as usize]);
        let small = part(&mut store, &id, 2, b"small");
        let last = part(&mut store, &id, 3, b"last");
        let wrong = Listed { etag: "0".repeat(32), ..first.clone() };
        let crc = Given { algorithm: Algorithm::Crc64Nvme, value: "AAAAAAAAAAA=".to_owned() };
        let unverified = Listed { given: vec![crc], ..first.clone() };
        let good = completion(&[first.clone(), small.clone()]);
        for (parts, expected) in [
            (vec![], "MalformedXML"),
            (vec![small.clone(), first.clone()], "InvalidPartOrder"),
            (vec![first.clone(), first.clone()], "InvalidPartOrder"),
            (vec![wrong], "InvalidPart"),
            (vec![unverified], "InvalidPart"),
            (vec![Listed { number: 4, ..last.clone() }], "InvalidPart"),
            (vec![first, small, last], "EntityTooSmall"),
        ] {
            assert_eq!(code(&mut store, &id, &completion(&parts)), expected);
        }
        let parts = good.parts.clone();
        assert_eq!(code(&mut store, &id, &Completion { size: Some(1), ..completion(&parts) }), "InvalidRequest");
        let crc64 = Some("AAAAAAAAAAA=".to_owned());
        assert_eq!(code(&mut store, &id, &Completion { crc64, ..completion(&parts) }), "BadDigest");
        let condition = Condition::Matches("x".to_owned());
        assert_eq!(code(&mut store, &id, &Completion { condition, ..completion(&parts) }), "NoSuchKey");
        assert_eq!(store.get("b", "k", None).unwrap_err().code, "NoSuchKey");
        store.complete("b", "k", &id, &good).unwrap();
    }

    #[test]
    fn a_part_sent_again_replaces_the_earlier_one() {
        let mut store = store(Versioning::Off);
        let id = begin(&mut store);
        let old = part(&mut store, &id, 1, b"old");
        let new = part(&mut store, &id, 1, b"newer");
        assert_eq!(code(&mut store, &id, &completion(&[old])), "InvalidPart");
        assert_eq!(store.complete("b", "k", &id, &completion(&[new])).unwrap().version, None);
        assert_eq!(store.get("b", "k", None).unwrap().1.payload.len(), 5);
    }

    #[test]
    fn an_aborted_upload_is_gone_and_another_keys_upload_is_not_ours() {
        let mut store = store(Versioning::Enabled);
        let id = begin(&mut store);
        assert_eq!(store.upload("b", "other", &id).unwrap_err().code, "NoSuchUpload");
        store.abort("b", "k", &id).unwrap();
        assert_eq!(store.abort("b", "k", &id).unwrap_err().code, "NoSuchUpload");
        assert_eq!(store.put_part("b", "k", &id, 1, received(b""), at(1)).unwrap_err().code, "NoSuchUpload");
    }
}
