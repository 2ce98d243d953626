//! Closed standard streams, in a process of their own: a descriptor of the library never gets the number of one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod abi_support;

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use abi_support::{config, made, refused};
use embedded_store::{Options, Server};
use s3vault::abi::*;
use s3vault_core::Code;

/// Where these three descriptors lead.
fn streams() -> Vec<String> {
    let link = |fd: RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}"));
    (0..3).map(|fd| link(fd).map_or("closed".to_owned(), |path| path.display().to_string())).collect()
}

/// Closes the standard streams, and opens them again when it is dropped.
struct Closed(Vec<OwnedFd>);

impl Closed {
    fn new() -> Closed {
        let closed = Closed((0..3).map(|fd| duplicate(fd, 10)).collect());
        // SAFETY: this process has only this test, and the duplicates stay.
        (0..3).for_each(|fd| assert_eq!(unsafe { libc::close(fd) }, 0));
        closed
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        for (fd, own) in (0..3).zip(&self.0) {
            // SAFETY: numbers.
            unsafe { libc::dup2(own.as_raw_fd(), fd) };
        }
    }
}

fn duplicate(fd: RawFd, least: RawFd) -> OwnedFd {
    // SAFETY: `fcntl` returns a new descriptor, or -1, which is caught.
    let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) };
    assert!(own >= least, "{}", std::io::Error::last_os_error());
    // SAFETY: new, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(own) }
}

#[test]
fn no_descriptor_of_the_library_gets_the_number_of_a_standard_stream() {
    // A call that waits for a stream that it took for its own ends by a signal.
    // SAFETY: a number.
    unsafe { libc::alarm(60) };
    let store = Server::start(Options::new("access", "secret").bucket("backups")).unwrap();
    let settings =
        [("bucket", "backups"), ("api_url", &*store.url()), ("access_key", "access"), ("secret_key", "secret")];
    for round in ["closed from the start", "closed after the library was used"] {
        let closed = Closed::new();
        let before = streams();
        let config = config(&settings);
        let vault = made(|out, err| unsafe { s3v_vault_open(config, ptr::null_mut(), ptr::null(), out, err) });
        let during = streams();
        let byte = &mut [0_u8];
        // SAFETY: one byte.
        let read = unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) };
        let read = (read, std::io::Error::last_os_error().raw_os_error());
        // SAFETY: one byte.
        let written = unsafe { libc::write(1, byte.as_ptr().cast(), 1) };
        let stored = vault.as_ref().ok().map(|vault| {
            let put = |out, err| unsafe {
                s3v_put_fd(*vault, c"c".as_ptr(), c"p".as_ptr(), 0, ptr::null(), ptr::null(), out, err)
            };
            made(put)
        });
        let later = File::open("/dev/null").unwrap().as_raw_fd();
        drop(closed);

        assert_eq!(before, ["closed"; 3], "{round}");
        assert_eq!(during, ["/dev/null"; 3], "{round}");
        assert_eq!((read, written), ((-1, Some(libc::EBADF)), -1), "as on a closed stream, {round}");
        assert!(later > 2, "{round}");
        refused(stored.unwrap(), Code::Io);
        unsafe {
            s3v_vault_free(vault.unwrap_or_else(|_| panic!("{round}")));
            s3v_config_free(config);
        }
    }
}
