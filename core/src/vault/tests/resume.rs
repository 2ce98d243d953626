//! Puts that resume from their checkpoint, wherever the process before was killed.

use serde_json::Value;

use super::super::objects::catalogue_prefix;
use super::super::*;
use super::world::*;
use crate::journal::{self, Journal, Tag};
use crate::machine::{Input, Machine, Output, PartRequest};
use crate::profile::{Profile, S3};
use crate::transfer::checkpoint::{Checkpoint, FileIdentity};
use crate::{Code, Error};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const PART: u64 = 8 << 20;

/// Kind of source, and profile of the store.
#[derive(Clone, Copy)]
struct Case {
    file: bool,
    profile: Profile,
}

const STREAM: Case = Case { file: false, profile: S3 };
const FILE: Case = Case { file: true, profile: S3 };
/// Three extents of 16, 16 and 8 MiB.
const EXTENTS: Case = Case { file: false, profile: Profile { max_parts: 2, ..S3 } };

fn identity(size: usize) -> FileIdentity {
    FileIdentity { device: 1, inode: 2, size: size as u64, modified_ns: 3, changed_ns: Some(4) }
}

/// A put with the checkpoint that `world` saved.
fn put(world: &mut World, vault: &Arc<Vault>, case: Case, source: &[u8], random: u8) -> Put {
    world.source_start = None;
    let (checkpoint, valid) = Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap();
    world.saved.truncate(valid);
    let mut request = request(None, case.file.then_some(source.len() as u64), random);
    request.checkpoint = Some(checkpoint);
    request.source = case.file.then(|| identity(source.len()));
    Put::new(vault.clone(), request).unwrap()
}

/// The data of the only version, from its objects.
fn data(world: &mut World, vault: &Arc<Vault>) -> Vec<u8> {
    let found = find(world, vault, Selector::Latest).unwrap();
    let mut bytes = Vec::new();
    for extent in &found.manifest.extents {
        let mut versions = world.versions(&extent.key).iter();
        let version = versions.find(|version| extent.version_id.as_ref().is_none_or(|id| *id == version.id));
        bytes.extend_from_slice(version.unwrap().content().unwrap());
        let sizes: u64 = extent.parts.iter().map(|part| part.length).sum();
        assert_eq!(sizes, extent.size);
    }
    bytes
}

/// Kills a put after `steps` and resumes it. Returns whether it was killed before its end.
fn killed(case: Case, source: &[u8], steps: usize) -> bool {
    let (mut world, vault) = (World::new(), vault_on(case.profile, &[]));
    let mut first = put(&mut world, &vault, case, source, 1);
    if world.run_until(&mut first, source, steps).is_some() {
        return false;
    }
    drop(first);
    let before = std::mem::take(&mut world.parts_sent);
    let mut second = put(&mut world, &vault, case, source, 2);
    world.run(&mut second, source).unwrap();
    let rows = world.keys("_s3vault/1/cat/").len();
    assert_eq!((rows, world.open_uploads() > 1), (1, false), "after {steps} steps");
    assert!(data(&mut world, &vault) == source, "other bytes after {steps} steps");
    // Requests are sent one after another here, so every part but the last one was answered and must not be sent again.
    let (offset, _) = world.source_start.unwrap();
    let twice = world.parts_sent.iter().filter(|part| before.contains(part)).count();
    if offset > 0 {
        assert!(twice <= 1, "{twice} parts were sent twice after {steps} steps: {before:?}, {:?}", world.parts_sent);
    }
    true
}

fn killed_after_every_step(case: Case, source: &[u8]) {
    let mut steps = 0;
    while killed(case, source, steps) {
        steps += if source.len() > PART as usize { 3 } else { 1 };
    }
    assert!(steps > 8, "{steps}");
}

#[test]
pub(super) fn a_stream_resumes_wherever_it_was_killed() {
    killed_after_every_step(STREAM, &large());
}

#[test]
pub(super) fn a_file_resumes_wherever_it_was_killed() {
    killed_after_every_step(FILE, &large());
}

#[test]
pub(super) fn a_stream_of_several_extents_resumes_wherever_it_was_killed() {
    killed_after_every_step(EXTENTS, &[large(), large()].concat());
}

#[test]
pub(super) fn a_file_of_several_extents_resumes_wherever_it_was_killed() {
    killed_after_every_step(Case { file: true, ..EXTENTS }, &[large(), large()].concat());
}

#[test]
fn a_small_backup_restarts_from_scratch() {
    for case in [STREAM, FILE] {
        killed_after_every_step(case, b"small");
        killed_after_every_step(case, b"");
    }
}

