//! HeadObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>

use super::{Operation, Reply, Unsigned};
use crate::error::Result;
use crate::http::Method;

#[derive(Clone, Debug)]
pub(crate) struct HeadObject {
    pub(crate) key: String,
}

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadReply {
    pub(crate) version_id: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) crc64nvme: Option<String>,
    pub(crate) vid: Option<String>,
}

impl Operation for HeadObject {
    type Reply = HeadReply;
    const NAME: &'static str = "HeadObject";

    fn request(&self) -> Unsigned {
        Unsigned::new(Method::Head, Some(&self.key)).header("x-amz-checksum-mode", "ENABLED")
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
