//! Signatures for requests of your own
//!
//! AWS Signature Version 4, for requests that another HTTP client sends. These need no store and no handle but a
//! config; any thread may call them at any time.
//!
//! The config has access_key and secret_key, session_token where the keys are temporary, region (us-east-1 where it is
//! not set), and service where it is not s3. A URL is http:// or https://, host, path and query, encoded as they are
//! sent (what cannot stand in a URL is encoded); or s3://bucket/key, with the key as it is, for the endpoint that
//! api_url, region and path_style describe. Headers are one text, a line "name: value" for each, and are sent as they
//! were signed; host among them takes the place of the URL's.

use std::ffi::c_char;

use crate::sign;

use super::boundary::{output, text, text_or_none};
use super::config::options;
use super::{S3V_OK, s3v_bytes, s3v_config, s3v_error};

/// The headers to add to a request, a line "name: value" for each: x-amz-content-sha256, x-amz-date,
/// x-amz-security-token where there is one, authorization. `now_ms` is the time of the signature, 0 or less for now.
/// `headers` may be NULL. `payload_hash` is the SHA-256 of the body in 64 hex digits, or UNSIGNED-PAYLOAD, which NULL
/// and "" mean too, or STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER,
/// STREAMING-UNSIGNED-PAYLOAD-TRAILER. (Of another service than s3: NULL and "" mean an empty body, and there is no
/// x-amz-content-sha256.)
///
/// Fails with S3V_E_INVALID_ARGUMENT for what cannot be signed, S3V_E_INVALID_OPTION where keys are missing, and
/// S3V_E_UNSUPPORTED for a Multi-Region Access Point, which takes SigV4a only.
///
/// # Safety
/// `options` is NULL or a live config; `method` and `url` are NUL-terminated, `headers` and `payload_hash` are NULL or
/// NUL-terminated; `out` may be written; `err` is NULL or may be written.
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
        *out = s3v_bytes::give(std::mem::take(&mut *lines).into_bytes());
        Ok(S3V_OK)
    })
}

/// The URL with a signature in its query: whoever has it may send this one request (GET, HEAD, PUT or DELETE) for
/// `expires_s` seconds from `now_ms` on, with `headers` as they stand; 1 second to 604800, seven days. Its body is not
/// signed. The other arguments are those of s3v_sign, and so are the failures.
///
/// # Safety
/// As for s3v_sign.
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
        *out = s3v_bytes::give(url.into_bytes());
        Ok(S3V_OK)
    })
}

/// Why a store refused a signature. `request` is the request as it was sent: its first line, then a line for each
/// header, as `curl -v` shows them too; the body is ignored. Or the canonical request alone. `reply` is the body of the
/// store's answer; NULL or "" shows what was signed. The answer is JSON; values that are secret (a customer's key, a
/// session token) are compared and shown as "***":
///
///     {"canonical_request":"...", "string_to_sign":"...",
///      "store":{"code":"...", "message":"...", "canonical_request":"...", "string_to_sign":"..."},
///      "difference":null | {"part":"method" | "path" | "query" | "header" | "signed headers" | "payload hash" | "date"
///          | "scope" | "canonical request's hash" | "access key", "name":"of the header or parameter",
///          "line":from 1 or 0, "column":from 1, "ours":"...", "store":"..."},
///      "cause":"what it means and what helps", "notes":["..."]}
///
/// Fails with S3V_E_INVALID_ARGUMENT where the request cannot be read or is not signed, S3V_E_UNSUPPORTED where it is
/// signed by another version than 4.
///
/// # Safety
/// `request` is NUL-terminated, `reply` NULL or NUL-terminated; `out` may be written; `err` is NULL or may be written.
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
        *out = s3v_bytes::give(sign::explain(request, reply)?.into_bytes());
        Ok(S3V_OK)
    })
}
