//! Adoption of what other programs wrote, in all modes: what becomes a version, what does not, that it can be repeated, and
//! that a deletion of an adopted version touches nothing else.

use std::sync::Arc;

use s3_model::{Rules, Versioning};

use super::super::*;
use super::world::*;
use crate::machine::Event;
use crate::vault::job::{Job, JobRequest, Report};
use crate::vault::marker::Mark;
use crate::vault::objects::{CATALOGUE, LOCATORS, VAULT_KEY};
use crate::vault::retention::Policy;
use crate::{Code, Error};

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

pub(super) fn ask() -> AdoptRequest {
    AdoptRequest { container: Some("vm".into()), dry_run: false, hash: false, keys: Arc::default(), seed: 1 }
}

pub(super) fn adopt_as(world: &mut World, vault: &Arc<Vault>, request: AdoptRequest) -> Result<Report, Error> {
    world.events.clear();
    world.run(&mut Adopt::new(vault.clone(), request)?, &[])
}

pub(super) fn adopt(world: &mut World, vault: &Arc<Vault>) -> Report {
    adopt_as(world, vault, ask()).unwrap()
}

/// What the last run said: action, path and version.
pub(super) fn said(world: &World) -> Vec<(String, String, String)> {
    let items = world.events.iter().filter_map(|event| match event {
        Event::Item { json } => Some(serde_json::from_str::<serde_json::Value>(json).unwrap()),
        _ => None,
    });
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    items.map(|item| (text(&item["action"]), text(&item["path"]), text(&item["vid"]))).collect()
}

pub(super) fn listed(world: &mut World, vault: &Arc<Vault>) -> Vec<Row> {
    let (mut all, mut cursor) = (Vec::new(), Some(Cursor::default()));
    while let Some(from) = cursor {
        let mut page = ListPage::new(vault.clone(), Scope::Container("vm".into()), from, 1);
        let (rows, next) = world.run(&mut page, &[]).unwrap();
        all.extend(rows);
        cursor = next;
    }
    all
}

/// Finds a version and reads it whole.
pub(super) fn read(world: &mut World, vault: &Arc<Vault>, vid: &str) -> Result<Found, Error> {
    let found = find(world, vault, Selector::Version(Vid::parse(vid).unwrap()))?;
    let manifest = Arc::new(found.manifest.clone());
    let request = crate::transfer::ReadRequest::default();
    world.run(&mut Read::new(vault.clone(), manifest, request, 1).unwrap(), &[])?;
    Ok(found)
}

pub(super) fn sweep(world: &mut World, vault: &Arc<Vault>) -> Report {
    let request = JobRequest { container: Some("vm".into()), dry_run: false, grace_ms: 7 * DAY, seed: 1 };
    world.events.clear();
    world.run(&mut Job::sweep(vault.clone(), request).unwrap(), &[]).unwrap()
}

/// Another program stores three versions of a backup, and deletes it between; without versioning, only the last is left.
fn written_by_another(world: &mut World) -> usize {
    for text in ["one", "two"] {
        world.put("vm/disk", text.as_bytes());
        world.unix_ms += DAY;
    }
    world.delete_as_another("vm/disk");
    world.unix_ms += DAY;
    world.put("vm/disk", b"three");
    if world.mode.is_native() { 4 } else { 1 }
}

