//! HeadObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};

/// Asks what an object is, without its bytes.
#[derive(Clone, Debug)]
pub struct HeadObject {
    /// The object's key.
    pub key: String,
}

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadReply {
    /// `None` in a bucket without versioning.
    pub version_id: Option<String>,
    /// In bytes.
    pub size: Option<u64>,
    /// In base64.
    pub crc64nvme: Option<String>,
    /// The metadata that names a vault's version.
    pub vid: Option<String>,
}

impl Operation for HeadObject {
    type Reply = HeadReply;
    const NAME: &'static str = "HeadObject";
    const ACTION: &'static str = "s3:GetObject";

    fn request(&self) -> Unsigned {
        Unsigned::object(Method::Head, &self.key).header("x-amz-checksum-mode", "ENABLED")
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<HeadReply> {
        reply.required("etag")?;
        let text = |name| reply.head.header(name).map(str::to_owned);
        Ok(HeadReply {
            version_id: text("x-amz-version-id"),
            size: reply.head.header("content-length").and_then(|length| length.parse().ok()),
            crc64nvme: text("x-amz-checksum-crc64nvme"),
            vid: text("x-amz-meta-s3vault-vid"),
        })
    }
}
