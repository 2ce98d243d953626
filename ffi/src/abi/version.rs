//! Version: one stored backup

use std::ffi::c_char;
use std::ptr;

use s3vault_core::{Code, Error};

use crate::vault::Version;

use super::boundary::{hold, new_handle, output, release, text};
use super::config::options;
use super::ctl::with_control;
use super::row::OwnedRow;
use super::{S3V_OK, s3v_bytes, s3v_config, s3v_ctl, s3v_error, s3v_row, s3v_vault};

/// A backup in the store; if the vault trusts a key, its signature was checked. Immutable: any number of threads may
/// use it at once. It keeps the vault alive. The caller frees it with s3v_version_free.
pub struct s3v_version {
    pub(super) version: Version,
    row: OwnedRow,
}

impl s3v_version {
    /// Makes a handle, which the caller frees.
    pub(super) fn new_handle(version: Version) -> *mut s3v_version {
        let row = OwnedRow::new(version.row());
        new_handle(s3v_version { version, row })
    }
}

/// Finds a version of `path` in `container`: the newest, or the one that S3V_OPT_VERSION or S3V_OPT_AS_OF names. With
/// S3V_OPT_PIN, a manifest other than the pinned one is refused (S3V_E_PIN_MISMATCH).
///
/// If the newest version does not verify, the error names the newest one that does. With S3V_OPT_SEEN in the vault's
/// configuration, a newest version that is older than one that was seen before is S3V_E_ROLLED_BACK.
///
/// Fails with S3V_E_NOT_FOUND, S3V_E_UNTRUSTED, S3V_E_FORMAT, and with the errors of the store.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_find(
    vault: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let (container, path) = (text(container, "container")?, text(path, "path")?);
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        let version = with_control(ctl, |control| vault.0.find(container, path, &settings, control))?;
        *out = s3v_version::new_handle(version);
        Ok(S3V_OK)
    })
}

/// Returns the description of the version, valid until the version is freed. Returns NULL for NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_info(version: *const s3v_version) -> *const s3v_row {
    boundary!(else ptr::null(), { version.as_ref().map_or(ptr::null(), |version| version.row.as_ptr()) })
}

/// Returns the signed object of the version as it is stored, for s3v_manifest_verify and the verification page.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_manifest(
    version: *mut s3v_version,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(version, "version")?;
        let out = output(out, "out")?;
        // Nothing to wait for yet: the object was read when the version was found.
        let object = with_control(ctl, |_| Ok(version.version.object().to_vec()))?;
        *out = s3v_bytes::new_handle(object);
        Ok(S3V_OK)
    })
}

/// Returns the data key of a version that is stored with `encryption` sse-c or envelope: 32 bytes, which are zeroized
/// when they are freed. It is secret: anyone who has it and can read the data can decrypt it. It is meant for an
/// emergency in which the data is read without this library. With sse-c it is the key of the SSE-C headers.
///
/// Fails with S3V_E_NOT_FOUND if the version has no data key, with S3V_E_WRONG_KEY if the keyring does not have the
/// key-encryption key that it is wrapped with, and with the errors of the store.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_key(
    version: *mut s3v_version,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(version, "version")?;
        let out = output(out, "out")?;
        let key = with_control(ctl, |control| version.version.data_key(control))?;
        let Some(key) = key else {
            let vid = &version.version.row().vid;
            return Err(Error::new(
                Code::NotFound,
                format!("version {vid} has no data key: it is not encrypted with one"),
            )
            .with_hint("Read the data without a key."));
        };
        *out = s3v_bytes::new_handle(key.bytes().to_vec());
        Ok(S3V_OK)
    })
}

/// Frees a version; the backup stays in the store. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_free(version: *mut s3v_version) {
    // SAFETY: the caller's promise.
    unsafe { release(version) }
}
