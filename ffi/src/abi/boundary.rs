//! The boundary between C and Rust: the macro around the body of every function, and the checks of pointers.

use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Once, TryLockError};

use s3vault_core::{Code, Error, Result};

use crate::disk;
use crate::transport::runtime::guard_fork;

use super::s3v_error;

/// Wraps the body of an exported function.
///
/// `boundary!(err, { ... })`: the body returns `Result<i32>`; an error becomes its code and, through `err`, a handle.
/// `boundary!(else value, { ... })`: for functions that report no errors; `value` is returned after a panic.
macro_rules! boundary {
    (else $value:expr, $body:block) => {
        // SAFETY: the body relies on what the function's own `# Safety` section requires of the caller.
        $crate::abi::boundary::quiet($value, || unsafe { $body })
    };
    ($err:expr, $body:block) => {
        // SAFETY: as above; `err` is NULL or writable, as the header's conventions say.
        unsafe { $crate::abi::boundary::run($err, || $body) }
    };
}

/// Runs a body and reports its error.
pub(super) unsafe fn run(err: *mut *mut s3v_error, body: impl FnOnce() -> Result<i32>) -> i32 {
    if !err.is_null() {
        // SAFETY: not NULL, so it is writable.
        unsafe { *err = std::ptr::null_mut() };
    }
    // Before the first file of the library is opened.
    static STANDARD_STREAMS: Once = Once::new();
    let guarded = || {
        guard_fork()?;
        STANDARD_STREAMS.call_once(disk::occupy_standard_streams);
        body()
    };
    match catch_unwind(AssertUnwindSafe(guarded)).unwrap_or_else(|panic| Err(defect(&*panic))) {
        Ok(value) => value,
        Err(error) => {
            let code = error.code() as i32;
            if !err.is_null() {
                // SAFETY: as above.
                unsafe { *err = s3v_error::new_handle(error) };
            }
            code
        }
    }
}

/// Runs a body that has no way to report an error.
pub(super) fn quiet<T>(value: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(value)
}

fn defect(panic: &(dyn Any + Send)) -> Error {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(Code::Internal, format!("a defect in s3vault: {}", message.unwrap_or("a panic without a message")))
}

/// Makes a handle, which the caller frees.
pub(super) fn new_handle<T: Send + Sync>(value: T) -> *mut T {
    Arc::into_raw(Arc::new(value)).cast_mut()
}

/// Keeps a handle alive during a call.
///
/// # Safety
/// `handle` is NULL, or came from [`new_handle`] and was not freed before this call started.
pub(super) unsafe fn hold<T>(handle: *const T, name: &str) -> Result<Arc<T>> {
    if handle.is_null() {
        return Err(null(name));
    }
    // SAFETY: the caller's promise; the count keeps the value alive even if another thread frees the handle.
    unsafe {
        Arc::increment_strong_count(handle);
        Ok(Arc::from_raw(handle))
    }
}

/// Frees a handle. A forked child leaks it, since its contents belong to threads that the child does not have.
///
/// # Safety
/// As for [`hold`]; the handle is not used again.
pub(super) unsafe fn release<T>(handle: *mut T) {
    quiet((), || {
        if !handle.is_null() && guard_fork().is_ok() {
            // SAFETY: the caller's promise.
            drop(unsafe { Arc::from_raw(handle) });
        }
    });
}

/// A value that one call at a time may use.
pub(super) struct Exclusive<T>(Mutex<T>);

impl<T> Exclusive<T> {
    pub(super) fn new(value: T) -> Exclusive<T> {
        Exclusive(Mutex::new(value))
    }

    /// Enters, or fails if another call is inside. Never waits.
    pub(super) fn enter(&self, name: &str) -> Result<MutexGuard<'_, T>> {
        self.0.try_lock().map_err(|refused| match refused {
            TryLockError::WouldBlock => Error::new(Code::Busy, format!("another call is using this {name}")),
            TryLockError::Poisoned(_) => {
                Error::new(Code::Internal, format!("an earlier call on this {name} ended in a defect"))
            }
        })
    }
}

