//! PutBucketVersioning: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};

/// Enables or suspends versioning. It takes some minutes to take effect everywhere.
#[derive(Clone, Debug)]
pub struct PutBucketVersioning {
    /// `false` suspends versioning: versions stay, and no new ones are created. Versioning cannot be removed again.
    pub enabled: bool,
}

impl Operation for PutBucketVersioning {
    type Reply = ();
    const NAME: &'static str = "PutBucketVersioning";
    const ACTION: &'static str = "s3:PutBucketVersioning";

    fn request(&self) -> Unsigned {
        let inner = if self.enabled { "<Status>Enabled</Status>" } else { "<Status>Suspended</Status>" };
        Unsigned::bucket(Method::Put).query("versioning", "").xml("VersioningConfiguration", inner)
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
    fn the_documented_examples() {
        for (enabled, status, md5) in
            [(true, "Enabled", "QQFYoy/mRYV9PGZUfFi0Bw=="), (false, "Suspended", "orZUUp7E9srl53Od8p1glA==")]
        {
            let op = PutBucketVersioning { enabled };
            let expected = format!(
                "PUT /?versioning=\ncontent-md5: {md5}\ncontent-type: application/xml\n\n\
                 <VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <Status>{status}</Status></VersioningConfiguration>"
            );
            assert_eq!(sent(&op), expected);
            assert_eq!(answer(&op, &[], ""), Ok(()));
        }
    }
}
