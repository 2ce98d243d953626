//! Versions without versioning in one bucket, and a vault whose mode was changed.

use s3_model::{Rules, Versioning as BucketState};

use super::super::objects::{CATALOGUE, LOCATORS};
use super::super::*;
use super::world::*;
use crate::Code;
use crate::transfer::ReadRequest;
use crate::transfer::checkpoint::Checkpoint;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const EMULATED: &[(&str, &str)] = &[("mode", "single-bucket-no-versioning")];

fn world(state: BucketState) -> World {
    let mut world = World::new();
    world.set_versioning(state);
    world
}

#[test]
fn versions_without_versioning_are_objects_of_their_own() {
    for state in [BucketState::Off, BucketState::Suspended] {
        for bytes in [b"small".to_vec(), large()] {
            let (mut world, vault) = (world(state), vault(EMULATED));
            let (first, second) = (stored(&mut world, &vault, &bytes, 1), stored(&mut world, &vault, &bytes, 2));
            for found in [&first, &second] {
                let extents: Vec<_> = found.manifest.extents.iter().map(|extent| extent.key.clone()).collect();
                assert_eq!(extents, [format!("vm/disk@{}", found.row.vid)]);
                assert_eq!(found.manifest.extents[0].version_id, None, "`null` is no version id");
                assert!(world.body(&extents[0]) == bytes);
            }
            assert_eq!((world.keys("vm").len(), world.open_uploads()), (2, 0));
            let found = find(&mut world, &vault, Selector::Latest).unwrap();
            assert_eq!(found.row.vid, second.row.vid);
            let read = Read::new(vault, Arc::new(first.manifest), ReadRequest::default(), 1);
            world.run(&mut read.unwrap(), &[]).unwrap();
        }
    }
}

#[test]
fn a_complete_without_an_answer_is_settled_without_versioning_too() {
    for fault in [Fault::LostAfter, Fault::ErrorIn200, Fault::LostBefore] {
        let (mut world, vault) = (world(BucketState::Off), vault(EMULATED));
        world.fault("CompleteMultipartUpload", "", fault);
        stored(&mut world, &vault, &large(), 1);
        assert_eq!((world.keys("vm").len(), world.open_uploads()), (1, 0));
    }
}

#[test]
fn a_bucket_with_versioning_is_refused_before_anything_is_written_and_the_mode_that_fits_is_named() {
    let (mut world, vault) = (world(BucketState::Enabled), vault(EMULATED));
    let e = world.run(&mut put(&vault, None, 1), b"x").unwrap_err();
    assert_eq!((e.code(), e.hint()), (Code::Versioning, "Set mode = single-bucket: that fits this bucket."));
    assert!(world.keys("").is_empty());
    // Where nobody may ask, the first reply shows it, before data is sent.
    world.fault("GetBucketVersioning", "", Fault::Refused(403, "AccessDenied"));
    let e = world.run(&mut put(&vault, None, 1), b"x").unwrap_err();
    assert_eq!(e.code(), Code::Versioning);
    assert!(world.keys("vm").is_empty());
}

/// Garage: it says that the bucket has no versioning, and names a version in each reply.
#[test]
fn versions_that_a_store_without_versioning_names_mean_nothing() {
    for bytes in [b"small".to_vec(), large()] {
        let (mut world, vault) = (World::with(Rules { names_all_versions: true, ..Rules::default() }), vault(EMULATED));
        world.set_versioning(BucketState::Off);
        for n in 1..=4 {
            world.log.clear();
            let found = stored(&mut world, &vault, &bytes, n);
            assert_eq!(found.manifest.extents[0].version_id, None);
            assert!(world.body(&format!("vm/disk@{}", found.row.vid)) == bytes);
            let asked = world.operations().iter().filter(|operation| **operation == "GetBucketVersioning").count();
            // Once before the first id, and once after it. Its replies to CompleteMultipartUpload name none.
            let is_asked = n == 1 || n == 2 && bytes == b"small";
            assert_eq!(asked, usize::from(is_asked), "put {n}");
        }
        assert_eq!(world.keys("vm").len(), 4);
    }
}

