//! Configuration and options of a call
//!
//! Both are the same: values by key. The keys are the S3V_OPT_ constants at the end of this file; the table behind
//! them (s3v_settings_json) says for each whether it belongs to a vault or to a call. What is not set has the
//! table's default. Nothing is read from a file or from the environment unless one of the calls below asks for it;
//! what is set later wins.

use std::ffi::c_char;
use std::path::Path;
use std::sync::{RwLock, TryLockError};

use s3vault_core::settings::{self, Settings};
use s3vault_core::{Code, Error, Result};

use super::boundary::{give, hold, output, quiet, release, text, text_or_none};
use super::{S3V_OK, s3v_bytes, s3v_error};

/// Values by key. One thread at a time may change it (S3V_E_BUSY otherwise); calls that only read it, such as
/// s3v_put_open, may share it. They copy what they need: it may be changed or freed as soon as they return. The
/// caller frees it with s3v_config_free.
pub struct s3v_config(RwLock<Settings>);

impl s3v_config {
    fn change(&self, change: impl FnOnce(&mut Settings) -> Result<()>) -> Result<i32> {
        let mut settings = self.0.try_write().map_err(|e| refused(&e))?;
        // All or nothing: a file with one bad line changes no value.
        let mut changed = settings.clone();
        change(&mut changed)?;
        *settings = changed;
        Ok(S3V_OK)
    }

    fn copy(&self) -> Result<Settings> {
        Ok(self.0.try_read().map_err(|e| refused(&e))?.clone())
    }
}

fn refused<T>(e: &TryLockError<T>) -> Error {
    match e {
        TryLockError::WouldBlock => Error::new(Code::Busy, "another call is changing or reading this config"),
        TryLockError::Poisoned(_) => Error::new(Code::Internal, "an earlier call on this config ended in a defect"),
    }
}

/// A copy of the options of a call; NULL is none.
///
/// # Safety
/// `options` is NULL or a config that was not freed.
pub(super) unsafe fn options(options: *const s3v_config) -> Result<Settings> {
    if options.is_null() {
        return Ok(Settings::new());
    }
    // SAFETY: the caller's promise.
    unsafe { hold(options, "options") }?.copy()
}

/// A config in which nothing is set. NULL only after a defect of the library.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_config_new() -> *mut s3v_config {
    quiet(std::ptr::null_mut(), || give(s3v_config(RwLock::new(Settings::new()))))
}

/// Sets the value of a key; an empty value unsets it. The value is checked at once.
///
/// Fails with S3V_E_UNKNOWN_OPTION, whose hint names the nearest key, or S3V_E_INVALID_OPTION.
///
/// # Safety
/// `c` is a live config; `key` and `value` are NUL-terminated; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_set(
    c: *mut s3v_config,
    key: *const c_char,
    value: *const c_char,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let config = hold(c, "c")?;
        let (key, value) = (text(key, "key")?, text(value, "value")?);
        config.change(|settings| settings.set(key, value))
    })
}

/// The value of a key as text: what was set, else the default. With a NULL key, all that was set, as a JSON object.
/// Secrets are shown as ***.
///
/// # Safety
/// `c` is a live config; `key` is NULL or NUL-terminated; `out` may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_get(
    c: *const s3v_config,
    key: *const c_char,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let config = hold(c, "c")?;
        let key = text_or_none(key, "key")?;
        let out = output(out, "out")?;
        let settings = config.copy()?;
        let shown = match key {
            None => serde_json::Value::from_iter(settings.shown()).to_string(),
            Some(key) => {
                let row = settings::option(key)?;
                let set = settings.shown().find(|(key, _)| *key == row.key);
                set.map_or(row.default, |(_, value)| value).to_owned()
            }
        };
        *out = s3v_bytes::give(shown.into_bytes());
        Ok(S3V_OK)
    })
}

/// Loads a TOML file: one flat table whose keys are the options. Values are strings, booleans and whole numbers; an
/// array of strings is one value with a line for each (verify_keys). The name of a file (keyring, ca_file) is relative
/// to the folder of the TOML file. Either all values are set or none.
///
/// Fails with S3V_E_CONFIG if the file cannot be read or is not such a table, and as s3v_config_set does for its keys
/// and values; the message names the file and the line.
///
/// # Safety
/// `c` is a live config; `file` is NUL-terminated; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_load(c: *mut s3v_config, file: *const c_char, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let config = hold(c, "c")?;
        let file = text(file, "file")?;
        config.change(|settings| crate::config::load(settings, Path::new(file)))
    })
}

/// Loads the environment: for each option of a vault, the variable S3VAULT_ and the key in upper case. An empty variable
/// unsets the key. Options of a call are ignored. Any other variable that starts with S3VAULT_ is ignored with a
/// warning, which s3v_vault_open reports as an S3V_EVENT_LOG. Either all values are set or none. No other thread may
/// change the environment meanwhile.
///
/// Fails with S3V_E_INVALID_OPTION; the message names the variable.
///
/// # Safety
/// `c` is a live config; `err` is NULL or may be written; the environment is not changed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_env(c: *mut s3v_config, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let config = hold(c, "c")?;
        config.change(crate::config::environment)
    })
}

/// Frees a config. NULL is taken.
///
/// # Safety
/// `c` is NULL or a config that was not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_free(c: *mut s3v_config) {
    // SAFETY: the caller's promise.
    unsafe { release(c) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_read_by_many_and_changed_by_one() {
        let config = s3v_config(RwLock::new(Settings::new()));
        let reading = config.0.read().unwrap();
        assert!(config.copy().is_ok());
        assert_eq!(config.change(|_| Ok(())).unwrap_err().code(), Code::Busy);
        drop(reading);
        let changing = config.0.write().unwrap();
        assert_eq!(config.copy().unwrap_err().code(), Code::Busy);
        drop(changing);
        assert_eq!(config.change(|settings| settings.set("bucket", "b")).unwrap(), S3V_OK);
    }
}
