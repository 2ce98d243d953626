//! The hooks under `/_embedded/`: unsigned, JSON, for tests only. The crate's documentation lists them.

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
use crate::model::object::Damage;
use crate::payload::Writer;
use crate::refusal::Refusal;
use crate::shared::Shared;

/// No bucket's name can begin like this.
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
        (&Method::POST, "keys") => {
            let KeysRequest { access_key, secret_key } = parse(body)?;
            shared.set_keys(access_key, secret_key);
            Ok(done)
        }
        (method, path) => {
            let message = format!(
                "{method} {PREFIX}{path} is no hook. There are GET stats; GET, POST, DELETE fault; POST damage; POST clock; POST keys."
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

fn damage(shared: &Shared, request: &DamageRequest) -> Result<(), Refusal> {
    let damage = match (request.offset, request.cut, &request.content_base64) {
        (Some(offset), None, None) => Damage::Flip(offset),
        (None, Some(len), None) => Damage::Cut(len),
        (None, None, Some(content)) => {
            let content = BASE64
                .decode(content)
                .map_err(|error| Refusal::invalid_argument(format!("content_base64 is not base64: {error}")))?;
            let mut writer = Writer::new(shared.budget.clone(), content.len() as u64);
            writer.push(&content).map_err(|full| Refusal::storage_full(full.max))?;
            Damage::Replace(writer.finish())
        }
        _ => return Err(Refusal::invalid_argument("Damage has exactly one of offset, cut, content_base64.")),
    };
    shared.store().damage(&request.bucket, &request.key, request.version_id.as_deref(), damage)
}
