//! Full disks: that of the checkpoint, and the target of a restore. A process of its own, since the file size limit applies
//! to all of its files.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use embedded_store::{Options, Server};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use s3vault::keyring::Keys;
use s3vault::{Code, Control, Error, Settings, Vault};

/// The limit applies to the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs it while no file may grow beyond the limit.
fn limited<T>(most: u64, what: impl FnOnce() -> T) -> T {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, most, hard).unwrap();
    let done = what();
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    done
}

fn is_full(e: &Error, file: &Path) {
    assert_eq!(e.code(), Code::DiskFull, "{e:?}");
    assert!(e.message().contains(file.to_str().unwrap()), "{e}");
    assert!(e.hint().contains("ulimit -f"), "{e:?}");
}

fn vault(store: &Server) -> Vault {
    support::vault(&store.url(), "full")
}

#[test]
fn a_full_disk_ends_the_put_and_its_checkpoint_resumes_when_there_is_room() {
    let _alone = alone();
    let store = Server::start(Options::new("access", "secret").bucket("full")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    let none = &mut Control::none();
    let vault = vault(&store);
    let mut options = Settings::new();
    options.set("checkpoint", checkpoint.to_str().unwrap()).unwrap();
    let data = vec![7; 40 << 20];

    let mut put = vault.put("vm", "disk", &options, none).unwrap();
    let room = std::fs::metadata(&checkpoint).unwrap().len() + 10;
    let stored = limited(room, || put.write(&data, none).and_then(|()| put.commit(none).map(|_| ())));
    is_full(&stored.unwrap_err(), &checkpoint);
    drop(put);

    let mut put = vault.put("vm", "disk", &options, none).unwrap();
    put.write(&data[put.offset() as usize..], none).unwrap();
    put.commit(none).unwrap();
    assert!(!checkpoint.exists());
    vault.find("vm", "disk", &Settings::new(), none).unwrap();
}

#[test]
fn a_file_size_limit_ends_the_restore_and_nothing_is_left() {
    let _alone = alone();
    let store = Server::start(Options::new("access", "secret").bucket("full")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restored");
    let none = &mut Control::none();
    let mut put = vault(&store).put("vm", "disk", &Settings::new(), none).unwrap();
    put.write(&vec![7; 3 << 20], none).unwrap();
    let version = put.commit(none).unwrap();

    let restored = limited(1 << 20, || version.restore(&file, &Settings::new(), none));
    let partial = folder.path().join(format!(".restored.{}.restoring", version.row().vid));
    is_full(&restored.unwrap_err(), &partial);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let open = File::create(&file).unwrap();
    let restored = limited(1 << 20, || version.restore_fd(open.as_fd(), &Settings::new(), none));
    is_full(&restored.unwrap_err(), &file);
}

#[test]
fn a_keyring_that_cannot_grow_stays_as_it_was_and_leaves_nothing_beside_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keyring");
    let keys = Keys::create(&file).unwrap();
    let before = std::fs::read(&file).unwrap();
    // The limit sends a signal that would end the process, to the thread that writes: here, that of the test.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let added = limited(before.len() as u64 + 10, || keys.add());
    is_full(&added.unwrap_err(), &file);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(keys.to_bytes()[..], before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    keys.add().unwrap();
}
