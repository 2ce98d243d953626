//! UploadPart: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html>

use super::{Operation, Reply, Unsigned};
use crate::checksum::parse_crc;
use crate::error::Result;
use crate::http::{Method, Part};

#[derive(Clone, Debug)]
pub struct UploadPart {
    pub key: String,
    pub upload_id: String,
    pub part: Part,
}

/// What the store says of a part that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedPart {
    /// Its ETag, as Complete names it.
    pub etag: String,
    /// What the store computed of its bytes, where it says so.
    pub crc64nvme: Option<u64>,
}

impl Operation for UploadPart {
    type Reply = UploadedPart;
    const NAME: &'static str = "UploadPart";
    const ACTION: &'static str = "s3:PutObject";

    fn request(&self) -> Unsigned {
        Unsigned::object(Method::Put, &self.key)
            .query("partNumber", self.part.number.to_string())
            .query("uploadId", &*self.upload_id)
            .part(&self.part)
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<UploadedPart> {
        Ok(UploadedPart {
            etag: reply.required("etag")?.to_owned(),
            crc64nvme: reply.head.header("x-amz-checksum-crc64nvme").and_then(parse_crc),
        })
    }
}
