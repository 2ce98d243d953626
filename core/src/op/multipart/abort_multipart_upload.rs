//! AbortMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};

/// Aborts an upload and deletes its parts.
#[derive(Clone, Debug)]
pub struct AbortMultipartUpload {
    /// The object's key.
    pub key: String,
    /// Upload id, as CreateMultipartUpload returned it.
    pub upload_id: String,
}

impl Operation for AbortMultipartUpload {
    type Reply = ();
    const NAME: &'static str = "AbortMultipartUpload";
    const ACTION: &'static str = "s3:AbortMultipartUpload";

    fn request(&self) -> Unsigned {
        Unsigned::object(Method::Delete, &self.key).query("uploadId", &*self.upload_id)
    }

    fn parse(&self, _reply: &mut Reply<'_>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_example() {
        let id = "VXBsb2FkIElEIGZvciBlbHZpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZ";
        let op = AbortMultipartUpload { key: "example-object".into(), upload_id: id.into() };
        assert_eq!(sent(&op), format!("DELETE /example-object?uploadId={id}\n"));
        assert_eq!(answer(&op, &[], ""), Ok(()));
    }
}