#[test]
fn versions_and_delete_markers_of_another_program_become_versions_in_their_order() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let count = written_by_another(&mut world);
        let times: Vec<i64> = [0, DAY, 2 * DAY, 3 * DAY].map(|day| START + day)[4 - count..].to_vec();
        world.unix_ms += HOUR;
        let report = adopt(&mut world, &vault);
        assert_eq!((report.adopted, report.problems, report.kept), (count as u64, 0, 0), "{mode:?} {report:?}");
        let rows = listed(&mut world, &vault);
        let recorded: Vec<i64> = rows.iter().rev().map(|row| row.recorded_ms).collect();
        assert_eq!(recorded, times, "{mode:?}");
        let latest = find(&mut world, &vault, Selector::Latest).unwrap();
        assert_eq!((latest.row.bytes, &latest.row.vid), (5, &rows[0].vid), "{mode:?}");
        assert_eq!(world.keys(VAULT_KEY).len(), 1, "{mode:?}: the vault is described");
        for row in rows.iter().filter(|row| row.kind == Some(Kind::Full)) {
            let found = read(&mut world, &vault, &row.vid).unwrap();
            assert!(found.manifest.has_no_hashes() && found.manifest.adopted.is_some(), "{mode:?}");
        }
        if mode.is_native() {
            let deleted = find(&mut world, &vault, Selector::AsOf(START + 2 * DAY + HOUR)).unwrap_err();
            assert_eq!(deleted.code(), Code::NotFound, "{mode:?}: it was deleted then");
            let before = find(&mut world, &vault, Selector::AsOf(START + DAY + HOUR)).unwrap();
            assert_eq!(before.row.vid, rows[2].vid, "{mode:?}");
        }
        // A second run, also of another process, finds all of it.
        let again = world.vault(&[]);
        let before = world.keys("");
        let report = adopt(&mut world, &again);
        assert_eq!((report.adopted, report.kept), (0, count as u64), "{mode:?}");
        assert!(said(&world).is_empty() && world.keys("") == before, "{mode:?}");
    }
}

#[test]
fn what_the_vault_wrote_is_not_adopted() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let own = stored(&mut world, &vault, b"own", 1);
        // A put that was killed before its row.
        let mut killed = put(&vault, None, 2);
        let data = |world: &World| world.log.iter().filter(|(_, key, _)| key.starts_with("vm/disk")).count();
        while data(&world) < 2 {
            assert!(world.run_until(&mut killed, b"killed", 1).is_none(), "{mode:?}");
        }
        world.put("vm/other", b"other");
        let report = adopt(&mut world, &vault);
        let vid = said(&world)[0].2.clone();
        assert_eq!(said(&world), [("adopt".into(), "other".into(), vid)], "{mode:?}");
        assert_eq!(report.adopted, 1, "{mode:?}");
        let rows = listed(&mut world, &vault);
        assert_eq!(rows.iter().filter(|row| row.path == "disk").count(), 1, "{mode:?}");
        read(&mut world, &vault, &own.manifest.vid).unwrap();
    }
}

#[test]
fn a_dry_run_says_what_the_run_does_and_names_what_is_refused() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let long = format!("vm/{}", "x".repeat(300));
        for key in ["vm/a/b", "vm/", "vm/a//b", "vm/..", "vm-2/x", "noslash", &*long] {
            world.put(key, b"x");
        }
        let before = world.keys("");
        let dry = adopt_as(&mut world, &vault, AdoptRequest { dry_run: true, ..ask() }).unwrap();
        let would = said(&world);
        assert_eq!(before, world.keys(""), "{mode:?}");
        let report = adopt(&mut world, &vault);
        assert_eq!(said(&world), would, "{mode:?}");
        assert_eq!((report.adopted, report.problems, dry.adopted, dry.problems), (1, 4, 1, 4), "{mode:?} {report:?}");
        assert!(report.problem_texts.iter().any(|text| text.contains("'..'")), "{mode:?} {:?}", report.problem_texts);
        if !mode.is_per_vm() {
            let all = adopt_as(&mut world, &vault, AdoptRequest { container: None, ..ask() }).unwrap();
            assert_eq!((all.adopted, all.kept, all.problems), (1, 1, 5), "{mode:?} {all:?}");
            assert!(all.problem_texts.iter().any(|text| text.contains("no container")), "{:?}", all.problem_texts);
        }
    }
}

