//! What a store's refusal means. Source: "Error responses", S3 API reference, and stores' own dialects.

use super::{Operation, Place};
use crate::error::{Code, Error};
use crate::http::ReplyHead;
use crate::store::Store;
use crate::time::parse_rfc3339;
use crate::xml::{self, Item};

/// The document `<Error>`.
#[derive(Debug, Default)]
struct Document {
    code: String,
    message: String,
    region: String,
    request_id: String,
    server_time: String,
}

fn document(body: &[u8]) -> Option<Document> {
    let mut found = Document::default();
    xml::read(body, "Error", |item| {
        if let Item::Value("Error", name, text) = item {
            let (field, most) = match name {
                "Code" => (&mut found.code, 64),
                "Message" => (&mut found.message, 400),
                "Region" => (&mut found.region, 64),
                "RequestId" => (&mut found.request_id, 128),
                "ServerTime" => (&mut found.server_time, 64),
                _ => return Ok(()),
            };
            *field = presentable(text, most);
        }
        Ok(())
    })
    .ok()?;
    Some(found)
}

/// Text of a store as it may stand in a message: no control characters, which could forge a log, and no more than `most`
/// bytes and a few.
fn presentable(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.trim().chars() {
        if out.len() >= most {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Whether a body is an `<Error>` document: some operations send one with status 200.
pub(super) fn is_error(body: &[u8]) -> bool {
    // Most bodies are not, and large: their first bytes tell.
    let begin = body.trim_ascii_start();
    begin.starts_with(b"<")
        && begin[..begin.len().min(512)].windows(6).any(|window| window == b"<Error")
        && document(body).is_some_and(|found| !found.code.is_empty())
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|window| window == words)
}

/// Whether a body is a page for people.
pub(super) fn is_html(body: &[u8]) -> bool {
    let begin = body.trim_ascii_start();
    let begin = begin[..begin.len().min(64)].to_ascii_lowercase();
    begin.starts_with(b"<!doctype html") || begin.starts_with(b"<html")
}

/// A failed attempt: its error, and what was learned from it.
pub(super) struct Refusal {
    pub(super) error: Error,
    /// The region that the store names for the bucket.
    pub(super) region: Option<String>,
    /// The store's time, where the refusal says it.
    pub(super) server_ms: Option<i64>,
    /// The header `Retry-After`.
    pub(super) retry_after: Option<String>,
    /// The keys were refused, so that others may help.
    pub(super) about_keys: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { error, region: None, server_ms: None, retry_after: None, about_keys: false }
    }
}

/// What helps when keys are refused or have expired.
pub(super) const RENEW: &str =
    "The temporary keys have expired or do not belong together: set access_key, secret_key and session_token anew.";

/// The error of a reply that is not what was asked for.
pub(super) fn refusal<O: Operation>(op: &O, store: &Store, place: &Place, head: &ReplyHead, body: &[u8]) -> Refusal {
    let found = document(body);
    let is_nonsense = found.is_none() && !body.is_empty();
    let found = found.unwrap_or_default();
    let request_id = head.header("x-amz-request-id").map_or(found.request_id.clone(), |id| presentable(id, 128));

    let mut message = format!("{} on {} was answered with {}", O::NAME, describe(&store.bucket, place), head.status);
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
    let (mut code, retryable) = classify(head.status, &found.code, is_nonsense);
    // The answer to HeadBucket has no body that could say so.
    if code == Code::NotFound && found.code.is_empty() && matches!(place, Place::Bucket) {
        code = Code::NoSuchBucket;
    }
    let mut error = Error::new(code, message).on(O::NAME, &store.bucket, place.key()).with_reply(
        head.status,
        &found.code,
        &request_id,
    );
    let region = head.header("x-amz-bucket-region").unwrap_or(&found.region);
    if let Some(hint) = hint(op, code, &found.code, region, place, store, body) {
        error = error.with_hint(hint);
    }
    let server_ms = parse_rfc3339(&found.server_time);
    Refusal {
        error: if retryable { error.retryable() } else { error },
        region: (code == Code::WrongRegion && !region.is_empty()).then(|| region.to_owned()),
        server_ms,
        retry_after: head.header("retry-after").map(str::to_owned),
        about_keys: is_about_keys(&found.code),
    }
}

/// Refusals that other keys may not meet: expired ones, deleted ones, and a secret that was rotated.
fn is_about_keys(s3_code: &str) -> bool {
    matches!(
        s3_code,
        "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidAccessKeyId"
            | "XAdminUserNotFound"
            | "SignatureDoesNotMatch"
    )
}

/// What helps, where more is known than the code's own hint says.
fn hint<O: Operation>(
    op: &O,
    code: Code,
    s3_code: &str,
    region: &str,
    place: &Place,
    store: &Store,
    body: &[u8],
) -> Option<String> {
    match code {
        Code::WrongRegion if !region.is_empty() => Some(format!("Set region = {region}.")),
        Code::AccessDenied if is_about_keys(s3_code) => Some(RENEW.into()),
        Code::AccessDenied => {
            let (bucket, object) = (&store.bucket, if place.key().is_empty() { "" } else { "/*" });
            let also = match place {
                // Without s3:ListBucket a key that is not there is answered with 403, not 404.
                Place::Object(_) if matches!(O::NAME, "GetObject" | "HeadObject") => {
                    format!(" Without s3:ListBucket on arn:aws:s3:::{bucket} it may also mean that there is no such object.")
                }
                _ => String::new(),
            };
            let resource = if matches!(place, Place::Service) { "*".into() } else { format!("arn:aws:s3:::{bucket}{object}") };
            Some(format!("Give the access key the permission {} on {resource}.{also}", op.action()))
        }
        Code::NoSuchBucket if !store.has_bucket_in_host() => None,
        Code::NoSuchBucket => Some("Check bucket and api_url; if the store has no virtual hosts, set path_style = true.".into()),
        // A page in front of a store that may be well.
        Code::Unavailable if is_html(body) => Some(
            "A proxy answers in the store's place (setting proxy, or one in between): try again later, and look at the proxy.".into(),
        ),
        // Go's and nginx's words to a client that speaks http:// to a port for TLS.
        Code::BadReply if [&b"HTTPS server"[..], b"HTTPS port"].iter().any(|words| contains(body, words)) => {
            Some("The port is for TLS: begin api_url with https://.".into())
        }
        Code::BadReply if is_html(body) => Some(
            "A page for people came: check that api_url is an S3 endpoint, and whether a proxy (setting proxy, or one in between) answers in its place."
                .into(),
        ),
        Code::Store | Code::Unavailable => match s3_code {
            "XAmzContentSHA256Mismatch" if O::NAME == "UploadPart" => Some(
                "The store may not take a checksum in a trailer: set provider to its name (ceph knows none).".into(),
            ),
            "NotImplemented" => {
                Some(format!("The store does not have {}: set provider to its name, or use another store.", O::NAME))
            }
            "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "StorageFull" => {
                Some("The store is full, or the bucket's quota is used up: free space there, or raise the quota.".into())
            }
            "InvalidObjectState" => Some("The object is in an archive: it has to be restored there first.".into()),
            "InvalidStorageClass" => Some("The store does not have this class: change storage_class.".into()),
            "EntityTooLarge" => Some("The store's limits are lower than those that are assumed: set provider to its name.".into()),
            "KeyTooLongError" => Some("The store's keys are shorter: use shorter names.".into()),
            _ => None,
        },
        _ => None,
    }
}

