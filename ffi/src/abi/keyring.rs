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
//! keys, except those that are in a KMS or an HSM (s3v_keyring_custom): it names them.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use s3vault_core::crypto::external::{ExternalKek, LONGEST};
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::{Code, Error, Result};
use zeroize::Zeroizing;

use crate::keyring::{self, Keys, escrow};

use super::boundary::{bytes, c_text, hold, new_handle, output, release, text, text_or_none};
use super::config::options;
use super::{S3V_OK, s3v_bytes, s3v_config, s3v_error};

/// Keys. Any thread may use it, also while another changes it. A vault keeps the keys that the keyring had when the
/// vault was opened, so the keyring may be freed then, and a change is for vaults that are opened after it. The caller
/// frees it with s3v_keyring_free.
pub struct s3v_keyring(Arc<Keys>);

impl s3v_keyring {
    fn new_handle(keys: Keys) -> *mut s3v_keyring {
        new_handle(s3v_keyring(Arc::new(keys)))
    }

    /// The keys, which a vault keeps.
    pub(super) fn keys(&self) -> Arc<Keys> {
        self.0.clone()
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
        *out = s3v_keyring::new_handle(keyring);
        Ok(S3V_OK)
    })
}

/// Returns the public contents of a keyring as JSON: {"signing":{"id":"16 hex digits","public":"ed25519 ID BASE64"},
/// "earlier":["ed25519 ID BASE64"],"keks":[{"id":"16 hex digits","created":Unix milliseconds,"escrowed":true or
/// false,"external":true or false,"current":true or false}],"retired":["16 hex digits"]}, where earlier has the public
/// keys of the signing keys before (s3v_keyring_new_signing_key), and retired the ids of the KEKs that s3v_retire
/// dropped. A public key is a line for verify_keys and for s3v_manifest_verify.
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
        *out = s3v_bytes::new_handle(keyring.0.keyring().info_json().into_bytes());
        Ok(S3V_OK)
    })
}

/// Returns the content of the keyring file, which is secret: to keep a keyring that is in memory only. External KEKs
/// are not in it.
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

/// Replaces the signing key by a new one, and returns its id: it signs the backups of vaults that are opened from now
/// on. The public key of the old one stays in the keyring, so that older backups verify, and so does what a program
/// that still has the old key stores later, until s3v_keyring_distrust. Export the keyring before the next backup: an
/// escrow file from before does not have the new key. A put that was suspended or interrupted does not resume under the
/// new key (S3V_E_BAD_CHECKPOINT): let it end before, or remove its checkpoint.
///
/// Fails as s3v_keyring_add.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_new_signing_key(
    keyring: *mut s3v_keyring,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(keyring, "keyring")?;
        let out = output(out, "out")?;
        *out = s3v_bytes::new_handle(keyring.0.new_signing_key()?.into_bytes());
        Ok(S3V_OK)
    })
}

/// Drops the public key `id` of an earlier signing key. Vaults that are opened from now on trust nothing that it has
/// signed: such a version is not read any more, and no job removes it. Before that, delete the versions that it has
/// signed, or store them again.
///
/// Fails with S3V_E_KEYRING if the keyring has no such key, or it is the one that signs; and as s3v_keyring_add.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_distrust(
    keyring: *mut s3v_keyring,
    id: *const c_char,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(keyring, "keyring")?;
        keyring.0.distrust(text(id, "id")?)?;
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

/// Adds the KEKs that the escrow file in the `len` bytes at `buf` has and the keyring lacks, except those that
/// s3v_retire dropped from it. The `secret_len` bytes at `secret` are the passphrase, or the content of a file of age
/// identities, as age-keygen makes it.
///
/// Returns a report as JSON: {"added":["KEK ID"],"left_out":["KEK ID"],"external":["KEK ID"],"vault_id":"32 hex
/// digits","verify_keys":["ed25519 ID BASE64"],"settings": {"bucket":"..."}}, where left_out has those that were
/// retired; vault_id is null, and settings is empty, if the export did not know them. The external KEKs are in a KMS or
/// an HSM (s3v_keyring_custom): backups whose keys they wrap need them, too.
///
/// Fails with S3V_E_KEYRING if the escrow file cannot be opened, or has a signing key that is neither the keyring's nor
/// an earlier one of it: restore it into a keyring
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
        *out = s3v_keyring::new_handle(Keys::restore(path, file, secret)?);
        Ok(S3V_OK)
    })
}

