//! Put: each promise of the protocol that a single writer can show.

use std::sync::Arc;

use s3_model::{Rules, Versioning};

use super::super::marker::Mark;
use super::super::objects::{CATALOGUE, LOCATORS, VAULT_KEY};
use super::super::*;
use super::world::*;
use crate::Code;
use crate::checksum::digest;
use crate::http::{Body, ReplyHead, RequestId};
use crate::machine::{Input, Machine, Output, PartRequest};
use crate::profile::{Profile, S3};
use crate::time::amz_date;
use crate::transfer::{ReadRequest, WINDOW};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// With this, the first failure of a request is its last.
const NO_RETRIES: &[(&str, &str)] = &[("retry_time", "0")];

#[test]
fn a_small_backup_is_one_list_and_three_puts() {
    let (mut world, vault) = (World::new(), vault(&[]));
    stored(&mut world, &vault, b"first", 1);
    assert_eq!(
        world.operations(),
        ["GetBucketVersioning", "PutObject", "ListObjectsV2", "PutObject", "PutObject", "PutObject"]
    );
    world.log.clear();
    let found = stored(&mut world, &vault, b"second", 2);
    assert_eq!(world.operations(), ["ListObjectsV2", "PutObject", "PutObject", "PutObject"]);
    let keys: Vec<&str> = world.log.iter().map(|(_, key, _)| key.as_str()).collect();
    assert!(keys[1].starts_with(LOCATORS) && keys[2] == "vm/disk" && keys[3].starts_with(CATALOGUE), "{keys:?}");
    assert_eq!(keys[3], found.manifest.key);
    assert_eq!(world.versions(VAULT_KEY).len(), 1);
}

/// In a bucket with a default retention, S3 refuses a PUT without a checksum.
#[test]
pub(super) fn every_object_is_sent_with_a_checksum() {
    for bytes in [Vec::new(), b"small".to_vec(), large()] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.hook(|_, request| {
            let has = |name: &str| request.headers.iter().any(|(header, _)| header == name);
            let named =
                request.headers.iter().any(|(name, value)| name == "x-amz-trailer" && value.contains("checksum"));
            let sent = matches!(request.operation, "PutObject" | "UploadPart");
            assert!(!sent || has("content-md5") || has("x-amz-checksum-crc64nvme") || named, "{request:?}");
        });
        stored(&mut world, &vault, &bytes, 1);
    }
}

#[test]
fn a_large_backup_is_complete_and_its_row_is_written_last() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let bytes = large();
    let found = stored(&mut world, &vault, &bytes, 1);
    assert_eq!(world.body("vm/disk"), bytes);
    assert_eq!(found.manifest.extents[0].version_id.as_deref(), Some(&*world.versions("vm/disk")[0].id));
    assert_eq!(found.manifest.parts().count(), 3);
    assert_eq!(world.operations().last(), Some(&"PutObject"));
    assert_eq!(world.keys(LOCATORS).len(), 1);
}

#[test]
pub(super) fn what_does_not_fit_into_one_object_continues_in_the_next_extent() {
    const MIB: usize = 1 << 20;
    for (max_parts, length, sizes) in [
        (1, 20 * MIB, &[8, 8, 4][..]),
        (2, 20 * MIB, &[16, 4]),
        (2, 17 * MIB, &[16, 1]),
        // It ends where an extent ends.
        (2, 16 * MIB, &[16]),
        (1, 8 * MIB, &[8]),
        (3, 20 * MIB, &[20]),
    ] {
        for (is_file, ends_late) in [(false, false), (false, true), (true, false)] {
            // A file's parts grow to fit into one object, so here the object's size is the limit.
            let max_object_size = (u64::from(max_parts) * 8) << 20;
            let max_parts = if is_file { 10_000 } else { max_parts };
            let profile = Profile { max_parts, max_object_size: if is_file { max_object_size } else { 1 << 40 }, ..S3 };
            let (mut world, vault) = (World::new(), vault_on(profile, &[]));
            world.ends_late = ends_late;
            let bytes = &large()[..length];
            let mut machine = if is_file { put_file(&vault, length) } else { put(&vault, None, 1) };
            let found = world.run(&mut machine, bytes).unwrap_or_else(|e| panic!("{max_parts} {length}: {e:?}"));
            let vid = &found.row.vid;
            let extents = &found.manifest.extents;
            assert_eq!(extents.iter().map(|extent| extent.size as usize / MIB).collect::<Vec<_>>(), sizes);
            let keys: Vec<&str> = extents.iter().map(|extent| &*extent.key).collect();
            let expected: Vec<String> = (1..=sizes.len())
                .map(|n| if n == 1 { "vm/disk".into() } else { format!("vm/disk@{vid}.{n}") })
                .collect();
            assert_eq!(keys, expected);
            let stored: Vec<u8> = keys.iter().flat_map(|key| world.body(key).to_vec()).collect();
            assert!(stored == bytes && found.row.bytes == length as u64);
            assert_eq!(world.keys(LOCATORS).len(), 1, "one locator names all of them");
            assert_eq!(world.open_uploads(), 0);
            let manifest = Arc::new(found.manifest.clone());
            world.run(&mut Read::new(vault.clone(), manifest, ReadRequest::default(), 1).unwrap(), &[]).unwrap();
        }
    }
}