fn classify(status: u16, s3_code: &str, is_nonsense: bool) -> (Code, bool) {
    match s3_code {
        "SignatureDoesNotMatch" => return (Code::SignatureRefused, false),
        "InvalidAccessKeyId" | "XAdminUserNotFound" => return (Code::UnknownAccessKey, false),
        "RequestTimeTooSkewed" => return (Code::ClockSkew, false),
        "NoSuchBucket" => return (Code::NoSuchBucket, false),
        "NoSuchKey" | "NoSuchVersion" => return (Code::NotFound, false),
        "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired" => {
            return (Code::AccessDenied, false);
        }
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            return (Code::WrongRegion, false);
        }
        // A 403 of S3 that is not about permissions.
        "InvalidObjectState" => return (Code::Store, false),
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "OperationAborted" => {
            return (Code::Unavailable, true);
        }
        // The bytes changed on the way: the same bytes again may arrive whole.
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentChecksumMismatch"
        | "XAmzContentSHA256Mismatch"
        | "IncompleteBody" => {
            return (Code::Store, true);
        }
        _ => {}
    }
    match status {
        301 | 307 | 308 => (Code::WrongRegion, false),
        401 | 403 if is_nonsense => (Code::BadReply, false),
        401 | 403 => (Code::AccessDenied, false),
        404 if !is_nonsense => (Code::NotFound, false),
        408 | 429 | 500 | 502 | 503 | 504 => (Code::Unavailable, true),
        _ if is_nonsense || status < 400 => (Code::BadReply, false),
        _ => (Code::Store, false),
    }
}

