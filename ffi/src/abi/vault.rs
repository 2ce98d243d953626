//! Vault
//!
//! A vault is the connection to the store. Its containers are usually machines, and the paths in a container their
//! disks.
//!
//! The access key needs these permissions on the bucket and its objects, and no other:
//!
//!   s3v_vault_open, s3v_list_*           s3:ListBucket s3:GetObject
//!   s3v_list_uploads                     s3:ListBucketMultipartUploads s3:GetObject
//!   s3v_version_find, s3v_list_chain     s3:ListBucket s3:GetObject
//!   s3v_get_*                            s3:ListBucket s3:GetObject s3:GetObjectVersion
//!   s3v_put_*                            s3:ListBucket s3:GetObject s3:PutObject
//!   s3v_put_abort, or a put that fails   these, and s3:AbortMultipartUpload
//!   a put that resumes a checkpoint      these, and s3:ListMultipartUploadParts
//!   a put whose outcome is unknown       these, and s3:ListBucketVersions s3:GetObjectVersion
//!
//! If each container has a bucket of its own, lists of all containers and of uploads need s3:ListAllMyBuckets too.
//!
//! With s3:GetBucketVersioning, which is not needed, a bucket without versioning is refused before anything is written.

use std::sync::Arc;

use s3vault_core::{Code, Error, Result};

use crate::keyring::Keys;
use crate::vault::{Initialized, Vault};

use super::boundary::{hold, new_handle, output, release};
use super::config::options;
use super::ctl::with_control;
use super::{S3V_OK, s3v_config, s3v_ctl, s3v_error, s3v_keyring};

/// An open vault. Any number of threads may use it at once. Puts, versions and lists keep what they need of it, so it
/// may be freed before them. The caller frees it with s3v_vault_free. A vault does not survive a fork: in the child,
/// calls return S3V_E_FORKED.
pub struct s3v_vault(pub(super) Vault, Option<Arc<Keys>>);

impl s3v_vault {
    /// The keyring with which it was opened.
    pub(super) fn keys(&self) -> Result<&Keys> {
        self.1.as_deref().ok_or_else(|| {
            Error::new(Code::Keyring, "the vault was opened without a keyring, so it has no key-encryption key")
                .with_hint("Open the vault with the keyring of its owner.")
        })
    }
}

/// Opens a vault with the options in `config`, and checks it against the store. Backups are signed with `keyring`,
/// whose key is trusted in addition to those of S3V_OPT_VERIFY_KEYS; if `keyring` is NULL, backups are not signed. If
/// no key is trusted, signatures are not checked; otherwise unsigned versions are refused (S3V_E_UNTRUSTED).
///
/// Fails with S3V_E_NO_SUCH_BUCKET, S3V_E_ACCESS_DENIED, S3V_E_SIGNATURE_REFUSED, S3V_E_CONNECT and others. Show the
/// message and the hint of the error to the user.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_vault_open(
    config: *const s3v_config,
    keyring: *mut s3v_keyring,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_vault,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let settings = options(config)?;
        let keys = match keyring.is_null() {
            true => None,
            false => Some(hold(keyring, "keyring")?.keys()),
        };
        let out = output(out, "out")?;
        let keyring = keys.as_ref().map(|keys| keys.keyring());
        let vault = with_control(ctl, |control| Vault::open(&settings, keyring, control))?;
        *out = new_handle(s3v_vault(vault, keys));
        Ok(S3V_OK)
    })
}

/// Replaces the credentials of a vault: `config` holds S3V_OPT_ACCESS_KEY, S3V_OPT_SECRET_KEY and, for temporary keys,
/// S3V_OPT_SESSION_TOKEN, and nothing else. The new ones are tried with one signed request; if it fails, the old ones
/// stay. Calls in progress continue with the new ones. It may be called inside a callback, to answer
/// S3V_EVENT_CREDENTIALS.
///
/// Fails with S3V_E_SIGNATURE_REFUSED, S3V_E_UNKNOWN_ACCESS_KEY, S3V_E_ACCESS_DENIED, S3V_E_CONNECT and others.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_vault_update(
    vault: *mut s3v_vault,
    config: *const s3v_config,
    ctl: *const s3v_ctl,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let settings = options(config)?;
        with_control(ctl, |control| vault.0.update(&settings, control))?;
        Ok(S3V_OK)
    })
}

/// Makes the vault before its first put: checks that the bucket's versioning fits the mode (S3V_E_VERSIONING), and
/// writes the vault's description, vault.json, unless it is there. Returns 1 if it wrote the description, and 0 if
/// the vault was there, or if each container has a bucket of its own, which its first put makes. A first put does
/// the same.
///
/// Fails with S3V_E_VAULT_MISMATCH if the bucket has another vault, and with the errors of the store.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_vault_init(vault: *mut s3v_vault, ctl: *const s3v_ctl, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let made = with_control(ctl, |control| vault.0.init(control))?;
        Ok(i32::from(made == Initialized::Made))
    })
}

/// Frees a vault. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_vault_free(vault: *mut s3v_vault) {
    // SAFETY: the caller's promise.
    unsafe { release(vault) }
}
