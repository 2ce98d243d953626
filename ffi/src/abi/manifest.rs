//! Offline verification

use std::ffi::{c_char, c_void};

use super::boundary::{bytes, output, text};
use super::{S3V_OK, s3v_bytes, s3v_error};

/// Verifies a signed object (from s3v_version_manifest) against `public_keys`, lines of the form "ed25519 ID BASE64".
/// It needs no store, and any thread may call it. The result is JSON:
///
///     {"verdict":"good" | "unsigned", "reason":"...", "key_id":"...", "hash":"BLAKE3 of the object, hex",
///      "container":"...", "path":"...", "vid":"...", "kind":"full" | "inc" | "del", "parent":"..." | null,
///      "size":bytes, "initiated":Unix ms, "recorded":Unix ms, "parts":number}
///     {"verdict":"bad", "reason":"...", "code":"S3V_E_..."}
///
/// A bad signature is a result, not a failure of the call. The call fails if `public_keys` cannot be parsed.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_manifest_verify(
    object: *const c_void,
    len: usize,
    public_keys: *const c_char,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let object = bytes(object, len, "object")?;
        let public_keys = text(public_keys, "public_keys")?;
        let out = output(out, "out")?;
        *out = s3v_bytes::new_handle(crate::verify_manifest(object, public_keys)?.into_bytes());
        Ok(S3V_OK)
    })
}