/// `s3://bucket/key`, or the bucket alone.
pub(super) fn describe(bucket: &str, place: &Place) -> String {
    match place {
        Place::Service => "the store".into(),
        Place::Bucket => format!("bucket {bucket}"),
        Place::Object(key) => format!("s3://{bucket}/{key}"),
    }
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
    use crate::op::{GetObject, HeadBucket, UploadPart};
    use crate::store::tests::store;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn error(status: u16, headers: &[(&str, &str)], body: &str) -> Error {
        let headers = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let head = ReplyHead { status, headers };
        refusal(&GetObject::new("k", 9), &store(&[]).unwrap(), &Place::Object("k".into()), &head, body.as_bytes()).error
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
            (400, "XAmzContentSHA256Mismatch", Code::Store, true),
            (400, "InvalidPart", Code::Store, false),
            (404, "NoSuchUpload", Code::NotFound, false),
        ] {
            let e = error(status, &[], &xml(s3_code));
            assert_eq!((e.code(), e.is_retryable()), (code, retryable), "{s3_code}");
        }
    }

    #[test]
    fn what_helps_is_known_for_the_stores_own_limits() {
        for (status, s3_code, says) in [
            (501, "NotImplemented", "does not have GetObject"),
            (507, "XMinioStorageFull", "free space"),
            (403, "InvalidObjectState", "archive"),
            (400, "InvalidStorageClass", "storage_class"),
            (400, "EntityTooLarge", "provider"),
            (400, "KeyTooLongError", "shorter names"),
        ] {
            let e = error(status, &[], &format!("<Error><Code>{s3_code}</Code></Error>"));
            assert!(e.hint().contains(says), "{s3_code}: {e:?}");
        }
        let part = UploadPart {
            key: "k".into(),
            upload_id: "u".into(),
            number: 1,
            part: crate::http::Part { number: 1, offset: 0, length: 1, digest: None },
        };
        let head = ReplyHead { status: 400, headers: vec![] };
        let body = b"<Error><Code>XAmzContentSHA256Mismatch</Code></Error>";
        let e = refusal(&part, &store(&[]).unwrap(), &Place::Object("k".into()), &head, body).error;
        assert!(e.hint().contains("provider"), "{e}");
    }

    #[test]
    fn what_a_store_says_cannot_flood_or_forge_a_log() {
        let body = format!("<Error><Code>A&#10;B</Code><Message>{}</Message></Error>", "x".repeat(60_000));
        let e = error(400, &[("x-amz-request-id", &"r".repeat(9_000))], &body);
        assert!(e.message().len() < 1_000 && !e.message().contains('\n'), "{e}");
        assert!(e.s3_code() == "A\\nB" && e.request_id().len() < 200);
    }

    #[test]
    fn a_bare_404_to_a_request_for_the_bucket_means_the_bucket() {
        let head = ReplyHead { status: 404, headers: Vec::new() };
        let store = store(&[]).unwrap();
        let e = refusal(&HeadBucket, &store, &Place::Bucket, &head, b"").error;
        assert_eq!((e.code(), e.s3_code()), (Code::NoSuchBucket, ""));
        let body = b"<Error><Code>NoSuchUpload</Code></Error>";
        assert_eq!(refusal(&HeadBucket, &store, &Place::Bucket, &head, body).error.code(), Code::NotFound);
    }

    #[test]
    fn answers_that_are_not_s3s() {
        let e = error(404, &[], "<html><body>No   such\n page</body></html>");
        assert_eq!(e.code(), Code::BadReply);
        assert!(e.message().ends_with("not S3's: '<html><body>No such page</body></html>'"), "{e}");
        let e = error(503, &[], "<html>");
        assert!(e.code() == Code::Unavailable && e.hint().contains("proxy"), "{e}");
        let e = error(400, &[], "Client sent an HTTP request to an HTTPS server.\n");
        assert!(e.code() == Code::BadReply && e.hint().contains("https://"), "{e}");
        assert_eq!(error(403, &[], "").code(), Code::AccessDenied);
        assert_eq!(error(404, &[], "").code(), Code::NotFound);
        let e = error(301, &[("x-amz-bucket-region", "eu-west-1")], "");
        assert_eq!((e.code(), e.hint()), (Code::WrongRegion, "Set region = eu-west-1."));
    }
}
