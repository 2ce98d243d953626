//! Adoption of objects that another program encrypted with keys of its own (SSE-C), in all modes: with their keys they become
//! versions as any other, and without them they stay as they are.

use super::adopting::{adopt_as, ask, listed, read, said, sweep};
use super::rotating::{locators, rotate, vault_with, with};
use super::world::*;
use crate::Code;
use crate::crypto::keyring::Keyring;
use crate::profile::S3;
use crate::vault::job::{Job, JobRequest, RekeyRequest, Report};
use crate::vault::objects::{CATALOGUE, LOCATORS};
use crate::vault::*;

const HOUR: i64 = 60 * MINUTE;

/// A vault that does not encrypt, whose owner has the key-encryption keys of these numbers.
fn plain(mode: Mode, numbers: &[u8]) -> Arc<Vault> {
    vault_with(mode, numbers, &[("allow_plain_sse_c", "true")])
}

/// A key file: key and version id of each object, and the byte of which its key has 32.
fn keys(lines: &[(&str, Option<&str>, u8)]) -> Arc<CustomerKeys> {
    let line = |(key, version_id, byte): &(&str, Option<&str>, u8)| {
        let data_key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [*byte; 32]);
        serde_json::json!({ "key": key, "version_id": version_id, "sse_c_key": data_key }).to_string()
    };
    let text: Vec<String> = lines.iter().map(line).collect();
    Arc::new(CustomerKeys::parse(text.join("\n").as_bytes()).unwrap())
}

fn adopt(world: &mut World, vault: &Arc<Vault>, keys: &Arc<CustomerKeys>, hash: bool) -> Report {
    adopt_as(world, vault, AdoptRequest { keys: keys.clone(), hash, ..ask() }).unwrap()
}

/// Another program stores a plain object, then encrypts: two versions of it under keys of their own, and another object.
/// Returns the file with the keys, and the number of objects that are there.
fn written_by_another(world: &mut World) -> (Arc<CustomerKeys>, u64) {
    world.put("vm/disk", b"plain");
    for byte in [11, 12] {
        world.unix_ms += MINUTE;
        world.put_sse_c("vm/disk", &[byte; 40], byte);
    }
    world.put_sse_c("vm/other disk", b"other", 13);
    let first = world.versions("vm/disk")[world.versions("vm/disk").len().saturating_sub(2)].id.clone();
    let first = Some(&*first).filter(|_| world.mode.is_native());
    let keys = match first {
        Some(_) => keys(&[("vm/disk", first, 11), ("vm/disk", None, 12), ("vm/other disk", None, 13)]),
        None => keys(&[("vm/disk", None, 12), ("vm/other disk", None, 13)]),
    };
    (keys, if world.mode.is_native() { 4 } else { 2 })
}

/// All versions are read, and those that are encrypted have a wrapped key.
fn check_read(world: &mut World, vault: &Arc<Vault>, when: &str) -> Vec<Manifest> {
    let mut manifests = Vec::new();
    for row in listed(world, vault) {
        let name = Name::new("vm", &row.path).unwrap();
        let which = Selector::Version(Vid::parse(&row.vid).unwrap());
        let found = world.run(&mut Find::new(vault.clone(), name, which, None, 1), &[]).unwrap();
        let manifest = Arc::new(found.manifest);
        let mut whole = Read::new(vault.clone(), manifest.clone(), crate::transfer::ReadRequest::default(), 1).unwrap();
        world.run(&mut whole, &[]).unwrap_or_else(|e| panic!("{when}: {} {}: {e}", row.path, row.vid));
        manifests.push(Arc::unwrap_or_clone(manifest));
    }
    manifests
}