#[test]
fn a_list_of_many_pages_is_adopted_key_by_key() {
    for mode in Mode::ALL {
        let mut world = World::mode_with(mode, Rules { max_page: 3, ..Rules::default() });
        let vault = world.vault(&[]);
        stored(&mut world, &vault, b"own", 1);
        let mut expected = 0;
        for n in 0..7u64 {
            for _ in 0..=n % 4 {
                world.put(&format!("vm/{n}"), b"x");
            }
            expected += if mode.is_native() { 1 + n % 4 } else { 1 };
        }
        // The folder of the vault is in the middle of the bucket's keys.
        world.put("_/before", b"x");
        world.put("a/after", b"x");
        let report = match mode.is_per_vm() {
            false => adopt_as(&mut world, &vault, AdoptRequest { container: None, ..ask() }).unwrap(),
            true => adopt(&mut world, &vault),
        };
        let others = if mode.is_per_vm() { 0 } else { 2 };
        assert_eq!((report.adopted, report.problems), (expected + others, 0), "{mode:?} {:?}", said(&world));
        // Versions of the same millisecond keep their order, too.
        let rows = listed(&mut world, &vault);
        let (mut order, mut previous) = (Vec::new(), String::new());
        for row in rows.iter().filter(|row| row.path != "disk") {
            let key = format!("vm/{}", row.path);
            if previous != row.path {
                previous.clone_from(&row.path);
                order = world.versions(&key).iter().map(|version| version.id.clone()).collect();
            }
            let name = Name::new("vm", &row.path).unwrap();
            let which = Selector::Version(Vid::parse(&row.vid).unwrap());
            let found = world.run(&mut Find::new(vault.clone(), name, which, None, 1), &[]).unwrap();
            let newest = order.pop();
            assert!(!mode.is_native() || found.manifest.extents[0].version_id == newest, "{mode:?} {key}");
        }
    }
}

#[test]
fn with_hashes_an_adopted_version_is_verified_as_any_other() {
    for mode in Mode::ALL {
        for hash in [false, true] {
            let mut world = World::mode(mode);
            let vault = world.vault(&[]);
            let data = large();
            world.put("vm/disk", &data);
            world.put("vm/empty", b"");
            let report = adopt_as(&mut world, &vault, AdoptRequest { hash, ..ask() }).unwrap();
            assert_eq!((report.adopted, report.problems), (2, 0), "{mode:?} {report:?}");
            let vid = find(&mut world, &vault, Selector::Latest).unwrap().row.vid;
            let found = read(&mut world, &vault, &vid).unwrap();
            let extent = &found.manifest.extents[0];
            assert_eq!(extent.parts.len(), if hash { 2 } else { 0 }, "{mode:?}");
            let crc = hash.then(|| crate::checksum::digest(&data).crc64nvme);
            assert_eq!(extent.crc64nvme, crc, "{mode:?}: of all parts");
            world.body_mut("vm/disk")[17 << 20] ^= 1;
            let damaged = read(&mut world, &vault, &vid).map(|_| ()).map_err(|e| e.code());
            assert_eq!(damaged, if hash { Err(Code::Damaged) } else { Ok(()) }, "{mode:?}");
        }
    }
}

#[test]
fn what_was_adopted_without_hashes_gets_them_later() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let count = written_by_another(&mut world);
        adopt(&mut world, &vault);
        let rows = listed(&mut world, &vault);
        let report = adopt_as(&mut world, &vault, AdoptRequest { hash: true, ..ask() }).unwrap();
        let fulls = rows.iter().filter(|row| row.kind == Some(Kind::Full)).count() as u64;
        assert_eq!((report.adopted, report.kept), (fulls, count as u64 - fulls), "{mode:?}");
        assert_eq!(listed(&mut world, &vault), rows, "{mode:?}: the same versions");
        for row in rows.iter().filter(|row| row.kind == Some(Kind::Full)) {
            assert!(!read(&mut world, &vault, &row.vid).unwrap().manifest.has_no_hashes(), "{mode:?}");
        }
        let again = adopt_as(&mut world, &vault, AdoptRequest { hash: true, ..ask() }).unwrap();
        assert_eq!((again.adopted, again.kept), (0, count as u64), "{mode:?}");
    }
}

