//! Errors
//!
//! A function that fails returns a code below 0 and, where `err` is not NULL, an error handle that the caller frees. A
//! code is never reused for another meaning. Each code belongs to one of four families: misuse by the caller, a
//! refusal by the store or damage in it (remote), no answer from the store (transport), or a failure on this machine
//! (local). s3v_error_flags returns the family.

use std::ffi::{CString, c_char};
use std::ptr;

use s3vault_core::{Error, Family};

use super::boundary::c_text;

/// Success, or the end of a list or a stream. Values below 0 are the S3V_E_ constants at the end of this file.
pub const S3V_OK: i32 = 0;

/// Family: the caller made a mistake; the same call fails again.
pub const S3V_FLAG_MISUSE: u32 = 1;
/// Family: the store answered, and either the answer or the stored data is the problem.
pub const S3V_FLAG_REMOTE: u32 = 2;
/// Family: the store did not answer, or its answer is incomplete.
pub const S3V_FLAG_TRANSPORT: u32 = 4;
/// The same call may succeed later.
pub const S3V_FLAG_RETRYABLE: u32 = 8;
/// The request may have taken effect, although no answer arrived.
pub const S3V_FLAG_MAYBE_SENT: u32 = 16;
/// Family: this machine failed (a file, a disk), or the call was cancelled.
pub const S3V_FLAG_LOCAL: u32 = 32;

/// The name of the code's constant, for example "S3V_E_NO_SUCH_BUCKET".
pub const S3V_FIELD_NAME: i32 = 0;
/// What failed, on which object, and why.
pub const S3V_FIELD_MESSAGE: i32 = 1;
/// What to do about it.
pub const S3V_FIELD_HINT: i32 = 2;
/// The error code of S3, for example "NoSuchKey".
pub const S3V_FIELD_S3_CODE: i32 = 3;
/// The request id that the store assigned; its support asks for it.
pub const S3V_FIELD_REQUEST_ID: i32 = 4;
/// The S3 operation, for example "PutObject".
pub const S3V_FIELD_OPERATION: i32 = 5;
/// The bucket.
pub const S3V_FIELD_BUCKET: i32 = 6;
/// The key of the object.
pub const S3V_FIELD_KEY: i32 = 7;
/// All fields as one JSON object: code, name, message, hint, status, s3_code, request_id, operation, bucket, key,
/// flags.
pub const S3V_FIELD_JSON: i32 = 8;

/// A failure of one call. Immutable: any thread may read it. The caller frees it with s3v_error_free.
pub struct s3v_error {
    code: i32,
    status: i32,
    flags: u32,
    /// In the order of the S3V_FIELD_ constants.
    fields: [CString; 9],
}

impl s3v_error {
    /// Makes a handle, which the caller frees.
    pub(super) fn new_handle(error: Error) -> *mut s3v_error {
        Box::into_raw(Box::new(s3v_error::new(&error)))
    }

    fn new(error: &Error) -> s3v_error {
        let code = error.code();
        let name = code.info().name;
        let flags = flags(error);
        let json = serde_json::json!({
            "code": code as i32, "name": name, "message": error.message(), "hint": error.hint(),
            "status": error.status(), "s3_code": error.s3_code(), "request_id": error.request_id(),
            "operation": error.operation(), "bucket": error.bucket(), "key": error.key(), "flags": flags,
        });
        s3v_error {
            code: code as i32,
            status: i32::from(error.status()),
            flags,
            fields: [
                name,
                error.message(),
                error.hint(),
                error.s3_code(),
                error.request_id(),
                error.operation(),
                error.bucket(),
                error.key(),
                &json.to_string(),
            ]
            .map(c_text),
        }
    }
}

fn flags(error: &Error) -> u32 {
    let family = match error.family() {
        Family::Misuse => S3V_FLAG_MISUSE,
        Family::Remote => S3V_FLAG_REMOTE,
        Family::Transport => S3V_FLAG_TRANSPORT,
        // Local. The families can only grow together with the constants.
        _ => S3V_FLAG_LOCAL,
    };
    let retryable = if error.is_retryable() { S3V_FLAG_RETRYABLE } else { 0 };
    let maybe_sent = if error.is_maybe_sent() { S3V_FLAG_MAYBE_SENT } else { 0 };
    family | retryable | maybe_sent
}

/// Returns the code, one of the S3V_E_ constants; 0 for NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_error_code(error: *const s3v_error) -> i32 {
    boundary!(else 0, { error.as_ref().map_or(0, |e| e.code) })
}

/// Returns the HTTP status of the store's answer; 0 if the store did not answer, and for NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_error_http_status(error: *const s3v_error) -> i32 {
    boundary!(else 0, { error.as_ref().map_or(0, |e| e.status) })
}

/// Returns the S3V_FLAG_ bits that are set: the one of the family, and others; 0 for NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_error_flags(error: *const s3v_error) -> u32 {
    boundary!(else 0, { error.as_ref().map_or(0, |e| e.flags) })
}

/// Returns a field of the error as text, valid until the error is freed: "" if the field does not apply to this error,
/// NULL if `field` is not one of the S3V_FIELD_ constants or `error` is NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_error_get(error: *const s3v_error, field: i32) -> *const c_char {
    boundary!(else ptr::null(), {
        let text = error.as_ref().and_then(|e| e.fields.get(usize::try_from(field).ok()?));
        text.map_or(ptr::null(), |text| text.as_ptr())
    })
}

/// Frees an error. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_error_free(error: *mut s3v_error) {
    boundary!(else (), {
        if !error.is_null() {
            drop(Box::from_raw(error));
        }
    });
}

#[cfg(test)]
mod tests {
    use s3vault_core::error::CODES;

    use super::*;

    #[test]
    fn every_code_has_the_flag_of_its_family_and_no_other() {
        for row in CODES {
            let expected = match row.family {
                Family::Misuse => S3V_FLAG_MISUSE,
                Family::Remote => S3V_FLAG_REMOTE,
                Family::Transport => S3V_FLAG_TRANSPORT,
                Family::Local => S3V_FLAG_LOCAL,
                other => panic!("{other:?} has no flag"),
            };
            assert_eq!(flags(&Error::new(row.code, "x")), expected, "{}", row.name);
        }
    }
}
