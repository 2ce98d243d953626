//! Error replies of stores: what they mean, and the hint for each. Source: "Error responses", S3 API reference, and the
//! stores' own variations.

use super::call::COMPRESSED;
use super::customer_key;
use super::{Operation, Place};
use crate::account::Bucket;
use crate::error::{Code, Error};
use crate::http::ReplyHead;
use crate::text::{presentable, presentable_key, presentable_up_to};
use crate::time::parse_rfc3339;
use crate::xml::{self, Item};

/// The `<Error>` document.
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
            let (field, limit) = match name {
                "Code" => (&mut found.code, 64),
                "Message" => (&mut found.message, 400),
                "Region" => (&mut found.region, 64),
                "RequestId" => (&mut found.request_id, 128),
                "ServerTime" => (&mut found.server_time, 64),
                _ => return Ok(()),
            };
            *field = presentable_up_to(limit, text.trim());
        }
        Ok(())
    })
    .ok()?;
    Some(found)
}

/// Whether a text can be the name of a region: requests are signed with it, and it is a part of AWS's host names.
fn is_region(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Whether a body is an `<Error>` document: some operations answer with one and status 200.
pub(super) fn is_error(body: &[u8]) -> bool {
    // Most bodies are not, and are large: the first bytes show it.
    let start = body.trim_ascii_start();
    start.starts_with(b"<")
        && start[..start.len().min(512)].windows(6).any(|window| window == b"<Error")
        && document(body).is_some_and(|found| !found.code.is_empty())
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|window| window == words)
}

/// Whether a body is an HTML page.
pub(super) fn is_html(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let start = start[..start.len().min(64)].to_ascii_lowercase();
    start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

/// The `Content-Encoding` of a compressed reply.
pub(super) fn encoding(head: &ReplyHead) -> Option<String> {
    let values = head.headers.iter().filter(|(name, _)| name == "content-encoding");
    let mut words = values.flat_map(|(_, value)| value.split(',')).map(str::trim);
    let is_plain = |word: &str| {
        word.is_empty() || word.eq_ignore_ascii_case("identity") || word.eq_ignore_ascii_case("aws-chunked")
    };
    words.find(|word| !is_plain(word)).map(|word| presentable_up_to(40, word))
}

/// Names what may have changed a reply on its way, as far as the reply tells.
pub(super) fn forwarder(head: &ReplyHead) -> String {
    let named = |name: &str| head.header(name).map(str::trim).filter(|value| !value.is_empty());
    match (named("via"), named("server")) {
        (Some(via), _) => format!("the proxy (Via: {})", presentable_up_to(80, via)),
        (None, Some(server)) => format!("a proxy on the way or the server (Server: {})", presentable_up_to(80, server)),
        (None, None) => "a proxy on the way or the store".to_owned(),
    }
}

/// A failed attempt: its error, and what it tells about the store.
pub(super) struct Refusal {
    pub(super) error: Error,
    /// The bucket's region, if the reply names it.
    pub(super) region: Option<String>,
    /// The store's time in Unix milliseconds, if the reply names it.
    pub(super) server_ms: Option<i64>,
    /// The header `Retry-After`.
    pub(super) retry_after: Option<String>,
    /// Whether the credentials were refused, so that new ones may help.
    pub(super) about_keys: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { error, region: None, server_ms: None, retry_after: None, about_keys: false }
    }
}

/// The hint for temporary credentials that were refused or have expired.
pub(super) const RENEW: &str = "Set new values for access_key, secret_key and session_token: the temporary credentials have expired, or do not belong together.";

/// Turns an error reply into an error.
pub(super) fn refusal<O: Operation>(
    op: &O,
    bucket: &Bucket,
    place: &Place,
    head: &ReplyHead,
    body: &[u8],
    has_key: bool,
) -> Refusal {
    refused(O::NAME, op.action(), bucket, place, head, body, has_key)
}

