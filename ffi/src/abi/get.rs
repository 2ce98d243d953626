//! Get: restore a backup
//!
//! A backup can be read as a stream, restored into a file, or read at any position. A stream reports its end, and a
//! file appears under its name, only when all of it matches the signed manifest. Data is read in slices of 8 MiB,
//! several at once; when a connection breaks, its slice resumes after the last byte received.
//!
//! Options: verify and holes, as each function says.

use std::ffi::{c_char, c_void};
use std::os::fd::BorrowedFd;
use std::path::Path;

use s3vault_core::{Code, Error};

use crate::vault::{Get, PositionalReader};

use super::boundary::{Exclusive, bytes_mut, hold, new_handle, output, release, text};
use super::config::options;
use super::ctl::with_control;
use super::{S3V_OK, s3v_bytes, s3v_config, s3v_ctl, s3v_error, s3v_version};

/// A backup that is being read. s3v_get_read: one call at a time, from any thread (S3V_E_BUSY otherwise);
/// s3v_get_pread: any number at once. It keeps the version alive. The caller frees it with s3v_get_free.
pub struct s3v_get {
    get: Exclusive<Get>,
    random: PositionalReader,
}

/// Opens a version for reading, as a stream or by position. No request is sent before the first read.
///
/// Option verify says which bytes are returned. end: bytes in order as they arrive, which needs no more memory for
/// parts of gigabytes. The last 64 KiB of each part are held back until the part's hash has been checked, and the end
/// of the stream until everything has; damage that is found after bytes of its part were returned is reported at once.
/// part: only bytes of parts whose hash has been checked; a part must fit into a quarter of the process's memory limit
/// (otherwise the first read fails with S3V_E_INVALID_OPTION).
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_open(
    version: *mut s3v_version,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_get,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(version, "version")?;
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        let get = with_control(ctl, |control| version.version.open(&settings, control))?;
        let random = get.positional();
        *out = new_handle(s3v_get { get: Exclusive::new(get), random });
        Ok(S3V_OK)
    })
}

/// Reads up to `len` bytes, and writes their number to `count`: at least 1, or 0 at the end, after everything was
/// verified. Only then is the backup complete: do not use what was read before a failure as a backup. If `len` is 0,
/// nothing is read, and a `count` of 0 does not mean the end.
///
/// Fails with S3V_E_DAMAGED, S3V_E_DATA_MISSING, and with the errors of the store.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_read(
    get: *mut s3v_get,
    buf: *mut c_void,
    len: usize,
    ctl: *const s3v_ctl,
    count: *mut usize,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let get = hold(get, "get")?;
        let buffer = bytes_mut(buf, len, "buf")?;
        let count = output(count, "count")?;
        let mut get = get.get.enter("get")?;
        *count = match buffer {
            [] => 0,
            buffer => with_control(ctl, |control| get.read(buffer, control))?,
        };
        Ok(S3V_OK)
    })
}

/// Reads `len` bytes from byte `offset` of the backup, independently of s3v_get_read, and writes their number to
/// `count`; it is less than `len` only at the end of the backup. Several threads may call it at once.
///
/// The bytes are not verified, unless the get was opened with verify = part: then the parts that contain them are read
/// whole and verified, and the last of these parts is kept for the next call.
///
/// Fails as s3v_get_read does.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_pread(
    get: *mut s3v_get,
    offset: u64,
    buf: *mut c_void,
    len: usize,
    ctl: *const s3v_ctl,
    count: *mut usize,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let get = hold(get, "get")?;
        let buffer = bytes_mut(buf, len, "buf")?;
        let count = output(count, "count")?;
        *count = with_control(ctl, |control| get.random.read(offset, buffer, control))?;
        Ok(S3V_OK)
    })
}

/// Frees a get, whether or not it was read to the end. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_free(get: *mut s3v_get) {
    // SAFETY: the caller's promise.
    unsafe { release(get) }
}

