//! The fixed costs of a vault in round trips: which requests are sent at once, and which wait for others.

use s3_model::Versioning;

use super::super::objects::{CATALOGUE, LOCATORS, VAULT_KEY};
use super::super::*;
use super::world::*;
use crate::Code;
use crate::http::{ReplyHead, Request};
use crate::machine::{Input, Machine, Output};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The requests that a machine sends before anything is answered.
fn at_once<M: Machine>(world: &World, machine: &mut M) -> Vec<Request> {
    let mut requests = Vec::new();
    while let Output::Send(request) = machine.poll(world.now()) {
        requests.push(request);
    }
    requests
}

fn operations(requests: &[Request]) -> Vec<&'static str> {
    requests.iter().map(|request| request.operation).collect()
}

#[test]
fn a_vaults_id_has_32_lower_case_hex_digits() {
    let id = "00112233445566778899aabbccddeeff";
    assert!(is_vault_id(id));
    for other in ["", &id[1..], &format!("{id}0"), &id.to_uppercase(), &id.replace('f', "g")] {
        assert!(!is_vault_id(other), "{other}");
    }
}

#[test]
fn a_vault_opens_in_one_round_trip_and_its_first_put_asks_for_nothing_twice() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let mut open = Open::new(vault.clone(), 1);
    let requests = at_once(&world, &mut open);
    assert_eq!(operations(&requests), ["GetObject", "GetBucketVersioning"]);
    requests.iter().for_each(|request| world.send(&mut open, request, &[]));
    world.run(&mut open, &[]).unwrap();
    world.log.clear();
    stored(&mut world, &vault, b"first", 1);
    assert_eq!(world.operations(), ["PutObject", "ListObjectsV2", "PutObject", "PutObject", "PutObject"]);
    world.log.clear();
    world.run(&mut Open::new(vault.clone(), 1), &[]).unwrap();
    stored(&mut world, &vault, b"second", 2);
    assert_eq!(world.operations(), ["GetObject", "ListObjectsV2", "PutObject", "PutObject", "PutObject"]);
}

#[test]
fn a_vault_opens_where_versioning_cannot_be_read_and_the_put_asks_itself() {
    for fault in [Fault::Refused(403, "AccessDenied"), Fault::Refused(501, "NotImplemented"), Fault::LostBefore] {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.fault("GetBucketVersioning", "", fault);
        world.run(&mut Open::new(vault.clone(), 1), &[]).unwrap();
        stored(&mut world, &vault, b"first", 1);
        assert_eq!(world.versions("vm/disk").len(), 1);
    }
    // Suspended versioning is an error for a put, not for a reader.
    let (mut world, vault) = (World::new(), vault(&[]));
    world.set_versioning(Versioning::Suspended);
    world.run(&mut Open::new(vault.clone(), 1), &[]).unwrap();
    assert_eq!(world.run(&mut put(&vault, None, 1), b"x").unwrap_err().code(), Code::Versioning);
    // A missing answer is not waited for.
    let mut open = Open::new(vault, 1);
    let requests = at_once(&world, &mut open);
    world.send(&mut open, &requests[0], &[]);
    let Output::Wait(Some(until)) = open.poll(world.now()) else { panic!("it waits a little") };
    world.unix_ms = START + until as i64;
    assert!(matches!(open.poll(world.now()), Output::Abandon(id) if id == requests[1].id));
    assert!(matches!(open.poll(world.now()), Output::Done(Ok(()))));
}

#[test]
fn the_description_is_written_beside_the_list_and_everything_else_after_it() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.run(&mut Open::new(vault.clone(), 1), &[]).unwrap();
    for description_first in [true, false] {
        let mut machine = put(&vault, None, 1);
        let mut requests = at_once(&world, &mut machine);
        assert_eq!(operations(&requests), ["PutObject", "ListObjectsV2"]);
        if !description_first {
            requests.reverse();
        }
        world.send(&mut machine, &requests[0], &[]);
        assert!(at_once(&world, &mut machine).is_empty(), "the locator waits for both");
        world.fault(requests[1].operation, "", Fault::Refused(403, "AccessDenied"));
        world.send(&mut machine, &requests[1], &[]);
        assert_eq!(world.run(&mut machine, b"x").unwrap_err().code(), Code::AccessDenied);
        assert!(world.keys(LOCATORS).is_empty(), "nothing of it is there");
        vault.layout.place("vm").set_described(false);
    }
    let mut machine = put(&vault, None, 1);
    let requests = at_once(&world, &mut machine);
    requests.iter().rev().for_each(|request| world.send(&mut machine, request, &[]));
    world.run(&mut machine, b"x").unwrap();
    let keys: Vec<&str> = world.log.iter().rev().take(3).map(|(_, key, _)| key.as_str()).collect();
    assert!(keys[2].starts_with(LOCATORS) && keys[1] == "vm/disk" && keys[0].starts_with(CATALOGUE), "{keys:?}");
}

#[test]
fn a_region_that_two_requests_learn_at_once_is_right_for_both() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let mut open = Open::new(vault.clone(), 1);
    let requests = at_once(&world, &mut open);
    for request in &requests {
        let headers = vec![("x-amz-bucket-region".to_owned(), "eu-west-1".to_owned())];
        let id = request.id;
        open.handle(world.now(), Input::Head { id, head: ReplyHead { status: 301, headers } });
        open.handle(world.now(), Input::End { id });
    }
    world.run(&mut open, &[]).unwrap();
    assert_eq!(world.operations(), ["GetObject", "GetBucketVersioning"]);
}

#[test]
fn a_description_that_is_too_large_is_not_read() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let open = |world: &mut World| world.run(&mut Open::new(vault.clone(), 1), &[]);
    let padded = |size: usize| {
        let mut description = vault.description("vm");
        description.resize(size, b' ');
        description
    };
    world.put(VAULT_KEY, &padded(64 << 10));
    open(&mut world).unwrap();
    world.put(VAULT_KEY, &padded((64 << 10) + 1));
    world.log.clear();
    let e = open(&mut world).unwrap_err();
    assert!(e.code() == Code::Format && e.message().contains("has 65537 bytes, but at most 65536"), "{e}");
    assert!(e.key() == VAULT_KEY && e.hint().contains("who can write to the bucket"), "{e:?}");
    world.fault("GetObject", VAULT_KEY, Fault::Lacks("content-length"));
    let e = open(&mut world).unwrap_err();
    assert!(e.code() == Code::BadReply && e.message().contains("longer than 65536 bytes"), "{e}");
    let reads = world.operations().iter().filter(|operation| **operation == "GetObject").count();
    assert_eq!(reads, 2, "no attempt is repeated");
}
