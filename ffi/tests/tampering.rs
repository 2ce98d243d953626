//! Encrypted data that somebody changed on the store is refused, also where nothing but its encryption protects it: the
//! attacker of these tests can write to the bucket and even sign manifests, but has no data key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use s3vault::op::{Content, DeleteObject, PutObject};
use s3vault::{Code, Control, Error, Settings, Version};
use s3vault_core::checksum::{crc_text, digest};
use s3vault_core::vault::signed;
use serde_json::{Value, json};
use support::sealed::{MIB, NO_VERSIONING, Rig, STORED, manifest, rig_in};
use support::{bytes, settings};

/// A stored part: its bytes and its salt.
#[derive(Clone, PartialEq)]
struct Part {
    stored: Vec<u8>,
    salt: String,
}

/// A version as it is on the store.
#[derive(Clone, PartialEq)]
struct Forged {
    parts: Vec<Part>,
}

impl Forged {
    fn of(rig: &Rig, version: &Version) -> Forged {
        let (object, manifest) = (rig.stored(version), manifest(version));
        let extent = &manifest["extents"][0];
        let mut rest = &object[..];
        let parts = extent["parts"].as_array().unwrap().iter().zip(extent["salts"].as_array().unwrap());
        let parts = parts.map(|(part, salt)| {
            let (stored, after) = rest.split_at(part["length"].as_u64().unwrap() as usize);
            rest = after;
            Part { stored: stored.to_vec(), salt: salt.as_str().unwrap().to_owned() }
        });
        Forged { parts: parts.collect() }
    }

    fn segments(&mut self, part: usize) -> Vec<Vec<u8>> {
        self.parts[part].stored.chunks(STORED).map(<[u8]>::to_vec).collect()
    }

    fn set_segments(&mut self, part: usize, segments: &[Vec<u8>]) {
        self.parts[part].stored = segments.concat();
    }

    /// Length of the backup that these parts are.
    fn size(&self) -> usize {
        let length = |stored: usize| stored - 16 * stored.div_ceil(STORED);
        self.parts.iter().map(|part| length(part.stored.len())).sum()
    }

    /// Puts it in the place of a version, with hashes that match and a valid signature.
    fn replace(&self, rig: &Rig, version: &Version) -> Version {
        let (client, none) = (rig.client(), &mut Control::none());
        let mut json = manifest(version);
        let object: Vec<u8> = self.parts.iter().flat_map(|part| part.stored.iter().copied()).collect();
        let hashes: Vec<Value> = self
            .parts
            .iter()
            .map(|part| {
                let hash = digest(&part.stored);
                let blake3: String = hash.blake3.iter().map(|byte| format!("{byte:02x}")).collect();
                json!({"length": part.stored.len(), "crc64nvme": crc_text(hash.crc64nvme), "blake3": blake3})
            })
            .collect();
        let extent = &mut json["extents"][0];
        extent["parts"] = hashes.into();
        extent["salts"] = self.parts.iter().map(|part| part.salt.clone()).collect::<Vec<_>>().into();
        extent["size"] = object.len().into();
        extent["crc64nvme"] = crc_text(digest(&object).crc64nvme).into();
        let data_key = extent["key"].as_str().unwrap().to_owned();
        let row_key = json["key"].as_str().unwrap().to_owned();
        let size = json["size"].as_u64().unwrap();
        let forged_key = row_key.replace(&format!(".{size}."), &format!(".{}.", self.size()));
        json["size"] = self.size().into();
        json["key"] = forged_key.clone().into();
        client.call(DeleteObject { key: row_key }, none).unwrap();
        let row = signed::encode(json.to_string().into_bytes(), Some(rig.keyring.signing_key()));
        for (key, bytes) in [(data_key, object), (forged_key, row.to_vec())] {
            client.call(PutObject::new(&key, Content::Bytes(bytes.into()), Vec::new()), none).unwrap();
        }
        rig.vault().find("vm", &version.row().path, &Settings::new(), none).unwrap()
    }
}

/// What is delivered before the reader is told that something is wrong.
fn delivered(version: &Version, options: &[(&str, &str)]) -> (Vec<u8>, Result<(), Error>) {
    let none = &mut Control::none();
    let mut get = version.open(&settings(options), none).unwrap();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 200_000]);
    loop {
        match get.read(&mut buffer, none) {
            Ok(0) => return (all, Ok(())),
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(e) => return (all, Err(e)),
        }
    }
}

