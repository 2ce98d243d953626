//! Immutable versions: what is locked, until when, and which locks an incremental extends.

use std::collections::BTreeSet;

use s3_model::{LockMode, Missing, ObjectLock, Retention};

use super::super::immutable::{Lock, Mode};
use super::super::objects::{CATALOGUE, LOCATORS, VAULT_KEY};
use super::super::*;
use super::world::*;
use crate::Code;
use crate::transfer::checkpoint::Checkpoint;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const DAY: i64 = 24 * 60 * MINUTE;
const TEN: &[(&str, &str)] = &[("immutable_days", "10")];
const TEN_STRICT: &[(&str, &str)] = &[("immutable_days", "10"), ("immutable_mode", "compliance")];

fn world() -> World {
    let mut world = World::new();
    world.model.set_lock("bkt", ObjectLock { default: None }).unwrap();
    world
}

/// The locks of all versions of the keys with this prefix.
fn locks(world: &World, prefix: &str) -> Vec<Option<Retention>> {
    let keys = world.keys(prefix);
    let versions = keys.iter().flat_map(|key| world.versions(key));
    versions.map(|version| version.object.as_ref().unwrap().attributes.retention).collect()
}

/// The ends of the locks of all versions of a vault's objects, in Unix milliseconds.
fn ends(world: &World) -> BTreeSet<i64> {
    let all = [CATALOGUE, LOCATORS, "vm"].map(|prefix| locks(world, prefix)).concat();
    all.iter().map(|lock| lock.unwrap().until.duration_since(at(0)).unwrap().as_millis() as i64).collect()
}

fn vid(found: &Found) -> Vid {
    Vid::parse(&found.row.vid).unwrap()
}

#[test]
fn data_locator_and_entry_are_locked_from_the_moment_they_are_stored() {
    for (settings, mode, word) in
        [(TEN, LockMode::Governance, Mode::Governance), (TEN_STRICT, LockMode::Compliance, Mode::Compliance)]
    {
        for bytes in [b"small".to_vec(), large()] {
            let (mut world, vault) = (world(), vault(settings));
            let found = stored(&mut world, &vault, &bytes, 1);
            let until = found.manifest.lock.unwrap().until;
            assert_eq!(found.manifest.lock, Some(Lock { mode: word, until }));
            let promised = found.manifest.initiated + 10 * DAY;
            assert!(until >= promised && until < promised + DAY && until % DAY == 0);
            for prefix in [CATALOGUE, LOCATORS, "vm"] {
                assert_eq!(locks(&world, prefix), [Some(Retention { mode, until: at(until) })], "{prefix}");
            }
            assert_eq!(locks(&world, VAULT_KEY), [None]);
        }
    }
    let (mut world, vault) = (world(), vault(&[]));
    assert_eq!(stored(&mut world, &vault, b"x", 1).manifest.lock, None);
    assert_eq!(locks(&world, "vm"), [None]);
}

#[test]
fn object_lock_is_asked_for_once() {
    let (mut world, vault) = (world(), vault(TEN));
    stored(&mut world, &vault, b"x", 1);
    let asked = |world: &World| world.operations().iter().filter(|op| **op == "GetObjectLockConfiguration").count();
    stored(&mut world, &vault, b"x", 2);
    assert_eq!(asked(&world), 1);
    assert_eq!(world.operations().len(), 2 + 5 + 4, "versioning and lock; `vault.json` and a put; a put");
}

#[test]
fn a_bucket_without_object_lock_is_refused_before_anything_is_written() {
    let refused = |world: &mut World, vault: &Arc<Vault>| {
        let e = world.run(&mut put(vault, None, 1), b"x").unwrap_err();
        assert_eq!(e.message(), "immutable_days is set, but bucket bkt has no object lock");
        assert!(e.hint().contains("remove immutable_days"));
        assert!(world.keys("").is_empty());
    };
    refused(&mut World::new(), &vault(TEN));
    for missing in [Missing::NotImplemented, Missing::NotAllowed] {
        let mut world = World::new();
        world.model.rules.missing.insert("GetObjectLockConfiguration", missing);
        refused(&mut world, &vault(TEN));
    }
    // Where nobody may ask, the store refuses the lock itself.
    for (mut world, is_locked) in [(World::new(), false), (world(), true)] {
        let vault = vault(TEN);
        world.fault("GetObjectLockConfiguration", "", Fault::Refused(403, "AccessDenied"));
        let stored = world.run(&mut put(&vault, None, 1), b"x");
        assert_eq!(stored.is_ok(), is_locked, "{stored:?}");
        assert_eq!(world.keys("vm").len(), usize::from(is_locked));
    }
}

