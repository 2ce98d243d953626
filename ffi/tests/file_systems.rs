//! Targets of restores and checkpoints on file systems without locks, without syncs, without hard links, and at places where
//! no file can be put: network file systems, FAT and FUSE answer like this. This program replaces functions of the C library
//! by ones that fail when a test says so, so it is a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod support;

use std::ffi::{c_char, c_int};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use embedded_store::{Options, Server};
use nix::errno::Errno;
use s3vault::keyring::Keys;
use s3vault::{Code, Control, Error, Event, EventKind, Settings, Vault, Version};
use support::{bytes, settings};

/// What fails, and how. `folder`: only for folders.
#[derive(Clone, Copy)]
struct Fault {
    function: &'static str,
    folder: bool,
    errno: Errno,
}

static FAULTS: Mutex<Vec<Fault>> = Mutex::new(Vec::new());

/// The faults are the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs it while this function fails.
fn failing<T>(function: &'static str, folder: bool, errno: Errno, what: impl FnOnce() -> T) -> T {
    *FAULTS.lock().unwrap() = vec![Fault { function, folder, errno }];
    let done = what();
    FAULTS.lock().unwrap().clear();
    done
}

/// Whether this call is to fail. Sets `errno` then.
fn fails(function: &str, fd: c_int) -> bool {
    let is_folder = fd >= 0 && fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|found| found.is_dir());
    let faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(fault) = faults.iter().find(|fault| fault.function == function && fault.folder == is_folder) else {
        return false;
    };
    fault.errno.set();
    true
}

macro_rules! with_faults {
    ($($name:ident($fd:ident $(, $argument:ident: $type:ty)*) = $call:ident;)+) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($fd: c_int $(, $argument: $type)*) -> c_int {
            if fails(stringify!($name), $fd) {
                return -1;
            }
            // SAFETY: descriptors and flags are numbers.
            unsafe { libc::syscall(libc::$call, $fd $(, $argument)*) as c_int }
        }
    )+};
}

with_faults! {
    flock(fd, operation: c_int) = SYS_flock;
    fsync(fd) = SYS_fsync;
    fdatasync(fd) = SYS_fdatasync;
    fchmod(fd, mode: libc::mode_t) = SYS_fchmod;
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(a: c_int, from: *const c_char, b: c_int, to: *const c_char, flags: c_int) -> c_int {
    if fails("linkat", -1) {
        return -1;
    }
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_linkat, a, from, b, to, flags) as c_int }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { linkat(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    if fails("rename", -1) {
        return -1;
    }
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) as c_int }
}

