//! Every request of rm, undelete, the deletion of a version, and sweep may be its last, in all modes: the process is
//! killed before it, or after it took effect and before its answer came. Afterwards the vault lists whole backups and
//! nothing else, and a second run ends the work. Prune is in `jobs`, adopt in `adopting`, put in `jobs` and `resume`.

use super::world::*;
use crate::vault::job::{Job, JobRequest, Report};
use crate::vault::objects::{Kind, VAULT_KEY};
use crate::vault::*;
use crate::{Code, Error, Machine};

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const GRACE: i64 = 7 * DAY;

/// Runs a machine whose process is killed when it has sent this many requests; `None` if it was.
fn run_until_killed<M: Machine>(
    world: &mut World,
    machine: &mut M,
    source: &[u8],
    requests: usize,
) -> Option<Result<M::Done, Error>> {
    let end = world.log.len() + requests;
    while world.log.len() < end {
        if let Some(result) = world.run_until(machine, source, 1) {
            return Some(result);
        }
    }
    None
}

/// Calls a test with each number of requests after which a process can be killed, until it says that the process ended by
/// itself.
fn at_every_request(mut test: impl FnMut(Mode, usize) -> bool) {
    for mode in Mode::ALL {
        let last = (0..).find(|stop| test(mode, *stop)).unwrap();
        assert!(last > 1, "{mode:?}: the process sent {last} requests");
    }
}

/// A full and two incrementals, a day apart. The newest last.
fn chain(world: &mut World, vault: &Arc<Vault>) -> Vec<Found> {
    let mut versions: Vec<Found> = Vec::new();
    for n in 0..3_u8 {
        let parent = versions.last().map(|found| Vid::parse(&found.manifest.vid).unwrap());
        versions.push(world.run(&mut put(vault, parent, n + 1), &[n; 5]).unwrap());
        world.unix_ms += DAY;
    }
    versions
}

/// The versions that are listed, each of which is read whole, and how many deletions are.
fn listed(world: &mut World, vault: &Arc<Vault>) -> (Vec<String>, usize) {
    let rows = list(world, vault, Scope::Backup(name()));
    let (deletions, versions): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.kind == Some(Kind::Del));
    for row in &versions {
        let found = find(world, vault, Selector::Version(Vid::parse(&row.vid).unwrap())).unwrap();
        let request = crate::transfer::ReadRequest::default();
        world.run(&mut Read::new(vault.clone(), Arc::new(found.manifest), request, 1).unwrap(), &[]).unwrap();
    }
    (versions.into_iter().map(|row| row.vid).collect(), deletions.len())
}

fn latest(world: &mut World, vault: &Arc<Vault>) -> Option<String> {
    find(world, vault, Selector::Latest).ok().map(|found| found.manifest.vid)
}

fn sweeping(vault: &Arc<Vault>) -> Job {
    let ask = JobRequest { container: Some("vm".into()), dry_run: false, grace_ms: GRACE, seed: 1 };
    Job::sweep(vault.clone(), ask).unwrap()
}

/// All keys beside the description's.
fn keys(world: &World) -> Vec<String> {
    world.keys("").into_iter().filter(|key| key != VAULT_KEY).collect()
}

/// Sweeps until there is nothing more to do, and returns what is left.
fn left_by_sweeps(world: &mut World, vault: &Arc<Vault>) -> Vec<String> {
    for _ in 0..3 {
        world.unix_ms += GRACE + HOUR;
        let report: Report = world.run(&mut sweeping(vault), &[]).unwrap();
        assert_eq!(report.problems, 0, "{:?}", report.problem_texts);
    }
    keys(world)
}

fn removal(vault: &Arc<Vault>, random: u8) -> Remove {
    Remove::new(vault.clone(), name(), [random; 10], 1)
}

/// A new process, which has not proven anything yet, opens the vault.
fn another(world: &World) -> Arc<Vault> {
    world.vault(&[])
}

