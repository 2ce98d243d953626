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
    /// Whether the store compares the CRC64NVME of each part and of the whole. Without for parts that are copied: some
    /// stores have no checksum of those, or a wrong one.
    pub checksum: bool,
}

impl Operation for CreateMultipartUpload {
    /// The upload id.
    type Reply = String;
    const NAME: &'static str = "CreateMultipartUpload";
    const ACTION: &'static str = "s3:PutObject";

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::object(Method::Post, &self.key).query("uploads", "");
        request.headers.clone_from(&self.headers);
        if !self.checksum {
            return request;
        }
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
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_example() {
        let op = CreateMultipartUpload {
            key: "example-object".into(),
            headers: vec![("x-amz-meta-author".to_owned(), "Janet".to_owned())],
            checksum: true,
        };
        let plain = CreateMultipartUpload { checksum: false, ..op.clone() };
        assert_eq!(sent(&plain), "POST /example-object?uploads=\nx-amz-meta-author: Janet\n");
        assert_eq!(
            sent(&op),
            "POST /example-object?uploads=\nx-amz-meta-author: Janet\nx-amz-checksum-algorithm: CRC64NVME\n\
             x-amz-checksum-type: FULL_OBJECT\n"
        );
        let document = |inner: &str| {
            format!(
                "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}\
                 </InitiateMultipartUploadResult>"
            )
        };
        let id = "VXBsb2FkIElEIGZvciA2aWWpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZA";
        let inner = format!("<Bucket>amzn-s3-demo-bucket</Bucket><Key>example-object</Key><UploadId>{id}</UploadId>");
        assert_eq!(answer(&op, &[], &document(&inner)).unwrap(), id);
        assert_eq!(refused(&op, &[], &document("")), Some(Code::BadReply));
    }
}
