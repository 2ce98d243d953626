//! Keyring
//!
//! A keyring holds the key that signs backups. It is a file of its own that only its owner may read (mode 0600). To
//! verify backups, the public key is enough.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::{Code, Error};

use crate::keyring;

use super::boundary::{bytes, hold, new_handle, output, release, text_or_none};
use super::{S3V_OK, s3v_bytes, s3v_error};

/// Signing keys. Immutable: any thread may use it. A vault keeps what it needs of it, so it may be freed once the vault
/// is open. The caller frees it with s3v_keyring_free.
pub struct s3v_keyring(pub(super) Arc<Keyring>);

/// Opens a keyring: the file `path` or, if `path` is NULL, the `len` bytes at `buf`, which are the content of such a
/// file. If `create` is 1, it creates a keyring with a new key instead: in the file `path`, which must not exist yet,
/// or, if `path` is NULL, in memory only.
///
/// Fails with S3V_E_KEYRING if the file cannot be read or written, other users can read it, it exists already, or it is
/// not a keyring.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
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
            (0, Some(_), _) => return Err(Error::new(Code::InvalidArgument, "path and buf were both given")),
            (1, ..) => {
                return Err(Error::new(Code::InvalidArgument, "create is 1, so buf must be empty"));
            }
            _ => return Err(Error::new(Code::InvalidArgument, format!("argument create is {create}, not 0 or 1"))),
        };
        *out = new_handle(s3v_keyring(Arc::new(keyring)));
        Ok(S3V_OK)
    })
}

/// Returns the public contents of a keyring as JSON: {"signing":{"id":"16 hex digits","public":"ed25519 ID BASE64"}}.
/// The public key is a line for verify_keys and for s3v_manifest_verify.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_info(
    keyring: *const s3v_keyring,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(keyring, "keyring")?;
        let out = output(out, "out")?;
        *out = s3v_bytes::new_handle(keyring.0.info_json().into_bytes());
        Ok(S3V_OK)
    })
}

/// Frees a keyring. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_free(keyring: *mut s3v_keyring) {
    // SAFETY: the caller's promise.
    unsafe { release(keyring) }
}
