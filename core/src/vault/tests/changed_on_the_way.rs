//! A signed object whose bytes are changed on the way is read once more: that costs one GET and changes nothing else. If the
//! second reading does not verify either, the object is untrusted.

use std::sync::Arc;

use super::super::marker::Mark;
use super::super::objects::{CATALOGUE, CatalogueKey, LOCATORS};
use super::super::retention::Policy;
use super::super::*;
use super::world::*;
use crate::machine::Event;
use crate::vault::job::{Job, JobRequest, Report};
use crate::{Code, Error};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const DAY: i64 = 24 * 60 * MINUTE;

/// Another process of the vault's owner, which has verified nothing yet.
fn process() -> Arc<Vault> {
    vault(&[])
}

/// What came of an action.
#[derive(Debug, PartialEq)]
struct Told {
    result: String,
    /// Requests other than GetObject.
    others: Vec<&'static str>,
    ignored: Vec<String>,
}

/// Runs an action while this many readings of an object are changed on the way. Returns how often objects were read, too.
fn told(flips: usize, set_up: fn() -> (World, String), act: fn(&mut World) -> String) -> (Told, usize) {
    let (mut world, key) = set_up();
    world.log.clear();
    world.events.clear();
    for _ in 0..flips {
        world.fault("GetObject", &key, Fault::Flipped);
    }
    let result = act(&mut world);
    let (reads, others): (Vec<_>, Vec<_>) = world.operations().into_iter().partition(|own| *own == "GetObject");
    let ignored = world.events.iter().filter_map(|event| match event {
        Event::Ignored { key, .. } => Some(key.clone()),
        _ => None,
    });
    let ignored: Vec<String> = ignored.collect();
    assert!(ignored.iter().all(|own| *own == key), "only {key} is ignored: {ignored:?}");
    (Told { result, others, ignored }, reads.len())
}

/// Checks that one changed reading costs one more GET. Returns what comes of the action with the right bytes, and with two
/// changed readings.
fn right_and_untrusted(set_up: fn() -> (World, String), act: fn(&mut World) -> String) -> (Told, Told) {
    let (right, reads) = told(0, set_up, act);
    let (once, more) = told(1, set_up, act);
    assert_eq!((&once, more), (&right, reads + 1));
    (right, told(2, set_up, act).0)
}

fn show<T>(result: Result<T, Error>, shown: impl FnOnce(T) -> String) -> String {
    result.map_or_else(|e| format!("{:?}", e.code()), shown)
}

fn code(code: Code) -> String {
    format!("{code:?}")
}

/// Two versions.
fn two() -> (World, Found, Found) {
    let mut world = World::new();
    let first = stored(&mut world, &process(), b"1", 1);
    world.unix_ms += MINUTE;
    let second = stored(&mut world, &process(), b"2", 2);
    world.unix_ms += MINUTE;
    (world, first, second)
}

/// Two versions; the key of the newest's row.
fn newest_row() -> (World, String) {
    let (world, _, second) = two();
    (world, second.manifest.key)
}

/// Two versions, of which the newest is deleted; the key of its marker.
fn newest_marker() -> (World, String) {
    let (mut world, _, second) = two();
    mark(&mut world, &process(), &second.row.vid, Mark::Deleted);
    (world, Mark::Deleted.key(&name(), Vid::parse(&second.row.vid).unwrap()))
}

/// A full backup with an incremental; the key of the full one's row.
fn parent_row() -> (World, String) {
    let mut world = World::new();
    let full = stored(&mut world, &process(), b"full", 1);
    world.unix_ms += MINUTE;
    world.run(&mut put(&process(), Some(Vid::parse(&full.row.vid).unwrap()), 2), b"inc").unwrap();
    (world, full.manifest.key)
}

fn newest(world: &mut World) -> String {
    show(find(world, &process(), Selector::Latest), |found| found.row.vid)
}

