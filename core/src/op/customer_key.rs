//! Requests that carry a customer key (SSE-C): over TLS only, and with one error code for a key that does not fit.
//!
//! What stores answer to a GET or HEAD of an object (read from AWS's documentation, MinIO, Ceph 16.2, Garage 2.5; HEAD has
//! the same status, without a body):
//!
//! | | AWS, MinIO | Ceph | Garage |
//! |---|---|---|---|
//! | another key | 403 AccessDenied | 400 InvalidArgument | 400 InvalidRequest |
//! | no key | 400 InvalidRequest | 400 InvalidArgument | 400 InvalidRequest |
//! | a key for a plain object | 400 InvalidRequest | 200, does not confirm the key | 400 InvalidRequest |
//!
//! A 403 may also be about permissions, and nothing in the reply tells. The same request *without* the key does: its sender
//! is allowed to read if the store then asks for the key (400), or returns the object. So such a 403 is followed by one HEAD
//! without the key ([`without_key`]), and what it shows decides ([`verdict`]).

use super::Unsigned;
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Method, ReplyBody, ReplyHead};

/// Start of the names of the headers with a customer key.
const HEADERS: &str = "x-amz-server-side-encryption-customer-";
/// Size limit of the body of a reply to HEAD, which has none.
const NO_BODY: usize = 1024;

/// What requests that carry a customer key are refused for over plain HTTP.
pub(super) fn check_channel(operation: &'static str, bucket: &Bucket, key: &str) -> Result<()> {
    if bucket.endpoint().is_tls() || bucket.account().allows_plain_keys() {
        return Ok(());
    }
    let why = format!(
        "{operation} on s3://{}/{} was not sent: it carries an encryption key (SSE-C), and api_url starts with http://, so anyone on the way could read the key",
        bucket.name(),
        crate::text::presentable_key(key)
    );
    Err(Error::new(Code::InvalidOption, why).on(operation, bucket.name(), key).with_hint(
        "Use https:// in api_url. Without TLS, set encryption = envelope: the store then sees no key. For a test, allow_plain_sse_c = true sends the keys all the same.",
    ))
}

/// Whether an operation reads an object, so that a wrong key shows as such.
pub(super) fn is_read(operation: &str) -> bool {
    matches!(operation, "GetObject" | "HeadObject")
}

/// Whether an operation continues an upload, which has the key that it was created with.
fn continues_upload(operation: &str) -> bool {
    matches!(operation, "UploadPart" | "ListParts" | "CompleteMultipartUpload")
}

/// Why a refusal with this status, code and message is about the customer key, if it is; `sent_key`: the request has one.
/// MinIO explains the refusal of a HEAD in headers.
pub(super) fn wrong_key(
    operation: &str,
    sent_key: bool,
    head: &ReplyHead,
    s3_code: &str,
    message: &str,
) -> Option<&'static str> {
    let message = if message.is_empty() { head.header("x-minio-error-desc").unwrap_or_default() } else { message };
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let is_read = is_read(operation);
    if head.status != 400 || !(is_read || continues_upload(operation)) || says(&["version id", "secure connection"]) {
        return None;
    }
    let about_key = says(&[
        "server side encryption",
        "server-side encryption",
        "encryption parameters",
        "encryption key",
        "customer provided key",
        "object is encrypted",
        "plaintext object",
        "hash of the key",
    ]);
    match (sent_key, about_key) {
        (true, true) => Some(OTHER),
        (false, true) => Some(MISSING),
        // The reply to a HEAD says no more than that.
        (true, false) if is_read && matches!(s3_code, "" | "InvalidRequest") => Some(OTHER),
        _ => None,
    }
}

const OTHER: &str =
    "; the key that was sent (SSE-C) is not the one that the object is encrypted with, or the object has none";
const MISSING: &str = "; the object is encrypted with a customer key (SSE-C), and none was sent";

/// The hint where a key does not fit.
pub(super) const HINT: &str = "Check whether somebody replaced the object, or encrypted it with another key, outside of s3vault; restore another version, or from a replica.";

/// The same request as a HEAD without the key.
pub(super) fn without_key(request: Unsigned) -> Unsigned {
    let mut request =
        Unsigned { method: Method::Head, body: Body::Empty, reply: ReplyBody::Collect { limit: NO_BODY }, ..request };
    let is_kept = |name: &str| !name.starts_with(HEADERS) && !matches!(name, "range" | "if-match");
    request.headers.retain(|(name, _)| is_kept(name));
    request
}

