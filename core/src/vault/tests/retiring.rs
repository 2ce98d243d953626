//! Closed key-encryption keys (KEKs): nobody wraps a data key with one, and one that nothing needs is retired.

use super::rotating::{rotate, vault_with, with};
use super::world::*;
use crate::crypto::keyring::Kek;
use crate::vault::objects::{KEKS, LOCATORS, closed_key};
use crate::vault::*;
use crate::{Code, Error};

const HOUR: i64 = 60 * MINUTE;
/// 2W.
const WAIT: i64 = HOUR;

fn id(number: u8) -> String {
    Kek::new([number; 32], 0).id().to_owned()
}

fn retire(world: &mut World, vault: &Arc<Vault>, number: u8) -> Result<Retired, Error> {
    world.run(&mut Retire::new(vault.clone(), Some("vm"), &id(number), 1)?, &[])
}

/// The owner closes a KEK.
fn close(world: &mut World, vault: &Vault, number: u8) {
    world.put(&closed_key(&id(number)), &closed::Closed::new(&vault.id, &id(number)).to_object(vault.signing_key()));
}

fn looks(world: &World) -> usize {
    // The key of a LIST is its bucket's.
    world.log.iter().filter(|(operation, key, _)| *operation == "ListObjectsV2" && key.is_empty()).count()
}

#[test]
fn a_key_is_retired_once_it_was_closed_for_long_enough_and_nothing_names_it() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
        let vid = Vid::parse(&stored(&mut world, &old, b"bytes", 1).row.vid).unwrap();
        let closed_at = world.unix_ms;
        let first = retire(&mut world, &both, 1).unwrap();
        let until = first.wait_until_ms.unwrap();
        assert!(until >= closed_at + WAIT && until <= closed_at + WAIT + 3_000, "{mode:?}: {first:?}");
        assert_eq!(world.keys(KEKS), [closed_key(&id(1))], "{mode:?}");
        let marker = world.body(&closed_key(&id(1))).to_vec();
        world.unix_ms += WAIT / 2;
        let again = retire(&mut world, &both, 1).unwrap();
        assert!(again.wait_until_ms.unwrap().abs_diff(until) <= 2_000, "{mode:?}: closed once: {again:?}");
        world.unix_ms = until + 1_000;
        let needed = retire(&mut world, &both, 1).unwrap();
        assert_eq!((needed.needed, needed.first), (1, world.keys(LOCATORS)), "{mode:?}: what needs it is named");
        rotate(&mut world, &both);
        assert!(retire(&mut world, &both, 1).unwrap().is_unneeded(), "{mode:?}");
        assert_eq!(world.body(&closed_key(&id(1))), marker, "{mode:?}: the marker stays");
        let new = with(mode, &[2]);
        let found = find(&mut world, &new, Selector::Version(vid)).unwrap();
        let request = crate::transfer::ReadRequest::default();
        world.run(&mut Read::new(new, Arc::new(found.manifest), request, 1).unwrap(), &[]).unwrap();
    }
}

#[test]
fn a_retirement_costs_two_requests_to_close_and_a_page_of_locators_to_look() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
    stored(&mut world, &old, b"bytes", 1);
    world.log.clear();
    retire(&mut world, &both, 1).unwrap();
    assert_eq!(world.operations(), ["ListObjectsV2", "PutObject"]);
    world.log.clear();
    world.unix_ms += WAIT + MINUTE;
    retire(&mut world, &both, 1).unwrap();
    assert_eq!(world.operations(), ["ListObjectsV2", "GetObject", "ListObjectsV2"]);
}

#[test]
fn every_request_of_a_retirement_may_be_its_last() {
    for stop in 0..3 {
        let mode = Mode::Native;
        let mut world = World::mode(mode);
        let both = with(mode, &[1, 2]);
        let mut machine = Retire::new(both.clone(), None, &id(1), 1).unwrap();
        let end = world.log.len() + stop;
        while world.log.len() < end && world.run_until(&mut machine, &[], 1).is_none() {}
        let first = retire(&mut world, &both, 1).unwrap();
        assert!(first.wait_until_ms.is_some(), "{stop}");
        world.unix_ms += WAIT + MINUTE;
        assert!(retire(&mut world, &both, 1).unwrap().is_unneeded(), "{stop}");
    }
}

#[test]
fn the_current_key_and_what_is_no_key_are_not_retired() {
    let mode = Mode::Native;
    let both = with(mode, &[1, 2]);
    let refused = |kek: &str| Retire::new(both.clone(), None, kek, 1).err().unwrap().code();
    assert_eq!(refused(&id(2)), Code::Keyring);
    for kek in ["", "../cat", "0123456789ABCDEF"] {
        assert_eq!(refused(kek), Code::InvalidOption, "{kek}");
    }
}

