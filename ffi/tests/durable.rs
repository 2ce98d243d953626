//! Data that must survive a crash of the machine: what is synced, and when. This program replaces `fsync`, `fdatasync`,
//! `ftruncate64` and `rename` by functions that record their calls, so it is a process of its own.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::ffi::{CStr, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use embedded_store::{Options, Server};
use s3vault::{Control, Settings, Vault};

#[derive(Debug, PartialEq)]
enum Call {
    Sync(PathBuf),
    Length(PathBuf, u64),
    Rename(PathBuf, PathBuf),
}

static CALLS: Mutex<Vec<Call>> = Mutex::new(Vec::new());

fn note(call: Call) {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner).push(call);
}

fn calls(what: impl FnOnce()) -> Vec<Call> {
    std::mem::take(&mut *CALLS.lock().unwrap());
    what();
    std::mem::take(&mut *CALLS.lock().unwrap())
}

fn opened(fd: c_int) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default()
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    note(Call::Sync(opened(fd)));
    // SAFETY: a descriptor is a number.
    unsafe { libc::syscall(libc::SYS_fsync, fd) as c_int }
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    note(Call::Sync(opened(fd)));
    // SAFETY: a descriptor is a number.
    unsafe { libc::syscall(libc::SYS_fdatasync, fd) as c_int }
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: i64) -> c_int {
    note(Call::Length(opened(fd), length as u64));
    // SAFETY: a descriptor and a length are numbers.
    unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) as c_int }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let path = |text| PathBuf::from(unsafe { CStr::from_ptr(text) }.to_str().unwrap());
    note(Call::Rename(path(from), path(to)));
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) as c_int }
}

fn vault(store: &Server) -> Vault {
    support::vault(&store.url(), "durable")
}

/// The only test, since the calls are recorded for the whole process.
#[test]
fn a_name_is_on_disk_before_anything_depends_on_it() {
    let store = Server::start(Options::new("access", "secret").bucket("durable")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let synced = |path: &Path| Call::Sync(path.to_owned());
    let none = &mut Control::none();
    let vault = vault(&store);

    let checkpoint = folder.path().join("checkpoint");
    let mut options = Settings::new();
    options.set("checkpoint", checkpoint.to_str().unwrap()).unwrap();
    let mut version = None;
    let made = calls(|| {
        let mut put = vault.put("vm", "disk", &options, none).unwrap();
        put.write(&vec![7; 9 << 20], none).unwrap();
        version = Some(put.commit(none).unwrap());
    });
    assert_eq!(made[0], synced(folder.path()), "the checkpoint's name, before its first record: {made:?}");
    let first_sync = made.iter().find(|call| matches!(call, Call::Sync(path) if path != folder.path()));
    assert_eq!(first_sync, Some(&synced(&checkpoint)), "{made:?}");
    // Header, upload, two parts, Complete, object, row; and the removal, which empties it first.
    let syncs = made.iter().filter(|call| **call == synced(&checkpoint)).count();
    assert_eq!(syncs, 7 + 1, "each record is on disk before what depends on it: {made:?}");
    assert_eq!(made.last(), Some(&synced(folder.path())), "and its removal: {made:?}");

    let file = folder.path().join("restored");
    let version = version.unwrap();
    let made = calls(|| version.restore(&file, &Settings::new(), none).unwrap());
    let named = made.iter().position(|call| matches!(call, Call::Rename(_, to) if *to == file)).unwrap();
    let Call::Rename(partial, _) = &made[named] else { unreachable!() };
    // Before a crash may leave a file without marks, its bytes are on disk; before it has its name, its length too.
    let ends = [synced(partial), Call::Length(partial.clone(), 9 << 20), synced(partial)];
    assert_eq!(made[named - 3..named], ends, "bytes and length, before their name: {made:?}");
    assert_eq!(made[named + 1..], [synced(folder.path())], "the name: {made:?}");

    let open = std::fs::File::create(&file).unwrap();
    let made = calls(|| version.restore_fd(std::os::fd::AsFd::as_fd(&open), &Settings::new(), none).unwrap());
    let ends = [Call::Length(file.clone(), 9 << 20), synced(&file)];
    assert_eq!(made, ends, "a file that has its name already");
}