/// A data key for a function of s3v_keyring_custom to wrap or to unwrap. The library owns it; it is valid until the
/// function returns. Later versions may add fields at the end: `size` says how many bytes are present.
#[repr(C)]
pub struct s3v_key_call {
    /// Size of this struct in bytes.
    pub size: u32,
    /// Id of the KEK, as s3v_keyring_custom got it.
    pub kek: *const c_char,
    /// To wrap: the data key, which is secret. To unwrap: what the function that wraps returned.
    pub data: *const c_void,
    /// Number of bytes at `data`: 32 to wrap.
    pub data_len: usize,
    /// What the data key belongs to: vault, container, path and version. The same bytes to wrap and to unwrap.
    pub associated: *const c_void,
    /// Number of bytes at `associated`, up to 2 KiB.
    pub associated_len: usize,
    /// The function writes its result here.
    pub out: *mut c_void,
    /// Most bytes that it may write: 4096.
    pub out_capacity: usize,
    /// The function sets this to the number of bytes that it wrote: 1 to 4096 to wrap, 32 to unwrap. It is 0 before.
    pub out_len: usize,
    /// If it fails, the function may write here why: UTF-8 that ends with NUL. It becomes part of the error's message.
    pub message: *mut c_char,
    /// Most bytes that it may write there, with the NUL: 512.
    pub message_capacity: usize,
}

/// Wraps or unwraps a data key. `ctx` comes from s3v_keyring_custom. Returns 0, or any other number if it fails.
pub type s3v_key_fn = Option<unsafe extern "C" fn(ctx: *mut c_void, call: *mut s3v_key_call) -> i32>;

/// Frees a `ctx`.
pub type s3v_free_fn = Option<unsafe extern "C" fn(ctx: *mut c_void)>;

/// Creates a keyring whose current KEK is in a key management service (KMS) or a hardware security module (HSM), behind
/// functions of the caller. It has the keys of `keyring` as they are now, whose signing key signs and whose KEKs still
/// open older backups, and is in memory only: changes of it do not change the file of `keyring`. To rotate a vault from
/// one external KEK to another, call it again with the keyring that it made.
///
/// `kek_id` names the key, in 16 lower-case hex digits: the first 8 bytes of the SHA-256 of the key's name in the KMS
/// or HSM (its ARN, or its URI) are right. It must always be the same for the same key, since backups are found by it.
///
/// `wrap` is called when a version is stored or rotated, and `unwrap` right after it, since a key that cannot be
/// unwrapped must be found before the first byte is stored: twice for a put if another process stores the same backup.
/// `unwrap` is also called once for each version that is read, resumed or rotated, and, with encryption = sse-c, for
/// each that is removed. What `wrap` returns may differ each time.
///
/// Both are called on the calling thread or on a thread of the library, with all signals blocked there, and on several
/// threads at the same time. They block the operation that needs them; no time-out ends them. Once a call that was
/// cancelled has returned, they are not called for it again, but one that is running continues. They must return
/// normally (no longjmp, no C++ exception) and must not call this library.
///
/// `associated` says which version a data key belongs to, and must be needed to unwrap it: pass it as the associated
/// data of AES-GCM, or its SHA-256 in the encryption context of a KMS. Where the key cannot bind it (AES key wrap),
/// wrap the data key together with the SHA-256 of `associated`, and compare that when you unwrap. Otherwise those who
/// can write to the bucket can exchange the keys of versions, which only the signatures then show.
///
/// `free_ctx`, which may be NULL, is called once, with `ctx`, when the last keyring and vault that need the functions
/// are freed and no call runs: on any thread. If this function fails, it is not called.
///
/// No escrow is needed for the key, and s3v_keyring_export names it only: a restore needs the KMS or HSM, too.
/// The keyring that is restored has no current KEK.
///
/// Fails with S3V_E_INVALID_ARGUMENT if `kek_id` is not 16 lower-case hex digits, or the keyring has it already. A call
/// whose function fails, or returns something else, fails with S3V_E_EXTERNAL_KEY, and its message has the id and the
/// function's message.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_keyring_custom(
    keyring: *const s3v_keyring,
    kek_id: *const c_char,
    wrap: s3v_key_fn,
    unwrap: s3v_key_fn,
    ctx: *mut c_void,
    free_ctx: s3v_free_fn,
    out: *mut *mut s3v_keyring,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let keyring = hold(keyring, "keyring")?;
        let id = text(kek_id, "kek_id")?;
        let missing = |name: &str| Error::new(Code::InvalidArgument, format!("argument {name} is NULL"));
        let wrap = wrap.ok_or_else(|| missing("wrap"))?;
        let unwrap = unwrap.ok_or_else(|| missing("unwrap"))?;
        let out = output(out, "out")?;
        let kek = c_text(id);
        let functions = Arc::new(Functions { kek, wrap, unwrap, ctx, free_ctx, owns_ctx: AtomicBool::new(false) });
        let made = keyring.0.with_external(id, functions.clone())?;
        functions.owns_ctx.store(true, Ordering::Release);
        *out = new_handle(s3v_keyring(made.into()));
        Ok(S3V_OK)
    })
}

