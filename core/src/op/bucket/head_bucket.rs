//! HeadBucket: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};

/// Asks whether the bucket is there, and whether these keys may list it. A refusal has no body: status 404, 403 or 301
/// is all that is known.
#[derive(Clone, Debug)]
pub struct HeadBucket;

/// What a HEAD of a bucket tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadBucketReply {
    /// Where it is, from `x-amz-bucket-region`; stores that have no regions leave it out.
    pub region: Option<String>,
}

impl Operation for HeadBucket {
    type Reply = HeadBucketReply;
    const NAME: &'static str = "HeadBucket";
    const ACTION: &'static str = "s3:ListBucket";

    fn request(&self) -> Unsigned {
        Unsigned::bucket(Method::Head)
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<HeadBucketReply> {
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
