//! Configuration and options of a call
//!
//! Both are an s3v_config: values by key. The keys are the S3V_OPT_ constants at the end of this file; the option
//! table (s3v_settings_json) says for each key whether it applies to a vault or to a call. A key that is not set has
//! the default from that table. No file and no environment variable is read unless one of the calls below asks for it.
//! A later value replaces an earlier one.

use std::ffi::c_char;
use std::path::Path;
use std::sync::{RwLock, TryLockError};

use s3vault_core::settings::{self, Settings};
use s3vault_core::{Code, Error, Result};

use super::boundary::{hold, new_handle, output, quiet, release, text, text_or_none};
use super::{S3V_OK, s3v_bytes, s3v_error};

/// Values by key. One thread at a time may change a config (others get S3V_E_BUSY); calls that only read it, such as
/// s3v_put_open, may share it. They copy what they need, so it may be changed or freed as soon as they return. The
/// caller frees it with s3v_config_free.
pub struct s3v_config(RwLock<Settings>);

impl s3v_config {
    fn change(&self, change: impl FnOnce(&mut Settings) -> Result<()>) -> Result<i32> {
        let mut settings = self.0.try_write().map_err(|e| lock_failed(&e))?;
        // All or nothing: a file with one bad line changes no value.
        let mut changed = settings.clone();
        change(&mut changed)?;
        *settings = changed;
        Ok(S3V_OK)
    }

    fn copy(&self) -> Result<Settings> {
        Ok(self.0.try_read().map_err(|e| lock_failed(&e))?.clone())
    }
}

fn lock_failed<T>(e: &TryLockError<T>) -> Error {
    match e {
        TryLockError::WouldBlock => Error::new(Code::Busy, "another call is changing or reading this config"),
        TryLockError::Poisoned(_) => Error::new(Code::Internal, "an earlier call on this config ended in a defect"),
    }
}

/// Copies the options of a call. NULL means no options.
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

/// Creates an empty config. Returns NULL only after a defect of the library.
///
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_config_new() -> *mut s3v_config {
    quiet(std::ptr::null_mut(), || new_handle(s3v_config(RwLock::new(Settings::new()))))
}

/// Sets the value of a key; an empty value unsets it. The value is checked at once.
///
/// Fails with S3V_E_UNKNOWN_OPTION, whose hint names the nearest key, and with S3V_E_INVALID_OPTION.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_set(
    config: *mut s3v_config,
    key: *const c_char,
    value: *const c_char,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let config = hold(config, "config")?;
        let (key, value) = (text(key, "key")?, text(value, "value")?);
        config.change(|settings| settings.set(key, value))
    })
}

/// Returns the value of a key as text: the value that was set, or the default. If `key` is NULL, returns all values
/// that were set, as a JSON object. Secrets are shown as ***.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_get(
    config: *const s3v_config,
    key: *const c_char,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let config = hold(config, "config")?;
        let key = text_or_none(key, "key")?;
        let out = output(out, "out")?;
        let settings = config.copy()?;
        let value = match key {
            None => serde_json::Value::from_iter(settings.shown()).to_string(),
            Some(key) => {
                let row = settings::option(key)?;
                let set = settings.shown().find(|(key, _)| *key == row.key);
                set.map_or(row.default, |(_, value)| value).to_owned()
            }
        };
        *out = s3v_bytes::new_handle(value.into_bytes());
        Ok(S3V_OK)
    })
}

/// Returns the warnings of s3v_config_env as a JSON array of strings, in order; an empty array if there are none.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_warnings(
    config: *const s3v_config,
    out: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let config = hold(config, "config")?;
        let out = output(out, "out")?;
        let warnings = serde_json::Value::from(config.copy()?.warnings()).to_string();
        *out = s3v_bytes::new_handle(warnings.into_bytes());
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
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_load(
    config: *mut s3v_config,
    file: *const c_char,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let config = hold(config, "config")?;
        let file = text(file, "file")?;
        config.change(|settings| crate::config::load(settings, Path::new(file)))
    })
}

/// Loads the environment: for each option of a vault, the variable S3VAULT_ and the key in upper case. An empty variable
/// unsets the key. Options of a call are ignored. Any other variable that starts with S3VAULT_ is ignored with a
/// warning: s3v_config_warnings returns it, and s3v_vault_open reports it as an S3V_EVENT_LOG. Either all values are
/// set or none. No other thread may change the environment meanwhile.
///
/// Fails with S3V_E_INVALID_OPTION; the message names the variable.
///
/// Since: 0.1.
///
/// # Safety
/// No thread changes the environment during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_env(config: *mut s3v_config, err: *mut *mut s3v_error) -> i32 {
    boundary!(err, {
        let config = hold(config, "config")?;
        config.change(crate::config::environment)
    })
}

/// Frees a config. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_config_free(config: *mut s3v_config) {
    // SAFETY: the caller's promise.
    unsafe { release(config) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_config_has_many_readers_or_one_writer() {
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
