//! Bytes that the library returns

use std::ffi::c_void;
use std::ptr;

use zeroize::Zeroizing;

/// Bytes that a call returned: JSON, or an object of the vault. Immutable: any thread may read them. There is no NUL
/// after them. The caller frees them with s3v_bytes_free, which overwrites them with zeros.
pub struct s3v_bytes(Zeroizing<Vec<u8>>);

impl s3v_bytes {
    /// Makes the handle that the caller frees.
    pub(super) fn give(bytes: Vec<u8>) -> *mut s3v_bytes {
        Box::into_raw(Box::new(s3v_bytes(Zeroizing::new(bytes))))
    }
}

/// The address of the bytes, valid until they are freed; their number is written to `len`, which may be NULL.
/// NULL (and 0) for NULL.
///
/// # Safety
/// `b` is NULL or bytes that were not freed; `len` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_bytes_data(b: *const s3v_bytes, len: *mut usize) -> *const c_void {
    boundary!(else ptr::null(), {
        let bytes = b.as_ref().map(|b| b.0.as_slice());
        if let Some(len) = len.as_mut() {
            *len = bytes.map_or(0, <[u8]>::len);
        }
        bytes.map_or(ptr::null(), |bytes| bytes.as_ptr().cast())
    })
}

/// Frees bytes, after they were overwritten with zeros. NULL is taken.
///
/// # Safety
/// `b` is NULL or bytes that were not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_bytes_free(b: *mut s3v_bytes) {
    boundary!(else (), {
        if !b.is_null() {
            drop(Box::from_raw(b));
        }
    });
}
