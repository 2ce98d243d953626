//! What a store's refusal means. Source: "Error responses", S3 API reference, and stores' own dialects.

use super::Unsigned;
use crate::error::{Code, Error};
use crate::http::ReplyHead;
use crate::store::Store;
use crate::xml::{self, Item};

/// The document `<Error>`.
#[derive(Debug, Default)]
struct Document {
    code: String,
    message: String,
    region: String,
    request_id: String,
}

fn document(body: &[u8]) -> Option<Document> {
    let mut found = Document::default();
    xml::read(body, "Error", |item| {
        if let Item::Value("Error", name, text) = item {
            match name {
                "Code" => found.code = text.to_owned(),
                "Message" => found.message = text.to_owned(),
                "Region" => found.region = text.to_owned(),
                "RequestId" => found.request_id = text.to_owned(),
                _ => {}
            }
        }
        Ok(())
    })
    .ok()?;
    Some(found)
}

/// Whether a body is an `<Error>` document: some operations send one with status 200.
pub(super) fn is_error(body: &[u8]) -> bool {
    document(body).is_some_and(|found| !found.code.is_empty())
}

/// The error of a reply that is not what was asked for.
pub(super) fn refusal(
    operation: &'static str,
    store: &Store,
    request: &Unsigned,
    head: &ReplyHead,
    body: &[u8],
) -> Error {
    let key = request.key.as_deref().unwrap_or("");
    let found = document(body);
    let is_nonsense = found.is_none() && !body.is_empty();
    let found = found.unwrap_or_default();
    let request_id = head.header("x-amz-request-id").unwrap_or(&found.request_id).to_owned();

    let mut message = format!("{operation} on {} was answered with {}", place(store, key), head.status);
    for part in [&found.code, &found.message] {
        if !part.is_empty() {
            message.push_str(if part == &found.code { " " } else { ": " });
            message.push_str(part.trim_end_matches('.'));
        }
    }
    if is_nonsense {
        message.push_str(&format!(" and a body that is not S3's: {}", excerpt(body)));
    }
    if !request_id.is_empty() {
        message.push_str(&format!(" [request id {request_id}]"));
    }
    let (code, retryable) = classify(head.status, &found.code, is_nonsense);
    let mut error =
        Error::new(code, message).on(operation, &store.bucket, key).with_reply(head.status, &found.code, &request_id);
    if code == Code::WrongRegion {
        let region = head.header("x-amz-bucket-region").unwrap_or(&found.region);
        if !region.is_empty() {
            error = error.with_hint(format!("Set region = {region}."));
        }
    }
    if code == Code::AccessDenied && matches!(found.code.as_str(), "ExpiredToken" | "InvalidToken") {
        error = error.with_hint("The temporary keys have expired or do not belong together: set access_key, secret_key and session_token anew.");
    }
    if retryable { error.retryable() } else { error }
}

fn classify(status: u16, s3_code: &str, is_nonsense: bool) -> (Code, bool) {
    match s3_code {
        "SignatureDoesNotMatch" => return (Code::SignatureRefused, false),
        "InvalidAccessKeyId" | "XAdminUserNotFound" => return (Code::UnknownAccessKey, false),
        "RequestTimeTooSkewed" => return (Code::ClockSkew, false),
        "NoSuchBucket" => return (Code::NoSuchBucket, false),
        "NoSuchKey" | "NoSuchVersion" => return (Code::NotFound, false),
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            return (Code::WrongRegion, false);
        }
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "OperationAborted" => {
            return (Code::Unavailable, true);
        }
        // The bytes changed on the way: the same bytes again may arrive whole.
        "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch" | "IncompleteBody" => return (Code::Store, true),
        _ => {}
    }
    match status {
        301 | 307 | 308 => (Code::WrongRegion, false),
        401 | 403 => (Code::AccessDenied, false),
        404 if !is_nonsense => (Code::NotFound, false),
        408 | 429 | 500 | 502 | 503 | 504 => (Code::Unavailable, true),
        _ if is_nonsense || status < 400 => (Code::BadReply, false),
        _ => (Code::Store, false),
    }
}

/// `s3://bucket/key`, or the bucket alone.
pub(super) fn place(store: &Store, key: &str) -> String {
    if key.is_empty() { format!("bucket {}", store.bucket) } else { format!("s3://{}/{key}", store.bucket) }
}

/// The begin of a body that nobody expected, fit to be shown.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(160)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    format!("'{}'", words.join(" ").escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use crate::store::tests::store;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn error(status: u16, headers: &[(&str, &str)], body: &str) -> Error {
        let headers = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let request = Unsigned::new(Method::Get, Some("k"));
        refusal("GetObject", &store(&[]).unwrap(), &request, &ReplyHead { status, headers }, body.as_bytes())
    }

    #[test]
    fn each_refusal_says_what_was_tried_what_came_back_and_what_helps() {
        let xml =
            |code: &str| format!("<Error><Code>{code}</Code><Message>Why.</Message><RequestId>R1</RequestId></Error>");
        let e = error(403, &[], &xml("SignatureDoesNotMatch"));
        assert_eq!(
            e.message(),
            "GetObject on s3://bkt/k was answered with 403 SignatureDoesNotMatch: Why [request id R1]"
        );
        assert_eq!(
            (e.code(), e.status(), e.s3_code(), e.request_id()),
            (Code::SignatureRefused, 403, "SignatureDoesNotMatch", "R1")
        );
        for (status, s3_code, code, retryable) in [
            (403, "InvalidAccessKeyId", Code::UnknownAccessKey, false),
            (403, "AccessDenied", Code::AccessDenied, false),
            (403, "RequestTimeTooSkewed", Code::ClockSkew, false),
            (404, "NoSuchBucket", Code::NoSuchBucket, false),
            (404, "NoSuchKey", Code::NotFound, false),
            (400, "AuthorizationHeaderMalformed", Code::WrongRegion, false),
            (503, "SlowDown", Code::Unavailable, true),
            (400, "RequestTimeout", Code::Unavailable, true),
            (400, "BadDigest", Code::Store, true),
            (400, "InvalidPart", Code::Store, false),
            (404, "NoSuchUpload", Code::NotFound, false),
        ] {
            let e = error(status, &[], &xml(s3_code));
            assert_eq!((e.code(), e.is_retryable()), (code, retryable), "{s3_code}");
        }
    }

    #[test]
    fn answers_that_are_not_s3s() {
        let e = error(404, &[], "<html><body>No   such\n page</body></html>");
        assert_eq!(e.code(), Code::BadReply);
        assert!(e.message().ends_with("not S3's: '<html><body>No such page</body></html>'"), "{e}");
        assert_eq!(error(503, &[], "<html>").code(), Code::Unavailable);
        assert_eq!(error(403, &[], "").code(), Code::AccessDenied);
        assert_eq!(error(404, &[], "").code(), Code::NotFound);
        let e = error(301, &[("x-amz-bucket-region", "eu-west-1")], "");
        assert_eq!((e.code(), e.hint()), (Code::WrongRegion, "Set region = eu-west-1."));
    }
}
