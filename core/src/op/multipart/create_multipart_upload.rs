//! CreateMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>

use crate::account::integrity::Integrity;
use crate::error::{Code, Error, Result};
use crate::http::{Method, ReplyHead};
use crate::op::{Encryption, Operation, Reply, Unsigned};
use crate::xml::{self, Item};

/// Starts a multipart upload.
#[derive(Clone, Debug)]
pub struct CreateMultipartUpload {
    /// The object's key.
    pub key: String,
    /// Other headers of the object: content type, metadata, storage class, lock. Names in lower case.
    pub headers: Vec<(String, String)>,
    /// How the store encrypts the object.
    pub encryption: Encryption,
    /// Whether the store checks the CRC64NVME of each part and of the whole object. It must be `false` for parts that are
    /// copied, since some stores have no checksum of those, or a wrong one.
    pub checksum: bool,
}

impl Operation for CreateMultipartUpload {
    /// Upload id.
    type Reply = String;
    const NAME: &'static str = "CreateMultipartUpload";
    const ACTION: &'static str = "s3:PutObject";

    fn integrity(&self) -> Option<Integrity> {
        Some(if self.checksum { Integrity::Header } else { Integrity::Md5 })
    }

    fn request(&self) -> Unsigned {
        let request = Unsigned::object(Method::Post, &self.key).query("uploads", "").headers(&self.headers);
        let request = self.encryption.create(request);
        if !self.checksum {
            return request;
        }
        // CRC64NVME is always a full-object checksum; it is combined from those of the parts.
        request.header("x-amz-checksum-algorithm", "CRC64NVME").header("x-amz-checksum-type", "FULL_OBJECT")
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        self.encryption.check_if_named(head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<String> {
        let mut id = String::new();
        xml::read(&reply.body, "InitiateMultipartUploadResult", |item| {
            if let Item::Value(_, "UploadId", text) = item {
                id = text.to_owned();
            }
            Ok(())
        })?;
        if id.is_empty() { Err(Error::new(Code::BadReply, "the reply has no upload id")) } else { Ok(id) }
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
            encryption: Encryption::default(),
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