#[test]
fn objects_under_keys_of_their_own_become_versions_that_their_keys_open() {
    for mode in Mode::ALL {
        for hash in [false, true] {
            let (mut world, vault) = (World::mode(mode), plain(mode, &[1]));
            let (keys, count) = written_by_another(&mut world);
            let before = world.keys("");
            let dry =
                adopt_as(&mut world, &vault, AdoptRequest { keys: keys.clone(), dry_run: true, ..ask() }).unwrap();
            assert_eq!((dry.adopted, dry.problems, world.keys("")), (count, 0, before), "{mode:?}");
            let report = adopt(&mut world, &vault, &keys, hash);
            assert_eq!((report.adopted, report.problems), (count, 0), "{mode:?} {report:?}");
            let manifests = check_read(&mut world, &vault, &format!("{mode:?}"));
            let sealed: Vec<&Manifest> = manifests.iter().filter(|manifest| manifest.wrapped.is_some()).collect();
            assert_eq!(sealed.len() as u64, if mode.is_native() { 3 } else { 2 }, "{mode:?}: the plain one has no key");
            for manifest in manifests.iter() {
                assert_eq!(manifest.has_no_hashes(), !hash, "{mode:?}");
                let is_sealed = manifest.encryption.as_deref() == Some("sse-c");
                assert_eq!(manifest.wrapped.is_some(), is_sealed, "{mode:?}");
                let md5 = manifest.adopted.as_ref().unwrap().md5();
                assert!(!is_sealed || md5.is_none(), "{mode:?}: an ETag under SSE-C is no MD5");
            }
            // The data key is the one that the other program used.
            let other = manifests.iter().find(|manifest| manifest.path == "other disk").unwrap();
            let mut locate = Locate::new(vault.clone(), Arc::new(other.clone()), 1).unwrap();
            let located = world.run(&mut locate, &[]).unwrap();
            assert_eq!(located.data_key().unwrap().bytes(), &[13; 32], "{mode:?}");
            // A second run, also of another process and without the keys, finds all of it.
            let before = world.keys("");
            let again = plain(mode, &[1]);
            let report = adopt(&mut world, &again, &keys, hash);
            assert_eq!((report.adopted, report.kept, report.problems), (0, count, 0), "{mode:?}");
            let report = adopt_as(&mut world, &again, ask()).unwrap();
            assert_eq!((report.kept, report.problems, world.keys("")), (count, 0, before), "{mode:?}");
        }
    }
}

#[test]
fn what_no_key_of_the_file_opens_is_a_problem_and_stays_as_it_is() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = with(mode, &[1]);
        world.put_sse_c("vm/wrong", b"x", 11);
        world.put_sse_c("vm/missing", b"x", 12);
        world.put_sse_c("vm/disk", b"right", 13);
        world.unix_ms += MINUTE;
        // The vault writes encrypted data at the same key.
        let own = stored(&mut world, &vault, b"own", 1);
        let file = keys(&[("vm/wrong", None, 99), ("vm/disk", None, 13)]);
        let ids = |world: &World| {
            ["vm/wrong", "vm/missing"].map(|key| world.versions(key).iter().map(|version| version.id.clone()).collect())
        };
        let before: [Vec<String>; 2] = ids(&world);
        for adopted in [1, 0] {
            let report = adopt(&mut world, &vault, &file, false);
            assert_eq!((report.adopted, report.problems), (adopted, 2), "{mode:?} {:?}", report.problem_texts);
            let texts = report.problem_texts.join("\n");
            assert!(texts.contains("is not the one that it is encrypted with"), "{texts}");
            assert!(texts.contains("the key file has none for it"), "{texts}");
            assert!(!texts.contains("Y2Nj"), "{texts}: the start of the key in base64");
        }
        assert_eq!(ids(&world), before, "{mode:?}");
        assert_eq!(listed(&mut world, &vault).len(), 2, "{mode:?}");
        read(&mut world, &vault, &own.manifest.vid).unwrap();
        check_read(&mut world, &vault, &format!("{mode:?}"));
        // With the right keys, the next run adopts them.
        let file = keys(&[("vm/wrong", None, 11), ("vm/missing", None, 12), ("vm/disk", None, 13)]);
        assert_eq!(adopt(&mut world, &vault, &file, true).adopted, 3, "{mode:?}: one gets its hashes");
        check_read(&mut world, &vault, &format!("{mode:?}"));
    }
}

#[test]
fn they_are_rotated_get_their_hashes_later_and_are_deleted_as_any_other() {
    for mode in Mode::ALL {
        let (mut world, vault) = (World::mode(mode), plain(mode, &[1]));
        let (file, count) = written_by_another(&mut world);
        adopt(&mut world, &vault, &file, false);
        let sealed = if mode.is_native() { 3 } else { 2 };
        let both = plain(mode, &[1, 2]);
        assert_eq!(rotate(&mut world, &both).rotated, sealed, "{mode:?}");
        let generations = |world: &World| {
            locators(world).iter().map(|locator| (locator.generation, locator.kek.clone())).collect::<Vec<_>>()
        };
        let rotated = generations(&world);
        // The keys are in the entries: no file is needed. No locator comes back that a rotation has removed.
        let report = adopt_as(&mut world, &both, AdoptRequest { hash: true, ..ask() }).unwrap();
        assert_eq!((report.adopted, report.problems), (count, 0), "{mode:?} {:?}", report.problem_texts);
        assert_eq!(generations(&world), rotated, "{mode:?}");
        let second = plain(mode, &[2]);
        let manifests = check_read(&mut world, &second, &format!("{mode:?}: the first key is not needed"));
        assert!(manifests.iter().all(|manifest| !manifest.has_no_hashes()), "{mode:?}");
        for manifest in manifests.iter().filter(|manifest| manifest.path == "disk") {
            let left = world.versions("vm/disk").len();
            let mut deletion = DeleteVersion::new(second.clone(), manifest, world.unix_ms, 1).unwrap();
            world.run(&mut deletion, &[]).unwrap();
            world.unix_ms += HOUR;
            let report = sweep(&mut world, &second);
            assert_eq!((report.freed, report.problems), (1, 0), "{mode:?} {:?}", said(&world));
            let versions = world.versions("vm/disk");
            assert_eq!(versions.len(), left - 1, "{mode:?}");
            let named = manifest.extents[0].version_id.as_ref();
            assert!(versions.iter().all(|version| Some(&version.id) != named), "{mode:?}");
        }
        assert_eq!(world.versions("vm/other disk").len(), 1, "{mode:?}");
        check_read(&mut world, &second, &format!("{mode:?}"));
    }
}

