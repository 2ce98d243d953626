//! Signatures for your own requests
//!
//! AWS Signature Version 4 for requests that another HTTP client sends. These functions need no store, and no handle
//! except a config; any thread may call them at any time.
//!
//! The config has access_key and secret_key, session_token for temporary keys, region (us-east-1 if it is not set),
//! and service (s3 if it is not set). A URL is http:// or https:// with host, path and query, encoded as they are sent
//! (characters that are not allowed in a URL are encoded); or s3://bucket/key, with the key as it is, for the endpoint
//! that api_url, region and path_style describe. Headers are one text with a line "name: value" for each, and must be
//! sent as they were signed; a host header replaces the host of the URL.

use std::ffi::c_char;

use crate::sign;

use super::boundary::{output, text, text_or_none};
use super::config::options;
use super::{S3V_OK, s3v_bytes, s3v_config, s3v_error};

/// Returns the headers to add to a request, a line "name: value" for each: x-amz-content-sha256, x-amz-date,
/// x-amz-security-token if there is one, authorization. `now_ms` is the time of the signature in Unix milliseconds; 0
/// or less means now. `headers` may be NULL. `payload_hash` is the SHA-256 of the body in 64 hex digits,
/// UNSIGNED-PAYLOAD (also NULL and ""), STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
/// or STREAMING-UNSIGNED-PAYLOAD-TRAILER. (For a service other than s3, NULL and "" mean an empty body, and
/// x-amz-content-sha256 is not added.)
///
/// Fails with S3V_E_INVALID_ARGUMENT if the request cannot be signed, S3V_E_INVALID_OPTION if keys are missing or an
/// option is not valid (the bucket of an s3:// URL is one of them), and S3V_E_UNSUPPORTED for a Multi-Region Access
/// Point, which requires SigV4a.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_sign(
    options: *const s3v_config,
    now_ms: i64,
    method: *const c_char,
    url: *const c_char,
    headers: *const c_char,
    payload_hash: *const c_char,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let settings = self::options(options)?;
        let (method, url) = (text(method, "method")?, text(url, "url")?);
        let headers = text_or_none(headers, "headers")?.unwrap_or("");
        let hash = text_or_none(payload_hash, "payload_hash")?.unwrap_or("");
        let out = output(out, "out")?;
        let mut lines = sign::sign(&settings, now_ms, method, url, headers, hash)?;
        *out = s3v_bytes::new_handle(std::mem::take(&mut *lines).into_bytes());
        Ok(S3V_OK)
    })
}

/// Returns the URL with a signature in its query. Anybody who has it can send this one request (GET, HEAD, PUT, POST or
/// DELETE) for `expires_s` seconds from `now_ms`, with exactly these `headers`. `expires_s` is 1 to 604800 (seven
/// days). The body is not signed. The other arguments and the failures are those of s3v_sign.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_presign(
    options: *const s3v_config,
    now_ms: i64,
    method: *const c_char,
    url: *const c_char,
    headers: *const c_char,
    expires_s: u32,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let settings = self::options(options)?;
        let (method, url) = (text(method, "method")?, text(url, "url")?);
        let headers = text_or_none(headers, "headers")?.unwrap_or("");
        let out = output(out, "out")?;
        let url = sign::presign(&settings, now_ms, method, url, headers, expires_s)?;
        *out = s3v_bytes::new_handle(url.into_bytes());
        Ok(S3V_OK)
    })
}

/// Explains why a store refused a signature. `request` is the request as it was sent: its first line, then a line for
/// each header (the output of `curl -v` is accepted too); a body is ignored. It may also be just the canonical request.
/// `reply` is the body of the store's answer; NULL or "" shows what was signed. The result is JSON; secret values (a
/// customer's key, a session token) are compared and shown as "***":
///
///     {"canonical_request":"...", "string_to_sign":"...",
///      "store":{"code":"...", "message":"...", "canonical_request":"...", "string_to_sign":"..."},
///      "difference":null | {"part":"method" | "path" | "query" | "header" | "signed headers" | "payload hash" | "date"
///          | "scope" | "canonical request's hash" | "access key", "name":"of the header or parameter",
///          "line":from 1 or 0, "column":from 1, "ours":"...", "store":"..."},
///      "cause":"what it means and what helps", "notes":["..."]}
///
/// Fails with S3V_E_INVALID_ARGUMENT if the request cannot be parsed or is not signed, and S3V_E_UNSUPPORTED if it is
/// signed with a version other than 4.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_explain(
    request: *const c_char,
    reply: *const c_char,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let request = text(request, "request")?;
        let reply = text_or_none(reply, "reply")?.unwrap_or("");
        let out = output(out, "out")?;
        *out = s3v_bytes::new_handle(sign::explain(request, reply)?.into_bytes());
        Ok(S3V_OK)
    })
}
