//! GetObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>

use crate::checksum::{Digest, SliceHash};
use crate::error::{Code, Error, Result};
use crate::http::{Method, Range, ReplyBody, ReplyHead};
use crate::mutation::{Mutation, is_active};
use crate::op::{Encryption, Operation, Reply, Unsigned};
use crate::text::presentable;

/// Reads a small object, or a piece of a data object, into memory. With a version id, it needs `s3:GetObjectVersion`.
#[derive(Clone, Debug, Default)]
pub struct GetObject {
    /// The object's key.
    pub key: String,
    /// Size limit of the reply in bytes: a larger one is an error, [`Code::Format`] if its head says the size.
    pub limit: usize,
    /// Version of the object; `None`: the newest.
    pub version_id: Option<String>,
    /// Offset and length in bytes, at least one, of a piece of a data object; `None`: the whole object.
    pub range: Option<(u64, u64)>,
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
        let mut request = Unsigned::object(Method::Get, &self.key).version(self.version_id.as_deref());
        if let Some((start, length)) = self.range {
            request = request.header("range", format!("bytes={start}-{}", last(start, length)));
        }
        let (reply, is_data) = (ReplyBody::Collect { limit: self.limit }, self.range.is_some());
        Unsigned { reply, is_data, ..self.encryption.access(request) }
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        if let Some((start, length)) = self.range {
            let wanted = format!("bytes {start}-{}/", last(start, length));
            let found = head.header("content-range").unwrap_or_default();
            if head.status != 206 || !found.starts_with(&wanted) {
                let (status, found) = (head.status, presentable(found));
                let why =
                    format!("'{wanted}' was requested, and the reply has status {status} and the range '{found}'");
                return Err(Error::new(Code::BadReply, why));
            }
        }
        if let Some(length) = head.header("content-length").and_then(|text| text.parse::<u64>().ok())
            && length > self.limit as u64
        {
            let why = format!("the object has {length} bytes, but at most {} bytes of it are read", self.limit);
            return Err(Error::new(Code::Format, why)
                .with_hint("s3vault writes no such object: look who can write to the bucket."));
        }
        self.encryption.check_read(head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<Vec<u8>> {
        reply.required("etag")?;
        match self.range {
            Some((_, length)) if length != reply.body.len() as u64 => {
                let why = format!("{length} bytes were requested, and {} arrived", reply.body.len());
                Err(Error::new(Code::BadReply, why))
            }
            _ => Ok(std::mem::take(&mut reply.body)),
        }
    }
}

/// Offset of the last byte of a range.
fn last(start: u64, length: u64) -> u64 {
    start.saturating_add(length).saturating_sub(1)
}

/// Number of new bytes after which a broken range counts as progress, so that the attempts before it no longer count.
const PROGRESS: u64 = 64 << 10;

/// Reads a range of a data object, or the rest of it that has not arrived yet; the driver receives the bytes. With a
/// version id, it needs `s3:GetObjectVersion`.
#[derive(Clone, Debug)]
pub struct GetRange {
    /// The object's key.
    pub key: String,
    /// Version of the object; `None`: the newest.
    pub version_id: Option<String>,
    /// ETag without its quotes: another object under the same key is refused. `None` if any is accepted.
    pub etag: Option<String>,
    /// How the object is encrypted: only the key of SSE-C is sent.
    pub encryption: Encryption,
    /// Whether no other range is requested meanwhile: then a store that ignores `Range` may answer with the whole object,
    /// for the driver to take the slice from.
    pub sequential: bool,
    /// The slice of the backup that the range contains.
    pub range: Range,
}

impl GetRange {
    /// Offset of the first byte to request, in the object.
    fn first(&self) -> u64 {
        self.range.start + if is_active(Mutation::RestartBrokenSlice) { 0 } else { self.range.done }
    }

