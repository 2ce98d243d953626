//! Fork, in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod abi_support;

use std::ptr;

use abi_support::{config, made, refused};
use s3vault::abi::*;
use s3vault_core::Code;

#[test]
fn a_forked_child_is_refused_once_the_library_was_used_and_not_before() {
    // Before the first vault a child may do as it likes.
    let store = config(&[("bucket", "backups"), ("api_url", &closed()), ("access_key", "a"), ("secret_key", "s")]);
    assert_eq!(code_in_child(|| set(store)), S3V_OK);

    let open = || made(|out, err| unsafe { s3v_vault_open(store, ptr::null_mut(), ptr::null(), out, err) });
    refused(open(), Code::Connect);
    assert_eq!(code_in_child(|| set(store)), Code::Forked as i32);
    assert_eq!(code_in_child(|| open().map_or_else(|e| e.code, |_| 0)), Code::Forked as i32);
    // A free in the child neither blocks nor ends it.
    let free = || {
        unsafe { s3v_config_free(store) };
        7
    };
    assert_eq!(code_in_child(free), 7);
    assert_eq!(set(store), S3V_OK);
    unsafe { s3v_config_free(store) };
}

fn set(config: *mut s3v_config) -> i32 {
    unsafe { s3v_config_set(config, c"region".as_ptr(), c"x".as_ptr(), ptr::null_mut()) }
}

/// An address at which nothing listens.
fn closed() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Forks, and gives back the code of the call that the child made; codes are from -128 to 127.
fn code_in_child(call: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child makes the one call and ends, without Rust's or C's end of a program.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => unsafe {
            // Where it hangs, it ends by a signal.
            libc::alarm(60);
            libc::_exit(call() & 0xff)
        },
        child => {
            let mut status = 0;
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert!(libc::WIFEXITED(status), "the child did not end by itself: {status:#x}");
            i32::from(libc::WEXITSTATUS(status) as u8 as i8)
        }
    }
}
