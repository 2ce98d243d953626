//! Backups that are encrypted before they leave this machine: what is stored, restored, resumed, and refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use s3vault::{Code, Control, Settings, Vault, Version};
use support::sealed::{MIB, NO_VERSIONING, STORED, manifest, read, read_at, rig, rig_in};
use support::{bytes, settings};

#[test]
fn a_stream_and_a_file_of_any_length_are_restored_as_they_were() {
    let rig = rig();
    for size in [0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 30 * MIB + 5] {
        let data = bytes(size);
        for version in [rig.put(&format!("stream{size}"), &data), rig.put_file(&format!("file{size}"), &data)] {
            let path = &version.row().path;
            assert_eq!(version.row().bytes, size as u64, "{path}");
            assert!(rig.restored(&version, &[]).unwrap() == data, "{path}: into a file");
            for verify in ["end", "part"] {
                assert!(read(&version, &[("verify", verify)]).unwrap() == data, "{path}: as a stream, {verify}");
            }
            let file = File::create(rig.folder.path().join("open")).unwrap();
            version.restore_fd(file.as_fd(), &Settings::new(), &mut Control::none()).unwrap();
            assert!(std::fs::read(rig.folder.path().join("open")).unwrap() == data, "{path}: into an open file");
        }
    }
}

#[test]
fn any_bytes_are_read_at_their_position() {
    let rig = rig();
    let data = bytes(20 * MIB + 77);
    let version = rig.put("disk", &data);
    for (at, length) in
        [(0, 1), (5, 100), (MIB - 1, 2), (8 * MIB - 10, 20), (3 * MIB, MIB), (20 * MIB, 200), (0, 21 * MIB)]
    {
        let wanted = &data[at..data.len().min(at + length)];
        for verify in ["part", "end"] {
            assert!(read_at(&version, verify, at, length).unwrap() == wanted, "{at} {length} {verify}");
        }
    }
}

#[test]
fn each_mode_stores_and_restores() {
    for mode in ["single-bucket", "single-bucket-no-versioning", "bucket-per-vm"] {
        let rig = rig_in(mode);
        let data = bytes(9 * MIB + 3);
        for version in [rig.put("stream", &data), rig.put_file("file", &data)] {
            assert!(rig.restored(&version, &[]).unwrap() == data, "{mode}");
            assert!(read(&version, &[]).unwrap() == data, "{mode}");
        }
    }
}

#[test]
fn a_part_has_a_salt_of_its_own_and_the_stored_bytes_are_not_those_of_the_backup() {
    let rig = rig_in(NO_VERSIONING);
    let data = vec![0x5A; 17 * MIB];
    let [first, second] = ["one", "two"].map(|path| rig.put(path, &data));
    let salts = |version: &Version| -> Vec<String> {
        let salts = manifest(version)["extents"][0]["salts"].clone();
        serde_json::from_value(salts).unwrap()
    };
    let all: BTreeSet<_> = [&first, &second].into_iter().flat_map(salts).collect();
    assert_eq!(all.len(), 6, "three parts each");
    for version in [&first, &second] {
        let stored = rig.stored(version);
        assert_eq!(stored.len(), 17 * STORED);
        assert!(!stored.windows(8).any(|bytes| bytes == [0x5A; 8]));
    }
    assert!(rig.stored(&first) != rig.stored(&second), "each version has a key of its own");
}