#[test]
fn a_broken_range_is_read_on_after_its_last_byte() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.put("vm/disk", &large());
    world.fault("GetObject", "vm/disk", Fault::BrokenAt(3 << 20));
    assert_eq!(adopt_as(&mut world, &vault, AdoptRequest { hash: true, ..ask() }).unwrap().adopted, 1);
    let read_again: usize = world.served.iter().map(|(_, from, to)| to - from).sum();
    assert_eq!(read_again, 20 << 20);
    let vid = find(&mut world, &vault, Selector::Latest).unwrap().row.vid;
    read(&mut world, &vault, &vid).unwrap();
}

#[test]
fn every_request_of_an_adoption_may_be_its_last() {
    for mode in Mode::ALL {
        for hash in [false, true] {
            for stop in 1.. {
                let mut world = World::mode(mode);
                let vault = world.vault(&[]);
                let count = written_by_another(&mut world);
                world.put("vm/second", b"second");
                let before = world.keys("vm/");
                let mut machine = Adopt::new(vault.clone(), AdoptRequest { hash, ..ask() }).unwrap();
                let mut is_over = false;
                while world.log.len() < stop && !is_over {
                    is_over = world.run_until(&mut machine, &[], 1).is_some();
                }
                // What it has adopted is whole.
                for row in listed(&mut world, &vault) {
                    if row.kind == Some(Kind::Full) && row.path == "disk" {
                        read(&mut world, &vault, &row.vid).unwrap();
                    }
                }
                world.unix_ms += HOUR;
                let report = adopt_as(&mut world, &vault, AdoptRequest { hash, ..ask() }).unwrap();
                assert_eq!(report.adopted + report.kept, count as u64 + 1, "{mode:?} {stop} {report:?}");
                assert_eq!(world.keys(CATALOGUE).len(), count + 1, "{mode:?} {stop}");
                let markers = usize::from(mode.is_native());
                assert_eq!(world.keys(LOCATORS).len(), count + 1 - markers, "{mode:?} {stop}");
                assert_eq!(world.keys("vm/"), before, "{mode:?} {stop}");
                if is_over {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_deletion_of_an_adopted_version_removes_that_object_and_nothing_else() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let count = written_by_another(&mut world);
        adopt(&mut world, &vault);
        let rows = listed(&mut world, &vault);
        world.unix_ms += MINUTE;
        let own = stored(&mut world, &vault, b"own", 1);
        // Other programs work at the same key and beside it.
        let foreign = [format!("vm/disk@{}", rows[0].vid), format!("vm/disk@{}.2", rows[0].vid), "vm/disk2".to_owned()];
        for key in &foreign {
            world.put(key, b"foreign");
        }
        let ids: Vec<String> = world.versions("vm/disk").iter().map(|version| version.id.clone()).collect();
        for (n, row) in rows.iter().enumerate() {
            let found = find(&mut world, &vault, Selector::Version(Vid::parse(&row.vid).unwrap()));
            let named = match (row.kind, &found) {
                (Some(Kind::Full), Ok(found)) => found.manifest.extents[0].version_id.clone(),
                _ => None,
            };
            if row.kind == Some(Kind::Del) {
                continue;
            }
            let mut deletion = DeleteVersion::new(vault.clone(), &found.unwrap().manifest, world.unix_ms, 1).unwrap();
            world.run(&mut deletion, &[]).unwrap();
            world.unix_ms += HOUR;
            let report = sweep(&mut world, &vault);
            assert_eq!((report.freed, report.problems), (1, 0), "{mode:?} {:?}", said(&world));
            let left: Vec<String> = world.versions("vm/disk").iter().map(|version| version.id.clone()).collect();
            if mode.is_native() {
                assert!(!left.contains(&named.unwrap()), "{mode:?}");
                assert_eq!(left.len(), ids.len() - 1 - n + usize::from(n > 1), "{mode:?} {n}");
            } else {
                assert!(left.is_empty(), "{mode:?}");
            }
        }
        for key in &foreign {
            assert_eq!(world.versions(key).len(), 1, "{mode:?} {key}");
        }
        read(&mut world, &vault, &own.manifest.vid).unwrap();
        // What was deleted is not adopted again; the foreign object beside it is.
        let report = adopt(&mut world, &vault);
        assert_eq!(report.adopted, 1, "{mode:?} {:?} {count}", said(&world));
        assert!(said(&world).iter().all(|(_, path, _)| path == "disk2"), "{mode:?}");
    }
}

#[test]
fn an_object_that_was_replaced_is_another_version_and_stays_when_the_old_one_goes() {
    let mode = Mode::Emulated;
    let mut world = World::mode(mode);
    let vault = world.vault(&[]);
    world.put("vm/disk", b"first");
    adopt(&mut world, &vault);
    let first = find(&mut world, &vault, Selector::Latest).unwrap();
    world.unix_ms += DAY;
    world.put("vm/disk", b"other");
    let e = read(&mut world, &vault, &first.manifest.vid).unwrap_err();
    assert!(e.code() == Code::DataMissing && e.message().contains("was replaced"), "{e}");
    assert_eq!(adopt(&mut world, &vault).adopted, 1);
    let second = find(&mut world, &vault, Selector::Latest).unwrap();
    assert_ne!(first.manifest.vid, second.manifest.vid);
    let mut deletion = DeleteVersion::new(vault.clone(), &first.manifest, world.unix_ms, 1).unwrap();
    world.run(&mut deletion, &[]).unwrap();
    world.unix_ms += HOUR;
    assert_eq!(sweep(&mut world, &vault).freed, 1);
    assert_eq!(world.body("vm/disk"), b"other");
    read(&mut world, &vault, &second.manifest.vid).unwrap();
}

#[test]
fn a_prune_lets_adopted_versions_go_as_any_other() {
    for mode in [Mode::Native, Mode::PerVmNative] {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        for text in ["one", "two", "three"] {
            world.put("vm/disk", text.as_bytes());
            world.unix_ms += DAY;
        }
        adopt(&mut world, &vault);
        let policy =
            Policy { full_versions: 1, full_days: 0, inc_versions: 0, inc_days: 0, keep_last: true, together: false };
        let prune = |world: &mut World| {
            let request = JobRequest { container: Some("vm".into()), dry_run: false, grace_ms: 7 * DAY, seed: 1 };
            world.run(&mut Job::prune(vault.clone(), policy, request).unwrap(), &[]).unwrap()
        };
        assert_eq!(prune(&mut world).deleted, 2, "{mode:?}");
        world.unix_ms += HOUR;
        let report = prune(&mut world);
        assert_eq!((report.freed, report.freed_bytes), (2, 6), "{mode:?}");
        assert_eq!(world.versions("vm/disk").len(), 1, "{mode:?}");
        assert_eq!(world.body("vm/disk"), b"three", "{mode:?}");
    }
}

#[test]
fn an_undelete_of_an_adopted_delete_marker_removes_the_marker_for_good() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.put("vm/disk", b"one");
    world.unix_ms += DAY;
    world.delete_as_another("vm/disk");
    assert_eq!(adopt(&mut world, &vault).adopted, 2);
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap_err().code(), Code::NotFound);
    world.run(&mut Undelete::new(vault.clone(), name(), 1), &[]).unwrap();
    let found = find(&mut world, &vault, Selector::Latest).unwrap();
    assert_eq!(adopt(&mut world, &vault).adopted, 0, "its version is there, and hidden");
    world.unix_ms += HOUR;
    assert_eq!(sweep(&mut world, &vault).freed, 1);
    assert_eq!(world.versions("vm/disk").len(), 1, "only the delete marker is gone");
    assert_eq!(adopt(&mut world, &vault).adopted, 0, "what was undeleted is not deleted again");
    read(&mut world, &vault, &found.manifest.vid).unwrap();
}

#[test]
fn text_without_a_signature_keeps_nothing_from_being_adopted() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.put("vm/disk", b"one");
    let request = AdoptRequest { dry_run: true, ..ask() };
    adopt_as(&mut world, &vault, request).unwrap();
    let vid = Vid::parse(&said(&world)[0].2).unwrap();
    // Somebody who may write, but has no key.
    let row = RowKey { vid, recorded_ms: START, kind: Kind::Full, size: 3, parent: None };
    world.put(&format!("{}{row}", objects::catalogue_prefix(&name())), b"");
    world.put(&Mark::Deleted.key(&name(), vid), b"");
    assert_eq!(adopt(&mut world, &vault).adopted, 1);
    assert_eq!(world.events.iter().filter(|event| matches!(event, Event::Ignored { .. })).count(), 2);
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row.vid, vid.to_string());
}

