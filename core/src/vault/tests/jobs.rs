//! Prune, sweep and finish, in all modes: what goes, what stays, and that nothing is left.

use super::world::*;
use crate::crypto::keyring::Keyring;
use crate::machine::Event;
use crate::vault::job::{Job, JobRequest, Report};
use crate::vault::marker::Mark;
use crate::vault::objects::{CATALOGUE, LOCATORS, VAULT_KEY};
use crate::vault::retention::Policy;
use crate::vault::*;
use crate::{Code, Error};
use s3_model::Versioning;

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const GRACE: i64 = 7 * DAY;

fn ask(dry_run: bool) -> JobRequest {
    JobRequest { container: Some("vm".into()), dry_run, grace_ms: GRACE, seed: 1 }
}

fn prune_as(world: &mut World, vault: &Arc<Vault>, policy: Policy, dry_run: bool) -> Result<Report, Error> {
    world.events.clear();
    world.run(&mut Job::prune(vault.clone(), policy, ask(dry_run))?, &[])
}

fn prune(world: &mut World, vault: &Arc<Vault>, policy: Policy) -> Report {
    prune_as(world, vault, policy, false).unwrap()
}

fn sweep(world: &mut World, vault: &Arc<Vault>) -> Report {
    world.events.clear();
    world.run(&mut Job::sweep(vault.clone(), ask(false)).unwrap(), &[]).unwrap()
}

/// What the last job said: action and version.
fn said(world: &World) -> Vec<(String, String)> {
    let items = world.events.iter().filter_map(|event| match event {
        Event::Item { json } => Some(serde_json::from_str::<serde_json::Value>(json).unwrap()),
        _ => None,
    });
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    items.map(|item| (text(&item["action"]), text(&item["vid"]))).collect()
}

/// Stores a chain: a full each `every` versions, incrementals between them, one each day. The newest last.
fn chain(world: &mut World, vault: &Arc<Vault>, count: usize, every: usize) -> Vec<Found> {
    let mut versions: Vec<Found> = Vec::new();
    for n in 0..count {
        let parent = versions.last().filter(|_| n % every != 0).map(|found| Vid::parse(&found.manifest.vid).unwrap());
        let bytes = format!("version {n}");
        versions.push(world.run(&mut put(vault, parent, n as u8 + 1), bytes.as_bytes()).unwrap());
        world.unix_ms += DAY;
    }
    versions
}

fn vids(versions: &[Found]) -> Vec<String> {
    versions.iter().rev().map(|found| found.manifest.vid.clone()).collect()
}

fn visible(world: &mut World, vault: &Arc<Vault>) -> Vec<String> {
    let mut page = ListPage::new(vault.clone(), Scope::Backup(name()), Cursor::default(), 1);
    let (rows, next) = world.run(&mut page, &[]).unwrap();
    assert!(next.is_none());
    rows.into_iter().map(|row| row.vid).collect()
}

/// Reads a version whole.
fn is_whole(world: &mut World, vault: &Arc<Vault>, vid: &str) {
    let found = find(world, vault, Selector::Version(Vid::parse(vid).unwrap())).unwrap();
    let request = crate::transfer::ReadRequest::default();
    let mut read = Read::new(vault.clone(), Arc::new(found.manifest), request, 1).unwrap();
    world.run(&mut read, &[]).unwrap();
}

/// Everything in the bucket, but the description.
fn left(world: &World) -> Vec<String> {
    world.keys("").into_iter().filter(|key| key != VAULT_KEY).collect()
}

const FULLS: Policy =
    Policy { full_versions: 2, full_days: 0, inc_versions: 0, inc_days: 0, keep_last: true, together: false };