#[test]
fn a_stream_that_was_suspended_resumes_and_keeps_the_parts_that_the_store_has() {
    let rig = rig();
    let data = bytes(30 * MIB + 9);
    let checkpoint = rig.folder.path().join("checkpoint");
    let options = settings(&[("checkpoint", checkpoint.to_str().unwrap())]);
    let none = &mut Control::none();
    let open = || rig.vault().put("vm", "disk", &options, &mut Control::none()).unwrap();
    let mut put = open();
    put.write(&data[..25 * MIB], none).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    put.suspend(none).unwrap();
    let saved = std::fs::read_to_string(&checkpoint).unwrap();
    let mut put = open();
    let offset = put.offset() as usize;
    assert!((8 * MIB..=25 * MIB).contains(&offset) && offset.is_multiple_of(MIB), "{offset}");
    // What follows is not what the first run was given there, as of a source that changed.
    let mut other = data.clone();
    other[offset..].iter_mut().for_each(|byte| *byte ^= 0xFF);
    put.write(&other[offset..], none).unwrap();
    let version = put.commit(none).unwrap();
    assert!(rig.restored(&version, &[]).unwrap() == other);
    let salts: Vec<String> = serde_json::from_value(manifest(&version)["extents"][0]["salts"].clone()).unwrap();
    let kept = offset / (8 * MIB);
    assert!(salts[..kept].iter().all(|salt| saved.contains(salt)), "parts that the store has keep their salts");
    assert!(salts[kept..].iter().all(|salt| !saved.contains(salt)), "a part that is sent again has a new salt");
}

#[test]
fn a_stream_that_ends_where_an_earlier_run_had_more_is_refused() {
    let rig = rig();
    let checkpoint = rig.folder.path().join("checkpoint");
    let options = settings(&[("checkpoint", checkpoint.to_str().unwrap())]);
    let none = &mut Control::none();
    let mut put = rig.vault().put("vm", "disk", &options, none).unwrap();
    put.write(&bytes(12 * MIB), none).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    put.suspend(none).unwrap();
    let mut put = rig.vault().put("vm", "disk", &options, none).unwrap();
    assert_eq!(put.offset(), 8 * MIB as u64);
    let e = put.commit(none).err().unwrap();
    assert_eq!(e.code(), Code::SourceChanged, "{e}");
}

#[test]
fn a_stream_whose_write_was_stopped_between_two_parts_can_be_committed_there() {
    let rig = rig();
    // Every part of the upload stays on its way, so the stream gets no third or fourth part for a while.
    rig.fault(r#"{"operation": "UploadPart", "times": 8, "delay_ms": 1500}"#);
    let data = bytes(80 * MIB);
    let none = &mut Control::none();
    let mut put = rig.vault().put("vm", "disk", &Settings::new(), none).unwrap();
    let mut stops = 0;
    while (put.offset() as usize) < data.len() && stops < 3 {
        let mut short = Control { timeout: Some(Duration::from_millis(100)), ..Control::none() };
        let start = put.offset() as usize;
        stops += u32::from(put.write(&data[start..data.len().min(start + MIB)], &mut short).is_err());
    }
    let length = put.offset() as usize;
    assert!(stops == 3 && length % (8 * MIB) == 1, "{stops} {length}");
    let version = put.commit(none).unwrap();
    assert!(rig.restored(&version, &[]).unwrap() == data[..length]);
}

#[test]
fn a_file_that_changes_while_it_is_stored_is_refused() {
    let rig = rig();
    let path = rig.folder.path().join("source");
    let file = File::create(&path).unwrap();
    file.set_len(200 << 20).unwrap();
    // More than the window of parts that are on their way.
    rig.fault(r#"{"operation": "UploadPart", "times": 8, "delay_ms": 2000}"#);
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(800));
        file.set_len(199 << 20).unwrap();
    });
    let stored = rig.vault().put_file("vm", "disk", &path, &Settings::new(), &mut Control::none());
    writer.join().unwrap();
    assert_eq!(stored.err().unwrap().code(), Code::SourceChanged);
}

