//! Whether the store encrypts with the vault's keys (SSE-C) is tried before the first backup, and what is wrong is named.

use s3_model::{DefaultRetention, LockMode, ObjectLock, Rules, SseC};

use super::super::objects::{PROBES, VAULT_KEY};
use super::super::*;
use super::world::*;
use crate::machine::Event;
use crate::{Code, Error};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The bytes of the backups.
const SECRET: &[u8] = b"the bytes of a backup";

fn on(sse_c: SseC) -> World {
    World::with(Rules { sse_c, ..Rules::default() })
}

fn backup(world: &mut World, vault: &Arc<Vault>, random: u8) -> Result<Found, Error> {
    world.run(&mut put(vault, None, random), SECRET)
}

/// The first backup in a store is refused, and leaves nothing.
fn refused(world: &mut World) -> Error {
    let vault = vault(SSE_C);
    let e = backup(world, &vault, 1).unwrap_err();
    assert_eq!(world.keys(""), [""; 0], "{e}");
    assert!(!world.operations().contains(&"CreateMultipartUpload") && world.events.is_empty(), "{:?}", world.events);
    e
}

/// The operations for the trial.
fn trial(world: &World) -> Vec<&'static str> {
    let of_probe = |(_, key, _): &&(&'static str, String, String)| key.starts_with(PROBES);
    world.log.iter().filter(of_probe).map(|(operation, ..)| *operation).collect()
}

/// Runs a test with vaults that are encrypted with SSE-C.
fn with_sse_c(test: fn()) {
    with_settings(SSE_C, test);
}

#[test]
fn a_store_that_works_is_tried_once_in_each_bucket_with_four_requests() {
    with_sse_c(|| {
        for mode in Mode::ALL {
            in_mode(mode, || {
                let (mut world, vault) = (World::new(), vault(&[]));
                backup(&mut world, &vault, 1).unwrap();
                assert_eq!(trial(&world), ["PutObject", "GetObject", "GetObject", "DeleteObject"]);
                let first = world.operations();
                let before = first.iter().position(|operation| *operation == "PutObject").unwrap();
                assert!(!first[..before].contains(&"ListObjectsV2"), "it comes first: {first:?}");
                world.log.clear();
                backup(&mut world, &vault, 2).unwrap();
                assert_eq!(trial(&world), [""; 0]);
                assert_eq!((world.keys(PROBES), world.events.len()), (vec![], 0));
                assert!(world.keys("").iter().all(|key| world.versions(key).iter().all(|v| v.object.is_some())));
            });
        }
    });
}

#[test]
fn the_object_is_read_with_and_without_its_key_at_the_same_time() {
    with_sse_c(|| {
        let (mut world, vault) = (World::new(), vault(&[]));
        let mut put = put(&vault, None, 1);
        let mut rounds = Vec::new();
        while rounds.len() < 4 {
            let (requests, _) = round(&mut world, &mut put, SECRET);
            rounds.push(requests.iter().map(|request| request.operation).collect::<Vec<_>>());
            requests.iter().for_each(|request| world.send(&mut put, request, SECRET));
        }
        let rounds: Vec<String> = rounds.iter().map(|round| round.join(" ")).collect();
        assert_eq!(rounds, ["GetBucketVersioning", "PutObject", "GetObject GetObject", "DeleteObject"]);
    });
}

#[test]
fn without_sse_c_nothing_is_tried() {
    for encryption in ["none", "sse-s3", "sse-kms"] {
        let mut world = World::new();
        backup(&mut world, &vault(&[("encryption", encryption)]), 1).unwrap();
        assert_eq!(trial(&world), [""; 0], "{encryption}");
    }
}

#[test]
fn a_store_that_ignores_the_key_is_refused() {
    with_sse_c(|| {
        for (sse_c, says) in [(SseC::Ignored, "accepted"), (SseC::Feigned, "confirmed")] {
            for mode in Mode::ALL {
                let mut world = World::mode_with(mode, Rules { sse_c, ..Rules::default() });
                let vault = world.vault(SSE_C);
                let e = backup(&mut world, &vault, 1).unwrap_err();
                assert!(e.message().contains("keeps the data in the clear") && e.message().contains(says), "{e}");
                assert!(e.code() == Code::InvalidOption && e.hint().contains("encryption = envelope"), "{e}");
                let left = world.keys("");
                assert!(left.iter().all(|key| key == VAULT_KEY), "{mode:?}: {left:?}");
            }
        }
    });
}

