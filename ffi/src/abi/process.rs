//! The library
//!
//! These need no handle; any thread may call them at any time.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use s3vault_core::settings;

use crate::transport::runtime;

use super::boundary::{c_text, quiet};
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

/// All options as JSON; valid for ever. An array of objects with key, scope ("vault", "call", "command"), kind
/// ("text", "bool", "number", "words", "time"), words, least, most, default, secret, live, doc.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_settings_json() -> *const c_char {
    static JSON: OnceLock<CString> = OnceLock::new();
    quiet(ptr::null(), || JSON.get_or_init(|| c_text(&settings::options_json())).as_ptr())
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
