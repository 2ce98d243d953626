//! Rotation: afterwards only the new key-encryption key (KEK) is needed, in all modes; it may be killed at every request, and
//! run beside others, beside puts and beside reads. Closed and retired KEKs are in `retiring`.

use std::cell::RefCell;
use std::rc::Rc;

use s3_model::{ObjectLock, Retention};

use super::world::*;
use crate::crypto::keyring::{Kek, Keyring};
use crate::machine::Event;
use crate::profile::S3;
use crate::transfer::ReadRequest;
use crate::vault::job::{Job, JobRequest, Report};
use crate::vault::objects::{CATALOGUE, LOCATORS, LocatorKey, closed_key};
use crate::vault::*;
use crate::{Code, Error, Machine};

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const GRACE: i64 = 7 * DAY;
const SSE_C: [(&str, &str); 2] = [("encryption", "sse-c"), ("allow_plain_sse_c", "true")];

fn kek(number: u8) -> Kek {
    Kek::new([number; 32], 0)
}

pub(super) fn id(number: u8) -> String {
    kek(number).id().to_owned()
}

/// A vault whose owner has the KEKs of these numbers, of which the last one is current.
pub(super) fn vault_with(mode: Mode, numbers: &[u8], changes: &[(&str, &str)]) -> Arc<Vault> {
    each_vault_has_its_encryption();
    let mut keyring = Keyring::generate([1; 32]);
    numbers.iter().for_each(|number| keyring.add_kek(kek(*number)));
    keyring.mark_escrowed();
    assert!(numbers.last().is_none_or(|last| keyring.activate(&id(*last)).is_ok()));
    vault_of(S3, &[mode.settings(), changes].concat(), Some(Arc::new(keyring)))
}

/// The same, with the data encrypted by the store.
pub(super) fn with(mode: Mode, numbers: &[u8]) -> Arc<Vault> {
    vault_with(mode, numbers, &SSE_C)
}

pub(super) fn rotation(vault: &Arc<Vault>, dry_run: bool) -> Job {
    let ask = JobRequest { container: Some("vm".into()), dry_run, grace_ms: GRACE, seed: 1 };
    Job::rotate(vault.clone(), ask).unwrap()
}

pub(super) fn rotate(world: &mut World, vault: &Arc<Vault>) -> Report {
    world.events.clear();
    world.run(&mut rotation(vault, false), &[]).unwrap()
}

/// What the last job said: action, version and reason.
pub(super) fn said(world: &World) -> Vec<(String, String, String)> {
    let items = world.events.iter().filter_map(|event| match event {
        Event::Item { json } => Some(serde_json::from_str::<serde_json::Value>(json).unwrap()),
        _ => None,
    });
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    items.map(|item| (text(&item["action"]), text(&item["vid"]), text(&item["reason"]))).collect()
}

fn put_of(vault: &Arc<Vault>, name: &Name, parent: Option<Vid>, random: u8) -> Put {
    Put::new(vault.clone(), PutRequest { name: name.clone(), ..request(parent, None, random) }).unwrap()
}

/// Three backups, one with a name that is hashed; each a full and two incrementals, of which the last is deleted. The first
/// backup is hidden. Returns the versions that are not deleted.
pub(super) fn backups(world: &mut World, vault: &Arc<Vault>) -> Vec<(Name, Vid)> {
    let long = format!("{}/{}", "a".repeat(150), "b".repeat(150));
    let mut versions = Vec::new();
    for (n, path) in ["disk", "other.img", &long].into_iter().enumerate() {
        let name = Name::new("vm", path).unwrap();
        let mut parent = None;
        for random in 0..3 {
            let bytes = [random; 40];
            let found = world.run(&mut put_of(vault, &name, parent, n as u8 * 8 + random), &bytes).unwrap();
            let vid = Vid::parse(&found.row.vid).unwrap();
            parent = Some(vid);
            world.unix_ms += MINUTE;
            if random < 2 {
                versions.push((name.clone(), vid));
            } else {
                let marker = marker::Marker::new(&vault.id, &name, vid, marker::Mark::Deleted);
                world.put(&marker.key, &marker.to_object(vault.signing_key()));
            }
        }
    }
    world.run(&mut Remove::new(vault.clone(), name(), [99; 10], 1), &[]).unwrap();
    versions
}

