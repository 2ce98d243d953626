//! Re-keying: afterwards the old data key and the old key-encryption key (KEK) open nothing, in all modes; it may be killed
//! at every request, and run beside others, beside rotations, reads, deletions and sweeps.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use s3_model::{ObjectLock, Retention};

use super::rotating::{
    all_read, backups, id, locators, read, rotate, rotation, run_until_killed, said, vault_with, with,
};
use super::world::*;
use crate::crypto::external::token::Token;
use crate::crypto::keyring::Keyring;
use crate::http::{Body, ReplyBody, Request};
use crate::profile::{Profile, S3};
use crate::vault::job::{Job, JobRequest, RekeyRequest, Report};
use crate::vault::objects::{CATALOGUE, LOCATORS, LocatorKey, closed_key};
use crate::vault::*;
use crate::{Code, Error};

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const GRACE: i64 = 7 * DAY;
const SSE_C: [(&str, &str); 2] = [("encryption", "sse-c"), ("allow_plain_sse_c", "true")];

fn ask(dry_run: bool) -> JobRequest {
    JobRequest { container: Some("vm".into()), dry_run, grace_ms: GRACE, seed: 1 }
}

fn rekeying(vault: &Arc<Vault>) -> Job {
    Job::rekey(vault.clone(), ask(false), RekeyRequest::default()).unwrap()
}

/// One whose data may pass through this machine.
fn sending(vault: &Arc<Vault>) -> Job {
    let request = RekeyRequest { through_client: true, ..RekeyRequest::default() };
    Job::rekey(vault.clone(), ask(false), request).unwrap()
}

fn rekey(world: &mut World, vault: &Arc<Vault>) -> Report {
    world.events.clear();
    world.run(&mut rekeying(vault), &[]).unwrap()
}

fn sweep(world: &mut World, vault: &Arc<Vault>) -> Report {
    world.events.clear();
    world.run(&mut Job::sweep(vault.clone(), ask(false)).unwrap(), &[]).unwrap()
}

fn after_grace(world: &mut World) {
    world.unix_ms += GRACE + HOUR;
}

/// A version of these bytes.
fn version(world: &mut World, vault: &Arc<Vault>, bytes: &[u8], random: u8) -> (Name, Vid) {
    let vid = Vid::parse(&stored(world, vault, bytes, random).row.vid).unwrap();
    world.unix_ms += MINUTE;
    (name(), vid)
}

/// Keys of the data.
fn data(world: &World) -> Vec<String> {
    world.keys("vm/")
}

fn is_copy(key: &str) -> bool {
    key.contains(".r065536-")
}

fn generations(world: &World) -> Vec<u32> {
    locators(world).iter().map(|locator| locator.generation).collect()
}

/// The keys that the store encrypts the data with, as their MD5s.
fn encryptions(world: &World) -> BTreeSet<String> {
    let versions = data(world).into_iter().flat_map(|key| world.versions(&key).to_vec());
    versions.map(|version| format!("{:?}", version.object.unwrap().attributes.encryption)).collect()
}

#[test]
fn after_a_rekeying_no_data_is_under_an_old_key_and_every_version_is_read() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let versions = {
            let old = with(mode, &[1]);
            backups(&mut world, &old)
        };
        let (both, before, old) = (with(mode, &[1, 2]), world.keys(""), encryptions(&world));
        let dry = world.run(&mut Job::rekey(both.clone(), ask(true), RekeyRequest::default()).unwrap(), &[]).unwrap();
        assert_eq!((dry.rekeyed, dry.rekeyed_bytes, world.keys("")), (9, 9 * 40, before), "{mode:?}: a dry run");
        let report = rekey(&mut world, &both);
        assert_eq!((report.rekeyed, report.problems, report.kept), (9, 0, 0), "{mode:?}: {:?}", said(&world));
        assert_eq!(report.rekeyed_bytes, 9 * 40, "{mode:?}");
        let new = with(mode, &[2]);
        all_read(&mut world, &new, &versions, &format!("{mode:?}"));
        let wait = rekey(&mut world, &both);
        assert_eq!((wait.rekeyed, wait.waiting, wait.freed), (0, 9, 0), "{mode:?}: readers may read the old data");
        after_grace(&mut world);
        let clear = rekey(&mut world, &both);
        assert_eq!((clear.freed, clear.freed_bytes, clear.kept, clear.problems), (9, 9 * 40, 9, 0), "{mode:?}");
        assert!(data(&world).iter().all(|key| is_copy(key)) && data(&world).len() == 9, "{mode:?}: {:?}", data(&world));
        assert!(generations(&world).iter().all(|g| *g == 65_536) && locators(&world).len() == 9, "{mode:?}");
        assert!(old.is_disjoint(&encryptions(&world)) && encryptions(&world).len() == 9, "{mode:?}");
        all_read(&mut world, &new, &versions, &format!("{mode:?}"));
        let before = world.keys("");
        let again = rekey(&mut world, &both);
        assert_eq!((again.rekeyed, again.kept, again.freed, again.problems), (0, 9, 0, 0), "{mode:?}");
        assert_eq!(world.keys(""), before, "{mode:?}: nothing is left to do");
        // A new current key makes it re-key again; a rotation to it does not.
        let three = with(mode, &[1, 2, 3]);
        assert_eq!(rotate(&mut world, &three).rotated, 9, "{mode:?}");
        assert_eq!(rotate(&mut world, &three).kept, 9, "{mode:?}");
        assert_eq!(rekey(&mut world, &three).rekeyed, 9, "{mode:?}: {:?}", said(&world));
        after_grace(&mut world);
        // A sweep removes it as well, and the three versions that are deleted.
        assert_eq!(sweep(&mut world, &three).freed, 9 + 3, "{mode:?}: {:?}", said(&world));
        assert!(data(&world).iter().all(|key| key.ends_with(&id(3))) && data(&world).len() == 6, "{mode:?}");
        all_read(&mut world, &with(mode, &[3]), &versions, &format!("{mode:?}"));
    }
}

