//! CreateMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>

use crate::error::{Code, Error, Result};
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::xml::{self, Item};

/// Begins an upload in parts.
#[derive(Clone, Debug)]
pub struct CreateMultipartUpload {
    /// The object's key.
    pub key: String,
    /// What else is said of the object: content type, metadata, encryption, lock. Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Operation for CreateMultipartUpload {
    /// The upload id.
    type Reply = String;
    const NAME: &'static str = "CreateMultipartUpload";
    const ACTION: &'static str = "s3:PutObject";

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::object(Method::Post, &self.key).query("uploads", "");
        request.headers.clone_from(&self.headers);
        // CRC64NVME is a full-object checksum only; it comes together from those of the parts.
        request.header("x-amz-checksum-algorithm", "CRC64NVME").header("x-amz-checksum-type", "FULL_OBJECT")
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<String> {
        let mut id = String::new();
        xml::read(reply.body, "InitiateMultipartUploadResult", |item| {
            if let Item::Value(_, "UploadId", text) = item {
                id = text.to_owned();
            }
            Ok(())
        })?;
        if id.is_empty() { Err(Error::new(Code::BadReply, "the reply names no upload id")) } else { Ok(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ReplyHead;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_upload_id_is_read() {
        let op = CreateMultipartUpload { key: "k".into(), headers: vec![] };
        let parse = |body: &str| op.parse(&Reply { head: &ReplyHead::default(), body: body.as_bytes(), range: None });
        let xml = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>VXBs</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(parse(xml).unwrap(), "VXBs");
        assert!(parse("<InitiateMultipartUploadResult/>").is_err());
        assert!(parse("").is_err());
    }
}
