//! Put: store a backup
//!
//! Open, write as often as needed, commit: only a commit that returned 0 makes the backup visible. Or s3v_put_file in
//! one call.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use s3vault_core::Result;

use crate::vault::Put;

use super::boundary::{Exclusive, bytes, give, hold, output, release, text};
use super::config::options;
use super::ctl::controlled;
use super::{S3V_OK, s3v_config, s3v_ctl, s3v_error, s3v_vault, s3v_version};

/// A backup on its way to the store. One call at a time, from any thread (S3V_E_BUSY otherwise), but for
/// s3v_put_offset. The caller frees it with s3v_put_free.
pub struct s3v_put {
    put: Exclusive<Put>,
    /// A copy of the put's own, so that it can be read while a call is inside.
    offset: AtomicU64,
}

impl s3v_put {
    /// Enters the put, and keeps the offset's copy true though the call fails.
    fn call<T>(&self, call: impl FnOnce(&mut Put) -> Result<T>) -> Result<T> {
        let mut put = self.put.enter("put")?;
        let result = call(&mut put);
        self.offset.store(put.offset(), Ordering::Relaxed);
        result
    }
}

/// Begins a backup of `path` in `container`. Options: S3V_OPT_KIND, and S3V_OPT_PARENT for an incremental.
///
/// Fails with S3V_E_INVALID_NAME, S3V_E_INVALID_OPTION, S3V_E_BAD_PARENT, and as the store does.
///
/// # Safety
/// `v` is a live vault; `container` and `path` are NUL-terminated; `options` is NULL or live; `ctl` is NULL or as its
/// type says; `out` may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_open(
    v: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_put,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(v, "v")?;
        let (container, path) = (text(container, "container")?, text(path, "path")?);
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        let put = controlled(ctl, |control| vault.0.put(container, path, &settings, control))?;
        let offset = AtomicU64::new(put.offset());
        *out = give(s3v_put { put: Exclusive::new(put), offset });
        Ok(S3V_OK)
    })
}

/// Bytes that were taken so far: after a write that failed, the stream goes on here. May be called at any time; during
/// another call on the same put it tells what was taken before that call. 0 for NULL.
///
/// # Safety
/// `p` is NULL or a live put.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_offset(p: *const s3v_put) -> u64 {
    boundary!(else 0, { p.as_ref().map_or(0, |put| put.offset.load(Ordering::Relaxed)) })
}

/// Adds `len` bytes. Takes all of them and returns 0, or fails having taken some; s3v_put_offset says how far it came.
/// The bytes are copied or sent before it returns. After S3V_E_CANCELLED, S3V_E_STOPPED or S3V_E_TIMED_OUT of the
/// call itself the put can go on.
///
/// # Safety
/// `p` is a live put; `len` bytes at `buf` may be read; `ctl` is NULL or as its type says; `err` is NULL or may be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_write(
    p: *mut s3v_put,
    buf: *const c_void,
    len: usize,
    ctl: *const s3v_ctl,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let put = hold(p, "p")?;
        let bytes = bytes(buf, len, "buf")?;
        put.call(|put| controlled(ctl, |control| put.write(bytes, control)))?;
        Ok(S3V_OK)
    })
}

/// Ends the stream, waits until the store has all of it, and makes the backup visible. `out` may be NULL where the
/// version is not needed.
///
/// After S3V_E_OUTCOME_UNKNOWN (the last request had no answer) call it again: the same backup is committed once. After
/// success only s3v_put_free is left.
///
/// # Safety
/// `p` is a live put; `ctl` is NULL or as its type says; `out` is NULL or may be written; `err` is NULL or may be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_commit(
    p: *mut s3v_put,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let put = hold(p, "p")?;
        let version = put.call(|put| controlled(ctl, |control| put.commit(control)))?;
        if let Some(out) = out.as_mut() {
            *out = s3v_version::give(version);
        }
        Ok(S3V_OK)
    })
}

/// Gives the backup up, and waits until the store has removed what it had of it. Only s3v_put_free is left then.
///
/// # Safety
/// `p` is a live put; `ctl` is NULL or as its type says; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_abort(p: *mut s3v_put, ctl: *const s3v_ctl, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let put = hold(p, "p")?;
        put.call(|put| controlled(ctl, |control| put.abort(control)))?;
        Ok(S3V_OK)
    })
}

/// Frees a put. It never commits and never blocks: an unfinished backup is aborted in the background. NULL is taken.
///
/// # Safety
/// `p` is NULL or a put that was not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_free(p: *mut s3v_put) {
    // SAFETY: the caller's promise.
    unsafe { release(p) }
}

/// Stores a file, or whatever else can be read at the path `file`, and makes it visible. A regular file is read by
/// position, in several parts at once. `out` may be NULL where the version is not needed. Options and failures as for
/// s3v_put_open and s3v_put_commit, and S3V_E_SOURCE_CHANGED where the file changed meanwhile.
///
/// # Safety
/// `v` is a live vault; `container`, `path` and `file` are NUL-terminated; `options` is NULL or live; `ctl` is NULL or
/// as its type says; `out` is NULL or may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_file(
    v: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    file: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(v, "v")?;
        let (container, path) = (text(container, "container")?, text(path, "path")?);
        let file = Path::new(text(file, "file")?);
        let settings = self::options(options)?;
        let version = controlled(ctl, |control| vault.0.put_file(container, path, file, &settings, control))?;
        if let Some(out) = out.as_mut() {
            *out = s3v_version::give(version);
        }
        Ok(S3V_OK)
    })
}
