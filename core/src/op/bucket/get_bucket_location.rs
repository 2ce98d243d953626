//! GetBucketLocation: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::xml::{self, Item};

/// Reads the bucket's region. HeadBucket returns it too, even without permission to read the bucket.
#[derive(Clone, Debug)]
pub struct GetBucketLocation;

impl Operation for GetBucketLocation {
    /// Name of the region.
    type Reply = String;
    const NAME: &'static str = "GetBucketLocation";
    const ACTION: &'static str = "s3:GetBucketLocation";

    fn request(&self) -> Unsigned {
        Unsigned::bucket(Method::Get).query("location", "")
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<String> {
        let mut region = String::new();
        xml::read(&reply.body, "LocationConstraint", |item| {
            if let Item::Value(_, "LocationConstraint", text) = item {
                text.trim().clone_into(&mut region);
            }
            Ok(())
        })?;
        // Old names of regions.
        Ok(match &*region {
            "" | "US" => "us-east-1".into(),
            "EU" => "eu-west-1".into(),
            _ => region,
        })
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
        assert_eq!(sent(&GetBucketLocation), "GET /?location=\n");
        for (inner, region) in [("us-west-2", "us-west-2"), ("EU", "eu-west-1"), ("", "us-east-1")] {
            let xml = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                 <LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</LocationConstraint>"
            );
            assert_eq!(answer(&GetBucketLocation, &[], &xml).unwrap(), region);
        }
        let empty = "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>";
        assert_eq!(answer(&GetBucketLocation, &[], empty).unwrap(), "us-east-1");
    }
}