/// Of one extent that the store copies in one request, and whose parts are slices.
#[test]
fn a_rekeying_costs_eight_requests_for_a_small_version_and_a_few_for_a_backup() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let old = with(mode, &[1]);
        for n in 1..=5 {
            version(&mut world, &old, &[n; 9], n);
        }
        let both = with(mode, &[1, 2]);
        let sent = world.log.len();
        assert_eq!(rekey(&mut world, &both).rekeyed, 5);
        let count = |name: &str| world.log[sent..].iter().filter(|(operation, ..)| *operation == name).count();
        // Two lists of the job, and a look at the key for each 16 versions of the backup.
        assert_eq!((count("GetBucketVersioning"), count("ListObjectsV2")), (1, 2 + 1), "{mode:?}");
        // The entry, the locator, the new locator, and one range of the copy.
        assert_eq!((count("GetObject"), count("HeadObject")), (4 * 5, 2 * 5), "{mode:?}");
        assert_eq!((count("CopyObject"), count("PutObject")), (5, 5), "{mode:?}");
        assert_eq!(world.log.len() - sent, 8 * 5 + 4, "{mode:?}: {:?}", &world.log[sent..]);
    }
}

#[test]
fn every_request_of_a_rekeying_may_be_its_last() {
    for mode in Mode::ALL {
        let mut base = World::mode(mode);
        let old = with(mode, &[1]);
        let versions: Vec<_> = (1..=2).map(|n| version(&mut base, &old, &[n; 9], n)).collect();
        let both = with(mode, &[1, 2]);
        let mut stop = 0;
        loop {
            let mut world = base.copy();
            let ended = run_until_killed(&mut world, &mut rekeying(&both), stop);
            let when = format!("{mode:?}, killed after {stop} requests");
            all_read(&mut world, &both, &versions, &when);
            let report = rekey(&mut world, &both);
            assert_eq!(report.problems, 0, "{when}: {report:?}");
            let new = with(mode, &[2]);
            all_read(&mut world, &new, &versions, &when);
            let copies = data(&world).into_iter().filter(|key| is_copy(key));
            let made: usize = copies.map(|key| world.versions(&key).len()).sum();
            assert_eq!(made, 2, "{when}: what was copied is not copied again");
            after_grace(&mut world);
            // The removal is killed as well.
            let mut end = None;
            for stop in 0.. {
                end = run_until_killed(&mut world, &mut Job::sweep(both.clone(), ask(false)).unwrap(), stop);
                all_read(&mut world, &new, &versions, &when);
                if end.is_some() {
                    break;
                }
            }
            assert_eq!(end.unwrap().unwrap().problems, 0, "{when}");
            assert_eq!((data(&world).len(), locators(&world).len()), (2, 2), "{when}: {:?}", data(&world));
            assert!(data(&world).iter().all(|key| is_copy(key)), "{when}: {:?}", data(&world));
            if ended.is_some() {
                break;
            }
            stop += 1;
        }
        assert!(stop > 15, "{mode:?}: {stop}");
    }
}

