//! Put: store a backup
//!
//! Open, write as often as needed, commit: the backup becomes visible only when the commit returns 0. s3v_put_file and
//! s3v_put_fd do all of it in one call.
//!
//! To make a put resumable, set S3V_OPT_CHECKPOINT to a file on a disk that outlives the process. The put creates the
//! file and records in it each step before the next one depends on it: the version id, the parts that the store has,
//! and their checksums. It contains no keys and no bytes of the backup. To resume after a crash, after a reboot or on
//! another host, open the same container and path with the same file, in a vault with the same keyring:
//! s3v_put_offset returns the position in the stream to continue from; write the bytes from there. They must come
//! from the same source: stored parts are not read again. The file is removed when the backup is stored, and by
//! s3v_put_abort; it stays after s3v_put_suspend, after s3v_put_free and after every failure,
//! except if a file changed while it was being stored. One put at a time uses
//! it (S3V_E_BUSY). Refused, and left unchanged, are the checkpoint of another backup or keyring, a file that is not
//! a checkpoint (an empty one is), a link, and a file that other users own or can access (its mode must be 0600):
//! S3V_E_BAD_CHECKPOINT. Where files cannot be locked (flock) or modes are not kept, there is no checkpoint: S3V_E_IO.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use s3vault_core::{Code, Error, Result};

use crate::vault::Put;

use super::boundary::{Exclusive, bytes, hold, new_handle, output, release, text};
use super::config::options;
use super::ctl::with_control;
use super::{S3V_OK, s3v_config, s3v_ctl, s3v_error, s3v_vault, s3v_version};

/// A backup that is being stored. One call at a time, from any thread (S3V_E_BUSY otherwise), except s3v_put_offset.
/// The caller frees it with s3v_put_free.
pub struct s3v_put {
    put: Exclusive<Put>,
    /// Copy of the put's own offset, so that it can be read during a call.
    offset: AtomicU64,
}

impl s3v_put {
    /// Enters the put, and updates the copy of the offset even if the call fails.
    fn call<T>(&self, call: impl FnOnce(&mut Put) -> Result<T>) -> Result<T> {
        let mut put = self.put.enter("put")?;
        let result = call(&mut put);
        self.offset.store(put.offset(), Ordering::Relaxed);
        result
    }
}

/// Starts a backup of `path` in `container`, or resumes one. Options: S3V_OPT_KIND, S3V_OPT_PARENT for an incremental,
/// S3V_OPT_CHECKPOINT, and S3V_OPT_SOURCE, which a stream's manifest repeats if it is "live".
///
/// It returns when the store is ready to receive bytes. Then ask s3v_put_offset where to start: 0, unless a checkpoint
/// is resumed. If the stream had already ended (s3v_put_commit was called), the put finishes by itself: s3v_put_write
/// fails with S3V_E_WRONG_STATE, and s3v_put_commit waits for the version.
///
/// Fails with S3V_E_INVALID_NAME, S3V_E_INVALID_OPTION, S3V_E_BAD_PARENT, S3V_E_BAD_CHECKPOINT, S3V_E_BUSY if another
/// put uses the checkpoint, S3V_E_DISK_FULL or S3V_E_IO for the checkpoint's disk, and with the errors of the store.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_open(
    vault: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_put,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let (container, path) = (text(container, "container")?, text(path, "path")?);
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        let put = with_control(ctl, |control| vault.0.put(container, path, &settings, control))?;
        let offset = AtomicU64::new(put.offset());
        *out = new_handle(s3v_put { put: Exclusive::new(put), offset });
        Ok(S3V_OK)
    })
}

/// Returns the position in the stream to continue from: after s3v_put_open, what the checkpoint already had; from then
/// on, the number of bytes accepted, also after a failed write. It may be called at any time; during another call on
/// the same put it returns the value from before that call. Returns 0 for NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_offset(put: *const s3v_put) -> u64 {
    boundary!(else 0, { put.as_ref().map_or(0, |put| put.offset.load(Ordering::Relaxed)) })
}

/// Adds `len` bytes. It accepts all of them and returns 0, or fails after accepting some; s3v_put_offset says how many.
/// The bytes are copied or sent before it returns. After S3V_E_CANCELLED or S3V_E_STOPPED, and after S3V_E_TIMED_OUT
/// because of `timeout_ms`, the put can continue. After any other failure it cannot; if it has a checkpoint, open it
/// again.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_write(
    put: *mut s3v_put,
    buf: *const c_void,
    len: usize,
    ctl: *const s3v_ctl,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let put = hold(put, "put")?;
        let bytes = bytes(buf, len, "buf")?;
        put.call(|put| with_control(ctl, |control| put.write(bytes, control)))?;
        Ok(S3V_OK)
    })
}