#[test]
pub(super) fn an_extent_is_signed_at_a_valid_check() {
    let profile = Profile { max_parts: 1, ..S3 };
    let (mut world, vault) = (World::new(), vault_on(profile, &[]));
    // The first extent takes longer than a check is valid.
    world.hook(|world, request| {
        if matches!(request.operation, "UploadPart" | "CompleteMultipartUpload") {
            world.unix_ms += 8 * MINUTE;
        }
        world.unix_ms += if request.url.contains("vm/disk%40") { MINUTE } else { 0 };
    });
    let found = stored(&mut world, &vault, &large()[..9 << 20], 1);
    assert!(found.manifest.stored >= START + 17 * MINUTE - 1000, "the data is complete with its last extent");
    let operations = world.operations();
    let complete = operations.iter().position(|op| *op == "CompleteMultipartUpload").unwrap();
    assert_eq!(operations[complete + 1..], ["ListObjectsV2", "ListObjectsV2", "PutObject", "PutObject"]);
    let dates: Vec<&str> = world.log[complete + 1..].iter().map(|(_, _, date)| date.as_str()).collect();
    assert!(dates[2] == dates[3] && *dates[2] >= *amz_date(START + 16 * MINUTE - 1000), "{dates:?}");
}

#[test]
fn a_files_parts_are_hashed_while_they_are_sent() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let bytes = large();
    // Lost before and after it took effect: each attempt reads the part again, and gets the same bytes.
    world.fault("UploadPart", "", Fault::LostBefore);
    world.fault("UploadPart", "", Fault::LostAfter);
    let found = world.run(&mut put_file(&vault, bytes.len()), &bytes).unwrap();
    assert_eq!(world.body("vm/disk"), bytes);
    for part in found.manifest.parts() {
        let digest = digest(&bytes[part.offset as usize..(part.offset + part.length) as usize]);
        assert!(part.hash.matches(part.length, &digest));
    }
}

#[test]
fn a_part_that_the_store_reports_with_another_checksum_is_damaged() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.fault("UploadPart", "", Fault::Says("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="));
    let e = world.run(&mut put(&vault, None, 1), &large()).unwrap_err();
    assert_eq!(e.code(), Code::Damaged);
    assert!(world.open_uploads() == 0 && world.keys(CATALOGUE).is_empty());
}

#[test]
fn a_file_that_changes_between_two_attempts_is_source_changed() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let bytes = large();
    let mut machine = put_file(&vault, bytes.len());
    world.fault("UploadPart", "", Fault::LostAfter);
    world.hook(|world, request| {
        let sent = world.log.iter().filter(|(operation, ..)| *operation == "UploadPart").count();
        // Each part was sent once; this is a second attempt.
        world.source_changed = request.operation == "UploadPart" && sent == 3;
    });
    let e = world.run(&mut machine, &bytes).unwrap_err();
    assert_eq!(e.code(), Code::SourceChanged);
    assert!(world.open_uploads() == 0 && world.keys(CATALOGUE).is_empty(), "nothing is left, nothing is listed");
}

#[test]
pub(super) fn locator_data_and_row_carry_the_date_of_the_check() {
    let (mut world, vault) = (World::new(), vault(&[]));
    // Each request takes a minute: the list is sent at START, and the locator, the data and the row are signed with
    // that date.
    world.hook(|world, _| world.unix_ms += MINUTE);
    stored(&mut world, &vault, b"x", 1);
    let dates: Vec<&str> = world.log.iter().map(|(_, _, date)| date.as_str()).collect();
    let [.., locator, data, row] = dates[..] else { panic!("{dates:?}") };
    // A locator that is sent beside the LIST has a time of its own, by a second at most.
    assert!(data == row && data <= locator, "{dates:?}");
    // `Date` has whole seconds, so the check may seem up to one second older than it is, which is safe.
    let (_, _, list) = world.log.iter().find(|(operation, ..)| *operation == "ListObjectsV2").unwrap();
    let sent_ms = (0..9).map(|n| START + n * MINUTE).find(|at| amz_date(*at) == *list).unwrap();
    assert!(*amz_date(sent_ms - 1000) <= *data && *locator <= **list, "{dates:?}");
}

