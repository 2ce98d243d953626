//! DeleteBucket: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucket.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};

/// Deletes the bucket, which must be empty: without objects, versions and delete markers.
///
/// A retry after a lost reply may fail with `NoSuchBucket`: then the first attempt deleted the bucket.
#[derive(Clone, Debug)]
pub struct DeleteBucket;

impl Operation for DeleteBucket {
    type Reply = ();
    const NAME: &'static str = "DeleteBucket";
    const ACTION: &'static str = "s3:DeleteBucket";

    fn request(&self) -> Unsigned {
        Unsigned::bucket(Method::Delete)
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
        assert_eq!(sent(&DeleteBucket), "DELETE /\n");
        assert_eq!(answer(&DeleteBucket, &[], ""), Ok(()));
    }
}
