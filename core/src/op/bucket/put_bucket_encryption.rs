//! PutBucketEncryption: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketEncryption.html>

use super::BucketEncryption;
use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::xml;

/// Sets the bucket's encryption configuration. It replaces all rules: to change one, read them first.
#[derive(Clone, Debug)]
pub struct PutBucketEncryption {
    /// All rules.
    pub encryption: BucketEncryption,
}

impl Operation for PutBucketEncryption {
    type Reply = ();
    const NAME: &'static str = "PutBucketEncryption";
    const ACTION: &'static str = "s3:PutEncryptionConfiguration";

    fn request(&self) -> Unsigned {
        let mut inner = String::new();
        for rule in &self.encryption.rules {
            inner.push_str("<Rule>");
            if let Some(algorithm) = &rule.algorithm {
                inner.push_str("<ApplyServerSideEncryptionByDefault>");
                xml::element(&mut inner, "SSEAlgorithm", algorithm);
                if let Some(key) = &rule.kms_key {
                    xml::element(&mut inner, "KMSMasterKeyID", key);
                }
                inner.push_str("</ApplyServerSideEncryptionByDefault>");
            }
            if let Some(enabled) = rule.bucket_key {
                xml::element(&mut inner, "BucketKeyEnabled", if enabled { "true" } else { "false" });
            }
            if !rule.blocked.is_empty() {
                inner.push_str("<BlockedEncryptionTypes>");
                for kind in &rule.blocked {
                    xml::element(&mut inner, "EncryptionType", kind);
                }
                inner.push_str("</BlockedEncryptionTypes>");
            }
            inner.push_str("</Rule>");
        }
        Unsigned::bucket(Method::Put).query("encryption", "").xml("ServerSideEncryptionConfiguration", &inner)
    }

    fn parse(&self, _reply: &mut Reply<'_>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, sent, sent_body};
    use crate::op::{EncryptionRule, GetBucketEncryption};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_example() {
        let rule = EncryptionRule {
            algorithm: Some("aws:kms".into()),
            kms_key: Some("arn:aws:kms:us-east-1:1234/5678example".into()),
            ..EncryptionRule::default()
        };
        let op = PutBucketEncryption { encryption: BucketEncryption { rules: vec![rule] } };
        assert!(sent(&op).starts_with("PUT /?encryption=\ncontent-md5: "));
        assert_eq!(
            sent_body(&op),
            "<ServerSideEncryptionConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule>\
             <ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>\
             <KMSMasterKeyID>arn:aws:kms:us-east-1:1234/5678example</KMSMasterKeyID>\
             </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        );
        assert_eq!(answer(&op, &[], ""), Ok(()));
    }

    #[test]
    fn rules_survive_a_round_trip() {
        let rule = EncryptionRule {
            algorithm: Some("AES256".into()),
            kms_key: Some("a&b".into()),
            bucket_key: Some(true),
            blocked: vec!["SSE-C".into()],
        };
        let encryption =
            BucketEncryption { rules: vec![rule, EncryptionRule { bucket_key: Some(false), ..Default::default() }] };
        let op = PutBucketEncryption { encryption: encryption.clone() };
        assert_eq!(answer(&GetBucketEncryption, &[], &sent_body(&op)), Ok(encryption));
    }
}
