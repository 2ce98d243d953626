//! One request from its arrival to its reply: the hooks, the strict check, s3s, the faults.

use std::sync::Arc;
use std::time::SystemTime;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use s3s::dto::{Timestamp, TimestampFormat};
use s3s::service::S3Service;
use s3s::{Body, StdError};

use crate::access::{Ending, Orders};
use crate::admin;
use crate::body::{Inbound, Outbound};
use crate::checksum::{Announced, content_sha256_mismatch};
use crate::fault::Answer;
use crate::shared::Shared;
use crate::strict;
use s3_model::Refusal;

/// The longest XML that a request may carry; s3s has the same limit.
const MAX_DOCUMENT: u64 = 20 << 20;
/// A refused body is read to its end up to this length, so that the client, still sending, gets to read why.
const MAX_DRAIN: u64 = 256 << 20;

/// Answers one request. An error makes hyper drop the connection.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    service: S3Service,
    request: Request<Incoming>,
) -> Result<Response<Outbound>, StdError> {
    let in_flight = shared.enter();
    let (parts, body) = request.into_parts();
    let inbound = Inbound::new(Arc::clone(&shared), body);
    if parts.uri.path().starts_with(admin::PREFIX) {
        let reply = admin::answer(&shared, &parts, inbound).await;
        return Ok(reply.map(|body| Outbound::new(shared, body, None, in_flight)));
    }

    let expects_continue = parts.headers.contains_key("expect");
    let mut cut = None;
    let mut reply = match checked(&shared, parts, &inbound).await {
        Err(refusal) => {
            shared.stats.count("refused");
            refused(&refusal)
        }
        Ok(mut request) => {
            let orders = Orders::default();
            request.extensions_mut().insert(orders.clone());
            let reply = service.call(request).await.map_err(StdError::from)?;
            let (reached, ending) = orders.take();
            if !reached {
                shared.stats.count("refused");
            }
            match ending {
                None => reply,
                Some(Ending::Drop) => return Err("the connection is dropped by an ordered fault".into()),
                Some(Ending::Answer(answer)) => made_up(answer)?,
                Some(Ending::Cut(bytes, how)) => {
                    cut = Some((bytes, how));
                    reply
                }
            }
        }
    };
    finish(&mut reply, &shared.next_request_id(), shared.clock.now());
    if !inbound.drain(expects_continue, MAX_DRAIN).await {
        // Else the client could send its next request where the rest of this body is still expected.
        reply.headers_mut().insert("connection", HeaderValue::from_static("close"));
    }
    Ok(reply.map(|body| Outbound::new(shared, body, cut, in_flight)))
}

/// The request as s3s gets it, once it passed what is checked here.
async fn checked(shared: &Shared, parts: Parts, inbound: &Inbound) -> Result<Request<Body>, Refusal> {
    strict::check(&parts, shared.clock.now())?;
    if !carries_document(&parts) {
        return Ok(Request::from_parts(parts, Body::http_body(inbound.clone())));
    }
    // s3s takes such a body as it comes, so its checksums are compared here.
    let limited = http_body_util::Limited::new(inbound.clone(), MAX_DOCUMENT as usize);
    let document = limited.collect().await.map_err(|error| {
        Refusal::new(400, "MaxMessageLengthExceeded", format!("The body could not be read: {error}"))
    })?;
    let document = document.to_bytes();
    let sha256 = parts.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
    if sha256.is_some_and(|sha256| sha256.len() == 64 && sha256 != hex_sha256(&document)) {
        return Err(content_sha256_mismatch());
    }
    // In CompleteMultipartUpload the checksum headers speak of the object.
    if !parts.uri.query().is_some_and(|query| query.contains("uploadId=")) {
        Announced::of(&parts.headers)?.verify(&document)?;
    }
    Ok(Request::from_parts(parts, Body::from(document)))
}

/// Whether the body is XML and not an object's bytes.
fn carries_document(parts: &Parts) -> bool {
    let bucket_only = !parts.uri.path().trim_start_matches('/').trim_end_matches('/').contains('/');
    let is_retention = strict::query_value(&parts.uri, "retention").is_some();
    parts.method == Method::POST || (parts.method == Method::PUT && (bucket_only || is_retention))
}

fn hex_sha256(data: &[u8]) -> String {
    use s3s::crypto::Checksum as _;
    hex::encode(s3s::crypto::Sha256::checksum(data))
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let mut reply = Response::new(Body::from(refusal.xml()));
    *reply.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    reply.headers_mut().insert("content-type", HeaderValue::from_static("application/xml"));
    reply
}

fn made_up(answer: Answer) -> Result<Response<Body>, StdError> {
    let body = answer.body.unwrap_or_else(|| {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{}</Code><Message>{}</Message></Error>",
            escape_xml(&answer.code),
            escape_xml(&answer.message)
        )
    });
    let mut reply = Response::new(Body::from(body));
    *reply.status_mut() = StatusCode::from_u16(answer.status)?;
    reply.headers_mut().insert("content-type", HeaderValue::try_from(answer.content_type)?);
    for (name, value) in answer.headers {
        reply.headers_mut().insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(reply)
}

/// Adds what S3 adds to every reply.
fn finish(reply: &mut Response<Body>, request_id: &str, now: SystemTime) {
    let headers = reply.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amz-request-id", id);
    }
    headers.insert("x-amz-id-2", HeaderValue::from_static("ZW1iZWRkZWQtc3RvcmU="));
    headers.insert("server", HeaderValue::from_static("embedded-store"));
    let mut date = Vec::new();
    if Timestamp::from(now).format(TimestampFormat::HttpDate, &mut date).is_ok()
        && let Ok(date) = HeaderValue::from_bytes(&date)
    {
        headers.insert("date", date);
    }
    complete_error(reply, request_id);
}

/// An error of S3 always has a message and repeats the request id.
fn complete_error(reply: &mut Response<Body>, request_id: &str) {
    let Some(bytes) = reply.body().bytes() else { return };
    let Some(text) = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix("</Error>")) else { return };
    let mut text = text.to_owned();
    if !text.contains("<Message>") {
        let message = if text.contains("<Code>SignatureDoesNotMatch<") {
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        } else {
            "The embedded store's protocol layer refused the request."
        };
        text.push_str(&format!("<Message>{message}</Message>"));
    }
    text.push_str(&format!("<RequestId>{request_id}</RequestId></Error>"));
    reply.headers_mut().remove("content-length");
    *reply.body_mut() = Body::from(text);
}

fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => escaped.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}