#[test]
pub(super) fn a_prune_does_what_its_dry_run_said_and_frees_it_later() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let versions = vids(&chain(&mut world, &vault, 5, 1));
        let before = left(&world);
        let dry = prune_as(&mut world, &vault, FULLS, true).unwrap();
        let would = said(&world);
        assert_eq!((before, dry.deleted, dry.kept), (left(&world), 3, 2), "{mode:?}: a dry run changes nothing");
        let report = prune(&mut world, &vault, FULLS);
        assert_eq!(said(&world), would, "{mode:?}");
        assert_eq!(Report { dry_run: true, ..report }, dry);
        assert_eq!(visible(&mut world, &vault), versions[..2], "{mode:?}");
        // Too early: a put that began before may still be under way.
        let report = prune(&mut world, &vault, FULLS);
        assert_eq!((report.deleted, report.freed, report.waiting), (0, 0, 3), "{mode:?}");
        world.unix_ms += HOUR;
        let report = prune(&mut world, &vault, FULLS);
        assert_eq!((report.freed, report.waiting, report.problems), (3, 0, 0), "{mode:?} {report:?}");
        assert_eq!(report.freed_bytes, 3 * "version 0".len() as u64, "{mode:?}");
        assert_eq!(left(&world).len(), 2 * 2 + if mode.is_native() { 1 } else { 2 }, "{mode:?}: {:?}", left(&world));
        if mode.is_native() {
            assert_eq!(world.versions("vm/disk").len(), 2);
        }
        for vid in &versions[..2] {
            is_whole(&mut world, &vault, vid);
        }
        let report = prune(&mut world, &vault, FULLS);
        assert_eq!((report.versions, report.kept, report.freed), (2, 2, 0), "{mode:?}");
    }
}

#[test]
fn a_whole_chain_goes_at_once_and_a_chain_in_use_stays() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        // Three chains of a full and two incrementals.
        let versions = vids(&chain(&mut world, &vault, 9, 3));
        let policy = Policy { full_versions: 1, inc_versions: 3, ..FULLS };
        let report = prune(&mut world, &vault, policy);
        assert_eq!((report.deleted, report.kept), (3, 6), "{mode:?}: the incremental that stays needs its full");
        assert_eq!(visible(&mut world, &vault), versions[..6], "{mode:?}");
        world.unix_ms += HOUR;
        assert_eq!(prune(&mut world, &vault, policy).freed, 3, "{mode:?}");
        let policy = Policy { full_versions: 1, inc_days: 3, ..FULLS };
        prune(&mut world, &vault, policy);
        assert_eq!(visible(&mut world, &vault), versions[..3], "{mode:?}");
        for vid in &versions[..3] {
            is_whole(&mut world, &vault, vid);
        }
    }
}

#[test]
fn a_deleted_version_is_kept_for_a_put_that_began_to_build_on_it_before() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let full = stored(&mut world, &vault, b"full", 1);
        world.unix_ms += MINUTE;
        let mut child = put(&vault, Some(Vid::parse(&full.manifest.vid).unwrap()), 2);
        let lists =
            |world: &World| world.operations().iter().filter(|operation| **operation == "ListObjectsV2").count();
        let before = lists(&world);
        while lists(&world) == before || !world.keys(LOCATORS).iter().any(|key| key.ends_with(&full.manifest.vid)) {
            assert!(world.run_until(&mut child, b"changes", 1).is_none(), "{mode:?}");
        }
        // The put has seen its parent, and its locator is there: the deletion is refused.
        let mut deletion = DeleteVersion::new(vault.clone(), &full.manifest, world.unix_ms, 1).unwrap();
        assert_eq!(world.run(&mut deletion, &[]).unwrap_err().code(), Code::HasDependents, "{mode:?}");
        // A deletion that looked before leaves its marker.
        let marker = marker::Marker::new(&vault.id, &name(), Vid::parse(&full.manifest.vid).unwrap(), Mark::Deleted);
        world.put(&marker.key, &marker.to_object(vault.signing_key()));
        let child = world.run(&mut child, b"changes").unwrap();
        world.unix_ms += HOUR;
        let report = sweep(&mut world, &vault);
        assert_eq!((report.freed, report.waiting), (0, 1), "{mode:?}: {:?}", said(&world));
        is_whole(&mut world, &vault, &child.manifest.vid);
        // When the child goes too, both are freed.
        let mut deletion = DeleteVersion::new(vault.clone(), &child.manifest, world.unix_ms, 1).unwrap();
        world.run(&mut deletion, &[]).unwrap();
        world.unix_ms += HOUR;
        assert_eq!(sweep(&mut world, &vault).freed, 2, "{mode:?}");
        assert_eq!(left(&world), [""; 0], "{mode:?}");
    }
}

