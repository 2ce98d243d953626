//! HeadBucket: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};

/// Checks whether the bucket exists and may be listed with these credentials. An error reply has no body, only status
/// 404, 403 or 301.
#[derive(Clone, Debug)]
pub struct HeadBucket;

/// The reply to a HEAD of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadBucketReply {
    /// Region of the bucket, from `x-amz-bucket-region`; stores without regions leave it out.
    pub region: Option<String>,
}

impl Operation for HeadBucket {
    type Reply = HeadBucketReply;
    const NAME: &'static str = "HeadBucket";
    const ACTION: &'static str = "s3:ListBucket";

    fn request(&self) -> Unsigned {
        Unsigned::bucket(Method::Head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<HeadBucketReply> {
        Ok(HeadBucketReply { region: reply.text("x-amz-bucket-region").filter(|region| !region.is_empty()) })
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
        assert_eq!(sent(&HeadBucket), "HEAD /\n");
        let headers = [("x-amz-bucket-region", "us-west-2"), ("x-amz-access-point-alias", "false")];
        assert_eq!(answer(&HeadBucket, &headers, ""), Ok(HeadBucketReply { region: Some("us-west-2".into()) }));
        assert_eq!(answer(&HeadBucket, &[], ""), Ok(HeadBucketReply { region: None }));
    }
}
