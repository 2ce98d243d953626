//! A keyring behind wrap and unwrap functions of the caller (s3v_keyring_custom), with a store, in two modes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod abi_support;

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use abi_support::{Failure, c, call, config, keyring, made, refused, taken, text};
use embedded_store::{Options, Server, Versioning};
use s3vault::abi::*;
use s3vault_core::Code;

const ID: &CStr = c"00112233445566aa";

/// What the functions do.
#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Right,
    Fails(&'static CStr),
    UnwrapsTo(usize),
    SaysThatItWrote(usize),
}

/// A token of the caller: it wraps a key by flipping its bits, and keeps what it belongs to beside it.
struct Token {
    behaviour: Mutex<Behaviour>,
    calls: AtomicUsize,
    /// Tells that a function was entered, and waits until it may continue.
    pause: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    freed: Sender<usize>,
}

/// A token as a ctx, and what tells that it was freed, with the number of calls.
fn token() -> (*mut Token, Receiver<usize>) {
    let (freed, was_freed) = channel();
    let (behaviour, calls, pause) = (Mutex::new(Behaviour::Right), AtomicUsize::new(0), Mutex::new(None));
    (Box::into_raw(Box::new(Token { behaviour, calls, pause, freed })), was_freed)
}

unsafe extern "C" fn free_token(ctx: *mut c_void) {
    let token = unsafe { Box::from_raw(ctx.cast::<Token>()) };
    token.freed.send(token.calls.load(Ordering::SeqCst)).unwrap();
}

unsafe extern "C" fn wrap(ctx: *mut c_void, call: *mut s3v_key_call) -> i32 {
    unsafe { run(ctx, call, |data, associated, out| Ok(flipped(data, out) + flipped(associated, &mut out[32..]))) }
}

unsafe extern "C" fn unwrap(ctx: *mut c_void, call: *mut s3v_key_call) -> i32 {
    unsafe {
        run(ctx, call, |wrapped, associated, out| {
            let (key, belongs) = wrapped.split_at(32);
            let mut expected = vec![0; associated.len()];
            flipped(associated, &mut expected);
            if belongs == expected { Ok(flipped(key, out)) } else { Err(c"it belongs to another version") }
        })
    }
}

fn flipped(from: &[u8], to: &mut [u8]) -> usize {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = !from);
    from.len()
}

unsafe fn run(
    ctx: *mut c_void,
    call: *mut s3v_key_call,
    work: impl FnOnce(&[u8], &[u8], &mut [u8]) -> Result<usize, &'static CStr>,
) -> i32 {
    let (token, call) = unsafe { (&*ctx.cast::<Token>(), &mut *call) };
    assert_eq!((call.size as usize, call.out_len), (size_of::<s3v_key_call>(), 0));
    assert_eq!(unsafe { CStr::from_ptr(call.kek) }, ID);
    token.calls.fetch_add(1, Ordering::SeqCst);
    if let Some((entered, may_continue)) = token.pause.lock().unwrap().take() {
        entered.send(()).unwrap();
        may_continue.recv().unwrap();
    }
    let data = unsafe { std::slice::from_raw_parts(call.data.cast(), call.data_len) };
    let associated = unsafe { std::slice::from_raw_parts(call.associated.cast(), call.associated_len) };
    let out = unsafe { std::slice::from_raw_parts_mut(call.out.cast(), call.out_capacity) };
    let behaviour = *token.behaviour.lock().unwrap();
    let result = match behaviour {
        Behaviour::Fails(why) => Err(why),
        _ => work(data, associated, out),
    };
    match result {
        Ok(length) => {
            call.out_len = match behaviour {
                Behaviour::UnwrapsTo(other) if length == 32 => other,
                Behaviour::SaysThatItWrote(other) => other,
                _ => length,
            };
            0
        }
        Err(why) => {
            let why = why.to_bytes_with_nul();
            assert!(why.len() <= call.message_capacity);
            unsafe { ptr::copy_nonoverlapping(why.as_ptr(), call.message.cast(), why.len()) };
            7
        }
    }
}

fn custom(keyring: *mut s3v_keyring, id: &CStr, token: *mut Token) -> Result<*mut s3v_keyring, Failure> {
    made(|out, err| unsafe {
        s3v_keyring_custom(keyring, id.as_ptr(), Some(wrap), Some(unwrap), token.cast(), Some(free_token), out, err)
    })
}

fn store(mode: &str) -> Server {
    let versioning = if mode == "single-bucket" { Versioning::Enabled } else { Versioning::Off };
    let buckets = vec![("backups".to_owned(), versioning)];
    Server::start(Options { buckets, ..Options::new("access", "secret") }).unwrap()
}

fn vault(store: &Server, mode: &str, keyring: *mut s3v_keyring) -> *mut s3v_vault {
    let (url, secret) = (store.url(), "secret");
    let keys = [("api_url", &*url), ("access_key", "access"), ("secret_key", secret), ("bucket", "backups")];
    let config = config(&[&keys[..], &[("mode", mode), ("encryption", "envelope")]].concat());
    let vault = made(|out, err| unsafe { s3v_vault_open(config, keyring, ptr::null(), out, err) }).unwrap();
    unsafe { s3v_config_free(config) };
    vault
}

