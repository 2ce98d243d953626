//! Backups of block devices, and restores into them, by name and by descriptor. The tests use loop devices, which root
//! creates; without root, sudo and loop devices they fail. The owner of a machine that cannot have any sets
//! S3VAULT_WITHOUT_LOOP=1: then `make test` leaves out the tests with `loop_device` in their name, and says so.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod support;

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use embedded_store::{Options, Server};
use nix::fcntl::OFlag;
use s3vault::{Code, Control, Error, Event, EventKind, Settings, Vault, Version};
use support::settings;

const PART: usize = 8 << 20;
/// Whole sectors, with a short last part.
const SIZE: usize = 2 * PART + 5 * 512;

/// What to do where no loop device can be made.
const NEEDED: &str = "These tests need a loop device. As root or with sudo, run `modprobe loop`; give a container the right \
                      (--privileged). If this machine cannot have one, set S3VAULT_WITHOUT_LOOP=1 for `make test`.";

fn as_root(program: &str, arguments: &[&str]) -> String {
    support::as_root(program, arguments, NEEDED)
}

/// A loop device over a file.
struct Disk {
    path: PathBuf,
    _file: tempfile::NamedTempFile,
}

impl Disk {
    fn new(content: &[u8]) -> Disk {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let path = as_root("losetup", &["--find", "--show", file.path().to_str().unwrap()]);
        as_root("chown", &[&nix::unistd::geteuid().to_string(), &path]);
        Disk { path: path.into(), _file: file }
    }