#[test]
pub(super) fn a_sweep_marks_what_a_crashed_put_left_and_frees_it_later() {
    for mode in Mode::ALL {
        for bytes in [b"small".to_vec(), large()] {
            // Stopped after any number of requests: before its row there is nothing that counts.
            for stop in 1.. {
                let mut world = World::mode(mode);
                let vault = world.vault(&[]);
                let kept = stored(&mut world, &vault, b"kept", 1);
                world.unix_ms += HOUR;
                world.log.clear();
                let mut machine = put(&vault, None, 2);
                let mut is_over = false;
                while world.log.len() < stop && !is_over {
                    is_over = world.run_until(&mut machine, &bytes, 1).is_some();
                }
                if is_over {
                    break;
                }
                let has_row = visible(&mut world, &vault).len() > 1;
                let report = sweep(&mut world, &vault);
                assert_eq!((report.suspected, report.freed), (0, 0), "{mode:?} {stop}: it may still run");
                world.unix_ms += GRACE + HOUR;
                let report = sweep(&mut world, &vault);
                assert_eq!(report.freed, 0, "{mode:?} {stop}: {:?}", said(&world));
                world.unix_ms += HOUR;
                let report = sweep(&mut world, &vault);
                assert_eq!(report.problems, 0, "{mode:?} {stop}: {:?}", report.problem_texts);
                let expected = if has_row { 2 } else { 1 };
                assert_eq!(visible(&mut world, &vault).len(), expected, "{mode:?} {stop}");
                is_whole(&mut world, &vault, &kept.manifest.vid);
                let own = left(&world).len();
                assert_eq!(
                    own,
                    3 * expected - usize::from(mode.is_native() && has_row),
                    "{mode:?} {stop}: {:?}",
                    left(&world)
                );
                assert_eq!(world.open_uploads(), 0, "{mode:?} {stop}");
                if mode.is_native() {
                    assert_eq!(world.versions("vm/disk").len(), expected, "{mode:?} {stop}");
                }
            }
        }
    }
}

#[test]
pub(super) fn a_put_that_was_only_slow_survives_a_sweep() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let found = stored(&mut world, &vault, b"slow", 1);
        let marker = marker::Marker::new(&vault.id, &name(), Vid::parse(&found.manifest.vid).unwrap(), Mark::Suspected);
        world.put(&marker.key, &marker.to_object(vault.signing_key()));
        world.unix_ms += HOUR;
        let report = sweep(&mut world, &vault);
        assert_eq!((report.freed, report.problems), (0, 0), "{mode:?}");
        assert!(world.keys(CATALOGUE).iter().all(|key| !key.ends_with(".-s")), "{mode:?}: the marker is removed");
        is_whole(&mut world, &vault, &found.manifest.vid);
    }
}

