//! What the text of a listing may not decide for a put: anyone who may write objects, and has no key, stops no put, moves
//! none into the future, and gets none to build on a version that is not there.

use super::super::marker::{Mark, Marker};
use super::super::objects::CATALOGUE;
use super::super::*;
use super::world::*;
use crate::Code;
use crate::crypto::keyring::Keyring;
use crate::machine::Event;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn reads(world: &World) -> usize {
    world.operations().iter().filter(|operation| **operation == "GetObject").count()
}

/// The keys of objects that were ignored.
fn ignored(world: &World) -> Vec<&str> {
    let keys = world.events.iter().map(|event| match event {
        Event::Ignored { bucket, key, why } if bucket == "bkt" && !why.is_empty() => key.as_str(),
        other => panic!("{other:?}"),
    });
    keys.collect()
}

/// Another process of the vault's owner.
fn process() -> Arc<Vault> {
    vault(&[])
}

/// What somebody without the key may write in place of an object: nothing, anything, or the right object with another
/// signature, or without one.
fn forgeries(sign: impl Fn(&Vault) -> Vec<u8>) -> Vec<Vec<u8>> {
    let with = |keyring: Option<Keyring>| sign(&vault_of(crate::profile::S3, &[], keyring.map(Arc::new)));
    vec![Vec::new(), b"{}\n".to_vec(), with(None), with(Some(Keyring::generate([2; 32]))), vec![b' '; 1 << 20]]
}

#[test]
fn a_forged_entry_in_the_future_stops_no_put_and_moves_none() {
    for ahead in [2 * MINUTE, 62 * MINUTE] {
        let vid = Vid::new(START + ahead, [9; 10]);
        for forged in forgeries(|vault| row_object(vault, vid, Kind::Full).1) {
            let (mut world, vault) = (World::new(), vault(&[]));
            stored(&mut world, &vault, b"1", 1);
            let (key, _) = row_object(&vault, vid, Kind::Full);
            world.put(&key, &forged);
            let found = stored(&mut world, &vault, b"2", 2);
            let own = Vid::parse(&found.row.vid).unwrap();
            assert!(own.unix_ms() < START + MINUTE, "not pushed ahead: {own}");
            assert_eq!(ignored(&world), [key]);
        }
    }
}

#[test]
fn a_marker_in_the_future_counts_only_if_it_was_signed() {
    let vid = Vid::new(START + 62 * MINUTE, [9; 10]);
    for mark in [Mark::Deleted, Mark::Suspected] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.put(&mark.key(&name(), vid), b"");
        stored(&mut world, &vault, b"1", 1);
        assert_eq!(ignored(&world), [mark.key(&name(), vid)]);
        put_marker(&mut world, &vault, vid, mark);
        assert_eq!(world.run(&mut put(&vault, None, 2), b"2").unwrap_err().code(), Code::FutureVersion);
    }
}

#[test]
fn a_true_entry_that_is_newer_counts_behind_forged_ones() {
    let (mut world, vault) = (World::new(), vault(&[]));
    stored(&mut world, &vault, b"1", 1);
    let newest = Vid::new(START + 2 * MINUTE, [9; 10]);
    put_row(&mut world, &vault, newest, Kind::Full);
    for n in 1..=3 {
        let (key, _) = row_object(&vault, Vid::new(newest.unix_ms() + n, [9; 10]), Kind::Full);
        world.put(&key, b"{}");
    }
    world.log.clear();
    let found = stored(&mut world, &vault, b"2", 2);
    assert_eq!(Vid::parse(&found.row.vid).unwrap().unix_ms(), newest.unix_ms() + 1);
    assert_eq!((ignored(&world).len(), reads(&world)), (3, 2 * 3 + 1), "a forged one is read twice");
    // What was verified once is not read again.
    world.log.clear();
    stored(&mut world, &vault, b"3", 3);
    assert_eq!(reads(&world), 2 * 2, "only the forged ones that are newer, which nothing can prove");
}

#[test]
fn a_forged_marker_hides_no_parent_and_a_signed_one_does() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let full = Vid::parse(&stored(&mut world, &vault, b"full", 1).row.vid).unwrap();
    let marker = |vault: &Vault| Marker::new(&vault.id, &name(), full, Mark::Deleted).to_object(vault.signing_key());
    for (n, forged) in (2..).zip(forgeries(marker)) {
        world.events.clear();
        world.put(&Mark::Deleted.key(&name(), full), &forged);
        let found = world.run(&mut put(&vault, Some(full), n), b"inc").unwrap();
        assert_eq!(found.manifest.parent, Some(full.to_string()));
        assert_eq!(ignored(&world), [Mark::Deleted.key(&name(), full)]);
    }
    put_marker(&mut world, &vault, full, Mark::Deleted);
    assert_eq!(world.run(&mut put(&vault, Some(full), 9), b"inc").unwrap_err().code(), Code::BadParent);
}