struct Rig {
    store: Server,
    vault: Vault,
    version: Version,
    data: Vec<u8>,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        let store = Server::start(Options::new("access", "secret").bucket("backups")).unwrap();
        let vault = support::vault(&store.url(), "backups");
        let data = bytes(9 << 20);
        let version = stored(&vault, &data);
        Rig { store, vault, version, data, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn restore(&self, path: &Path) -> Result<(), Error> {
        self.version.restore(path, &Settings::new(), &mut Control::none())
    }

    fn is_restored(&self, path: &Path) -> bool {
        fs::read(path).is_ok_and(|found| found == self.data)
    }

    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Fails, names the path, says what to do, and asks the store for no data.
    fn is_refused_at_once(&self, path: &Path, words: &[&str]) {
        let before = self.store.stats().bytes_out;
        let e = self.restore(path).unwrap_err();
        let text = format!("{e} {}", e.hint());
        assert_eq!(e.code(), Code::Io, "{text}");
        for word in words.iter().chain([&path.to_str().unwrap()]) {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(self.store.stats().bytes_out < before + (1 << 20), "it was downloaded first: {text}");
    }
}

fn stored(vault: &Vault, data: &[u8]) -> Version {
    let none = &mut Control::none();
    let mut put = vault.put("vm", "disk", &Settings::new(), none).unwrap();
    put.write(data, none).unwrap();
    put.commit(none).unwrap()
}

fn as_root(program: &str, arguments: &[&str]) {
    let needed = "Run this test as root or with sudo, in a container with --privileged.";
    support::as_root(program, arguments, needed);
}

#[test]
fn a_link_stays_a_link_whether_or_not_its_target_exists() {
    let (_alone, rig) = (alone(), Rig::new());
    fs::create_dir(rig.path("inner")).unwrap();
    for (link, target, exists) in [
        ("live", "there", true),
        ("dangling", "not-there", false),
        ("relative", "inner/../inner/new", false),
        ("chain", "second", false),
    ] {
        if link == "chain" {
            symlink(rig.path("inner/last"), rig.path("second")).unwrap();
        }
        if exists {
            fs::write(rig.path(target), "old").unwrap();
        }
        symlink(target, rig.path(link)).unwrap();
        rig.restore(&rig.path(link)).unwrap();
        assert_eq!(fs::read_link(rig.path(link)).unwrap(), Path::new(target), "{link}");
        assert!(rig.is_restored(&rig.path(link)), "{link}");
    }
    assert!(rig.is_restored(&rig.path("inner/last")) && fs::read_link(rig.path("second")).is_ok());
    symlink("loop", rig.path("loop")).unwrap();
    rig.is_refused_at_once(&rig.path("loop"), &["symbolic links"]);
    symlink("missing/file", rig.path("nowhere")).unwrap();
    let e = rig.restore(&rig.path("nowhere")).unwrap_err();
    assert!(e.hint().contains("Create the folder"), "{e}: {}", e.hint());
    assert!(fs::read_link(rig.path("nowhere")).is_ok());
}

#[test]
fn every_name_that_the_file_system_allows_can_be_restored_to() {
    let (_alone, rig) = (alone(), Rig::new());
    for name in ["x".repeat(217), "x".repeat(218), "x".repeat(255), "ä".repeat(127)] {
        rig.restore(&rig.path(&name)).unwrap();
        assert!(rig.is_restored(&rig.path(&name)), "{}", name.len());
        fs::remove_file(rig.path(&name)).unwrap();
    }
    assert_eq!(rig.left(), [""; 0]);
    rig.is_refused_at_once(&rig.path(&"x".repeat(256)), &["shorter name"]);
}

/// As in a container whose volume is a single file.
#[test]
fn a_file_that_is_mounted_is_refused_before_anything_is_downloaded() {
    let (_alone, rig) = (alone(), Rig::new());
    fs::write(rig.path("source"), "old").unwrap();
    fs::write(rig.path("mounted"), "").unwrap();
    let mounted = rig.path("mounted");
    as_root("mount", &["--bind", rig.path("source").to_str().unwrap(), mounted.to_str().unwrap()]);
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rig.is_refused_at_once(&mounted, &["mounted there", "s3vault get CONTAINER PATH - >"]);
        assert_eq!(fs::read(&mounted).unwrap(), b"old");
        // What the hint says.
        let file = File::options().write(true).open(&mounted).unwrap();
        rig.version.restore_fd(file.as_fd(), &Settings::new(), &mut Control::none()).unwrap();
        assert!(rig.is_restored(&mounted));
    }));
    as_root("umount", &[mounted.to_str().unwrap()]);
    refused.unwrap();
    assert_eq!(rig.left(), ["mounted", "source"]);
}

#[test]
fn an_immutable_file_is_refused_before_anything_is_downloaded() {
    let (_alone, rig) = (alone(), Rig::new());
    // Not every temporary directory is on a file system with attributes.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("fixed");
    fs::write(&path, "old").unwrap();
    for attribute in ["i", "a"] {
        as_root("chattr", &[&format!("+{attribute}"), path.to_str().unwrap()]);
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            rig.is_refused_at_once(&path, &["immutable", "chattr -i -a"]);
        }));
        as_root("chattr", &[&format!("-{attribute}"), path.to_str().unwrap()]);
        refused.unwrap();
    }
    rig.restore(&path).unwrap();
    assert!(rig.is_restored(&path));
}

