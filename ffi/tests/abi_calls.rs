//! The C interface with a store: events, stopped calls, two calls on one handle, frees in any order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod abi_support;

use std::ffi::{CStr, c_void};
use std::ptr;
use std::time::Duration;

use abi_support::{Failure, c, call, config, keyring, made, next_row, refused, taken, text};
use embedded_store::{Effect, Fault, Options, Server};
use s3vault::abi::*;
use s3vault_core::Code;

fn store() -> Server {
    Server::start(Options::new("access", "secret").bucket("backups")).unwrap()
}

fn vault(store: &Server) -> *mut s3v_vault {
    vault_with(store, keyring())
}

/// A vault with this keyring, which it frees, or without one.
fn vault_with(store: &Server, keyring: *mut s3v_keyring) -> *mut s3v_vault {
    let config =
        config(&[("api_url", &store.url()), ("access_key", "access"), ("secret_key", "secret"), ("bucket", "backups")]);
    let vault = made(|out, err| unsafe { s3v_vault_open(config, keyring, ptr::null(), out, err) }).unwrap();
    // A handle keeps alive what it depends on.
    unsafe {
        s3v_config_free(config);
        s3v_keyring_free(keyring);
    }
    vault
}

fn put(vault: *mut s3v_vault, path: &CStr) -> *mut s3v_put {
    let ctl = ptr::null();
    made(|out, err| unsafe { s3v_put_open(vault, c"c".as_ptr(), path.as_ptr(), ptr::null(), ctl, out, err) }).unwrap()
}

fn write(put: *mut s3v_put, bytes: &[u8], ctl: *const s3v_ctl) -> Result<i32, Failure> {
    call(|err| unsafe { s3v_put_write(put, bytes.as_ptr().cast(), bytes.len(), ctl, err) })
}

fn commit(put: *mut s3v_put, ctl: *const s3v_ctl) -> Result<*mut s3v_version, Failure> {
    made(|out, err| unsafe { s3v_put_commit(put, ctl, out, err) })
}

fn find(vault: *mut s3v_vault, path: &CStr) -> Result<*mut s3v_version, Failure> {
    let ctl = ptr::null();
    made(|out, err| unsafe { s3v_version_find(vault, c"c".as_ptr(), path.as_ptr(), ptr::null(), ctl, out, err) })
}

fn stored(vault: *mut s3v_vault, path: &CStr, bytes: &[u8]) -> *mut s3v_version {
    let put = put(vault, path);
    write(put, bytes, ptr::null()).unwrap();
    let version = commit(put, ptr::null()).unwrap();
    unsafe { s3v_put_free(put) };
    version
}

fn get(version: *mut s3v_version) -> *mut s3v_get {
    made(|out, err| unsafe { s3v_get_open(version, ptr::null(), ptr::null(), out, err) }).unwrap()
}

fn read(get: *mut s3v_get, buffer: &mut [u8], ctl: *const s3v_ctl) -> Result<usize, Failure> {
    let mut count = usize::MAX;
    let result =
        call(|err| unsafe { s3v_get_read(get, buffer.as_mut_ptr().cast(), buffer.len(), ctl, &mut count, err) });
    assert_eq!(result.is_ok(), count != usize::MAX, "outputs are written on success only");
    result.map(|_| count)
}

