//! A bucket for each container: what the first put of a container does to its bucket, and in which states it finds it.

use s3_model::{Rules, Versioning as BucketState};

use super::super::objects::{CATALOGUE, LOCATORS, VAULT_KEY};
use super::super::*;
use super::world::*;
use crate::Code;
use crate::machine::{Machine, Output};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NATIVE: &[(&str, &str)] = &[("mode", "bucket-per-vm"), ("bucket_prefix", "vms-"), ("retry_time", "1")];
const EMULATED: &[(&str, &str)] =
    &[("mode", "bucket-per-vm"), ("bucket_prefix", "vms-"), ("per_vm_versioning", "emulated")];
/// The bucket of the container `vm`.
const OWN: &str = "vms-vm-lphjr5z7h3";

const PUT: [&str; 4] = ["ListObjectsV2", "PutObject", "PutObject", "PutObject"];

/// A store in which the container's bucket is not there yet.
fn world() -> World {
    with(Rules::default())
}

fn with(rules: Rules) -> World {
    let mut world = World::without_buckets(Mode::PerVmNative, rules);
    world.look_at("vm");
    world
}

fn has_bucket(world: &World) -> bool {
    world.model.bucket(OWN).is_ok()
}

fn try_put(world: &mut World, vault: &Arc<Vault>, random: u8) -> Result<Found, Error> {
    world.run(&mut put(vault, None, random), b"x")
}

#[test]
fn the_first_put_of_a_container_creates_its_bucket_and_the_second_asks_for_nothing() {
    let (mut world, vault) = (world(), vault(NATIVE));
    assert_eq!(vault.bucket("vm").name(), OWN);
    try_put(&mut world, &vault, 1).unwrap();
    let look = ["GetObject", "GetBucketVersioning"];
    let create = ["CreateBucket", "PutBucketVersioning", "GetBucketVersioning", "PutObject"];
    assert_eq!(world.operations(), [&look[..], &create, &PUT].concat());
    assert_eq!(world.model.bucket(OWN).unwrap().versioning, BucketState::Enabled);
    let description = String::from_utf8(world.body(VAULT_KEY).to_vec()).unwrap();
    assert!(description.ends_with(",\"layout\":\"bucket-per-vm\",\"container\":\"vm\"}\n"), "{description}");
    world.log.clear();
    try_put(&mut world, &vault, 2).unwrap();
    assert_eq!(world.operations(), PUT);
    assert_eq!((world.versions("vm/disk").len(), world.versions(VAULT_KEY).len()), (2, 1));
    // Another process looks at the bucket once, in one round trip.
    world.log.clear();
    let other = super::world::vault(NATIVE);
    let (at_once, _) = round(&mut world, &mut put(&other, None, 3), b"x");
    assert_eq!(at_once.iter().map(|request| request.operation).collect::<Vec<_>>(), look);
    world.run(&mut put(&other, None, 4), b"x").unwrap();
    assert_eq!(world.operations(), [&look[..], &PUT].concat());
}

#[test]
fn each_container_has_its_own_bucket() {
    let (mut world, vault) = (world(), vault(NATIVE));
    for container in ["vm", "vm 2"] {
        let request = PutRequest { name: Name::new(container, "disk").unwrap(), ..request(None, None, 1) };
        world.run(&mut Put::new(vault.clone(), request).unwrap(), b"x").unwrap();
        world.look_at(container);
        assert_eq!(world.versions(&format!("{container}/disk")).len(), 1);
        assert_eq!((world.keys(CATALOGUE).len(), world.keys(LOCATORS).len()), (1, 1));
    }
}

#[test]
fn emulated_versions_need_no_versioning_and_none_is_switched_on() {
    let (mut world, vault) = (world(), vault(EMULATED));
    let first = try_put(&mut world, &vault, 1).unwrap();
    let second = try_put(&mut world, &vault, 2).unwrap();
    assert!(!world.operations().contains(&"PutBucketVersioning"));
    assert_eq!(world.model.bucket(OWN).unwrap().versioning, BucketState::Off);
    for found in [first, second] {
        let [extent] = &found.manifest.extents[..] else { panic!("{found:?}") };
        assert_eq!(extent.key, format!("vm/disk@{}", found.row.vid));
        assert_eq!((extent.version_id.clone(), world.body(&extent.key)), (None, &b"x"[..]));
    }
}

