//! AbortMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};

/// Gives an upload up, with its parts.
#[derive(Clone, Debug)]
pub struct AbortMultipartUpload {
    /// The object's key.
    pub key: String,
    /// The upload, as CreateMultipartUpload named it.
    pub upload_id: String,
}

impl Operation for AbortMultipartUpload {
    type Reply = ();
    const NAME: &'static str = "AbortMultipartUpload";
    const ACTION: &'static str = "s3:AbortMultipartUpload";

    fn request(&self) -> Unsigned {
        Unsigned::object(Method::Delete, &self.key).query("uploadId", &*self.upload_id)
    }

    fn parse(&self, _reply: &Reply<'_>) -> Result<()> {
        Ok(())
    }
}
