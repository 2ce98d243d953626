//! What can be stored besides ordinary files: files whose size is not their length.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use embedded_store::{Options, Server};
use s3vault::{Control, Settings, Vault, Version};

fn restored(version: &Version) -> Vec<u8> {
    let mut get = version.open(&Settings::new(), &mut Control::none()).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match get.read(&mut buffer, &mut Control::none()).unwrap() {
            0 => return bytes,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn store() -> (Server, Vault) {
    let store = Server::start(Options::new("access", "secret").bucket("backups")).unwrap();
    let vault = support::vault(&store.url(), "backups");
    (store, vault)
}

/// The kernel's files: `stat` says 0 bytes, or the size of a page.
#[test]
fn files_whose_size_is_not_their_length_are_read_to_their_end() {
    let (_store, vault) = store();
    let none = &mut Control::none();
    for path in ["/proc/version", "/proc/filesystems", "/sys/devices/system/cpu/possible"] {
        let path = Path::new(path);
        let bytes = fs::read(path).unwrap();
        assert_ne!(fs::metadata(path).unwrap().len(), bytes.len() as u64, "{}", path.display());
        let version = vault.put_file("vm", "file", path, &Settings::new(), none).unwrap();
        assert_eq!((version.row().bytes, restored(&version)), (bytes.len() as u64, bytes), "{}", path.display());
    }
}

#[test]
fn the_position_of_such_a_file_is_neither_used_nor_moved() {
    let (_store, vault) = store();
    let mut file = File::open("/proc/version").unwrap();
    file.seek(SeekFrom::Start(6)).unwrap();
    let version = vault.put_fd("vm", "file", file.as_fd(), &Settings::new(), &mut Control::none()).unwrap();
    let bytes = fs::read("/proc/version").unwrap();
    assert_eq!(restored(&version), bytes);
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, bytes[6..]);
}