/// A put of 20 MiB that is stopped after two parts are stored.
fn two_parts(case: Case) -> (World, Arc<Vault>, Vec<u8>) {
    let (mut world, vault, source) = (World::new(), vault_on(case.profile, &[]), large());
    let mut first = put(&mut world, &vault, case, &source, 1);
    while world.parts_sent.len() < 2
        || Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0.open.unwrap().parts.len() < 2
    {
        assert!(world.run_until(&mut first, &source, 1).is_none());
    }
    world.parts_sent.clear();
    (world, vault, source)
}

#[test]
fn a_stream_resumes_after_the_parts_that_the_store_lists() {
    let (mut world, vault, source) = two_parts(STREAM);
    world.late_part(2, |bytes| bytes[0] ^= 1);
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    world.run(&mut second, &source).unwrap();
    assert_eq!(world.source_start, Some((PART, false)), "the listing takes precedence over the checkpoint");
    assert!(data(&mut world, &vault) == source);
}

#[test]
fn parts_of_a_file_stored_after_a_gap_count_as_stored() {
    for (missing, start) in [(1, 0), (2, PART)] {
        let (mut world, vault, source) = two_parts(FILE);
        world.late_part(missing, |bytes| bytes[0] ^= 1);
        let mut second = put(&mut world, &vault, FILE, &source, 2);
        world.run(&mut second, &source).unwrap();
        assert_eq!((world.source_start, world.done), (Some((start, false)), PART), "part {missing} is missing");
        assert_eq!(world.parts_sent.len(), 2);
        assert!(data(&mut world, &vault) == source);
    }
}

#[test]
fn a_file_resumes_with_the_size_of_parts_that_its_put_decided() {
    let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
    let mut first = put(&mut world, &vault, FILE, &source, 1);
    while !String::from_utf8_lossy(&world.saved).contains(r#""record":"part""#) {
        assert!(world.run_until(&mut first, &source, 1).is_none());
    }
    world.parts_sent.clear();
    forge(&mut world, &vault, |kind, record| {
        if kind == "begin" {
            record["part"] = (10 << 20).into();
        }
    });
    let mut second = put(&mut world, &vault, FILE, &source, 2);
    world.run(&mut second, &source).unwrap();
    assert_eq!(world.parts_sent, [(PART, 10 << 20), (18 << 20, 2 << 20)]);
    assert!(data(&mut world, &vault) == source);
}

#[test]
fn a_part_with_another_etag_and_the_same_bytes_is_kept() {
    let (mut world, vault, source) = two_parts(STREAM);
    world.late_part(2, |_| ());
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    world.run(&mut second, &source).unwrap();
    assert_eq!((world.source_start, world.parts_sent.len()), (Some((2 * PART, false)), 1));
    assert!(data(&mut world, &vault) == source);
}

#[test]
fn an_aborted_upload_restarts_from_scratch() {
    for case in [STREAM, FILE] {
        let (mut world, vault, source) = two_parts(case);
        world.drop_uploads();
        let mut second = put(&mut world, &vault, case, &source, 2);
        world.run(&mut second, &source).unwrap();
        assert_eq!((world.source_start, world.parts_sent.len()), (Some((0, false)), 3));
        assert!(data(&mut world, &vault) == source);
    }
}

#[test]
fn an_upload_that_disappears_while_it_is_sent_is_reported_and_not_aborted() {
    for case in [STREAM, FILE] {
        let (mut world, vault, source) = two_parts(case);
        let upload = format!("upload {}", world.upload_id());
        let mut second = put(&mut world, &vault, case, &source, 2);
        world.hook(|world, request| {
            if request.operation == "UploadPart" {
                world.drop_uploads();
            }
        });
        let e = world.run(&mut second, &source).unwrap_err();
        assert_eq!((e.code(), e.s3_code()), (Code::Abandoned, "NoSuchUpload"));
        let text = format!("{e} {}", e.hint());
        for word in [&*upload, "vm/disk", "lifecycle rule", "again", "checkpoint"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!world.operations().contains(&"AbortMultipartUpload"));
        world.hook(|_, _| ());
        let mut third = put(&mut world, &vault, case, &source, 3);
        world.parts_sent.clear();
        world.run(&mut third, &source).unwrap();
        assert_eq!((world.source_start, world.parts_sent.len()), (Some((0, false)), 3));
        assert!(data(&mut world, &vault) == source);
    }
}

