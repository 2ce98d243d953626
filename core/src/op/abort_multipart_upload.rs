//! AbortMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>

use super::{Operation, Reply, Unsigned};
use crate::error::Result;
use crate::http::Method;

#[derive(Clone, Debug)]
pub(crate) struct AbortMultipartUpload {
    pub(crate) key: String,
    pub(crate) upload_id: String,
}

impl Operation for AbortMultipartUpload {
    type Reply = ();
    const NAME: &'static str = "AbortMultipartUpload";

    fn request(&self) -> Unsigned {
        Unsigned::new(Method::Delete, Some(&self.key)).query("uploadId", &*self.upload_id)
    }

    fn parse(&self, _reply: &Reply<'_>) -> Result<()> {
        Ok(())
    }
}
