//! Progress, cancel and time limit of a call
//!
//! Every call that may wait takes an s3v_ctl, or NULL for none of it:
//!
//!     s3v_ctl ctl = { .size = sizeof ctl, .on_event = show, .timeout_ms = 60000 };
//!
//! The callback runs on the calling thread and never after the call returned. It must return (no longjmp, no C++
//! exception). While it runs, the handle of the call is busy: only s3v_put_offset and s3v_cancel_trigger may be
//! called with it.

use std::ffi::{CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use s3vault_core::{Code, Error, Result};

use crate::control::{Control, Event};

use super::boundary::{c_text, hold};
use super::s3v_cancel;

/// Bytes moved on: done, total, parts and retries are set.
pub const S3V_EVENT_PROGRESS: i32 = 1;
/// A warning for a log, in text, such as a misspelled environment variable.
pub const S3V_EVENT_LOG: i32 = 2;
/// The store refuses the keys, or they have expired; text says which.
pub const S3V_EVENT_CREDENTIALS: i32 = 3;
/// An upload could not be aborted and is left in the store; text says where.
pub const S3V_EVENT_ORPHAN: i32 = 4;
/// Nothing happened; comes every 200 milliseconds of waiting, so that a caller can look around.
pub const S3V_EVENT_HEARTBEAT: i32 = 5;

/// What a callback is told. The library's, valid until the callback returns. Later versions may add fields at the
/// end: `size` says how many bytes are there.
#[repr(C)]
pub struct s3v_event {
    /// Size of this struct in bytes.
    pub size: u32,
    /// One of the S3V_EVENT_ constants. Others may come: ignore them.
    pub kind: i32,
    /// Bytes that are done.
    pub done: u64,
    /// Bytes in all; UINT64_MAX while unknown.
    pub total: u64,
    /// Parts that are done.
    pub parts: u64,
    /// Requests that were repeated so far.
    pub retries: u64,
    /// Text of the event; NULL where it has none.
    pub text: *const c_char,
}

/// A callback. `ctx` comes from s3v_ctl. Returning anything but 0 stops the call, which then returns
/// S3V_E_STOPPED.
pub type s3v_event_fn = Option<unsafe extern "C" fn(ctx: *mut c_void, event: *const s3v_event) -> i32>;

/// How a call is watched and stopped. The caller's; it is read once, when the call begins. Set `size` to
/// sizeof(s3v_ctl) and what is not needed to zero.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct s3v_ctl {
    /// sizeof(s3v_ctl) as the caller was compiled; fields beyond it count as absent.
    pub size: u32,
    /// Passed on to on_event.
    pub ctx: *mut c_void,
    /// Called as things happen; may be NULL.
    pub on_event: s3v_event_fn,
    /// Stops the call when it is triggered (S3V_E_CANCELLED); may be NULL.
    pub cancel: *mut s3v_cancel,
    /// Milliseconds after which the call gives up (S3V_E_TIMED_OUT); 0 for no limit.
    pub timeout_ms: u64,
}

/// The size of the first version of `s3v_ctl`: no caller has a smaller one.
const FIRST_SIZE: usize = size_of::<s3v_ctl>();

/// Makes the call with what `ctl` asks for.
///
/// # Safety
/// `ctl` is NULL or has as many bytes as its `size` says; its callback may be called with its `ctx`, its `cancel` is
/// NULL or live.
pub(super) unsafe fn controlled<T>(ctl: *const s3v_ctl, call: impl FnOnce(&mut Control<'_>) -> Result<T>) -> Result<T> {
    // SAFETY: the caller's promise.
    let Some(ctl) = (unsafe { read(ctl) })? else {
        return call(&mut Control::none());
    };
    let cancel = match ctl.cancel.is_null() {
        true => None,
        // SAFETY: the caller's promise.
        false => Some(unsafe { hold(ctl.cancel, "ctl.cancel") }?.0.clone()),
    };
    // SAFETY: the caller's promise.
    let mut tell = ctl.on_event.map(|on_event| move |event: &Event<'_>| unsafe { tell(on_event, ctl.ctx, event) });
    call(&mut Control {
        on_event: tell.as_mut().map(|tell| tell as &mut dyn FnMut(&Event<'_>) -> bool),
        cancel,
        timeout: (ctl.timeout_ms != 0).then(|| Duration::from_millis(ctl.timeout_ms)),
    })
}

/// Copies what the caller's version of the struct has; the rest is zero.
unsafe fn read(ctl: *const s3v_ctl) -> Result<Option<s3v_ctl>> {
    if ctl.is_null() {
        return Ok(None);
    }
    // SAFETY: `size` is the first field of every version.
    let size = unsafe { ctl.cast::<u32>().read() } as usize;
    if size < FIRST_SIZE {
        let message = format!("ctl.size is {size}, less than the {FIRST_SIZE} bytes that any version has");
        return Err(Error::new(Code::InvalidArgument, message).with_hint("Set size to sizeof(s3v_ctl)."));
    }
    let mut copy = MaybeUninit::<s3v_ctl>::zeroed();
    // SAFETY: no more than the caller has, no more than fits; all-zero is a value of each field.
    unsafe {
        ptr::copy_nonoverlapping(ctl.cast::<u8>(), copy.as_mut_ptr().cast(), size.min(size_of::<s3v_ctl>()));
        Ok(Some(copy.assume_init()))
    }
}

unsafe fn tell(
    on_event: unsafe extern "C" fn(*mut c_void, *const s3v_event) -> i32,
    ctx: *mut c_void,
    event: &Event<'_>,
) -> bool {
    let text: Option<CString> = event.text.map(c_text);
    let event = s3v_event {
        size: size_of::<s3v_event>() as u32,
        kind: event.kind as i32,
        done: event.done,
        total: event.total.unwrap_or(u64::MAX),
        parts: event.parts,
        retries: event.retries,
        text: text.as_ref().map_or(ptr::null(), |text| text.as_ptr()),
    };
    // SAFETY: the caller's promise.
    unsafe { on_event(ctx, &event) == 0 }
}
