//! CopyObject and UploadPartCopy.

use std::time::SystemTime;

use super::xml::Document;
use super::{Reply, Request, attributes, decode, lock, xml_date};
use crate::{Attributes, Encryption, Object, Payload, Received, Refusal, Store, WriteCondition};

const SOURCE: &str = "x-amz-copy-source";

impl<C: Payload> Store<C> {
    /// The object that a copy reads, and its version id as replies show it.
    fn copied(&self, request: &Request<C>) -> Result<(Object<C>, Option<String>), Refusal> {
        let source = request.header(SOURCE).unwrap_or_default();
        let (path, id) = match source.split_once("?versionId=") {
            Some((path, id)) => (path, Some(decode(id))),
            None => (source, None),
        };
        let path = decode(path);
        let (bucket, key) = path
            .split_once('/')
            .ok_or_else(|| Refusal::invalid_argument("The copy source must name a bucket and a key."))?;
        let (version, object) = self.get(bucket, key, id.as_deref())?;
        self.check_source_key(request, &object.attributes.encryption)?;
        if matches!(object.attributes.encryption, Encryption::Customer { .. }) && !self.rules.copies_sse_c {
            return Err(Refusal::not_implemented("copies of objects that are encrypted with customer keys"));
        }
        if request.header("x-amz-copy-source-if-match").is_some_and(|etag| etag.trim_matches('"') != object.etag) {
            return Err(Refusal::precondition_failed("x-amz-copy-source-if-match"));
        }
        Ok((object.clone(), self.bucket(bucket)?.shown(&version.id)))
    }

    pub(super) fn answer_copy(&mut self, request: &Request<C>, now: SystemTime) -> Result<Reply<C>, Refusal> {
        let (source, source_version) = self.copied(request)?;
        let (encryption, said) = self.encryption(request)?;
        let requested = attributes(request)?;
        let attributes = match request.header("x-amz-metadata-directive") {
            Some("REPLACE") => Attributes { encryption, ..requested },
            // Neither the storage class nor the lock of the source is copied.
            _ => {
                let (storage_class, retention) = (requested.storage_class, lock::of_headers(request)?);
                Attributes { encryption, storage_class, retention, ..source.attributes }
            }
        };
        // The copy of a multipart object is one piece, with the ETag of one.
        let (etag, crc64nvme) = (source.content.etag(), source.crc64nvme);
        let received = Received { content: source.content, etag, crc64nvme, checksum: None };
        let object = Object::whole(received, attributes);
        let stored = self.put(&request.bucket, &request.key, object, &WriteCondition::None, now)?;
        let reply = copied("CopyObjectResult", &stored.etag, now, source_version).with_version(stored.version);
        Ok(reply.with_encryption(&said))
    }

    pub(super) fn answer_copy_part(
        &mut self,
        request: &Request<C>,
        id: &str,
        now: SystemTime,
    ) -> Result<Reply<C>, Refusal> {
        let (source, source_version) = self.copied(request)?;
        let number = request.number("partNumber")?.unwrap_or(0);
        let length = source.content.length();
        let content = match request.header("x-amz-copy-source-range") {
            None => source.content,
            Some(range) => {
                let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
                let bounds = bounds.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<u64>().ok()?)));
                let (first, last) = bounds
                    .filter(|(first, last)| first <= last && *last < length)
                    .ok_or_else(|| Refusal::invalid_argument(format!("Range specified is not valid: {range}")))?;
                source.content.slice(first, last + 1)
            }
        };
        let (bucket, key) = (&request.bucket, &request.key);
        let said = self.check_upload_key(request, &self.upload(bucket, key, id)?.attributes.encryption, true)?;
        self.check_part(bucket, key, id, number, None)?;
        let (etag, crc64nvme) = (content.etag(), content.crc64nvme());
        let etag =
            self.put_part(bucket, key, id, number, Received { content, etag, crc64nvme, checksum: None }, now)?;
        Ok(copied("CopyPartResult", &etag, now, source_version).with_encryption(&said))
    }
}

fn copied<C: Payload>(root: &str, etag: &str, now: SystemTime, source_version: Option<String>) -> Reply<C> {
    let mut xml = Document::new();
    xml.element(root, |xml| {
        xml.text("LastModified", xml_date(now));
        xml.text("ETag", format!("\"{etag}\""));
    });
    let reply = Reply::xml(xml.finish());
    match source_version {
        Some(id) => reply.with("x-amz-copy-source-version-id", id),
        None => reply,
    }
}
