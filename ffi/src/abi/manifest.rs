//! Offline verification

use std::ffi::{c_char, c_void};

use super::boundary::{bytes, output, text};
use super::{S3V_OK, s3v_bytes, s3v_error};

/// Says what a signed object (s3v_version_manifest) is worth to somebody who trusts `pubkeys`, lines of the form
/// "ed25519 ID BASE64". It needs no store, and any thread may call it. The answer is JSON:
///
///     {"verdict":"good" | "unsigned", "reason":"...", "key_id":"...", "hash":"BLAKE3 of the object, hex",
///      "container":"...", "path":"...", "vid":"...", "kind":"full" | "inc" | "del", "parent":"..." | null,
///      "size":bytes, "initiated":Unix ms, "recorded":Unix ms, "parts":number}
///     {"verdict":"bad", "reason":"...", "code":"S3V_E_..."}
///
/// A bad signature is an answer, not a failure of the call. It fails where `pubkeys` cannot be read.
///
/// # Safety
/// `len` bytes at `object` may be read; `pubkeys` is NUL-terminated; `out` may be written; `err` is NULL or may be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_manifest_verify(
    object: *const c_void,
    len: usize,
    pubkeys: *const c_char,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let object = bytes(object, len, "object")?;
        let pubkeys = text(pubkeys, "pubkeys")?;
        let out = output(out, "out")?;
        *out = s3v_bytes::give(crate::verify_manifest(object, pubkeys)?.into_bytes());
        Ok(S3V_OK)
    })
}