#[test]
pub(super) fn every_request_of_a_job_may_be_its_last() {
    let policy = Policy { full_versions: 1, inc_versions: 1, ..FULLS };
    for mode in Mode::ALL {
        for stop in 1.. {
            let mut world = World::mode(mode);
            let vault = world.vault(&[]);
            let versions = vids(&chain(&mut world, &vault, 6, 2));
            let removed = world.run(&mut Remove::new(vault.clone(), name(), [99; 10], 1), &[]).unwrap();
            world.run(&mut Undelete::new(vault.clone(), name(), 1), &[]).unwrap();
            let mut is_over = true;
            for run in 0..3 {
                world.log.clear();
                let mut machine = Job::prune(vault.clone(), policy, ask(false)).unwrap();
                // The first or the second run is killed after a number of requests.
                while world.log.len() < stop || run == 2 {
                    if world.run_until(&mut machine, &[], 1).is_some() {
                        break;
                    }
                }
                is_over &= world.log.len() < stop;
                let whole = visible(&mut world, &vault);
                assert!(versions[..2].iter().all(|vid| whole.contains(vid)), "{mode:?} {stop} {run}: {whole:?}");
                for vid in &whole {
                    is_whole(&mut world, &vault, vid);
                }
                world.unix_ms += HOUR;
            }
            prune(&mut world, &vault, policy);
            world.unix_ms += HOUR;
            let report = prune(&mut world, &vault, policy);
            assert_eq!((report.kept, report.problems, report.waiting), (2, 0, 0), "{mode:?} {stop}: {report:?}");
            assert_eq!(visible(&mut world, &vault), versions[..2], "{mode:?} {stop}");
            assert!(!left(&world).iter().any(|key| key.contains(&removed.manifest.vid)), "{mode:?} {stop}");
            let expected = 2 * 2 + if mode.is_native() { 1 } else { 2 };
            assert_eq!(left(&world).len(), expected, "{mode:?} {stop}: {:?}", left(&world));
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn nothing_is_pruned_while_the_clocks_differ_or_a_version_is_in_the_future() {
    let (mut world, vault) = (World::new(), vault(&[]));
    chain(&mut world, &vault, 4, 1);
    world.client_off_ms = 6 * MINUTE;
    let e = prune_as(&mut world, &vault, FULLS, false).unwrap_err();
    assert_eq!(e.code(), Code::ClockSkew, "{e}");
    world.client_off_ms = 0;
    let before = left(&world);
    world.unix_ms += 3 * HOUR;
    stored(&mut world, &vault, b"future", 9);
    world.unix_ms -= 3 * HOUR;
    let report = prune(&mut world, &vault, FULLS);
    assert_eq!((report.deleted, report.problems), (0, 1), "{report:?}");
    assert_eq!(left(&world).len(), before.len() + 2);
}

#[test]
fn text_without_a_signature_deletes_nothing() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let versions = vids(&chain(&mut world, &vault, 2, 1));
    let policy = Policy { full_versions: 2, ..FULLS };
    // Newer rows that nobody signed would push the real ones out.
    for n in 0..5u8 {
        let vid = Vid::new(world.unix_ms - 1_000, [n; 10]);
        let row = RowKey { vid, recorded_ms: world.unix_ms - 1_000, kind: Kind::Full, size: 0, parent: None };
        world.put(&format!("{}{row}", objects::catalogue_prefix(&name())), b"");
    }
    let report = prune(&mut world, &vault, policy);
    assert_eq!((report.deleted, report.kept, report.problems), (0, 2, 5), "{report:?}");
    // A marker that nobody signed, old enough.
    let vid = Vid::parse(&versions[0]).unwrap();
    world.put(&Mark::Deleted.key(&name(), vid), b"");
    world.put(&Mark::Suspected.key(&name(), vid), b"{}\n");
    world.unix_ms += GRACE;
    let report = sweep(&mut world, &vault);
    assert_eq!(report.freed, 0, "{:?}", said(&world));
    assert_eq!(report.problems, 2 + 5, "{:?}", report.problem_texts);
    for vid in &versions {
        is_whole(&mut world, &vault, vid);
    }
}

#[test]
fn a_vault_without_its_keyring_reports_and_keeps() {
    let mut world = World::new();
    let unsigned = vault_of(crate::profile::S3, &[], None);
    chain(&mut world, &unsigned, 4, 1);
    let before = left(&world);
    let report = prune(&mut world, &unsigned, FULLS);
    assert_eq!((report.deleted, report.kept), (0, 4));
    assert_eq!(left(&world), before);
    let key = vault(&[]).signing_key().unwrap().public().to_string();
    let reader = vault_of(crate::profile::S3, &[("verify_keys", &key)], None);
    let report = prune(&mut world, &reader, FULLS);
    assert_eq!((report.deleted, left(&world)), (0, before));
}

#[test]
fn held_versions_stay() {
    let (mut world, vault) = (World::new(), vault(&[]));
    chain(&mut world, &vault, 1, 1);
    let mut held = find(&mut world, &vault, Selector::Latest).unwrap().manifest;
    held.labels = Labels::parse("hold=court").unwrap();
    world.set_versions(&held.key.clone(), Vec::new());
    world.put(&held.key.clone(), &held.to_object(vault.signing_key()));
    chain(&mut world, &vault, 4, 1);
    let report = prune(&mut world, &vault, FULLS);
    assert_eq!((report.deleted, report.kept), (2, 3), "{:?}", said(&world));
    let e = DeleteVersion::new(vault.clone(), &held, world.unix_ms, 1).err().unwrap();
    assert_eq!(e.code(), Code::Held, "{e}");
}

#[test]
fn objects_of_other_programs_are_not_touched() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        // At the plain key, at the same time, and beside it.
        let versions = chain(&mut world, &vault, 1, 1);
        world.unix_ms -= DAY;
        let foreign = ["vm/disk", "vm/disk@home", "vm/disk2", "other/disk"];
        for key in foreign {
            world.put(key, b"foreign");
        }
        let vid = &versions[0].manifest.vid;
        world.put(&format!("vm/disk@home@{vid}"), b"foreign");
        let mut deletion = DeleteVersion::new(vault.clone(), &versions[0].manifest, world.unix_ms, 1).unwrap();
        world.run(&mut deletion, &[]).unwrap();
        world.unix_ms += HOUR;
        assert_eq!(sweep(&mut world, &vault).freed, 1, "{mode:?}");
        let mut expected: Vec<String> = foreign.iter().map(|key| (*key).to_owned()).collect();
        expected.push(format!("vm/disk@home@{vid}"));
        expected.sort();
        assert_eq!(left(&world), expected, "{mode:?}");
        assert_eq!(world.versions("vm/disk").len(), 1, "{mode:?}");
    }
}