type KeyFn = unsafe extern "C" fn(ctx: *mut c_void, call: *mut s3v_key_call) -> i32;

/// The caller's functions.
struct Functions {
    kek: CString,
    wrap: KeyFn,
    unwrap: KeyFn,
    ctx: *mut c_void,
    free_ctx: s3v_free_fn,
    /// The keyring was made: `ctx` is freed with the functions.
    owns_ctx: AtomicBool,
}

// SAFETY: the header says that the functions are called on several threads, each with `ctx`.
unsafe impl Send for Functions {}
// SAFETY: as above.
unsafe impl Sync for Functions {}

impl Functions {
    /// Calls one of the functions. The result may be secret.
    fn call(&self, function: KeyFn, data: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![0; LONGEST]);
        let mut message = [0_u8; 512];
        let mut call = s3v_key_call {
            size: size_of::<s3v_key_call>() as u32,
            kek: self.kek.as_ptr(),
            data: data.as_ptr().cast(),
            data_len: data.len(),
            associated: associated.as_ptr().cast(),
            associated_len: associated.len(),
            out: out.as_mut_ptr().cast(),
            out_capacity: out.len(),
            out_len: 0,
            message: message.as_mut_ptr().cast(),
            message_capacity: message.len(),
        };
        // SAFETY: the caller of s3v_keyring_custom promises that the function may be called with `ctx`.
        let returned = unsafe { function(self.ctx, &mut call) };
        let length = call.out_len;
        let why = match (returned, CStr::from_bytes_until_nul(&message).unwrap_or_default().to_string_lossy()) {
            (0, _) if length <= LONGEST => {
                out.truncate(length);
                return Ok(out);
            }
            (0, _) => format!("out_len is {length}, more than out_capacity"),
            (code, text) if text.is_empty() => format!("the function returned {code}"),
            (_, text) => text.into_owned(),
        };
        Err(Error::new(Code::ExternalKey, why))
    }
}

impl ExternalKek for Functions {
    fn wrap(&self, data_key: &[u8; 32], associated: &[u8]) -> Result<Vec<u8>> {
        self.call(self.wrap, data_key, associated).map(|wrapped| wrapped.to_vec())
    }

    fn unwrap(&self, wrapped: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.call(self.unwrap, wrapped, associated)
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        if let (true, Some(free_ctx)) = (*self.owns_ctx.get_mut(), self.free_ctx) {
            // SAFETY: the caller's promise; nothing uses `ctx` any more.
            unsafe { free_ctx(self.ctx) }
        }
    }
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
