//! PutObjectRetention: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html>

use super::retention::Retention;
use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::time::rfc3339;
use crate::xml;

/// Locks an object version, or extends its lock.
#[derive(Clone, Debug)]
pub struct PutObjectRetention {
    /// The object's key.
    pub key: String,
    /// Version of the object; `None`: the newest.
    pub version_id: Option<String>,
    /// The lock; `None` removes one in governance mode.
    pub retention: Option<Retention>,
    /// Whether a lock in governance mode may be shortened or removed, which needs `s3:BypassGovernanceRetention`.
    pub bypass_governance: bool,
}

impl Operation for PutObjectRetention {
    type Reply = ();
    const NAME: &'static str = "PutObjectRetention";
    const ACTION: &'static str = "s3:PutObjectRetention";

    fn request(&self) -> Unsigned {
        let mut inner = String::new();
        if let Some(retention) = &self.retention {
            xml::element(&mut inner, "Mode", retention.mode.as_str());
            xml::element(&mut inner, "RetainUntilDate", &rfc3339(retention.until_ms));
        }
        let mut request =
            Unsigned::object(Method::Put, &self.key).query("retention", "").version(self.version_id.as_deref());
        if self.bypass_governance {
            request = request.header("x-amz-bypass-governance-retention", "true");
        }
        request.xml("Retention", &inner)
    }

    fn parse(&self, _reply: &mut Reply<'_>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, sent, sent_body};
    use crate::op::{GetObjectRetention, LockMode};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_form() {
        let retention = Retention { mode: LockMode::Compliance, until_ms: 1_538_697_600_000 };
        let mut op = PutObjectRetention {
            key: "k".into(),
            version_id: Some("v".into()),
            retention: Some(retention),
            bypass_governance: false,
        };
        assert!(sent(&op).starts_with("PUT /k?retention=&versionId=v\ncontent-md5: "), "{}", sent(&op));
        assert_eq!(
            sent_body(&op),
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>COMPLIANCE</Mode>\
             <RetainUntilDate>2018-10-05T00:00:00.000Z</RetainUntilDate></Retention>"
        );
        let get = GetObjectRetention { key: "k".into(), version_id: None };
        assert_eq!(answer(&get, &[], &sent_body(&op)), Ok(retention));
        assert_eq!(answer(&op, &[], ""), Ok(()));
        op = PutObjectRetention { retention: None, bypass_governance: true, ..op };
        assert!(sent(&op).contains("\nx-amz-bypass-governance-retention: true\n"));
        assert!(sent_body(&op).ends_with("\"></Retention>"), "an empty document removes the lock");
    }
}
