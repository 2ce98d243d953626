//! Keyring
//!
//! A keyring holds the key that signs backups, and the key-encryption keys (KEKs), which wrap the keys of encrypted
//! backups. It is a file of its own that only its owner may read (mode 0600). To verify backups, the public key is
//! enough.
//!
//! One KEK is current: it is for new backups. The first is current at once; a later one becomes current by
//! s3v_keyring_activate, after a copy of it was exported (escrow): if the only file with a key is lost, so is every
//! backup that needs the key.
//!
//! An escrow file is an age file (https://age-encryption.org) in ASCII armor, which any age tool opens. It has all
//! keys.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::{Code, Error};

use crate::keyring::{self, Keys, escrow};

use super::boundary::{bytes, hold, new_handle, output, release, text, text_or_none};
use super::config::options;
use super::{S3V_OK, s3v_bytes, s3v_config, s3v_error};

/// Keys. Any thread may use it, also while another changes it. A vault keeps the keys that the keyring had when the
/// vault was opened, so the keyring may be freed then, and a change is for vaults that are opened after it. The caller
/// frees it with s3v_keyring_free.
pub struct s3v_keyring(Keys);

impl s3v_keyring {
    /// The keys as they are now.
    pub(super) fn keyring(&self) -> Arc<Keyring> {
        self.0.keyring()
    }
}

/// Opens a keyring: the file `path` or, if `path` is NULL, the `len` bytes at `buf`, which are the content of such a
/// file. If `create` is 1, it creates a keyring with a new signing key and a first KEK instead: in the file `path`,
/// which must not exist yet, or, if `path` is NULL, in memory only.
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
            (0, Some(path), []) => Keys::open(path)?,
            (0, None, [_, ..]) => Keys::in_memory(Keyring::from_bytes(content)?),
            (1, Some(path), []) => Keys::create(path)?,
            (1, None, []) => Keys::in_memory(keyring::generate()?),
            (0, None, []) => return Err(Error::new(Code::InvalidArgument, "path is NULL and buf is empty")),
            (0, Some(_), _) => return Err(Error::new(Code::InvalidArgument, "path and buf were both given")),
            (1, ..) => {
                return Err(Error::new(Code::InvalidArgument, "create is 1, so buf must be empty"));
            }
            _ => return Err(Error::new(Code::InvalidArgument, format!("argument create is {create}, not 0 or 1"))),
        };
        *out = new_handle(s3v_keyring(keyring));
        Ok(S3V_OK)
    })
}

/// Returns the public contents of a keyring as JSON: {"signing":{"id":"16 hex digits","public":"ed25519 ID BASE64"},
/// "keks":[{"id":"16 hex digits","created":Unix milliseconds,"escrowed":true or false,"current":true or false}]}. The
/// public key is a line for verify_keys and for s3v_manifest_verify.
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
        *out = s3v_bytes::new_handle(keyring.keyring().info_json().into_bytes());
        Ok(S3V_OK)
    })
}

/// Returns the content of the keyring file, which is secret: to keep a keyring that is in memory only.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_bytes(
    keyring: *const s3v_keyring,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(keyring, "keyring")?;
        let out = output(out, "out")?;
        *out = s3v_bytes::new_handle(keyring.0.to_bytes().to_vec());
        Ok(S3V_OK)
    })
}

/// Adds a new KEK and returns its id. If it is the first, it is current at once; otherwise it becomes current by
/// s3v_keyring_activate.
///
/// This and every other change of a keyring that was opened from a file replaces the file: at once, with mode 0600,
/// under a lock between processes, and with what other processes changed in the meantime. If it fails, nothing was
/// changed.
///
/// Fails with S3V_E_BUSY if another process has the file locked for a minute, with S3V_E_DISK_FULL, S3V_E_IO, and with
/// S3V_E_KEYRING if the file is another keyring now.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_add(
    keyring: *mut s3v_keyring,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(keyring, "keyring")?;
        let out = output(out, "out")?;
        *out = s3v_bytes::new_handle(keyring.0.add()?.into_bytes());
        Ok(S3V_OK)
    })
}

