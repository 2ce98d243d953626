//! UploadPart: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html>

use crate::checksum::crc_text;
use crate::error::Result;
use crate::http::{Body, Method, Part};
use crate::op::{Operation, Reply, Unsigned};

/// Sends a part of an upload.
#[derive(Clone, Debug)]
pub struct UploadPart {
    /// The object's key.
    pub key: String,
    /// The upload, as CreateMultipartUpload named it.
    pub upload_id: String,
    /// What is sent.
    pub part: Part,
}

impl Operation for UploadPart {
    /// The part's ETag, as Complete names it.
    type Reply = String;
    const NAME: &'static str = "UploadPart";
    const ACTION: &'static str = "s3:PutObject";

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::object(Method::Put, &self.key)
            .query("partNumber", self.part.number.to_string())
            .query("uploadId", &*self.upload_id)
            .header("x-amz-checksum-crc64nvme", crc_text(self.part.digest.crc64nvme));
        request.body = Body::Part(self.part);
        request
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<String> {
        reply.required("etag").map(str::to_owned)
    }
}