#[test]
fn a_marker_that_the_owner_did_not_sign_does_not_close_a_key() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let both = with(mode, &[1, 2]);
    for (n, forged) in [closed::Closed::new(&both.id, &id(2)).to_object(None), b"{}".to_vec()].into_iter().enumerate() {
        world.put(&closed_key(&id(2)), &forged);
        let vault = with(mode, &[1, 2]);
        stored(&mut world, &vault, b"bytes", n as u8 + 1);
        world.unix_ms += MINUTE;
    }
    // It is replaced by one that counts.
    world.put(&closed_key(&id(1)), b"{}");
    assert!(retire(&mut world, &both, 1).unwrap().wait_until_ms.is_some());
    world.unix_ms += WAIT + MINUTE;
    assert!(retire(&mut world, &both, 1).unwrap().is_unneeded());
}

#[test]
fn a_put_under_a_closed_key_is_refused_before_it_stores_anything_of_a_version() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let both = with(mode, &[1, 2]);
        stored(&mut world, &both, b"first", 1);
        close(&mut world, &both, 2);
        let before = world.keys("");
        let vault = with(mode, &[1, 2]);
        let e = world.run(&mut put(&vault, None, 2), b"bytes").unwrap_err();
        assert_eq!(e.code(), Code::Keyring, "{mode:?}: {e}");
        assert!(e.message().contains(&id(2)) && e.hint().contains(&id(1)), "{mode:?}: {e:?}");
        assert_eq!(world.keys(""), before, "{mode:?}");
        let other = with(mode, &[2, 1]);
        world.unix_ms += MINUTE;
        world.run(&mut put(&other, None, 3), b"bytes").unwrap();
    }
}

#[test]
fn a_process_looks_at_its_key_once_in_a_while() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let both = with(mode, &[1, 2]);
        stored(&mut world, &both, b"first", 1);
        world.unix_ms += MINUTE;
        world.log.clear();
        stored(&mut world, &both, b"second", 2);
        assert_eq!(world.operations(), ["ListObjectsV2", "PutObject", "PutObject", "PutObject"], "{mode:?}");
        world.unix_ms += WAIT / 2;
        world.log.clear();
        stored(&mut world, &both, b"third", 3);
        assert_eq!(looks(&world), 2, "{mode:?}: the catalogue's and the key's: {:?}", world.log);
        close(&mut world, &both, 2);
        world.unix_ms += WAIT / 2;
        let e = world.run(&mut put(&both, None, 4), b"bytes").unwrap_err();
        assert_eq!(e.code(), Code::Keyring, "{mode:?}");
    }
}

#[test]
fn a_vault_without_data_keys_does_not_look_at_keys() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let plain = vault_with(mode, &[1], &[]);
    close(&mut world, &plain, 1);
    stored(&mut world, &plain, b"bytes", 1);
    assert_eq!(looks(&world), 1);
}

/// The look at the key is sent beside the LIST. Its answer may come first or last, or not at all for a while.
#[test]
fn the_look_at_the_key_may_be_answered_in_any_order_and_may_fail_once() {
    for fault in [None, Some(Fault::LostBefore), Some(Fault::Refused(503, "SlowDown"))] {
        for order in [[0, 1], [1, 0]] {
            let mode = Mode::Native;
            let mut world = World::mode(mode);
            let first = with(mode, &[1, 2]);
            stored(&mut world, &first, b"first", 1);
            let vault = with(mode, &[1, 2]);
            world.unix_ms += MINUTE;
            let mut machine = put(&vault, None, 2);
            let lists = loop {
                let (requests, _) = round(&mut world, &mut machine, b"x");
                if requests.iter().filter(|request| request.operation == "ListObjectsV2").count() == 2 {
                    break requests;
                }
                requests.iter().for_each(|request| world.send(&mut machine, request, b"x"));
            };
            let others = lists.iter().filter(|request| request.operation != "ListObjectsV2");
            others.for_each(|request| world.send(&mut machine, request, b"x"));
            let lists: Vec<_> = lists.iter().filter(|request| request.operation == "ListObjectsV2").collect();
            if let Some(fault) = fault {
                world.fault("ListObjectsV2", "", fault);
            }
            order.iter().for_each(|n| world.send(&mut machine, lists[*n], b"x"));
            world.run(&mut machine, b"x").unwrap();
        }
    }
}