/// One runs until some request, then the other until some request, then the first to its end, then the other.
fn interleaved(
    mode: Mode,
    first: impl Fn() -> Job,
    second: impl Fn() -> Job,
    keks: &[u8],
    end: impl Fn(&mut World, &[(Name, Vid)], &str),
) {
    let mut base = World::mode(mode);
    let old = with(mode, &[1]);
    let versions = [version(&mut base, &old, b"bytes", 1)];
    let reader = with(mode, keks);
    for first_stop in 0.. {
        for second_stop in 0.. {
            let mut world = base.copy();
            let (mut a, mut b) = (first(), second());
            let when = format!("{mode:?} {keks:?}: {first_stop}, {second_stop}");
            if run_until_killed(&mut world, &mut a, first_stop).is_some() {
                return;
            }
            let is_over = run_until_killed(&mut world, &mut b, second_stop).is_some();
            all_read(&mut world, &reader, &versions, &when);
            world.run(&mut a, &[]).unwrap();
            all_read(&mut world, &reader, &versions, &when);
            if !is_over {
                world.run(&mut b, &[]).unwrap();
            }
            all_read(&mut world, &reader, &versions, &when);
            end(&mut world, &versions, &when);
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn two_rekeyings_may_run_side_by_side_under_the_same_key_and_under_different_ones() {
    for (mode, second) in [(Mode::Native, 3), (Mode::Emulated, 2), (Mode::Native, 2), (Mode::Emulated, 3)] {
        let (one, other) = (with(mode, &[1, 2]), with(mode, &[1, 2, second]));
        let (first, then) = (|| rekeying(&one), || rekeying(&other));
        interleaved(mode, first, then, &[1, 2, 3], |world, versions, when| {
            rekey(world, &other);
            for _ in 0..2 {
                after_grace(world);
                let report = rekey(world, &other);
                assert_eq!(report.problems, 0, "{when}: {:?}", said(world));
                all_read(world, &with(mode, &[second]), versions, when);
            }
            let left = sweep(world, &other);
            assert_eq!(left.problems, 0, "{when}: {:?}", said(world));
            assert_eq!(locators(world).len(), 1, "{when}: {:?}", locators(world));
            let keys = data(world);
            assert!(keys.len() == 1 && keys[0].ends_with(&id(second)), "{when}: {keys:?}");
        });
    }
}

/// A rotation that read the old locator before the re-keying wrote its own puts nothing back, whenever it continues.
#[test]
fn a_rotation_beside_a_rekeying_puts_no_old_data_back() {
    for mode in [Mode::Native, Mode::Emulated] {
        for (rotated, rekeyed) in [(2, 2), (2, 3), (3, 2)] {
            let rotator = with(mode, &[1, 2, 3][..rotated]);
            let both = with(mode, &[1, 2, 3][..rekeyed]);
            let end = |world: &mut World, versions: &[(Name, Vid)], when: &str| {
                let last = with(mode, &[1, 2, 3]);
                rekey(world, &last);
                after_grace(world);
                rekey(world, &last);
                rotate(world, &last);
                after_grace(world);
                rekey(world, &last);
                all_read(world, &with(mode, &[3]), versions, when);
                let keys = data(world);
                assert!(keys.len() == 1 && keys[0].ends_with(&id(3)), "{when}: {keys:?}");
                assert_eq!(locators(world).len(), 1, "{when}: {:?}", locators(world));
            };
            interleaved(mode, || rotation(&rotator, false), || rekeying(&both), &[1, 2, 3], end);
            interleaved(mode, || rekeying(&both), || rotation(&rotator, false), &[1, 2, 3], end);
        }
    }
}

/// The rotation sleeps at each of its requests until the old data is gone.
#[test]
fn a_rotation_that_sleeps_until_the_old_data_is_gone_does_no_harm() {
    for mode in [Mode::Native, Mode::Emulated] {
        for stop in 0.. {
            let mut world = World::mode(mode);
            let old = with(mode, &[1]);
            let versions = [version(&mut world, &old, b"bytes", 1)];
            let (both, when) = (with(mode, &[1, 2]), format!("{mode:?}: {stop}"));
            let mut sleeper = rotation(&both, false);
            let is_over = run_until_killed(&mut world, &mut sleeper, stop).is_some();
            assert_eq!(rekey(&mut world, &both).problems, 0, "{when}");
            after_grace(&mut world);
            assert_eq!(rekey(&mut world, &both).problems, 0, "{when}");
            if is_over {
                break;
            }
            world.run(&mut sleeper, &[]).unwrap();
            all_read(&mut world, &with(mode, &[2]), &versions, &when);
            after_grace(&mut world);
            assert_eq!(rekey(&mut world, &both).problems, 0, "{when}: {:?}", said(&world));
            all_read(&mut world, &with(mode, &[2]), &versions, &when);
            assert_eq!((data(&world).len(), locators(&world).len()), (1, 1), "{when}");
        }
    }
}

/// Before each request of a read, all that a re-keying does happens, until the old data is gone.
#[test]
fn a_read_beside_a_rekeying_ends_with_the_bytes() {
    for mode in Mode::ALL {
        for at in 0..4 {
            let mut world = World::mode(mode);
            let old = with(mode, &[1]);
            let (name, vid) = version(&mut world, &old, b"bytes", 1);
            let both = with(mode, &[1, 2]);
            let (rekeyer, count) = (both.clone(), Rc::new(Cell::new(0)));
            let seen = count.clone();
            world.hook(move |world, _: &Request| {
                seen.set(seen.get() + 1);
                if seen.get() == at + 1 {
                    assert_eq!(rekey(world, &rekeyer).rekeyed, 1);
                    let bucket = world.bucket_of("vm");
                    world.model.age(&bucket, "", std::time::Duration::from_millis((GRACE + HOUR) as u64)).unwrap();
                    assert_eq!(rekey(world, &rekeyer).freed, 1);
                }
            });
            read(&mut world, &both, &name, vid).unwrap_or_else(|e| panic!("{mode:?}, {at}: {e}"));
            assert!(count.get() >= 4, "{mode:?}: the entry, the locator and the data");
        }
    }
}

/// The copy was removed before the locator that names it was stored: the old data is read, and copied again.
#[test]
fn a_locator_whose_copy_is_gone_hides_nothing_and_frees_nothing() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let old = with(mode, &[1]);
        let versions = [version(&mut world, &old, b"bytes", 1)];
        let both = with(mode, &[1, 2]);
        rekey(&mut world, &both);
        let copy = data(&world).into_iter().find(|key| is_copy(key)).unwrap();
        world.set_versions(&copy, Vec::new());
        all_read(&mut world, &both, &versions, &format!("{mode:?}"));
        after_grace(&mut world);
        let report = sweep(&mut world, &both);
        assert_eq!((report.freed, report.problems), (0, 1), "{mode:?}: {:?}", said(&world));
        all_read(&mut world, &both, &versions, &format!("{mode:?}"));
        let report = rekey(&mut world, &both);
        assert_eq!((report.rekeyed, report.freed), (1, 0), "{mode:?}: {:?}", said(&world));
        assert_eq!(generations(&world), [0, 65_536, 131_072], "{mode:?}");
        after_grace(&mut world);
        assert_eq!(rekey(&mut world, &both).freed, 1, "{mode:?}: {:?}", said(&world));
        all_read(&mut world, &with(mode, &[2]), &versions, &format!("{mode:?}"));
        assert_eq!((data(&world).len(), locators(&world).len()), (1, 1), "{mode:?}");
        // Where nothing else has the data, the error names what is missing.
        let copy = data(&world).remove(0);
        world.set_versions(&copy, Vec::new());
        let e = read(&mut world, &both, &name(), versions[0].1).unwrap_err();
        assert!(e.code() == Code::DataMissing && e.message().contains(".r131072-"), "{mode:?}: {e}");
    }
}

#[test]
fn a_copy_that_differs_changes_nothing_and_is_deleted() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let old = with(mode, &[1]);
        let versions = [version(&mut world, &old, b"good", 1), version(&mut world, &old, b"bytes", 2)];
        let (both, before) = (with(mode, &[1, 2]), world.keys(""));
        let (bad, is_done) = (versions[1].1.to_string(), Cell::new(false));
        world.hook(move |world, request| {
            let copy = world.keys("vm/").into_iter().find(|key| is_copy(key) && key.contains(&bad));
            if let Some(copy) = copy.filter(|_| request.operation == "GetObject" && !is_done.replace(true)) {
                world.body_mut(&copy)[0] ^= 1;
            }
        });
        let report = rekey(&mut world, &both);
        assert_eq!((report.rekeyed, report.problems), (1, 1), "{mode:?}: {:?}", said(&world));
        let (_, vid, why) = said(&world).into_iter().find(|(action, ..)| action == "problem").unwrap();
        assert!(vid == versions[1].1.to_string() && why.contains("the copy differs"), "{mode:?}: {why}");
        let new: Vec<_> = world.keys("").into_iter().filter(|key| !before.contains(key)).collect();
        assert!(new.iter().all(|key| key.contains(&versions[0].1.to_string())), "{mode:?}: {new:?}");
        all_read(&mut world, &both, &versions, &format!("{mode:?}"));
        assert_eq!(rekey(&mut world, &both).rekeyed, 1, "{mode:?}: the next run copies it again");
        all_read(&mut world, &with(mode, &[2]), &versions, &format!("{mode:?}"));
    }
}