/// Reads a version whole: its bytes are what was stored.
pub(super) fn read(world: &mut World, vault: &Arc<Vault>, name: &Name, vid: Vid) -> Result<(), Error> {
    let mut find = Find::new(vault.clone(), name.clone(), Selector::Version(vid), None, 1);
    let found = world.run(&mut find, &[])?;
    world.run(&mut Read::new(vault.clone(), Arc::new(found.manifest), ReadRequest::default(), 1).unwrap(), &[])
}

pub(super) fn all_read(world: &mut World, vault: &Arc<Vault>, versions: &[(Name, Vid)], when: &str) {
    for (name, vid) in versions {
        read(world, vault, name, *vid).unwrap_or_else(|e| panic!("{when}: {vid} of {}: {e}", name.path()));
    }
}

/// The locators, in the order of their keys.
pub(super) fn locators(world: &World) -> Vec<LocatorKey> {
    world.keys(LOCATORS).iter().map(|key| LocatorKey::of(key).unwrap()).collect()
}

fn all_under(world: &World, number: u8) -> bool {
    locators(world).iter().all(|locator| locator.kek.as_ref() == Some(&id(number)))
}

/// Runs a machine whose process is killed when it has sent this many requests; `None` if it was.
pub(super) fn run_until_killed<M: Machine>(
    world: &mut World,
    machine: &mut M,
    requests: usize,
) -> Option<Result<M::Done, Error>> {
    let end = world.log.len() + requests;
    while world.log.len() < end {
        if let Some(result) = world.run_until(machine, &[], 1) {
            return Some(result);
        }
    }
    None
}

#[test]
fn after_a_rotation_every_version_is_read_with_the_new_key_alone() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let old = with(mode, &[1]);
        let versions = backups(&mut world, &old);
        let both = with(mode, &[1, 2]);
        let before = world.keys("");
        world.events.clear();
        let dry = world.run(&mut rotation(&both, true), &[]).unwrap();
        let would: Vec<_> = said(&world).into_iter().map(|(action, vid, _)| (action, vid)).collect();
        assert_eq!((dry.rotated, dry.problems, world.keys("")), (9, 0, before), "{mode:?}: a dry run changes nothing");
        let report = rotate(&mut world, &both);
        assert_eq!((report.rotated, report.problems, report.kept), (9, 0, 0), "{mode:?}: {report:?}");
        let did: Vec<_> = said(&world).into_iter().map(|(action, vid, _)| (action, vid)).collect();
        assert_eq!(did.len(), would.len(), "{mode:?}");
        assert!(would.iter().all(|item| did.contains(item)), "{mode:?}: it does what its dry run said");
        assert!(all_under(&world, 2) && locators(&world).len() == 9, "{mode:?}: {:?}", locators(&world));
        assert!(locators(&world).iter().all(|locator| locator.generation == 1), "{mode:?}");
        let new = with(mode, &[2]);
        all_read(&mut world, &new, &versions, &format!("{mode:?}"));
        let (gone, (name, vid)) = (with(mode, &[1]), &versions[0]);
        assert_eq!(read(&mut world, &gone, name, *vid).unwrap_err().code(), Code::WrongKey, "{mode:?}");
        let sent = world.log.len();
        let again = rotate(&mut world, &both);
        assert_eq!((again.rotated, again.kept, again.problems), (0, 9, 0), "{mode:?}: nothing is left to do");
        let operations: Vec<_> = world.log[sent..].iter().map(|(operation, ..)| *operation).collect();
        assert_eq!(operations, ["GetBucketVersioning", "ListObjectsV2", "ListObjectsV2"], "{mode:?}");
    }
}