#[test]
fn a_version_that_is_being_removed_is_adopted_only_after_that() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        world.put("vm/disk", b"one");
        // Killed after its locator.
        let mut killed = Adopt::new(vault.clone(), ask()).unwrap();
        while world.keys(LOCATORS).is_empty() {
            assert!(world.run_until(&mut killed, &[], 1).is_none(), "{mode:?}");
        }
        world.unix_ms += 8 * DAY;
        assert_eq!(sweep(&mut world, &vault).suspected, 1, "{mode:?}");
        let report = adopt(&mut world, &vault);
        assert_eq!((report.adopted, report.waiting), (0, 1), "{mode:?}");
        world.unix_ms += HOUR;
        assert_eq!(sweep(&mut world, &vault).freed, 1, "{mode:?}");
        assert!(world.keys(LOCATORS).is_empty() && world.keys(CATALOGUE).is_empty(), "{mode:?}");
        assert_eq!(world.body("vm/disk"), b"one", "{mode:?}: a sweep removes no data of other programs");
        assert_eq!(adopt(&mut world, &vault).adopted, 1, "{mode:?}");
    }
}

#[test]
fn a_request_that_expires_is_dated_by_a_new_look() {
    let (mut world, vault) = (World::new(), vault(&[("retry_time", "7200")]));
    world.put("vm/disk", b"one");
    world.fault("PutObject", LOCATORS, Fault::LostBefore);
    let mut is_first = true;
    world.hook(move |world, request| {
        if request.operation == "PutObject" && request.url.contains("/loc/") && !std::mem::replace(&mut is_first, false)
        {
            // The store is away until the date of the first attempt has passed.
            if !std::mem::replace(&mut world.ends_late, true) {
                world.unix_ms += 20 * MINUTE;
            }
        }
    });
    assert_eq!(adopt(&mut world, &vault).adopted, 1);
    let puts: Vec<&String> = world
        .log
        .iter()
        .filter(|(op, key, _)| *op == "PutObject" && key.contains("/loc/"))
        .map(|(.., at)| at)
        .collect();
    assert!(puts.len() == 3 && puts[0] == puts[1] && puts[2] > puts[1], "{puts:?}");
    let lists = world.log.iter().filter(|(op, key, _)| *op == "HeadObject" && key == "vm/disk").count();
    assert_eq!(lists, 2, "the object was looked for again");
}

