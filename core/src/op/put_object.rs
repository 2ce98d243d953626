//! PutObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>

use super::{Operation, Reply, Unsigned};
use crate::error::Result;
use crate::http::{Body, Method, Part};

/// What to store.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes, signed by their SHA-256.
    Bytes(Vec<u8>),
    /// A part that the driver holds, with its CRC64NVME.
    Part(Part),
}

#[derive(Clone, Debug)]
pub struct PutObject {
    pub key: String,
    pub content: Content,
    pub headers: Vec<(String, String)>,
}

/// What a store says of an object that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReply {
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
                request = request.part(part);
            }
        }
        request
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<PutReply> {
        reply.required("etag")?;
        Ok(PutReply { version_id: reply.head.header("x-amz-version-id").map(str::to_owned) })
    }
}
