//! What is the same in all modes, and where the data of each is.

use std::sync::Arc;

use super::super::objects::{CATALOGUE, LOCATORS, VAULT_KEY};
use super::super::*;
use super::world::*;
use super::{protocol, reading, resume};
use crate::profile::{Profile, S3};
use crate::transfer::ReadRequest;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Finds a version and downloads it; its parts are compared with the manifest on the way.
fn restored(world: &mut World, vault: &Arc<Vault>, which: Selector) -> Found {
    let found = find(world, vault, which).unwrap();
    let manifest = Arc::new(found.manifest.clone());
    world.run(&mut Read::new(vault.clone(), manifest, ReadRequest::default(), 1).unwrap(), &[]).unwrap();
    found
}

#[test]
fn a_backup_is_stored_found_and_read_in_every_mode() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault_on(Profile { max_parts: 2, ..S3 }, &[]);
        let full = stored(&mut world, &vault, &large(), 1);
        assert_eq!(full.manifest.extents.len(), 2, "{mode:?}");
        world.unix_ms += MINUTE;
        let parent = Vid::parse(&full.row.vid).unwrap();
        let inc = world.run(&mut put(&vault, Some(parent), 2), b"changed").unwrap();
        for (which, expected) in [
            (Selector::Latest, &inc),
            (Selector::Version(parent), &full),
            (Selector::AsOf(full.row.recorded_ms), &full),
            (Selector::AsOf(inc.row.recorded_ms), &inc),
        ] {
            assert_eq!(restored(&mut world, &vault, which).row, expected.row, "{mode:?}");
        }
        assert_eq!(world.keys(CATALOGUE).len(), 2, "{mode:?}");
        assert_eq!(world.keys(LOCATORS).len(), 2, "{mode:?}");
        assert_eq!(world.keys(VAULT_KEY).len(), 1, "{mode:?}");
    }
}

#[test]
fn native_versions_share_a_key_and_emulated_ones_have_their_own() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let vids = [b"first".as_slice(), b"second"].map(|bytes| {
            world.unix_ms += MINUTE;
            stored(&mut world, &vault, bytes, 1).row.vid
        });
        let expected = match mode.is_native() {
            true => vec!["vm/disk".to_owned()],
            // The newest version id is the least.
            false => vec![format!("vm/disk@{}", vids[1]), format!("vm/disk@{}", vids[0])],
        };
        assert_eq!(world.keys("vm/"), expected, "{mode:?}");
        assert_eq!(world.versions(&expected[0]).len(), 3 - expected.len(), "{mode:?}");
    }
}

#[test]
fn a_container_has_a_bucket_of_its_own_where_the_mode_says_so() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        if mode.is_per_vm() {
            world.create_bucket("VM");
        }
        let vault = world.vault(&[]);
        for container in ["vm", "VM"] {
            let request = PutRequest { name: Name::new(container, "disk").unwrap(), ..request(None, None, 1) };
            world.run(&mut Put::new(vault.clone(), request).unwrap(), b"bytes").unwrap();
        }
        let keys = ["vm", "VM"].map(|container| {
            world.look_at(container);
            world.keys(&format!("{container}/")).len()
        });
        assert_eq!(keys, [1, 1], "{mode:?}");
        assert_eq!(world.bucket_of("vm") != world.bucket_of("VM"), mode.is_per_vm(), "{mode:?}");
        let asked: std::collections::BTreeSet<&String> = world.buckets_asked.iter().collect();
        assert_eq!(asked.len(), if mode.is_per_vm() { 2 } else { 1 }, "{mode:?}");
    }
}

/// What the other files show of one bucket with versioning holds in the other modes, too.
#[test]
fn the_protocols_promises_hold_in_every_mode() {
    let promises: &[fn()] = &[
        protocol::a_cancel_at_any_request_leaves_nothing_listed_and_no_upload,
        protocol::a_parent_must_be_live,
        protocol::a_deleted_parent_is_refused_wherever_a_page_of_the_listing_ends,
        protocol::a_retry_of_a_dated_request_keeps_its_date_and_bytes,
        protocol::a_row_whose_check_has_aged_is_signed_at_a_new_one,
        protocol::a_row_with_an_unknown_outcome_can_be_retried,
        protocol::an_expired_locator_begins_a_new_version,
        protocol::data_that_comes_late_is_signed_at_a_new_check,
        protocol::every_request_may_be_refused,
        protocol::every_object_is_sent_with_a_checksum,
        protocol::locator_data_and_row_carry_the_date_of_the_check,
        protocol::version_ids_stay_in_order_after_the_clock_went_back,
        reading::record_after_store_records_the_end,
        protocol::an_extent_is_signed_at_a_valid_check,
        reading::as_of_finds_the_newest_version_recorded_by_then,
        reading::as_of_finds_a_version_whose_id_runs_ahead,
        reading::a_range_that_breaks_resumes_after_its_last_byte_and_each_byte_is_served_once,
        reading::an_object_that_no_trusted_key_signed_is_not_read,
        resume::complete_and_row_wait_until_the_checkpoint_recorded_them,
        resume::a_version_id_from_the_future_is_not_resumed,
        resume::a_signing_vault_resumes_only_what_its_own_key_wrote,
    ];
    let listings: &[fn()] =
        &[reading::a_marker_hides_its_row_across_a_page_boundary, reading::each_marker_hides_its_own_version];
    for mode in Mode::ALL {
        // There is no listing of a vault with several buckets here.
        let listings = if mode.is_per_vm() { &[] } else { listings };
        for promise in promises.iter().chain(listings) {
            in_mode(mode, *promise);
        }
    }
}
