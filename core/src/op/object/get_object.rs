//! GetObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>

use super::CustomerKey;
use crate::checksum::Digest;
use crate::error::{Code, Error, Result};
use crate::http::{Method, Range, ReplyBody, ReplyHead};
use crate::mutation::{Mutation, is_active};
use crate::op::{Operation, Reply, Unsigned};

/// A small object, whole. With a version id it needs `s3:GetObjectVersion`.
#[derive(Clone, Debug, Default)]
pub struct GetObject {
    /// The object's key.
    pub key: String,
    /// More than so many bytes is an error.
    pub limit: usize,
    /// Which version; the newest where there is none.
    pub version_id: Option<String>,
    /// The key that it is encrypted with, for SSE-C.
    pub customer_key: Option<CustomerKey>,
}

impl GetObject {
    /// The newest version.
    pub fn new(key: impl Into<String>, limit: usize) -> GetObject {
        GetObject { key: key.into(), limit, ..GetObject::default() }
    }
}

impl Operation for GetObject {
    type Reply = Vec<u8>;
    const NAME: &'static str = "GetObject";
    const ACTION: &'static str = "s3:GetObject";

    fn action(&self) -> &'static str {
        if self.version_id.is_some() { "s3:GetObjectVersion" } else { Self::ACTION }
    }

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::object(Method::Get, &self.key)
            .version(self.version_id.as_deref())
            .customer_key(self.customer_key.as_ref());
        request.reply = ReplyBody::Collect { limit: self.limit };
        request
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<Vec<u8>> {
        reply.required("etag")?;
        Ok(reply.body.to_vec())
    }
}

/// A range of a data object, or what did not arrive of it yet; the driver takes it. With a version id it needs `s3:GetObjectVersion`.
#[derive(Clone, Debug)]
pub struct GetRange {
    /// The object's key.
    pub key: String,
    /// Which version; the newest where there is none.
    pub version_id: Option<String>,
    /// Where the range begins in the object, in bytes.
    pub begin: u64,
    /// Where it belongs in the backup.
    pub range: Range,
}

impl GetRange {
    /// The first byte that is asked for, in the object.
    fn first(&self) -> u64 {
        self.begin + if is_active(Mutation::RestartBrokenSlice) { 0 } else { self.range.done }
    }

    fn last(&self) -> u64 {
        self.begin + self.range.length.saturating_sub(1)
    }
}

impl Operation for GetRange {
    /// How many bytes came, and what they were.
    type Reply = (u64, Digest);
    const NAME: &'static str = "GetObject";
    const ACTION: &'static str = "s3:GetObject";
    const PAYLOAD: bool = true;

    fn action(&self) -> &'static str {
        if self.version_id.is_some() { "s3:GetObjectVersion" } else { Self::ACTION }
    }

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::object(Method::Get, &self.key).version(self.version_id.as_deref());
        // No range of an empty object can be satisfied.
        if self.range.length > 0 {
            request = request.header("range", format!("bytes={}-{}", self.first(), self.last()));
        }
        request.reply = ReplyBody::Range(self.range);
        request
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        let wanted = if self.range.length == 0 { 200 } else { 206 };
        if head.status != wanted {
            let length = self.range.length - self.range.done;
            let why = format!("GetObject of bytes {}+{length} was answered with {}", self.first(), head.status);
            return Err(Error::new(Code::BadReply, why).with_hint(
                "The store does not serve ranges: set parallel_download = false, or use another endpoint.",
            ));
        }
        let range = format!("bytes {}-{}/", self.first(), self.last());
        match head.header("content-range") {
            Some(text) if self.range.length > 0 && !text.starts_with(&range) => {
                Err(Error::new(Code::BadReply, format!("another range than '{range}' came: '{text}'")))
            }
            _ => Ok(()),
        }
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<(u64, Digest)> {
        reply.range.ok_or_else(|| Error::new(Code::Internal, "a range ended without its digest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn op(begin: u64, length: u64) -> GetRange {
        let range = Range::of_part(0, 0, length);
        GetRange { key: "k".into(), version_id: Some("v".into()), begin, range }
    }

    /// The page's examples; `Range` and `If-Match` are GetRange's.
    #[test]
    fn the_documented_examples() {
        let mut op = GetObject::new("my-image.jpg", 100);
        assert_eq!(sent(&op), "GET /my-image.jpg\n");
        let etag = ("etag", "\"fba9dede5f27731c9771645a39863328\"");
        assert_eq!(answer(&op, &[etag], "[434234 bytes of object data]").unwrap(), b"[434234 bytes of object data]");
        assert_eq!(refused(&op, &[], "<html>"), Some(Code::BadReply));
        op.version_id = Some("3/L4kqtJlcpXroDTDmpUMLUo".into());
        assert_eq!(sent(&op), "GET /my-image.jpg?versionId=3%2FL4kqtJlcpXroDTDmpUMLUo\n");
        op.customer_key = Some(CustomerKey::new([1; 32]));
        assert_eq!(op.request().headers.len(), 3);
    }

    #[test]
    fn a_range_is_asked_for_by_its_last_byte() {
        let request = op(8, 4).request();
        assert_eq!(request.headers, [("range".to_owned(), "bytes=8-11".to_owned())]);
        assert_eq!(request.query, [("versionId", "v".to_owned())]);
        assert!(op(0, 0).request().headers.is_empty());
        let mut rest = op(8, 4);
        rest.range.done = 3;
        assert_eq!(rest.request().headers, [("range".to_owned(), "bytes=11-11".to_owned())]);
        let head =
            |range: &str| ReplyHead { status: 206, headers: vec![("content-range".to_owned(), range.to_owned())] };
        assert!(rest.check_head(&head("bytes 11-11/100")).is_ok());
        assert_eq!(rest.check_head(&head("bytes 8-11/100")).unwrap_err().code(), Code::BadReply);
    }

    #[test]
    fn another_range_is_not_taken() {
        let head = |status, range: Option<&str>| ReplyHead {
            status,
            headers: range.map(|r| ("content-range".to_owned(), r.to_owned())).into_iter().collect(),
        };
        assert!(op(8, 4).check_head(&head(206, Some("bytes 8-11/100"))).is_ok());
        assert!(op(0, 0).check_head(&head(200, None)).is_ok());
        for bad in [head(200, None), head(206, Some("bytes 8-12/100")), head(206, Some("bytes 0-3/100"))] {
            assert_eq!(op(8, 4).check_head(&bad).unwrap_err().code(), Code::BadReply);
        }
    }
}
