//! DeleteObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html>
//!
//! There are two operations: with and without a version id. They need different permissions, and only the one with a
//! version id is idempotent.

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};

/// Deletes the object. In a bucket with versioning, it only adds a delete marker, and another one each time, so it is not
/// retried if it may have taken effect.
#[derive(Clone, Debug)]
pub struct DeleteObject {
    /// The object's key. It is not an error if there is no such object.
    pub key: String,
}

/// Permanently deletes a version or a delete marker.
#[derive(Clone, Debug)]
pub struct DeleteObjectVersion {
    /// The object's key.
    pub key: String,
    /// Version id; `null` for a version that was created without versioning.
    pub version_id: String,
    /// Whether to ignore a lock in governance mode, which needs `s3:BypassGovernanceRetention`.
    pub bypass_governance: bool,
}

/// The reply to a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteReply {
    /// Version id of the delete marker that was created, or of the version that was deleted.
    pub version_id: Option<String>,
    /// Whether a delete marker was created or deleted.
    pub delete_marker: bool,
}

impl DeleteReply {
    fn read(reply: &Reply<'_>) -> DeleteReply {
        DeleteReply {
            version_id: reply.text("x-amz-version-id"),
            delete_marker: reply.head.header("x-amz-delete-marker") == Some("true"),
        }
    }
}

impl Operation for DeleteObject {
    type Reply = DeleteReply;
    const NAME: &'static str = "DeleteObject";
    const ACTION: &'static str = "s3:DeleteObject";
    const REPEATABLE: bool = false;

    fn request(&self) -> Unsigned {
        Unsigned::object(Method::Delete, &self.key)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<DeleteReply> {
        Ok(DeleteReply::read(reply))
    }
}

impl Operation for DeleteObjectVersion {
    type Reply = DeleteReply;
    const NAME: &'static str = "DeleteObject";
    const ACTION: &'static str = "s3:DeleteObjectVersion";

    fn request(&self) -> Unsigned {
        let request = Unsigned::object(Method::Delete, &self.key).version(Some(&self.version_id));
        if self.bypass_governance { request.header("x-amz-bypass-governance-retention", "true") } else { request }
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<DeleteReply> {
        Ok(DeleteReply::read(reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_examples() {
        let op = DeleteObject { key: "my-second-image.jpg".into() };
        assert_eq!(sent(&op), "DELETE /my-second-image.jpg\n");
        assert_eq!(answer(&op, &[], ""), Ok(DeleteReply { version_id: None, delete_marker: false }));
        let mut op = DeleteObjectVersion {
            key: "my-third-image.jpg".into(),
            version_id: "UIORUnfndfiufdisojhr398493jfdkjFJjkndnqUifhnw89493jJFJ".into(),
            bypass_governance: false,
        };
        let query = "versionId=UIORUnfndfiufdisojhr398493jfdkjFJjkndnqUifhnw89493jJFJ";
        assert_eq!(sent(&op), format!("DELETE /my-third-image.jpg?{query}\n"));
        let headers = [("x-amz-version-id", &*op.version_id), ("x-amz-delete-marker", "true")];
        let expected = DeleteReply { version_id: Some(op.version_id.clone()), delete_marker: true };
        assert_eq!(answer(&op, &headers, ""), Ok(expected));
        op.bypass_governance = true;
        assert!(sent(&op).ends_with("\nx-amz-bypass-governance-retention: true\n"));
    }

    #[test]
    fn only_the_deletion_of_a_version_is_repeatable() {
        const { assert!(!DeleteObject::REPEATABLE && DeleteObjectVersion::REPEATABLE) };
    }
}