/// A locator, a row and the data of each version; the data is never asked for.
#[test]
fn a_rotation_costs_three_requests_for_a_version_and_a_few_for_a_backup() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let old = with(mode, &[1]);
        for n in 1..=5 {
            stored(&mut world, &old, &[n; 9], n);
            world.unix_ms += MINUTE;
        }
        let both = with(mode, &[1, 2]);
        let sent = world.log.len();
        assert_eq!(rotate(&mut world, &both).rotated, 5);
        let count = |name: &str| world.log[sent..].iter().filter(|(operation, ..)| *operation == name).count();
        // Two lists of the job; for the backup a look at the key and a list of its locators.
        let of_versions = usize::from(mode.is_native());
        assert_eq!(count("ListObjectsV2") + count("ListObjectVersions"), 2 + 2, "{mode:?}");
        assert_eq!((count("ListObjectVersions"), count("GetBucketVersioning")), (of_versions, 1), "{mode:?}");
        assert_eq!((count("GetObject"), count("PutObject"), count("DeleteObjects")), (2 * 5, 5, 1), "{mode:?}");
        assert_eq!(world.log.len() - sent, 1 + 2 + 3 * 5 + 3, "{mode:?}: {:?}", &world.log[sent..]);
        let is_of_vault = |(_, key, _): &(&str, String, String)| key.is_empty() || key.starts_with("_s3vault/1/loc/");
        assert!(world.log[sent..].iter().all(is_of_vault), "{mode:?}: data and rows are not touched");
    }
}

#[test]
fn every_request_of_a_rotation_may_be_its_last() {
    for mode in Mode::ALL {
        let mut base = World::mode(mode);
        let versions = {
            let old = with(mode, &[1]);
            backups(&mut base, &old)
        };
        let mut stop = 0;
        loop {
            let mut world = base.copy();
            let both = with(mode, &[1, 2]);
            let ended = run_until_killed(&mut world, &mut rotation(&both, false), stop);
            let when = format!("{mode:?}, killed after {stop} requests");
            let reader = with(mode, &[1, 2]);
            all_read(&mut world, &reader, &versions, &when);
            let report = rotate(&mut world, &with(mode, &[1, 2]));
            assert_eq!(report.problems + report.waiting, 0, "{when}: {report:?}");
            assert!(all_under(&world, 2) && locators(&world).len() == 9, "{when}: {:?}", locators(&world));
            let new = with(mode, &[2]);
            all_read(&mut world, &new, &versions, &when);
            if ended.is_some() {
                break;
            }
            stop += 1;
        }
        assert!(stop > 20, "{mode:?}: {stop}");
    }
}

