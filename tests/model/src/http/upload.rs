//! The operations of a multipart upload.

use std::time::SystemTime;

use super::xml::{Document, malformed, texts};
use super::{Reply, Request, attributes, write_condition, xml_date};
use crate::{Algorithm, Attributes, Checksum, Completion, ListedPart, Payload, Refusal, Store, crc64_text};

impl<C: Payload> Store<C> {
    pub(super) fn answer_create(&mut self, request: &Request<C>, now: SystemTime) -> Result<Reply<C>, Refusal> {
        let algorithm = match request.header("x-amz-checksum-algorithm") {
            Some(name) => Some(Algorithm::from_name(name).ok_or_else(|| {
                Refusal::invalid_request(format!("Checksum algorithm provided is unsupported: {name:?}."))
            })?),
            None => None,
        };
        let (encryption, said) = self.encryption(request)?;
        let attributes = Attributes { encryption, ..attributes(request)? };
        let id = self.create_upload(&request.bucket, &request.key, attributes, algorithm, now)?;
        let mut xml = Document::new();
        xml.element("InitiateMultipartUploadResult", |xml| {
            xml.text("Bucket", &request.bucket);
            xml.text("Key", &request.key);
            xml.text("UploadId", id);
        });
        Ok(Reply::xml(xml.finish()).with_encryption(&said))
    }

    pub(super) fn answer_upload_part(
        &mut self,
        request: &Request<C>,
        id: &str,
        now: SystemTime,
    ) -> Result<Reply<C>, Refusal> {
        let (bucket, key) = (&request.bucket, &request.key);
        let number = request.number("partNumber")?.unwrap_or(0);
        self.check_length(request.body.length())?;
        let attributes = &self.upload(bucket, key, id)?.attributes;
        let (own, said) = (attributes.retention, self.check_upload_key(request, &attributes.encryption, true)?);
        self.check_digest(bucket, own.as_ref(), request.has_digest())?;
        let received = self.receive(request)?;
        let algorithm = received.checksum.as_ref().map(|checksum| checksum.algorithm);
        self.check_part(bucket, key, id, number, algorithm)?;
        let crc = crc64_text(received.crc64nvme);
        let etag = self.put_part(bucket, key, id, number, received, now)?;
        let reply = Reply::empty(200).with_etag(&etag).with_encryption(&said);
        Ok(if self.rules.checksums { reply.with("x-amz-checksum-crc64nvme", crc) } else { reply })
    }

    pub(super) fn answer_list_parts(&self, request: &Request<C>, id: &str) -> Result<Reply<C>, Refusal> {
        let upload = self.upload(&request.bucket, &request.key, id)?;
        // With SSE-C these need the key only if the upload has checksums.
        self.check_upload_key(request, &upload.attributes.encryption, upload.algorithm.is_some())?;
        let marker: u32 = request.number("part-number-marker")?.unwrap_or(0);
        let max = request.number("max-parts")?.unwrap_or(usize::MAX).min(self.rules.max_page);
        let mut rest = upload.parts.range(marker.saturating_add(1)..);
        let mut last = None;
        let mut xml = Document::new();
        xml.element("ListPartsResult", |xml| {
            for (number, part) in rest.by_ref().take(max) {
                xml.element("Part", |xml| {
                    xml.text("PartNumber", number);
                    xml.text("LastModified", xml_date(part.modified));
                    xml.text("ETag", format!("\"{}\"", part.etag()));
                    xml.text("Size", part.received.content.length());
                    if self.rules.checksums {
                        xml.text("ChecksumCRC64NVME", crc64_text(part.received.crc64nvme));
                    }
                });
                last = Some(*number);
            }
            let is_truncated = rest.next().is_some();
            if let Some(last) = last.filter(|_| is_truncated) {
                xml.text("NextPartNumberMarker", last);
            }
            xml.text("IsTruncated", is_truncated);
        });
        Ok(Reply::xml(xml.finish()))
    }

    pub(super) fn answer_complete(&mut self, request: &Request<C>, id: &str) -> Result<Reply<C>, Refusal> {
        let completion = Completion {
            parts: listed(request.body.bytes().unwrap_or_default())?,
            crc64nvme: request.header("x-amz-checksum-crc64nvme").map(str::to_owned),
            size: request.header("x-amz-mp-object-size").and_then(|size| size.parse().ok()),
            condition: write_condition(request)?,
        };
        // An upload that is gone may have been completed.
        if let Ok(upload) = self.upload(&request.bucket, &request.key, id) {
            self.check_upload_key(request, &upload.attributes.encryption, upload.algorithm.is_some())?;
        }
        let completed = self.complete(&request.bucket, &request.key, id, &completion)?;
        let mut xml = Document::new();
        xml.element("CompleteMultipartUploadResult", |xml| {
            xml.text("Bucket", &request.bucket);
            xml.text("Key", &request.key);
            xml.text("ETag", format!("\"{}\"", completed.etag));
            if self.rules.checksums {
                xml.text("ChecksumCRC64NVME", self.rules.whole.shown(completed.crc64nvme));
                xml.text("ChecksumType", "FULL_OBJECT");
            }
        });
        Ok(Reply::xml(xml.finish()).with_version(completed.version))
    }
}

/// The parts that the XML of a Complete names.
fn listed(document: &[u8]) -> Result<Vec<ListedPart>, Refusal> {
    let (mut parts, mut number, mut etag, mut checksums) = (Vec::new(), None, None, Vec::new());
    for (path, text) in texts(document).ok_or_else(malformed)? {
        match path.strip_prefix("CompleteMultipartUpload/Part").ok_or(path.as_str()) {
            Ok("/PartNumber") => number = text.parse().ok(),
            Ok("/ETag") => etag = Some(text.trim_matches('"').to_owned()),
            Ok("") => {
                let (Some(number), Some(etag)) = (number.take(), etag.take()) else { return Err(malformed()) };
                parts.push(ListedPart { number, etag, checksums: std::mem::take(&mut checksums) });
            }
            Ok(path) => {
                let algorithm = path.strip_prefix("/Checksum").and_then(Algorithm::from_name).ok_or_else(malformed)?;
                checksums.push(Checksum { algorithm, value: text });
            }
            Err("CompleteMultipartUpload") => {}
            Err(_) => return Err(malformed()),
        }
    }
    Ok(parts)
}