#[test]
fn a_put_that_was_marked_or_lost_its_locator_restarts_from_scratch() {
    let (mut world, vault, source) = two_parts(STREAM);
    let locator = world.keys("_s3vault/1/loc/").remove(0);
    world.set_versions(&locator, Vec::new());
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    world.run(&mut second, &source).unwrap();
    assert_eq!(world.source_start, Some((0, false)));

    let (mut world, vault, source) = two_parts(STREAM);
    let locator = world.keys("_s3vault/1/loc/").remove(0);
    let vid = locator.rsplit('/').next().unwrap()[..26].to_owned();
    world.put(&format!("_s3vault/1/cat/vm/disk/{vid}.-s"), b"");
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    world.run(&mut second, &source).unwrap();
    assert_eq!(world.source_start, Some((0, false)));
}

/// Runs until Complete was sent, and loses it and the process in this way.
fn completed(case: Case, lost: Fault) -> (World, Arc<Vault>, Vec<u8>) {
    let (mut world, vault, source) = (World::new(), vault_on(case.profile, &[]), large());
    let mut first = put(&mut world, &vault, case, &source, 1);
    world.fault("CompleteMultipartUpload", "vm/disk", lost);
    while !world.operations().contains(&"CompleteMultipartUpload") {
        assert!(world.run_until(&mut first, &source, 1).is_none());
    }
    world.parts_sent.clear();
    (world, vault, source)
}

#[test]
pub(super) fn a_complete_that_took_effect_is_found() {
    for case in [STREAM, FILE] {
        let (mut world, vault, source) = completed(case, Fault::LostAfter);
        let mut second = put(&mut world, &vault, case, &source, 2);
        world.run(&mut second, &source).unwrap();
        assert_eq!((world.source_start, world.parts_sent.len()), (Some((source.len() as u64, true)), 0));
        assert!(data(&mut world, &vault) == source);
    }
}

#[test]
fn a_complete_that_took_effect_is_found_below_a_newer_object() {
    let (mut world, vault, source) = completed(STREAM, Fault::LostAfter);
    world.put_as("vm/disk", &source[1..], "another");
    world.put_as("vm/disk", &source, "another");
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    world.run(&mut second, &source).unwrap();
    assert_eq!(world.source_start, Some((source.len() as u64, true)));
    assert_eq!(world.versions("vm/disk").len(), 3, "nothing was stored once more");
    assert!(data(&mut world, &vault) == source);
}

#[test]
fn a_complete_that_left_no_object_restarts_from_scratch() {
    let (mut world, vault, source) = completed(STREAM, Fault::LostAfter);
    world.set_versions("vm/disk", Vec::new());
    // The version id in the metadata alone proves nothing.
    let vid = world.keys("_s3vault/1/loc/").remove(0).rsplit('/').next().unwrap()[..26].to_owned();
    let mut other = source.clone();
    other[0] ^= 1;
    world.put_as("vm/disk", &other, &vid);
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    world.run(&mut second, &source).unwrap();
    assert_eq!(world.source_start, Some((0, false)));
    assert!(data(&mut world, &vault) == source);
}

#[test]
fn an_upload_that_lost_a_part_after_complete_was_sent_is_left_alone() {
    let changes: [fn(&mut World); 2] = [|world| world.drop_part(1), |world| world.late_part(1, |bytes| bytes[0] ^= 1)];
    for (case, change) in [STREAM, FILE].into_iter().flat_map(|case| changes.map(|change| (case, change))) {
        let (mut world, vault, source) = completed(case, Fault::LostBefore);
        change(&mut world);
        let mut second = put(&mut world, &vault, case, &source, 2);
        world.run(&mut second, &source).unwrap();
        assert_eq!((world.source_start, world.open_uploads()), (Some((0, false)), 1));
        assert!(data(&mut world, &vault) == source);
    }
}

/// A put whose first Complete breaks off and leaves the upload in this state: a file restarts from scratch at once, a
/// stream in the next run.
fn broken_in_complete(case: Case, leave: fn(&mut World)) {
    let (mut world, vault, source) = (World::new(), vault_on(case.profile, &[]), large());
    world.fault("CompleteMultipartUpload", "vm/disk", Fault::LostBefore);
    let mut completes = 0;
    world.hook(move |world, request| {
        completes += u32::from(request.operation == "CompleteMultipartUpload");
        if completes == 2 {
            leave(world);
            completes += 1;
        }
    });
    let mut first = put(&mut world, &vault, case, &source, 1);
    let first = world.run(&mut first, &source);
    assert!(!world.operations().contains(&"AbortMultipartUpload"));
    if case.file {
        first.unwrap();
        assert_eq!((world.source_start, world.parts_sent.len(), world.open_uploads()), (Some((0, false)), 6, 1));
        return assert!(data(&mut world, &vault) == source);
    }
    let e = first.unwrap_err();
    assert_eq!(e.code(), Code::Abandoned, "{e}");
    for word in ["no longer assemble the parts", "vm/disk", "again", "scratch"] {
        assert!(format!("{e} {}", e.hint()).contains(word), "{word}: {e:?}");
    }
    assert_eq!((world.parts_sent.len(), world.open_uploads()), (3, 1), "nothing is sent again");
    world.hook(|_, _| ());
    world.parts_sent.clear();
    let mut second = put(&mut world, &vault, case, &source, 2);
    world.run(&mut second, &source).unwrap();
    assert_eq!((world.source_start, world.parts_sent.len()), (Some((0, false)), 3));
    assert!(data(&mut world, &vault) == source);
}

