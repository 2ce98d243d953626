//! Version: one backup that is there

use std::ffi::c_char;
use std::ptr;

use crate::vault::Version;

use super::boundary::{give, hold, output, release, text};
use super::config::options;
use super::ctl::controlled;
use super::row::OwnedRow;
use super::{S3V_OK, s3v_bytes, s3v_config, s3v_ctl, s3v_error, s3v_row, s3v_vault};

/// A backup in the store; its signature was checked where the vault trusts a key. Immutable: any thread may use it, also
/// several at once. It keeps the vault alive. The caller frees it with s3v_version_free.
pub struct s3v_version {
    pub(super) version: Version,
    row: OwnedRow,
}

impl s3v_version {
    /// Makes the handle that the caller frees.
    pub(super) fn give(version: Version) -> *mut s3v_version {
        let row = OwnedRow::new(version.row());
        give(s3v_version { version, row })
    }
}

/// Finds a backup of `path` in `container`: the newest, or the one that S3V_OPT_VERSION or S3V_OPT_AS_OF names. With
/// S3V_OPT_PIN, another manifest than the pinned one is refused (S3V_E_PIN_MISMATCH).
///
/// Fails with S3V_E_NOT_FOUND, S3V_E_UNTRUSTED, S3V_E_FORMAT, and as the store does.
///
/// # Safety
/// `v` is a live vault; `container` and `path` are NUL-terminated; `options` is NULL or live; `ctl` is NULL or as its
/// type says; `out` may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_find(
    v: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(v, "v")?;
        let (container, path) = (text(container, "container")?, text(path, "path")?);
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        let version = controlled(ctl, |control| vault.0.find(container, path, &settings, control))?;
        *out = s3v_version::give(version);
        Ok(S3V_OK)
    })
}

/// What is known of the version; valid until the version is freed. NULL for NULL.
///
/// # Safety
/// `ver` is NULL or a live version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_info(ver: *const s3v_version) -> *const s3v_row {
    boundary!(else ptr::null(), { ver.as_ref().map_or(ptr::null(), |version| version.row.as_ptr()) })
}

/// The signed object of the version, as it is stored: what s3v_manifest_verify and the verification page take.
///
/// # Safety
/// `ver` is a live version; `ctl` is NULL or as its type says; `out` may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_manifest(
    ver: *mut s3v_version,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(ver, "ver")?;
        let out = output(out, "out")?;
        // Nothing to wait for yet: the object is read when the version is found.
        let object = controlled(ctl, |_| Ok(version.version.object().to_vec()))?;
        *out = s3v_bytes::give(object);
        Ok(S3V_OK)
    })
}

/// Frees a version; the backup stays in the store. NULL is taken.
///
/// # Safety
/// `ver` is NULL or a version that was not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_free(ver: *mut s3v_version) {
    // SAFETY: the caller's promise.
    unsafe { release(ver) }
}
