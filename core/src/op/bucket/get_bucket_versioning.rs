//! GetBucketVersioning: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketVersioning.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::xml::{self, Item};

/// The versioning state of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketVersioning {
    /// Versioning was never enabled.
    Off,
    /// Versioning is enabled: each PUT creates a version.
    Enabled,
    /// Versioning is suspended: a PUT replaces the version `null`.
    Suspended,
}

/// Reads the bucket's versioning state.
#[derive(Clone, Debug)]
pub struct GetBucketVersioning;

impl Operation for GetBucketVersioning {
    type Reply = BucketVersioning;
    const NAME: &'static str = "GetBucketVersioning";
    const ACTION: &'static str = "s3:GetBucketVersioning";

    fn request(&self) -> Unsigned {
        Unsigned::bucket(Method::Get).query("versioning", "")
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<BucketVersioning> {
        let mut status = BucketVersioning::Off;
        xml::read(&reply.body, "VersioningConfiguration", |item| {
            if let Item::Value(_, "Status", text) = item {
                status = match text {
                    "Enabled" => BucketVersioning::Enabled,
                    "Suspended" => BucketVersioning::Suspended,
                    _ => BucketVersioning::Off,
                };
            }
            Ok(())
        })?;
        Ok(status)
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
        assert_eq!(sent(&GetBucketVersioning), "GET /?versioning=\n");
        let parse = |inner: &str| {
            let xml = format!(
                "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</VersioningConfiguration>"
            );
            answer(&GetBucketVersioning, &[], &xml).unwrap()
        };
        assert_eq!(parse("<Status>Enabled</Status>"), BucketVersioning::Enabled);
        assert_eq!(parse("<Status>Suspended</Status>"), BucketVersioning::Suspended);
        assert_eq!(parse(""), BucketVersioning::Off);
    }
}
