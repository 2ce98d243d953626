//! GetObjectLockConfiguration: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLockConfiguration.html>

use crate::error::{Code, Error, Result};
use crate::http::Method;
use crate::op::{LockMode, Operation, Reply, Unsigned};
use crate::text::presentable;
use crate::xml::{self, Item};

/// Duration of the default lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockPeriod {
    /// Days of 24 hours.
    Days(u32),
    /// Calendar years.
    Years(u32),
}

/// The default lock of new objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRetention {
    /// Who can remove the lock.
    pub mode: LockMode,
    /// Duration from the object's creation.
    pub period: LockPeriod,
}

/// The object lock configuration of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectLock {
    /// Whether object lock is enabled.
    pub enabled: bool,
    /// The default lock of new objects.
    pub default: Option<DefaultRetention>,
}

/// Reads the bucket's object lock configuration. For a bucket that never had one, the store answers 404
/// `ObjectLockConfigurationNotFoundError`.
#[derive(Clone, Debug)]
pub struct GetObjectLockConfiguration;

impl Operation for GetObjectLockConfiguration {
    type Reply = ObjectLock;
    const NAME: &'static str = "GetObjectLockConfiguration";
    const ACTION: &'static str = "s3:GetBucketObjectLockConfiguration";

    fn request(&self) -> Unsigned {
        Unsigned::bucket(Method::Get).query("object-lock", "")
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<ObjectLock> {
        let wrong = |what: &str, text: &str| {
            Error::new(Code::BadReply, format!("'{}' is not a valid {what} of a lock", presentable(text)))
        };
        let mut lock = ObjectLock::default();
        let (mut mode, mut period) = (None, None);
        xml::read(&reply.body, "ObjectLockConfiguration", |item| {
            let count = |text: &str| text.parse().map_err(|_| wrong("period", text));
            match item {
                Item::Value(_, "ObjectLockEnabled", text) => lock.enabled = text == "Enabled",
                Item::Value("DefaultRetention", "Mode", text) => {
                    mode = Some(LockMode::parse(text).ok_or_else(|| wrong("mode", text))?);
                }
                Item::Value("DefaultRetention", "Days", text) => period = Some(LockPeriod::Days(count(text)?)),
                Item::Value("DefaultRetention", "Years", text) => period = Some(LockPeriod::Years(count(text)?)),
                _ => {}
            }
            Ok(())
        })?;
        lock.default = match (mode, period) {
            (Some(mode), Some(period)) => Some(DefaultRetention { mode, period }),
            (None, None) => None,
            _ => return Err(Error::new(Code::BadReply, "the default retention has only a mode or only a period")),
        };
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn document(inner: &str) -> String {
        format!(
            "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</ObjectLockConfiguration>"
        )
    }

    #[test]
    fn the_documented_example() {
        assert_eq!(sent(&GetObjectLockConfiguration), "GET /?object-lock=\n");
        let xml = document(
            "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode>\
             <Days>30</Days></DefaultRetention></Rule>",
        );
        let default = DefaultRetention { mode: LockMode::Compliance, period: LockPeriod::Days(30) };
        let expected = ObjectLock { enabled: true, default: Some(default) };
        assert_eq!(answer(&GetObjectLockConfiguration, &[], &xml), Ok(expected));
        assert_eq!(answer(&GetObjectLockConfiguration, &[], &document("")), Ok(ObjectLock::default()));
    }

    #[test]
    fn an_unknown_lock_is_an_error_and_not_treated_as_no_lock() {
        for bad in [
            "<Rule><DefaultRetention><Mode>FOREVER</Mode><Days>1</Days></DefaultRetention></Rule>",
            "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>-1</Days></DefaultRetention></Rule>",
            "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode></DefaultRetention></Rule>",
        ] {
            assert_eq!(refused(&GetObjectLockConfiguration, &[], &document(bad)), Some(Code::BadReply), "{bad}");
        }
    }
}
