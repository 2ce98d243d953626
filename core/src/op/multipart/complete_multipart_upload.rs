//! CompleteMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>

use crate::checksum::{crc_text, parse_crc};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Method};
use crate::op::{CRC64NVME, Encryption, NAMESPACE, Operation, Reply, Unsigned};
use crate::xml::{self, Item};

/// A part of the object.
#[derive(Clone, Debug)]
pub struct CompletedPart {
    /// Number of the part, from 1.
    pub number: u32,
    /// ETag, as UploadPart returned it.
    pub etag: String,
    /// CRC64NVME of the part; `None` in an upload without checksums.
    pub crc64nvme: Option<u64>,
}

/// Assembles the object from its parts. The store compares the checksum of the whole object.
#[derive(Clone, Debug)]
pub struct CompleteMultipartUpload {
    /// The object's key.
    pub key: String,
    /// Upload id, as CreateMultipartUpload returned it.
    pub upload_id: String,
    /// The parts in the order of their numbers.
    pub parts: Vec<CompletedPart>,
    /// CRC64NVME of the whole object; `None` in an upload without checksums.
    pub crc64nvme: Option<u64>,
    /// Size of the whole object in bytes. It is sent with the checksums only.
    pub size: u64,
    /// How the upload is encrypted: only the key of SSE-C is sent, which S3 needs to check the checksums.
    pub encryption: Encryption,
}

/// The reply to a Complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedUpload {
    /// Version id of the new version; `None` in a bucket without versioning.
    pub version_id: Option<String>,
    /// CRC64NVME of the whole object that the store computed, if it names it. A composite value (`...-4`), which is one of
    /// the parts' checksums, is not one.
    pub crc64nvme: Option<u64>,
}

impl CompleteMultipartUpload {
    /// Whether the request names a checksum.
    pub(crate) fn has_checksums(&self) -> bool {
        self.crc64nvme.is_some() || self.parts.iter().any(|part| part.crc64nvme.is_some())
    }
}

impl Operation for CompleteMultipartUpload {
    type Reply = CompletedUpload;
    const NAME: &'static str = "CompleteMultipartUpload";
    const ACTION: &'static str = "s3:PutObject";

