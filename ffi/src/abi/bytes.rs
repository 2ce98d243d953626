//! Bytes that the library returns

use std::ffi::c_void;
use std::ptr;

use zeroize::Zeroizing;

/// Bytes that a call returned: JSON, or an object of the vault. Immutable: any thread may read them. They do not end in
/// NUL. The caller frees them with s3v_bytes_free, which overwrites them with zeros.
pub struct s3v_bytes(Zeroizing<Vec<u8>>);

impl s3v_bytes {
    /// Makes a handle, which the caller frees.
    pub(super) fn new_handle(bytes: Vec<u8>) -> *mut s3v_bytes {
        Box::into_raw(Box::new(s3v_bytes(Zeroizing::new(bytes))))
    }
}

/// Returns the address of the bytes, valid until they are freed, and writes their number to `len`, which may be NULL.
/// Returns NULL (and 0) for NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_bytes_data(bytes: *const s3v_bytes, len: *mut usize) -> *const c_void {
    boundary!(else ptr::null(), {
        let bytes = bytes.as_ref().map(|b| b.0.as_slice());
        if let Some(len) = len.as_mut() {
            *len = bytes.map_or(0, <[u8]>::len);
        }
        bytes.map_or(ptr::null(), |bytes| bytes.as_ptr().cast())
    })
}

/// Overwrites the bytes with zeros and frees them. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_bytes_free(bytes: *mut s3v_bytes) {
    boundary!(else (), {
        if !bytes.is_null() {
            drop(Box::from_raw(bytes));
        }
    });
}