/// A re-keying that has found a wrong copy sleeps until another run has made it again, and has removed what it replaced.
#[test]
fn a_late_deletion_of_a_copy_that_differs_does_no_harm() {
    for mode in [Mode::Native, Mode::Emulated] {
        let mut base = World::mode(mode);
        let old = with(mode, &[1]);
        let versions = [version(&mut base, &old, b"bytes", 1)];
        let both = with(mode, &[1, 2]);
        for stop in 0.. {
            let (mut world, when) = (base.copy(), format!("{mode:?}: {stop}"));
            let is_done = Cell::new(false);
            world.hook(move |world, request| {
                let copy = world.keys("vm/").into_iter().find(|key| is_copy(key));
                if let Some(copy) = copy.filter(|_| request.operation == "GetObject" && !is_done.replace(true)) {
                    world.body_mut(&copy)[0] ^= 1;
                }
            });
            let mut sleeper = rekeying(&both);
            if run_until_killed(&mut world, &mut sleeper, stop).is_some() {
                assert!(stop > 12, "{when}");
                break;
            }
            let rekeyed = rekey(&mut world, &both).rekeyed + rekey(&mut world, &both).rekeyed;
            assert_eq!(rekeyed, 1, "{when}: {:?}", said(&world));
            after_grace(&mut world);
            assert_eq!(rekey(&mut world, &both).freed, 1, "{when}: {:?}", said(&world));
            let _ = world.run(&mut sleeper, &[]);
            all_read(&mut world, &both, &versions, &when);
        }
    }
}

#[test]
fn a_rekeyed_version_is_deleted_with_its_copies() {
    for mode in Mode::ALL {
        for is_cleared in [false, true] {
            let mut world = World::mode(mode);
            let old = with(mode, &[1]);
            let kept = version(&mut world, &old, b"kept", 1);
            let (_, vid) = version(&mut world, &old, b"bytes", 2);
            let both = with(mode, &[1, 2]);
            rekey(&mut world, &both);
            if is_cleared {
                after_grace(&mut world);
                rekey(&mut world, &both);
            }
            mark(&mut world, &both, &vid.to_string(), marker::Mark::Deleted);
            world.unix_ms += HOUR;
            for stop in 0.. {
                let mut job = Job::sweep(both.clone(), ask(false)).unwrap();
                let ended = run_until_killed(&mut world, &mut job, stop);
                all_read(&mut world, &both, std::slice::from_ref(&kept), &format!("{mode:?} {is_cleared}"));
                if ended.is_some() {
                    break;
                }
            }
            let left: Vec<_> = world.keys("").into_iter().filter(|key| key.contains(&vid.to_string())).collect();
            assert!(left.is_empty(), "{mode:?} {is_cleared}: {left:?}");
            let plain = if mode.is_native() && !is_cleared { world.versions("vm/disk").len() } else { 1 };
            assert_eq!(plain, 1, "{mode:?} {is_cleared}: its data at the plain key is gone, the other's is not");
        }
    }
}

/// A version is deleted and removed while it is re-keyed: nothing of it is left.
#[test]
fn a_version_that_is_removed_beside_a_rekeying_leaves_nothing() {
    for mode in [Mode::Native, Mode::Emulated] {
        for stop in 0.. {
            let mut world = World::mode(mode);
            let old = with(mode, &[1]);
            let kept = [version(&mut world, &old, b"kept", 1)];
            let (_, vid) = version(&mut world, &old, b"bytes", 2);
            let (both, when) = (with(mode, &[1, 2]), format!("{mode:?}: {stop}"));
            let mut sleeper = rekeying(&both);
            let is_over = run_until_killed(&mut world, &mut sleeper, stop).is_some();
            mark(&mut world, &both, &vid.to_string(), marker::Mark::Deleted);
            world.unix_ms += HOUR;
            assert_eq!(sweep(&mut world, &both).problems, 0, "{when}");
            if is_over {
                break;
            }
            let _ = world.run(&mut sleeper, &[]);
            for _ in 0..3 {
                after_grace(&mut world);
                sweep(&mut world, &both);
            }
            all_read(&mut world, &both, &kept, &when);
            let left: Vec<_> = world.keys("").into_iter().filter(|key| key.contains(&vid.to_string())).collect();
            assert!(left.is_empty(), "{when}: {left:?}");
        }
    }
}

/// The same where the copy is made in parts, by the store or through this machine: an upload that was created after the
/// version was removed is aborted.
#[test]
fn a_large_version_that_is_removed_beside_a_rekeying_leaves_no_upload() {
    let bytes = large();
    for (mode, is_sent) in
        [(Mode::Native, false), (Mode::Native, true), (Mode::Emulated, false), (Mode::Emulated, true)]
    {
        let mut base = World::mode(mode);
        let (_, vid) = version(&mut base, &with(mode, &[1]), &bytes, 1);
        let both = if is_sent { on_store(mode, WITHOUT_COPIES) } else { in_parts(mode) };
        for stop in 0.. {
            let (mut world, when) = (base.copy(), format!("{mode:?} {is_sent}: {stop}"));
            let mut sleeper = if is_sent { sending(&both) } else { rekeying(&both) };
            if run_until_killed(&mut world, &mut sleeper, stop).is_some() {
                break;
            }
            mark(&mut world, &both, &vid.to_string(), marker::Mark::Deleted);
            world.unix_ms += HOUR;
            sweep(&mut world, &both);
            let _ = world.run(&mut sleeper, &[]);
            for _ in 0..3 {
                after_grace(&mut world);
                sweep(&mut world, &both);
            }
            let left: Vec<_> = world.keys("").into_iter().filter(|key| key.contains(&vid.to_string())).collect();
            assert_eq!((left, world.open_uploads()), (Vec::new(), 0), "{when}");
        }
    }
}