/// Makes the KEK `id` current: it is for the backups of vaults that are opened from now on.
///
/// Fails with S3V_E_KEYRING if the keyring has no such KEK, or none of its exports has it; and as s3v_keyring_add.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_activate(
    keyring: *mut s3v_keyring,
    id: *const c_char,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(keyring, "keyring")?;
        keyring.0.activate(text(id, "id")?)?;
        Ok(S3V_OK)
    })
}

/// Exports all keys as an escrow file, and notes that all KEKs are escrowed. With `config`, which may be NULL, the
/// file also has the vault's id, its verify_keys, and its settings without secrets. The `secret_len` bytes at `secret`
/// are a passphrase if `how` is "passphrase"; if it is "recipients", they are lines of age recipients (age1...),
/// without secrets.
///
/// If `path` is not NULL, the escrow file is also created there, before anything is noted, and must not exist yet. If
/// it is NULL, keep the bytes before you rely on the note.
///
/// Fails with S3V_E_INVALID_ARGUMENT if the passphrase is empty or a line is not a recipient, with S3V_E_KEYRING if
/// `path` cannot be created, and as s3v_keyring_add. A passphrase takes a second and 256 MiB of memory.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_export(
    keyring: *mut s3v_keyring,
    config: *const s3v_config,
    how: *const c_char,
    secret: *const c_void,
    secret_len: usize,
    path: *const c_char,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(keyring, "keyring")?;
        let settings = if config.is_null() { None } else { Some(options(config)?) };
        let reader = escrow::Reader::new(text(how, "how")?, bytes(secret, secret_len, "secret")?)?;
        let path = text_or_none(path, "path")?.map(Path::new);
        let out = output(out, "out")?;
        *out = s3v_bytes::new_handle(keyring.0.export(settings.as_ref(), &reader, path)?);
        Ok(S3V_OK)
    })
}

/// Adds the KEKs that the escrow file in the `len` bytes at `buf` has and the keyring lacks. The `secret_len` bytes at
/// `secret` are the passphrase, or the content of a file of age identities, as age-keygen makes it.
///
/// Returns a report as JSON: {"added":["KEK ID"],"vault_id":"32 hex digits","verify_keys":["ed25519 ID
/// BASE64"],"settings": {"bucket":"..."}}, of which vault_id is null, and settings is empty, if the export did not
/// know them.
///
/// Fails with S3V_E_KEYRING if the escrow file cannot be opened, or has another signing key: restore it into a keyring
/// file of its own with s3v_keyring_restore. And as s3v_keyring_add.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_import(
    keyring: *mut s3v_keyring,
    buf: *const c_void,
    len: usize,
    secret: *const c_void,
    secret_len: usize,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(keyring, "keyring")?;
        let (file, secret) = (bytes(buf, len, "buf")?, bytes(secret, secret_len, "secret")?);
        let out = output(out, "out")?;
        *out = s3v_bytes::new_handle(keyring.0.import(file, secret)?.into_bytes());
        Ok(S3V_OK)
    })
}

/// Creates a keyring from an escrow file, with all of its keys: in the file `path`, which must not exist yet, or, if
/// `path` is NULL, in memory only. The other arguments are those of s3v_keyring_import; calling that afterwards adds
/// nothing, and returns the report.
///
/// Fails with S3V_E_KEYRING if the escrow file cannot be opened, or the file cannot be created.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_restore(
    path: *const c_char,
    buf: *const c_void,
    len: usize,
    secret: *const c_void,
    secret_len: usize,
    out: *mut *mut s3v_keyring,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let path = text_or_none(path, "path")?.map(Path::new);
        let (file, secret) = (bytes(buf, len, "buf")?, bytes(secret, secret_len, "secret")?);
        let out = output(out, "out")?;
        *out = new_handle(s3v_keyring(Keys::restore(path, file, secret)?));
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
