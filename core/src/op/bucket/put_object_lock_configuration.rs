//! PutObjectLockConfiguration: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLockConfiguration.html>

use super::{DefaultRetention, LockPeriod};
use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::xml;

/// Enables object lock, which is permanent, and sets the default lock of new objects. The bucket must have versioning.
#[derive(Clone, Debug)]
pub struct PutObjectLockConfiguration {
    /// The default lock; `None`: only the lock in an object's own PUT.
    pub default: Option<DefaultRetention>,
}

impl Operation for PutObjectLockConfiguration {
    type Reply = ();
    const NAME: &'static str = "PutObjectLockConfiguration";
    const ACTION: &'static str = "s3:PutBucketObjectLockConfiguration";

    fn request(&self) -> Unsigned {
        let mut inner = String::from("<ObjectLockEnabled>Enabled</ObjectLockEnabled>");
        if let Some(default) = &self.default {
            inner.push_str("<Rule><DefaultRetention>");
            xml::element(&mut inner, "Mode", default.mode.as_str());
            match default.period {
                LockPeriod::Days(days) => xml::element(&mut inner, "Days", &days.to_string()),
                LockPeriod::Years(years) => xml::element(&mut inner, "Years", &years.to_string()),
            }
            inner.push_str("</DefaultRetention></Rule>");
        }
        Unsigned::bucket(Method::Put).query("object-lock", "").xml("ObjectLockConfiguration", &inner)
    }

    fn parse(&self, _reply: &mut Reply<'_>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, sent, sent_body};
    use crate::op::{GetObjectLockConfiguration, LockMode, ObjectLock};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_example() {
        let default = DefaultRetention { mode: LockMode::Compliance, period: LockPeriod::Days(30) };
        let op = PutObjectLockConfiguration { default: Some(default) };
        assert!(sent(&op).starts_with("PUT /?object-lock=\ncontent-md5: "));
        assert_eq!(
            sent_body(&op),
            "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode>\
             <Days>30</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
        );
        assert_eq!(answer(&op, &[], ""), Ok(()));
    }

    #[test]
    fn the_configuration_survives_a_round_trip() {
        for default in [None, Some(DefaultRetention { mode: LockMode::Governance, period: LockPeriod::Years(7) })] {
            let put = sent_body(&PutObjectLockConfiguration { default });
            assert_eq!(answer(&GetObjectLockConfiguration, &[], &put), Ok(ObjectLock { enabled: true, default }));
        }
    }
}
