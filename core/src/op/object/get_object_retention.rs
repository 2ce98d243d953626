//! GetObjectRetention: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html>

use super::retention::{LockMode, Retention};
use crate::error::{Code, Error, Result};
use crate::http::Method;
use crate::op::{Operation, Reply, Unsigned};
use crate::time::parse_rfc3339;
use crate::xml::{self, Item};

/// Reads the lock of an object version. For a version without one, the store answers 404 `NoSuchObjectLockConfiguration`.
#[derive(Clone, Debug)]
pub struct GetObjectRetention {
    /// The object's key.
    pub key: String,
    /// Version of the object; `None`: the newest.
    pub version_id: Option<String>,
}

impl Operation for GetObjectRetention {
    type Reply = Retention;
    const NAME: &'static str = "GetObjectRetention";
    const ACTION: &'static str = "s3:GetObjectRetention";

    fn request(&self) -> Unsigned {
        Unsigned::object(Method::Get, &self.key).query("retention", "").version(self.version_id.as_deref())
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<Retention> {
        let (mut mode, mut until_ms) = (None, None);
        // versitygw names the document after its type in the schema.
        let is_type = memchr::memmem::find(&reply.body, b"<ObjectLockRetention").is_some();
        let root = if is_type { "ObjectLockRetention" } else { "Retention" };
        xml::read(&reply.body, root, |item| {
            match item {
                Item::Value(_, "Mode", text) => mode = LockMode::parse(text),
                Item::Value(_, "RetainUntilDate", text) => until_ms = parse_rfc3339(text),
                _ => {}
            }
            Ok(())
        })?;
        match (mode, until_ms) {
            (Some(mode), Some(until_ms)) => Ok(Retention { mode, until_ms }),
            _ => Err(Error::new(Code::BadReply, "the lock has no valid mode or no valid date")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_form() {
        let op = GetObjectRetention { key: "a b".into(), version_id: Some("v+1".into()) };
        assert_eq!(sent(&op), "GET /a%20b?retention=&versionId=v%2B1\n");
        let document =
            |inner: &str| format!("<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</Retention>");
        let xml = document("<Mode>GOVERNANCE</Mode><RetainUntilDate>2018-10-05T00:00:00.000Z</RetainUntilDate>");
        let expected = Retention { mode: LockMode::Governance, until_ms: 1_538_697_600_000 };
        assert_eq!(answer(&op, &[], &xml), Ok(expected));
        let of_versitygw =
            xml.replace("<Retention ", "<ObjectLockRetention ").replace("/Retention>", "/ObjectLockRetention>");
        assert_eq!(answer(&op, &[], &of_versitygw), Ok(expected));
        for bad in
            ["", "<Mode>GOVERNANCE</Mode>", "<Mode>X</Mode><RetainUntilDate>2018-10-05T00:00:00Z</RetainUntilDate>"]
        {
            assert_eq!(refused(&op, &[], &document(bad)), Some(Code::BadReply), "{bad}");
        }
    }
}