#[test]
fn an_upload_that_lost_a_part_after_a_complete_of_unknown_outcome_is_abandoned() {
    for case in [STREAM, FILE] {
        broken_in_complete(case, |world| world.drop_part(2));
    }
}

#[test]
fn an_upload_whose_parts_the_store_reports_with_other_checksums_is_abandoned() {
    for case in [STREAM, FILE] {
        broken_in_complete(case, World::break_upload);
    }
}

#[test]
fn a_store_that_breaks_each_upload_is_sent_the_file_three_times() {
    let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
    let mut sent = 0;
    world.hook(move |world, request| {
        if request.operation == "CompleteMultipartUpload" {
            world.break_upload();
            sent += 1;
            if sent % 2 == 1 {
                world.fault("CompleteMultipartUpload", "", Fault::LostBefore);
            }
        }
    });
    let e = world.run(&mut put(&mut World::new(), &vault, FILE, &source, 1), &source).unwrap_err();
    assert_eq!((e.code(), world.parts_sent.len()), (Code::Abandoned, 9), "{e}");
}

#[test]
fn a_store_that_completes_nothing_although_it_has_all_parts_is_sent_them_once() {
    let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
    world.hook(|world, request| {
        if request.operation == "CompleteMultipartUpload" {
            world.break_upload();
        }
    });
    let e = world.run(&mut put(&mut World::new(), &vault, FILE, &source, 1), &source).unwrap_err();
    assert_eq!((e.code(), world.parts_sent.len()), (Code::Abandoned, 3), "{e}");
    let completes = world.operations().iter().filter(|operation| **operation == "CompleteMultipartUpload").count();
    assert_eq!(completes, 2, "with the checksum of the whole, and without");
}

#[test]
fn an_abandoned_upload_that_became_an_object_is_used() {
    for case in [STREAM, FILE] {
        // The same put twice; one of them completed.
        let object = completed(case, Fault::LostAfter).0.versions("vm/disk")[0].clone();
        let (mut world, vault, source) = completed(case, Fault::LostBefore);
        world.break_upload();
        world.hook(move |world, request| {
            if request.operation == "HeadObject" {
                world.set_versions("vm/disk", vec![object.clone()]);
            }
        });
        let mut second = put(&mut world, &vault, case, &source, 2);
        world.run(&mut second, &source).unwrap();
        assert_eq!((world.source_start, world.parts_sent.len()), (Some((source.len() as u64, true)), 0));
        assert!(data(&mut world, &vault) == source);
    }
}

#[test]
fn parts_of_a_stream_may_end_early() {
    let (mut world, vault, source) =
        (World::new(), vault_on(Profile { max_object_size: 20 << 20, ..S3 }, &[]), large());
    world.short_parts = true;
    let request = request(None, None, 1);
    world.run(&mut Put::new(vault.clone(), request).unwrap(), &source).unwrap();
    assert_eq!(world.parts_sent, [(0, PART), (PART, PART), (2 * PART, source.len() as u64 - 2 * PART)]);
    assert!(data(&mut world, &vault) == source);
}

#[test]
pub(super) fn a_put_is_suspended_in_any_state_and_resumes() {
    let source = large();
    for steps in 0.. {
        let (mut world, vault) = (World::new(), vault_on(S3, &[]));
        let mut first = put(&mut world, &vault, STREAM, &source, 1);
        if world.run_until(&mut first, &source, steps).is_some() {
            assert!(steps > 10);
            break;
        }
        first.handle(world.now(), Input::Suspend);
        match world.run(&mut first, &source) {
            Err(e) => assert_eq!(e.code(), Code::Suspended, "after {steps} steps"),
            // It was stored already, but had not returned yet.
            Ok(_) => assert_eq!(world.keys("_s3vault/1/cat/").len(), 1),
        }
        assert!(!world.operations().contains(&"AbortMultipartUpload"));
        let mut second = put(&mut world, &vault, STREAM, &source, 2);
        world.run(&mut second, &source).unwrap();
        assert!(data(&mut world, &vault) == source);
    }
}