/// As in /tmp: everybody may create files there, and only their owner may replace them.
#[test]
fn a_file_of_another_user_in_a_sticky_folder_is_refused_before_anything_is_downloaded() {
    let (_alone, rig) = (alone(), Rig::new());
    let (own, path) = (nix::unistd::geteuid(), rig.path("theirs"));
    fs::write(&path, "old").unwrap();
    fs::set_permissions(rig.folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    as_root("chown", &["0", path.to_str().unwrap(), rig.folder.path().to_str().unwrap()]);
    if own.is_root() {
        nix::unistd::seteuid(65_534.into()).unwrap();
    }
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rig.is_refused_at_once(&path, &["belongs to another user", "another folder"]);
        rig.restore(&rig.path("own")).unwrap();
        rig.restore(&rig.path("own")).unwrap();
    }));
    nix::unistd::seteuid(own).unwrap();
    as_root("chown", &[&own.to_string(), path.to_str().unwrap(), rig.folder.path().to_str().unwrap()]);
    refused.unwrap();
    assert_eq!(rig.left(), ["own", "theirs"]);
}

/// As a volume that is a single file has it, in a container whose own files are read-only.
#[test]
fn a_file_in_a_folder_that_cannot_be_written_is_refused_with_a_way_round() {
    let (_alone, rig) = (alone(), Rig::new());
    let (own, path) = (nix::unistd::geteuid(), rig.path("file"));
    fs::write(&path, "old").unwrap();
    for (path, mode) in [(&*path, 0o666), (rig.folder.path(), 0o555)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    if own.is_root() {
        nix::unistd::seteuid(65_534.into()).unwrap();
    }
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rig.is_refused_at_once(&path, &["Permission denied", "in place", "s3vault get CONTAINER PATH - >"]);
        let e = rig.restore(&rig.path("new")).unwrap_err();
        assert!(e.hint().contains("permissions of the file and of its folder"), "{e}: {}", e.hint());
        let file = File::options().write(true).open(&path).unwrap();
        rig.version.restore_fd(file.as_fd(), &Settings::new(), &mut Control::none()).unwrap();
        assert!(rig.is_restored(&path));
    }));
    nix::unistd::seteuid(own).unwrap();
    fs::set_permissions(rig.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    refused.unwrap();
}

#[test]
fn a_restore_works_where_files_cannot_be_locked() {
    let (_alone, rig) = (alone(), Rig::new());
    for errno in [Errno::ENOLCK, Errno::EOPNOTSUPP, Errno::ENOSYS] {
        let path = rig.path("restored");
        failing("flock", false, errno, || rig.restore(&path)).unwrap();
        assert!(rig.is_restored(&path), "{errno}");
        assert_eq!(rig.left(), ["restored"], "{errno}");
        fs::remove_file(path).unwrap();
    }
    // Nobody can tell whether its partial file is in use, so an error leaves none.
    let fault =
        r#"{"operation": "GetObject", "target": "vm/disk?", "skip": 1, "times": 1000, "answer": {"status": 503}}"#;
    rig.store.fault(serde_json::from_str(fault).unwrap()).unwrap();
    failing("flock", false, Errno::ENOLCK, || rig.restore(&rig.path("restored"))).unwrap_err();
    assert_eq!(rig.left(), [""; 0]);
}

#[test]
fn a_checkpoint_that_cannot_be_locked_is_refused_and_does_not_stay() {
    let (_alone, rig) = (alone(), Rig::new());
    let checkpoint = rig.path("checkpoint");
    let options = settings(&[("checkpoint", checkpoint.to_str().unwrap())]);
    let put = || rig.vault.put("vm", "other", &options, &mut Control::none()).map(|_| ());
    for errno in [Errno::ENOLCK, Errno::EOPNOTSUPP, Errno::ENOSYS] {
        let e = failing("flock", false, errno, put).unwrap_err();
        let text = format!("{e} {}", e.hint());
        for word in [checkpoint.to_str().unwrap(), "no locks", "local disk"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!checkpoint.exists(), "{errno}");
    }
    failing("flock", false, Errno::EIO, put).unwrap_err();
    assert!(!checkpoint.exists());
    // One with records stays.
    let mut file = rig.vault.put("vm", "other", &options, &mut Control::none()).unwrap();
    file.write(&rig.data, &mut Control::none()).unwrap();
    file.suspend(&mut Control::none()).unwrap();
    drop(file);
    let before = fs::read(&checkpoint).unwrap();
    failing("flock", false, Errno::ENOLCK, put).unwrap_err();
    assert!(!before.is_empty() && fs::read(&checkpoint).unwrap() == before);
}