#[test]
fn two_rotations_may_run_side_by_side_under_the_same_key_and_under_different_ones() {
    for (mode, second) in [(Mode::Native, 3), (Mode::Emulated, 2)] {
        let mut base = World::mode(mode);
        let old = with(mode, &[1]);
        let versions: Vec<(Name, Vid)> = (1..=2)
            .map(|n| {
                let found = stored(&mut base, &old, &[n; 9], n);
                base.unix_ms += MINUTE;
                (name(), Vid::parse(&found.row.vid).unwrap())
            })
            .collect();
        // One runs until some request, then the other until some request, then the first to its end, and so on.
        'first: for first_stop in 0.. {
            for second_stop in 0.. {
                let mut world = base.copy();
                let (one, other) = (with(mode, &[1, 2]), with(mode, &[1, 2, second]));
                let (mut a, mut b) = (rotation(&one, false), rotation(&other, false));
                let reader = with(mode, &[1, 2, 3]);
                let when = format!("{mode:?} {second}: {first_stop}, {second_stop}");
                if run_until_killed(&mut world, &mut a, first_stop).is_some() {
                    break 'first;
                }
                let is_over = run_until_killed(&mut world, &mut b, second_stop).is_some();
                world.run(&mut a, &[]).unwrap();
                all_read(&mut world, &reader, &versions, &when);
                if !is_over {
                    world.run(&mut b, &[]).unwrap();
                    all_read(&mut world, &reader, &versions, &when);
                }
                if second == 2 {
                    assert!(all_under(&world, 2) && locators(&world).len() == 2, "{when}: {:?}", locators(&world));
                }
                rotate(&mut world, &other);
                assert!(all_under(&world, second) && locators(&world).len() == 2, "{when}: {:?}", locators(&world));
                if is_over {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_locator_that_does_not_open_is_skipped_for_a_lower_one_and_replaced() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
        let vid = Vid::parse(&stored(&mut world, &old, b"bytes", 1).row.vid).unwrap();
        let forged = LocatorKey { vid, generation: 7, kek: Some(id(2)), parent: None }.key(&name());
        let first = world.body(&world.keys(LOCATORS)[0]).to_vec();
        world.put(&forged, &first);
        read(&mut world, &old, &name(), vid).unwrap();
        assert_eq!(rotate(&mut world, &both).rotated, 1, "{mode:?}");
        let generations: Vec<u32> = locators(&world).iter().map(|locator| locator.generation).collect();
        assert_eq!(generations, [8], "{mode:?}: above all that were there");
        read(&mut world, &with(mode, &[2]), &name(), vid).unwrap();
    }
}

#[test]
fn a_version_of_which_no_locator_opens_is_left_as_it_is_and_said() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let (other, both) = (with(mode, &[4]), with(mode, &[1, 2]));
    stored(&mut world, &other, b"bytes", 1);
    let before = world.keys("");
    let report = rotate(&mut world, &both);
    assert_eq!((report.rotated, report.problems), (0, 1));
    assert!(report.problem_texts[0].contains("no locator opens"), "{:?}", report.problem_texts);
    assert_eq!(world.keys(""), before);
}

#[test]
fn versions_without_a_data_key_stay() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let plain = vault_with(mode, &[1], &[]);
    let vid = stored(&mut world, &plain, b"plain", 1).row.vid;
    world.unix_ms += MINUTE;
    let sealed = stored(&mut world, &with(mode, &[1]), b"sealed", 2).row.vid;
    let report = rotate(&mut world, &with(mode, &[1, 2]));
    assert_eq!((report.rotated, report.kept), (1, 1));
    let items: Vec<_> = said(&world).into_iter().map(|(action, vid, _)| (action, vid)).collect();
    assert_eq!(items, [("keep".into(), vid.clone()), ("rotate".into(), sealed)]);
    read(&mut world, &with(mode, &[2]), &name(), Vid::parse(&vid).unwrap()).unwrap();
}

#[test]
fn a_put_that_has_not_stored_its_row_is_left_to_the_next_rotation() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
    let mut machine = put(&old, None, 1);
    while !world.log.iter().any(|(_, key, _)| key == "vm/disk") {
        assert!(world.run_until(&mut machine, b"bytes", 1).is_none());
    }
    assert_eq!(rotate(&mut world, &both).rotated, 0);
    let vid = Vid::parse(&world.run(&mut machine, b"bytes").unwrap().row.vid).unwrap();
    assert!(all_under(&world, 1));
    assert_eq!(rotate(&mut world, &both).rotated, 1);
    read(&mut world, &with(mode, &[2]), &name(), vid).unwrap();
}