/// [`refusal`], compiled once for all operations.
fn refused(
    operation: &'static str,
    action: &str,
    bucket: &Bucket,
    place: &Place,
    head: &ReplyHead,
    body: &[u8],
    has_key: bool,
) -> Refusal {
    let found = document(body);
    let is_nonsense = found.is_none() && !body.is_empty();
    let found = found.unwrap_or_default();
    let request_id =
        head.header("x-amz-request-id").map_or(found.request_id.clone(), |id| presentable_up_to(128, id.trim()));

    let mut message = format!("{operation} on {} was answered with {}", describe(bucket.name(), place), head.status);
    for part in [&found.code, &found.message] {
        if !part.is_empty() {
            message.push_str(if part == &found.code { " " } else { ": " });
            message.push_str(part.trim_end_matches('.'));
        }
    }
    let encoding = encoding(head).filter(|_| is_nonsense);
    match &encoding {
        Some(encoding) => message.push_str(&format!(
            " and a body with Content-Encoding {encoding}, which the request does not accept: {} compresses replies",
            forwarder(head)
        )),
        None if is_nonsense => {
            message.push_str(&format!(" and a body that is not an S3 reply: {}", excerpt(body)));
        }
        None => {}
    }
    if let Some(location) = head.header("location").filter(|_| (300..400).contains(&head.status)) {
        message.push_str(&format!("; it redirects to {}", presentable(location.trim())));
    }
    if !request_id.is_empty() {
        message.push_str(&format!(" [request id {request_id}]"));
    }
    let s3_code = code_of(&found.code, &found.message);
    let (mut code, mut retryable) = classify(head.status, s3_code, is_nonsense);
    // A checksum that a Complete is refused for is one that it names, not that of its own bytes.
    retryable &= !(operation == "CompleteMultipartUpload" && is_about_checksum(&found.code));
    let wrong_key = customer_key::wrong_key(operation, has_key, head, &found.code, &found.message);
    if let Some(why) = wrong_key.filter(|_| code == Code::Store) {
        (code, retryable) = (Code::WrongKey, false);
        message.push_str(why);
    }
    // The reply to HeadBucket has no body that could name the error.
    if code == Code::NotFound && found.code.is_empty() && matches!(place, Place::Bucket) {
        code = Code::NoSuchBucket;
    }
    let mut error = Error::new(code, message).on(operation, bucket.name(), place.key()).with_reply(
        head.status,
        &found.code,
        &request_id,
    );
    let region = head.header("x-amz-bucket-region").unwrap_or(&found.region);
    let region = if is_region(region) { region } else { "" };
    if let Some(hint) = hint(operation, action, code, &found.code, region, place, bucket, body) {
        error = error.with_hint(hint);
    }
    if let Some(action) = denied_kms_action(&found.message).filter(|_| code == Code::AccessDenied) {
        error = error.with_hint(format!(
            "Grant the access key the permission {action} on the key of the store's key management service that the message names."
        ));
    }
    if encoding.is_some() && code == Code::BadReply {
        error = error.with_hint(COMPRESSED);
    }
    let server_ms = parse_rfc3339(&found.server_time);
    Refusal {
        error: if retryable { error.retryable() } else { error },
        region: (code == Code::WrongRegion && !region.is_empty()).then(|| region.to_owned()),
        server_ms,
        retry_after: head.header("retry-after").map(str::to_owned),
        about_keys: is_about_keys(s3_code),
    }
}

/// S3's code for a refusal. Garage answers with one code whatever is wrong with the keys, and says it in the message.
fn code_of<'a>(code: &'a str, message: &str) -> &'a str {
    match code {
        "AccessDenied" if message.starts_with("Forbidden: Invalid signature") => "SignatureDoesNotMatch",
        "AccessDenied" if message.starts_with("Forbidden: No such key:") => "InvalidAccessKeyId",
        code => code,
    }
}

/// Whether other credentials may succeed: the ones in use have expired, were deleted, or their secret was rotated.
fn is_about_keys(s3_code: &str) -> bool {
    is_about_token(s3_code) || matches!(s3_code, "InvalidAccessKeyId" | "XAdminUserNotFound" | "SignatureDoesNotMatch")
}

/// Whether the bytes that arrived are not the ones that a checksum was sent for.
pub(crate) fn is_about_checksum(s3_code: &str) -> bool {
    matches!(s3_code, "BadDigest" | "XAmzContentChecksumMismatch")
}

/// Whether the session token was refused.
fn is_about_token(s3_code: &str) -> bool {
    matches!(
        s3_code,
        "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "InvalidTokenId" | "TokenRefreshRequired"
    )
}

