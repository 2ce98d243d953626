//! Put: store a backup
//!
//! Open, write as often as needed, commit: only a commit that returned 0 makes the backup visible. Or s3v_put_file and
//! s3v_put_fd in one call.
//!
//! A put that can go on: S3V_OPT_CHECKPOINT names a file, on a disk that outlives the process. It is created where there
//! is none (mode 0600), and each step is on disk before the next builds on it: which version it is, the parts that the
//! store has, their checksums. It holds no keys and no bytes of the backup. After a crash, a reboot or on another host,
//! open the same container and path with the same file: s3v_put_offset says where in the stream to go on; write the bytes
//! from there. They must be those of the same source: what was stored is not read again. The file is removed when the
//! backup is stored, and by s3v_put_abort; it stays after s3v_put_suspend, s3v_put_free and every failure. One put at a
//! time uses it (S3V_E_BUSY); one of another backup is refused (S3V_E_BAD_CHECKPOINT), and left as it is.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use s3vault_core::{Code, Error, Result};

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

/// Begins a backup of `path` in `container`, or goes on with one. Options: S3V_OPT_KIND, S3V_OPT_PARENT for an
/// incremental, and S3V_OPT_CHECKPOINT.
///
/// It returns when the store can take bytes. Then ask s3v_put_offset where to begin: at 0, but where a checkpoint goes
/// on. Where the stream had ended before (s3v_put_commit was called), the put comes to its end by itself: s3v_put_write fails
/// with S3V_E_WRONG_STATE, and s3v_put_commit waits for the version.
///
/// Fails with S3V_E_INVALID_NAME, S3V_E_INVALID_OPTION, S3V_E_BAD_PARENT, S3V_E_BAD_CHECKPOINT, S3V_E_BUSY where another
/// put uses the checkpoint, S3V_E_DISK_FULL and S3V_E_IO of its disk, and as the store does.
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

/// Where in the stream to go on: after s3v_put_open, what a checkpoint had before; from then on, the bytes that were
/// taken, after a write that failed too. May be called at any time; during another call on the same put it tells what was
/// taken before that call. 0 for NULL.
///
/// # Safety
/// `p` is NULL or a live put.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_offset(p: *const s3v_put) -> u64 {
    boundary!(else 0, { p.as_ref().map_or(0, |put| put.offset.load(Ordering::Relaxed)) })
}

/// Adds `len` bytes. Takes all of them and returns 0, or fails having taken some; s3v_put_offset says how far it came.
/// The bytes are copied or sent before it returns. After S3V_E_CANCELLED, S3V_E_STOPPED or S3V_E_TIMED_OUT of the
/// call itself the put can go on. After another failure it is over; where it has a checkpoint, open it again.
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
/// After S3V_E_OUTCOME_UNKNOWN (the last request had no answer) call it again: the same backup is committed once; or, with
/// a checkpoint, s3v_put_suspend. After S3V_E_CANCELLED, S3V_E_STOPPED or S3V_E_TIMED_OUT of the call itself call it
/// again, too. After success only s3v_put_free is left.
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

/// Stops the put where it stands, and waits until its checkpoint has all that it needs to go on: a later s3v_put_open
/// with the same checkpoint does. Bytes of parts that the store does not have yet are dropped; s3v_put_offset of the put
/// that goes on says from where to write them again. Without a checkpoint it is s3v_put_abort. Only s3v_put_free is left
/// then. A triggered `cancel` in `ctl` is ignored, so that a call that was cancelled can be followed by this one.
///
/// # Safety
/// `p` is a live put; `ctl` is NULL or as its type says; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_suspend(p: *mut s3v_put, ctl: *const s3v_ctl, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let put = hold(p, "p")?;
        put.call(|put| controlled(ctl, |control| put.suspend(control)))?;
        Ok(S3V_OK)
    })
}

/// Gives the backup up, and waits until the store has removed what it had of it; the checkpoint is removed. Only
/// s3v_put_free is left then. A triggered `cancel` in `ctl` is ignored.
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

/// Frees a put. It never commits and never blocks: an unfinished backup with a checkpoint is suspended in the background,
/// another is aborted. s3v_shutdown waits for that. NULL is taken.
///
/// # Safety
/// `p` is NULL or a put that was not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_free(p: *mut s3v_put) {
    // SAFETY: the caller's promise.
    unsafe { release(p) }
}

/// Stores a file, or whatever else can be read at the path `file`, and makes it visible. A regular file and a disk are
/// read by position, in several parts at once. `out` may be NULL where the version is not needed. Options and failures as
/// for s3v_put_open and s3v_put_commit, and S3V_E_SOURCE_CHANGED where the file changed meanwhile.
///
/// With a checkpoint, the same call goes on after whatever ended the last one, a cancel too. A file's missing parts alone
/// are read and sent; its size, inode or time of change must not have changed (S3V_E_SOURCE_CHANGED). A pipe cannot go
/// back: its writer begins anew, and must write the same bytes; as many as are stored are read, dropped and not compared.
/// Where it had ended before, that put comes to its end, and a pipe of another length fails with S3V_E_SOURCE_CHANGED after
/// it.
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

/// Stores what can be read from the open file descriptor `fd`, and makes it visible; all else as s3v_put_file. A regular
/// file and a disk are stored whole, from their first byte; the descriptor's position is neither used nor moved. A pipe, a
/// socket and the like are read to their end; one that does not block is waited for. The descriptor stays the caller's
/// and open: the call works on a duplicate, and it may be closed as soon as the call has returned.
///
/// # Safety
/// `v` is a live vault; `container` and `path` are NUL-terminated; `fd` stays open during the call; `options` is NULL or
/// live; `ctl` is NULL or as its type says; `out` is NULL or may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_fd(
    v: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    fd: c_int,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(v, "v")?;
        let (container, path) = (text(container, "container")?, text(path, "path")?);
        if fd < 0 {
            return Err(Error::new(Code::InvalidArgument, format!("argument fd is {fd}, which is no open file")));
        }
        // SAFETY: not negative; the caller keeps it open, and one that is not open is refused by the system.
        let fd = BorrowedFd::borrow_raw(fd);
        let settings = self::options(options)?;
        let version = controlled(ctl, |control| vault.0.put_fd(container, path, fd, &settings, control))?;
        if let Some(out) = out.as_mut() {
            *out = s3v_version::give(version);
        }
        Ok(S3V_OK)
    })
}