fn stored(vault: *mut s3v_vault, path: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = c(path);
    let options = ptr::null();
    let put =
        made(|out, err| unsafe { s3v_put_open(vault, c"c".as_ptr(), path.as_ptr(), options, ptr::null(), out, err) })?;
    let result = call(|err| unsafe { s3v_put_write(put, bytes.as_ptr().cast(), bytes.len(), ptr::null(), err) })
        .and_then(|_| made(|out, err| unsafe { s3v_put_commit(put, ptr::null(), out, err) }));
    unsafe { s3v_put_free(put) };
    result.map(|version| unsafe { s3v_version_free(version) })
}

fn restored(vault: *mut s3v_vault, path: &str) -> Result<Vec<u8>, Failure> {
    let path = c(path);
    let options = ptr::null();
    let version = made(|out, err| unsafe {
        s3v_version_find(vault, c"c".as_ptr(), path.as_ptr(), options, ptr::null(), out, err)
    })?;
    let get = made(|out, err| unsafe { s3v_get_open(version, ptr::null(), ptr::null(), out, err) });
    unsafe { s3v_version_free(version) };
    let (get, mut bytes, mut count) = (get?, vec![0; 100], 0);
    let result =
        call(|err| unsafe { s3v_get_read(get, bytes.as_mut_ptr().cast(), bytes.len(), ptr::null(), &mut count, err) });
    unsafe { s3v_get_free(get) };
    result.map(|_| bytes[..count].to_vec())
}

#[test]
fn backups_under_a_key_of_the_caller_are_restored_and_its_context_is_freed_once_at_the_end() {
    for mode in ["single-bucket", "single-bucket-no-versioning"] {
        let (store, own) = (store(mode), keyring());
        let (token, was_freed) = token();
        let ring = custom(own, ID, token).unwrap();
        let vault = vault(&store, mode, ring);
        stored(vault, "a", b"one").unwrap();
        stored(vault, "b", b"two").unwrap();
        let info = taken(made(|out, err| unsafe { s3v_keyring_info(ring, out, err) }).unwrap());
        let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
        let current: Vec<_> = info["keks"].as_array().unwrap().iter().filter(|kek| kek["current"] == true).collect();
        assert!(
            current.len() == 1 && current[0]["external"] == true && current[0]["id"] == text(ID.as_ptr()),
            "{info}"
        );
        unsafe { s3v_keyring_free(ring) };
        assert_eq!((restored(vault, "a").unwrap(), restored(vault, "b").unwrap()), (b"one".to_vec(), b"two".to_vec()));
        assert!(was_freed.try_recv().is_err(), "{mode}: the vault still needs it");
        unsafe { s3v_vault_free(vault) };
        // Each put wraps and unwraps, each restore unwraps.
        assert_eq!(was_freed.recv().unwrap(), 6, "{mode}");
        assert!(was_freed.recv().is_err(), "{mode}");
        let without = self::vault(&store, mode, own);
        let e = refused(restored(without, "a"), Code::WrongKey);
        assert!(e.message.contains(&text(ID.as_ptr())), "{e:?}");
        unsafe {
            s3v_vault_free(without);
            s3v_keyring_free(own);
        }
    }
}

#[test]
fn what_the_functions_say_and_what_they_do_wrong_is_in_the_error_and_nothing_is_stored() {
    use Behaviour::*;
    for mode in ["single-bucket", "single-bucket-no-versioning"] {
        let (store, own) = (store(mode), keyring());
        let (token, was_freed) = token();
        let ring = custom(own, ID, token).unwrap();
        let vault = vault(&store, mode, ring);
        stored(vault, "a", b"one").unwrap();
        for (behaviour, says) in [
            (Fails(c"PIN locked"), "PIN locked"),
            (Fails(c""), "the function returned 7"),
            (UnwrapsTo(31), "31 bytes"),
            (SaysThatItWrote(usize::MAX), "more than out_capacity"),
            (SaysThatItWrote(0), "0 bytes"),
        ] {
            *unsafe { &*token }.behaviour.lock().unwrap() = behaviour;
            let fails = [stored(vault, "new", b"two"), restored(vault, "a").map(|_| ())];
            for (what, result) in ["put", "get"].into_iter().zip(fails) {
                let e = refused(result, Code::ExternalKey);
                assert!(e.message.contains(says) && e.message.contains(&text(ID.as_ptr())), "{mode} {what}: {e:?}");
            }
        }
        *unsafe { &*token }.behaviour.lock().unwrap() = Right;
        refused(restored(vault, "new"), Code::NotFound);
        assert_eq!(restored(vault, "a").unwrap(), b"one");
        unsafe {
            s3v_vault_free(vault);
            s3v_keyring_free(ring);
            s3v_keyring_free(own);
        }
        was_freed.recv().unwrap();
    }
}