#[test]
pub(super) fn a_retry_of_a_dated_request_keeps_its_date_and_bytes() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.fault("PutObject", CATALOGUE, Fault::LostAfter);
    world.fault("PutObject", CATALOGUE, Fault::LostBefore);
    let found = stored(&mut world, &vault, b"x", 1);
    let rows: Vec<_> = world.log.iter().filter(|(_, key, _)| key.starts_with(CATALOGUE)).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.2 == rows[0].2));
    assert!(world.versions(&found.manifest.key).iter().all(|object| object.content().unwrap()[..] == found.object));
}

#[test]
pub(super) fn a_row_whose_check_has_aged_is_signed_at_a_new_one() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.hook(|world, request| {
        if request.operation == "UploadPart" {
            world.unix_ms += 10 * MINUTE;
        }
    });
    stored(&mut world, &vault, &large(), 1);
    let tail: Vec<_> =
        world.log.iter().rev().take(3).map(|(operation, key, _)| (*operation, key.starts_with(CATALOGUE))).collect();
    assert_eq!(tail, [("PutObject", true), ("ListObjectsV2", false), ("ListObjectsV2", false)]);
    let rows = world.log.iter().filter(|(operation, key, _)| *operation == "PutObject" && key.starts_with(CATALOGUE));
    assert_eq!(rows.count(), 1, "not sent under the old check first");
    let row = &world.log.last().unwrap().2;
    assert!(*row >= amz_date(world.unix_ms - MINUTE), "{row}");
}

/// What another process writes while the pages of a check are listed is not in the first of them.
#[test]
fn a_check_is_as_old_as_its_first_page() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.fault("ListObjectsV2", "", Fault::EmptyPage);
    world.hook(|world, request| match request.operation {
        "UploadPart" => world.unix_ms += 10 * MINUTE,
        "CompleteMultipartUpload" => world.fault("ListObjectsV2", "", Fault::EmptyPage),
        "ListObjectsV2" if !request.url.contains("after-empty") => world.unix_ms += 4 * MINUTE,
        _ => {}
    });
    stored(&mut world, &vault, &large(), 1);
    let lists: Vec<_> = world.log.iter().filter(|(operation, ..)| *operation == "ListObjectsV2").collect();
    assert_eq!(lists.len(), 5, "two pages, and two and one of the check before the row");
    let dated = |prefix: &str| world.log.iter().find(|(what, key, _)| *what == "PutObject" && key.starts_with(prefix));
    let (locator, row) = (&dated(LOCATORS).unwrap().2, &dated(CATALOGUE).unwrap().2);
    assert!(*locator <= lists[0].2 && *row <= lists[2].2 && *row > lists[1].2, "{locator} {row} {lists:?}");
}

#[test]
pub(super) fn data_that_comes_late_is_signed_at_a_new_check() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let mut machine = put(&vault, None, 1);
    // Almost fifteen minutes pass between the locator and the first byte.
    world.hook(|world, request| {
        if request.operation == "PutObject" && request.url.contains("/loc/") {
            world.unix_ms += 14 * MINUTE + 50_000;
        }
    });
    let found = world.run(&mut machine, b"x");
    // The locator was still in time, or the put restarted; either way the version exists.
    assert!(found.is_ok(), "{found:?}");
    assert_eq!(world.keys(CATALOGUE).len(), 1);
}

#[test]
pub(super) fn an_expired_locator_begins_a_new_version() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let mut late = true;
    world.hook(move |world, request| {
        if request.url.contains("/loc/") && std::mem::take(&mut late) {
            world.unix_ms += 16 * MINUTE;
        }
    });
    let found = stored(&mut world, &vault, b"x", 1);
    assert_eq!(world.log.iter().filter(|(_, key, _)| key.starts_with(LOCATORS)).count(), 2);
    assert_eq!(world.keys(LOCATORS).len(), 1, "the first one was refused");
    assert!(found.manifest.initiated > START + 15 * MINUTE);
}

/// A marker or the loss of the locator before an old put's check ends the put, and nothing is deleted.
#[test]
fn a_put_that_another_process_abandoned_writes_no_row() {
    let abandon: [fn(&mut World, &str, &str); 3] = [
        |world, locator, _| world.set_versions(locator, Vec::new()),
        |world, locator, _| world.put(&locator.replace(".000000.", ".000001."), b"{}"),
        |world, _, vid| world.put(&format!("{CATALOGUE}vm/disk/{vid}.-s"), b"{}"),
    ];
    for abandon in abandon {
        let (mut world, vault) = (World::new(), vault(&[]));
        let mut done = false;
        world.hook(move |world, request| {
            if request.operation == "UploadPart" {
                world.unix_ms += 10 * MINUTE;
            }
            if request.operation == "CompleteMultipartUpload" && !std::mem::replace(&mut done, true) {
                let locator = world.keys(LOCATORS).remove(0);
                let vid = locator.rsplit('/').next().unwrap().split('.').next().unwrap().to_owned();
                abandon(world, &locator, &vid);
            }
        });
        let e = world.run(&mut put(&vault, None, 1), &large()).unwrap_err();
        assert_eq!(e.code(), Code::Abandoned, "{e}");
        assert!(world.keys(CATALOGUE).iter().all(|key| key.ends_with(".-s")));
        assert_eq!(world.versions("vm/disk").len(), 1, "sweep cleans, not the writer");
    }
}