/// A version is re-keyed while a sweep that removes it sleeps: the copy is not left without a locator.
#[test]
fn a_version_that_is_rekeyed_beside_its_removal_leaves_nothing() {
    for mode in [Mode::Native, Mode::Emulated] {
        let mut base = World::mode(mode);
        let (_, vid) = version(&mut base, &with(mode, &[1]), b"bytes", 1);
        let both = with(mode, &[1, 2]);
        mark(&mut base, &both, &vid.to_string(), marker::Mark::Deleted);
        base.unix_ms += HOUR;
        for stop in 0.. {
            let (mut world, when) = (base.copy(), format!("{mode:?}: {stop}"));
            let mut sleeper = Job::sweep(both.clone(), ask(false)).unwrap();
            if run_until_killed(&mut world, &mut sleeper, stop).is_some() {
                assert!(stop > 12, "{when}");
                break;
            }
            assert_eq!(rekey(&mut world, &both).problems, 0, "{when}: {:?}", said(&world));
            world.run(&mut sleeper, &[]).unwrap();
            world.unix_ms += HOUR;
            sweep(&mut world, &both);
            let left: Vec<_> = world.keys("").into_iter().filter(|key| key.contains(&vid.to_string())).collect();
            assert!(left.is_empty(), "{when}: {left:?}");
        }
    }
}

#[test]
fn a_sweep_frees_the_copy_of_a_rekeying_that_wrote_no_locator() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let old = with(mode, &[1]);
        let versions = [version(&mut world, &old, b"bytes", 1)];
        let (both, before) = (with(mode, &[1, 2]), world.keys(""));
        let mut machine = rekeying(&both);
        while !world.log.iter().any(|(operation, ..)| *operation == "CopyObject") {
            assert!(world.run_until(&mut machine, &[], 1).is_none());
        }
        assert_eq!(sweep(&mut world, &both).freed, 0, "{mode:?}: it may be continued");
        assert_eq!(data(&world).len(), 2, "{mode:?}");
        after_grace(&mut world);
        let report = sweep(&mut world, &both);
        assert_eq!((report.freed, report.freed_bytes, report.problems), (1, 5, 0), "{mode:?}: {:?}", said(&world));
        assert_eq!(world.keys(""), before, "{mode:?}");
        all_read(&mut world, &with(mode, &[1]), &versions, &format!("{mode:?}"));
        // The re-keying wakes up. Its locator cannot take effect any more, or does no harm.
        let _ = world.run(&mut machine, &[]);
        all_read(&mut world, &both, &versions, &format!("{mode:?}"));
    }
}

/// A vault on a store that copies 6 MiB at most, where a second key-encryption key is current.
fn in_parts(mode: Mode) -> Arc<Vault> {
    on_store(mode, Profile { max_part_size: 6 << 20, ..S3 })
}

/// The same on a store with this profile.
fn on_store(mode: Mode, profile: Profile) -> Arc<Vault> {
    let mut keyring = Keyring::generate([1; 32]);
    [1, 2].into_iter().for_each(|n| keyring.add_kek(crate::crypto::keyring::Kek::new([n; 32], 0)));
    keyring.mark_escrowed();
    keyring.activate(&id(2)).unwrap();
    vault_of(profile, &[mode.settings(), &SSE_C].concat(), Some(Arc::new(keyring)))
}

/// A large object is copied in parts, which a run after one that was killed continues.
#[test]
fn a_large_version_is_copied_in_parts_and_may_be_killed_at_every_request() {
    let bytes = large();
    for mode in [Mode::Native, Mode::Emulated] {
        let mut base = World::mode(mode);
        let old = with(mode, &[1]);
        let versions = [version(&mut base, &old, &bytes, 1)];
        let both = in_parts(mode);
        let mut parts = 0;
        for stop in (5..40).step_by(4) {
            let mut world = base.copy();
            let ended = run_until_killed(&mut world, &mut rekeying(&both), stop).is_some();
            let when = format!("{mode:?}: {stop}");
            let report = rekey(&mut world, &both);
            assert_eq!((report.rekeyed + u64::from(ended), report.problems), (1, 0), "{when}: {:?}", said(&world));
            let operations = world.operations();
            let count = |name: &str| operations.iter().filter(|operation| **operation == name).count();
            assert_eq!((count("CopyObject"), world.open_uploads()), (0, 0), "{when}: {operations:?}");
            assert!(count("UploadPartCopy") <= 4 + 4, "{when}: parts that are there are not copied again");
            assert_eq!(count("CreateMultipartUpload"), 1, "{when}: the upload is continued");
            parts = parts.max(count("UploadPartCopy"));
            all_read(&mut world, &with(mode, &[2]), &versions, &when);
            if ended {
                break;
            }
        }
        assert!(parts >= 4, "{mode:?}: {parts}");
    }
}

/// The copy and the new locator are locked as the data was, also where an incremental has extended its lock; and a later
/// incremental extends theirs.
#[test]
fn in_an_immutable_vault_the_copy_is_locked_as_the_data_is() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    world.model.set_lock("bkt", ObjectLock { default: None }).unwrap();
    let locked = |numbers: &[u8], days| vault_with(mode, numbers, &[&SSE_C[..], &[("immutable_days", days)]].concat());
    let (old, both) = (locked(&[1], "10"), locked(&[1, 2], "10"));
    let full = version(&mut world, &old, b"full", 1);
    let longer = locked(&[1], "20");
    let inc = world.run(&mut put(&longer, Some(full.1), 2), b"inc").unwrap();
    let of = |world: &World, part: &str| -> Vec<Option<Retention>> {
        let own = format!("{}.", full.1);
        let keys = world.keys("").into_iter().filter(|key| key.contains(part) && key.contains(&own));
        let versions = keys.flat_map(|key| world.versions(&key).to_vec());
        versions.map(|version| version.object.unwrap().attributes.retention).collect()
    };
    let plain = world.versions("vm/disk")[0].object.as_ref().unwrap().attributes.retention;
    assert_eq!(rekey(&mut world, &both).rekeyed, 2, "{:?}", said(&world));
    assert_eq!(of(&world, ".r065536-"), [plain], "the copy");
    assert_eq!(of(&world, LOCATORS), [plain, plain], "the old locator and the new one");
    assert!(plain.is_some_and(|lock| lock.until > at(world.unix_ms + 15 * DAY)), "{plain:?}");
    // The old data is locked: it stays, and that is said.
    after_grace(&mut world);
    let report = rekey(&mut world, &both);
    assert_eq!((report.freed, report.problems, report.waiting), (0, 0, 4), "{:?}", said(&world));
    let (versions, new) = ([full.clone(), (name(), Vid::parse(&inc.row.vid).unwrap())], locked(&[2], "10"));
    all_read(&mut world, &new, &versions, "locked");
    let longest = locked(&[2], "90");
    world.run(&mut put(&longest, Some(versions[1].1), 3), b"inc").unwrap();
    for part in [".r065536-", LOCATORS, CATALOGUE] {
        let all = of(&world, part);
        assert!(all.iter().all(|lock| lock.unwrap().until > at(world.unix_ms + 80 * DAY)), "{part}: {all:?}");
    }
    world.unix_ms += 120 * DAY;
    assert_eq!(rekey(&mut world, &both).freed, 2, "once the locks have ended, it goes: {:?}", said(&world));
    all_read(&mut world, &new, &versions, "unlocked");
    // The old data is gone, and a put on top of it extends the locks of the copies.
    world.run(&mut put(&longest, Some(versions[1].1), 4), b"inc").unwrap();
    let copies = of(&world, ".r065536-");
    assert!(copies.iter().all(|lock| lock.unwrap().until > at(world.unix_ms + 80 * DAY)), "{copies:?}");
}

