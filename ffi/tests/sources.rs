//! What can be stored besides ordinary files: files whose size is not their length, and files that change meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs::{self, File, FileTimes};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;

use embedded_store::{Options, Server};
use s3vault::{Code, Control, Error, Settings, Vault, Version};
use support::{bytes, settings};

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

/// One part, and several: the single PUT is hashed before it is sent, and parts while they are sent.
const SIZES: [usize; 2] = [1 << 20, 20 << 20];

/// A file that is changed while it is being stored: after the put has looked at it, and before it reads the first byte.
struct Changing {
    store: Server,
    vault: Vault,
    folder: tempfile::TempDir,
    contents: Vec<u8>,
}

impl Changing {
    fn new(size: usize, own: &[(&str, &str)]) -> Changing {
        let store = Server::start(Options::new("access", "secret").bucket("backups")).unwrap();
        let mut reaching = support::reaching(&store.url(), "backups");
        own.iter().for_each(|(key, value)| reaching.set(key, value).unwrap());
        let vault = Vault::open(&reaching, None, &mut Control::none()).unwrap();
        let (folder, contents) = (tempfile::tempdir().unwrap(), bytes(size));
        fs::write(folder.path().join("source"), &contents).unwrap();
        // Later than the clock tick in which it was created.
        std::thread::sleep(std::time::Duration::from_millis(50));
        Changing { store, vault, folder, contents }
    }

    fn put(&self, options: &[(&str, &str)], change: impl FnOnce(&Path) + Send) -> Result<Version, Error> {
        let path = self.folder.path().join("source");
        let locator = r#"{"operation": "PutObject", "target": "_s3vault/1/loc", "delay_ms": 2000}"#;
        self.store.fault(serde_json::from_str(locator).unwrap()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !self.store.pending_faults().is_empty() {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                change(&path);
            });
            let stored = self.vault.put_file("vm", "file", &path, &settings(options), &mut Control::none());
            self.store.clear_faults();
            stored
        })
    }

    fn versions(&self) -> usize {
        let mut list = self.vault.versions(Some("vm"), Some("file"), &Settings::new()).unwrap();
        std::iter::from_fn(|| list.next(&mut Control::none()).unwrap()).count()
    }
}

fn grow(path: &Path) {
    File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

/// Writes other bytes, and sets the time of modification back, as `rsync --inplace --times` does.
fn rewrite(path: &Path) {
    let mut file = File::options().write(true).open(path).unwrap();
    let times = FileTimes::new().set_modified(file.metadata().unwrap().modified().unwrap());
    file.write_all(b"other bytes").unwrap();
    file.set_times(times).unwrap();
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_stored() {
    // Garage takes no trailers: each part is hashed before it is sent.
    for (size, provider) in [(SIZES[0], "s3"), (SIZES[1], "s3"), (SIZES[1], "garage"), (0, "s3")] {
        for (change, how) in [(grow as fn(&Path), "size changed"), (rewrite, "ctime")] {
            let rig = Changing::new(size, &[("provider", provider)]);
            let how = if size == 0 { "size changed" } else { how };
            let e = rig.put(&[], change).err().expect("it was stored");
            assert_eq!(e.code(), Code::SourceChanged, "{size} {provider}: {e}");
            let text = format!("{e} {}", e.hint());
            for word in [how, rig.folder.path().to_str().unwrap(), "source = live", "snapshot"] {
                assert!(text.contains(word), "{size} {provider}, {word}: {text}");
            }
            assert_eq!(rig.versions(), 0);
        }
    }
}

/// Nothing of it can be used for the file as it is now.
#[test]
fn a_file_that_changes_leaves_no_checkpoint() {
    for size in SIZES {
        let rig = Changing::new(size, &[]);
        let checkpoint = rig.folder.path().join("checkpoint");
        let options = [("checkpoint", checkpoint.to_str().unwrap())];
        let e = rig.put(&options, grow).err().expect("it was stored");
        assert!(e.code() == Code::SourceChanged && !checkpoint.exists(), "{e}");
        let version = rig.put(&options, |_| ()).unwrap();
        assert_eq!(restored(&version).len(), size + 4);
    }
}

#[test]
fn a_file_that_is_only_read_meanwhile_is_stored() {
    for size in SIZES {
        let rig = Changing::new(size, &[]);
        let version = rig.put(&[], |path| assert_eq!(fs::read(path).unwrap().len(), size)).unwrap();
        assert!(restored(&version) == rig.contents);
        assert!(!String::from_utf8(version.object().to_vec()).unwrap().contains("\"source\""));
    }
}

#[test]
fn a_live_file_is_stored_up_to_its_first_size_and_the_manifest_says_so() {
    for size in SIZES {
        for has_checkpoint in [false, true] {
            let rig = Changing::new(size, &[]);
            let checkpoint = rig.folder.path().join("checkpoint");
            let mut options = vec![("source", "live")];
            if has_checkpoint {
                options.push(("checkpoint", checkpoint.to_str().unwrap()));
            }
            let version = rig.put(&options, |path| {
                rewrite(path);
                grow(path);
            });
            let (version, mut expected) = (version.unwrap(), rig.contents.clone());
            expected[..11].copy_from_slice(b"other bytes");
            assert!(restored(&version) == expected);
            let manifest = String::from_utf8(version.object().to_vec()).unwrap();
            assert!(manifest.contains("\"source\":\"live\""), "{manifest}");
            assert_eq!(rig.versions(), 1);
        }
    }
}