/// Restores a version into the file `file`, reading several slices at once (S3V_OPT_PARALLEL_DOWNLOAD). The file
/// appears under its name when it is complete and verified; an existing file is replaced. A symbolic link stays: the
/// file that it leads to is replaced, or created. A file at which something is mounted, and one that the system protects
/// from being replaced, is refused before anything is downloaded; s3v_get_fd writes into the former.
/// A block device is written in place; it must be at least as large as the backup (S3V_E_DISK_FULL) and not mounted
/// (S3V_E_IO). A pipe is written in order, once it has a reader. The contents of a device or a pipe are valid only
/// after success.
///
/// Until it is complete, the file is written under another name in the same folder. If the process is killed, the store
/// or the network fails, or the call is cancelled, that partial file stays, and the next restore of the same version to
/// the same name reads only the missing parts (the others are read from the disk and verified). After any other error
/// the partial file is removed, except one that is complete but could not get its name: the hint names it. Where files
/// cannot be locked (flock) or modes are not kept, a restore works, but is not resumed. The partial files of older
/// versions are removed once a newer one is restored to the name.
///
/// Option holes keeps holes where the data is zero. Option verify applies to a pipe: see s3v_get_open.
///
/// Fails with S3V_E_DISK_FULL, S3V_E_IO, and as s3v_get_read does.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_file(
    version: *mut s3v_version,
    file: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(version, "version")?;
        let file = Path::new(text(file, "file")?);
        let settings = self::options(options)?;
        with_control(ctl, |control| version.version.restore(file, &settings, control))?;
        Ok(S3V_OK)
    })
}

/// Restores a version into an open file descriptor, which stays open. A regular file or a disk is written by position
/// from its start; a file then has the length of the backup, and a larger disk keeps its contents after that, as a log
/// event says. The
/// descriptor must not be open for appending. Anything else, such as a pipe, is written in order. What is written is
/// valid only after success. The options are those of s3v_get_file.
///
/// Fails with S3V_E_INVALID_ARGUMENT for a negative `fd`, and as s3v_get_file does.
///
/// Since: 0.1.
///
/// # Safety
/// `fd` is open for writing, and stays open during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_fd(
    version: *mut s3v_version,
    fd: i32,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(version, "version")?;
        if fd < 0 {
            return Err(Error::new(Code::InvalidArgument, format!("argument fd is {fd}: not a file descriptor")));
        }
        // SAFETY: the caller's promise.
        let fd = BorrowedFd::borrow_raw(fd);
        let settings = self::options(options)?;
        with_control(ctl, |control| version.version.restore_fd(fd, &settings, control))?;
        Ok(S3V_OK)
    })
}

/// Reads all data of a version and compares it with the signed manifest, as a restore does, and keeps none of it.
/// `report` receives an object in JSON:
///
///   verdict         good: all of it is what was stored. damaged: bytes differ. missing: an object is gone or was
///                   replaced. untrusted: the locator is not signed by a trusted key, or cannot be read.
///                   unverifiable: it is there, and nothing tells whether it is what was stored, as for data that was
///                   adopted without hashes
///   container, path, vid
///   bytes, parts    what was read and is right
///   first_bad_part  null, or the first part that is not right: part and extent are numbers from 1; key is that of the
///                   extent; start is the part's offset in the extent, offset its offset in the backup, length its
///                   length, all in bytes
///   reason          why the verdict is not good
///
/// There are no options yet: pass NULL. A verdict is no error; the call fails if nothing is known of the version, with
/// the errors of the store.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_get_verify(
    version: *mut s3v_version,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    report: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(version, "version")?;
        let settings = self::options(options)?;
        let out = output(report, "report")?;
        let verified = with_control(ctl, |control| version.version.verify(&settings, control))?;
        *out = s3v_bytes::new_handle(verified.to_json().into_bytes());
        Ok(S3V_OK)
    })
}
