//! Cancel

use crate::control::Cancel;

use super::boundary::{new_handle, quiet, release};

/// A switch that any thread can use to stop the calls that were given it (in s3v_ctl). They return S3V_E_CANCELLED
/// within 250 milliseconds. Once triggered, it stays triggered. Calls in progress keep it alive. The caller frees it
/// with s3v_cancel_free.
pub struct s3v_cancel(pub(super) Cancel);

/// Creates a switch. Returns NULL only after a defect of the library.
///
/// Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_cancel_new() -> *mut s3v_cancel {
    quiet(std::ptr::null_mut(), || new_handle(s3v_cancel(Cancel::new())))
}

/// Stops the calls that were given this switch. It may be called from any thread, from a callback and from a signal
/// handler. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The switch is not freed during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_cancel_trigger(cancel: *mut s3v_cancel) {
    // One store to an atomic: no allocation, no lock, since a signal handler may call this.
    boundary!(else (), {
        if let Some(cancel) = cancel.as_ref() {
            cancel.0.trigger();
        }
    });
}

/// Frees a switch. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_cancel_free(cancel: *mut s3v_cancel) {
    // SAFETY: the caller's promise.
    unsafe { release(cancel) }
}
