//! The library
//!
//! These functions need no handle. Any thread may call them at any time.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use s3vault_core::{Code, Error, settings};

use crate::process;
use crate::transport::runtime;

use super::boundary::{c_text, output, quiet, text};
use super::{S3V_OK, s3v_error};

/// Version of this interface. It is 0 until release 1.0; from then on each incompatible change raises it.
pub const S3V_ABI_VERSION: u32 = 0;

/// Returns the interface version of the loaded library. Compare it with S3V_ABI_VERSION before any other call.
///
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_abi_version() -> u32 {
    S3V_ABI_VERSION
}

/// Returns the library's name and version, for example "s3vault 0.1.0". The text is valid until the program ends.
///
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_version_text() -> *const c_char {
    const TEXT: &CStr = match CStr::from_bytes_with_nul(concat!("s3vault ", env!("CARGO_PKG_VERSION"), "\0").as_bytes())
    {
        Ok(text) => text,
        Err(_) => c"s3vault",
    };
    TEXT.as_ptr()
}

/// Returns the table of all options as JSON: an array of objects with key, scope ("vault", "call", "process",
/// "command"), calls (the names of those that take it), kind ("text", "file", "bool", "number", "size", "words", "time",
/// "duration"), words, least, most, default, secret, live, doc. The text stays valid permanently.
///
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_settings_json() -> *const c_char {
    static JSON: OnceLock<CString> = OnceLock::new();
    quiet(ptr::null(), || JSON.get_or_init(|| c_text(&settings::options_json())).as_ptr())
}

/// Sets a limit of the whole process: memory, connections, bandwidth_up or bandwidth_down. It applies at once, also to
/// transfers in progress; if a limit is lowered, resources in use count against it until they are released. An empty
/// value restores the default.
///
/// Fails with S3V_E_UNKNOWN_OPTION, whose hint names the nearest key, and with S3V_E_INVALID_OPTION, also for an option
/// that is not a limit of the process.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_process_set(key: *const c_char, value: *const c_char, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        process::set(text(key, "key")?, text(value, "value")?)?;
        Ok(S3V_OK)
    })
}

/// Resources that all transfers of the process use right now, and their limits. The caller owns the struct and sets
/// `size` to sizeof(s3v_stats).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct s3v_stats {
    /// sizeof(s3v_stats) as the caller was compiled; later fields are not written.
    pub size: u32,
    /// Transfers and other calls to stores in progress.
    pub transfers: u32,
    /// Bytes of memory that are in use or reserved for payload, and of large replies.
    pub memory: u64,
    /// The highest value of `memory` so far.
    pub memory_peak: u64,
    /// The limit of `memory`.
    pub memory_limit: u64,
    /// Requests in progress.
    pub connections: u64,
    /// The highest value of `connections` so far.
    pub connections_peak: u64,
    /// The limit of `connections`.
    pub connections_limit: u64,
    /// Payload bytes sent since the process started.
    pub bytes_up: u64,
    /// Payload bytes received since the process started.
    pub bytes_down: u64,
}

/// Size of the first version of `s3v_stats`: no caller has a smaller one.
const FIRST_STATS: u32 = size_of::<s3v_stats>() as u32;

/// Fills in what the process uses right now.
///
/// Since: 0.1.
///
/// # Safety
/// `out` points to as many bytes as its `size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_process_stats(out: *mut s3v_stats, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let size = output(out, "out")?.size;
        if size < FIRST_STATS {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("out.size is {size}, less than the {FIRST_STATS} bytes of s3v_stats"),
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

/// Waits until background work is done (uploads that are being aborted), at most `timeout_ms` milliseconds, then stops
/// the library's threads. Call it before the program ends. Calls in progress fail with S3V_E_WRONG_STATE, and so do
/// later ones on a put or a stream that was open; any other call starts the threads again.
///
/// Fails with S3V_E_TIMED_OUT if work was left: parts may then stay in the store. Fails with S3V_E_STORE if the store
/// refused to abort an upload after its call had ended: the message names bucket, key and upload id, and the permission
/// that is missing. Fails with S3V_E_WRONG_STATE if a backup was complete before its put could be stopped: the message
/// names its version. Calls that wait for the abort report the same as S3V_EVENT_ORPHAN.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_shutdown(timeout_ms: u64, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        runtime::shutdown(Duration::from_millis(timeout_ms))?;
        Ok(S3V_OK)
    })
}