/// The row took effect late and was rotated between the two lists of the put's check.
#[test]
fn a_put_whose_locator_was_rotated_before_it_knew_of_its_row_is_acknowledged() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
        let (late, rotated) = (Rc::new(RefCell::new(None)), Rc::new(RefCell::new(0)));
        let (row, count) = (late.clone(), rotated.clone());
        world.hook(move |world, request| {
            let is_row = request.operation == "PutObject" && request.url.contains("/_s3vault/1/cat/");
            let is_first = is_row && row.borrow().is_none();
            if let (true, crate::http::Body::Bytes(bytes)) = (is_first, &request.body) {
                world.fault("PutObject", CATALOGUE, Fault::LostBefore);
                world.unix_ms += 16 * MINUTE;
                row.replace(Some(bytes.to_vec()));
                return;
            }
            let is_locators = request.operation == "ListObjectsV2" && request.url.contains("prefix=_s3vault%2F1%2Floc");
            if let (true, Some(bytes)) = (is_locators && *count.borrow() == 0, row.borrow().clone()) {
                let json: serde_json::Value =
                    serde_json::from_slice(bytes.split(|b| *b == b'\n').next().unwrap()).unwrap();
                world.put(json["key"].as_str().unwrap(), &bytes);
                *count.borrow_mut() += rotate(world, &both).rotated;
            }
        });
        let found = world.run(&mut put(&old, None, 1), b"bytes").unwrap();
        assert_eq!(*rotated.borrow(), 1, "{mode:?}: {:?}", world.log);
        assert!(all_under(&world, 2), "{mode:?}");
        read(&mut world, &with(mode, &[2]), &name(), Vid::parse(&found.row.vid).unwrap()).unwrap();
    }
}

/// A reader has listed a locator that a rotation then replaces, again and again.
#[test]
fn a_read_survives_rotations_between_its_list_and_its_get() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let old = with(mode, &[1]);
    let vid = Vid::parse(&stored(&mut world, &old, b"bytes", 1).row.vid).unwrap();
    let reader = with(mode, &[1, 2, 3, 4]);
    let rotators: Vec<_> = (2..=4).map(|last| with(mode, &[1, 2, 3, 4][..last])).collect();
    let mut rotators = rotators.into_iter();
    world.hook(move |world, request| {
        if request.operation == "GetObject"
            && request.url.contains("/loc/")
            && let Some(rotator) = rotators.next()
        {
            assert_eq!(rotate(world, &rotator).rotated, 1);
        }
    });
    read(&mut world, &reader, &name(), vid).unwrap();
    assert!(all_under(&world, 4));
}

#[test]
fn a_rotated_version_is_read_by_its_version_id() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
    let found = stored(&mut world, &old, b"bytes", 1);
    rotate(&mut world, &both);
    let version_id = found.manifest.extents[0].version_id.clone().unwrap();
    let asked = Rc::new(RefCell::new(Vec::new()));
    let urls = asked.clone();
    world.hook(move |_, request| urls.borrow_mut().push(request.url.clone()));
    read(&mut world, &with(mode, &[2]), &name(), Vid::parse(&found.row.vid).unwrap()).unwrap();
    let data: Vec<String> = asked.borrow().iter().filter(|url| url.contains("/bkt/vm/disk")).cloned().collect();
    assert!(data.len() == 1 && data[0].ends_with(&format!("versionId={version_id}")), "{data:?}");
}

/// The new locator has the lock of the version, so that it lasts as long as the data; the store refuses to delete the old one.
#[test]
fn in_an_immutable_vault_the_new_locator_is_locked_and_the_old_one_stays_and_is_said() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    world.model.set_lock("bkt", ObjectLock { default: None }).unwrap();
    let ten = [&SSE_C[..], &[("immutable_days", "10")]].concat();
    let (old, both) = (vault_with(mode, &[1], &ten), vault_with(mode, &[1, 2], &ten));
    let vid = Vid::parse(&stored(&mut world, &old, b"bytes", 1).row.vid).unwrap();
    let report = rotate(&mut world, &both);
    assert_eq!((report.waiting, report.rotated, report.problems), (1, 0, 0), "{report:?}");
    let (action, _, why) = said(&world).remove(0);
    assert!(action == "refused" && why.contains("an old locator stays"), "{why}");
    let locks: Vec<Option<Retention>> = world
        .keys(LOCATORS)
        .iter()
        .flat_map(|key| world.versions(key))
        .map(|version| version.object.as_ref().unwrap().attributes.retention)
        .collect();
    assert!(locks.len() == 2 && locks[0].is_some() && locks[0] == locks[1], "{locks:?}");
    read(&mut world, &vault_with(mode, &[2], &ten), &name(), vid).unwrap();
    world.unix_ms += 12 * DAY;
    assert_eq!(rotate(&mut world, &both).rotated, 1, "once the lock has ended, the old one goes");
    assert!(all_under(&world, 2) && locators(&world).len() == 1);
}

