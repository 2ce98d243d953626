//! CompleteMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>

use crate::checksum::crc_text;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Method};
use crate::op::{Operation, PutReply, Reply, Unsigned};
use crate::xml::{self, Item};

/// A part that the object is made of.
#[derive(Clone, Debug)]
pub struct CompletedPart {
    /// From 1.
    pub number: u32,
    /// As UploadPart answered.
    pub etag: String,
    /// Of this part.
    pub crc64nvme: u64,
}

/// Makes the object of its parts. The store compares the checksum of the whole.
#[derive(Clone, Debug)]
pub struct CompleteMultipartUpload {
    /// The object's key.
    pub key: String,
    /// The upload, as CreateMultipartUpload named it.
    pub upload_id: String,
    /// In the order of their numbers.
    pub parts: Vec<CompletedPart>,
    /// Of the whole object.
    pub crc64nvme: u64,
    /// Of the whole object, in bytes.
    pub size: u64,
}

impl Operation for CompleteMultipartUpload {
    type Reply = PutReply;
    const NAME: &'static str = "CompleteMultipartUpload";
    const ACTION: &'static str = "s3:PutObject";

    fn request(&self) -> Unsigned {
        let mut xml = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        for part in &self.parts {
            xml.push_str(&format!(
                "<Part><ChecksumCRC64NVME>{}</ChecksumCRC64NVME><ETag>{}</ETag><PartNumber>{}</PartNumber></Part>",
                crc_text(part.crc64nvme),
                xml::escape(&part.etag),
                part.number
            ));
        }
        xml.push_str("</CompleteMultipartUpload>");
        let mut request = Unsigned::object(Method::Post, &self.key)
            .query("uploadId", &*self.upload_id)
            .header("content-type", "application/xml")
            .header("x-amz-checksum-crc64nvme", crc_text(self.crc64nvme))
            .header("x-amz-checksum-type", "FULL_OBJECT")
            .header("x-amz-mp-object-size", self.size.to_string());
        request.body = Body::Bytes(xml.into_bytes());
        request
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<PutReply> {
        let (mut etag, mut crc) = (String::new(), String::new());
        xml::read(reply.body, "CompleteMultipartUploadResult", |item| {
            match item {
                Item::Value(_, "ETag", text) => etag = text.to_owned(),
                Item::Value(_, "ChecksumCRC64NVME", text) => crc = text.to_owned(),
                _ => {}
            }
            Ok(())
        })?;
        if etag.is_empty() {
            return Err(Error::new(Code::BadReply, "the reply names no ETag"));
        }
        if !crc.is_empty() && crc != crc_text(self.crc64nvme) {
            let why = format!("the store has CRC64NVME {crc}, and {} was sent", crc_text(self.crc64nvme));
            return Err(Error::new(Code::Damaged, why));
        }
        Ok(PutReply { version_id: reply.head.header("x-amz-version-id").map(str::to_owned) })
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
        let parts = parts.map(|(etag, number)| CompletedPart { number, etag: etag.to_string(), crc64nvme: CRC });
        let id = "AAAsb2FkIElEIGZvciBlbHZpbmcncyWeeS1tb3ZpZS5tMnRzIRRwbG9hZA".into();
        CompleteMultipartUpload {
            key: "example-object".into(),
            upload_id: id,
            parts: parts.collect(),
            crc64nvme: CRC,
            size: 9,
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
        assert_eq!(answer(&op, &[("x-amz-version-id", "v")], &xml), Ok(PutReply { version_id: Some("v".into()) }));
        assert_eq!(answer(&op, &[], &xml), Ok(PutReply { version_id: None }));
    }

    #[test]
    fn the_stores_checksum_is_compared() {
        let op = op(&["e"]);
        let crc = |text: &str| result(&format!("<ETag>e</ETag><ChecksumCRC64NVME>{text}</ChecksumCRC64NVME>"));
        assert_eq!(refused(&op, &[], &crc("rosUhgp5mIg=")), None);
        assert_eq!(refused(&op, &[], &crc("AAAAAAAAAAA=")), Some(Code::Damaged));
        assert_eq!(refused(&op, &[], &result("")), Some(Code::BadReply), "no ETag");
    }
}