/// Between two runs the next key-encryption key becomes current.
#[test]
fn every_request_of_an_adoption_with_keys_may_be_its_last() {
    for mode in [Mode::Native, Mode::Emulated] {
        for hash in [false, true] {
            for stop in 1.. {
                let (mut world, vault) = (World::mode(mode), plain(mode, &[1]));
                let (file, count) = written_by_another(&mut world);
                let before = world.keys("vm/");
                let request = AdoptRequest { hash, keys: file.clone(), ..ask() };
                let mut machine = Adopt::new(vault.clone(), request).unwrap();
                let mut is_over = false;
                while world.log.len() < stop && !is_over {
                    is_over = world.run_until(&mut machine, &[], 1).is_some();
                }
                check_read(&mut world, &vault, &format!("{mode:?} {stop}"));
                world.unix_ms += HOUR;
                let both = plain(mode, &[1, 2]);
                let report = adopt(&mut world, &both, &file, hash);
                assert_eq!((report.adopted + report.kept, report.problems), (count, 0), "{mode:?} {stop} {report:?}");
                rotate(&mut world, &both);
                check_read(&mut world, &plain(mode, &[2]), &format!("{mode:?} {stop}"));
                assert_eq!(world.keys(CATALOGUE).len() as u64, count, "{mode:?} {stop}");
                assert_eq!(world.keys(LOCATORS).len() as u64, count, "{mode:?} {stop}");
                assert_eq!(world.keys("vm/"), before, "{mode:?} {stop}");
                if is_over {
                    break;
                }
            }
        }
    }
}

#[test]
fn keys_need_a_key_encryption_key_that_is_not_closed() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let (file, _) = written_by_another(&mut world);
    let request = || AdoptRequest { keys: file.clone(), ..ask() };
    let settings: &[(&str, &str)] = &[("allow_plain_sse_c", "true")];
    let changes = [mode.settings(), settings].concat();
    for keyring in [None, Some(Arc::new(Keyring::generate([1; 32])))] {
        let e = adopt_as(&mut world, &vault_of(S3, &changes, keyring), request()).unwrap_err();
        assert!(e.code() == Code::Keyring && e.message().contains("keys of SSE-C data are kept wrapped"), "{e}");
    }
    assert!(world.log.is_empty(), "nothing was asked");
    let vault = plain(mode, &[1]);
    let kek = vault.current_kek().unwrap().id().to_owned();
    let closed = closed::Closed::new(&vault.id, &kek);
    world.put(&closed.key, &closed.to_object(vault.signing_key()));
    let e = adopt_as(&mut world, &vault, request()).unwrap_err();
    assert!(e.code() == Code::Keyring && e.message().contains("was closed"), "{e}");
    assert!(world.keys(LOCATORS).is_empty() && world.keys(CATALOGUE).is_empty());
}

#[test]
fn no_key_is_sent_over_plain_http() {
    let mut world = World::mode(Mode::Native);
    let (file, _) = written_by_another(&mut world);
    let vault = vault_with(Mode::Native, &[1], &[]);
    let e = adopt_as(&mut world, &vault, AdoptRequest { keys: file, ..ask() }).unwrap_err();
    assert!(e.code() == Code::InvalidOption && e.hint().contains("https://"), "{e}");
}

#[test]
fn a_rekeying_leaves_what_was_adopted() {
    for mode in Mode::ALL {
        for hash in [false, true] {
            let (mut world, vault) = (World::mode(mode), plain(mode, &[1]));
            let (file, count) = written_by_another(&mut world);
            adopt(&mut world, &vault, &file, hash);
            let (before, sealed) = (world.keys(""), count - u64::from(mode.is_native()));
            let request = JobRequest { container: Some("vm".into()), dry_run: false, grace_ms: 168 * HOUR, seed: 1 };
            let report =
                world.run(&mut Job::rekey(vault.clone(), request, RekeyRequest::default()).unwrap(), &[]).unwrap();
            assert_eq!((report.left, report.rekeyed, report.problems), (sealed, 0, 0), "{mode:?} {report:?}");
            assert_eq!(world.keys(""), before, "{mode:?}");
            check_read(&mut world, &vault, &format!("{mode:?}"));
        }
    }
}