#[test]
fn a_bucket_that_blocks_sse_c_is_named_with_the_command_that_allows_it() {
    with_sse_c(|| {
        let mut world = on(SseC::Blocked);
        let e = refused(&mut world);
        assert_eq!((e.code(), e.status()), (Code::AccessDenied, 403));
        assert!(e.message().contains("blocks it: its BlockedEncryptionTypes has SSE-C"), "{e}");
        assert!(e.hint().contains("s3:PutEncryptionConfiguration on arn:aws:s3:::bkt"), "{}", e.hint());
        let command = "aws s3api put-bucket-encryption --bucket bkt --server-side-encryption-configuration \
                       '{\"Rules\":[{\"ApplyServerSideEncryptionByDefault\":{\"SSEAlgorithm\":\"AES256\"},\
                       \"BlockedEncryptionTypes\":{\"EncryptionType\":[\"NONE\"]},\"BucketKeyEnabled\":false}]}'";
        assert!(e.hint().contains(command), "{}", e.hint());
        assert_eq!(trial(&world), ["PutObject"], "nothing was stored without encryption");
    });
}

#[test]
fn where_the_configuration_may_not_be_read_the_same_object_without_a_key_tells() {
    with_sse_c(|| {
        let mut world = on(SseC::Blocked);
        world.fault("GetBucketEncryption", "", Fault::Refused(403, "AccessDenied"));
        let e = refused(&mut world);
        assert!(e.message().contains("accepts the same object without one"), "{e}");
        assert!(e.hint().contains("put-bucket-encryption") && e.hint().contains("replaces"), "{}", e.hint());
        assert_eq!(trial(&world), ["PutObject", "PutObject", "DeleteObject"]);
    });
}

#[test]
fn a_permission_that_is_missing_is_not_a_block() {
    with_sse_c(|| {
        let mut world = World::new();
        world.fault("PutObject", PROBES, Fault::Refused(403, "AccessDenied"));
        world.fault("PutObject", PROBES, Fault::Refused(403, "AccessDenied"));
        let e = refused(&mut world);
        assert!(e.code() == Code::AccessDenied && e.hint().contains("the permission s3:PutObject"), "{e}");
        assert!(!e.message().contains("block"), "{e}");
    });
}

#[test]
fn a_store_without_sse_c_is_named() {
    with_sse_c(|| {
        let e = refused(&mut on(SseC::Unknown));
        assert!(e.code() == Code::InvalidOption && e.message().contains("does not support it"), "{e}");
        assert!(e.message().contains("501 NotImplemented") && e.hint().contains("envelope"), "{e}");
    });
}

#[test]
fn over_plain_http_nothing_is_sent() {
    let (mut world, vault) = (World::new(), vault(&[("encryption", "sse-c")]));
    let e = backup(&mut world, &vault, 1).unwrap_err();
    assert!(e.code() == Code::InvalidOption && e.message().contains("http://"), "{e}");
    assert_eq!((world.operations(), world.keys("")), (vec!["GetBucketVersioning"], vec![]));
}

fn left(world: &World) -> Vec<&Event> {
    world.events.iter().filter(|event| matches!(event, Event::ProbeLeft { .. })).collect()
}

#[test]
fn an_object_that_cannot_be_deleted_is_reported_and_the_backup_is_stored() {
    with_sse_c(|| {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.fault("DeleteObject", PROBES, Fault::Refused(403, "AccessDenied"));
        backup(&mut world, &vault, 1).unwrap();
        let [event] = left(&world)[..] else { panic!("{:?}", world.events) };
        assert!(event.to_string().contains("could not be deleted") && event.to_string().contains(PROBES), "{event}");
        assert_eq!(world.keys(PROBES).len(), 1);
    });
}