#[test]
pub(super) fn a_late_duplicate_of_a_lost_put_goes_with_its_version() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let first = stored(&mut world, &vault, b"first", 1);
    world.unix_ms += MINUTE;
    let second = stored(&mut world, &vault, b"second", 2);
    world.put_as("vm/disk", b"first", &first.manifest.vid);
    assert_eq!(world.versions("vm/disk").len(), 3);
    world.unix_ms += DAY;
    let mut deletion = DeleteVersion::new(vault.clone(), &first.manifest, world.unix_ms, 1).unwrap();
    world.run(&mut deletion, &[]).unwrap();
    world.unix_ms += HOUR;
    assert_eq!(sweep(&mut world, &vault).freed, 1);
    assert_eq!(world.versions("vm/disk").len(), 1);
    is_whole(&mut world, &vault, &second.manifest.vid);
}

#[test]
fn an_upload_at_the_plain_key_on_which_somebody_works_is_left_alone() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"x", 1);
    let mut other = put(&vault, None, 2);
    while world.open_uploads() == 0 {
        assert!(world.run_until(&mut other, &large(), 1).is_none());
    }
    let mut deletion = DeleteVersion::new(vault.clone(), &found.manifest, world.unix_ms, 1).unwrap();
    world.run(&mut deletion, &[]).unwrap();
    world.unix_ms += HOUR;
    let report = sweep(&mut world, &vault);
    assert_eq!((report.freed, report.waiting), (0, 1), "{:?}", said(&world));
    world.run(&mut other, &large()).unwrap();
    assert_eq!(sweep(&mut world, &vault).freed, 1);
}

#[test]
fn what_the_store_refuses_to_delete_is_tried_again_later() {
    for mode in Mode::ALL {
        for refused in [CATALOGUE, "vm/", LOCATORS] {
            let mut world = World::mode(mode);
            let vault = world.vault(&[]);
            let found = stored(&mut world, &vault, b"x", 1);
            let mut deletion = DeleteVersion::new(vault.clone(), &found.manifest, world.unix_ms, 1).unwrap();
            world.run(&mut deletion, &[]).unwrap();
            world.unix_ms += HOUR;
            world.deny_deletes(refused);
            world.events.clear();
            let report = sweep(&mut world, &vault);
            assert_eq!((report.freed, report.waiting), (0, 1), "{mode:?} {refused}: {:?}", said(&world));
            assert_eq!(said(&world), [("refused".to_owned(), found.manifest.vid.to_string())], "{mode:?} {refused}");
            world.deny_deletes("nothing");
            assert_eq!(sweep(&mut world, &vault).freed, 1, "{mode:?} {refused}: {:?}", said(&world));
            assert_eq!(left(&world), [""; 0], "{mode:?} {refused}");
        }
    }
}

#[test]
fn a_job_that_is_cancelled_says_so_and_leaves_no_request() {
    let (mut world, vault) = (World::new(), vault(&[]));
    chain(&mut world, &vault, 4, 1);
    world.fault("GetObject", CATALOGUE, Fault::Cancelled);
    let e = prune_as(&mut world, &vault, FULLS, false).unwrap_err();
    assert_eq!(e.code(), Code::Cancelled);
}

/// How many requests of each operation were sent, in the order of their names.
fn counted(world: &World) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for operation in world.operations() {
        *counts.entry(operation).or_insert(0) += 1;
    }
    counts.iter().map(|(operation, count)| format!("{count} {operation}")).collect::<Vec<_>>().join(", ")
}