#[test]
fn without_a_checkpoint_suspend_is_cancel() {
    let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
    let mut first = Put::new(vault.clone(), request(None, None, 1)).unwrap();
    while world.parts_sent.is_empty() {
        assert!(world.run_until(&mut first, &source, 1).is_none());
    }
    first.handle(world.now(), Input::Suspend);
    assert_eq!(world.run(&mut first, &source).unwrap_err().code(), Code::Cancelled);
    assert_eq!(world.open_uploads(), 0);
}

#[test]
fn with_a_checkpoint_a_failure_leaves_the_upload() {
    let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
    let mut first = put(&mut world, &vault, STREAM, &source, 1);
    world.fault("UploadPart", "vm/disk", Fault::Refused(403, "AccessDenied"));
    assert_eq!(world.run(&mut first, &source).unwrap_err().code(), Code::AccessDenied);
    assert_eq!(world.open_uploads(), 1);
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    world.run(&mut second, &source).unwrap();
    assert!(data(&mut world, &vault) == source);
}

#[test]
fn a_checkpoint_on_a_full_disk_ends_the_put_and_leaves_the_upload() {
    let (mut world, vault, source) = two_parts(STREAM);
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    while world.parts_sent.is_empty() {
        assert!(world.run_until(&mut second, &source, 1).is_none());
    }
    second.handle(world.now(), Input::SaveFailed(Error::new(Code::DiskFull, "full")));
    assert_eq!(world.run(&mut second, &source).unwrap_err().code(), Code::DiskFull);
    assert_eq!(world.open_uploads(), 1);
}

#[test]
pub(super) fn complete_and_row_wait_until_the_checkpoint_recorded_them() {
    let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
    let mut machine = put(&mut world, &vault, STREAM, &source, 1);
    let mut held = 0;
    loop {
        match machine.poll(world.now()) {
            Output::Save { record, .. } => {
                let text = String::from_utf8(record).unwrap();
                if text.contains("\"record\":\"complete\"") || text.contains("\"record\":\"row\"") {
                    assert!(matches!(machine.poll(world.now()), Output::Wait(_)), "{text}");
                    held += 1;
                }
                machine.handle(world.now(), Input::Saved);
            }
            Output::Send(request) => world.send(&mut machine, &request, &source),
            Output::NeedPart(PartRequest { number, offset, length, .. }) => {
                let end = (offset + length).min(source.len() as u64);
                let bytes = &source[offset as usize..end as usize];
                let (digest, last) = (Some(crate::checksum::digest(bytes)), end == source.len() as u64);
                machine
                    .handle(world.now(), Input::PartReady { number, length: end - offset, digest, last, salt: None });
            }
            Output::Done(result) => break assert!(result.is_ok()),
            Output::Wait(Some(at)) => world.unix_ms = world.unix_ms.max(START + at as i64),
            other => assert!(matches!(other, Output::Start(_) | Output::ReleasePart(_)), "{other:?}"),
        }
    }
    assert_eq!(held, 2);
}