#[test]
pub(super) fn a_complete_without_an_answer_is_settled_by_the_object_itself() {
    for fault in [Fault::LostAfter, Fault::ErrorIn200] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.fault("CompleteMultipartUpload", "", fault);
        let found = stored(&mut world, &vault, &large(), 1);
        assert!(world.operations().contains(&"HeadObject"), "the second Complete met NoSuchUpload");
        assert_eq!(world.versions("vm/disk").len(), 1);
        assert_eq!(found.manifest.extents[0].version_id.as_deref(), Some(&*world.versions("vm/disk")[0].id));
        assert!(!world.operations().contains(&"AbortMultipartUpload"));
    }
}

#[test]
fn a_late_attempt_that_changes_an_etag_does_not_prevent_complete() {
    for (is_other, operations) in [
        (false, &["CompleteMultipartUpload", "ListParts", "CompleteMultipartUpload", "PutObject"][..]),
        (true, &["CompleteMultipartUpload", "ListParts"]),
    ] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.hook(move |world, request| {
            let is_first = !world.operations().contains(&"CompleteMultipartUpload");
            if request.operation == "CompleteMultipartUpload" && is_first {
                world.late_part(2, |bytes| bytes[0] ^= u8::from(is_other));
            }
        });
        let result = world.run(&mut put(&vault, None, 1), &large());
        let sent = world.operations();
        let complete = sent.iter().position(|op| *op == "CompleteMultipartUpload").unwrap();
        assert_eq!(sent[complete..], *operations);
        match result {
            Ok(_) => assert!(!is_other && world.body("vm/disk") == large()),
            Err(e) => {
                assert!(is_other && e.code() == Code::Damaged && e.message().contains("part 2"), "{e}");
                assert!(world.keys(CATALOGUE).is_empty(), "nothing is listed");
            }
        }
    }
}

#[test]
pub(super) fn a_complete_with_an_unknown_outcome_can_be_retried() {
    let (mut world, vault) = (World::new(), vault(NO_RETRIES));
    world.fault("CompleteMultipartUpload", "", Fault::LostBefore);
    let mut machine = put(&vault, None, 1);
    let bytes = large();
    let e = world.run(&mut machine, &bytes).unwrap_err();
    assert_eq!(e.code(), Code::OutcomeUnknown, "{e}");
    assert!(!world.operations().contains(&"AbortMultipartUpload"), "never after Complete was sent");
    machine.handle(crate::time::Now { unix_ms: world.unix_ms, mono_ms: (world.unix_ms - START) as u64 }, Input::Retry);
    assert!(world.run(&mut machine, &bytes).is_ok());
    assert_eq!(world.versions("vm/disk").len(), 1);
}

/// A writer that may not read cannot see whether its Complete took effect: the error names the permission.
#[test]
fn a_complete_that_cannot_be_settled_without_a_permission_names_it() {
    let refusal = || Fault::Refused(403, "AccessDenied");
    for (denied, says) in [
        (&["HeadObject", "ListObjectVersions"][..], "s3:GetObject on arn:aws:s3:::bkt/*"),
        (&["ListObjectVersions"], "s3:ListBucketVersions on arn:aws:s3:::bkt"),
    ] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.fault("CompleteMultipartUpload", "", Fault::LostAfter);
        denied.iter().for_each(|operation| world.fault(operation, "", refusal()));
        // Somebody else's object is the newest.
        world.hook(|world, request| {
            if request.operation == "HeadObject" {
                world.put_as("vm/disk", b"other", "x");
            }
        });
        let e = world.run(&mut put(&vault, None, 1), &large()).unwrap_err();
        assert_eq!(e.code(), Code::OutcomeUnknown, "{e}");
        assert!(e.message().contains("looking for it failed") && e.hint().contains(says), "{e}");
        assert!(e.hint().contains("Call commit again"), "{e}");
    }
    let (mut world, vault) = (World::new(), vault(&[]));
    world.fault("CompleteMultipartUpload", "", Fault::Refused(400, "InvalidPart"));
    world.fault("ListParts", "", refusal());
    let e = world.run(&mut put(&vault, None, 1), &large()).unwrap_err();
    assert!(e.code() == Code::OutcomeUnknown && e.hint().contains("s3:ListMultipartUploadParts"), "{e}");
}

