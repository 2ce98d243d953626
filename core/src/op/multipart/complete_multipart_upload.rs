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
    use crate::http::ReplyHead;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn parts_are_named_with_their_checksums_and_the_reply_is_compared() {
        let part = CompletedPart { number: 1, etag: "\"a&b\"".into(), crc64nvme: 0xAE8B_1486_0A79_9888 };
        let op = CompleteMultipartUpload {
            key: "k".into(),
            upload_id: "u".into(),
            parts: vec![part],
            crc64nvme: 0xAE8B_1486_0A79_9888,
            size: 9,
        };
        let Body::Bytes(body) = op.request().body else { panic!("a body") };
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("<Part><ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME><ETag>&quot;a&amp;b&quot;</ETag><PartNumber>1</PartNumber></Part>"), "{body}");
        let head = ReplyHead { status: 200, headers: vec![("x-amz-version-id".into(), "v".into())] };
        let parse = |inner: &str| {
            let xml = format!("<CompleteMultipartUploadResult>{inner}</CompleteMultipartUploadResult>");
            op.parse(&Reply { head: &head, body: xml.as_bytes(), range: None }).map_err(|e| e.code())
        };
        assert_eq!(parse("<ETag>\"x-1\"</ETag>"), Ok(PutReply { version_id: Some("v".into()) }));
        assert_eq!(
            parse("<ETag>\"x-1\"</ETag><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME>"),
            Err(Code::Damaged)
        );
        assert_eq!(parse(""), Err(Code::BadReply));
    }
}
