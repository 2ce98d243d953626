//! A restore whose process is killed is resumed: the next one reads only the missing parts, whatever happened to the partial
//! file.
//!
//! This program is its own child: with a folder in the environment it restores into it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use embedded_store::{Options, Server};
use s3vault::{Control, Settings, Vault};

const PART: usize = 8 << 20;
const SIZE: usize = 10 * PART;
const FOLDER: &str = "S3VAULT_TEST_FOLDER";
const URL: &str = "S3VAULT_TEST_URL";

fn main() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return restore(&std::env::var(URL).unwrap(), Path::new(&folder));
    }
    let store = Server::start(Options::new("access", "secret").bucket("backups")).unwrap();
    let data = support::bytes(SIZE);
    let none = &mut Control::none();
    let mut put = vault(&store.url()).put("vm", "disk", &Settings::new(), none).unwrap();
    put.write(&data, none).unwrap();
    put.commit(none).unwrap();

    // What happens to the partial file before the next restore, and how many verified parts that costs.
    type Change = fn(&Path);
    let changes: [(&str, Change, Option<u64>); 4] = [
        ("nothing", |_| {}, Some(0)),
        ("a bit of a part that was verified", spoil, Some(1)),
        ("it is another version's", |partial| write(partial, b"0000", SIZE as u64 + 20), None),
        ("its end is gone", |partial| cut(partial), None),
    ];
    for (name, change, costs) in changes {
        let folder = tempfile::tempdir().unwrap();
        let fault = r#"{"operation": "GetObject", "target": "vm/disk?", "skip": 4, "times": 1000, "stall": 1000000}"#;
        store.fault(serde_json::from_str(fault).unwrap()).unwrap();
        let mut child = child(&store.url(), folder.path());
        let partial = loop {
            assert_eq!(child.try_wait().unwrap(), None, "{name}: the child ended by itself");
            if let Some(partial) = partial(folder.path())
                && verified(&partial) == 4
            {
                break partial;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        child.kill().unwrap();
        child.wait().unwrap();
        store.clear_faults();
        assert!(!folder.path().join("restored").exists());
        change(&partial);

        let before = store.stats().bytes_out;
        restore(&store.url(), folder.path());
        assert!(std::fs::read(folder.path().join("restored")).unwrap() == data, "{name}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{name}: {left:?}");
        let came = store.stats().bytes_out - before;
        let missing = costs.map_or(SIZE as u64, |costs| (SIZE - 4 * PART) as u64 + costs * PART as u64);
        assert!((missing..missing + 65_536).contains(&came), "{name}: {came} bytes came, and {missing} were missing");
        println!("killed, then {name}: ok");
    }
}

fn vault(url: &str) -> Vault {
    support::vault(url, "backups")
}

fn restore(url: &str, folder: &Path) {
    let none = &mut Control::none();
    let version = vault(url).find("vm", "disk", &Settings::new(), none).unwrap();
    version.restore(&folder.join("restored"), &Settings::new(), none).unwrap();
}

fn child(url: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap()).env(FOLDER, folder).env(URL, url).spawn().unwrap()
}

fn partial(folder: &Path) -> Option<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).next()
}

/// For each part, whether the partial file marks it as verified. Which parts arrive first depends on the network.
fn marks(partial: &Path) -> Vec<bool> {
    let bytes = std::fs::read(partial).unwrap();
    bytes[bytes.len().saturating_sub(10)..].iter().map(|byte| *byte == 1).collect()
}

/// How many parts the partial file marks as verified.
fn verified(partial: &Path) -> usize {
    marks(partial).into_iter().filter(|mark| *mark).count()
}

fn spoil(partial: &Path) {
    let part = marks(partial).into_iter().position(|mark| mark).unwrap();
    write(partial, &[0xAA, 0x55], (part * PART) as u64 + 5);
}

fn write(partial: &Path, bytes: &[u8], at: u64) {
    std::fs::File::options().write(true).open(partial).unwrap().write_all_at(bytes, at).unwrap();
}

fn cut(partial: &Path) {
    std::fs::File::options().write(true).open(partial).unwrap().set_len(SIZE as u64 + 3).unwrap();
}
