//! Keyring
//!
//! Holds the key that signs backups. A file of its own, for the owner's eyes only (mode 0600); who only verifies
//! needs no more than its public key.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::{Code, Error};

use crate::keyring;

use super::boundary::{bytes, give, hold, output, release, text_or_none};
use super::{S3V_OK, s3v_bytes, s3v_error};

/// Keys. Immutable: any thread may use it. A vault keeps what it needs: it may be freed when the vault is open. The
/// caller frees it with s3v_keyring_free.
pub struct s3v_keyring(pub(super) Arc<Keyring>);

/// Opens a keyring: the file `path`, or, where that is NULL, the content of such a file in `buf`. With `create` 1 it
/// makes a new one with a fresh key instead: the file `path`, which must not exist yet, or, where that is NULL, one
/// that is only in memory.
///
/// Fails with S3V_E_KEYRING where the file cannot be read or written, can be read by other users, exists already, or
/// is no keyring.
///
/// # Safety
/// `path` is NULL or NUL-terminated; `len` bytes at `buf` may be read; `out` may be written; `err` is NULL or may be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_open(
    path: *const c_char,
    buf: *const c_void,
    len: usize,
    create: i32,
    out: *mut *mut s3v_keyring,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let path = text_or_none(path, "path")?.map(Path::new);
        let content = bytes(buf, len, "buf")?;
        let out = output(out, "out")?;
        let keyring = match (create, path, content) {
            (0, Some(path), []) => keyring::open(path)?,
            (0, None, [_, ..]) => Keyring::from_bytes(content)?,
            (1, Some(path), []) => keyring::create(path)?,
            (1, None, []) => keyring::generate()?,
            (0, None, []) => return Err(Error::new(Code::InvalidArgument, "path is NULL and buf is empty")),
            (0, Some(_), _) => return Err(Error::new(Code::InvalidArgument, "give path or buf, not both")),
            (1, ..) => {
                return Err(Error::new(Code::InvalidArgument, "a new keyring takes no content: buf is not empty"));
            }
            _ => return Err(Error::new(Code::InvalidArgument, format!("create is {create}, neither 0 nor 1"))),
        };
        *out = give(s3v_keyring(Arc::new(keyring)));
        Ok(S3V_OK)
    })
}

/// What may be shown of a keyring, as JSON: {"signing":{"id":"16 hex digits","public":"ed25519 ID BASE64"}}. The
/// public key is a line for verify_keys and for s3v_manifest_verify.
///
/// # Safety
/// `k` is a live keyring; `out` may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_info(
    k: *const s3v_keyring,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(k, "k")?;
        *output(out, "out")? = s3v_bytes::give(keyring.0.info_json().into_bytes());
        Ok(S3V_OK)
    })
}

/// Frees a keyring. NULL is taken.
///
/// # Safety
/// `k` is NULL or a keyring that was not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_free(k: *mut s3v_keyring) {
    // SAFETY: the caller's promise.
    unsafe { release(k) }
}