/// Checks the pointer for an output.
///
/// # Safety
/// `place` is NULL, or writable during the call.
pub(super) unsafe fn output<'a, T>(place: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { place.as_mut() }.ok_or_else(|| null(name))
}

/// Reads a text that must not be NULL.
///
/// # Safety
/// `text` is NULL or NUL-terminated, and does not change during the call.
pub(super) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { text_or_none(text, name) }?.ok_or_else(|| null(name))
}

/// Reads a text that may be NULL.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn text_or_none<'a>(text: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    match unsafe { CStr::from_ptr(text) }.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(e) => Err(Error::new(Code::InvalidArgument, format!("argument {name} is not UTF-8: {e}"))),
    }
}

/// Bytes of the caller to read. If the length is 0, the pointer is ignored.
///
/// # Safety
/// `len` bytes at `data` are readable, and do not change during the call.
pub(super) unsafe fn bytes<'a>(data: *const c_void, len: usize, name: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    check_memory(data, len, name)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

/// Bytes of the caller to write. If the length is 0, the pointer is ignored.
///
/// # Safety
/// `len` bytes at `data` are writable, and nothing else uses them during the call.
pub(super) unsafe fn bytes_mut<'a>(data: *mut c_void, len: usize, name: &str) -> Result<&'a mut [u8]> {
    if len == 0 {
        return Ok(&mut []);
    }
    check_memory(data, len, name)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(data.cast(), len) })
}

fn check_memory(data: *const c_void, len: usize, name: &str) -> Result<()> {
    if data.is_null() {
        return Err(null(name));
    }
    if isize::try_from(len).is_err() {
        return Err(Error::new(Code::InvalidArgument, format!("argument {name} has an impossible length, {len}")));
    }
    Ok(())
}

fn null(name: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("argument {name} is NULL"))
}

/// Text for C. A NUL, which would end it early, is replaced.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::super::{s3v_error_free, s3v_error_get};
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_the_message_of_the_panic() {
        let mut err = std::ptr::null_mut();
        let code = boundary!(&mut err, { panic!("wheel {} fell off", 3) });
        assert_eq!(code, Code::Internal as i32);
        let message = unsafe { CStr::from_ptr(s3v_error_get(err, super::super::S3V_FIELD_MESSAGE)) };
        assert_eq!(message.to_str().unwrap(), "a defect in s3vault: wheel 3 fell off");
        unsafe { s3v_error_free(err) };
        assert_eq!(quiet(7, || panic!("quietly")), 7);
    }

    #[test]
    fn a_handle_is_refused_after_a_call_on_it_panicked() {
        let handle = Exclusive::new(());
        let code = boundary!(std::ptr::null_mut(), {
            let _inside = handle.enter("put")?;
            panic!("inside")
        });
        assert_eq!(code, Code::Internal as i32);
        assert_eq!(handle.enter("put").map(|_| ()).unwrap_err().code(), Code::Internal);
    }

    #[test]
    fn a_second_call_is_refused_until_the_first_has_returned() {
        let handle = Exclusive::new(0);
        let inside = handle.enter("get").unwrap();
        let e = handle.enter("get").map(|_| ()).unwrap_err();
        assert_eq!((e.code(), e.message()), (Code::Busy, "another call is using this get"));
        drop(inside);
        assert!(handle.enter("get").is_ok());
    }

    #[test]
    fn a_handle_freed_during_a_call_stays_alive_until_the_call_ends() {
        let handle = new_handle(String::from("alive"));
        let held = unsafe { hold(handle, "handle") }.unwrap();
        unsafe { release(handle) };
        assert_eq!((held.as_str(), Arc::strong_count(&held)), ("alive", 1));
    }
}