    /// Refuses another object than the one that is named by its ETag.
    fn check_etag(&self, head: &ReplyHead) -> Result<()> {
        let (Some(wanted), Some(found)) = (&self.etag, head.header("etag")) else { return Ok(()) };
        if found.trim_matches('"') == wanted {
            return Ok(());
        }
        let why = format!("the object has the ETag {}, but {wanted} was recorded: it was replaced", presentable(found));
        Err(Error::new(Code::DataMissing, why))
    }

    fn last(&self) -> u64 {
        self.range.start + self.range.stored.saturating_sub(1)
    }

    /// Checks a reply that is the whole object (RFC 9110 §14.2: a server may ignore `Range`).
    fn check_whole(&self, head: &ReplyHead) -> Result<()> {
        let range = &self.range;
        let length = head.header("content-length").and_then(|text| text.parse::<u64>().ok());
        let is_object = range.start == 0 && length == Some(range.stored);
        if range.stored == 0 || is_object {
            return Ok(());
        }
        let (first, wanted) = (self.first(), range.stored - range.done);
        let asked = format!("GetObject of bytes {first}+{wanted} was answered with 200");
        match range.object {
            // A length that is not announced shows when the bytes arrive.
            Some(object) if self.sequential || range.is_object() => match length {
                Some(other) if other != object => {
                    let why = format!("{asked} and {other} bytes, but the object has {object}");
                    Err(Error::new(Code::BadReply, why))
                }
                _ => Ok(()),
            },
            _ => {
                let why = format!("{asked}: the store, or a proxy on the way, ignores the header Range");
                let hint = "Set parallel_download = false: objects are then read from their start in one request each. Or remove the proxy that drops Range, or use another endpoint.";
                Err(Error::new(Code::BadReply, why).with_hint(hint))
            }
        }
    }

    /// Checks that a reply with a part of the object has the range that was requested.
    fn check_part(&self, head: &ReplyHead) -> Result<()> {
        let range = format!("bytes {}-{}/", self.first(), self.last());
        match head.header("content-range") {
            Some(text) if !text.starts_with(&range) => Err(Error::new(
                Code::BadReply,
                format!("the reply has the range '{}', but '{range}' was requested", presentable(text)),
            )),
            // Hashes show that the bytes are those of the range; where nothing is verified, only the header does.
            None if self.range.hash == SliceHash::Nothing => Err(Error::new(
                Code::BadReply,
                format!("the reply has status 206, but no Content-Range: it is not known whether it has '{range}'"),
            )
            .with_hint("Use verify = part or restore into a file, whose parts are verified; or use another endpoint.")),
            _ => Ok(()),
        }
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
        match head.status {
            200 => self.check_whole(head)?,
            206 if self.range.stored > 0 => self.check_part(head)?,
            status => {
                let (first, wanted) = (self.first(), self.range.stored - self.range.done);
                let why = format!("GetObject of bytes {first}+{wanted} was answered with {status}");
                return Err(Error::new(Code::BadReply, why));
            }
        }
        self.check_etag(head)?;
        self.encryption.check_read(head)
    }

