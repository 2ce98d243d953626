//! CreateBucket: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::xml;

/// Creates the bucket.
///
/// A retry after a lost reply may fail with `BucketAlreadyOwnedByYou`: then the first attempt created the bucket.
#[derive(Clone, Debug, Default)]
pub struct CreateBucket {
    /// Region of the bucket. Empty and `us-east-1` are the default, which must not be named in the request.
    pub region: String,
    /// Whether to enable object lock, which also enables versioning.
    pub object_lock: bool,
}

impl Operation for CreateBucket {
    type Reply = ();
    const NAME: &'static str = "CreateBucket";
    const ACTION: &'static str = "s3:CreateBucket";

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::bucket(Method::Put);
        if self.object_lock {
            request = request.header("x-amz-bucket-object-lock-enabled", "true");
        }
        if matches!(&*self.region, "" | "us-east-1") {
            return request;
        }
        let mut inner = String::new();
        xml::element(&mut inner, "LocationConstraint", &self.region);
        request.xml("CreateBucketConfiguration", &inner)
    }

    fn parse(&self, _reply: &mut Reply<'_>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, sent, sent_body};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_examples() {
        assert_eq!(sent(&CreateBucket::default()), "PUT /\n");
        let op = CreateBucket { region: "eu-west-1".into(), object_lock: false };
        assert_eq!(
            sent_body(&op),
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"
        );
        assert_eq!(answer(&op, &[("location", "/amzn-s3-demo-bucket")], ""), Ok(()));
    }

    #[test]
    fn the_default_region_is_not_named_and_locks_are_a_header() {
        let op = CreateBucket { region: "us-east-1".into(), object_lock: true };
        assert_eq!(sent(&op), "PUT /\nx-amz-bucket-object-lock-enabled: true\n");
    }
}
