//! AbortMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>

use super::{Operation, Reply, Unsigned};
use crate::error::Result;
use crate::http::Method;

#[derive(Clone, Debug)]
pub struct AbortMultipartUpload {
    pub key: String,
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
