//! The locator that is sent beside the first LIST: what it saves, and every way in which the LIST decides against it.

use super::super::objects::{CATALOGUE, LOCATORS};
use super::super::*;
use super::world::*;
use crate::Code;
use crate::http::Request;
use crate::machine::{Input, Machine, Output};
use crate::time::amz_date;
use crate::transfer::checkpoint::Checkpoint;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A vault that has a version, as a process sees it that has opened it.
fn opened() -> (World, Arc<Vault>) {
    let mut world = World::new();
    stored(&mut world, &vault(&[]), b"first", 1);
    let vault = vault(&[]);
    world.run(&mut Open::new(vault.clone(), 1), &[]).unwrap();
    world.unix_ms += MINUTE;
    world.log.clear();
    (world, vault)
}

fn names(requests: &[Request]) -> Vec<&'static str> {
    requests.iter().map(|request| request.operation).collect()
}

fn locators(world: &World) -> usize {
    world.keys(LOCATORS).len()
}

#[test]
fn a_small_backup_takes_three_round_trips_one_list_and_three_puts() {
    let (mut world, vault) = opened();
    let mut machine = put(&vault, None, 2);
    let mut rounds = Vec::new();
    let found = loop {
        let (requests, done) = round(&mut world, &mut machine, b"x");
        if let Some(done) = done {
            break done.unwrap();
        }
        requests.iter().for_each(|request| world.send(&mut machine, request, b"x"));
        rounds.push(requests);
    };
    let seen: Vec<_> = rounds.iter().map(|requests| names(requests)).collect();
    assert_eq!(seen, [&["ListObjectsV2", "PutObject"][..], &["PutObject"], &["PutObject"]]);
    let url = |round: usize, n: usize| rounds[round][n].url.as_str();
    assert!(url(0, 1).contains("/_s3vault/1/loc/") && url(1, 0).ends_with("/vm/disk"), "{rounds:?}");
    assert!(url(2, 0).contains("/_s3vault/1/cat/") && locators(&world) == 2);
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row.vid, found.row.vid);
}

#[test]
fn an_incremental_within_the_millisecond_of_its_parent_gives_no_locator_up() {
    let (mut world, vault) = opened();
    let full = stored(&mut world, &vault, b"full", 2);
    let parent = Vid::parse(&full.manifest.vid).unwrap();
    // As if no time had passed.
    world.unix_ms = parent.unix_ms() - 1;
    let inc = world.run(&mut put(&vault, Some(parent), 3), b"changes").unwrap();
    let times = [&full, &inc].map(|version| Vid::parse(&version.manifest.vid).unwrap().unix_ms());
    assert_eq!(times[1], times[0] + 1);
    assert_eq!(locators(&world), 3, "and none that nothing names, which would keep the full until it is swept");
}

#[test]
fn locator_data_and_row_are_signed_at_times_that_the_stores_clock_had_passed_before_the_list() {
    for off in [-30 * MINUTE, -400, 0, 400, 30 * MINUTE] {
        let mut world = World::new();
        world.client_off_ms = off;
        stored(&mut world, &vault(&[]), b"first", 1);
        let vault = vault(&[]);
        world.run(&mut Open::new(vault.clone(), 1), &[]).unwrap();
        world.log.clear();
        let listed = world.unix_ms;
        stored(&mut world, &vault, b"x", 2);
        let puts = world.log.iter().filter(|(operation, ..)| *operation == "PutObject");
        let dates: Vec<&str> = puts.map(|(_, _, date)| date.as_str()).collect();
        assert!(dates.iter().all(|date| *date <= dates[0] && **date <= *amz_date(listed)), "{off}: {dates:?}");
        assert!(dates[1] == dates[2] && *dates[1] >= *amz_date(listed - 2_000), "{off}: {dates:?}");
        let key = world.keys(LOCATORS).remove(0);
        let (json, _) = vault.open_signed(&vault.bucket("vm"), world.body(&key), &key).unwrap();
        let t0 = locator::Locator::parse(json, &key).unwrap().t0;
        assert!(t0 <= listed && t0 > listed - 2_000, "{off}: {t0} {listed}");
        assert_eq!(amz_date(t0), dates[0]);
    }
}