#[test]
fn a_stream_of_too_many_parts_fails_before_more_is_stored() {
    let source: Vec<u8> = [large(), large()].concat();
    let refused = |first: u32| {
        let (mut world, vault) = (World::new(), vault_on(EXTENTS.profile, &[]));
        let mut before = put(&mut world, &vault, EXTENTS, &source, 1);
        while Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0.extents.is_empty() {
            assert!(world.run_until(&mut before, &source, 1).is_none());
        }
        let mut request = request(None, None, 2);
        let mut checkpoint = Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0;
        (checkpoint.next.0, checkpoint.open) = (first, None);
        request.checkpoint = Some(checkpoint);
        world.parts_sent.clear();
        let result = world.run(&mut Put::new(vault, request).unwrap(), &source);
        (result.map(|_| ()), world.parts_sent.len(), world.keys("_s3vault/1/cat/").len())
    };
    assert_eq!(refused(1_900_001), (Ok(()), 1, 1));
    let (result, sent, rows) = refused(2_000_001);
    let e = result.unwrap_err();
    assert_eq!((e.code(), sent, rows), (Code::InvalidOption, 0, 0));
    let text = format!("{e} {}", e.hint());
    for word in ["vm disk", "bucket bkt", "2000000 parts", "256 MiB", "option memory"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_file_of_too_many_parts_is_refused_at_the_start() {
    let vault = vault_on(Profile { max_part_size: PART, max_object_size: PART << 10, ..S3 }, &[]);
    let put = |parts: u64| Put::new(vault.clone(), request(None, Some(parts * PART), 1)).err();
    assert_eq!(put(1_800_000), None);
    let e = put(2_000_000).unwrap();
    assert_eq!(e.code(), Code::InvalidOption);
    let text = format!("{e} {}", e.hint());
    for word in ["vm disk", "bucket bkt", "2000000 parts", "256 MiB", "provider"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_file_that_changed_is_refused() {
    let (world, vault, source) = two_parts(FILE);
    let mut request = request(None, Some(source.len() as u64), 2);
    request.checkpoint = Some(Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0);
    request.source = Some(FileIdentity { modified_ns: 9, ..identity(source.len()) });
    assert_eq!(Put::new(vault, request).err().unwrap().code(), Code::SourceChanged);
}

#[test]
fn lost_parts_of_a_file_are_sent_again() {
    for lost in [&[1][..], &[1, 2], &[1, 3], &[2, 3], &[1, 2, 3]] {
        let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
        let mut left = lost.to_vec();
        world.hook(move |world, request| {
            if request.operation == "CompleteMultipartUpload" {
                left.drain(..).for_each(|number| world.drop_part(number));
            }
        });
        world.run(&mut put_file(&vault, source.len()), &source).unwrap();
        assert_eq!(world.parts_sent.len(), 3 + lost.len(), "{lost:?}");
        assert!(data(&mut world, &vault) == source);
    }
}

#[test]
fn a_part_of_a_file_that_differs_in_the_store_is_sent_again() {
    let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
    let mut damaged = false;
    world.hook(move |world, request| {
        if request.operation == "CompleteMultipartUpload" && !std::mem::replace(&mut damaged, true) {
            world.late_part(2, |bytes| bytes[0] ^= 1);
        }
    });
    world.run(&mut put_file(&vault, source.len()), &source).unwrap();
    assert_eq!(world.parts_sent.iter().filter(|(offset, _)| *offset == PART).count(), 2);
    assert!(data(&mut world, &vault) == source);
}

/// The checkpoint of a put of two parts, stopped before its row is sent, and the vault, which signs nothing.
fn before_row(case: Case) -> (World, Arc<Vault>, Vec<u8>) {
    let (mut world, vault, source) = (World::new(), vault_of(case.profile, &[], None), large());
    let mut first = put(&mut world, &vault, case, &source, 1);
    while Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0.row.is_none() {
        assert!(world.run_until(&mut first, &source, 1).is_none());
    }
    assert_eq!(world.keys("_s3vault/1/cat/").len(), 0);
    (world, vault, source)
}

/// Changes records as somebody can who knows the key of the tags, as everybody does where nothing is signed.
fn forge(world: &mut World, vault: &Vault, change: impl Fn(&str, &mut Value)) {
    let lines = journal::read(&world.saved, &vault.checkpoint_key()).unwrap();
    let mut journal = Journal::new(vault.checkpoint_key(), Tag::default());
    for (n, (_, json)) in lines.records.into_iter().enumerate() {
        let mut record: Value = serde_json::from_slice(json).unwrap();
        let kind = record["record"].as_str().unwrap().to_owned();
        change(&kind, &mut record);
        journal.add(record.to_string(), n == 0);
    }
    world.saved = std::iter::from_fn(|| journal.next()).flat_map(|(line, _)| line).collect();
}

/// Changes a row's manifest, and makes its key fit, so that it does not contradict itself.
fn forge_row(change: fn(&mut Manifest)) -> impl Fn(&str, &mut Value) {
    move |kind, record| {
        if kind == "row" {
            let text = record["object"].as_str().unwrap();
            let mut manifest = Manifest::parse(text.trim_end().as_bytes(), None).unwrap();
            change(&mut manifest);
            let name = Name::new(&manifest.container, &manifest.path).unwrap();
            let row = RowKey {
                vid: Vid::parse(&manifest.vid).unwrap(),
                recorded_ms: manifest.recorded,
                kind: manifest.kind,
                size: manifest.size,
                parent: manifest.parent.as_deref().map(|vid| Vid::parse(vid).unwrap()),
            };
            manifest.key = format!("{}{row}", catalogue_prefix(&name));
            record["object"] = String::from_utf8(manifest.to_object(None)).unwrap().into();
        }
    }
}

#[test]
fn a_checkpoint_chooses_nothing_that_its_put_did_not_decide() {
    type Change = Box<dyn Fn(&str, &mut Value)>;
    let field = |at: &'static str, field: &'static str, value: Value| -> Change {
        Box::new(move |kind, record| {
            if kind == at {
                record[field] = value.clone();
            }
        })
    };
    let other_vid = Vid::new(START, [9; 10]);
    let changes: Vec<(&str, Change)> = vec![
        ("version id", field("begin", "vid", "x".into())),
        ("part size", field("begin", "part", 0.into())),
        ("part size", field("begin", "part", (6_u64 << 30).into())),
        ("object", field("extent", "key", "other/disk".into())),
        ("its row", field("begin", "vid", other_vid.to_string().into())),
    ];
    for (what, change) in changes {
        let (mut world, vault, source) = before_row(EXTENTS);
        forge(&mut world, &vault, |_, _| {});
        put(&mut world, &vault, EXTENTS, &source, 2);
        forge(&mut world, &vault, &change);
        let checkpoint = Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0;
        let e = Put::new(vault, PutRequest { checkpoint: Some(checkpoint), ..request(None, None, 2) }).err().unwrap();
        assert_eq!(e.code(), Code::BadCheckpoint);
        assert!(e.message().contains("was changed") && e.message().contains(what), "{what}: {e}");
    }
}

#[test]
fn a_checkpoints_row_describes_its_own_version_and_data() {
    let changes: [fn(&mut Manifest); 8] = [
        |m| m.vault = "0".repeat(32),
        |m| m.container = "other".into(),
        |m| m.path = "other".into(),
        |m| m.vid = Vid::new(START, [9; 10]).to_string(),
        |m| (m.kind, m.parent) = (Kind::Inc, Some(Vid::new(START, [9; 10]).to_string())),
        |m| m.extents[0].parts[0].blake3[0] ^= 1,
        |m| m.extents[0].key.push('x'),
        |m| m.extents.push(m.extents[0].clone()),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let (mut world, vault, _) = before_row(EXTENTS);
        forge(&mut world, &vault, forge_row(|_| ()));
        let parse = |world: &World| Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0;
        let resumed = |checkpoint| {
            Put::new(vault.clone(), PutRequest { checkpoint: Some(checkpoint), ..request(None, None, 2) }).err()
        };
        assert_eq!(resumed(parse(&world)), None);
        forge(&mut world, &vault, forge_row(change));
        let e = resumed(parse(&world)).unwrap();
        assert!(e.code() == Code::BadCheckpoint && e.message().contains("its row"), "{n}: {e}");
    }
}

/// A way on which a put comes to its row, where the store answers like this to the request that tells the version id.
type Way = fn(&mut World, Fault) -> Result<Found, Error>;

fn put_again(world: &mut World, vault: &Arc<Vault>) -> Result<Found, Error> {
    let mut again = put(world, vault, EXTENTS, &large(), 2);
    world.run(&mut again, &large())
}

/// A put whose checkpoint has a row that names objects without a version id, as a version before this one wrote it.
fn row_without_version_ids() -> (World, Arc<Vault>) {
    let (mut world, vault, _) = before_row(EXTENTS);
    forge(&mut world, &vault, |kind, record| {
        if kind == "stored" {
            record["version_id"] = Value::Null;
        }
    });
    forge(&mut world, &vault, forge_row(|m| m.extents.iter_mut().for_each(|extent| extent.version_id = None)));
    (world, vault)
}

#[test]
fn every_way_to_a_row_passes_the_same_guards() {
    let ways: [(&str, Way); 8] = [
        ("a single PUT", |world, bad| {
            world.fault("PutObject", "vm/", bad);
            world.run(&mut super::world::put(&vault(&[]), None, 1), b"small")
        }),
        ("Complete", |world, bad| {
            world.fault("CompleteMultipartUpload", "", bad);
            world.run(&mut super::world::put(&vault(&[]), None, 1), &large())
        }),
        ("Complete of a later extent", |world, bad| {
            world.fault("CompleteMultipartUpload", "vm/disk@", bad);
            world.run(&mut super::world::put(&vault_on(EXTENTS.profile, &[]), None, 1), &[large(), large()].concat())
        }),
        ("a Complete without an answer", |world, bad| {
            world.fault("CompleteMultipartUpload", "", Fault::LostAfter);
            world.fault("HeadObject", "", bad);
            world.run(&mut super::world::put(&vault(&[]), None, 1), &large())
        }),
        ("a checkpoint with a stored object", |world, bad| {
            let vault = vault_on(EXTENTS.profile, &[]);
            world.fault("CompleteMultipartUpload", "", bad);
            assert_eq!(put_again(world, &vault).unwrap_err().code(), Code::Versioning);
            put_again(world, &vault)
        }),
        ("a checkpoint with a Complete that was sent", |world, bad| {
            let vault = vault_on(EXTENTS.profile, &[]);
            world.fault("CompleteMultipartUpload", "", Fault::LostAfter);
            world.fault("HeadObject", "", Fault::Refused(403, "AccessDenied"));
            world.fault("ListObjectVersions", "", Fault::Refused(403, "AccessDenied"));
            assert_eq!(put_again(world, &vault).unwrap_err().code(), Code::OutcomeUnknown);
            world.fault("HeadObject", "", bad);
            put_again(world, &vault)
        }),
        ("a checkpoint with a row", |world, _| {
            let vault;
            (*world, vault) = row_without_version_ids();
            put_again(world, &vault)
        }),
        ("a row that is stored", |world, _| {
            let vault;
            (*world, vault) = row_without_version_ids();
            let row = Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0.row.unwrap();
            let key = Manifest::parse(row.trim_end().as_bytes(), None).unwrap().key;
            world.put(&key, row.as_bytes());
            let refused = put_again(world, &vault);
            world.set_versions(&key, Vec::new());
            refused
        }),
    ];
    for (way, run) in ways {
        for bad in [Fault::Lacks("x-amz-version-id"), Fault::Says("x-amz-version-id", "null")] {
            let mut world = World::new();
            let e = run(&mut world, bad).err().unwrap_or_else(|| panic!("{way}, {bad:?}: a row was written"));
            assert_eq!(e.code(), Code::Versioning, "{way}, {bad:?}: {e}");
            assert!(e.message().contains("returned no version id"), "{way}: {e}");
            assert_eq!(world.keys("_s3vault/1/cat/").len(), 0, "{way}, {bad:?}");
        }
    }
}

#[test]
pub(super) fn a_signing_vault_resumes_only_what_its_own_key_wrote() {
    let (mut world, unsigned, _) = before_row(EXTENTS);
    let signing = vault_on(EXTENTS.profile, &[]);
    let e = Checkpoint::parse(&world.saved, &signing.checkpoint_key()).unwrap_err();
    assert!(e.code() == Code::BadCheckpoint && e.hint().contains("has got a new signing key since"), "{e}");
    // Even in a journal of its own, it takes no row that it did not sign.
    let lines = journal::read(&world.saved, &unsigned.checkpoint_key()).unwrap();
    let mut journal = Journal::new(signing.checkpoint_key(), Tag::default());
    lines.records.into_iter().enumerate().for_each(|(n, (_, json))| journal.add(json, n == 0));
    world.saved = std::iter::from_fn(|| journal.next()).flat_map(|(line, _)| line).collect();
    let checkpoint = Checkpoint::parse(&world.saved, &signing.checkpoint_key()).unwrap().0;
    let e = Put::new(signing, PutRequest { checkpoint: Some(checkpoint), ..request(None, None, 2) }).err().unwrap();
    assert!(e.code() == Code::BadCheckpoint && e.message().contains("it is not signed"), "{e}");
}

#[test]
pub(super) fn a_version_id_from_the_future_is_not_resumed() {
    let (mut world, vault, source) = two_parts(STREAM);
    world.unix_ms -= 3 * 3_600_000;
    let mut resumed = put(&mut world, &vault, STREAM, &source, 2);
    assert_eq!(world.run(&mut resumed, &source).unwrap_err().code(), Code::FutureVersion);
}

#[test]
fn an_empty_page_of_a_check_is_not_the_last() {
    let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
    let mut first = put(&mut world, &vault, STREAM, &source, 1);
    while world.keys("_s3vault/1/cat/").is_empty() {
        assert!(world.run_until(&mut first, &source, 1).is_none());
    }
    drop(first);
    world.fault("ListObjectsV2", "", Fault::EmptyPage);
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    world.run(&mut second, &source).unwrap();
    let rows = world.log.iter().filter(|(what, key, _)| *what == "PutObject" && key.starts_with("_s3vault/1/cat/"));
    assert_eq!(rows.count(), 1, "the row that was stored was not seen");
    // The locators of a check, too.
    let (mut world, vault, source) = two_parts(STREAM);
    let before = world.keys("_s3vault/1/").len();
    let mut second = put(&mut world, &vault, STREAM, &source, 2);
    let lists = |world: &World| world.log.iter().filter(|(operation, ..)| *operation == "ListObjectsV2").count();
    let rows_listed = lists(&world) + 1;
    while lists(&world) < rows_listed {
        assert!(world.run_until(&mut second, &source, 1).is_none());
    }
    world.fault("ListObjectsV2", "", Fault::EmptyPage);
    world.run(&mut second, &source).unwrap();
    assert_eq!(world.keys("_s3vault/1/").len(), before + 1, "it restarted from scratch");
}
