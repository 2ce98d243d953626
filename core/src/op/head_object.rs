//! HeadObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>

use super::{Operation, Reply, Unsigned};
use crate::error::Result;
use crate::http::Method;

#[derive(Clone, Debug)]
pub struct HeadObject {
    pub key: String,
}

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadReply {
    pub version_id: Option<String>,
    pub size: Option<u64>,
    pub crc64nvme: Option<String>,
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
