//! Get: restore a backup
//!
//! A backup comes as a stream, into a file, or piece by piece from anywhere in it. The end of a stream and the name of a file
//! come only when all of it is what the signed manifest says. Each reads in slices of 8 MiB, several at once; one whose
//! connection breaks goes on behind the last byte that came.
//!
//! Options: verify and holes, as each function says.

use std::ffi::{c_char, c_void};
use std::os::fd::BorrowedFd;
use std::path::Path;

use s3vault_core::{Code, Error};

use crate::vault::{Get, Random};

use super::boundary::{Exclusive, bytes_mut, give, hold, output, release, text};
use super::config::options;
use super::ctl::controlled;
use super::{S3V_OK, s3v_config, s3v_ctl, s3v_error, s3v_version};

/// A backup on its way from the store. s3v_get_read: one call at a time, from any thread (S3V_E_BUSY otherwise);
/// s3v_get_pread: any number at once. It keeps the version alive. The caller frees it with s3v_get_free.
pub struct s3v_get {
    get: Exclusive<Get>,
    random: Random,
}

/// Begins to restore a version as a stream, or to read in it. Nothing is sent before the first read.
///
/// Option verify says which bytes are handed out. end: in order as they come, which takes no more memory for parts of
/// gigabytes; the last 64 KiB of each part wait until its hash is right, and the end until all is; damage that is found
/// after bytes of its part were handed out is an error at once. part: only from parts whose hash is right; a part must
/// fit into a quarter of the process's memory (S3V_E_INVALID_OPTION at the first read otherwise).
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
        let random = get.random();
        *out = give(s3v_get { get: Exclusive::new(get), random });
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
        let mut get = get.get.enter("get")?;
        *count = match buffer {
            [] => 0,
            buffer => controlled(ctl, |control| get.read(buffer, control))?,
        };
        Ok(S3V_OK)
    })
}

/// Reads `len` bytes from byte `offset` of the backup on, wherever s3v_get_read is; their number, smaller than `len` only
/// at the backup's end, is written to `count`. Several threads may call it at once.
///
/// The bytes are not verified, unless the get was opened with verify = part: then the parts that they are in are read
/// whole and verified, and the last one of them is kept for the next call.
///
/// Fails as s3v_get_read does.
///
/// # Safety
/// `g` is a live get; `len` bytes at `buf` may be written; `ctl` is NULL or as its type says; `count` may be written;
/// `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_pread(
    g: *mut s3v_get,
    offset: u64,
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
        *count = controlled(ctl, |control| get.random.read(offset, buffer, control))?;
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

/// Restores a version into the file `file`, reading several slices at once (S3V_OPT_PARALLEL_DOWNLOAD). The file
/// appears under its name when it is whole and verified; one that was there is replaced, through a link too. A block
/// device is written in place, where it is as large as the backup (S3V_E_DISK_FULL) and nobody has it mounted (S3V_E_IO); a
/// pipe is written in order, once somebody reads from it. What they hold counts only after success.
///
/// Until then it is written beside its name. When the process is killed, or the store or the line fails, or the call is
/// cancelled, that stays, and the next restore of the same version to the same name reads only the parts that are missing
/// (those that are there are read from the disk and verified); after any other error it is removed.
///
/// Option holes keeps holes where the data is zero. Option verify is for a pipe: see s3v_get_open.
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

/// Restores a version into an open file descriptor, which stays open. A regular file, or a disk, is written by position
/// from its begin; the file then has the backup's length, and what a disk has behind it stays. It may not be open for
/// appending. Anything else, like a pipe, is written in order. What is written counts only after success. Options as of s3v_get_file.
///
/// Fails with S3V_E_INVALID_ARGUMENT for a negative `fd`, and as s3v_get_file does.
///
/// # Safety
/// `ver` is a live version; `fd` is open for writing, and stays so during the call; `options` is NULL or live; `ctl` is NULL
/// or as its type says; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_fd(
    ver: *mut s3v_version,
    fd: i32,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(ver, "ver")?;
        if fd < 0 {
            return Err(Error::new(Code::InvalidArgument, format!("argument fd is {fd}, which is no descriptor")));
        }
        // SAFETY: the caller's promise.
        let fd = BorrowedFd::borrow_raw(fd);
        let settings = self::options(options)?;
        controlled(ctl, |control| version.version.restore_fd(fd, &settings, control))?;
        Ok(S3V_OK)
    })
}
