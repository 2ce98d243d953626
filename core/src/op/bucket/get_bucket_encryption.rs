//! GetBucketEncryption: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketEncryption.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::xml::{self, Item};

/// A rule for the default encryption of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionRule {
    /// Default algorithm, for objects without an encryption of their own: `AES256`, `aws:kms`, `aws:kms:dsse`.
    pub algorithm: Option<String>,
    /// ARN or id of the KMS key.
    pub kms_key: Option<String>,
    /// Whether a bucket key is used, which reduces requests to KMS.
    pub bucket_key: Option<bool>,
    /// Encryption types that are blocked: `SSE-C`, or `NONE` to block none. If it is empty, AWS decides; new buckets block
    /// `SSE-C`.
    pub blocked: Vec<String>,
}

/// The encryption configuration of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketEncryption {
    /// The rules; AWS supports one.
    pub rules: Vec<EncryptionRule>,
}

impl BucketEncryption {
    /// Whether writes with SSE-C are blocked; `None` if the rules do not say so.
    pub fn blocks_sse_c(&self) -> Option<bool> {
        let mut blocked = self.rules.iter().flat_map(|rule| &rule.blocked).peekable();
        blocked.peek()?;
        Some(blocked.any(|kind| kind == "SSE-C"))
    }

    /// The same rules, with SSE-C blocked or allowed.
    #[must_use]
    pub fn with_sse_c(mut self, blocked: bool) -> BucketEncryption {
        if self.rules.is_empty() {
            self.rules.push(EncryptionRule { algorithm: Some("AES256".into()), ..EncryptionRule::default() });
        }
        for rule in &mut self.rules {
            rule.blocked = vec![if blocked { "SSE-C" } else { "NONE" }.to_owned()];
        }
        self
    }
}

/// Reads the bucket's encryption configuration. For a bucket without one, the store answers 404
/// `ServerSideEncryptionConfigurationNotFoundError`; buckets on AWS always have one.
#[derive(Clone, Debug)]
pub struct GetBucketEncryption;

impl Operation for GetBucketEncryption {
    type Reply = BucketEncryption;
    const NAME: &'static str = "GetBucketEncryption";
    const ACTION: &'static str = "s3:GetEncryptionConfiguration";

    fn request(&self) -> Unsigned {
        Unsigned::bucket(Method::Get).query("encryption", "")
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<BucketEncryption> {
        let mut encryption = BucketEncryption::default();
        let mut rule = EncryptionRule::default();
        xml::read(&reply.body, "ServerSideEncryptionConfiguration", |item| {
            match item {
                Item::Value(_, "SSEAlgorithm", text) => rule.algorithm = Some(text.to_owned()),
                Item::Value(_, "KMSMasterKeyID", text) if !text.is_empty() => rule.kms_key = Some(text.to_owned()),
                Item::Value("Rule", "BucketKeyEnabled", text) => rule.bucket_key = Some(text == "true"),
                Item::Value("BlockedEncryptionTypes", "EncryptionType", text) => rule.blocked.push(text.to_owned()),
                Item::End("Rule") => encryption.rules.push(std::mem::take(&mut rule)),
                _ => {}
            }
            Ok(())
        })?;
        Ok(encryption)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn parse(rule: &str) -> BucketEncryption {
        let xml = format!(
            "<ServerSideEncryptionConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rule}\
             </ServerSideEncryptionConfiguration>"
        );
        answer(&GetBucketEncryption, &[], &xml).unwrap()
    }

    #[test]
    fn the_documented_example() {
        assert_eq!(sent(&GetBucketEncryption), "GET /?encryption=\n");
        let found = parse(
            "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>\
             <KMSMasterKeyID>arn:aws:kms:us-east-1:1234/5678example</KMSMasterKeyID>\
             </ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule>",
        );
        let rule = EncryptionRule {
            algorithm: Some("aws:kms".into()),
            kms_key: Some("arn:aws:kms:us-east-1:1234/5678example".into()),
            bucket_key: Some(true),
            blocked: vec![],
        };
        assert_eq!(found, BucketEncryption { rules: vec![rule] });
        assert_eq!(found.blocks_sse_c(), None, "the rules do not say so");
    }

    #[test]
    fn sse_c_can_be_unblocked_without_changing_other_rules() {
        let rule = |blocked: &str| {
            format!(
                "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>\
                 </ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled>\
                 <BlockedEncryptionTypes><EncryptionType>{blocked}</EncryptionType></BlockedEncryptionTypes></Rule>"
            )
        };
        let (blocked, open) = (parse(&rule("SSE-C")), parse(&rule("NONE")));
        assert_eq!((blocked.blocks_sse_c(), open.blocks_sse_c()), (Some(true), Some(false)));
        assert_eq!(blocked.clone().with_sse_c(false), open);
        assert_eq!(open.with_sse_c(true), blocked);
        assert_eq!(BucketEncryption::default().with_sse_c(false).blocks_sse_c(), Some(false));
    }
}