/// Whether the store, or what the bucket may have of it, is full.
fn is_full(s3_code: &str) -> bool {
    matches!(s3_code, "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "StorageFull")
}

/// Whether the store's key management service refused the key that it was to encrypt with: `KMS.NotFoundException` and its
/// kind of AWS, `kms:KeyNotFound` of MinIO.
fn is_about_kms(s3_code: &str) -> bool {
    s3_code.starts_with("KMS.") || s3_code.starts_with("kms:")
}

/// The permission on a key of the key management service that the access key lacks, as AWS names it in the message.
fn denied_kms_action(message: &str) -> Option<&str> {
    let action = message.split("not authorized to perform: ").nth(1)?.split_whitespace().next()?;
    action.starts_with("kms:").then_some(action)
}

/// The hint, if it can be more specific than the one of the code.
#[allow(clippy::too_many_arguments)] // One call, of what the reply said.
fn hint(
    operation: &str,
    action: &str,
    code: Code,
    s3_code: &str,
    region: &str,
    place: &Place,
    bucket: &Bucket,
    body: &[u8],
) -> Option<String> {
    match code {
        Code::WrongRegion if !region.is_empty() => Some(format!("Set region = {region}.")),
        Code::WrongRegion => Some(
            "Set api_url to the endpoint of the bucket, and region if it needs one: redirects are not followed, and this one names no region.".into(),
        ),
        Code::AccessDenied if is_about_keys(s3_code) => Some(RENEW.into()),
        Code::AccessDenied => {
            let (bucket, object) = (bucket.name(), if place.key().is_empty() { "" } else { "/*" });
            let also = match place {
                // Without s3:ListBucket, the reply for a missing key is 403, not 404.
                Place::Object(_) if matches!(operation, "GetObject" | "HeadObject") => {
                    format!(" The object may also be missing: without s3:ListBucket on arn:aws:s3:::{bucket}, a store does not tell the difference.")
                }
                _ => String::new(),
            };
            let resource = if matches!(place, Place::Service) { "*".into() } else { format!("arn:aws:s3:::{bucket}{object}") };
            Some(format!("Grant the access key the permission {action} on {resource}.{also}"))
        }
        Code::SignatureRefused if !bucket.endpoint().path().is_empty() => Some(format!(
            "Check secret_key. If it is right, have the proxy in front of the store pass the path {} of api_url on, since it is signed; or, if the store is not below that path, leave the path out.",
            bucket.endpoint().path()
        )),
        Code::NoSuchBucket | Code::NotFound if matches!(place, Place::Bucket) && !bucket.endpoint().path().is_empty() => {
            Some(format!(
                "Check bucket and api_url: its path {} is in front of the bucket, and must not contain it.",
                bucket.endpoint().path()
            ))
        }
        Code::NoSuchBucket if !bucket.is_in_host_name() => None,
        Code::NoSuchBucket => {
            Some("Check bucket and api_url; if the store does not support virtual hosts, set path_style = true.".into())
        }
        // A proxy's page; the store itself may be available.
        Code::Unavailable if is_html(body) => Some(
            "Try again later, and check the proxy (the one that the option proxy names, or one on the way): it answers in the store's place.".into(),
        ),
        // The replies of Go and nginx to a client that speaks http:// to a TLS port.
        Code::BadReply if [&b"HTTPS server"[..], b"HTTPS port"].iter().any(|words| contains(body, words)) => {
            Some("Start api_url with https://, since the port is for TLS.".into())
        }
        Code::BadReply if is_html(body) => Some(
            "Check that api_url is an S3 endpoint, and that no proxy (the one that the option proxy names, or one on the way) answers in its place: the reply is a web page."
                .into(),
        ),
        Code::Store | Code::Unavailable => match s3_code {
            "NotImplemented" => {
                Some(format!("Use another store: this one does not support {operation}, or something that was requested with it."))
            }
            full if is_full(full) => Some("Free space in the store, or raise the bucket's quota.".into()),
            kms if is_about_kms(kms) => Some(
                "Check sse_kms_key, and this key in the store's key management service: it must exist there and be enabled. If sse_kms_key is empty, set it, or set encryption to another kind.".into(),
            ),
            "InvalidObjectState" => Some("Restore the object from the archive first.".into()),
            "InvalidStorageClass" => Some("Change storage_class: the store does not have this class.".into()),
            "EntityTooLarge" => {
                Some("Set provider to the store's name: its limits are lower than the assumed ones.".into())
            }
            "KeyTooLongError" => Some("Use shorter names: the store's limit on keys is lower.".into()),
            _ => None,
        },
        Code::WrongKey => Some(customer_key::HINT.into()),
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
        token if is_about_token(token) => return (Code::AccessDenied, false),
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            return (Code::WrongRegion, false);
        }
        // A 403 that is not about permissions.
        "InvalidObjectState" | "InvalidStorageClass" => return (Code::Store, false),
        full if is_full(full) => return (Code::Store, false),
        "KMS.ThrottlingException" | "KMS.KMSInternalException" | "KMS.DependencyTimeoutException" => {
            return (Code::Unavailable, true);
        }
        // MinIO answers with 404: nothing that the request is about is missing.
        kms if is_about_kms(kms) => return (Code::Store, false),
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "OperationAborted" => {
            return (Code::Unavailable, true);
        }
        // The bytes were changed on the way: they may arrive intact at the next attempt.
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
        // 499, 509, 520 to 530 and 598 are those of proxies and of services before stores (nginx, Cloudflare).
        408 | 429 | 499 | 500 | 502..=504 | 509 | 520..=530 | 598 => (Code::Unavailable, true),
        _ if is_nonsense || status < 400 => (Code::BadReply, false),
        _ => (Code::Store, false),
    }
}