#[test]
fn an_object_that_is_deleted_meanwhile_is_not_adopted() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        world.put("vm/disk", b"one");
        world.hook(|world, request| {
            if request.operation == "HeadObject" {
                world.set_versions("vm/disk", Vec::new());
            }
        });
        let report = adopt(&mut world, &vault);
        assert_eq!((report.adopted, report.problems), (0, 0), "{mode:?}");
        assert!(world.keys(CATALOGUE).is_empty() && world.keys(LOCATORS).is_empty(), "{mode:?}");
    }
}

#[test]
fn an_object_that_is_listed_twice_is_adopted_once() {
    let mut world = World::with(Rules { max_page: 2, ..Rules::default() });
    let vault = world.vault(&[]);
    for bytes in [b"one", b"two", b"3rd", b"4th"] {
        world.put("vm/disk", bytes);
    }
    adopt(&mut world, &vault);
    let mut pages = 0;
    world.hook(move |world, request| {
        if request.operation == "ListObjectVersions" {
            pages += 1;
            if pages == 2 {
                // The marker of this page names it.
                let mut versions = world.versions("vm/disk").to_vec();
                versions.remove(2);
                world.set_versions("vm/disk", versions);
            }
        }
    });
    let report = adopt(&mut world, &vault);
    assert_eq!((report.adopted, report.kept, report.problems), (0, 4, 0));
    assert_eq!(world.keys(CATALOGUE).len(), 4);
}