#[test]
fn what_a_file_system_cannot_sync_is_no_failure() {
    let (_alone, rig) = (alone(), Rig::new());
    let (path, checkpoint) = (rig.path("restored"), rig.path("checkpoint"));
    let options = settings(&[("checkpoint", checkpoint.to_str().unwrap())]);
    let none = || Control::none();
    for (function, folder, errnos) in [
        ("fsync", true, &[Errno::EOPNOTSUPP, Errno::EINVAL, Errno::EBADF, Errno::ENOSYS][..]),
        ("fdatasync", false, &[Errno::EOPNOTSUPP, Errno::EINVAL, Errno::ENOSYS][..]),
    ] {
        for errno in errnos {
            failing(function, folder, *errno, || {
                rig.restore(&path).unwrap_or_else(|e| panic!("{function}, {errno}: {e}"));
                let file = File::options().write(true).open(&path).unwrap();
                rig.version.restore_fd(file.as_fd(), &Settings::new(), &mut none()).unwrap();
                let mut put = rig.vault.put("vm", "other", &options, &mut none()).unwrap();
                put.write(&rig.data, &mut none()).unwrap();
                put.commit(&mut none()).unwrap();
            });
            assert!(rig.is_restored(&path) && !checkpoint.exists(), "{function}, {errno}");
        }
        let e = failing(function, folder, Errno::EIO, || rig.restore(&path)).unwrap_err();
        assert!(e.message().contains(path.to_str().unwrap()), "an error of the disk stays one: {e}");
    }
}