/// Answers the LIST and the locator in every order, the locator late, lost, or never.
#[test]
fn where_the_list_shows_a_version_that_is_not_older_another_version_id_is_chosen() {
    for (order, newer_by) in [([0, 1], 0), ([1, 0], 0), ([0, 1], 5 * MINUTE), ([1, 0], 5 * MINUTE)] {
        for fault in [None, Some(Fault::LostAfter), Some(Fault::LostBefore)] {
            let (mut world, vault) = opened();
            let newest = Vid::new(world.unix_ms + newer_by, [9; 10]);
            put_row(&mut world, &vault, newest, Kind::Full);
            let mut machine = put(&vault, None, 2);
            let (requests, _) = round(&mut world, &mut machine, b"x");
            if let Some(fault) = fault {
                world.fault("PutObject", LOCATORS, fault);
            }
            order.iter().for_each(|n| world.send(&mut machine, &requests[*n], &[]));
            let found = world.run(&mut machine, b"x").unwrap();
            let vid = Vid::parse(&found.row.vid).unwrap();
            assert!(vid < newest && vid.unix_ms() > newest.unix_ms(), "{order:?} {fault:?}");
            let own = world.keys(LOCATORS).iter().filter(|key| key.contains(&found.row.vid)).count();
            assert_eq!(own, 1, "the version has its locator");
            let latest = find(&mut world, &vault, Selector::Latest).unwrap();
            assert_eq!(latest.row.vid, found.row.vid, "{order:?} {fault:?}");
            assert!(found.manifest.initiated <= world.unix_ms, "recorded times never run ahead");
        }
    }
}

#[test]
fn an_abandoned_version_id_is_in_no_checkpoint_and_in_no_row() {
    let (mut world, vault) = opened();
    let newest = Vid::new(world.unix_ms + MINUTE, [9; 10]);
    put_row(&mut world, &vault, newest, Kind::Full);
    let request = PutRequest { checkpoint: Some(Checkpoint::default()), ..request(None, None, 2) };
    let mut machine = Put::new(vault.clone(), request).unwrap();
    let (requests, _) = round(&mut world, &mut machine, b"x");
    assert!(world.saved.is_empty(), "nothing could be resumed yet");
    requests.iter().for_each(|request| world.send(&mut machine, request, b"x"));
    let found = world.run(&mut machine, b"x").unwrap();
    let (checkpoint, _) = Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap();
    assert_eq!(checkpoint.header.unwrap().vid, found.row.vid);
    assert_eq!((world.keys(CATALOGUE).len(), locators(&world)), (3, 3), "sweep removes the locator that nothing names");
}

#[test]
fn a_put_that_the_list_refuses_leaves_no_data_and_an_unused_checkpoint() {
    let (mut world, vault) = opened();
    let parent = Some(Vid::new(START - 1, [0; 10]));
    let request = PutRequest { checkpoint: Some(Checkpoint::default()), ..request(parent, None, 2) };
    let e = world.run(&mut Put::new(vault.clone(), request).unwrap(), b"x").unwrap_err();
    assert_eq!(e.code(), Code::BadParent);
    assert_eq!((world.versions("vm/disk").len(), world.keys(CATALOGUE).len()), (1, 1));
    assert!(world.saved.is_empty(), "a full backup can be stored with the same checkpoint");
    let future = Vid::new(world.unix_ms + 62 * MINUTE, [0; 10]);
    put_row(&mut world, &vault, future, Kind::Full);
    let e = world.run(&mut put(&vault, None, 3), b"x").unwrap_err();
    assert_eq!(e.code(), Code::FutureVersion);
    assert_eq!(world.versions("vm/disk").len(), 1);
}

#[test]
fn a_locator_that_expired_beside_the_list_is_sent_again_after_another_list() {
    let (mut world, vault) = opened();
    let mut is_late = true;
    world.hook(move |world, request| {
        if request.url.contains("/loc/") && std::mem::take(&mut is_late) {
            world.unix_ms += 16 * MINUTE;
        }
    });
    let before = world.unix_ms;
    let found = stored(&mut world, &vault, b"x", 2);
    let operations = ["ListObjectsV2", "PutObject", "ListObjectsV2", "PutObject", "PutObject", "PutObject"];
    assert_eq!(world.operations(), operations);
    assert!(found.manifest.initiated > before + 15 * MINUTE && locators(&world) == 2, "the first one was refused");
}

#[test]
fn a_locator_that_expired_while_the_list_is_unanswered_does_not_restart_the_list() {
    let (mut world, vault) = opened();
    let mut machine = put(&vault, None, 2);
    let (requests, _) = round(&mut world, &mut machine, b"x");
    world.unix_ms += 16 * MINUTE;
    world.send(&mut machine, &requests[1], &[]);
    let (again, _) = round(&mut world, &mut machine, b"x");
    assert!(again.is_empty(), "it waits for the LIST: {again:?}");
    world.fault("ListObjectsV2", "", Fault::LostBefore);
    world.send(&mut machine, &requests[0], &[]);
    let found = world.run(&mut machine, b"x").unwrap();
    assert_eq!(locators(&world), 2, "the first one was refused");
    assert!(found.manifest.initiated > START + 16 * MINUTE);
}