#[test]
fn a_bucket_is_created_in_the_region_of_the_settings() {
    let mut world = world();
    let vault = vault(&[NATIVE, &[("region", "eu-west-1")]].concat());
    try_put(&mut world, &vault, 1).unwrap();
    assert_eq!(world.model.bucket(OWN).unwrap().region.as_deref(), Some("eu-west-1"));
}

/// Whichever request of a first put is the last one of its process, the next process completes what is missing.
#[test]
fn a_process_that_stops_while_it_creates_the_bucket_is_followed_by_one_that_ends_the_work() {
    for settings in [NATIVE, EMULATED] {
        for sent in 0..12 {
            let mut world = world();
            let mut machine = put(&vault(settings), None, 1);
            let mut count = 0;
            while count < sent {
                match machine.poll(world.now()) {
                    Output::Send(request) => {
                        count += 1;
                        world.send(&mut machine, &request, b"x");
                    }
                    Output::Done(_) => break,
                    Output::NeedPart(request) => {
                        let (number, digest) = (request.number, Some(crate::checksum::digest(b"x")));
                        let input = crate::Input::PartReady { number, length: 1, digest, last: true, salt: None };
                        machine.handle(world.now(), input);
                    }
                    _ => {}
                }
            }
            world.unix_ms += MINUTE;
            let found = try_put(&mut world, &vault(settings), 2).unwrap();
            let expected = if settings == NATIVE { BucketState::Enabled } else { BucketState::Off };
            assert_eq!(world.model.bucket(OWN).unwrap().versioning, expected, "{sent}");
            assert!(world.keys(CATALOGUE).contains(&found.manifest.key), "{sent}");
        }
    }
}

/// Two first writers: whatever one of them does between two requests of the other.
#[test]
fn two_first_writers_of_a_container_both_store() {
    for settings in [NATIVE, EMULATED] {
        for at in 0..8 {
            let mut world = world();
            let mut count = 0;
            let other = vault(settings);
            world.hook(move |world, _| {
                if count == at {
                    count += 1;
                    try_put(world, &other, 7).unwrap();
                }
                count += 1;
            });
            let found = try_put(&mut world, &vault(settings), 1).unwrap_or_else(|e| panic!("{at}: {e:?}"));
            assert_eq!(world.keys(CATALOGUE).len(), 2, "{at}");
            assert!(world.keys(CATALOGUE).contains(&found.manifest.key));
            let descriptions = world.versions(VAULT_KEY).iter().map(|version| version.content().unwrap().clone());
            let mut descriptions: Vec<Vec<u8>> = descriptions.collect();
            descriptions.dedup();
            assert_eq!(descriptions.len(), 1, "both wrote the same bytes");
        }
    }
}

#[test]
fn every_request_of_the_preparation_may_fail_once() {
    for operation in ["GetObject", "GetBucketVersioning", "CreateBucket", "PutBucketVersioning"] {
        for fault in [Fault::LostBefore, Fault::LostAfter, Fault::Refused(500, "InternalError")] {
            let (mut world, vault) = (world(), vault(NATIVE));
            world.fault(operation, "", fault);
            try_put(&mut world, &vault, 1).unwrap_or_else(|e| panic!("{operation} {fault:?}: {e:?}"));
        }
        let (mut world, vault) = (world(), vault(NATIVE));
        world.fault(operation, "", Fault::Cancelled);
        let e = try_put(&mut world, &vault, 1).unwrap_err();
        assert_eq!(e.code(), Code::Cancelled, "{operation}");
        assert!(!has_bucket(&world) || world.keys("vm").is_empty());
    }
}

#[test]
fn a_bucket_of_another_account_is_refused_by_name() {
    let (mut world, vault) = (world(), vault(NATIVE));
    world.model.foreign_buckets.push(OWN.to_owned());
    let e = try_put(&mut world, &vault, 1).unwrap_err();
    assert!(e.message().starts_with(&format!("bucket {OWN} of container vm ")), "{e}");
    assert!(e.hint().contains("set another bucket_prefix") || e.hint().contains("Set another bucket_prefix"), "{e:?}");
    // A store that says that there is none, until one is to be created.
    world.fault("GetObject", "", Fault::Refused(404, "NoSuchBucket"));
    world.fault("CreateBucket", "", Fault::Refused(409, "BucketAlreadyExists"));
    let e = try_put(&mut world, &vault, 1).unwrap_err();
    assert!(e.message().contains("belongs to another account"), "{e}");
    assert_eq!((e.operation(), e.status()), ("CreateBucket", 409));
}