/// Each way of reading ends with an error, and has delivered no byte that is not the backup's.
fn is_refused(rig: &Rig, version: &Version, data: &[u8], what: &str) {
    let is_right = |e: &Error| e.code() == Code::Damaged && e.message().contains("vm disk");
    for verify in ["end", "part"] {
        let (came, end) = delivered(version, &[("verify", verify)]);
        assert!(is_right(&end.unwrap_err()), "{what}: in order, verify = {verify}");
        assert!(data.starts_with(&came), "{what}: wrong plaintext was delivered, verify = {verify}");
    }
    let e = rig.restored(version, &[]).unwrap_err();
    assert!(is_right(&e), "{what}: into a file: {e}");
    let open = rig.folder.path().join("open");
    let file = File::create(&open).unwrap();
    assert!(version.restore_fd(file.as_fd(), &Settings::new(), &mut Control::none()).is_err(), "{what}");
    let mut written = Vec::new();
    File::open(&open).unwrap().read_to_end(&mut written).unwrap();
    for (n, (written, right)) in written.iter().zip(data.iter().chain(std::iter::repeat(&0))).enumerate() {
        assert!(*written == 0 || written == right, "{what}: byte {n} of an open file");
    }
    // Nothing is hashed here.
    let reader = version.open(&settings(&[("verify", "end")]), &mut Control::none()).unwrap().positional();
    let (mut refused, size) = (false, version.row().bytes);
    for at in (0..size.max(1)).step_by(MIB / 2) {
        let mut buffer = vec![0; (MIB / 2).min((size - at) as usize)];
        match reader.read(at, &mut buffer, &mut Control::none()) {
            Ok(count) => assert!(data[at as usize..].starts_with(&buffer[..count]), "{what}: read at {at}"),
            Err(e) => {
                assert!(is_right(&e), "{what}: read at {at}: {e}");
                refused = true;
            }
        }
    }
    assert!(refused || size == 0, "{what}: all positions could be read");
}

const SIZE: usize = 10 * MIB;

/// Stores a version, changes it on the store, and reads it.
fn tampered(what: &str, size: usize, change: impl FnOnce(&mut Forged)) {
    let rig = rig_in(NO_VERSIONING);
    let data = bytes(size);
    let version = rig.put("disk", &data);
    let mut forged = Forged::of(&rig, &version);
    let before = forged.clone();
    change(&mut forged);
    assert!(forged != before, "{what}: nothing was changed");
    is_refused(&rig, &forged.replace(&rig, &version), &data, what);
}

#[test]
fn what_was_not_changed_is_read_although_it_was_signed_again() {
    let rig = rig_in(NO_VERSIONING);
    let data = bytes(SIZE + 5);
    let version = rig.put("disk", &data);
    let forged = Forged::of(&rig, &version).replace(&rig, &version);
    assert!(rig.restored(&forged, &[]).unwrap() == data);
    assert!(delivered(&forged, &[]).0 == data);
}

#[test]
fn a_bit_that_was_flipped() {
    let last = 2 * STORED - 1;
    for (part, at) in
        [(0, 0), (0, MIB / 2), (0, MIB - 1), (0, MIB), (0, STORED - 1), (0, 3 * STORED), (1, STORED), (1, last)]
    {
        tampered(&format!("byte {at} of part {part}"), SIZE, |forged| forged.parts[part].stored[at] ^= 0x10);
    }
}

#[test]
fn a_salt_that_was_changed() {
    tampered("a salt", SIZE, |forged| forged.parts[1].salt = "0".repeat(32));
}

#[test]
fn truncation() {
    tampered("the last segment", SIZE, |forged| forged.parts[1].stored.truncate(STORED));
    tampered("the last part", SIZE, |forged| drop(forged.parts.pop()));
    tampered("half a segment", SIZE, |forged| forged.parts[1].stored.truncate(STORED + STORED / 2));
    tampered("the last byte", SIZE + 100, |forged| forged.parts[1].stored.truncate(2 * STORED + 100 + 15));
    tampered("all but the first segment", SIZE, |forged| {
        forged.parts.truncate(1);
        forged.parts[0].stored.truncate(STORED);
    });
}

#[test]
fn segments_that_were_swapped_repeated_or_dropped() {
    tampered("swapped", SIZE, |forged| {
        let mut segments = forged.segments(0);
        segments.swap(2, 3);
        forged.set_segments(0, &segments);
    });
    tampered("repeated in the place of another", SIZE, |forged| {
        let mut segments = forged.segments(0);
        segments[4] = segments[3].clone();
        forged.set_segments(0, &segments);
    });
    tampered("repeated at the end", SIZE, |forged| {
        let mut segments = forged.segments(1);
        segments.push(segments[1].clone());
        forged.set_segments(1, &segments);
    });
    tampered("dropped", SIZE, |forged| {
        let mut segments = forged.segments(1);
        segments.remove(0);
        forged.set_segments(1, &segments);
    });
    tampered("the last one moved to the front", SIZE, |forged| {
        let mut segments = forged.segments(1);
        segments.rotate_right(1);
        forged.set_segments(1, &segments);
    });
}

#[test]
fn segments_of_another_part_or_of_another_version() {
    tampered("of another part", SIZE, |forged| {
        let other = forged.segments(0)[0].clone();
        let mut segments = forged.segments(1);
        segments[0] = other;
        forged.set_segments(1, &segments);
    });
    tampered("parts in another order", 2 * 8 * MIB, |forged| forged.parts.swap(0, 1));
    tampered("a part twice", 2 * 8 * MIB, |forged| forged.parts[1] = forged.parts[0].clone());
    let rig = rig_in(NO_VERSIONING);
    let data = bytes(SIZE);
    let version = rig.put("disk", &data);
    let mut forged = Forged::of(&rig, &version);
    let other = rig.put("other", &bytes(SIZE));
    forged.parts[1] = Forged::of(&rig, &other).parts[1].clone();
    is_refused(&rig, &forged.replace(&rig, &version), &data, "of another version");
}

#[test]
fn a_backup_that_was_made_empty() {
    tampered("an empty segment made up", MIB, |forged| forged.parts[0].stored = vec![0; 16]);
}
