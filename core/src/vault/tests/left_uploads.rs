//! Uploads that a put left although its version is stored: a sweep aborts them after the grace, and no other upload.

use s3_model::Attributes;

use super::world::*;
use crate::machine::Event;
use crate::profile::{Profile, S3};
use crate::transfer::checkpoint::Checkpoint;
use crate::vault::job::{Job, JobRequest, Report};
use crate::vault::marker::Mark;
use crate::vault::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const GRACE: i64 = 7 * DAY;

fn sweep_as(world: &mut World, vault: &Arc<Vault>, dry_run: bool) -> Report {
    world.events.clear();
    world.log.clear();
    let request = JobRequest { container: Some("vm".into()), dry_run, grace_ms: GRACE, seed: 1 };
    world.run(&mut Job::sweep(vault.clone(), request).unwrap(), &[]).unwrap()
}

fn sweep(world: &mut World, vault: &Arc<Vault>) -> Report {
    sweep_as(world, vault, false)
}

/// Stores a version whose Create was answered too late: it was sent again, and the first upload is left.
fn stored_with_two_uploads(world: &mut World, vault: &Arc<Vault>) -> Found {
    world.fault("CreateMultipartUpload", "vm/disk", Fault::LostAfter);
    let found = stored(world, vault, &large(), 1);
    assert_eq!(world.open_uploads(), 1);
    found
}

fn is_whole(world: &mut World, vault: &Arc<Vault>, found: &Found) {
    let request = crate::transfer::ReadRequest::default();
    let manifest = Arc::new(found.manifest.clone());
    world.run(&mut Read::new(vault.clone(), manifest, request, 1).unwrap(), &[]).unwrap();
}

/// Somebody starts an upload now.
fn start_upload(world: &mut World, key: &str) {
    let bucket = world.bucket_of("vm");
    world.model.create_upload(&bucket, key, Attributes::default(), None, at(world.unix_ms)).unwrap();
}

#[test]
pub(super) fn an_upload_that_a_stored_version_left_goes_after_the_grace() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let found = stored_with_two_uploads(&mut world, &vault);
        world.unix_ms += GRACE - HOUR;
        assert_eq!((sweep(&mut world, &vault).aborted, world.open_uploads()), (0, 1), "{mode:?}: it is too early");
        world.unix_ms += 2 * HOUR;
        let dry = sweep_as(&mut world, &vault, true);
        assert_eq!((dry.aborted, world.open_uploads()), (1, 1), "{mode:?}: a dry run changes nothing");
        let report = sweep(&mut world, &vault);
        assert_eq!(Report { dry_run: true, ..report.clone() }, dry, "{mode:?}");
        assert_eq!((report.aborted, report.freed, report.problems, world.open_uploads()), (1, 0, 0, 0), "{mode:?}");
        let said = world.events.iter().find_map(|event| match event {
            Event::Item { json } => Some(json.clone()),
            _ => None,
        });
        assert!(said.is_some_and(|json| json.contains("\"abort\"") && json.contains(&found.row.vid)), "{mode:?}");
        is_whole(&mut world, &vault, &found);
        assert_eq!(sweep(&mut world, &vault).items(), 0, "{mode:?}");
    }
}

/// What an unfinished put of the backup may own is left to the sweep of that put.
#[test]
pub(super) fn an_upload_that_an_unfinished_put_may_own_is_not_aborted_before_that_put_is_marked() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let found = stored(&mut world, &vault, b"x", 1);
        let mut other = put(&vault, None, 2);
        while world.open_uploads() == 0 {
            assert!(world.run_until(&mut other, &large(), 1).is_none());
        }
        world.unix_ms += GRACE + HOUR;
        let report = sweep(&mut world, &vault);
        assert_eq!((report.aborted, report.suspected, world.open_uploads()), (0, 1, 1), "{mode:?}");
        world.unix_ms += HOUR;
        let report = sweep(&mut world, &vault);
        assert_eq!((report.freed, world.open_uploads()), (1, 0), "{mode:?}");
        is_whole(&mut world, &vault, &found);
    }
}