#[test]
fn readers_read_a_marker_and_a_row_once_more() {
    let (_, first, second) = two();
    let (right, untrusted) = right_and_untrusted(newest_marker, newest);
    assert_eq!((right.result, right.ignored.len()), (first.row.vid.clone(), 0));
    assert_eq!((untrusted.result, untrusted.ignored.len()), (second.row.vid.clone(), 1));

    let listed = |world: &mut World| list(world, &process(), Scope::All).len().to_string();
    let (right, untrusted) = right_and_untrusted(newest_marker, listed);
    assert_eq!((&*right.result, right.ignored.len()), ("1", 0));
    assert_eq!((&*untrusted.result, untrusted.ignored.len()), ("2", 1));

    let (right, untrusted) = right_and_untrusted(newest_row, newest);
    assert_eq!((right.result, untrusted.result), (second.row.vid, code(Code::Untrusted)));
}

#[test]
fn readers_read_a_chain_and_a_locator_once_more() {
    let chain = |world: &mut World| {
        let found = find(world, &process(), Selector::Latest).unwrap();
        let chain = Chain::new(process(), &found.manifest, found.row, 1);
        show(chain.and_then(|mut chain| world.run(&mut chain, &[])), |rows| rows.len().to_string())
    };
    let (right, untrusted) = right_and_untrusted(parent_row, chain);
    assert_eq!((right.result, untrusted.result), ("2".to_owned(), code(Code::Untrusted)));

    let locator = || {
        let (world, ..) = two();
        let key = world.keys(LOCATORS).remove(0);
        (world, key)
    };
    let read = |world: &mut World| {
        let found = find(world, &process(), Selector::Latest).unwrap();
        let request = crate::transfer::ReadRequest::default();
        let mut read = Read::new(process(), Arc::new(found.manifest), request, 1).unwrap();
        show(world.run(&mut read, &[]), |()| "whole".to_owned())
    };
    let (right, untrusted) = right_and_untrusted(locator, read);
    assert_eq!((right.result, untrusted.result), ("whole".to_owned(), code(Code::Untrusted)));
}

#[test]
fn a_put_reads_the_row_of_its_parent_once_more() {
    let incremental = |world: &mut World| {
        let full = Vid::parse(&list(world, &process(), Scope::All).pop().unwrap().vid).unwrap();
        show(world.run(&mut put(&process(), Some(full), 3), b"inc"), |found| {
            found.row.kind.unwrap().as_str().to_owned()
        })
    };
    let (right, untrusted) = right_and_untrusted(parent_row, incremental);
    assert_eq!(right.result, "inc");
    assert_eq!((untrusted.result, untrusted.ignored.len()), (code(Code::BadParent), 1));
}

#[test]
fn a_deletion_reads_the_newest_row_and_the_marker_of_a_dependent_once_more() {
    let one = || {
        let mut world = World::new();
        let key = stored(&mut world, &process(), b"1", 1).manifest.key;
        (world, key)
    };
    let rm = |world: &mut World| {
        let done = world.run(&mut Remove::new(process(), name(), [3; 10], 1), &[]);
        show(done, |found| found.row.kind.unwrap().as_str().to_owned())
    };
    let (right, untrusted) = right_and_untrusted(one, rm);
    assert_eq!(right.result, "del");
    assert_eq!((untrusted.result, untrusted.ignored.len()), (code(Code::NotFound), 1));

    let deleted_child = || {
        let (mut world, _) = parent_row();
        let child = find(&mut world, &process(), Selector::Latest).unwrap().row.vid;
        mark(&mut world, &process(), &child, Mark::Deleted);
        (world, Mark::Deleted.key(&name(), Vid::parse(&child).unwrap()))
    };
    let delete = |world: &mut World| {
        let full = world.keys(CATALOGUE).pop().unwrap();
        let row = CatalogueKey::parse(&full).unwrap().entry.vid();
        let full = find(world, &process(), Selector::Version(row)).unwrap();
        let mut deletion = DeleteVersion::new(process(), &full.manifest, world.unix_ms, 1).unwrap();
        show(world.run(&mut deletion, &[]), |()| "deleted".to_owned())
    };
    let (right, untrusted) = right_and_untrusted(deleted_child, delete);
    assert_eq!(right.result, "deleted");
    assert_eq!((untrusted.result, untrusted.ignored.len()), (code(Code::HasDependents), 1));
}