/// A version id in metadata proves nothing, and neither does a size: the bytes must be those that this run sent.
#[test]
fn another_object_under_the_key_does_not_settle_a_complete() {
    for of_this_vid in [false, true] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.fault("CompleteMultipartUpload", "", Fault::Refused(404, "NoSuchUpload"));
        world.hook(move |world, request| {
            if request.operation == "HeadObject" {
                let locator = world.keys(LOCATORS).remove(0);
                let vid =
                    if of_this_vid { locator.rsplit('/').next().unwrap().split('.').next().unwrap() } else { "x" };
                let mut other = large();
                other[7] ^= 1;
                world.put_as("vm/disk", &other, vid);
            }
        });
        let e = world.run(&mut put(&vault, None, 1), &large()).unwrap_err();
        assert_eq!(e.code(), Code::OutcomeUnknown);
        assert!(world.keys(CATALOGUE).is_empty());
    }
}

#[test]
pub(super) fn a_row_with_an_unknown_outcome_can_be_retried() {
    let (mut world, vault) = (World::new(), vault(NO_RETRIES));
    world.fault("PutObject", CATALOGUE, Fault::LostAfter);
    let mut machine = put(&vault, None, 1);
    assert_eq!(world.run(&mut machine, b"x").unwrap_err().code(), Code::OutcomeUnknown);
    machine.handle(crate::time::Now { unix_ms: world.unix_ms, mono_ms: (world.unix_ms - START) as u64 }, Input::Retry);
    let found = world.run(&mut machine, b"x").unwrap();
    assert_eq!(world.keys(CATALOGUE), [found.manifest.key]);
}

/// The row may exist, its date has passed, and the store does not answer when the row is looked for.
#[test]
fn a_row_that_was_stored_before_its_date_passed_is_found_by_the_next_check() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.fault("PutObject", CATALOGUE, Fault::LostAfter);
    let mut attempts = 0;
    world.hook(move |world, request| {
        attempts += u32::from(request.url.contains("/cat/") && request.operation == "PutObject");
        if attempts == 2 {
            world.unix_ms += 16 * MINUTE;
            attempts += 1;
        }
    });
    let found = world.run(&mut put(&vault, None, 1), b"x").unwrap();
    assert_eq!(world.keys(CATALOGUE), [&*found.manifest.key]);
    assert_eq!(world.versions(&found.manifest.key).len(), 1);
}

#[test]
fn a_row_that_cannot_be_checked_stays_unknown() {
    let (mut world, vault) = (World::new(), vault(NO_RETRIES));
    world.fault("PutObject", CATALOGUE, Fault::LostAfter);
    let mut is_first = true;
    world.hook(move |world, request| {
        if request.url.contains("/cat/") && request.operation == "PutObject" && std::mem::take(&mut is_first) {
            world.unix_ms += 16 * MINUTE;
            world.fault("ListObjectsV2", "", Fault::LostBefore);
        }
    });
    let mut machine = put(&vault, None, 1);
    assert_eq!(world.run(&mut machine, b"x").unwrap_err().code(), Code::OutcomeUnknown);
    machine.handle(world.now(), Input::Retry);
    let found = world.run(&mut machine, b"x").unwrap();
    assert_eq!(world.keys(CATALOGUE), [found.manifest.key]);
}

/// A request that fails once, before or after it took effect, is retried, and the backup is complete.
#[test]
pub(super) fn every_request_may_fail_once() {
    for operation in [
        "GetBucketVersioning",
        "ListObjectsV2",
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    ] {
        for fault in
            [Fault::LostBefore, Fault::LostAfter, Fault::Refused(503, "SlowDown"), Fault::Refused(500, "InternalError")]
        {
            for bytes in [b"small".to_vec(), large()] {
                let (mut world, vault) = (World::new(), vault(&[]));
                world.fault(operation, "", fault);
                let found = stored(&mut world, &vault, &bytes, 1);
                let id = found.manifest.extents[0].version_id.clone().unwrap();
                let object = world.versions("vm/disk").iter().find(|object| object.id == id).unwrap();
                assert_eq!(object.content(), Some(&bytes), "{operation} {fault:?}");
                assert_eq!(world.keys(CATALOGUE).len(), 1, "{operation} {fault:?}");
            }
        }
    }
}

