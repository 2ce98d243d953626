//! The hooks under `/_embedded/`: unsigned, JSON, for tests only. The crate's documentation lists them.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use s3s::Body;
use serde::Deserialize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::access::OPERATIONS;
use crate::body::Inbound;
use crate::fault::Fault;
use crate::payload::{Payload, Writer};
use crate::refusal::storage_full;
use crate::shared::Shared;
use s3_model::Refusal;

/// No bucket's name can start like this.
pub(crate) const PREFIX: &str = "/_embedded/";

const MAX_BODY: usize = 64 << 20;

pub(crate) async fn answer(shared: &Shared, parts: &Parts, body: Inbound) -> Response<Body> {
    let result = match http_body_util::Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => act(shared, parts, &body.to_bytes()),
        Err(error) => Err(Refusal::invalid_request(format!("The body could not be read: {error}"))),
    };
    let (status, body) = match result {
        Ok(body) => (200, body),
        Err(refusal) => {
            let error = serde_json::json!({ "code": refusal.code, "message": refusal.message });
            (refusal.status, error)
        }
    };
    let mut reply = Response::new(Body::from(format!("{body}\n")));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    reply.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    reply
}

fn act(shared: &Shared, parts: &Parts, body: &[u8]) -> Result<serde_json::Value, Refusal> {
    let done = serde_json::json!({});
    match (&parts.method, &parts.uri.path()[PREFIX.len()..]) {
        (&Method::GET, "stats") => json(shared.stats()),
        (&Method::GET, "fault") => json(shared.faults.pending()),
        (&Method::DELETE, "fault") => {
            shared.faults.clear();
            Ok(done)
        }
        (&Method::POST, "fault") => {
            add_fault(shared, parse(body)?)?;
            Ok(done)
        }
        (&Method::POST, "damage") => {
            damage(shared, &parse(body)?)?;
            Ok(done)
        }
        (&Method::POST, "clock") => {
            let ClockRequest { offset_seconds } = parse(body)?;
            shared.clock.set_offset(offset_seconds);
            Ok(done)
        }
        (&Method::POST, "age") => {
            let AgeRequest { bucket, part, seconds } = parse(body)?;
            shared.store().age(&bucket, &part, Duration::from_secs(seconds))?;
            Ok(done)
        }
        (&Method::POST, "undeletable") => {
            let UndeletableRequest { bucket, key, denied } = parse(body)?;
            set_undeletable(shared, &bucket, &key, denied)?;
            Ok(done)
        }
        (&Method::POST, "keys") => {
            let KeysRequest { access_key, secret_key } = parse(body)?;
            shared.set_keys(access_key, secret_key);
            Ok(done)
        }
        (method, path) => {
            let message = format!(
                "{method} {PREFIX}{path} is no hook. There are GET stats; GET, POST, DELETE fault; POST damage; POST age; POST clock; POST keys; POST undeletable."
            );
            Err(Refusal::new(404, "NoSuchHook", message))
        }
    }
}

fn json(value: impl serde::Serialize) -> Result<serde_json::Value, Refusal> {
    serde_json::to_value(value).map_err(|error| Refusal::new(500, "InternalError", error.to_string()))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::invalid_request(error.to_string()))
}

/// Orders a fault, unless it could never happen.
pub(crate) fn add_fault(shared: &Shared, fault: Fault) -> Result<(), Refusal> {
    if fault.operation != "*" && !OPERATIONS.contains(&fault.operation.as_str()) {
        let message = format!("{:?} is no operation. There are * and {}.", fault.operation, OPERATIONS.join(", "));
        return Err(Refusal::invalid_argument(message));
    }
    if fault.times == 0 {
        return Err(Refusal::invalid_argument("times must be at least 1."));
    }
    shared.faults.add(fault);
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockRequest {
    offset_seconds: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgeRequest {
    bucket: String,
    part: String,
    seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UndeletableRequest {
    bucket: String,
    key: String,
    denied: bool,
}

/// Refuses every deletion of this key, or no longer.
pub(crate) fn set_undeletable(shared: &Shared, bucket: &str, key: &str, is_denied: bool) -> Result<(), Refusal> {
    let mut store = shared.store();
    let undeletable = &mut store.bucket_mut(bucket)?.undeletable;
    if is_denied {
        undeletable.insert(key.to_owned(), Refusal::access_denied("Access Denied"));
    } else {
        undeletable.remove(key);
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysRequest {
    access_key: String,
    secret_key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DamageRequest {
    bucket: String,
    key: String,
    version_id: Option<String>,
    offset: Option<u64>,
    cut: Option<u64>,
    content_base64: Option<String>,
}

/// Spoils stored bytes. ETag and checksums stay as they are.
fn damage(shared: &Shared, request: &DamageRequest) -> Result<(), Refusal> {
    let DamageRequest { bucket, key, version_id, offset, cut, content_base64 } = request;
    let content = content_base64.as_ref().map(|content| decoded(shared, content)).transpose()?;
    let mut store = shared.store();
    let object = store.object_mut(bucket, key, version_id.as_deref())?;
    let damaged = match (offset, cut, content) {
        (Some(offset), None, None) => object.content.flipped(*offset),
        (None, Some(length), None) => object.content.cut(*length),
        (None, None, Some(content)) => Some(content),
        _ => return Err(Refusal::invalid_argument("Damage has exactly one of offset, cut, content_base64.")),
    };
    let length = object.content.len();
    object.content = damaged.ok_or_else(|| {
        Refusal::invalid_argument(format!("{bucket}/{key} has {length} bytes; the place to damage is after them."))
    })?;
    Ok(())
}

fn decoded(shared: &Shared, content: &str) -> Result<Payload, Refusal> {
    let content = BASE64
        .decode(content)
        .map_err(|error| Refusal::invalid_argument(format!("content_base64 is not base64: {error}")))?;
    let mut writer = Writer::new(shared.budget.clone(), content.len() as u64);
    writer.push(&content).map_err(|full| storage_full(full.max))?;
    Ok(writer.finish())
}