#[test]
fn emulated_versions_cannot_be_immutable() {
    let mut settings = Settings::new();
    for (key, value) in [
        ("api_url", "http://127.0.0.1:9000"),
        ("bucket", "bkt"),
        ("access_key", "A"),
        ("secret_key", "S"),
        ("mode", "single-bucket-no-versioning"),
        ("immutable_days", "1"),
    ] {
        settings.set(key, value).unwrap();
    }
    let credentials = crate::credentials::Credentials::from_settings(&settings).unwrap();
    let account = Arc::new(Account::from_settings(&settings, credentials).unwrap());
    let e = Vault::new(&settings, &account, None).unwrap_err();
    assert!(e.code() == Code::InvalidOption && e.message().starts_with("immutable_days = 1: "), "{e}");
}

#[test]
fn a_containers_bucket_is_created_with_object_lock() {
    let mut world = World::without_buckets(super::world::Mode::PerVmNative, s3_model::Rules::default());
    let vault = world.vault(TEN);
    world.look_at("vm");
    let found = stored(&mut world, &vault, b"x", 1);
    assert!(world.model.bucket(vault.bucket("vm").name()).unwrap().lock.is_some());
    assert_eq!(ends(&world), [found.manifest.lock.unwrap().until].into());
}

/// Each incremental extends the locks of its whole chain, also of versions that were stored before locks were asked for.
#[test]
fn an_incremental_locks_its_whole_chain_until_its_own_end() {
    for first_settings in [&[][..], TEN] {
        for bytes in [b"small".to_vec(), large()] {
            let (mut world, vault) = (world(), vault(TEN));
            let mut newest = stored(&mut world, &super::world::vault(first_settings), &bytes, 1);
            for n in 2..5 {
                world.unix_ms += DAY;
                newest = world.run(&mut put(&vault, Some(vid(&newest)), n), &bytes).unwrap();
                assert_eq!(ends(&world), [newest.manifest.lock.unwrap().until].into(), "{n}");
            }
            // A full backup beside the chain extends nothing.
            let before = newest.manifest.lock.unwrap().until;
            world.unix_ms += DAY;
            let full = stored(&mut world, &vault, &bytes, 9);
            assert_eq!(ends(&world), [before, full.manifest.lock.unwrap().until].into());
        }
    }
}

/// For each ancestor that is not locked for long enough: two LISTs of versions, a GET, and one request for each object.
#[test]
fn what_extending_locks_costs() {
    let (mut world, vault) = (world(), vault(TEN));
    let mut newest = stored(&mut world, &vault, b"x", 1);
    for ancestors in 1..4 {
        world.unix_ms += DAY;
        world.log.clear();
        newest = world.run(&mut put(&vault, Some(vid(&newest)), 2), b"x").unwrap();
        assert_eq!(world.log.len(), 4 + ancestors * (2 + 1 + 3), "{:?}", world.operations());
    }
    // On the same day the ends are the same: the parent is locked for long enough, and so are its ancestors.
    world.unix_ms += 60 * MINUTE;
    world.log.clear();
    world.run(&mut put(&vault, Some(vid(&newest)), 3), b"x").unwrap();
    assert_eq!(world.log.len(), 4 + 2, "one LIST and one GET show it: {:?}", world.operations());
}