    fn request(&self) -> Unsigned {
        let mut xml = format!("<CompleteMultipartUpload xmlns=\"{NAMESPACE}\">");
        for part in &self.parts {
            xml.push_str("<Part>");
            if let Some(crc) = part.crc64nvme {
                xml::element(&mut xml, "ChecksumCRC64NVME", &crc_text(crc));
            }
            xml::element(&mut xml, "ETag", &part.etag);
            xml::element(&mut xml, "PartNumber", &part.number.to_string());
            xml.push_str("</Part>");
        }
        xml.push_str("</CompleteMultipartUpload>");
        let mut request = Unsigned::object(Method::Post, &self.key)
            .query("uploadId", &*self.upload_id)
            .header("content-type", "application/xml");
        if let Some(crc) = self.crc64nvme {
            request = request.header(CRC64NVME, crc_text(crc)).header("x-amz-checksum-type", "FULL_OBJECT");
        }
        if self.has_checksums() {
            request = request.header("x-amz-mp-object-size", self.size.to_string());
        }
        Unsigned { body: Body::Bytes(xml.into()), ..self.encryption.access(request) }
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<CompletedUpload> {
        let (mut has_etag, mut crc64nvme) = (false, None);
        xml::read(&reply.body, "CompleteMultipartUploadResult", |item| {
            match item {
                // Ceph's ETag is empty.
                Item::Value(_, "ETag", _) => has_etag = true,
                Item::Value(_, "ChecksumCRC64NVME", text) => crc64nvme = parse_crc(text),
                _ => {}
            }
            Ok(())
        })?;
        if !has_etag {
            return Err(Error::new(Code::BadReply, "the reply has no ETag"));
        }
        Ok(CompletedUpload { version_id: reply.text("x-amz-version-id"), crc64nvme })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const CRC: u64 = 0xAE8B_1486_0A79_9888;

    fn op(etags: &[&str]) -> CompleteMultipartUpload {
        let parts = etags.iter().zip(1..);
        let parts = parts.map(|(etag, number)| CompletedPart { number, etag: etag.to_string(), crc64nvme: Some(CRC) });
        let id = "AAAsb2FkIElEIGZvciBlbHZpbmcncyWeeS1tb3ZpZS5tMnRzIRRwbG9hZA".into();
        CompleteMultipartUpload {
            key: "example-object".into(),
            upload_id: id,
            parts: parts.collect(),
            crc64nvme: Some(CRC),
            size: 9,
            encryption: Encryption::default(),
        }
    }

    fn result(inner: &str) -> String {
        format!(
            "<CompleteMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}\
             </CompleteMultipartUploadResult>"
        )
    }

    #[test]
    fn the_documented_example_with_these_checksums() {
        let op = op(&["\"a54357aff0632cce46d942af68356b38\"", "\"0c78aef83f66abc1fa1e8477f296d394\""]);
        assert_eq!(
            sent(&op),
            "POST /example-object?uploadId=AAAsb2FkIElEIGZvciBlbHZpbmcncyWeeS1tb3ZpZS5tMnRzIRRwbG9hZA\n\
             content-type: application/xml\nx-amz-checksum-crc64nvme: rosUhgp5mIg=\nx-amz-checksum-type: FULL_OBJECT\n\
             x-amz-mp-object-size: 9\n\n\
             <CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Part><ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME>\
             <ETag>&quot;a54357aff0632cce46d942af68356b38&quot;</ETag><PartNumber>1</PartNumber></Part>\
             <Part><ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME>\
             <ETag>&quot;0c78aef83f66abc1fa1e8477f296d394&quot;</ETag><PartNumber>2</PartNumber></Part>\
             </CompleteMultipartUpload>"
        );
        let xml = result(
            "<Location>http://amzn-s3-demo-bucket.s3.us-west-2.amazonaws.com/example-object</Location>\
             <Bucket>amzn-s3-demo-bucket</Bucket><Key>example-object</Key>\
             <ETag>\"3858f62230ac3c915f300c664312c11f-9\"</ETag>",
        );
        let versioned = CompletedUpload { version_id: Some("v".into()), crc64nvme: None };
        assert_eq!(answer(&op, &[("x-amz-version-id", "v")], &xml), Ok(versioned));
        assert_eq!(answer(&op, &[], &xml), Ok(CompletedUpload { version_id: None, crc64nvme: None }));
    }

    #[test]
    fn the_stores_checksum_of_the_whole_object_is_read() {
        let op = op(&["e"]);
        let crc = |text: &str| result(&format!("<ETag>e</ETag><ChecksumCRC64NVME>{text}</ChecksumCRC64NVME>"));
        assert_eq!(answer(&op, &[], &crc("rosUhgp5mIg=")).unwrap().crc64nvme, Some(CRC));
        assert_eq!(answer(&op, &[], &crc("AAAAAAAAAAA=")).unwrap().crc64nvme, Some(0), "the caller compares");
        assert_eq!(answer(&op, &[], &crc("rosUhgp5mIg=-4")).unwrap().crc64nvme, None, "a composite one");
        assert_eq!(refused(&op, &[], &result("")), Some(Code::BadReply), "no ETag");
        assert_eq!(refused(&op, &[], &result("<ETag></ETag>")), None, "Ceph's ETag");
    }

    #[test]
    fn an_upload_without_checksums() {
        let part = CompletedPart { number: 1, etag: "\"e\"".into(), crc64nvme: None };
        let op = CompleteMultipartUpload { crc64nvme: None, parts: vec![part], ..op(&[]) };
        assert!(sent(&op).ends_with(
            "content-type: application/xml\n\n\
             <CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Part><ETag>&quot;e&quot;</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>"
        ));
        // versitygw computes a checksum even so.
        let xml = result("<ETag>e</ETag><ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME>");
        assert_eq!(refused(&op, &[], &xml), None);
    }
}