#[test]
fn a_keyring_that_is_not_made_leaves_the_context_to_the_caller() {
    let own = keyring();
    let (token, was_freed) = token();
    let make = |keyring, id: *const _, wrap: s3v_key_fn, unwrap: s3v_key_fn| {
        made(|out, err| unsafe {
            s3v_keyring_custom(keyring, id, wrap, unwrap, token.cast(), Some(free_token), out, err)
        })
    };
    let (id, functions) = (ID.as_ptr(), (Some(wrap as _), Some(unwrap as _)));
    for (result, says) in [
        (make(ptr::null_mut(), id, functions.0, functions.1), "keyring"),
        (make(own, ptr::null(), functions.0, functions.1), "kek_id"),
        (make(own, id, None, functions.1), "wrap"),
        (make(own, id, functions.0, None), "unwrap"),
        (make(own, c"00112233445566AA".as_ptr(), functions.0, functions.1), "16 lower-case"),
        (make(own, c"0011".as_ptr(), functions.0, functions.1), "16 lower-case"),
    ] {
        let e = refused(result, Code::InvalidArgument);
        assert!(e.message.contains(says), "{e:?}");
    }
    let ring = make(own, id, functions.0, functions.1).unwrap();
    assert!(refused(custom(ring, ID, token), Code::InvalidArgument).message.contains("already"));
    assert!(was_freed.try_recv().is_err());
    unsafe { s3v_keyring_free(ring) };
    was_freed.recv().unwrap();
    unsafe { s3v_keyring_free(own) };
}

/// An escrow has the other keys, and names this one; the keyring in it has no current key.
#[test]
fn an_escrow_names_the_key_and_a_change_keeps_it() {
    let own = keyring();
    let (token, was_freed) = token();
    let ring = custom(own, ID, token).unwrap();
    taken(made(|out, err| unsafe { s3v_keyring_add(ring, out, err) }).unwrap());
    let (how, secret) = (c"passphrase", b"secret");
    let escrow = taken(
        made(|out, err| unsafe {
            let (secret, len) = (secret.as_ptr().cast(), secret.len());
            s3v_keyring_export(ring, ptr::null(), how.as_ptr(), secret, len, ptr::null(), out, err)
        })
        .unwrap(),
    );
    let json = |keyring| -> serde_json::Value {
        let info = taken(made(|out, err| unsafe { s3v_keyring_info(keyring, out, err) }).unwrap());
        serde_json::from_slice(&info).unwrap()
    };
    assert_eq!(json(ring)["keks"].as_array().unwrap().iter().filter(|kek| kek["external"] == true).count(), 1);
    let (escrow, len, secret, secret_len) =
        (escrow.as_ptr().cast(), escrow.len(), secret.as_ptr().cast(), secret.len());
    let report =
        taken(made(|out, err| unsafe { s3v_keyring_import(ring, escrow, len, secret, secret_len, out, err) }).unwrap());
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["external"], serde_json::json!([text(ID.as_ptr())]));
    let restored =
        made(|out, err| unsafe { s3v_keyring_restore(ptr::null(), escrow, len, secret, secret_len, out, err) })
            .unwrap();
    let keks = json(restored)["keks"].clone();
    assert_eq!(keks.as_array().unwrap().len(), 2, "{keks}");
    assert!(keks.as_array().unwrap().iter().all(|kek| kek["current"] == false), "{keks}");
    for keyring in [own, ring, restored] {
        unsafe { s3v_keyring_free(keyring) };
    }
    was_freed.recv().unwrap();
}

/// The rotation is cancelled while the function runs for the first of three versions.
#[test]
fn a_function_is_not_called_again_for_a_call_that_was_cancelled() {
    let (store, own) = (store("single-bucket"), keyring());
    let first = vault(&store, "single-bucket", own);
    for path in ["a", "b", "c"] {
        stored(first, path, b"one").unwrap();
    }
    let (token, was_freed) = token();
    let ring = custom(own, ID, token).unwrap();
    let vault = vault(&store, "single-bucket", ring);
    let ((entered, has_entered), (go, may_continue)) = (channel(), channel());
    *unsafe { &*token }.pause.lock().unwrap() = Some((entered, may_continue));
    let cancel = s3v_cancel_new();
    let trigger = cancel as usize;
    let canceller = std::thread::spawn(move || {
        has_entered.recv().unwrap();
        unsafe { s3v_cancel_trigger(trigger as *mut s3v_cancel) };
    });
    let size = size_of::<s3v_ctl>() as u32;
    let ctl = s3v_ctl { size, ctx: ptr::null_mut(), on_event: None, cancel, timeout_ms: 0 };
    let report = made(|out, err| unsafe { s3v_rotate(vault, ptr::null(), &ctl, out, err) });
    refused(report, Code::Cancelled);
    canceller.join().unwrap();
    go.send(()).unwrap();
    unsafe {
        s3v_vault_free(vault);
        s3v_keyring_free(ring);
        s3v_cancel_free(cancel);
    }
    assert_eq!(was_freed.recv().unwrap(), 1, "the one that was running");
    for path in ["a", "b", "c"] {
        assert_eq!(restored(first, path).unwrap(), b"one");
    }
    unsafe {
        s3v_vault_free(first);
        s3v_keyring_free(own);
    }
}