    fn read(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.path).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        as_root("losetup", &["--detach", self.path.to_str().unwrap()]);
    }
}

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| ((n + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

struct Rig {
    store: Server,
    vault: Vault,
}

impl Rig {
    fn new() -> Rig {
        let store = Server::start(Options::new("access", "secret").bucket("disks")).unwrap();
        let vault = support::vault(&store.url(), "disks");
        Rig { store, vault }
    }

    fn put(&self, data: &[u8]) -> Version {
        let none = &mut Control::none();
        let mut put = self.vault.put("vm", "disk", &Settings::new(), none).unwrap();
        put.write(data, none).unwrap();
        put.commit(none).unwrap()
    }
}

fn read(version: &Version) -> Vec<u8> {
    let none = &mut Control::none();
    let mut get = version.open(&Settings::new(), none).unwrap();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        match get.read(&mut buffer, none).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

#[test]
fn a_loop_device_is_stored_whole_by_name_and_by_descriptor() {
    let (rig, data, none) = (Rig::new(), bytes(1, SIZE), &mut Control::none());
    let disk = Disk::new(&data);
    let by_name = rig.vault.put_file("vm", "disk", &disk.path, &Settings::new(), none).unwrap();
    assert_eq!(by_name.row().bytes, SIZE as u64);
    assert!(read(&by_name) == data);
    let mut open = disk.open();
    open.seek(SeekFrom::Start(512)).unwrap();
    let by_descriptor = rig.vault.put_fd("vm", "disk", open.as_fd(), &Settings::new(), none).unwrap();
    assert!(read(&by_descriptor) == data, "from its start, whatever the position of the descriptor");
    assert_eq!(open.stream_position().unwrap(), 512, "the position of the descriptor is unchanged");
}

#[test]
fn a_loop_device_is_written_in_place_and_nothing_after_the_backup_changes() {
    let (rig, data) = (Rig::new(), bytes(1, SIZE));
    let version = rig.put(&data);
    let before = bytes(2, SIZE + 3 * 512);
    type Restore<'a> = &'a dyn Fn(&Disk, &mut Control<'_>) -> Result<(), Error>;
    let ways: [(&str, Restore<'_>); 3] = [
        ("name", &|disk, control| version.restore(&disk.path, &settings(&[("holes", "true")]), control)),
        ("descriptor", &|disk, control| {
            let open = disk.open();
            open.write_at(b"changed", 0).unwrap();
            version.restore_fd(open.as_fd(), &settings(&[("holes", "true")]), control)
        }),
        ("descriptor for writing alone", &|disk, control| {
            let open = OpenOptions::new().write(true).open(&disk.path).unwrap();
            version.restore_fd(open.as_fd(), &Settings::new(), control)
        }),
    ];
    for (way, restore) in ways {
        let disk = Disk::new(&before);
        let mut logged = Vec::new();
        let mut note = |event: &Event<'_>| {
            logged.extend(text_of_log(event));
            true
        };
        let control = &mut Control { on_event: Some(&mut note), ..Control::none() };
        restore(&disk, control).unwrap_or_else(|e| panic!("by {way}: {e:?}"));
        let [log] = &logged[..] else { panic!("by {way}: {logged:?}") };
        for word in
            [disk.path.to_str().unwrap(), "last 1536 bytes", &format!("from byte {SIZE} on"), "left as they were"]
        {
            assert!(log.contains(word), "by {way}, {word}: {log}");
        }
        let after = disk.read();
        assert!(after[..SIZE] == data && after[SIZE..] == before[SIZE..], "by {way}");
    }
}

#[test]
fn a_loop_device_that_is_too_small_is_unchanged() {
    let (rig, none) = (Rig::new(), &mut Control::none());
    let version = rig.put(&bytes(1, SIZE));
    let before = bytes(2, SIZE - 512);
    let disk = Disk::new(&before);
    let by_name = version.restore(&disk.path, &Settings::new(), none);
    let by_descriptor = version.restore_fd(disk.open().as_fd(), &Settings::new(), none);
    for e in [by_name.unwrap_err(), by_descriptor.unwrap_err()] {
        assert_eq!(e.code(), Code::DiskFull, "{e:?}");
        let numbers = [SIZE.to_string(), before.len().to_string()];
        assert!(numbers.iter().all(|number| e.message().contains(number)), "{e}");
        assert!(e.message().contains(disk.path.to_str().unwrap()) && e.hint().contains("large enough"), "{e:?}");
    }
    assert!(disk.read() == before);
}

#[test]
fn a_loop_device_that_is_in_use_is_unchanged() {
    let (rig, none) = (Rig::new(), &mut Control::none());
    let version = rig.put(&bytes(1, SIZE));
    let before = bytes(2, SIZE);
    let disk = Disk::new(&before);
    // As a mount holds it.
    let held = OpenOptions::new().read(true).custom_flags(OFlag::O_EXCL.bits()).open(&disk.path).unwrap();
    let e = version.restore(&disk.path, &Settings::new(), none).unwrap_err();
    assert_eq!(e.code(), Code::Io, "{e:?}");
    assert!(e.message().contains(disk.path.to_str().unwrap()) && e.hint().contains("Unmount"), "{e:?}");
    assert!(disk.read() == before);
    drop(held);
    version.restore(&disk.path, &Settings::new(), none).unwrap();
}

fn text_of_log(event: &Event<'_>) -> Option<String> {
    (event.kind == EventKind::Log).then(|| event.text.unwrap_or_default().to_owned())
}

#[test]
fn a_restore_that_fills_a_loop_device_logs_nothing() {
    let (rig, data) = (Rig::new(), bytes(1, SIZE));
    let version = rig.put(&data);
    let (disk, mut logged) = (Disk::new(&bytes(2, SIZE)), Vec::new());
    let mut note = |event: &Event<'_>| {
        logged.extend(text_of_log(event));
        true
    };
    version
        .restore(&disk.path, &Settings::new(), &mut Control { on_event: Some(&mut note), ..Control::none() })
        .unwrap();
    assert!(disk.read() == data && logged.is_empty(), "{logged:?}");
}

/// A put that fails when its parts are stored.
fn interrupted(rig: &Rig, disk: &Path, checkpoint: &Path) {
    let fault = r#"{"operation": "CompleteMultipartUpload", "answer": {"status": 403, "code": "AccessDenied"}}"#;
    rig.store.fault(serde_json::from_str(fault).unwrap()).unwrap();
    let options = settings(&[("checkpoint", checkpoint.to_str().unwrap())]);
    let e = rig.vault.put_file("vm", "disk", disk, &options, &mut Control::none()).err().unwrap();
    assert_eq!(e.code(), Code::AccessDenied, "{e:?}");
}

#[test]
fn a_put_of_a_loop_device_resumes_under_another_name_of_the_device() {
    let (rig, data, folder) = (Rig::new(), bytes(1, SIZE), tempfile::tempdir().unwrap());
    let (disk, checkpoint) = (Disk::new(&data), folder.path().join("checkpoint"));
    interrupted(&rig, &disk.path, &checkpoint);
    // Its device number stays the same after a reboot; its name and the inode of the name need not.
    let again = folder.path().join("again");
    let number = nix::sys::stat::stat(&disk.path).unwrap().st_rdev;
    let (major, minor) = (nix::sys::stat::major(number).to_string(), nix::sys::stat::minor(number).to_string());
    let name = again.to_str().unwrap();
    as_root("mknod", &[name, "b", &major, &minor]);
    as_root("chown", &[&nix::unistd::geteuid().to_string(), name]);
    let parts = || rig.store.stats().requests["UploadPart"];
    let before = parts();
    let options = settings(&[("checkpoint", checkpoint.to_str().unwrap())]);
    let version = rig.vault.put_file("vm", "disk", &again, &options, &mut Control::none()).unwrap();
    assert!(read(&version) == data);
    assert_eq!(parts(), before, "stored parts are not sent again");
}

#[test]
fn a_put_does_not_resume_with_another_loop_device() {
    let (rig, folder) = (Rig::new(), tempfile::tempdir().unwrap());
    let (first, second) = (Disk::new(&bytes(1, SIZE)), Disk::new(&bytes(2, SIZE)));
    let checkpoint = folder.path().join("checkpoint");
    interrupted(&rig, &first.path, &checkpoint);
    let options = settings(&[("checkpoint", checkpoint.to_str().unwrap())]);
    let e = rig.vault.put_file("vm", "disk", &second.path, &options, &mut Control::none()).err().unwrap();
    assert_eq!(e.code(), Code::SourceChanged, "{e:?}");
}