fn report(report: &Report) -> String {
    let Report { deleted, freed, suspected, problems, adopted, .. } = report;
    format!("deleted {deleted}, freed {freed}, suspected {suspected}, adopted {adopted}, problems {problems}")
}

fn ask() -> JobRequest {
    JobRequest { container: Some("vm".into()), dry_run: false, grace_ms: 7 * DAY, seed: 1 }
}

fn sweep(world: &mut World) -> String {
    report(&world.run(&mut Job::sweep(process(), ask()).unwrap(), &[]).unwrap())
}

#[test]
fn jobs_read_a_row_a_marker_and_a_locator_once_more() {
    let prune = |world: &mut World| {
        let policy =
            Policy { full_versions: 1, full_days: 0, inc_versions: 0, inc_days: 0, keep_last: true, together: false };
        report(&world.run(&mut Job::prune(process(), policy, ask()).unwrap(), &[]).unwrap())
    };
    let oldest_row = || {
        let (world, first, _) = two();
        (world, first.manifest.key)
    };
    let (right, untrusted) = right_and_untrusted(oldest_row, prune);
    assert_eq!(right.result, "deleted 1, freed 0, suspected 0, adopted 0, problems 0");
    assert_eq!(untrusted.result, "deleted 0, freed 0, suspected 0, adopted 0, problems 1");

    let old_marker = || {
        let (mut world, key) = newest_marker();
        world.unix_ms += DAY;
        (world, key)
    };
    let (right, untrusted) = right_and_untrusted(old_marker, sweep);
    assert_eq!(right.result, "deleted 0, freed 1, suspected 0, adopted 0, problems 0");
    assert_eq!(untrusted.result, "deleted 0, freed 0, suspected 0, adopted 0, problems 1");
    assert_eq!((right.ignored.len(), untrusted.ignored.len()), (0, 1));

    let abandoned = || {
        let mut world = World::new();
        let found = stored(&mut world, &process(), b"1", 1);
        world.set_versions(&found.manifest.key, vec![]);
        world.unix_ms += 8 * DAY;
        let key = world.keys(LOCATORS).remove(0);
        (world, key)
    };
    let (right, untrusted) = right_and_untrusted(abandoned, sweep);
    assert_eq!(right.result, "deleted 0, freed 0, suspected 1, adopted 0, problems 0");
    assert_eq!(untrusted.result, "deleted 0, freed 0, suspected 0, adopted 0, problems 1");
}

#[test]
fn an_adoption_reads_the_row_of_what_is_adopted_once_more() {
    let adopt = |world: &mut World| {
        let request =
            AdoptRequest { container: Some("vm".into()), dry_run: false, hash: false, keys: Arc::default(), seed: 1 };
        report(&world.run(&mut Adopt::new(process(), request).unwrap(), &[]).unwrap())
    };
    let adopted = || {
        let mut world = World::new();
        world.put("vm/disk", b"one");
        let request =
            AdoptRequest { container: Some("vm".into()), dry_run: false, hash: false, keys: Arc::default(), seed: 1 };
        world.run(&mut Adopt::new(process(), request).unwrap(), &[]).unwrap();
        let key = world.keys(CATALOGUE).remove(0);
        (world, key)
    };
    let (right, untrusted) = right_and_untrusted(adopted, adopt);
    assert_eq!(right.result, "deleted 0, freed 0, suspected 0, adopted 0, problems 0");
    assert_eq!(untrusted.result, "deleted 0, freed 0, suspected 0, adopted 1, problems 0", "it is adopted again");
    assert_eq!((right.ignored.len(), untrusted.ignored.len()), (0, 1));
}