#[test]
fn a_lock_is_never_shortened_and_keeps_its_mode() {
    for (first, then) in [("compliance", "governance"), ("governance", "compliance")] {
        let (mut world, long) = (world(), vault(&[("immutable_days", "100"), ("immutable_mode", first)]));
        let short = vault(&[("immutable_days", "10"), ("immutable_mode", then)]);
        let full = stored(&mut world, &short, b"x", 1);
        world.unix_ms += DAY;
        // It extends the lock of the full backup, whose manifest does not say so.
        let inc = world.run(&mut put(&long, Some(vid(&full)), 2), b"x").unwrap();
        let before = [locks(&world, CATALOGUE), locks(&world, LOCATORS), locks(&world, "vm")].concat();
        let until = inc.manifest.lock.unwrap().until;
        assert_eq!(ends(&world), [until].into(), "{first}");
        world.unix_ms += DAY;
        let other = world.run(&mut put(&short, Some(vid(&full)), 3), b"x").unwrap();
        let after = [locks(&world, CATALOGUE), locks(&world, LOCATORS), locks(&world, "vm")].concat();
        assert!(before.iter().all(|lock| after.contains(lock)));
        assert_eq!(ends(&world), [other.manifest.lock.unwrap().until, until].into());
    }
}

#[test]
fn a_put_that_may_not_lock_its_chain_ends_before_its_data_is_sent() {
    let (mut world, vault) = (world(), vault(TEN));
    let full = stored(&mut world, &vault, b"x", 1);
    world.unix_ms += DAY;
    let entries = world.keys(CATALOGUE).len();
    world.fault("PutObjectRetention", "", Fault::Refused(403, "AccessDenied"));
    let e = world.run(&mut put(&vault, Some(vid(&full)), 2), b"x").unwrap_err();
    assert_eq!((e.code(), e.operation()), (Code::AccessDenied, "PutObjectRetention"));
    assert!(e.message().starts_with(&format!("extending the lock of version {}", full.row.vid)), "{e}");
    assert_eq!((world.versions("vm/disk").len(), world.keys(CATALOGUE).len()), (1, entries));
    for operation in ["ListObjectVersions", "GetObject", "PutObjectRetention"] {
        for fault in [Fault::LostBefore, Fault::LostAfter, Fault::Refused(500, "InternalError")] {
            world.unix_ms += DAY;
            world.fault(operation, "", fault);
            let found = world.run(&mut put(&vault, Some(vid(&full)), 3), b"x").unwrap();
            let end = found.manifest.lock.unwrap().until;
            assert!(ends(&world).contains(&end), "{operation} {fault:?}");
        }
        world.unix_ms += DAY;
        world.fault(operation, "", Fault::Cancelled);
        let e = world.run(&mut put(&vault, Some(vid(&full)), 4), b"x").unwrap_err();
        assert_eq!(e.code(), Code::Cancelled, "{operation}");
    }
}

#[test]
fn a_resumed_put_keeps_the_end_of_its_lock_and_refuses_another() {
    let (mut world, strict) = (world(), vault(TEN));
    let request = |checkpoint| PutRequest { checkpoint: Some(checkpoint), ..request(None, None, 1) };
    world.fault("CompleteMultipartUpload", "", Fault::Refused(403, "AccessDenied"));
    let mut machine = Put::new(strict.clone(), request(Checkpoint::default())).unwrap();
    world.run(&mut machine, &large()).unwrap_err();
    world.unix_ms += DAY;
    let saved = |world: &World| Checkpoint::parse(&world.saved, &strict.checkpoint_key()).unwrap().0;
    for other in [&[][..], TEN_STRICT, &[("immutable_days", "11")]] {
        let e = Put::new(vault(other), request(saved(&world))).err().unwrap();
        assert_eq!(e.code(), Code::BadCheckpoint);
        let said = "the checkpoint was started with other immutable_days: 10 days, governance, not ";
        assert!(e.message().starts_with(said), "{e}");
    }
    let mut machine = Put::new(strict.clone(), request(saved(&world))).unwrap();
    let found = world.run(&mut machine, &large()).unwrap();
    assert!(found.manifest.lock.unwrap().until < found.manifest.completed + 10 * DAY);
    assert_eq!(ends(&world), [found.manifest.lock.unwrap().until].into());
}
