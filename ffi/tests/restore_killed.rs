//! A restore whose process is killed goes on: the next one reads the missing parts only, whatever the draft has become.
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

    // What happens to the draft before the next restore, and how many verified parts that costs.
    type Change = fn(&Path);
    let changes: [(&str, Change, Option<u64>); 4] = [
        ("nothing", |_| {}, Some(0)),
        ("a bit of a part that was verified", spoil, Some(1)),
        ("it is another version's", |draft| write(draft, b"0000", SIZE as u64 + 20), None),
        ("its end is gone", |draft| cut(draft), None),
    ];
    for (name, change, costs) in changes {
        let folder = tempfile::tempdir().unwrap();
        let fault = r#"{"operation": "GetObject", "target": "vm/disk?", "skip": 4, "times": 1000, "stall": 1000000}"#;
        store.fault(serde_json::from_str(fault).unwrap()).unwrap();
        let mut child = child(&store.url(), folder.path());
        let draft = loop {
            assert_eq!(child.try_wait().unwrap(), None, "{name}: the child ended by itself");
            if let Some(draft) = draft(folder.path())
                && verified(&draft) == 4
            {
                break draft;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        child.kill().unwrap();
        child.wait().unwrap();
        store.clear_faults();
        assert!(!folder.path().join("restored").exists());
        change(&draft);

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

fn draft(folder: &Path) -> Option<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).next()
}

/// Of each part whether the draft says that it has it. Which ones came first is the line's.
fn marks(draft: &Path) -> Vec<bool> {
    let bytes = std::fs::read(draft).unwrap();
    bytes[bytes.len().saturating_sub(10)..].iter().map(|byte| *byte == 1).collect()
}

/// How many parts the draft says it has.
fn verified(draft: &Path) -> usize {
    marks(draft).into_iter().filter(|mark| *mark).count()
}

fn spoil(draft: &Path) {
    let part = marks(draft).into_iter().position(|mark| mark).unwrap();
    write(draft, &[0xAA, 0x55], (part * PART) as u64 + 5);
}

fn write(draft: &Path, bytes: &[u8], at: u64) {
    std::fs::File::options().write(true).open(draft).unwrap().write_all_at(bytes, at).unwrap();
}

fn cut(draft: &Path) {
    std::fs::File::options().write(true).open(draft).unwrap().set_len(SIZE as u64 + 3).unwrap();
}