#[test]
fn one_backup_or_one_version_is_rekeyed_alone() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let old = with(mode, &[1]);
    let versions = backups(&mut world, &old);
    let both = with(mode, &[1, 2]);
    let (name, vid) = &versions[2];
    let mut run = |path: Option<&str>, version| {
        let request = RekeyRequest { path: path.map(str::to_owned), version, ..RekeyRequest::default() };
        let mut job = Job::rekey(both.clone(), ask(false), request).unwrap();
        world.run(&mut job, &[]).unwrap()
    };
    assert_eq!(run(Some(name.path()), Some(*vid)).rekeyed, 1);
    let report = run(Some(name.path()), None);
    assert_eq!((report.rekeyed, report.waiting, report.backups), (2, 1, 1));
    assert_eq!(run(Some("other"), None).rekeyed, 0);
    assert_eq!(run(None, None).rekeyed, 6);
    let refused = |container: Option<&str>, path: Option<&str>, version| {
        let ask = JobRequest { container: container.map(str::to_owned), ..ask(false) };
        let request = RekeyRequest { path: path.map(str::to_owned), version, ..RekeyRequest::default() };
        Job::rekey(both.clone(), ask, request).err().unwrap().code()
    };
    assert_eq!(refused(None, Some("disk"), None), Code::InvalidOption);
    assert_eq!(refused(Some("vm"), None, Some(*vid)), Code::InvalidOption);
}

#[test]
fn versions_that_have_no_key_or_that_were_encrypted_here_stay() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let plain = vault_with(mode, &[1], &[]);
    let first = stored(&mut world, &plain, b"plain", 1).row.vid;
    world.unix_ms += MINUTE;
    let envelope = vault_with(mode, &[1], &[("encryption", "envelope")]);
    let mut machine = put(&envelope, None, 2);
    world.sealer = machine.seals_with().map(Sealer::new);
    let second = world.run(&mut machine, b"sealed").unwrap().row.vid;
    world.sealer = None;
    world.unix_ms += MINUTE;
    version(&mut world, &with(mode, &[1]), b"sse-c", 3);
    let report = rekey(&mut world, &with(mode, &[1, 2]));
    assert_eq!((report.rekeyed, report.left, report.kept, report.problems), (1, 1, 1, 0), "{:?}", said(&world));
    let (_, vid, why) = said(&world).into_iter().find(|(action, ..)| action == "leave").unwrap();
    assert!(vid == second && why.contains("new backup"), "{why}");
    assert!(said(&world).iter().any(|(action, vid, _)| action == "keep" && *vid == first));
}

/// What others wrote among the locators neither stops a re-keying nor is read.
#[test]
fn a_forged_locator_of_a_rekeying_is_ignored() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let old = with(mode, &[1]);
        let versions = [version(&mut world, &old, b"bytes", 1)];
        let both = with(mode, &[1, 2]);
        let first = String::from_utf8(world.body(&world.keys(LOCATORS)[0]).to_vec()).unwrap();
        let forged = LocatorKey { vid: versions[0].1, generation: 65_540, kek: Some(id(2)), parent: None };
        let json = first.replace("\"generation\":0", "\"generation\":65540").replace(".000000.", ".065540.");
        world.put(&forged.key(&name()), json.replace(&id(1), &id(2)).as_bytes());
        all_read(&mut world, &both, &versions, &format!("{mode:?}"));
        assert_eq!(rekey(&mut world, &both).rekeyed, 1, "{mode:?}: {:?}", said(&world));
        assert_eq!(generations(&world), [0, 65_540, 131_072], "{mode:?}: above all that were there");
        all_read(&mut world, &with(mode, &[2]), &versions, &format!("{mode:?}"));
        after_grace(&mut world);
        assert_eq!(rekey(&mut world, &both).freed, 1, "{mode:?}: {:?}", said(&world));
        assert_eq!(generations(&world), [131_072], "{mode:?}");
        // No generation is left above it.
        let last = LocatorKey { generation: 999_999, ..forged };
        world.put(&last.key(&name()), b"{}");
        let report = rekey(&mut world, &with(mode, &[1, 2, 3]));
        assert!(report.problem_texts[0].contains("no generation is left"), "{mode:?}: {:?}", report.problem_texts);
        all_read(&mut world, &both, &versions, &format!("{mode:?}"));
    }
}