/// A persistent refusal is the put's error, and nothing is listed.
#[test]
pub(super) fn every_request_may_be_refused() {
    for (operation, large_only) in
        [("ListObjectsV2", false), ("PutObject", false), ("CreateMultipartUpload", true), ("UploadPart", true)]
    {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.fault(operation, "", Fault::Refused(403, "AccessDenied"));
        let bytes = if large_only { large() } else { b"x".to_vec() };
        let e = world.run(&mut put(&vault, None, 1), &bytes).unwrap_err();
        assert_eq!((e.code(), e.operation()), (Code::AccessDenied, operation));
        assert!(world.keys(CATALOGUE).is_empty());
        assert_eq!(world.open_uploads(), 0, "{operation}");
    }
}

#[test]
pub(super) fn a_cancel_at_any_request_leaves_nothing_listed_and_no_upload() {
    for operation in ["GetBucketVersioning", "ListObjectsV2", "PutObject", "CreateMultipartUpload", "UploadPart"] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.fault(operation, "", Fault::Cancelled);
        let e = world.run(&mut put(&vault, None, 1), &large()).unwrap_err();
        assert_eq!(e.code(), Code::Cancelled, "{operation}");
        assert!(world.keys(CATALOGUE).is_empty() && world.open_uploads() == 0, "{operation}");
    }
}

/// A put that its caller cancels while this request is in flight.
struct Stopped {
    inner: Put,
    operation: &'static str,
    part_of_url: &'static str,
    in_flight: bool,
}

impl Machine for Stopped {
    type Done = Found;

    fn handle(&mut self, now: crate::time::Now, input: Input<'_>) {
        if std::mem::take(&mut self.in_flight) {
            self.inner.handle(now, Input::Cancel);
        }
        self.inner.handle(now, input);
    }

    fn poll(&mut self, now: crate::time::Now) -> Output<Found> {
        let output = self.inner.poll(now);
        if let Output::Send(request) = &output {
            self.in_flight = request.operation == self.operation && request.url.contains(self.part_of_url);
        }
        output
    }
}

#[test]
fn a_put_that_is_stopped_too_late_says_that_it_is_stored() {
    for (operation, part_of_url) in [("CompleteMultipartUpload", ""), ("PutObject", CATALOGUE)] {
        let (mut world, vault) = (World::new(), vault(&[]));
        let mut stopped = Stopped { inner: put(&vault, None, 1), operation, part_of_url, in_flight: false };
        let found = world.run(&mut stopped, &large()).unwrap();
        let [event] = &world.events[..] else { panic!("{operation}: {:?}", world.events) };
        let vid = found.row.vid;
        let said = format!("vm/disk was complete before the put could be stopped, and is stored as version {vid}");
        assert_eq!(event.to_string(), said, "{operation}");
        world.events.clear();
        stored(&mut world, &vault, b"x", 2);
        assert_eq!(world.events, [], "nobody stopped this one");
    }
}

#[test]
fn a_bucket_without_versioning_is_refused_before_anything_is_written() {
    for versioning in [Versioning::Suspended, Versioning::Off] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.set_versioning(versioning);
        let e = world.run(&mut put(&vault, None, 1), b"x").unwrap_err();
        assert_eq!(e.code(), Code::Versioning);
        assert!(world.keys("").is_empty());
    }
    let (mut world, vault) = (World::new(), vault(&[]));
    world.fault("GetBucketVersioning", "", Fault::Refused(501, "VersioningNotConfigured"));
    let e = world.run(&mut put(&vault, None, 1), b"x").unwrap_err();
    assert_eq!(e.code(), Code::Versioning, "a store that has none");
}

#[test]
fn keys_that_may_not_read_the_versioning_learn_it_from_the_first_reply() {
    let denied = |versioning| {
        let mut world = World::new();
        world.set_versioning(versioning);
        world.fault("GetBucketVersioning", "", Fault::Refused(403, "AccessDenied"));
        (world, vault(&[]))
    };
    let (mut world, vault) = denied(Versioning::Enabled);
    stored(&mut world, &vault, b"1", 1);
    world.log.clear();
    stored(&mut world, &vault, b"2", 2);
    assert_eq!(world.operations()[0], "ListObjectsV2", "it is known now: {:?}", world.operations());
    assert_eq!(world.versions("vm/disk").len(), 2);
    for versioning in [Versioning::Suspended, Versioning::Off] {
        let (mut world, vault) = denied(versioning);
        let e = world.run(&mut put(&vault, None, 1), &large()).unwrap_err();
        assert_eq!((e.code(), e.hint()), (Code::Versioning, "Enable versioning on the bucket."));
        assert_eq!((world.keys("vm"), world.open_uploads()), (vec![], 0), "no data was sent");
        assert!(world.keys(CATALOGUE).is_empty());
    }
}