/// Names the resource of a request: `s3://bucket/key`, the bucket, or the store.
pub(super) fn describe(bucket: &str, place: &Place) -> String {
    match place {
        Place::Service => "the store".into(),
        Place::Bucket => format!("bucket {bucket}"),
        Place::Object(key) => format!("s3://{bucket}/{}", presentable_key(key)),
    }
}

/// The start of an unexpected body, in a printable form.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(160)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    format!("'{}'", presentable(words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::bucket::tests::bucket;
    use crate::op::{CompleteMultipartUpload, Content, GetObject, HeadBucket, PutObject};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn error(status: u16, headers: &[(&str, &str)], body: &str) -> Error {
        let headers = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let head = ReplyHead { status, headers };
        refusal(
            &GetObject::new("k", 9),
            &bucket(&[]).unwrap(),
            &Place::Object("k".into()),
            &head,
            body.as_bytes(),
            false,
        )
        .error
    }

    #[test]
    fn a_redirect_is_not_followed_and_its_target_is_named() {
        for status in [301, 302, 307, 308] {
            let e = error(status, &[("location", "http://elsewhere.example/\x1b[31mk")], "");
            assert!(e.message().contains("; it redirects to http://elsewhere.example/\\u{1b}[31mk"), "{e}");
            assert!(e.hint().contains("api_url") && !e.hint().contains("message names"), "{e}");
        }
        let named = error(301, &[("location", "http://elsewhere.example"), ("x-amz-bucket-region", "eu-west-1")], "");
        assert_eq!(named.hint(), "Set region = eu-west-1.");
        assert!(!error(200, &[("location", "http://elsewhere.example")], "").message().contains("redirects"));
    }

    #[test]
    fn a_key_of_the_key_management_service_that_is_refused_is_what_the_hint_is_about() {
        let xml = |code: &str, message: &str| format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        for (status, code) in [
            (400, "KMS.NotFoundException"),
            (400, "KMS.DisabledException"),
            (404, "kms:KeyNotFound"),
            (403, "kms:NotAuthorized"),
        ] {
            let e = error(status, &[], &xml(code, "Invalid keyId"));
            assert!(e.code() == Code::Store && !e.is_retryable() && e.hint().contains("sse_kms_key"), "{e}");
        }
        assert!(error(400, &[], &xml("KMS.ThrottlingException", "Rate exceeded")).is_retryable());
        let denied = "User: arn:aws:iam::1:user/b is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:us-east-1:1:key/2 because no identity-based policy allows it";
        let e = error(403, &[], &xml("AccessDenied", denied));
        assert!(
            e.code() == Code::AccessDenied && e.hint().contains("permission kms:GenerateDataKey on the key"),
            "{e}"
        );
        assert!(error(403, &[], &xml("AccessDenied", "Access Denied")).hint().contains("s3:GetObject"));
    }

    #[test]
    fn an_error_names_the_operation_the_object_and_the_stores_answer() {
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
    fn what_garage_says_of_keys_has_the_codes_that_other_stores_give() {
        for (message, code) in [
            ("Forbidden: Invalid signature", Code::SignatureRefused),
            ("Forbidden: No such key: GK31c2f218a2e44f485b94239e", Code::UnknownAccessKey),
            ("Forbidden: Operation is not allowed for this key.", Code::AccessDenied),
        ] {
            let e = error(403, &[], &format!("<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"));
            assert_eq!((e.code(), e.s3_code()), (code, "AccessDenied"), "{message}");
            assert!(e.message().contains(message.trim_end_matches('.')), "{e}");
        }
    }

    #[test]
    fn the_limits_of_stores_have_hints_of_their_own() {
        for (status, s3_code, says) in [
            (501, "NotImplemented", "does not support GetObject"),
            (507, "XMinioStorageFull", "Free space"),
            (403, "QuotaExceeded", "Free space"),
            (403, "InvalidTokenId", "session_token"),
            (403, "InvalidObjectState", "archive"),
            (400, "InvalidStorageClass", "storage_class"),
            (400, "EntityTooLarge", "provider"),
            (400, "KeyTooLongError", "shorter names"),
        ] {
            let e = error(status, &[], &format!("<Error><Code>{s3_code}</Code></Error>"));
            assert!(e.hint().contains(says), "{s3_code}: {e:?}");
        }
    }

    #[test]
    fn a_checksum_that_a_complete_names_is_not_sent_again() {
        let complete = CompleteMultipartUpload {
            key: "k".into(),
            upload_id: "u".into(),
            parts: vec![],
            crc64nvme: Some(1),
            size: 1,
            encryption: Default::default(),
        };
        let head = ReplyHead { status: 400, headers: vec![] };
        let body = b"<Error><Code>BadDigest</Code></Error>";
        let place = Place::Object("k".into());
        assert!(!refusal(&complete, &bucket(&[]).unwrap(), &place, &head, body, false).error.is_retryable());
        let put = PutObject::new("k", Content::Bytes("x".into()), vec![]);
        assert!(
            refusal(&put, &bucket(&[]).unwrap(), &place, &head, body, false).error.is_retryable(),
            "bytes that arrived changed"
        );
    }

    #[test]
    fn a_stores_text_cannot_flood_or_forge_a_log() {
        let body = format!("<Error><Code>A&#10;B</Code><Message>{}</Message></Error>", "x".repeat(60_000));
        let e = error(400, &[("x-amz-request-id", &"r".repeat(9_000))], &body);
        assert!(e.message().len() < 1_000 && !e.message().contains('\n'), "{e}");
        assert!(e.s3_code() == "A\\nB" && e.request_id().len() < 200);
    }

    #[test]
    fn a_bare_404_to_a_request_for_the_bucket_means_the_bucket() {
        let head = ReplyHead { status: 404, headers: Vec::new() };
        let bucket = bucket(&[]).unwrap();
        let e = refusal(&HeadBucket, &bucket, &Place::Bucket, &head, b"", false).error;
        assert_eq!((e.code(), e.s3_code()), (Code::NoSuchBucket, ""));
        let body = b"<Error><Code>NoSuchUpload</Code></Error>";
        assert_eq!(refusal(&HeadBucket, &bucket, &Place::Bucket, &head, body, false).error.code(), Code::NotFound);
    }

    #[test]
    fn replies_that_do_not_come_from_s3() {
        let e = error(404, &[], "<html><body>No   such\n page</body></html>");
        assert_eq!(e.code(), Code::BadReply);
        assert!(e.message().ends_with("not an S3 reply: '<html><body>No such page</body></html>'"), "{e}");
        let e = error(503, &[], "<html>");
        assert!(e.code() == Code::Unavailable && e.hint().contains("proxy"), "{e}");
        for status in [499, 509, 520, 521, 522, 523, 524, 525, 526, 527, 529, 530, 598] {
            for body in
                ["", "<!DOCTYPE html><title>Web server is returning an unknown error</title>", "error code: 520"]
            {
                let e = error(status, &[], body);
                assert!(e.code() == Code::Unavailable && e.is_retryable(), "{status}: {e}");
            }
        }
        for status in [501, 505, 507, 511] {
            assert!(!error(status, &[], "").is_retryable(), "{status}");
        }
        let e = error(400, &[], "Client sent an HTTP request to an HTTPS server.\n");
        assert!(e.code() == Code::BadReply && e.hint().contains("https://"), "{e}");
        assert_eq!(error(403, &[], "").code(), Code::AccessDenied);
        assert_eq!(error(404, &[], "").code(), Code::NotFound);
        let e = error(301, &[("x-amz-bucket-region", "eu-west-1")], "");
        assert_eq!((e.code(), e.hint()), (Code::WrongRegion, "Set region = eu-west-1."));
    }
}