#[test]
fn the_limit_of_buckets_is_named_with_what_the_vault_has_and_what_helps() {
    let mut world = with(Rules { max_buckets: 3, ..Rules::default() });
    let vault = vault(NATIVE);
    world.model.create_bucket("not-of-the-vault", BucketState::Off, at(START)).unwrap();
    for container in ["one", "two"] {
        let request = PutRequest { name: Name::new(container, "disk").unwrap(), ..request(None, None, 1) };
        world.run(&mut Put::new(vault.clone(), request).unwrap(), b"x").unwrap();
    }
    let e = try_put(&mut world, &vault, 1).unwrap_err();
    let said = "the account's limit of buckets is reached, so there is none for container vm: the vault has 2 buckets, one for each container, and needs 3";
    assert!(e.message().starts_with(said), "{e}");
    assert!(e.hint().contains("mode = single-bucket") && e.hint().contains("higher limit"), "{}", e.hint());
    assert_eq!((e.operation(), e.s3_code()), ("CreateBucket", "TooManyBuckets"));
    // Those who may not list the buckets are told the rest.
    world.fault("ListBuckets", "", Fault::Refused(403, "AccessDenied"));
    let e = try_put(&mut world, &vault, 1).unwrap_err();
    assert!(e.message().contains("the vault needs one for each container"), "{e}");
}

#[test]
fn a_bucket_whose_versioning_does_not_fit_is_refused_before_anything_is_written() {
    for (settings, state, other, hint) in [
        (NATIVE, BucketState::Suspended, EMULATED, "per_vm_versioning = emulated"),
        (NATIVE, BucketState::Off, EMULATED, "per_vm_versioning = emulated"),
        (EMULATED, BucketState::Enabled, NATIVE, "per_vm_versioning = native"),
    ] {
        let mut world = world();
        try_put(&mut world, &vault(other), 1).unwrap();
        world.set_versioning(state);
        let keys = world.keys("");
        let e = try_put(&mut world, &vault(settings), 2).unwrap_err();
        assert_eq!(e.code(), Code::Versioning);
        assert!(e.hint().contains(hint), "{}", e.hint());
        assert_eq!(world.keys(""), keys);
    }
    // A store that has no versioning at all.
    for operation in ["PutBucketVersioning", "GetBucketVersioning"] {
        let (mut world, vault) = (world(), vault(NATIVE));
        world.model.rules.missing.insert(operation, s3_model::Missing::NotImplemented);
        let e = try_put(&mut world, &vault, 1).unwrap_err();
        assert!(e.status() == 501 || e.code() == Code::Versioning, "{e:?}");
        assert!(world.keys("").is_empty());
    }
}

#[test]
fn a_bucket_of_another_container_or_vault_is_refused() {
    for (named, code) in [("other", Code::VaultMismatch), ("", Code::VaultMismatch)] {
        let (mut world, vault) = (world(), vault(NATIVE));
        world.model.create_bucket(OWN, BucketState::Enabled, at(START)).unwrap();
        let text = String::from_utf8(vault.description(named)).unwrap();
        world.put(VAULT_KEY, if named.is_empty() { text.replace(",\"container\":\"\"", "") } else { text }.as_bytes());
        let e = try_put(&mut world, &vault, 1).unwrap_err();
        assert_eq!(e.code(), code, "{e}");
        assert_eq!(world.keys(""), [VAULT_KEY]);
    }
    let (mut world, vault) = (world(), vault(NATIVE));
    world.model.create_bucket(OWN, BucketState::Enabled, at(START)).unwrap();
    world.put(VAULT_KEY, &vault.description("vm"));
    let other = super::world::vault(&[NATIVE, &[("vault_id", "00112233445566778899aabbccddeeff")]].concat());
    assert_eq!(try_put(&mut world, &other, 1).unwrap_err().code(), Code::VaultMismatch);
    try_put(&mut world, &vault, 1).unwrap();
}

#[test]
fn keys_that_may_not_ask_for_the_versioning_learn_it_from_the_first_reply() {
    let (mut world, vault) = (world(), vault(NATIVE));
    world.model.create_bucket(OWN, BucketState::Enabled, at(START)).unwrap();
    world.put(VAULT_KEY, &vault.description("vm"));
    world.fault("GetBucketVersioning", "", Fault::Refused(403, "AccessDenied"));
    try_put(&mut world, &vault, 1).unwrap();
    world.log.clear();
    try_put(&mut world, &vault, 2).unwrap();
    assert_eq!(world.operations(), PUT);
}