/// What the status of a HEAD without the key says about a refusal of the same request with the key. `None`: nothing.
pub(super) fn verdict(status: u16, refusal: &Error) -> Option<Error> {
    let why = match status {
        400 => {
            "; without the key the store asks for one, so these credentials may read the object, and the key that was sent (SSE-C) is not the one that it is encrypted with"
        }
        200..=299 => {
            "; without the key the store returns the object, which is not encrypted with a customer key (SSE-C)"
        }
        401 | 403 | 404 | 405 => return Some(refusal.clone()),
        _ => return None,
    };
    Some(refusal.clone().recode(Code::WrongKey).append(why).with_hint(HINT))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{Answer, Outcome, run};
    use super::*;
    use crate::account::bucket::tests::bucket;
    use crate::http::{Range, Request};
    use crate::op::{CustomerKey, Encryption, GetObject, GetRange, HeadObject, PutObject, UploadPart};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const TLS: (&str, &str) = ("api_url", "https://127.0.0.1:9000");

    fn sse_c() -> Encryption {
        Encryption::SseC(CustomerKey::new([7; 32]))
    }

    fn get(encryption: Encryption) -> GetObject {
        GetObject { encryption, ..GetObject::new("k", 9) }
    }

    fn head(encryption: Encryption) -> HeadObject {
        HeadObject { key: "k".into(), encryption, ..HeadObject::default() }
    }

    fn reply(status: u16, code: &str, message: &str) -> Answer {
        let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        Answer::Reply(status, vec![], if code.is_empty() { String::new() } else { body })
    }

    fn over_tls<O: super::super::Operation + Send + 'static>(op: O, answers: Vec<Answer>) -> Outcome<O::Reply> {
        run(&Arc::new(bucket(&[TLS]).unwrap()), op, answers, |_| false)
    }

    fn has_key(request: &Request) -> bool {
        request.headers.iter().any(|(name, _)| name.starts_with(HEADERS))
    }

    #[test]
    fn no_key_is_sent_over_plain_http() {
        let plain = Arc::new(bucket(&[]).unwrap());
        let refused = |sent: Vec<Request>, e: Error| {
            assert!(sent.is_empty(), "{sent:?}");
            assert!(e.code() == Code::InvalidOption && e.message().contains("s3://bkt/k was not sent"), "{e}");
            assert!(e.hint().contains("https://") && e.hint().contains("envelope"), "{e}");
        };
        let outcome = run(&plain, get(sse_c()), vec![], |_| false);
        refused(outcome.sent, outcome.result.unwrap_err());
        let outcome = run(&plain, head(sse_c()), vec![], |_| false);
        refused(outcome.sent, outcome.result.unwrap_err());
        let put = PutObject::new("k", crate::op::Content::Bytes("x".into()), vec![]);
        let outcome = run(&plain, PutObject { encryption: sse_c(), ..put }, vec![], |_| false);
        refused(outcome.sent, outcome.result.unwrap_err());
        let part =
            crate::http::Part { number: 1, offset: 0, length: 1, stored: 1, digest: None, md5: None, salt: None };
        let (key, upload_id) = ("k".into(), "u".into());
        let part = UploadPart { key, upload_id, number: 1, part, encryption: sse_c() };
        let outcome = run(&plain, part, vec![], |_| false);
        refused(outcome.sent, outcome.result.unwrap_err());
        let source = crate::op::CopySource { customer_key: Some(CustomerKey::new([8; 32])), ..Default::default() };
        let copy = crate::op::CopyObject { key: "k".into(), source, ..Default::default() };
        let outcome = run(&plain, copy, vec![], |_| false);
        refused(outcome.sent, outcome.result.unwrap_err());
    }

    #[test]
    fn a_key_is_sent_over_tls_or_where_the_settings_allow_it() {
        for settings in [&[TLS][..], &[("allow_plain_sse_c", "true")]] {
            let bucket = Arc::new(bucket(settings).unwrap());
            let outcome = run(&bucket, get(sse_c()), vec![reply(404, "NoSuchKey", "")], |_| false);
            assert!(outcome.sent.len() == 1 && has_key(&outcome.sent[0]), "{settings:?}");
        }
        let plain = Arc::new(bucket(&[]).unwrap());
        for encryption in [Encryption::BucketDefault, Encryption::SseS3] {
            let outcome = run(&plain, get(encryption), vec![reply(404, "NoSuchKey", "")], |_| false);
            assert_eq!(outcome.sent.len(), 1, "without a key");
        }
    }

    /// The replies were read from the stores.
    #[test]
    fn another_key_and_a_key_for_a_plain_object_are_wrong_keys() {
        for (s3_code, message) in [
            ("InvalidArgument", "The calculated MD5 hash of the key did not match the hash that was provided."),
            ("InvalidRequest", "Bad request: Invalid encryption key, could not decrypt object metadata.: aead::Error"),
            ("InvalidRequest", "The encryption parameters are not applicable to this object."),
            ("InvalidRequest", "Bad request: Trying to decrypt a plaintext object"),
            ("InvalidRequest", ""),
        ] {
            let e = over_tls(get(sse_c()), vec![reply(400, s3_code, message)]).result.unwrap_err();
            assert!(e.code() == Code::WrongKey && e.message().contains("is not the one"), "{e}");
            assert_eq!((e.status(), e.s3_code()), (400, s3_code));
        }
        let e = over_tls(head(sse_c()), vec![reply(400, "", "")]).result.unwrap_err();
        assert!(e.code() == Code::WrongKey && e.message().contains("was answered with 400;"), "{e}");
    }

    #[test]
    fn a_missing_key_is_a_wrong_key() {
        for (s3_code, message) in [
            (
                "InvalidRequest",
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
            ),
            (
                "InvalidArgument",
                "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.",
            ),
            ("InvalidRequest", "Bad request: Object is encrypted"),
        ] {
            let e = over_tls(get(Encryption::BucketDefault), vec![reply(400, s3_code, message)]).result.unwrap_err();
            assert!(e.code() == Code::WrongKey && e.message().contains("none was sent"), "{e}");
        }
        let minio = "\"The object was stored using a form of Server Side Encryption.\"";
        let answer = Answer::Reply(400, vec![("x-minio-error-desc", minio.into())], String::new());
        assert_eq!(over_tls(head(Encryption::BucketDefault), vec![answer]).result.unwrap_err().code(), Code::WrongKey);
    }

    #[test]
    fn what_is_not_about_the_key_keeps_its_code() {
        let version = "Invalid version id specified";
        for (op, answer, code) in [
            (get(sse_c()), reply(400, "InvalidArgument", version), Code::Store),
            (get(sse_c()), reply(404, "NoSuchKey", ""), Code::NotFound),
            (get(sse_c()), reply(400, "ExpiredToken", ""), Code::AccessDenied),
            (get(Encryption::BucketDefault), reply(400, "InvalidRequest", "Why"), Code::Store),
            (get(Encryption::BucketDefault), reply(403, "AccessDenied", ""), Code::AccessDenied),
        ] {
            let outcome = over_tls(op, vec![answer]);
            assert_eq!((outcome.result.unwrap_err().code(), outcome.sent.len()), (code, 1));
        }
        let put = PutObject::new("k", crate::op::Content::Bytes("x".into()), vec![]);
        let put = PutObject { encryption: sse_c(), ..put };
        let refusal = "Server Side Encryption with Customer provided keys is disabled";
        let e = over_tls(put, vec![reply(400, "InvalidRequest", refusal)]).result.unwrap_err();
        assert_eq!(e.code(), Code::Store, "a new object has no other key");
    }

    /// A 403 is about the key, or about permissions: one request without the key tells.
    #[test]
    fn a_permission_that_is_missing_is_not_a_wrong_key() {
        let denied = || reply(403, "AccessDenied", "Access Denied.");
        for (without, code, says) in [
            (400, Code::WrongKey, "these credentials may read the object"),
            (200, Code::WrongKey, "is not encrypted with a customer key"),
            (403, Code::AccessDenied, ""),
            (404, Code::AccessDenied, ""),
        ] {
            let of = |sent: &[Request], e: Error| {
                assert!(e.code() == code && e.message().contains(says) && e.status() == 403, "{without}: {e}");
                assert!(e.message().contains("403"), "{e}");
                let [first, second] = sent else { panic!("{sent:?}") };
                assert!(has_key(first) && !has_key(second));
                assert_eq!((second.method, &second.url), (Method::Head, &first.url));
            };
            let outcome = over_tls(get(sse_c()), vec![denied(), reply(without, "", "")]);
            of(&outcome.sent, outcome.result.unwrap_err());
            let outcome = over_tls(head(sse_c()), vec![reply(403, "", ""), reply(without, "", "")]);
            of(&outcome.sent, outcome.result.unwrap_err());
            let range = Range::of_part(0, 0, 5);
            let (key, version_id, encryption) = ("k".into(), Some("v".into()), sse_c());
            let range = GetRange { key, version_id, etag: Some("e".into()), encryption, sequential: false, range };
            let outcome = over_tls(range, vec![denied(), reply(without, "", "")]);
            assert!(!outcome.sent[1].headers.iter().any(|(name, _)| name == "range" || name == "if-match"));
            of(&outcome.sent, outcome.result.unwrap_err());
        }
        let outcome = over_tls(get(sse_c()), vec![denied(), Answer::Lost, reply(503, "", ""), reply(400, "", "")]);
        assert_eq!(outcome.result.unwrap_err().code(), Code::WrongKey, "it is asked again");
        let outcome = over_tls(get(sse_c()), vec![denied(), reply(501, "", "")]);
        assert_eq!(outcome.result.unwrap_err().code(), Code::AccessDenied, "nothing more is known");
    }
}
