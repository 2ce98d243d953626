//! Verifying a version: what each kind of damage is called, and which part has it, in all modes.

use std::sync::Arc;

use super::super::verify::BadPart;
use super::super::*;
use super::world::*;
use crate::profile::{Profile, S3};
use crate::vault::objects::LOCATORS;
use crate::{Code, Error};

fn verify(world: &mut World, vault: &Arc<Vault>, found: &Found) -> Result<Verified, Error> {
    let manifest = Arc::new(found.manifest.clone());
    world.run(&mut Verify::new(vault.clone(), manifest, 1).unwrap(), &[])
}

/// A backup of two extents, in parts of 8 MiB.
fn backup(world: &mut World, vault: &Arc<Vault>) -> Found {
    let found = stored(world, vault, &large(), 1);
    assert_eq!(found.manifest.extents.iter().map(|extent| extent.parts.len()).collect::<Vec<_>>(), [2, 1]);
    found
}

fn vault_of_two_extents(world: &World) -> Arc<Vault> {
    world.vault_on(Profile { max_parts: 2, ..S3 }, &[])
}

#[test]
fn a_version_is_good_if_all_of_it_is_what_was_stored() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = vault_of_two_extents(&world);
        let found = backup(&mut world, &vault);
        let verified = verify(&mut world, &vault, &found).unwrap();
        assert_eq!((verified.verdict, verified.bytes, verified.parts), (Verdict::Good, 20 << 20, 3), "{mode:?}");
        assert_eq!((verified.bad, &*verified.reason), (None, ""), "{mode:?}");
        assert_eq!(verified.vid, found.manifest.vid);
    }
}

#[test]
fn damage_names_the_part_its_extent_and_its_place() {
    for mode in Mode::ALL {
        for (extent, at, expected) in
            [(0, 9 << 20, (2, 1, 8 << 20, 8 << 20, 8 << 20)), (1, 5, (3, 2, 0, 16 << 20, 4 << 20))]
        {
            let mut world = World::mode(mode);
            let vault = vault_of_two_extents(&world);
            let found = backup(&mut world, &vault);
            let key = found.manifest.extents[extent].key.clone();
            world.body_mut(&key)[at] ^= 1;
            let verified = verify(&mut world, &vault, &found).unwrap();
            assert_eq!(verified.verdict, Verdict::Damaged, "{mode:?}");
            let (number, extent, start, offset, length) = expected;
            assert_eq!(verified.bad, Some(BadPart { number, extent, key, start, offset, length }), "{mode:?}");
            assert!(verified.to_json().contains("\"verdict\":\"damaged\""), "{}", verified.to_json());
        }
    }
}

#[test]
fn what_is_gone_is_missing() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = vault_of_two_extents(&world);
        let found = backup(&mut world, &vault);
        let locator = world.keys(LOCATORS)[0].clone();
        let (key, kept) = (found.manifest.extents[1].key.clone(), world.versions(&locator).to_vec());
        world.set_versions(&locator, Vec::new());
        let verified = verify(&mut world, &vault, &found).unwrap();
        assert_eq!((verified.verdict, verified.bad), (Verdict::Missing, None), "{mode:?}: its locator is gone");
        world.set_versions(&locator, kept);
        world.set_versions(&key, Vec::new());
        let verified = verify(&mut world, &vault, &found).unwrap();
        assert_eq!(verified.verdict, Verdict::Missing, "{mode:?}");
        assert_eq!(verified.bad.map(|bad| (bad.number, bad.key)), Some((3, key)), "{mode:?}");
    }
}

#[test]
fn a_locator_that_nobody_trusted_signed_is_untrusted() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let found = stored(&mut world, &vault, b"x", 1);
        let locator = world.keys(LOCATORS)[0].clone();
        world.body_mut(&locator)[20] ^= 1;
        let verified = verify(&mut world, &vault, &found).unwrap();
        assert_eq!(verified.verdict, Verdict::Untrusted, "{mode:?}");
    }
}

#[test]
fn what_was_adopted_without_hashes_is_unverifiable_but_missing_once_it_was_replaced() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        world.put("vm/disk", b"foreign");
        let request =
            AdoptRequest { container: Some("vm".into()), dry_run: false, hash: false, keys: Arc::default(), seed: 1 };
        world.run(&mut Adopt::new(vault.clone(), request).unwrap(), &[]).unwrap();
        let found = find(&mut world, &vault, Selector::Latest).unwrap();
        // The store here makes ETags that only look like an MD5.
        let verified = verify(&mut world, &vault, &found).unwrap();
        assert!(verified.needs_md5 && verified.verdict == Verdict::Unverifiable, "{mode:?}");
        let mut found = found;
        found.manifest.adopted.as_mut().unwrap().md5 = None;
        let verified = verify(&mut world, &vault, &found).unwrap();
        assert_eq!((verified.verdict, verified.bytes, verified.parts), (Verdict::Unverifiable, 7, 0), "{mode:?}");
        let versions = world.versions("vm/disk").to_vec();
        world.set_versions("vm/disk", Vec::new());
        world.put("vm/disk", b"another");
        let verified = verify(&mut world, &vault, &found).unwrap();
        assert_eq!(verified.verdict, Verdict::Missing, "{mode:?} {versions:?}");
    }
}

#[test]
fn a_version_that_was_listed_is_found_and_its_manifest_verified_first() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let found = stored(&mut world, &vault, b"listed", 1);
        let vid = Vid::parse(&found.manifest.vid).unwrap();
        let listed = |world: &mut World| world.run(&mut Verify::listed(vault.clone(), name(), vid, 1), &[]);
        let verified = listed(&mut world).unwrap();
        assert_eq!((verified.verdict, verified.bytes), (Verdict::Good, 6), "{mode:?}");
        let row = found.manifest.key.clone();
        world.body_mut(&row)[30] ^= 1;
        let verified = listed(&mut world).unwrap();
        assert_eq!((verified.verdict, &*verified.vid), (Verdict::Untrusted, &*found.manifest.vid), "{mode:?}");
        world.set_versions(&row, Vec::new());
        assert_eq!(listed(&mut world).unwrap_err().code(), Code::NotFound, "{mode:?}: deleted meanwhile");
    }
}

#[test]
fn an_error_that_says_nothing_of_the_version_is_no_verdict() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"x", 1);
    world.fault("GetObject", "vm/disk", Fault::Refused(403, "AccessDenied"));
    let e = verify(&mut world, &vault, &found).unwrap_err();
    assert_eq!(e.code(), Code::AccessDenied);
}
