//! The library
//!
//! These need no handle; any thread may call them at any time.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use s3vault_core::{Code, Error, settings};

use crate::process;
use crate::transport::runtime;

use super::boundary::{c_text, output, quiet, text};
use super::{S3V_OK, s3v_error};

/// The version of this interface: 0 until release 1.0, then raised by whatever breaks a caller.
pub const S3V_ABI_VERSION: u32 = 0;

/// The interface that the loaded library has. Compare it with S3V_ABI_VERSION before anything else.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_abi_version() -> u32 {
    S3V_ABI_VERSION
}

/// The library's name and version, for example "s3vault 0.1.0"; valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_version_text() -> *const c_char {
    const TEXT: &CStr = match CStr::from_bytes_with_nul(concat!("s3vault ", env!("CARGO_PKG_VERSION"), "\0").as_bytes())
    {
        Ok(text) => text,
        Err(_) => c"s3vault",
    };
    TEXT.as_ptr()
}

/// All options as JSON; valid for ever. An array of objects with key, scope ("vault", "call", "process", "command"), kind
/// ("text", "bool", "number", "words", "time"), words, least, most, default, secret, live, doc.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_settings_json() -> *const c_char {
    static JSON: OnceLock<CString> = OnceLock::new();
    quiet(ptr::null(), || JSON.get_or_init(|| c_text(&settings::options_json())).as_ptr())
}

/// Sets a limit of the whole process: memory, connections, bandwidth_up or bandwidth_down. Transfers that are under way
/// heed it from now on; a lowered limit takes effect as what is held comes back. An empty value sets the default.
///
/// Fails with S3V_E_UNKNOWN_OPTION, whose hint names the nearest key, or S3V_E_INVALID_OPTION, also for keys that are
/// not the process's.
///
/// # Safety
/// `key` and `value` are NUL-terminated; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_process_set(key: *const c_char, value: *const c_char, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        process::set(text(key, "key")?, text(value, "value")?)?;
        Ok(S3V_OK)
    })
}

/// What all transfers of the process use at a moment, and what they may. The caller's; set `size` to sizeof(s3v_stats).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct s3v_stats {
    /// sizeof(s3v_stats) as the caller was compiled; fields beyond it are not written.
    pub size: u32,
    /// Transfers and other calls to stores that are under way.
    pub transfers: u32,
    /// Bytes of memory for payload that are held or reserved.
    pub memory: u64,
    /// The most that they were.
    pub memory_peak: u64,
    /// The most that they may be.
    pub memory_limit: u64,
    /// Requests that are under way.
    pub connections: u64,
    /// The most that were at once.
    pub connections_peak: u64,
    /// The most that may be.
    pub connections_limit: u64,
    /// Payload bytes that were sent since the process began.
    pub bytes_up: u64,
    /// Payload bytes that were received since the process began.
    pub bytes_down: u64,
}

/// The size of the first version of `s3v_stats`: no caller has a smaller one.
const FIRST_STATS: u32 = size_of::<s3v_stats>() as u32;

/// Fills in what the process uses at this moment.
///
/// # Safety
/// `out` has as many bytes as its `size` says; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_process_stats(out: *mut s3v_stats, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let size = output(out, "out")?.size;
        if size < FIRST_STATS {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("s3v_stats has size {size}, less than {FIRST_STATS}"),
            )
            .with_hint("Set size to sizeof(s3v_stats)."));
        }
        let stats = process::stats();
        *out = s3v_stats {
            size,
            transfers: stats.transfers,
            memory: stats.memory,
            memory_peak: stats.memory_peak,
            memory_limit: stats.memory_limit,
            connections: stats.connections,
            connections_peak: stats.connections_peak,
            connections_limit: stats.connections_limit,
            bytes_up: stats.bytes_up,
            bytes_down: stats.bytes_down,
        };
        Ok(S3V_OK)
    })
}

/// Waits until nothing goes on in the background (uploads that are being aborted), then stops the library's threads;
/// `timeout_ms` milliseconds at most. Call it before the program ends. Calls that other threads are in end with an
/// error; a later call starts the threads anew.
///
/// Fails with S3V_E_TIMED_OUT where work was left: parts may then stay in the store until they are swept.
///
/// # Safety
/// `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_shutdown(timeout_ms: u64, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        runtime::shutdown(Duration::from_millis(timeout_ms))?;
        Ok(S3V_OK)
    })
}