/// The formula is in docs/protocol.md.
#[test]
fn what_a_job_costs() {
    for mode in [Mode::Native, Mode::Emulated] {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        chain(&mut world, &vault, 8, 1);
        let other_process = || World::mode(mode).vault(&[]);
        // Nothing goes: one list, whatever there is.
        world.log.clear();
        prune(&mut world, &other_process(), Policy { full_versions: 8, ..FULLS });
        assert_eq!(counted(&world), "1 GetBucketVersioning, 1 ListObjectsV2", "{mode:?}");
        // 6 of 8 go: the rows of all, the locators, a marker for each.
        world.log.clear();
        prune(&mut world, &other_process(), FULLS);
        assert_eq!(counted(&world), "1 GetBucketVersioning, 8 GetObject, 2 ListObjectsV2, 6 PutObject", "{mode:?}");
        // Their space is freed: marker and row of each are read, everything else is the same for any number up to 1,000.
        world.unix_ms += HOUR;
        world.log.clear();
        let report = prune(&mut world, &other_process(), FULLS);
        assert_eq!(report.freed, 6);
        let expected = match mode.is_native() {
            true => {
                "4 DeleteObjects, 1 GetBucketVersioning, 12 GetObject, 2 ListMultipartUploads, 5 ListObjectVersions, 2 ListObjectsV2"
            }
            false => "4 DeleteObjects, 1 GetBucketVersioning, 12 GetObject, 1 ListMultipartUploads, 5 ListObjectsV2",
        };
        assert_eq!(counted(&world), expected, "{mode:?}");
    }
}

/// Deletes a version, and lets its marker grow old.
fn delete_and_wait(world: &mut World, vault: &Arc<Vault>, found: &Found) {
    let mut deletion = DeleteVersion::new(vault.clone(), &found.manifest, world.unix_ms, 1).unwrap();
    world.run(&mut deletion, &[]).unwrap();
    world.unix_ms += HOUR;
}

#[test]
fn lists_of_many_pages_are_read_to_their_end() {
    for mode in Mode::ALL {
        let rules = s3_model::Rules { max_page: 3, ..s3_model::Rules::default() };
        let mut world = World::mode_with(mode, rules);
        let vault = world.vault(&[]);
        let versions = vids(&chain(&mut world, &vault, 12, 4));
        world.fault("ListObjectsV2", "", Fault::EmptyPage);
        let policy = Policy { full_versions: 1, inc_versions: 3, ..FULLS };
        assert_eq!(prune(&mut world, &vault, policy).deleted, 8, "{mode:?}");
        world.unix_ms += HOUR;
        let report = sweep(&mut world, &vault);
        assert_eq!((report.freed, report.problems), (8, 0), "{mode:?} {report:?}");
        assert_eq!(left(&world).len(), 4 * 2 + if mode.is_native() { 1 } else { 4 }, "{mode:?}");
        for vid in &versions[..4] {
            is_whole(&mut world, &vault, vid);
        }
    }
}

#[test]
fn versioning_that_is_suspended_hides_no_space() {
    // A native vault that was suspended from outside: puts are refused, deletions name the versions.
    let (mut world, vault) = (World::new(), vault(&[]));
    let versions = chain(&mut world, &vault, 3, 1);
    world.set_versioning(Versioning::Suspended);
    delete_and_wait(&mut world, &vault, &versions[0]);
    assert_eq!(sweep(&mut world, &vault).freed, 1);
    assert_eq!(world.versions("vm/disk").len(), 2);
    assert!(world.keys("").iter().all(|key| world.versions(key).iter().all(|version| version.content().is_some())));
    // Its mode is changed to emulated: what is there is read and deleted, what is new has keys of its own.
    let emulated = vault_of(
        crate::profile::S3,
        &[("mode", "single-bucket-no-versioning")],
        Some(Arc::new(Keyring::generate([1; 32]))),
    );
    is_whole(&mut world, &emulated, &versions[1].manifest.vid);
    let new = world.run(&mut put(&emulated, None, 50), b"emulated").unwrap();
    delete_and_wait(&mut world, &emulated, &versions[1]);
    delete_and_wait(&mut world, &emulated, &versions[2]);
    delete_and_wait(&mut world, &emulated, &new);
    assert_eq!(sweep(&mut world, &emulated).freed, 3, "{:?}", said(&world));
    assert_eq!(left(&world), [""; 0]);
}