#[test]
fn versioning_that_is_switched_on_later_is_noticed_by_the_next_put() {
    let (mut world, vault) = (world(BucketState::Off), vault(EMULATED));
    stored(&mut world, &vault, b"one", 1);
    world.set_versioning(BucketState::Enabled);
    // It cannot know that the id means something, and its data is there.
    stored(&mut world, &vault, b"two", 2);
    let e = world.run(&mut put(&vault, None, 3), b"three").unwrap_err();
    assert_eq!((e.code(), e.hint()), (Code::Versioning, "Set mode = single-bucket: that fits this bucket."));
    assert_eq!(world.keys("vm").len(), 2);
}

/// The process stops after this many requests.
fn interrupted(world: &mut World, vault: &Arc<Vault>, bytes: &[u8], stops: impl Fn(&World) -> bool) {
    world.saved.clear();
    let request = PutRequest { checkpoint: Some(Checkpoint::default()), ..request(None, None, 1) };
    let mut machine = Put::new(vault.clone(), request).unwrap();
    for _ in 0..10_000 {
        if stops(world) {
            return;
        }
        if world.run_until(&mut machine, bytes, 1).is_some() {
            return;
        }
    }
}

fn resumed(world: &mut World, vault: &Arc<Vault>, bytes: &[u8]) -> Result<Found, Error> {
    let (checkpoint, valid) = Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap();
    world.saved.truncate(valid);
    let request = PutRequest { checkpoint: Some(checkpoint), ..request(None, None, 2) };
    world.run(&mut Put::new(vault.clone(), request).unwrap(), bytes)
}

#[test]
fn a_checkpoint_of_the_other_mode_starts_from_scratch() {
    let (native, emulated) = (vault(&[]), vault(EMULATED));
    for (before, after, states) in [
        (&native, &emulated, [BucketState::Enabled, BucketState::Suspended]),
        (&emulated, &native, [BucketState::Off, BucketState::Enabled]),
    ] {
        for (bytes, operation) in
            [(large(), "CreateMultipartUpload"), (large(), "CompleteMultipartUpload"), (b"x".to_vec(), "PutObject")]
        {
            let mut world = world(states[0]);
            // The single PUT is recorded with the row that names it, which is the last one.
            let wanted = if operation == "PutObject" { 3 } else { 1 };
            interrupted(&mut world, before, &bytes, move |world| {
                world.operations().iter().filter(|sent| **sent == operation).count() > wanted - 1
                    && (operation != "PutObject" || world.saved.windows(5).any(|word| word == b"\"row\""))
            });
            world.set_versioning(states[1]);
            after.layout.place("vm").set_versioned(false);
            world.unix_ms += MINUTE;
            let found = resumed(&mut world, after, &bytes).unwrap_or_else(|e| panic!("{operation}: {e:?}"));
            let keys = after.layout.data_keys(&name(), Vid::parse(&found.row.vid).unwrap());
            assert_eq!(found.manifest.extents[0].key, keys.first, "{operation}");
            assert_eq!(world.source_start, Some((0, false)), "{operation}");
            // And resumes as usual from then on.
            let (checkpoint, _) = Checkpoint::parse(&world.saved, &after.checkpoint_key()).unwrap();
            assert_eq!(checkpoint.header.unwrap().vid, found.row.vid);
        }
    }
}

#[test]
fn a_vault_whose_mode_was_changed_reads_all_it_has_and_builds_on_it() {
    let (native, emulated) = (vault(&[]), vault(EMULATED));
    let mut world = world(BucketState::Enabled);
    let first = stored(&mut world, &native, b"native", 1);
    world.set_versioning(BucketState::Suspended);
    let parent = Vid::parse(&first.row.vid).unwrap();
    let second = world.run(&mut put(&emulated, Some(parent), 2), b"emulated").unwrap();
    world.set_versioning(BucketState::Enabled);
    native.layout.place("vm").set_versioned(false);
    let third = stored(&mut world, &native, b"native again", 3);
    for vault in [&native, &emulated] {
        for found in [&first, &second, &third] {
            let read = Read::new(vault.clone(), Arc::new(found.manifest.clone()), ReadRequest::default(), 1).unwrap();
            world.run(&mut { read }, &[]).unwrap();
        }
        assert_eq!(find(&mut world, vault, Selector::Latest).unwrap().row.vid, third.row.vid);
    }
    assert_eq!((world.keys(CATALOGUE).len(), world.keys(LOCATORS).len()), (3, 3));
}
