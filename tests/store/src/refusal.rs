//! A refusal of the model, as an error of s3s.

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use s3_model::Refusal;
use s3s::{S3Error, S3ErrorCode};

/// The error that s3s answers with.
pub(crate) fn s3_error(refusal: Refusal) -> S3Error {
    let code = S3ErrorCode::from_bytes(refusal.code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, refusal.message);
    if let Ok(status) = StatusCode::from_u16(refusal.status) {
        error.set_status_code(status);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in refusal.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if !headers.is_empty() {
        headers.insert("content-type", HeaderValue::from_static("application/xml"));
        error.set_headers(headers);
    }
    error
}

/// The store holds as many bytes as it may.
pub(crate) fn storage_full(max: u64) -> Refusal {
    Refusal::new(
        507,
        "InsufficientStorage",
        format!("The embedded store is full: it may hold {max} bytes. Start it with a larger --max-bytes."),
    )
}