    fn progressed(&mut self, length: u64) -> bool {
        let range = &mut self.range;
        let more = length.saturating_sub(range.done);
        range.done = range.done.max(length.min(range.stored.saturating_sub(1)));
        more >= PROGRESS
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<(u64, Digest)> {
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
        let range = Range::of_part(0, start, length);
        let (version_id, encryption) = (Some("v".into()), Encryption::default());
        GetRange { key: "k".into(), version_id, etag: None, encryption, sequential: false, range }
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
    fn a_range_in_memory_is_the_one_that_was_requested_and_whole() {
        let op = GetObject { range: Some((8, 4)), ..GetObject::new("k", 4) };
        assert_eq!(sent(&op), "GET /k\nrange: bytes=8-11\n");
        let head = |status, range: &str| reply(status, &[("content-range", range)]);
        assert!(op.check_head(&head(206, "bytes 8-11/100")).is_ok());
        for other in [head(206, "bytes 8-12/100"), head(200, "bytes 8-11/100"), reply(206, &[])] {
            let e = op.check_head(&other).unwrap_err();
            assert!(e.code() == Code::BadReply && e.message().contains("'bytes 8-11/' was requested"), "{e}");
        }
        let parsed = |body: &[u8]| {
            let head = reply(206, &[("etag", "\"e\"")]);
            op.parse(&mut Reply { head: &head, body: body.to_vec(), range: None })
        };
        assert_eq!(parsed(b"abcd").unwrap(), b"abcd");
        assert_eq!(parsed(b"abc").unwrap_err().code(), Code::BadReply);
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

    fn reply(status: u16, headers: &[(&str, &str)]) -> ReplyHead {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        ReplyHead { status, headers }
    }

    #[test]
    fn another_range_is_refused() {
        let range = |text| reply(206, &[("content-range", text)]);
        assert!(op(8, 4).check_head(&range("bytes 8-11/100")).is_ok());
        for bad in [range("bytes 8-12/100"), range("bytes 0-3/100"), reply(204, &[])] {
            assert_eq!(op(8, 4).check_head(&bad).unwrap_err().code(), Code::BadReply);
        }
        assert!(op(0, 0).check_head(&reply(200, &[])).is_ok());
        assert!(op(0, 0).check_head(&reply(206, &[])).is_err(), "no range was requested");
    }

    #[test]
    fn another_object_under_the_same_key_is_refused_by_its_etag() {
        let range = ("content-range", "bytes 8-11/100");
        let mut op = op(8, 4);
        op.etag = Some("e1".into());
        for head in
            [reply(206, &[range, ("etag", "\"e1\"")]), reply(206, &[range, ("etag", "e1")]), reply(206, &[range])]
        {
            assert!(op.check_head(&head).is_ok(), "{head:?}");
        }
        let e = op.check_head(&reply(206, &[range, ("etag", "\"e2\"")])).unwrap_err();
        assert!(e.code() == Code::DataMissing && e.message().contains("was replaced"), "{e}");
    }

    #[test]
    fn bytes_that_no_hash_verifies_need_a_content_range() {
        let mut op = op(8, 4);
        assert!(op.check_head(&reply(206, &[])).is_ok(), "the part's hashes show which bytes they are");
        op.range.hash = SliceHash::Nothing;
        let e = op.check_head(&reply(206, &[("content-length", "4")])).unwrap_err();
        assert!(e.code() == Code::BadReply && e.message().contains("no Content-Range"), "{e}");
        assert!(op.check_head(&reply(206, &[("content-range", "bytes 8-11/*")])).is_ok());
    }

    #[test]
    fn a_whole_object_is_accepted_for_the_range_that_covers_it_and_otherwise_only_in_sequence() {
        let (whole, unknown, longer) =
            (reply(200, &[("content-length", "12")]), reply(200, &[]), reply(200, &[("content-length", "13")]));
        let mut all = op(0, 12);
        assert!(all.check_head(&whole).is_ok() && all.check_head(&unknown).is_err());
        all.range.object = Some(12);
        assert!(all.check_head(&unknown).is_ok() && all.check_head(&longer).is_err());
        all.range.done = 5;
        assert!(all.check_head(&whole).is_ok(), "the driver drops what it has");
        let mut rest = op(8, 4);
        for object in [None, Some(12)] {
            rest.range.object = object;
            let e = rest.check_head(&whole).unwrap_err();
            assert!(e.code() == Code::BadReply && e.hint().contains("parallel_download = false"), "{e}");
        }
        rest.sequential = true;
        assert!(rest.check_head(&whole).is_ok() && rest.check_head(&unknown).is_ok());
        let e = rest.check_head(&longer).unwrap_err();
        assert!(e.message().contains("200 and 13 bytes, but the object has 12"), "{e}");
    }
}