#[test]
fn the_list_or_the_locator_beside_it_may_fail_once() {
    for (operation, key) in [("ListObjectsV2", ""), ("PutObject", LOCATORS)] {
        for fault in
            [Fault::LostBefore, Fault::LostAfter, Fault::Refused(503, "SlowDown"), Fault::Refused(500, "InternalError")]
        {
            let (mut world, vault) = opened();
            world.fault(operation, key, fault);
            let found = stored(&mut world, &vault, b"x", 2);
            assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row.vid, found.row.vid, "{fault:?}");
            assert_eq!(locators(&world), 2, "{operation} {fault:?}");
        }
    }
}

#[test]
fn a_refusal_of_either_ends_the_put_and_drops_the_other() {
    for (refused, other) in [(0, 1), (1, 0)] {
        for answers_other in [false, true] {
            let (mut world, vault) = opened();
            let mut machine = put(&vault, None, 2);
            let (requests, _) = round(&mut world, &mut machine, b"x");
            if answers_other {
                world.send(&mut machine, &requests[other], &[]);
                // With the LIST answered, the machine waits for the locator.
                assert!(round(&mut world, &mut machine, b"x").0.is_empty());
            }
            world.fault(requests[refused].operation, "", Fault::Refused(403, "AccessDenied"));
            world.send(&mut machine, &requests[refused], &[]);
            if !answers_other {
                let output = machine.poll(world.now());
                assert!(matches!(output, Output::Abandon(id) if id == requests[other].id), "{output:?}");
            }
            assert_eq!(world.run(&mut machine, b"x").unwrap_err().code(), Code::AccessDenied);
            assert_eq!((world.versions("vm/disk").len(), world.keys(CATALOGUE).len()), (1, 1));
        }
    }
}

#[test]
fn a_cancel_drops_both() {
    for with_checkpoint in [false, true] {
        let (mut world, vault) = opened();
        let checkpoint = with_checkpoint.then(Checkpoint::default);
        let mut machine = Put::new(vault, PutRequest { checkpoint, ..request(None, None, 2) }).unwrap();
        let (requests, _) = round(&mut world, &mut machine, b"x");
        machine.handle(world.now(), if with_checkpoint { Input::Suspend } else { Input::Cancel });
        let mut dropped = Vec::new();
        let e = loop {
            match machine.poll(world.now()) {
                Output::Abandon(id) => dropped.push(id),
                Output::Done(result) => break result.unwrap_err(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(e.code(), if with_checkpoint { Code::Suspended } else { Code::Cancelled });
        dropped.sort_by_key(|id| id.0);
        assert_eq!(dropped, requests.iter().map(|request| request.id).collect::<Vec<_>>());
    }
}

#[test]
fn before_the_store_has_answered_its_clock_is_unknown_and_the_list_comes_first() {
    let mut world = World::new();
    world.client_off_ms = 10 * MINUTE;
    stored(&mut world, &vault(&[]), b"first", 1);
    let vault = vault(&[]);
    let place = vault.layout.place("vm");
    place.set_described(true);
    place.set_versioned(true);
    let mut machine = put(&vault, None, 2);
    let (requests, _) = round(&mut world, &mut machine, b"x");
    assert_eq!(names(&requests), ["ListObjectsV2"]);
    world.send(&mut machine, &requests[0], &[]);
    let found = world.run(&mut machine, b"x").unwrap();
    assert!((found.manifest.initiated - world.unix_ms).abs() < 2_000);
}

/// This machine's clock is set between two puts: the version id must not have the time that it showed.
#[test]
fn a_clock_that_was_set_is_noticed_by_the_reply_to_the_list() {
    for off in [-120 * MINUTE, 120 * MINUTE] {
        let (mut world, vault) = opened();
        world.client_off_ms = off;
        let now = world.unix_ms;
        let found = stored(&mut world, &vault, b"x", 2);
        assert!((found.manifest.initiated - now).abs() < 2_000, "{off}: {}", found.manifest.initiated - now);
        let ahead = Vid::parse(&found.row.vid).unwrap().unix_ms() - now;
        assert!(ahead.abs() < 2_000, "{off}: {ahead}");
    }
}