/// As FAT does: a mode is refused, or is not what it was set to.
#[test]
fn a_file_system_that_keeps_no_modes_gets_the_file() {
    let (_alone, rig) = (alone(), Rig::new());
    let path = rig.path("restored");
    failing("fchmod", false, Errno::EPERM, || rig.restore(&path)).unwrap();
    assert!(rig.is_restored(&path));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_whole_download_that_cannot_get_its_name_stays_and_is_named() {
    let (_alone, rig) = (alone(), Rig::new());
    let e = failing("rename", false, Errno::EIO, || rig.restore(&rig.path("restored"))).unwrap_err();
    let left = rig.left();
    let [partial] = &left[..] else { panic!("{left:?}") };
    assert!(e.hint().contains(partial.as_str()) && e.hint().contains("rename"), "{e}: {}", e.hint());
    assert!(rig.is_restored(&rig.path(partial)));
}

/// As FAT, exFAT, SMB and FUSE answer.
#[test]
fn a_keyring_is_created_where_there_are_no_hard_links_and_no_syncs() {
    let (_alone, folder) = (alone(), tempfile::tempdir().unwrap());
    let (path, other) = (folder.path().join("keyring"), folder.path().join("x".repeat(250)));
    for (function, is_folder, errno) in [
        ("linkat", false, Errno::EPERM),
        ("linkat", false, Errno::EOPNOTSUPP),
        ("linkat", false, Errno::ENOSYS),
        ("fsync", true, Errno::EINVAL),
        ("fsync", true, Errno::EOPNOTSUPP),
        ("fdatasync", false, Errno::EOPNOTSUPP),
    ] {
        for path in [&path, &other] {
            let make = || s3vault::keyring::create(path);
            let made = failing(function, is_folder, errno, make).unwrap_or_else(|e| panic!("{function}, {errno}: {e}"));
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
            assert_eq!(s3vault::keyring::open(path).unwrap().info_json(), made.info_json());
            let e = failing(function, is_folder, errno, make).err().unwrap();
            assert!(e.message().ends_with("it exists already"), "{e}");
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Nothing stays, so the next try does not find a keyring that was reported as not created.
#[test]
fn a_keyring_that_cannot_be_synced_can_be_created_again() {
    let (_alone, folder) = (alone(), tempfile::tempdir().unwrap());
    let path = folder.path().join("keyring");
    let make = || s3vault::keyring::create(&path);
    for (function, is_folder) in [("fsync", true), ("fdatasync", false)] {
        let e = failing(function, is_folder, Errno::EIO, make).err().unwrap();
        assert!(e.code() == Code::Keyring && e.message().contains(path.to_str().unwrap()), "{e}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{function}");
    }
    make().unwrap();
}

#[test]
fn the_partial_file_of_an_older_version_is_removed_once_a_newer_is_there() {
    let (_alone, mut rig) = (alone(), Rig::new());
    let path = rig.path("restored");
    let name = |version: &Version, more: &str| format!(".restored.{}{more}.restoring", version.row().vid);
    let fault =
        r#"{"operation": "GetObject", "target": "vm/disk?", "skip": 1, "times": 1000, "answer": {"status": 503}}"#;
    rig.store.fault(serde_json::from_str(fault).unwrap()).unwrap();
    rig.restore(&path).unwrap_err();
    rig.store.clear_faults();
    let old = name(&rig.version, "");
    assert_eq!(rig.left(), [&*old], "the first part was verified");

    // Beside it: files of others with such a name, one of another file, and one that is in use.
    let older = rig.version;
    rig.version = stored(&rig.vault, &rig.data);
    let (foreign, random) = (old.replace("restored", "other"), name(&older, ".0123456789abcdef"));
    for name in [&foreign, &random, ".restored.notes.restoring", "notes"] {
        fs::write(rig.path(name), "mine").unwrap();
    }
    let private = |name: &str| fs::set_permissions(rig.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    private(&random);
    let mut logged = Vec::new();
    let mut note = |event: &Event<'_>| {
        if event.kind == EventKind::Log {
            logged.push(event.text.unwrap_or_default().to_owned());
        }
        true
    };
    let held = File::open(rig.path(&old)).unwrap();
    held.lock().unwrap();
    rig.restore(&path).unwrap();
    assert!(rig.left().contains(&old), "it is in use");
    drop(held);
    let mut control = Control { on_event: Some(&mut note), ..Control::none() };
    rig.version.restore(&path, &Settings::new(), &mut control).unwrap();
    let mut expected =
        vec![foreign, random.clone(), ".restored.notes.restoring".into(), "notes".into(), "restored".into()];
    expected.sort();
    assert_eq!(rig.left(), expected);
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].contains(&random) && logged[0].contains("remove it"), "{logged:?}");

    // A file that only has the name of a partial file is nobody's to remove.
    for contents in [&b"mine"[..], &[1; 200], b"s3vault restore 1 \n\x01"] {
        fs::write(rig.path(&old), contents).unwrap();
        private(&old);
        rig.restore(&path).unwrap();
        assert_eq!(fs::read(rig.path(&old)).unwrap(), contents);
    }
}

#[test]
fn a_partial_file_of_a_newer_version_is_kept() {
    let (_alone, mut rig) = (alone(), Rig::new());
    let older = rig.version;
    rig.version = stored(&rig.vault, &rig.data);
    let fault =
        r#"{"operation": "GetObject", "target": "vm/disk?", "skip": 1, "times": 1000, "answer": {"status": 503}}"#;
    rig.store.fault(serde_json::from_str(fault).unwrap()).unwrap();
    rig.restore(&rig.path("restored")).unwrap_err();
    rig.store.clear_faults();
    older.restore(&rig.path("restored"), &Settings::new(), &mut Control::none()).unwrap();
    assert_eq!(rig.left(), [format!(".restored.{}.restoring", rig.version.row().vid), "restored".into()]);
}

/// A change of a keyring that fails leaves the one that was there, and no other file.
#[test]
fn a_keyring_whose_change_cannot_be_synced_stays_as_it_was() {
    let (_alone, folder) = (alone(), tempfile::tempdir().unwrap());
    let path = folder.path().join("keyring");
    let keys = Keys::create(&path).unwrap();
    let before = fs::read(&path).unwrap();
    for errno in [Errno::EIO, Errno::ENOSPC] {
        let e = failing("fdatasync", false, errno, || keys.add()).err().unwrap();
        assert!(e.message().contains(path.to_str().unwrap()), "{e}");
        assert_eq!(e.code() == Code::DiskFull, errno == Errno::ENOSPC, "{e}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    keys.add().unwrap();
}