#[test]
fn a_parent_whose_entry_does_not_verify_is_refused_before_data_is_sent() {
    let parent = Vid::new(START - MINUTE, [9; 10]);
    for forged in forgeries(|vault| row_object(vault, parent, Kind::Full).1) {
        let (mut world, vault) = (World::new(), vault(&[]));
        let (key, true_object) = row_object(&vault, parent, Kind::Full);
        world.put(&key, &forged);
        let e = world.run(&mut put(&vault, Some(parent), 1), b"inc").unwrap_err();
        assert_eq!((e.code(), e.hint()), (Code::BadParent, "Store a full backup instead."));
        assert!(world.keys("vm").is_empty() && ignored(&world) == [key.as_str()], "{e}");
        // Of several entries of one version, the first that verifies counts.
        world.put(&key.replace(".full.0.", ".full.1."), &true_object);
        world.put(&key.replace(".full.0.", ".full.00."), b"no entry");
        world.run(&mut put(&vault, Some(parent), 2), b"inc").unwrap_err();
        world.put(&key, &true_object);
        world.run(&mut put(&vault, Some(parent), 3), b"inc").unwrap();
    }
}

/// The price: on a clean vault, one GET for a parent that this process has neither stored nor verified.
#[test]
fn what_verifying_costs_a_put() {
    let mut world = World::new();
    let (first, second) = (process(), process());
    let full = Vid::parse(&stored(&mut world, &first, b"full", 1).row.vid).unwrap();
    world.run(&mut Open::new(second.clone(), 1), &[]).unwrap();
    for (vault, parent, expected) in
        [(&first, Some(full), 0), (&second, Some(full), 1), (&second, Some(full), 0), (&second, None, 0)]
    {
        world.log.clear();
        world.unix_ms += 1_000;
        world.run(&mut put(vault, parent, 2), b"x").unwrap();
        assert_eq!(reads(&world), expected);
        assert_eq!(world.log.len(), 4 + expected, "one LIST, three PUTs: {:?}", world.log);
    }
    // A chain that one process stores costs nothing.
    let mut parent = full;
    for n in 3..6 {
        world.log.clear();
        parent = Vid::parse(&world.run(&mut put(&second, Some(parent), n), b"x").unwrap().row.vid).unwrap();
        assert_eq!(reads(&world), 0);
    }
}

#[test]
fn an_entry_whose_bytes_were_changed_on_the_way_is_read_again() {
    let mut world = World::new();
    let full = Vid::parse(&stored(&mut world, &process(), b"full", 1).row.vid).unwrap();
    world.fault("GetObject", CATALOGUE, Fault::Flipped);
    world.run(&mut put(&process(), Some(full), 2), b"inc").unwrap();
    assert!(world.events.is_empty() && reads(&world) == 2);
}

#[test]
fn without_a_trusted_key_the_listing_decides_as_it_stands() {
    let mut world = World::new();
    let vault = vault_of(crate::profile::S3, &[], None);
    put_row(&mut world, &vault, Vid::new(START + 62 * MINUTE, [9; 10]), Kind::Full);
    assert_eq!(world.run(&mut put(&vault, None, 1), b"x").unwrap_err().code(), Code::FutureVersion);
    assert_eq!((reads(&world), world.keys(CATALOGUE).len()), (0, 1));
}

#[test]
fn an_entry_that_cannot_be_read_ends_the_put() {
    let (mut world, vault) = (World::new(), vault(&[]));
    put_row(&mut world, &vault, Vid::new(START + 2 * MINUTE, [9; 10]), Kind::Full);
    world.fault("GetObject", CATALOGUE, Fault::Refused(403, "AccessDenied"));
    let e = world.run(&mut put(&vault, None, 1), b"x").unwrap_err();
    assert_eq!((e.code(), e.operation()), (Code::AccessDenied, "GetObject"), "it may be true");
    assert!(world.keys("vm").is_empty());
    // One that is gone decides nothing.
    world.hook(|world, request| {
        if request.operation == "GetObject" {
            let key = world.keys(CATALOGUE).remove(0);
            world.set_versions(&key, Vec::new());
        }
    });
    stored(&mut world, &vault, b"x", 1);
    assert!(world.events.is_empty());
}