#[test]
fn every_request_of_rm_may_be_its_last() {
    at_every_request(|mode, stop| {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let versions: Vec<String> = chain(&mut world, &vault).iter().map(|found| found.manifest.vid.clone()).collect();
        let before = keys(&world);
        let vault = another(&world);
        let ended = run_until_killed(&mut world, &mut removal(&vault, 9), &[], stop);
        let vault = another(&world);
        let is_removed = latest(&mut world, &vault).is_none();
        let (whole, deletions) = listed(&mut world, &vault);
        assert_eq!((whole.len(), deletions), (3, usize::from(is_removed)), "{mode:?} {stop}");
        assert!(versions.iter().all(|vid| whole.contains(vid)), "{mode:?} {stop}: all versions are there to be read");
        world.unix_ms += HOUR;
        match world.run(&mut removal(&vault, 8), &[]) {
            Ok(_) => assert!(!is_removed, "{mode:?} {stop}: a second deletion is stored"),
            Err(e) => assert!(is_removed && e.code() == Code::NotFound, "{mode:?} {stop}: {e}"),
        }
        assert_eq!(latest(&mut world, &vault), None, "{mode:?} {stop}");
        assert_eq!(listed(&mut world, &vault).1, 1, "{mode:?} {stop}: one deletion is listed");
        world.run(&mut Undelete::new(vault.clone(), name(), 1), &[]).unwrap();
        assert_eq!(left_by_sweeps(&mut world, &vault), before, "{mode:?} {stop}");
        assert_eq!(latest(&mut world, &vault).as_ref(), versions.last(), "{mode:?} {stop}");
        ended.is_some()
    });
}

#[test]
fn every_request_of_undelete_may_be_its_last() {
    at_every_request(|mode, stop| {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let newest = chain(&mut world, &vault).pop().unwrap().manifest.vid;
        let before = keys(&world);
        world.run(&mut removal(&vault, 9), &[]).unwrap();
        let vault = another(&world);
        let ended = run_until_killed(&mut world, &mut Undelete::new(vault.clone(), name(), 1), &[], stop);
        let vault = another(&world);
        let is_back = latest(&mut world, &vault);
        let (whole, deletions) = listed(&mut world, &vault);
        assert_eq!((whole.len(), deletions), (3, usize::from(is_back.is_none())), "{mode:?} {stop}");
        match world.run(&mut Undelete::new(vault.clone(), name(), 1), &[]) {
            Ok(()) => assert_eq!(is_back, None, "{mode:?} {stop}"),
            Err(e) => assert!(is_back.is_some() && e.code() == Code::NotFound, "{mode:?} {stop}: {e}"),
        }
        assert_eq!(latest(&mut world, &vault).as_ref(), Some(&newest), "{mode:?} {stop}");
        assert_eq!(left_by_sweeps(&mut world, &vault), before, "{mode:?} {stop}");
        ended.is_some()
    });
}

/// Finds a version and deletes it, as a process does that is killed when it has sent this many requests.
fn delete_until_killed(world: &mut World, vault: &Arc<Vault>, vid: &str, requests: usize) -> Option<Result<(), Error>> {
    let (sent, vid) = (world.log.len(), Vid::parse(vid).unwrap());
    let mut find = Find::new(vault.clone(), name(), Selector::Version(vid), None, 1);
    let found = match run_until_killed(world, &mut find, &[], requests)? {
        Ok(found) => found,
        Err(e) => return Some(Err(e)),
    };
    let mut machine = DeleteVersion::new(vault.clone(), &found.manifest, world.unix_ms, 1).unwrap();
    let requests = (sent + requests).saturating_sub(world.log.len());
    run_until_killed(world, &mut machine, &[], requests)
}

#[test]
fn every_request_of_the_deletion_of_a_version_may_be_its_last() {
    // The newest version, and one whose only dependent was deleted before.
    for deleted_before in [0, 1] {
        at_every_request(|mode, stop| {
            let mut world = World::mode(mode);
            let vault = world.vault(&[]);
            let mut versions: Vec<String> =
                chain(&mut world, &vault).iter().rev().map(|found| found.manifest.vid.clone()).collect();
            for vid in versions.drain(..deleted_before) {
                delete_until_killed(&mut world, &vault, &vid, usize::MAX >> 1).unwrap().unwrap();
            }
            let vault = another(&world);
            let ended = delete_until_killed(&mut world, &vault, &versions[0], stop);
            let vault = another(&world);
            let (whole, _) = listed(&mut world, &vault);
            let is_deleted = whole.len() < versions.len();
            assert_eq!(whole, versions[usize::from(is_deleted)..], "{mode:?} {stop}");
            world.unix_ms += MINUTE;
            match delete_until_killed(&mut world, &vault, &versions[0], usize::MAX >> 1).unwrap() {
                Ok(()) => assert!(!is_deleted, "{mode:?} {stop}"),
                Err(e) => assert!(is_deleted && e.code() == Code::NotFound, "{mode:?} {stop}: {e}"),
            }
            assert_eq!(listed(&mut world, &vault).0, versions[1..], "{mode:?} {stop}");
            let left = left_by_sweeps(&mut world, &vault);
            assert_eq!(listed(&mut world, &vault).0, versions[1..], "{mode:?} {stop}");
            // An entry and a locator of each version, and their data: one key with versions, or a key for each.
            let kept = versions.len() - 1;
            assert_eq!(left.len(), 2 * kept + if mode.is_native() { 1 } else { kept }, "{mode:?} {stop}: {left:?}");
            if mode.is_native() {
                assert_eq!(world.versions("vm/disk").len(), kept, "{mode:?} {stop}");
            }
            ended.is_some()
        });
    }
}