/// The store refuses to delete the old locators: that is said, and the next rotation tries again.
#[test]
fn an_old_locator_that_the_store_does_not_delete_is_said() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
    stored(&mut world, &old, b"bytes", 1);
    world.deny_deletes(LOCATORS);
    assert_eq!(rotate(&mut world, &both).waiting, 1);
    let (action, _, why) = said(&world).remove(0);
    assert!(action == "refused" && why.contains("Access Denied"), "{why}");
    assert_eq!(rotate(&mut world, &both).waiting, 1);
    assert_eq!(locators(&world).len(), 2, "no further generation is written");
}

#[test]
fn a_closed_key_stops_a_rotation_before_it_deletes_and_a_forged_marker_does_not() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
        let vid = Vid::parse(&stored(&mut world, &old, b"bytes", 1).row.vid).unwrap();
        let marker = closed::Closed::new(&both.id, &id(2));
        world.put(&closed_key(&id(2)), &marker.to_object(both.signing_key()));
        let e = world.run(&mut rotation(&both, false), &[]).unwrap_err();
        assert_eq!(e.code(), Code::Keyring, "{mode:?}");
        assert!(e.message().contains(&id(2)) && e.hint().contains(&id(1)), "{e:?}");
        assert!(locators(&world).iter().any(|locator| locator.kek == Some(id(1))), "{mode:?}: the old one is there");
        read(&mut world, &with(mode, &[1]), &name(), vid).unwrap();
        // Another key goes above both.
        let three = with(mode, &[1, 2, 3]);
        world.put(&closed_key(&id(3)), &marker.to_object(None));
        assert_eq!(rotate(&mut world, &three).rotated, 1, "{mode:?}");
        assert!(all_under(&world, 3), "{mode:?}: {:?}", locators(&world));
        read(&mut world, &with(mode, &[3]), &name(), vid).unwrap();
    }
}

/// The PUT of a rotation that was killed arrives after the version was removed: the locator is all that there is.
#[test]
fn the_locator_that_a_late_rotation_leaves_of_a_removed_version_is_swept() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
        let kept = Vid::parse(&stored(&mut world, &old, b"kept", 1).row.vid).unwrap();
        world.unix_ms += MINUTE;
        let vid = stored(&mut world, &old, b"bytes", 2).row.vid;
        assert_eq!(rotate(&mut world, &both).rotated, 2);
        let key = world.keys(LOCATORS).into_iter().find(|key| key.contains(&vid)).unwrap();
        let late = world.body(&key).to_vec();
        mark(&mut world, &both, &vid, marker::Mark::Deleted);
        let sweep = |world: &mut World| {
            world.unix_ms += GRACE + HOUR;
            let ask = JobRequest { container: Some("vm".into()), dry_run: false, grace_ms: GRACE, seed: 1 };
            world.run(&mut Job::sweep(both.clone(), ask).unwrap(), &[]).unwrap()
        };
        assert_eq!(sweep(&mut world).freed, 1, "{mode:?}");
        world.put(&key, &late);
        assert_eq!(rotate(&mut world, &both).problems, 0, "{mode:?}: a rotation leaves it alone");
        assert_eq!((sweep(&mut world).suspected, sweep(&mut world).freed), (1, 1), "{mode:?}");
        assert!(world.keys("").iter().all(|key| !key.contains(&vid)), "{mode:?}: {:?}", world.keys(""));
        read(&mut world, &with(mode, &[2]), &name(), kept).unwrap();
    }
}

#[test]
fn a_vault_whose_keyring_has_no_key_encryption_key_cannot_rotate() {
    let mode = Mode::Native;
    let ask = JobRequest { container: None, dry_run: false, grace_ms: GRACE, seed: 1 };
    let e = Job::rotate(vault_with(mode, &[], &[]), ask).err().unwrap();
    assert!(e.code() == Code::Keyring && !e.hint().is_empty(), "{e:?}");
}
