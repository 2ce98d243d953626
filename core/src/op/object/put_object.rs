//! PutObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>

use crate::checksum::crc_text;
use crate::error::Result;
use crate::http::{Body, Method, Part};
use crate::op::{Operation, Reply, Unsigned};

/// What to store.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes, signed by their SHA-256.
    Bytes(Vec<u8>),
    /// A part that the driver holds, with its CRC64NVME.
    Part(Part),
}

/// Stores an object in one request.
#[derive(Clone, Debug)]
pub struct PutObject {
    /// The object's key.
    pub key: String,
    /// Its bytes.
    pub content: Content,
    /// What else is said of it: content type, metadata, encryption, lock. Names in lower case.
    pub headers: Vec<(String, String)>,
}

/// What a store says of an object that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReply {
    /// Of the version that was made; `None` in a bucket without versioning.
    pub version_id: Option<String>,
}

impl Operation for PutObject {
    type Reply = PutReply;
    const NAME: &'static str = "PutObject";
    const ACTION: &'static str = "s3:PutObject";

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::object(Method::Put, &self.key);
        request.headers.clone_from(&self.headers);
        match &self.content {
            Content::Bytes(bytes) => request.body = Body::Bytes(bytes.clone()),
            Content::Part(part) => {
                request = request.header("x-amz-checksum-crc64nvme", crc_text(part.digest.crc64nvme));
                request.body = Body::Part(*part);
            }
        }
        request
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<PutReply> {
        reply.required("etag")?;
        Ok(PutReply { version_id: reply.head.header("x-amz-version-id").map(str::to_owned) })
    }
}
