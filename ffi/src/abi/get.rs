//! Get: restore a backup
//!
//! Every byte is verified against the signed manifest before it is handed out.

use std::ffi::{c_char, c_void};
use std::path::Path;

use crate::vault::Get;

use super::boundary::{Exclusive, bytes_mut, give, hold, output, release, text};
use super::config::options;
use super::ctl::controlled;
use super::{S3V_OK, s3v_config, s3v_ctl, s3v_error, s3v_version};

/// A backup on its way from the store. One call at a time, from any thread (S3V_E_BUSY otherwise). It keeps the version
/// alive. The caller frees it with s3v_get_free.
pub struct s3v_get(Exclusive<Get>);

/// Begins to restore a version as a stream. There are no options yet: pass NULL.
///
/// # Safety
/// `ver` is a live version; `options` is NULL or live; `ctl` is NULL or as its type says; `out` may be written; `err` is
/// NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_open(
    ver: *mut s3v_version,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_get,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(ver, "ver")?;
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        let get = controlled(ctl, |control| version.version.open(&settings, control))?;
        *out = give(s3v_get(Exclusive::new(get)));
        Ok(S3V_OK)
    })
}

/// Reads up to `len` bytes; their number, at least 1, is written to `count`, and 0 at the end, after all was verified.
/// Only then the backup is whole: what was read before a failure must not be taken for it. With `len` 0 it reads
/// nothing, and `count` 0 says nothing.
///
/// Fails with S3V_E_DAMAGED, S3V_E_DATA_MISSING, and as the store does.
///
/// # Safety
/// `g` is a live get; `len` bytes at `buf` may be written; `ctl` is NULL or as its type says; `count` may be written;
/// `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_read(
    g: *mut s3v_get,
    buf: *mut c_void,
    len: usize,
    ctl: *const s3v_ctl,
    count: *mut usize,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let get = hold(g, "g")?;
        let buffer = bytes_mut(buf, len, "buf")?;
        let count = output(count, "count")?;
        let mut get = get.0.enter("get")?;
        *count = match buffer {
            [] => 0,
            buffer => controlled(ctl, |control| get.read(buffer, control))?,
        };
        Ok(S3V_OK)
    })
}

/// Frees a get, whether it came to its end or not. NULL is taken.
///
/// # Safety
/// `g` is NULL or a get that was not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_free(g: *mut s3v_get) {
    // SAFETY: the caller's promise.
    unsafe { release(g) }
}

/// Restores a version into the file `file`, reading several ranges at once (S3V_OPT_PARALLEL_DOWNLOAD). The file
/// appears under its name when it is whole and verified; one that was there is replaced, through a link too. A block
/// device is written in place, a pipe in order: what they hold counts only after success. There are no options yet:
/// pass NULL.
///
/// Fails with S3V_E_DISK_FULL, S3V_E_IO, and as s3v_get_read does.
///
/// # Safety
/// `ver` is a live version; `file` is NUL-terminated; `options` is NULL or live; `ctl` is NULL or as its type says; `err`
/// is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_file(
    ver: *mut s3v_version,
    file: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(ver, "ver")?;
        let file = Path::new(text(file, "file")?);
        let settings = self::options(options)?;
        controlled(ctl, |control| version.version.restore(file, &settings, control))?;
        Ok(S3V_OK)
    })
}