#[test]
fn a_sweep_deletes_what_stayed_after_the_grace() {
    const DAY: i64 = 24 * 60 * MINUTE;
    with_sse_c(|| {
        for mode in Mode::ALL {
            let mut world = World::mode(mode);
            let vault = world.vault(&[]);
            world.fault("DeleteObject", PROBES, Fault::Refused(403, "AccessDenied"));
            backup(&mut world, &vault, 1).unwrap();
            let sweep = |world: &mut World, dry_run| {
                let request = JobRequest { container: Some("vm".into()), dry_run, grace_ms: 7 * DAY, seed: 1 };
                world.run(&mut Job::sweep(vault.clone(), request).unwrap(), &[]).unwrap();
                world.keys(PROBES).len()
            };
            world.unix_ms += 6 * DAY;
            assert_eq!(sweep(&mut world, false), 1, "{mode:?}: it is too early");
            world.unix_ms += 2 * DAY;
            assert_eq!(sweep(&mut world, true), 1, "{mode:?}: a dry run deletes nothing");
            assert_eq!(sweep(&mut world, false), 0, "{mode:?}");
        }
    });
}

#[test]
fn a_default_retention_locks_the_object_for_its_time() {
    with_sse_c(|| {
        let (mut world, vault) = (World::new(), vault(&[]));
        let default = Some(DefaultRetention { mode: LockMode::Governance, days: 1 });
        world.model.set_lock("bkt", ObjectLock { default }).unwrap();
        backup(&mut world, &vault, 1).unwrap();
        assert_eq!((left(&world).len(), world.keys(PROBES).len()), (1, 1));
    });
}

#[test]
fn attempts_whose_answer_was_lost_leave_no_version() {
    with_sse_c(|| {
        for mode in Mode::ALL {
            for fault in [Fault::LostAfter, Fault::LostBefore, Fault::Lacks("x-amz-version-id")] {
                let mut world = World::mode(mode);
                let vault = world.vault(SSE_C);
                world.fault("PutObject", PROBES, fault);
                backup(&mut world, &vault, 1).unwrap();
                assert_eq!((world.keys(PROBES), left(&world).len()), (vec![], 0), "{mode:?} {fault:?}");
            }
        }
    });
}

#[test]
fn keys_that_may_not_read_store_a_backup_and_say_what_was_not_tried() {
    with_sse_c(|| {
        let (mut world, vault) = (World::new(), vault(&[]));
        for _ in 0..2 {
            world.fault("GetObject", PROBES, Fault::Refused(403, "AccessDenied"));
        }
        // The look without the key, which tells a wrong key from a missing permission.
        world.hook(|world, request| {
            if request.operation == "GetObject" && request.method == crate::http::Method::Head {
                world.fault("GetObject", PROBES, Fault::Refused(403, "AccessDenied"));
            }
        });
        backup(&mut world, &vault, 1).unwrap();
        let [event] = &world.events[..] else { panic!("{:?}", world.events) };
        assert!(event.to_string().contains("was not tried"), "{event}");
    });
}

#[test]
fn a_store_that_returns_other_bytes_is_refused() {
    with_sse_c(|| {
        let mut world = World::new();
        world.fault("GetObject", PROBES, Fault::Flipped);
        let e = refused(&mut world);
        assert!(e.message().contains("other bytes with the key"), "{e}");
    });
}

#[test]
fn a_put_that_is_cancelled_while_it_tries_ends() {
    with_sse_c(|| {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.fault("GetObject", PROBES, Fault::Cancelled);
        assert_eq!(backup(&mut world, &vault, 1).unwrap_err().code(), Code::Cancelled);
    });
}

#[test]
fn the_object_reveals_no_key_and_no_data() {
    with_sse_c(|| {
        let (mut world, vault) = (World::new(), vault(&[]));
        world.hook(|_, request| {
            if request.url.contains(PROBES) {
                let body = format!("{:?}", request.body);
                assert!(!body.contains("the bytes of a backup"));
                let key = request.headers.iter().find(|(name, _)| name.ends_with("customer-key"));
                let data_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
                assert!(key.is_none_or(|(_, key)| &**key != data_key), "the data key is for data only");
            }
        });
        backup(&mut world, &vault, 1).unwrap();
    });
}