#[test]
fn every_request_of_a_sweep_may_be_its_last() {
    // What a put left that was killed in its upload, or before its row, is suspected by one sweep and removed by the next.
    for (bytes, last) in [(b"small".to_vec(), "PutObject"), (large(), "UploadPart")] {
        for of_second in [false, true] {
            at_every_request(|mode, stop| {
                let mut world = World::mode(mode);
                let vault = world.vault(&[]);
                let kept = stored(&mut world, &vault, b"kept", 1).manifest.vid;
                let before = keys(&world);
                world.unix_ms += HOUR;
                let mut unfinished = put(&vault, None, 2);
                let is_last =
                    |(operation, key, _): &(&str, String, String)| *operation == last && key.starts_with("vm/");
                world.log.clear();
                while !world.log.last().is_some_and(is_last) {
                    assert!(world.run_until(&mut unfinished, &bytes, 1).is_none());
                }
                world.unix_ms += GRACE + HOUR;
                let vault = another(&world);
                if of_second {
                    world.run(&mut sweeping(&vault), &[]).unwrap();
                    world.unix_ms += HOUR;
                }
                let ended = run_until_killed(&mut world, &mut sweeping(&vault), &[], stop);
                let vault = another(&world);
                assert_eq!(listed(&mut world, &vault), (vec![kept.clone()], 0), "{mode:?} {stop}");
                assert_eq!(left_by_sweeps(&mut world, &vault), before, "{mode:?} {stop}");
                assert_eq!(world.open_uploads(), 0, "{mode:?} {stop}");
                if mode.is_native() {
                    assert_eq!(world.versions("vm/disk").len(), 1, "{mode:?} {stop}");
                }
                assert_eq!(listed(&mut world, &vault), (vec![kept], 0), "{mode:?} {stop}");
                ended.is_some()
            });
        }
    }
}

/// Only the entry of an adopted version tells which object it is: where that is removed first, a job that is killed after it
/// leaves the object there, and the next adoption brings back what was deleted.
#[test]
fn every_request_of_the_removal_of_an_adopted_version_may_be_its_last() {
    at_every_request(|mode, stop| {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let kept = stored(&mut world, &vault, b"kept", 1).manifest.vid;
        let before = keys(&world);
        world.unix_ms += HOUR;
        world.put("vm/disk", b"of another program");
        world.unix_ms += HOUR;
        let ask = || AdoptRequest {
            container: Some("vm".into()),
            dry_run: false,
            hash: false,
            keys: Arc::default(),
            seed: 1,
        };
        world.run(&mut Adopt::new(vault.clone(), ask()).unwrap(), &[]).unwrap();
        let adopted = latest(&mut world, &vault).unwrap();
        delete_until_killed(&mut world, &vault, &adopted, usize::MAX >> 1).unwrap().unwrap();
        world.unix_ms += HOUR;
        let vault = another(&world);
        let ended = run_until_killed(&mut world, &mut sweeping(&vault), &[], stop);
        let vault = another(&world);
        assert_eq!(listed(&mut world, &vault), (vec![kept.clone()], 0), "{mode:?} {stop}");
        assert_eq!(left_by_sweeps(&mut world, &vault), before, "{mode:?} {stop}");
        let objects = world.versions("vm/disk").len();
        assert_eq!(objects, usize::from(mode.is_native()), "{mode:?} {stop}: only the vault's own is left");
        let report = world.run(&mut Adopt::new(vault.clone(), ask()).unwrap(), &[]).unwrap();
        assert_eq!((report.adopted, report.problems), (0, 0), "{mode:?} {stop}: {report:?}");
        assert_eq!(listed(&mut world, &vault), (vec![kept], 0), "{mode:?} {stop}");
        ended.is_some()
    });
}
