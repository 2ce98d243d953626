//! Progress, cancel and time limit of a call
//!
//! Every call that may wait takes an s3v_ctl; NULL means no events, no cancel and no time limit:
//!
//!     s3v_ctl ctl = { .size = sizeof ctl, .on_event = show, .timeout_ms = 60000 };
//!
//! The callback runs on the calling thread, and never after the call returned. It must return normally (no longjmp, no
//! C++ exception). While it runs, the handle of the call is busy: only s3v_put_offset and s3v_cancel_trigger may be
//! called with it.

use std::ffi::{CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use s3vault_core::{Code, Error, Result};

use crate::control::{Control, Event};

use super::boundary::{c_text, hold};
use super::s3v_cancel;

/// Bytes or parts were transferred: done, total, parts and retries are set.
pub const S3V_EVENT_PROGRESS: i32 = 1;
/// A warning for a log, in text, such as a misspelled environment variable.
pub const S3V_EVENT_LOG: i32 = 2;
/// The store refused the keys, or they expired; text says which.
pub const S3V_EVENT_CREDENTIALS: i32 = 3;
/// An upload could not be aborted and was left in the store; text says where.
pub const S3V_EVENT_ORPHAN: i32 = 4;
/// Nothing happened. It comes every 200 milliseconds while the call waits, so that the caller can do other work.
pub const S3V_EVENT_HEARTBEAT: i32 = 5;
/// What a job (s3v_prune, s3v_sweep, s3v_rotate, s3v_rekey, s3v_adopt) does with one version, or what s3v_verify found
/// of it: text is an object in JSON, and done counts the items.
pub const S3V_EVENT_ITEM: i32 = 6;

/// What happened. The library owns it; it is valid until the callback returns. Later versions may add fields at the
/// end: `size` says how many bytes are present.
#[repr(C)]
pub struct s3v_event {
    /// Size of this struct in bytes.
    pub size: u32,
    /// One of the S3V_EVENT_ constants. Later versions may add kinds: ignore unknown ones.
    pub kind: i32,
    /// Bytes transferred so far; for a job, items so far.
    pub done: u64,
    /// Bytes in total; UINT64_MAX while unknown.
    pub total: u64,
    /// Parts transferred so far.
    pub parts: u64,
    /// Requests repeated so far.
    pub retries: u64,
    /// Text of the event; NULL if it has none.
    pub text: *const c_char,
}

/// A callback. `ctx` comes from s3v_ctl. Any result except 0 stops the call, which then returns S3V_E_STOPPED.
pub type s3v_event_fn = Option<unsafe extern "C" fn(ctx: *mut c_void, event: *const s3v_event) -> i32>;

/// How to watch and stop a call. The caller owns it; it is read once, when the call starts. Set `size` to
/// sizeof(s3v_ctl) and every field that is not needed to zero.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct s3v_ctl {
    /// sizeof(s3v_ctl) as the caller was compiled; later fields count as zero.
    pub size: u32,
    /// Passed to on_event.
    pub ctx: *mut c_void,
    /// Called for each event; may be NULL.
    pub on_event: s3v_event_fn,
    /// Stops the call when it is triggered (S3V_E_CANCELLED); may be NULL.
    pub cancel: *mut s3v_cancel,
    /// Time limit of the call in milliseconds (S3V_E_TIMED_OUT); 0 means none.
    pub timeout_ms: u64,
}

/// Size of the first version of `s3v_ctl`: no caller has a smaller one.
const FIRST_SIZE: usize = size_of::<s3v_ctl>();

/// Makes the call under the control that `ctl` describes.
///
/// # Safety
/// `ctl` is NULL or has as many bytes as its `size` says; its callback may be called with its `ctx`; its `cancel` is
/// NULL or was not freed.
pub(super) unsafe fn with_control<T>(
    ctl: *const s3v_ctl,
    call: impl FnOnce(&mut Control<'_>) -> Result<T>,
) -> Result<T> {
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
    let mut notify = ctl.on_event.map(|on_event| move |event: &Event<'_>| unsafe { notify(on_event, ctl.ctx, event) });
    let mut control = Control {
        on_event: notify.as_mut().map(|notify| notify as &mut dyn FnMut(&Event<'_>) -> bool),
        cancel,
        timeout: (ctl.timeout_ms != 0).then(|| Duration::from_millis(ctl.timeout_ms)),
        ..Control::none()
    };
    control.one_call(call)
}

/// Copies the fields that the caller's version of the struct has; the others are zero.
unsafe fn read(ctl: *const s3v_ctl) -> Result<Option<s3v_ctl>> {
    if ctl.is_null() {
        return Ok(None);
    }
    // SAFETY: `size` is the first field of every version.
    let size = unsafe { ctl.cast::<u32>().read() } as usize;
    if size < FIRST_SIZE {
        let message = format!("ctl.size is {size}, less than the {FIRST_SIZE} bytes of s3v_ctl");
        return Err(Error::new(Code::InvalidArgument, message).with_hint("Set size to sizeof(s3v_ctl)."));
    }
    let mut copy = MaybeUninit::<s3v_ctl>::zeroed();
    // SAFETY: no more bytes than the caller has and than fit; zero is a valid value of each field.
    unsafe {
        ptr::copy_nonoverlapping(ctl.cast::<u8>(), copy.as_mut_ptr().cast(), size.min(size_of::<s3v_ctl>()));
        Ok(Some(copy.assume_init()))
    }
}

unsafe fn notify(
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
