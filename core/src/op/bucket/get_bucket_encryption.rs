//! GetBucketEncryption: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketEncryption.html>

use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::xml::{self, Item};

/// A rule of a bucket's encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionRule {
    /// How objects are encrypted whose PUT says nothing: `AES256`, `aws:kms`, `aws:kms:dsse`.
    pub algorithm: Option<String>,
    /// The KMS key, by ARN or id.
    pub kms_key: Option<String>,
    /// Whether a key of the bucket stands between KMS and the objects.
    pub bucket_key: Option<bool>,
    /// Encryption types whose writes are refused: `SSE-C`, or `NONE`, which blocks none. Empty where the rule says
    /// nothing: AWS then decides, and new buckets block `SSE-C`.
    pub blocked: Vec<String>,
}

/// How a bucket encrypts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketEncryption {
    /// One on AWS.
    pub rules: Vec<EncryptionRule>,
}

impl BucketEncryption {
    /// Whether writes with SSE-C are refused, as far as the rules say it.
    pub fn blocks_sse_c(&self) -> Option<bool> {
        let mut blocked = self.rules.iter().flat_map(|rule| &rule.blocked).peekable();
        blocked.peek()?;
        Some(blocked.any(|kind| kind == "SSE-C"))
    }

    /// The same rules, but that writes with SSE-C are let in or refused.
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

/// Asks how the bucket encrypts. A bucket without rules is answered with 404
/// `ServerSideEncryptionConfigurationNotFoundError`; AWS's have one always.
#[derive(Clone, Debug)]
pub struct GetBucketEncryption;

impl Operation for GetBucketEncryption {
    type Reply = BucketEncryption;
    const NAME: &'static str = "GetBucketEncryption";
    const ACTION: &'static str = "s3:GetEncryptionConfiguration";

    fn request(&self) -> Unsigned {
        Unsigned::bucket(Method::Get).query("encryption", "")
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<BucketEncryption> {
        let mut encryption = BucketEncryption::default();
        let mut rule = EncryptionRule::default();
        xml::read(reply.body, "ServerSideEncryptionConfiguration", |item| {
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
        assert_eq!(found.blocks_sse_c(), None, "it is not said");
    }

    #[test]
    fn a_bucket_that_blocks_sse_c_is_known_and_unblocked_with_all_else_kept() {
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