#[test]
pub(super) fn version_ids_stay_in_order_after_the_clock_went_back() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let first = stored(&mut world, &vault, b"1", 1);
    world.unix_ms -= 1_000;
    world.hook(|world, _| world.unix_ms -= 20);
    let second = stored(&mut world, &vault, b"2", 1);
    let vids = [&second, &first].map(|found| Vid::parse(&found.row.vid).unwrap());
    assert!(vids[0] < vids[1], "newest first: {vids:?}");
    assert_eq!(vids[0].unix_ms(), vids[1].unix_ms() + 1);
    assert!(second.manifest.recorded < first.manifest.recorded, "recorded times are never bumped");
}

#[test]
fn a_version_from_the_future_stops_the_put() {
    let (mut world, vault) = (World::new(), vault(&[]));
    put_row(&mut world, &vault, Vid::new(START + 62 * MINUTE, [0; 10]), Kind::Full);
    let e = world.run(&mut put(&vault, None, 1), b"x").unwrap_err();
    assert_eq!(e.code(), Code::FutureVersion);
}

#[test]
pub(super) fn a_parent_must_be_live() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let full = Vid::parse(&stored(&mut world, &vault, b"full", 1).row.vid).unwrap();
    let inc = world.run(&mut put(&vault, Some(full), 2), b"inc").unwrap();
    assert_eq!((inc.manifest.kind, inc.manifest.parent), (Kind::Inc, Some(full.to_string())));
    let missing = Vid::new(START - 1, [0; 10]);
    assert_eq!(world.run(&mut put(&vault, Some(missing), 3), b"x").unwrap_err().code(), Code::BadParent);
    put_row(&mut world, &vault, missing, Kind::Del);
    let e = world.run(&mut put(&vault, Some(missing), 3), b"x").unwrap_err();
    assert_eq!(e.code(), Code::BadParent, "a record that the backup was deleted is no parent");
    put_marker(&mut world, &vault, full, Mark::Deleted);
    assert_eq!(world.run(&mut put(&vault, Some(full), 4), b"x").unwrap_err().code(), Code::BadParent);
}

/// A marker may be the last entry of a page, and the row that it hides the first of the next one.
#[test]
pub(super) fn a_deleted_parent_is_refused_wherever_a_page_of_the_listing_ends() {
    for max_page in 1..=3 {
        let mut world = World::with(Rules { max_page, ..Rules::default() });
        let vault = vault(&[]);
        let full = Vid::parse(&stored(&mut world, &vault, b"full", 1).row.vid).unwrap();
        stored(&mut world, &vault, b"newer", 2);
        world.run(&mut put(&vault, Some(full), 3), b"inc").unwrap();
        let marker = marker::Marker::new(&vault.id, &name(), full, Mark::Deleted);
        world.put(&marker.key, &marker.to_object(vault.signing_key()));
        let e = world.run(&mut put(&vault, Some(full), 4), b"inc").unwrap_err();
        assert_eq!(e.code(), Code::BadParent, "pages of {max_page}");
    }
}

#[test]
fn a_parent_is_found_on_any_page_and_looked_for_no_further_than_its_place() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let full = Vid::parse(&stored(&mut world, &vault, b"full", 1).row.vid).unwrap();
    for n in 1..=1_000 {
        put_row(&mut world, &vault, Vid::new(full.unix_ms() + n, [0; 10]), Kind::Full);
    }
    world.unix_ms += MINUTE;
    let lists = |world: &World| world.log.iter().filter(|(operation, ..)| *operation == "ListObjectsV2").count();
    world.log.clear();
    world.run(&mut put(&vault, Some(full), 2), b"inc").unwrap();
    assert_eq!(lists(&world), 2);
    world.log.clear();
    world.run(&mut put(&vault, None, 3), b"x").unwrap();
    assert_eq!(lists(&world), 1, "the newest version is on the first page");
}

#[test]
fn a_client_whose_clock_is_an_hour_off_learns_the_stores_clock() {
    for off in [-60 * MINUTE, 60 * MINUTE] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.client_off_ms = off;
        // The first request is refused; the clock is learned from the answer's Date, and the request is sent again.
        let found = stored(&mut world, &vault, b"x", 1);
        assert_eq!(world.operations()[..2], ["GetBucketVersioning", "GetBucketVersioning"]);
        assert!((found.manifest.initiated - world.unix_ms).abs() < MINUTE);
    }
}

