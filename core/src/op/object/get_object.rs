//! GetObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>

use crate::checksum::Digest;
use crate::error::{Code, Error, Result};
use crate::http::{Method, Range, ReplyBody, ReplyHead};
use crate::mutation::{Mutation, is_active};
use crate::op::{Encryption, Operation, Reply, Unsigned};
use crate::text::presentable;

/// Reads a small object as a whole. With a version id, it needs `s3:GetObjectVersion`.
#[derive(Clone, Debug, Default)]
pub struct GetObject {
    /// The object's key.
    pub key: String,
    /// Size limit in bytes: a larger object is an error, [`Code::Format`] if the head of the reply says its size.
    pub limit: usize,
    /// Version of the object; `None`: the newest.
    pub version_id: Option<String>,
    /// How the object is encrypted: only the key of SSE-C is sent.
    pub encryption: Encryption,
}

impl GetObject {
    /// A GET of the newest version.
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
        let request = Unsigned::object(Method::Get, &self.key).version(self.version_id.as_deref());
        Unsigned { reply: ReplyBody::Collect { limit: self.limit }, ..self.encryption.access(request) }
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        if let Some(length) = head.header("content-length").and_then(|text| text.parse::<u64>().ok())
            && length > self.limit as u64
        {
            let why = format!("the object has {length} bytes, but at most {} bytes of it are read", self.limit);
            return Err(Error::new(Code::Format, why)
                .with_hint("s3vault writes no such object: look who can write to the bucket."));
        }
        self.encryption.check_accessed(head)
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<Vec<u8>> {
        reply.required("etag")?;
        Ok(reply.body.to_vec())
    }
}

/// Reads a range of a data object, or the rest of it that has not arrived yet; the driver receives the bytes. With a
/// version id, it needs `s3:GetObjectVersion`.
#[derive(Clone, Debug)]
pub struct GetRange {
    /// The object's key.
    pub key: String,
    /// Version of the object; `None`: the newest.
    pub version_id: Option<String>,
    /// How the object is encrypted: only the key of SSE-C is sent.
    pub encryption: Encryption,
    /// Offset of the range in the object, in bytes.
    pub start: u64,
    /// The slice of the backup that the range contains.
    pub range: Range,
}

impl GetRange {
    /// Offset of the first byte to request, in the object.
    fn first(&self) -> u64 {
        self.start + if is_active(Mutation::RestartBrokenSlice) { 0 } else { self.range.done }
    }

    fn last(&self) -> u64 {
        self.start + self.range.stored.saturating_sub(1)
    }
}

impl Operation for GetRange {
    /// Length of the bytes that arrived, and their digest.
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
        if self.range.stored > 0 {
            request = request.header("range", format!("bytes={}-{}", self.first(), self.last()));
        }
        Unsigned { reply: ReplyBody::Range(self.range), ..self.encryption.access(request) }
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        let wanted = if self.range.stored == 0 { 200 } else { 206 };
        if head.status != wanted {
            let length = self.range.stored - self.range.done;
            let why = format!("GetObject of bytes {}+{length} was answered with {}", self.first(), head.status);
            return Err(Error::new(Code::BadReply, why).with_hint(
                "Set parallel_download = false, or use another endpoint: this one does not support ranges.",
            ));
        }
        self.encryption.check_accessed(head)?;
        let range = format!("bytes {}-{}/", self.first(), self.last());
        match head.header("content-range") {
            Some(text) if self.range.stored > 0 && !text.starts_with(&range) => Err(Error::new(
                Code::BadReply,
                format!("the reply has the range '{}', but '{range}' was requested", presentable(text)),
            )),
            _ => Ok(()),
        }
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<(u64, Digest)> {
        reply.range.ok_or_else(|| Error::new(Code::Internal, "a range ended without a digest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn op(start: u64, length: u64) -> GetRange {
        let range = Range::of_part(0, 0, length);
        GetRange { key: "k".into(), version_id: Some("v".into()), encryption: Encryption::default(), start, range }
    }

    /// The examples of the page; those with `Range` and `If-Match` belong to GetRange.
    #[test]
    fn the_documented_examples() {
        let mut op = GetObject::new("my-image.jpg", 100);
        assert_eq!(sent(&op), "GET /my-image.jpg\n");
        let etag = ("etag", "\"fba9dede5f27731c9771645a39863328\"");
        assert_eq!(answer(&op, &[etag], "[434234 bytes of object data]").unwrap(), b"[434234 bytes of object data]");
        assert_eq!(refused(&op, &[], "<html>"), Some(Code::BadReply));
        let length = |text| answer(&op, &[etag, ("content-length", text)], "x").map_err(|e| e.code());
        assert_eq!((length("100"), length("101")), (Ok(b"x".to_vec()), Err(Code::Format)));
        op.version_id = Some("3/L4kqtJlcpXroDTDmpUMLUo".into());
        assert_eq!(sent(&op), "GET /my-image.jpg?versionId=3%2FL4kqtJlcpXroDTDmpUMLUo\n");
    }

    #[test]
    fn a_range_is_requested_by_its_last_byte() {
        let request = op(8, 4).request();
        assert_eq!(request.headers, [("range".to_owned(), "bytes=8-11".into())]);
        assert_eq!(request.query, [("versionId", "v".to_owned())]);
        assert!(op(0, 0).request().headers.is_empty());
        let mut rest = op(8, 4);
        rest.range.done = 3;
        assert_eq!(rest.request().headers, [("range".to_owned(), "bytes=11-11".into())]);
        let head =
            |range: &str| ReplyHead { status: 206, headers: vec![("content-range".to_owned(), range.to_owned())] };
        assert!(rest.check_head(&head("bytes 11-11/100")).is_ok());
        assert_eq!(rest.check_head(&head("bytes 8-11/100")).unwrap_err().code(), Code::BadReply);
    }

    #[test]
    fn another_range_is_refused() {
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