fn restored(version: *mut s3v_version) -> Vec<u8> {
    let get = get(version);
    let (mut all, mut buffer) = (Vec::new(), vec![0; 10_000]);
    loop {
        match read(get, &mut buffer, ptr::null()).unwrap() {
            0 => break,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
    unsafe { s3v_get_free(get) };
    all
}

/// A callback in Rust, as a ctl. It is called with each event, and returns whether to continue.
struct Watch<'a> {
    tell: Box<dyn FnMut(&s3v_event) -> bool + 'a>,
    cancel: *mut s3v_cancel,
}

impl<'a> Watch<'a> {
    fn new(tell: impl FnMut(&s3v_event) -> bool + 'a) -> Watch<'a> {
        Watch { tell: Box::new(tell), cancel: ptr::null_mut() }
    }

    fn ctl(&mut self) -> s3v_ctl {
        s3v_ctl {
            size: size_of::<s3v_ctl>() as u32,
            cancel: self.cancel,
            ctx: ptr::from_mut(self).cast(),
            on_event: Some(on_event),
            timeout_ms: 0,
        }
    }
}

unsafe extern "C" fn on_event(ctx: *mut c_void, event: *const s3v_event) -> i32 {
    let (watch, event) = unsafe { (&mut *ctx.cast::<Watch<'_>>(), &*event) };
    assert_eq!(event.size as usize, size_of::<s3v_event>());
    i32::from(!(watch.tell)(event))
}

/// Finds the path, and returns the key that signed the version, and what was logged.
fn signer(vault: *mut s3v_vault, path: &CStr) -> (Option<String>, Vec<String>) {
    let mut logged = Vec::new();
    let mut watch = Watch::new(|event| {
        logged.extend((event.kind == S3V_EVENT_LOG).then(|| text(event.text)));
        true
    });
    let (ctl, options) = (watch.ctl(), ptr::null());
    let find = |out: *mut _, err: *mut _| unsafe {
        s3v_version_find(vault, c"c".as_ptr(), path.as_ptr(), options, &ctl, out, err)
    };
    let version = made(find).unwrap();
    drop(watch);
    let signer = unsafe { (*s3v_version_info(version)).signed_by };
    let signer = (!signer.is_null()).then(|| text(signer));
    unsafe { s3v_version_free(version) };
    (signer, logged)
}

#[test]
fn a_version_names_the_key_that_signed_it_and_one_that_is_not_verified_is_logged() {
    let (store, ring) = (store(), keyring());
    let info = taken(made(|out, err| unsafe { s3v_keyring_info(ring, out, err) }).unwrap());
    let id = serde_json::from_slice::<serde_json::Value>(&info).unwrap()["signing"]["id"].as_str().unwrap().to_owned();
    let (signing, blind) = (vault_with(&store, ring), vault_with(&store, ptr::null_mut()));
    let version = stored(signing, c"signed", b"bytes");
    assert_eq!(text(unsafe { (*s3v_version_info(version)).signed_by }), id);
    assert_eq!(signer(signing, c"signed"), (Some(id), Vec::new()));
    let unsigned = stored(blind, c"unsigned", b"bytes");
    assert!(unsafe { (*s3v_version_info(unsigned)).signed_by }.is_null());
    for path in [c"signed", c"unsigned"] {
        for _ in 0..2 {
            let (signer, logged) = signer(blind, path);
            assert!(signer.is_none() && logged.len() == 1, "{signer:?} {logged:?}");
            assert!(logged[0].contains("not verified") && logged[0].contains("verify_keys"), "{logged:?}");
        }
    }
    unsafe {
        s3v_version_free(version);
        s3v_version_free(unsigned);
        s3v_vault_free(signing);
        s3v_vault_free(blind);
    }
}

/// Moves a pointer to another thread, as C does.
struct Shared<T>(*mut T);
unsafe impl<T> Send for Shared<T> {}
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Makes the next request of an operation slow, so that its caller gets events.
fn slow(store: &Server, operation: &str) {
    store.fault(Fault::new(operation, Effect::Delay(Duration::from_millis(1500)))).unwrap();
}

/// Stops the body of the next answer before its first byte.
fn stalled(store: &Server, operation: &str) {
    store.fault(Fault::new(operation, Effect::Stall(0))).unwrap();
}

#[test]
fn a_stored_backup_is_found_listed_and_restored() {
    let store = store();
    let vault = vault(&store);
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let version = stored(vault, c"disk", &bytes);
    let row = unsafe { &*s3v_version_info(version) };
    assert_eq!((row.size as usize, row.kind, row.bytes), (size_of::<s3v_row>(), S3V_ROW_FULL, bytes.len() as u64));
    assert_eq!((text(row.container), text(row.path), row.parent.is_null()), ("c".into(), "disk".into(), true));
    assert!(row.initiated_ms > 0 && row.recorded_ms > 0);
    assert_eq!((text(row.vid).len(), text(row.manifest_hash).len()), (26, 64));

    let found = find(vault, c"disk").unwrap();
    assert_eq!(text(unsafe { (*s3v_version_info(found)).vid }), text(row.vid));
    assert_eq!(restored(found), bytes);
    let object = taken(made(|out, err| unsafe { s3v_version_manifest(found, ptr::null(), out, err) }).unwrap());
    assert!(!object.is_empty());

    let (n, o, ctl) = (ptr::null(), ptr::null(), ptr::null());
    let list = made(|out, err| unsafe { s3v_list_versions(vault, c"c".as_ptr(), n, o, ctl, out, err) }).unwrap();
    let listed = unsafe { &*next_row(list).unwrap().unwrap() };
    assert_eq!((text(listed.vid), text(listed.path)), (text(row.vid), "disk".into()));
    assert!(listed.manifest_hash.is_null() && listed.signed_by.is_null());
    assert!(next_row(list).unwrap().is_none() && next_row(list).unwrap().is_none());
    unsafe { s3v_list_free(list) };

    let list = made(|out, err| unsafe { s3v_list_containers(vault, o, ctl, out, err) }).unwrap();
    let listed = unsafe { &*next_row(list).unwrap().unwrap() };
    let texts = [listed.container, listed.path, listed.vid].map(text);
    assert_eq!((listed.kind, texts), (S3V_ROW_NAME, ["c".into(), "".into(), "".into()]));
    unsafe {
        s3v_list_free(list);
        s3v_version_free(version);
        s3v_version_free(found);
        s3v_vault_free(vault);
    }
}

#[test]
fn parents_may_be_freed_before_their_children() {
    let store = store();
    let vault = vault(&store);
    let put = put(vault, c"disk");
    unsafe { s3v_vault_free(vault) };
    write(put, b"bytes", ptr::null()).unwrap();
    let version = commit(put, ptr::null()).unwrap();
    unsafe { s3v_put_free(put) };
    let get = get(version);
    unsafe { s3v_version_free(version) };
    let mut buffer = [0; 10];
    assert_eq!(read(get, &mut buffer, ptr::null()).unwrap(), 5);
    assert_eq!(read(get, &mut buffer, ptr::null()).unwrap(), 0);
    unsafe { s3v_get_free(get) };
}

#[test]
fn an_unfinished_put_leaves_no_version() {
    let store = store();
    let vault = vault(&store);
    for abort in [true, false] {
        let put = put(vault, c"disk");
        write(put, b"bytes", ptr::null()).unwrap();
        assert_eq!(unsafe { s3v_put_offset(put) }, 5);
        if abort {
            call(|err| unsafe { s3v_put_abort(put, ptr::null(), err) }).unwrap();
            assert!(write(put, b"more", ptr::null()).is_err() && commit(put, ptr::null()).is_err());
        }
        unsafe { s3v_put_free(put) };
    }
    refused(find(vault, c"disk"), Code::NotFound);
    unsafe { s3v_vault_free(vault) };
}

#[test]
fn a_second_call_on_a_put_is_refused_except_for_its_offset() {
    let store = store();
    let vault = vault(&store);
    let put = put(vault, c"disk");
    write(put, b"bytes", ptr::null()).unwrap();
    slow(&store, "PutObject");
    let mut codes = Vec::new();
    let handle = Shared(put);
    let mut watch = Watch::new(|_| {
        let again = || write(handle.get(), b"x", ptr::null()).unwrap_or_else(|e| e.code);
        codes.push((again(), elsewhere(again), unsafe { s3v_put_offset(handle.get()) }));
        true
    });
    let version = commit(put, &watch.ctl()).unwrap();
    drop(watch);
    assert!(!codes.is_empty());
    assert!(codes.iter().all(|seen| *seen == (Code::Busy as i32, Code::Busy as i32, 5)), "{codes:?}");
    assert_eq!(restored(version), b"bytes");
    unsafe {
        s3v_version_free(version);
        s3v_put_free(put);
        s3v_vault_free(vault);
    }
}

#[test]
fn a_callback_stops_its_call_and_the_put_continues() {
    let store = store();
    let vault = vault(&store);
    let put = put(vault, c"disk");
    write(put, b"bytes", ptr::null()).unwrap();
    slow(&store, "PutObject");
    let mut watch = Watch::new(|_| false);
    refused(commit(put, &watch.ctl()), Code::Stopped);
    let version = commit(put, ptr::null()).unwrap();
    assert_eq!(restored(version), b"bytes");
    unsafe {
        s3v_version_free(version);
        s3v_put_free(put);
        s3v_vault_free(vault);
    }
}

#[test]
fn a_handle_freed_during_a_call_stays_alive_until_the_call_ends() {
    let store = store();
    let vault = vault(&store);
    let version = stored(vault, c"disk", &[7; 1000]);
    stalled(&store, "GetObject");
    let get = get(version);
    let (handle, cancel) = (Shared(get), Shared(s3v_cancel_new()));
    let mut freed = false;
    let mut watch = Watch::new(|event| {
        if !freed {
            freed = true;
            assert_eq!((event.kind, event.text.is_null()), (S3V_EVENT_HEARTBEAT, true));
            elsewhere(|| unsafe { s3v_get_free(handle.get()) });
            elsewhere(|| unsafe { s3v_cancel_trigger(cancel.get()) });
        }
        true
    });
    watch.cancel = cancel.get();
    let mut buffer = [0; 100];
    refused(read(get, &mut buffer, &watch.ctl()), Code::Cancelled);
    drop(watch);
    assert!(freed);
    unsafe {
        s3v_cancel_free(cancel.get());
        s3v_version_free(version);
        s3v_vault_free(vault);
    }
}

#[test]
fn a_call_ends_at_its_time_limit() {
    let store = store();
    let vault = vault(&store);
    let version = stored(vault, c"disk", b"bytes");
    unsafe { s3v_version_free(version) };
    stalled(&store, "GetObject");
    let mut watch = Watch::new(|_| true);
    let mut ctl = watch.ctl();
    ctl.timeout_ms = 300;
    let (container, path) = (c("c"), c("disk"));
    let result = made(|out, err| unsafe {
        s3v_version_find(vault, container.as_ptr(), path.as_ptr(), ptr::null(), &ctl, out, err)
    });
    refused(result, Code::TimedOut);
    unsafe { s3v_vault_free(vault) };
}

#[test]
fn reading_zero_bytes_is_not_the_end() {
    let store = store();
    let vault = vault(&store);
    let version = stored(vault, c"disk", b"bytes");
    let get = get(version);
    let mut count = 9;
    call(|err| unsafe { s3v_get_read(get, ptr::null_mut(), 0, ptr::null(), &mut count, err) }).unwrap();
    assert_eq!(count, 0);
    let mut buffer = [0; 10];
    assert_eq!(read(get, &mut buffer, ptr::null()).unwrap(), 5);
    unsafe {
        s3v_get_free(get);
        s3v_version_free(version);
        s3v_vault_free(vault);
    }
}

#[test]
fn an_error_of_the_store_has_its_status_and_code() {
    let store = store();
    let config =
        config(&[("api_url", &store.url()), ("access_key", "access"), ("secret_key", "wrong"), ("bucket", "backups")]);
    let open = made(|out, err| unsafe { s3v_vault_open(config, ptr::null_mut(), ptr::null(), out, err) });
    let failure = refused(open, Code::SignatureRefused);
    assert_eq!(failure.json["status"], 403);
    assert_eq!(failure.json["s3_code"], "SignatureDoesNotMatch");
    assert_eq!(failure.json["flags"], S3V_FLAG_REMOTE);
    assert_eq!((failure.name.as_str(), &failure.json["bucket"]), ("S3V_E_SIGNATURE_REFUSED", &"backups".into()));
    assert!(!failure.hint.is_empty());
    unsafe { s3v_config_free(config) };
}

#[test]
fn reads_by_position_and_a_restore_into_a_descriptor() {
    let store = store();
    let vault = vault(&store);
    let bytes: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let version = stored(vault, c"anywhere", &bytes);
    let get = get(version);
    let pread = |offset: u64, buffer: &mut [u8]| {
        let mut count = usize::MAX;
        let (to, length, ctl) = (buffer.as_mut_ptr().cast(), buffer.len(), ptr::null());
        call(|err| unsafe { s3v_get_pread(get, offset, to, length, ctl, &mut count, err) }).map(|_| count)
    };
    let mut buffer = [0; 1000];
    assert_eq!(pread(99_500, &mut buffer).unwrap(), 500);
    assert_eq!(buffer[..500], bytes[99_500..]);
    assert_eq!(pread(100_000, &mut buffer).unwrap(), 0);

    let file = tempfile::NamedTempFile::new().unwrap();
    let restore = |fd: i32| call(|err| unsafe { s3v_get_fd(version, fd, ptr::null(), ptr::null(), err) });
    restore(std::os::fd::AsRawFd::as_raw_fd(file.as_file())).unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
    assert_eq!(restore(-1).unwrap_err().code, Code::InvalidArgument as i32);
    unsafe {
        s3v_get_free(get);
        s3v_version_free(version);
        s3v_vault_free(vault);
    }
}