/// Supplies parts and sends them without answers until the machine waits. Returns the highest part number requested.
fn fill_window(world: &mut World, machine: &mut Put, sent: &mut Vec<(u32, RequestId)>) -> u32 {
    let mut asked = 0;
    loop {
        match machine.poll(world.now()) {
            Output::Send(request) => match request.body {
                Body::Part(part) => sent.push((part.number, request.id)),
                _ => world.send(machine, &request, &[]),
            },
            Output::NeedPart(PartRequest { number, length, .. }) => {
                assert!(asked == 0 || number == asked + 1, "each number once, in order");
                asked = number;
                let digest = digest(b"");
                machine.handle(
                    world.now(),
                    Input::PartReady { number, length, digest: Some(digest), last: false, salt: None },
                );
            }
            Output::Wait(_) => return asked,
            Output::Start(_) | Output::ReleasePart(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn no_part_is_sent_more_than_the_window_ahead_of_the_oldest_unfinished_one() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let (mut machine, mut sent) = (put(&vault, None, 1), Vec::new());
    let answer = |world: &World, machine: &mut Put, sent: &[(u32, RequestId)], number: u32| {
        let id = sent.iter().find(|(n, _)| *n == number).unwrap().1;
        let head = ReplyHead { status: 200, headers: vec![("etag".into(), "\"e\"".into())] };
        machine.handle(world.now(), Input::Head { id, head });
        machine.handle(world.now(), Input::End { id });
    };
    assert_eq!(fill_window(&mut world, &mut machine, &mut sent), WINDOW);
    assert_eq!(sent.len() as u32, WINDOW);
    answer(&world, &mut machine, &sent, 2);
    assert_eq!(fill_window(&mut world, &mut machine, &mut sent), 0, "part 1 is not finished");
    answer(&world, &mut machine, &sent, 1);
    assert_eq!(fill_window(&mut world, &mut machine, &mut sent), WINDOW + 2);
}

/// Every input in every state that a put goes through: ignored or taken, never a panic, and the put still ends.
#[test]
fn inputs_that_do_not_fit_are_ignored() {
    use crate::http::TransportFailure;
    let strays = || -> Vec<Input<'static>> {
        let id = RequestId(9_999);
        let digest = digest(b"");
        vec![
            Input::Head { id, head: ReplyHead { status: 200, headers: vec![] } },
            Input::Body { id, bytes: b"x" },
            Input::End { id },
            Input::RangeEnd { id, length: 0, digest },
            Input::RangeConsumed { index: 7 },
            Input::Failed {
                id,
                failure: TransportFailure { code: Code::TimedOut, maybe_sent: true, detail: String::new() },
            },
            Input::Retry,
        ]
    };
    struct Strayed<M> {
        inner: M,
        strays: fn() -> Vec<Input<'static>>,
    }
    impl<M: Machine> Machine for Strayed<M> {
        type Done = M::Done;
        fn handle(&mut self, now: crate::time::Now, input: Input<'_>) {
            (self.strays)().into_iter().for_each(|stray| self.inner.handle(now, stray));
            self.inner.handle(now, input);
        }
        fn poll(&mut self, now: crate::time::Now) -> Output<M::Done> {
            let output = self.inner.poll(now);
            if !matches!(output, Output::Done(_)) {
                (self.strays)().into_iter().for_each(|stray| self.inner.handle(now, stray));
            }
            output
        }
    }
    for bytes in [b"small".to_vec(), large()] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.fault("CompleteMultipartUpload", "", Fault::LostAfter);
        let mut machine = Strayed { inner: put(&vault, None, 1), strays };
        let found = world.run(&mut machine, &bytes).unwrap();
        let mut machine = Strayed { inner: Find::new(vault.clone(), name(), Selector::Latest, None, 1), strays };
        assert_eq!(world.run(&mut machine, &[]).unwrap().row, found.row);
        let mut machine = Strayed {
            inner: Read::new(vault.clone(), Arc::new(found.manifest), ReadRequest::default(), 1).unwrap(),
            strays,
        };
        world.run(&mut machine, &[]).unwrap();
    }
}

#[test]
fn an_outage_that_outlasts_the_date_of_a_request_ends_no_put() {
    for (operation, key) in [("PutObject", "_s3vault/1/cat"), ("PutObject", "_s3vault/1/loc"), ("PutObject", "vm/disk")]
    {
        let (mut world, vault) = (World::new(), vault(&[("retry_time", "3600")]));
        let mut since = None;
        world.hook(move |world, request| {
            let is_hit = request.operation == operation && request.url.contains(&key.replace("_s3vault/1/", ""));
            if is_hit && since.is_none() {
                since = Some(world.unix_ms);
            }
            if since.is_some_and(|since| world.unix_ms < since + 20 * MINUTE) {
                world.fault(request.operation, "", Fault::LostBefore);
            }
        });
        world.run(&mut put(&vault, None, 1), b"small").unwrap_or_else(|e| panic!("{key}: {e:?}"));
        assert_eq!(world.keys("_s3vault/1/cat").len(), 1, "{key}");
        assert!(world.unix_ms > START + 20 * MINUTE, "{key}");
    }
}