#[test]
fn uploads_of_other_programs_are_left_alone() {
    let (mut world, vault) = (World::new(), vault(&[]));
    start_upload(&mut world, "vm/disk");
    world.unix_ms += HOUR;
    let found = stored(&mut world, &vault, b"x", 1);
    world.unix_ms += HOUR;
    let vid = Vid::new(START, [7; 10]);
    let own =
        [format!("vm/disk@{}.x", found.row.vid), format!("vm/disk@{vid}.2"), format!("other/disk@{}", found.row.vid)];
    for key in own.iter().map(|key| &**key).chain(["vm/disk", "vm/disk2", "vm/disk/more", "elsewhere"]) {
        start_upload(&mut world, key);
    }
    world.unix_ms += GRACE + HOUR;
    let report = sweep(&mut world, &vault);
    assert_eq!((report.items(), world.open_uploads()), (0, 8), "{report:?}");
}

#[test]
pub(super) fn an_upload_in_which_something_was_stored_within_the_grace_is_left_alone() {
    let (mut world, vault) = (World::new(), vault(&[]));
    stored_with_two_uploads(&mut world, &vault);
    world.unix_ms += GRACE + HOUR;
    let (bucket, id) = (world.bucket_of("vm"), world.upload_id());
    let now = at(world.unix_ms - DAY);
    let received = s3_model::Received { content: b"part".to_vec(), etag: [1; 16], crc64nvme: 0, checksum: None };
    world.model.put_part(&bucket, "vm/disk", &id, 1, received, now).unwrap();
    assert_eq!((sweep(&mut world, &vault).aborted, world.open_uploads()), (0, 1));
    world.unix_ms += GRACE;
    let report = sweep(&mut world, &vault);
    assert_eq!((report.aborted, report.freed_bytes, world.open_uploads()), (1, 4, 0));
}

#[test]
fn only_a_row_that_verifies_justifies_an_abort() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let found = stored_with_two_uploads(&mut world, &vault);
        world.body_mut(&found.manifest.key)[0] ^= 1;
        world.unix_ms += GRACE + HOUR;
        let other_process = world.vault(&[]);
        assert_eq!((sweep(&mut world, &other_process).aborted, world.open_uploads()), (0, 1), "{mode:?}");
    }
}

/// The version goes with its uploads, once its marker is old enough.
#[test]
fn an_upload_of_a_deleted_version_is_left_to_its_end() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored_with_two_uploads(&mut world, &vault);
    world.unix_ms += GRACE + HOUR;
    mark(&mut world, &vault, &found.row.vid, Mark::Deleted);
    let report = sweep(&mut world, &vault);
    assert_eq!((report.aborted, report.waiting, world.open_uploads()), (0, 1, 1));
    world.unix_ms += HOUR;
    let report = sweep(&mut world, &vault);
    assert_eq!((report.aborted, report.freed, world.open_uploads()), (0, 1, 0));
}

#[test]
fn a_put_that_is_resumed_after_its_version_was_stored_finds_it() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let mut resumed = request(None, None, 2);
        resumed.checkpoint = Some(Checkpoint::parse(&[], &vault.checkpoint_key()).unwrap().0);
        world.fault("CreateMultipartUpload", "vm/disk", Fault::LostAfter);
        let found = world.run(&mut Put::new(vault.clone(), resumed.clone()).unwrap(), &large()).unwrap();
        world.unix_ms += GRACE + HOUR;
        assert_eq!((sweep(&mut world, &vault).aborted, world.open_uploads()), (1, 0), "{mode:?}");
        resumed.checkpoint = Some(Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0);
        let again = world.run(&mut Put::new(vault.clone(), resumed).unwrap(), &large()).unwrap();
        assert_eq!(again.row, found.row, "{mode:?}");
        is_whole(&mut world, &vault, &found);
    }
}

/// The list of uploads is one request for a bucket, and no more where there are none.
#[test]
fn what_it_costs_a_sweep() {
    let (mut world, vault) = (World::new(), vault(&[]));
    (1..=4).for_each(|n| drop(stored(&mut world, &vault, b"x", n)));
    world.unix_ms += GRACE + HOUR;
    sweep(&mut world, &vault);
    assert_eq!(world.operations(), ["GetBucketVersioning", "ListMultipartUploads", "ListObjectsV2", "ListObjectsV2"]);
    // A store that lists uploads by whole keys only would have to be asked for each version.
    let by_keys = world.vault_on(Profile { upload_prefixes: false, ..S3 }, &[]);
    sweep(&mut world, &by_keys);
    assert_eq!(world.operations(), ["GetBucketVersioning", "ListObjectsV2", "ListObjectsV2"]);
}