#[test]
fn data_that_was_removed_from_outside_does_not_stop_a_deletion() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let found = stored(&mut world, &vault, b"x", 1);
        let key = found.manifest.extents[0].key.clone();
        world.set_versions(&key, Vec::new());
        delete_and_wait(&mut world, &vault, &found);
        let report = sweep(&mut world, &vault);
        assert_eq!((report.freed, report.freed_bytes, report.problems), (1, 0, 0), "{mode:?}");
        assert_eq!(left(&world), [""; 0], "{mode:?}");
    }
}

/// The data of a version gets another version id, as in a replica.
fn replicate(world: &mut World, found: &Found) {
    world.put_as("vm/disk", b"replicated", &found.manifest.vid);
    let newest = world.versions("vm/disk").last().cloned();
    world.set_versions("vm/disk", newest.into_iter().collect());
}

/// Without its key, nobody can tell whose the data in a replica is.
#[test]
fn in_a_replica_nothing_is_deleted_without_its_key() {
    let (mut world, own) = (World::new(), vault(SSE_C));
    let without = vault_of(crate::profile::S3, SSE_C, Some(Arc::new(Keyring::generate([1; 32]))));
    unchecked(|| {
        let found = stored(&mut world, &own, b"replicated", 1);
        replicate(&mut world, &found);
        delete_and_wait(&mut world, &own, &found);
        let before = left(&world);
        let report = sweep(&mut world, &without);
        assert_eq!((report.freed, report.problems), (0, 1), "{:?}", said(&world));
        assert!(report.problem_texts[0].contains("keyring"), "{:?}", report.problem_texts);
        assert_eq!(left(&world), before);
    });
}

#[test]
pub(super) fn in_a_replica_nothing_is_deleted() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"replicated", 1);
    replicate(&mut world, &found);
    delete_and_wait(&mut world, &vault, &found);
    let before = left(&world);
    let report = sweep(&mut world, &vault);
    assert_eq!((report.freed, report.problems), (0, 1), "{:?}", said(&world));
    assert!(report.problem_texts[0].contains("replica"), "{:?}", report.problem_texts);
    assert_eq!(left(&world), before);
}

#[test]
pub(super) fn an_entry_without_its_locator_goes_only_if_its_data_is_gone() {
    for mode in Mode::ALL {
        for is_there in [true, false] {
            let mut world = World::mode(mode);
            let vault = world.vault(&[]);
            let found = stored(&mut world, &vault, b"x", 1);
            for key in world.keys(LOCATORS) {
                world.set_versions(&key, Vec::new());
            }
            if !is_there {
                world.set_versions(&found.manifest.extents[0].key.clone(), Vec::new());
            }
            let young = sweep(&mut world, &vault);
            assert_eq!((young.freed, young.problems), (0, 0), "{mode:?}: it may still be under way");
            world.unix_ms += HOUR;
            let report = sweep(&mut world, &vault);
            let expected = if is_there { (0, 1) } else { (1, 0) };
            assert_eq!((report.freed, report.problems), expected, "{mode:?} {is_there}: {:?}", said(&world));
            assert_eq!(left(&world).is_empty(), !is_there, "{mode:?}");
        }
    }
}

#[test]
fn an_entry_without_anything_else_that_the_store_does_not_delete_is_reported() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let found = stored(&mut world, &vault, b"x", 1);
        for key in world.keys(LOCATORS).into_iter().chain([found.manifest.extents[0].key.clone()]) {
            world.set_versions(&key, Vec::new());
        }
        world.unix_ms += HOUR;
        world.deny_deletes(CATALOGUE);
        let report = sweep(&mut world, &vault);
        assert_eq!(report.waiting, 1, "{mode:?}: {:?}", said(&world));
        assert_eq!(left(&world).len(), 1, "{mode:?}");
        world.deny_deletes("none");
        assert_eq!(sweep(&mut world, &vault).waiting, 0, "{mode:?}");
        assert!(left(&world).is_empty(), "{mode:?}");
    }
}
