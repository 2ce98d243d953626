//! Vault
//!
//! The way to the store: what is called container and path here is a machine and one of its disks there.

use std::sync::Arc;

use s3vault_core::crypto::keyring::Keyring;

use crate::vault::Vault;

use super::boundary::{give, hold, output, release};
use super::config::options;
use super::ctl::controlled;
use super::{S3V_OK, s3v_config, s3v_ctl, s3v_error, s3v_keyring};

/// An open vault. Any thread may use it, also several at once. Puts, versions and lists keep what they need of it:
/// it may be freed before them. The caller frees it with s3v_vault_free. A vault does not survive a fork: in the child
/// calls return S3V_E_FORKED.
pub struct s3v_vault(pub(super) Vault);

/// Opens a vault with the options of `o`, and asks the store whether it is there. Backups are signed with `keyring`,
/// whose key is trusted beside those of S3V_OPT_VERIFY_KEYS; with NULL they are not signed. Where no key is trusted,
/// signatures are not checked; else what is unsigned is refused (S3V_E_UNTRUSTED).
///
/// Fails with S3V_E_NO_SUCH_BUCKET, S3V_E_ACCESS_DENIED, S3V_E_SIGNATURE_REFUSED, S3V_E_CONNECT and others: the
/// message and hint of the error are meant for people.
///
/// # Safety
/// `o` is NULL or live, `keyring` is NULL or live, `ctl` is NULL or as its type says; `out` may be written; `err` is
/// NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_vault_open(
    o: *const s3v_config,
    keyring: *mut s3v_keyring,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_vault,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let settings = options(o)?;
        let keyring: Option<Arc<Keyring>> = match keyring.is_null() {
            true => None,
            false => Some(hold(keyring, "keyring")?.0.clone()),
        };
        let out = output(out, "out")?;
        let vault = controlled(ctl, |control| Vault::open(&settings, keyring, control))?;
        *out = give(s3v_vault(vault));
        Ok(S3V_OK)
    })
}

/// Gives a vault new keys: `o` holds S3V_OPT_ACCESS_KEY, S3V_OPT_SECRET_KEY and, for temporary keys,
/// S3V_OPT_SESSION_TOKEN, and nothing else. They are tried with one signed request; on failure the old ones stay. Calls
/// that are under way go on with the new ones. It may be called inside of a callback: so the event
/// S3V_EVENT_CREDENTIALS is answered.
///
/// Fails with S3V_E_SIGNATURE_REFUSED, S3V_E_UNKNOWN_ACCESS_KEY, S3V_E_ACCESS_DENIED, S3V_E_CONNECT and others.
///
/// # Safety
/// `v` and `o` are live, `ctl` is NULL or as its type says; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_vault_update(
    v: *mut s3v_vault,
    o: *const s3v_config,
    ctl: *const s3v_ctl,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(v, "vault")?;
        let settings = options(o)?;
        controlled(ctl, |control| vault.0.update(&settings, control))?;
        Ok(S3V_OK)
    })
}

/// Frees a vault. NULL is taken.
///
/// # Safety
/// `v` is NULL or a vault that was not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_vault_free(v: *mut s3v_vault) {
    // SAFETY: the caller's promise.
    unsafe { release(v) }
}