#[test]
fn what_cannot_be_rekeyed_is_refused_before_anything_is_sent() {
    let mode = Mode::Native;
    each_vault_has_its_encryption();
    let hsm = Arc::new(Token::new(1));
    let mut keyring = Keyring::generate([1; 32]);
    keyring.mark_escrowed();
    let keyring = keyring.with_external("00000000000000aa", hsm, START).unwrap();
    let external = vault_of(S3, &[mode.settings(), &SSE_C].concat(), Some(Arc::new(keyring)));
    let refused =
        |vault: &Arc<Vault>| -> Error { Job::rekey(vault.clone(), ask(false), RekeyRequest::default()).err().unwrap() };
    let e = refused(&external);
    assert!(e.code() == Code::Unsupported && e.message().contains("in a KMS or an HSM"), "{e}");
    assert!(e.hint().contains("Make a key of the keyring current"), "{e}");
    assert_eq!(refused(&vault_with(mode, &[], &[])).code(), Code::Keyring);
}

#[test]
fn a_closed_key_stops_a_rekeying_before_it_writes_a_locator() {
    let mode = Mode::Emulated;
    let mut world = World::mode(mode);
    let (old, both) = (with(mode, &[1]), with(mode, &[1, 2]));
    let versions = [version(&mut world, &old, b"bytes", 1)];
    let marker = closed::Closed::new(&both.id, &id(2));
    world.put(&closed_key(&id(2)), &marker.to_object(both.signing_key()));
    let e = world.run(&mut rekeying(&both), &[]).unwrap_err();
    assert!(e.code() == Code::Keyring && e.message().contains(&id(2)), "{e}");
    assert_eq!(generations(&world), [0]);
    all_read(&mut world, &with(mode, &[1]), &versions, "closed");
}

/// A store that does not copy what it encrypts with customer keys.
const WITHOUT_COPIES: Profile = Profile { sse_c_copy: false, max_part_size: 6 << 20, ..S3 };

/// Number of requests of this operation so far.
fn count(world: &World, name: &str) -> usize {
    world.operations().iter().filter(|operation| **operation == name).count()
}

#[test]
fn where_the_store_does_not_copy_a_version_stays_and_the_problem_says_what_would_pass_through_this_machine() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let versions = [version(&mut world, &with(mode, &[1]), b"bytes", 1)];
        let (both, before) = (on_store(mode, WITHOUT_COPIES), world.keys(""));
        for dry_run in [true, false] {
            world.events.clear();
            let mut job = Job::rekey(both.clone(), ask(dry_run), RekeyRequest::default()).unwrap();
            let report = world.run(&mut job, &[]).unwrap();
            assert_eq!((report.rekeyed, report.problems), (0, 1), "{mode:?} {dry_run}: {:?}", said(&world));
            let why = &said(&world)[0].2;
            for part in ["does not copy", "(SSE-C)", "its 5 bytes pass through this machine", "through_client = true"] {
                assert!(why.contains(part), "{mode:?} {dry_run}: {why}");
            }
            assert_eq!((world.keys(""), count(&world, "CopyObject")), (before.clone(), 0), "{mode:?} {dry_run}");
        }
        let request = RekeyRequest { through_client: true, ..RekeyRequest::default() };
        world.events.clear();
        let report = world.run(&mut Job::rekey(both.clone(), ask(true), request).unwrap(), &[]).unwrap();
        assert_eq!((report.rekeyed, report.rekeyed_bytes, world.keys("")), (1, 5, before), "{mode:?}: a dry run");
        assert!(said(&world)[0].2.contains("passes through this machine"), "{mode:?}: {:?}", said(&world));
        all_read(&mut world, &with(mode, &[1]), &versions, &format!("{mode:?}"));
    }
}

/// One of the versions is empty.
#[test]
fn data_that_passed_through_this_machine_is_under_the_new_key_alone() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let old = with(mode, &[1]);
        let mut versions = backups(&mut world, &old);
        versions.push(version(&mut world, &old, b"", 99));
        let (both, old) = (on_store(mode, WITHOUT_COPIES), encryptions(&world));
        world.events.clear();
        let report = world.run(&mut sending(&both), &[]).unwrap();
        assert_eq!((report.rekeyed, report.problems), (10, 0), "{mode:?}: {:?}", said(&world));
        assert!(said(&world).iter().all(|(.., why)| why.contains("passed through this machine")), "{mode:?}");
        assert_eq!((count(&world, "CopyObject"), report.rekeyed_bytes), (0, 9 * 40), "{mode:?}");
        let new = with(mode, &[2]);
        all_read(&mut world, &new, &versions, &format!("{mode:?}"));
        after_grace(&mut world);
        assert_eq!(world.run(&mut sending(&both), &[]).unwrap().freed, 10, "{mode:?}: {:?}", said(&world));
        assert!(
            data(&world).iter().all(|key| is_copy(key)) && data(&world).len() == 10,
            "{mode:?}: {:?}",
            data(&world)
        );
        assert!(old.is_disjoint(&encryptions(&world)) && encryptions(&world).len() == 10, "{mode:?}");
        all_read(&mut world, &new, &versions, &format!("{mode:?}"));
    }
}

/// The profile does not say that the store cannot copy: its answer does, and no later version is tried.
#[test]
fn a_store_that_refuses_to_copy_is_asked_until_it_has_answered() {
    let mode = Mode::Native;
    for through_client in [true, false] {
        let mut world = World::mode(mode);
        let old = with(mode, &[1]);
        let versions: Vec<_> = (1..=20).map(|n| version(&mut world, &old, &[n; 9], n)).collect();
        world.model.rules.copies_sse_c = false;
        let both = with(mode, &[1, 2]);
        let request = RekeyRequest { through_client, ..RekeyRequest::default() };
        world.events.clear();
        let report = world.run(&mut Job::rekey(both, ask(false), request).unwrap(), &[]).unwrap();
        // Of the first 16 versions, which are re-keyed together.
        assert_eq!(count(&world, "CopyObject"), 16, "{through_client}");
        let expected = if through_client { (20, 0) } else { (0, 20) };
        assert_eq!((report.rekeyed, report.problems), expected, "{:?}", said(&world));
        let last = said(&world).last().unwrap().2.clone();
        assert!(
            through_client || last.contains("it answered 501 NotImplemented") && last.contains("9 bytes"),
            "{last}"
        );
        all_read(&mut world, &with(mode, &[if through_client { 2 } else { 1 }]), &versions, "refused");
    }
}

