//! Shared code of the tests of the C interface, which call it through pointers, as C does.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use s3vault::abi::*;
use s3vault_core::Code;

/// A failure as C sees it.
#[derive(Debug)]
pub struct Failure {
    pub code: i32,
    pub message: String,
    pub hint: String,
    pub name: String,
    pub json: serde_json::Value,
}

/// Calls a function that returns only a code, and checks that there is an error handle exactly if it failed, with the same
/// code, and that the old value of `err` is replaced.
pub fn call(function: impl FnOnce(*mut *mut s3v_error) -> i32) -> Result<i32, Failure> {
    let mut err: *mut s3v_error = ptr::dangling_mut();
    let code = function(&mut err);
    if code >= 0 {
        assert!(err.is_null());
        return Ok(code);
    }
    assert_eq!(unsafe { s3v_error_code(err) }, code);
    let field = |field| text(unsafe { s3v_error_get(err, field) });
    let failure = Failure {
        code,
        message: field(S3V_FIELD_MESSAGE),
        hint: field(S3V_FIELD_HINT),
        name: field(S3V_FIELD_NAME),
        json: serde_json::from_str(&field(S3V_FIELD_JSON)).unwrap(),
    };
    unsafe { s3v_error_free(err) };
    Err(failure)
}

/// Calls a function that returns a handle or a pointer, which is written only on success.
pub fn made<T>(function: impl FnOnce(*mut *mut T, *mut *mut s3v_error) -> i32) -> Result<*mut T, Failure> {
    let untouched: *mut T = ptr::dangling_mut();
    let mut out = untouched;
    let result = call(|err| function(&mut out, err));
    assert_eq!(result.is_ok(), out != untouched, "outputs are written on success only");
    result.map(|_| out)
}

/// The same for a list, which returns nothing at its end.
pub fn next_row(list: *mut s3v_list) -> Result<Option<*const s3v_row>, Failure> {
    let mut row: *const s3v_row = ptr::null();
    let more = call(|err| unsafe { s3v_list_next(list, ptr::null(), &mut row, err) })?;
    assert_eq!(more == 1, !row.is_null());
    Ok((more == 1).then_some(row))
}

pub fn refused(result: Result<impl Sized, Failure>, code: Code) -> Failure {
    let failure = result.map(|_| ()).unwrap_err();
    assert_eq!(failure.code, code as i32, "{failure:?}");
    failure
}

pub fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

pub fn text(text: *const c_char) -> String {
    assert!(!text.is_null());
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

/// Copies the contents of a bytes handle, and frees it.
pub fn taken(bytes: *mut s3v_bytes) -> Vec<u8> {
    let mut len = 0;
    let data = unsafe { s3v_bytes_data(bytes, &mut len) };
    let copy = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) }.to_vec();
    unsafe { s3v_bytes_free(bytes) };
    copy
}

pub fn config(values: &[(&str, &str)]) -> *mut s3v_config {
    let config = s3v_config_new();
    for (key, value) in values {
        let (key, value) = (c(key), c(value));
        call(|err| unsafe { s3v_config_set(config, key.as_ptr(), value.as_ptr(), err) }).unwrap();
    }
    config
}

pub fn shown(config: *const s3v_config, key: Option<&str>) -> Result<String, Failure> {
    let key = key.map(c);
    let key = key.as_ref().map_or(ptr::null(), |key| key.as_ptr());
    made(|out, err| unsafe { s3v_config_get(config, key, out, err) }).map(|b| String::from_utf8(taken(b)).unwrap())
}

pub fn keyring() -> *mut s3v_keyring {
    made(|out, err| unsafe { s3v_keyring_open(ptr::null(), ptr::null(), 0, 1, out, err) }).unwrap()
}
