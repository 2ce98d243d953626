//! PutObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>

use bytes::Bytes;

use crate::account::integrity::Integrity;
use crate::checksum::content_md5;
use crate::error::Result;
use crate::http::{Body, Method, Part, ReplyHead};
use crate::op::{Encryption, Operation, Reply, Unsigned};

/// The content of an object to store.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes, with their MD5 and signed by their SHA-256.
    Bytes(Bytes),
    /// The same, of bytes that are data of a backup.
    Data(Bytes),
    /// A part that the driver holds, with its CRC64NVME.
    Part(Part),
}

/// A condition of a PUT. If it does not hold, the store answers 412 `PreconditionFailed`, also if an earlier attempt of
/// the same request is the reason. Some stores ignore conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is no object with this key.
    Absent,
    /// The object with this key has this ETag.
    Is(String),
}

/// Stores an object in one request.
#[derive(Clone, Debug)]
pub struct PutObject {
    /// The object's key.
    pub key: String,
    /// Content of the object.
    pub content: Content,
    /// Other headers of the object: content type, metadata, storage class, lock, an MD5 that is known. Names in lower case.
    pub headers: Vec<(String, String)>,
    /// How the store encrypts the object.
    pub encryption: Encryption,
    /// If set, the object is stored only if this condition holds.
    pub condition: Option<Condition>,
}

/// The reply to a PUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReply {
    /// Version id of the new version; `None` in a bucket without versioning.
    pub version_id: Option<String>,
}

impl PutObject {
    /// A PUT without a condition, with the bucket's default encryption.
    pub fn new(key: impl Into<String>, content: Content, headers: Vec<(String, String)>) -> PutObject {
        let (encryption, condition) = (Encryption::default(), None);
        PutObject { key: key.into(), content, headers, encryption, condition }
    }
}

impl Operation for PutObject {
    type Reply = PutReply;
    const NAME: &'static str = "PutObject";
    const ACTION: &'static str = "s3:PutObject";

    fn integrity(&self) -> Option<Integrity> {
        match &self.content {
            Content::Bytes(_) | Content::Data(_) => None,
            Content::Part(part) => Some(part.into()),
        }
    }

    fn request(&self) -> Unsigned {
        let mut request = self.encryption.create(Unsigned::object(Method::Put, &self.key).headers(&self.headers));
        match &self.condition {
            None => {}
            Some(Condition::Absent) => request = request.header("if-none-match", "*"),
            Some(Condition::Is(etag)) => request = request.header("if-match", &**etag),
        }
        match &self.content {
            Content::Bytes(bytes) | Content::Data(bytes) => {
                // In a bucket with a default retention every PUT must have a checksum. All stores know this one.
                if !self.headers.iter().any(|(name, _)| name == "content-md5") {
                    request = request.header("content-md5", content_md5(bytes));
                }
                request.body = Body::Bytes(bytes.clone());
                request.is_data = matches!(self.content, Content::Data(_));
            }
            Content::Part(part) => request = request.part(part),
        }
        request
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        self.encryption.check_created(head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<PutReply> {
        reply.required("etag")?;
        Ok(PutReply { version_id: reply.text("x-amz-version-id") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_example() {
        let headers =
            vec![("content-type".to_owned(), "text/plain".to_owned()), ("x-amz-meta-author".into(), "Janet".into())];
        let op = PutObject::new("my-image.jpg", Content::Bytes("[11434 bytes of object data]".into()), headers);
        assert_eq!(
            sent(&op),
            "PUT /my-image.jpg\ncontent-type: text/plain\nx-amz-meta-author: Janet\n\
             content-md5: txSGkClqfYn1Bwdb145Jjg==\n\n[11434 bytes of object data]"
        );
        let etag = ("etag", "\"1b2cf535f27731c974343645a3985328\"");
        let id = "43jfkodU8493jnFJD9fjj3HHNVfdsQUIFDNsidf038jfdsjGFDSIRp";
        assert_eq!(answer(&op, &[etag, ("x-amz-version-id", id)], ""), Ok(PutReply { version_id: Some(id.into()) }));
        assert_eq!(answer(&op, &[etag], ""), Ok(PutReply { version_id: None }));
        assert_eq!(refused(&op, &[], ""), Some(Code::BadReply), "a proxy's 200");
    }

    #[test]
    fn conditions_and_the_md5_are_headers() {
        let mut op = PutObject::new("k", Content::Bytes("message digest".into()), vec![]);
        op.condition = Some(Condition::Absent);
        const MD5: &str = "content-md5: +WtpfXy3k41SWi8xqvFh0A==";
        assert_eq!(sent(&op), format!("PUT /k\nif-none-match: *\n{MD5}\n\nmessage digest"));
        op.condition = Some(Condition::Is("\"e\"".into()));
        assert_eq!(sent(&op), format!("PUT /k\nif-match: \"e\"\n{MD5}\n\nmessage digest"));
    }
}