#[test]
fn every_request_of_a_rekeying_through_this_machine_may_be_its_last() {
    for mode in Mode::ALL {
        let mut base = World::mode(mode);
        let old = with(mode, &[1]);
        let versions: Vec<_> = (1..=2).map(|n| version(&mut base, &old, &[n; 9], n)).collect();
        let both = on_store(mode, WITHOUT_COPIES);
        for stop in 0.. {
            let mut world = base.copy();
            let ended = run_until_killed(&mut world, &mut sending(&both), stop);
            let when = format!("{mode:?}, killed after {stop} requests");
            all_read(&mut world, &both, &versions, &when);
            let report = world.run(&mut sending(&both), &[]).unwrap();
            assert_eq!(report.problems, 0, "{when}: {report:?}");
            let new = with(mode, &[2]);
            all_read(&mut world, &new, &versions, &when);
            let copies = data(&world).into_iter().filter(|key| is_copy(key));
            let made: usize = copies.map(|key| world.versions(&key).len()).sum();
            assert_eq!(made, 2, "{when}: what was sent is not sent again");
            after_grace(&mut world);
            assert_eq!(sweep(&mut world, &both).problems, 0, "{when}: {:?}", said(&world));
            assert_eq!((data(&world).len(), locators(&world).len()), (2, 2), "{when}: {:?}", data(&world));
            all_read(&mut world, &new, &versions, &when);
            if ended.is_some() {
                assert!(stop > 15, "{mode:?}: {stop}");
                break;
            }
        }
    }
}

/// The parts that the store has are not sent again.
#[test]
fn a_large_version_passes_through_this_machine_in_parts_and_may_be_killed_at_every_request() {
    let bytes = large();
    for mode in [Mode::Native, Mode::Emulated] {
        let mut base = World::mode(mode);
        let versions = [version(&mut base, &with(mode, &[1]), &bytes, 1)];
        let both = on_store(mode, WITHOUT_COPIES);
        for stop in (5..60).step_by(4) {
            let mut world = base.copy();
            let ended = run_until_killed(&mut world, &mut sending(&both), stop).is_some();
            let when = format!("{mode:?}: {stop}");
            let report = world.run(&mut sending(&both), &[]).unwrap();
            assert_eq!((report.rekeyed + u64::from(ended), report.problems), (1, 0), "{when}: {:?}", said(&world));
            assert_eq!((count(&world, "UploadPartCopy"), world.open_uploads()), (0, 0), "{when}");
            assert_eq!(count(&world, "CreateMultipartUpload"), 1, "{when}: the upload is continued");
            assert_eq!(count(&world, "UploadPart"), 4, "{when}: {:?}", world.operations());
            all_read(&mut world, &with(mode, &[2]), &versions, &when);
            if ended {
                break;
            }
        }
    }
}

/// The store refuses the parts of a copy: the same upload continues with parts of another size.
#[test]
fn an_upload_whose_parts_the_store_does_not_copy_continues_through_this_machine() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let versions = [version(&mut world, &with(mode, &[1]), &large(), 1)];
    world.model.rules.copies_sse_c = false;
    world.log.clear();
    let report = world.run(&mut sending(&in_parts(mode)), &[]).unwrap();
    assert_eq!((report.rekeyed, report.problems, world.open_uploads()), (1, 0, 0), "{:?}", said(&world));
    assert_eq!((count(&world, "CreateMultipartUpload"), count(&world, "UploadPart")), (1, 4));
    all_read(&mut world, &with(mode, &[2]), &versions, "in parts");
}

#[test]
fn data_that_was_damaged_on_its_way_through_this_machine_is_found_and_deleted() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let versions = [version(&mut world, &with(mode, &[1]), b"bytes", 1)];
        let (both, before) = (on_store(mode, WITHOUT_COPIES), world.keys(""));
        world.fault("GetObject", "vm/", Fault::Flipped);
        world.events.clear();
        let report = world.run(&mut sending(&both), &[]).unwrap();
        assert_eq!((report.rekeyed, report.problems), (0, 1), "{mode:?}: {:?}", said(&world));
        assert!(said(&world)[0].2.contains("the copy differs"), "{mode:?}: {:?}", said(&world));
        assert_eq!(world.keys(""), before, "{mode:?}");
        all_read(&mut world, &with(mode, &[1]), &versions, &format!("{mode:?}"));
        assert_eq!(world.run(&mut sending(&both), &[]).unwrap().rekeyed, 1, "{mode:?}");
        all_read(&mut world, &with(mode, &[2]), &versions, &format!("{mode:?}"));
    }
}

/// Of three backups with four pieces of up to 6 MiB each.
#[test]
fn the_pieces_that_are_in_memory_have_at_most_32_mib() {
    let mode = Mode::Native;
    let (mut world, old, bytes) = (World::mode(mode), with(mode, &[1]), large());
    let mut versions = Vec::new();
    for path in ["a", "b", "c"] {
        let request = PutRequest { name: Name::new("vm", path).unwrap(), ..request(None, None, path.as_bytes()[0]) };
        let found = world.run(&mut Put::new(old.clone(), request).unwrap(), &bytes).unwrap();
        versions.push((Name::new("vm", path).unwrap(), Vid::parse(&found.row.vid).unwrap()));
    }
    let mut job = sending(&on_store(mode, WITHOUT_COPIES));
    let mut most = 0;
    let report = loop {
        let (requests, ended) = round(&mut world, &mut job, &[]);
        if let Some(ended) = ended {
            break ended.unwrap();
        }
        let held = requests.iter().filter(|request| request.is_data).map(|request| match &request.body {
            Body::Bytes(sent) => sent.len(),
            _ => match request.reply {
                ReplyBody::Collect { limit } => limit,
                ReplyBody::Range(_) => 0,
            },
        });
        most = most.max(held.sum());
        requests.iter().for_each(|request| world.send(&mut job, request, &[]));
    };
    assert_eq!((report.rekeyed, report.problems), (3, 0), "{:?}", report.problem_texts);
    assert!((24 << 20..=32 << 20).contains(&most), "{most}");
    all_read(&mut world, &with(mode, &[2]), &versions, "three");
}