/// Ends the stream, waits until the store has all of it, and makes the backup visible. Call it only if the source has
/// ended without an error: the library cannot tell a stream that broke off from a whole one. `out` may be NULL if the
/// version is not needed.
///
/// After S3V_E_OUTCOME_UNKNOWN (the last request had no answer) call it again: the backup is committed only once. With
/// a checkpoint, s3v_put_suspend is possible too. After S3V_E_CANCELLED or S3V_E_STOPPED, and after S3V_E_TIMED_OUT
/// because of `timeout_ms`, it can be called again as well. After success, only s3v_put_free may follow.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_commit(
    put: *mut s3v_put,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let put = hold(put, "put")?;
        let version = put.call(|put| with_control(ctl, |control| put.commit(control)))?;
        if let Some(out) = out.as_mut() {
            *out = s3v_version::new_handle(version);
        }
        Ok(S3V_OK)
    })
}

/// Stops the put, and waits until its checkpoint has everything that a later s3v_put_open with the same checkpoint
/// needs to resume it. Bytes of parts that the store does not have yet are dropped; after resuming, s3v_put_offset says
/// from where to write them again. Without a checkpoint it does the same as s3v_put_abort. Afterwards only s3v_put_free
/// may follow: any other call fails with S3V_E_SUSPENDED. A triggered `cancel` in `ctl` is ignored, so that this call
/// can follow a cancelled one.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_suspend(put: *mut s3v_put, ctl: *const s3v_ctl, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let put = hold(put, "put")?;
        put.call(|put| with_control(ctl, |control| put.suspend(control)))?;
        Ok(S3V_OK)
    })
}

/// Abandons the backup, and waits until the store has removed the parts it had; the checkpoint is removed. Afterwards
/// only s3v_put_free may follow: any other call fails with S3V_E_WRONG_STATE. A triggered `cancel` in `ctl` is
/// ignored. After a put that failed by itself, nothing is left to do: it returns 0, and the checkpoint stays.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_abort(put: *mut s3v_put, ctl: *const s3v_ctl, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let put = hold(put, "put")?;
        put.call(|put| with_control(ctl, |control| put.abort(control)))?;
        Ok(S3V_OK)
    })
}

/// Frees a put. It never commits and never blocks: an unfinished backup is suspended in the background if it has a
/// checkpoint, and aborted otherwise. s3v_shutdown waits for that. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_free(put: *mut s3v_put) {
    // SAFETY: the caller's promise.
    unsafe { release(put) }
}

/// Stores the file `file` (or a disk, a pipe, or anything else that can be read at that path) and makes the backup
/// visible. Regular files and disks are read by position, several parts at once. `out` may be NULL if the version is
/// not needed. The options and failures are those of s3v_put_open and s3v_put_commit, and S3V_E_SOURCE_CHANGED if a
/// regular file changed before all of it was read; no version is listed then.
///
/// A file counts as changed if its size, modification time (mtime) or status change time (ctime) differs from that at
/// the start of the call, also if it was only renamed or linked. Not seen are writes within the file system's clock
/// tick (some milliseconds) in which the call started, and later writes through a memory mapping to a page that was
/// written before. A disk has no such times, and is not compared: store from a snapshot. With S3V_OPT_SOURCE "live" a
/// file is not compared either: its bytes are stored in order as they are read, up to the size that it had at the
/// start, and the manifest says so.
///
/// With a checkpoint, the same call resumes whatever ended the last one, also a cancel. For a file, only the missing
/// parts are read and sent; its size, inode, mtime and ctime must be those that the first call recorded
/// (S3V_E_SOURCE_CHANGED). A live file is resumed like a pipe, but may have any length. A pipe
/// cannot be rewound: its writer starts from the beginning and must write the same bytes; the part that is already
/// stored is read and dropped without being compared. If the pipe had already ended, the put finishes, and fails with
/// S3V_E_SOURCE_CHANGED afterwards if the pipe has another length now.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_file(
    vault: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    file: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let (container, path) = (text(container, "container")?, text(path, "path")?);
        let file = Path::new(text(file, "file")?);
        let settings = self::options(options)?;
        let version = with_control(ctl, |control| vault.0.put_file(container, path, file, &settings, control))?;
        if let Some(out) = out.as_mut() {
            *out = s3v_version::new_handle(version);
        }
        Ok(S3V_OK)
    })
}

/// Stores what can be read from the open file descriptor `fd`, and makes the backup visible; otherwise as s3v_put_file.
/// A regular file or a disk is stored whole, from its first byte; the descriptor's position is neither used nor moved.
/// A pipe or a socket is read to its end; if it is non-blocking, the call waits for data. The descriptor stays open and
/// remains the caller's: the call works on a duplicate, so it may be closed as soon as the call has returned.
///
/// Since: 0.1.
///
/// # Safety
/// `fd` stays open during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_put_fd(
    vault: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    fd: c_int,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let (container, path) = (text(container, "container")?, text(path, "path")?);
        if fd < 0 {
            return Err(Error::new(Code::InvalidArgument, format!("argument fd is {fd}: not a file descriptor")));
        }
        // SAFETY: not negative; the caller keeps it open, and the system refuses one that is not open.
        let fd = BorrowedFd::borrow_raw(fd);
        let settings = self::options(options)?;
        let version = with_control(ctl, |control| vault.0.put_fd(container, path, fd, &settings, control))?;
        if let Some(out) = out.as_mut() {
            *out = s3v_version::new_handle(version);
        }
        Ok(S3V_OK)
    })
}
