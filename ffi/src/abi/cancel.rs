//! Cancel

use crate::control::Cancel;

use super::boundary::{give, quiet, release};

/// A switch that stops the calls it was given to (in s3v_ctl), from any thread. They return S3V_E_CANCELLED within
/// 250 milliseconds. Once triggered it stays so. The caller frees it with s3v_cancel_free; calls that have it go on
/// to hold it.
pub struct s3v_cancel(pub(super) Cancel);

/// A switch that is not triggered. NULL only after a defect of the library.
#[unsafe(no_mangle)]
pub extern "C" fn s3v_cancel_new() -> *mut s3v_cancel {
    quiet(std::ptr::null_mut(), || give(s3v_cancel(Cancel::new())))
}

/// Stops the calls that have this switch. It may be called from any thread, in a callback and in a signal handler.
/// NULL is taken.
///
/// # Safety
/// `x` is NULL or a switch that was not freed, and is not freed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_cancel_trigger(x: *mut s3v_cancel) {
    // One store to an atomic: no allocation, no lock, since a signal handler may call this.
    boundary!(else (), {
        if let Some(cancel) = x.as_ref() {
            cancel.0.trigger();
        }
    });
}

/// Frees a switch. NULL is taken.
///
/// # Safety
/// `x` is NULL or a switch that was not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_cancel_free(x: *mut s3v_cancel) {
    // SAFETY: the caller's promise.
    unsafe { release(x) }
}