#[test]
fn a_range_that_breaks_in_the_middle_of_a_segment_resumes_after_its_last_byte() {
    let rig = rig();
    let data = bytes(24 * MIB + 12_345);
    let version = rig.put("disk", &data);
    type Way<'a> = (&'a str, &'a dyn Fn() -> Vec<u8>);
    let ways: [Way<'_>; 3] = [
        ("file", &|| rig.restored(&version, &[]).unwrap()),
        ("end", &|| read(&version, &[]).unwrap()),
        ("part", &|| read(&version, &[("verify", "part")]).unwrap()),
    ];
    for (name, restored) in ways {
        for (skip, at) in [(0, 1_000_000), (0, 7_000_000), (0, 100), (2, 300_000), (1, 5_555_555), (0, 262_144)] {
            rig.fault(&format!(
                r#"{{"operation": "GetObject", "target": "vm/disk?", "skip": {skip}, "truncate": {at}}}"#
            ));
        }
        let before = rig.store.stats().bytes_out;
        assert!(restored() == data, "{name}");
        assert!(rig.store.pending_faults().is_empty(), "{name}: {:?}", rig.store.pending_faults());
        let came = rig.store.stats().bytes_out - before;
        assert!(came <= data.len() as u64 + 128 * 1024, "{name}: {came} bytes came of {}", data.len());
    }
}

#[test]
fn bytes_that_change_on_their_way_are_read_again() {
    let rig = rig();
    let data = bytes(10 * MIB + 1);
    let version = rig.put("disk", &data);
    // In every reply, whichever is the first: the shortest has two segments and a byte.
    for at in [0, MIB, STORED + 5, 2 * MIB - 1] {
        let fault = format!(r#"{{"operation": "GetObject", "target": "vm/disk?", "flip": {at}}}"#);
        rig.fault(&fault);
        assert!(rig.restored(&version, &[]).unwrap() == data, "{at}: into a file");
        rig.fault(&fault);
        assert!(read(&version, &[("verify", "part")]).unwrap() == data, "{at}: whole parts");
        rig.fault(&fault);
        let e = read_at(&version, "end", 0, data.len()).unwrap_err();
        assert!(e.code() == Code::Damaged && e.message().contains("vm disk"), "{at}: {e}");
        rig.store.clear_faults();
    }
}

#[test]
fn the_next_restore_keeps_the_parts_that_an_interrupted_one_has_decrypted() {
    let rig = rig();
    let data = bytes(24 * MIB);
    rig.put("disk", &data);
    let vault = rig.vault_with(&[("parallel_download", "false")]);
    let version = vault.find("vm", "disk", &Settings::new(), &mut Control::none()).unwrap();
    rig.fault(r#"{"operation": "GetObject", "target": "vm/disk?", "skip": 1, "times": 1000, "truncate": 0}"#);
    let e = rig.restored(&version, &[]).unwrap_err();
    assert_eq!(e.code(), Code::ConnectionLost, "{e}");
    rig.store.clear_faults();
    let before = rig.store.stats().bytes_out;
    assert!(rig.restored(&version, &[]).unwrap() == data);
    let came = rig.store.stats().bytes_out - before;
    assert!(came < 17 * MIB as u64, "{came} bytes came again");
}

#[test]
fn holes_are_made_where_the_decrypted_data_is_zero() {
    let rig = rig();
    let mut data = vec![0; 20 * MIB];
    data[5 * MIB..5 * MIB + 100].fill(1);
    let version = rig.put("disk", &data);
    let file = rig.folder.path().join("restored");
    version.restore(&file, &settings(&[("holes", "true")]), &mut Control::none()).unwrap();
    assert!(std::fs::read(&file).unwrap() == data);
    let allocated = std::fs::metadata(&file).unwrap().blocks() * 512;
    assert!(allocated < MIB as u64, "{allocated} bytes are allocated");
}

#[test]
fn the_public_key_alone_verifies_what_only_the_keyring_decrypts() {
    let rig = rig();
    let version = rig.put("disk", &bytes(9 * MIB));
    let mut settings = support::reaching(&rig.store.url(), "sealed");
    settings.set("verify_keys", &rig.keyring.signing_key().public().to_string()).unwrap();
    let vault = Vault::open(&settings, None, &mut Control::none()).unwrap();
    let report = vault.verify(&Settings::new(), &mut Control::none()).unwrap();
    assert_eq!((report.versions, report.good), (1, 1), "{}", report.to_json());
    let found = vault.find("vm", "disk", &Settings::new(), &mut Control::none()).unwrap();
    let e = read(&found, &[]).unwrap_err();
    assert_eq!(e.code(), Code::WrongKey, "{e}");
    drop(version);
}