#[test]
fn a_delete_marker_that_is_removed_meanwhile_is_not_adopted() {
    for is_removed in [true, false] {
        let mut world = World::new();
        let vault = world.vault(&[]);
        world.put("vm/disk", b"one");
        world.delete_as_another("vm/disk");
        // A longer key with the same start is listed, too.
        world.put("vm/disk.old", b"two");
        let is_listed = std::sync::atomic::AtomicBool::new(false);
        world.hook(move |world, request| {
            let is_catalogue = request.operation == "ListObjectsV2";
            if is_removed && is_catalogue && !is_listed.swap(true, std::sync::atomic::Ordering::Relaxed) {
                let object = world.versions("vm/disk")[0].clone();
                world.set_versions("vm/disk", vec![object]);
            }
        });
        let report = adopt(&mut world, &vault);
        assert_eq!((report.adopted, report.problems), (if is_removed { 2 } else { 3 }, 0));
        let hides = world.keys(CATALOGUE).iter().filter(|key| key.contains(".del.")).count();
        assert_eq!(hides, usize::from(!is_removed));
    }
}

#[test]
fn keys_with_a_leading_slash_are_those_of_a_vault_with_that_setting() {
    let mut world = World::new();
    let (with, without) = (vault(&[("leading_slash", "true")]), vault(&[]));
    world.put("/vm/disk", b"slash");
    world.put("vm/disk", b"plain");
    let all = AdoptRequest { container: None, ..ask() };
    for (vault, key, why) in [(&with, "/vm/disk", "does not start"), (&without, "vm/disk", "set leading_slash")] {
        let report = adopt_as(&mut world, vault, all.clone()).unwrap();
        assert_eq!((report.adopted, report.problems), (1, 1), "{report:?}");
        assert!(report.problem_texts[0].contains(why), "{:?}", report.problem_texts);
        let found = find(&mut world, vault, Selector::Latest).unwrap();
        assert_eq!(found.manifest.extents[0].key, key);
        read(&mut world, vault, &found.manifest.vid).unwrap();
    }
}

#[test]
fn a_bucket_that_does_not_fit_the_mode_or_is_another_vaults_is_refused() {
    let mut world = World::new();
    world.put("vm/disk", b"one");
    world.set_versioning(Versioning::Off);
    let vault = world.vault(&[]);
    assert_eq!(adopt_as(&mut world, &vault, ask()).unwrap_err().code(), Code::Versioning);
    world.set_versioning(Versioning::Enabled);
    world.put(
        VAULT_KEY,
        b"{\"format\":1,\"vault\":\"00112233445566778899aabbccddeeff\",\"layout\":\"single-bucket\"}\n",
    );
    assert_eq!(adopt_as(&mut world, &vault, ask()).unwrap_err().code(), Code::VaultMismatch);
    assert!(world.keys(CATALOGUE).is_empty());
    // A vault that trusts a key and has none to sign with would adopt for nobody.
    let key = vault.signing_key().unwrap().public().to_string();
    let reader = vault_of(crate::profile::S3, &[("verify_keys", &key)], None);
    assert_eq!(Adopt::new(reader, ask()).err().map(|e| e.code()), Some(Code::Keyring));
}
