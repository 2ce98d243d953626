//! Text without a signature decides nothing: who may only write objects can hide no version from a vault that trusts a key,
//! and show none.

use std::sync::Arc;

use super::super::marker::{Mark, Marker};
use super::super::objects::CATALOGUE;
use super::super::*;
use super::world::*;
use crate::machine::{Event, Machine, Output};
use crate::{Code, Error};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const PREFIX: &str = "_s3vault/1/cat/vm/disk/";

/// Every way to ask for the newest version, or for this one.
fn ways_to(found: &Found) -> Vec<Selector> {
    let (vid, at) = (Vid::parse(&found.row.vid).unwrap(), found.row.recorded_ms);
    vec![
        Selector::Latest,
        Selector::AsOf(at),
        Selector::AsOf(i64::MAX),
        Selector::Version(vid),
        Selector::Start(VidPrefix::parse(&found.row.vid[..25]).unwrap()),
        Selector::Recorded { at, tolerance_ms: 0 },
    ]
}

/// Every listing of versions that shows the backup.
fn listings() -> Vec<Scope> {
    let container = || "vm".to_owned();
    vec![
        Scope::Backup(name()),
        Scope::Container(container()),
        Scope::All,
        Scope::Paths { container: container(), prefix: String::new() },
    ]
}

/// The newest version id that a listing shows, and what kind of row it is.
fn newest(world: &mut World, vault: &Arc<Vault>, scope: Scope) -> Option<(String, Option<Kind>)> {
    list(world, vault, scope).into_iter().next().map(|row| (row.vid, row.kind))
}

fn ignored(world: &mut World) -> Vec<String> {
    let events = std::mem::take(&mut world.events).into_iter();
    let keys = events.filter_map(|event| if let Event::Ignored { key, .. } = event { Some(key) } else { None });
    keys.collect()
}

fn row_at(vid_ms: i64, kind: Kind) -> RowKey {
    RowKey { vid: Vid::new(vid_ms, [0; 10]), recorded_ms: vid_ms, kind, size: 0, parent: None }
}

/// Two versions, and a clock that is a minute after the second.
fn two_versions() -> (World, Arc<Vault>, Found, Found) {
    let (mut world, vault) = (World::new(), vault(&[]));
    let first = stored(&mut world, &vault, b"1", 1);
    world.unix_ms += MINUTE;
    let second = stored(&mut world, &vault, b"2", 2);
    world.unix_ms += MINUTE;
    world.events.clear();
    (world, vault, first, second)
}

/// The object at `key` hides nothing: all readers see the version as they did, and each says which object it ignores.
fn hides_nothing(world: &mut World, vault: &Arc<Vault>, found: &Found, key: &str) {
    for which in ways_to(found) {
        assert_eq!(find(world, vault, which).unwrap().row, found.row, "{which:?}");
        let is_decisive = !matches!(which, Selector::Version(_) | Selector::Start(_)) || key.ends_with(".-d");
        let is_candidate = key.ends_with(".-d") || matches!(which, Selector::Latest | Selector::AsOf(i64::MAX));
        if is_decisive && is_candidate {
            assert!(ignored(world).iter().any(|own| own == key), "{which:?}");
        }
    }
    world.events.clear();
    for scope in listings() {
        let expected = Some((found.row.vid.clone(), found.row.kind));
        assert_eq!(newest(world, vault, scope.clone()), expected, "{scope:?}");
        assert_eq!(ignored(world), [key], "{scope:?}");
    }
}

#[test]
fn an_unsigned_marker_hides_no_version() {
    let (mut world, vault, _, second) = two_versions();
    let key = Mark::Deleted.key(&name(), Vid::parse(&second.row.vid).unwrap());
    let marker = Marker::new(&vault.id, &name(), Vid::parse(&second.row.vid).unwrap(), Mark::Deleted);
    let own = vault.signing_key();
    let stranger = Keyring::generate([9; 32]);
    let other_version = Marker::new(&vault.id, &name(), Vid::new(START, [7; 10]), Mark::Deleted);
    let other_vault = Marker::new(&"0".repeat(32), &name(), Vid::parse(&second.row.vid).unwrap(), Mark::Deleted);
    for forged in [
        Vec::new(),
        b"{}\n".to_vec(),
        marker.to_object(None),
        marker.to_object(Some(stranger.signing_key())),
        // Signed by the owner, and copied from elsewhere.
        other_version.to_object(own),
        other_vault.to_object(own),
        second.object.to_vec(),
        vec![b' '; 40 << 10],
    ] {
        world.put(&key, &forged);
        hides_nothing(&mut world, &vault, &second, &key);
    }
    world.put(&key, &marker.to_object(own));
    let e = find(&mut world, &vault, Selector::Version(Vid::parse(&second.row.vid).unwrap())).unwrap_err();
    assert!(e.code() == Code::NotFound && e.message().contains("is deleted: a marker hides it"), "{e}");
    assert_eq!(e.key(), key, "the error names the marker");
    assert_ne!(find(&mut world, &vault, Selector::Latest).unwrap().row, second.row);
}

#[test]
fn an_unsigned_deletion_deletes_no_backup() {
    let (mut world, vault, _, second) = two_versions();
    let key = format!("{PREFIX}{}", row_at(world.unix_ms, Kind::Del));
    let deletion = row_at(world.unix_ms, Kind::Del);
    put_row_of(&mut world, &vault, &deletion);
    let line = world.body(&key).to_vec();
    let unsigned = line.split_inclusive(|byte| *byte == b'\n').next().unwrap().to_vec();
    world.set_versions(&key, vec![]);
    for forged in [Vec::new(), unsigned, second.object.to_vec()] {
        world.put(&key, &forged);
        hides_nothing(&mut world, &vault, &second, &key);
    }
    world.put(&key, &line);
    let e = find(&mut world, &vault, Selector::Latest).unwrap_err();
    assert!(e.code() == Code::NotFound && e.message().contains("was deleted at"), "{e}");
    assert_eq!(newest(&mut world, &vault, Scope::Paths { container: "vm".into(), prefix: String::new() }), None);
    assert_eq!(newest(&mut world, &vault, Scope::All).unwrap().1, Some(Kind::Del));
}

#[test]
fn an_unsigned_row_in_the_future_hides_no_version() {
    let (mut world, vault, _, second) = two_versions();
    for ahead in [61 * MINUTE, 1_000_000 * MINUTE] {
        let key = format!("{PREFIX}{}", row_at(world.unix_ms + ahead, Kind::Full));
        world.put(&key, b"");
        hides_nothing(&mut world, &vault, &second, &key);
        world.set_versions(&key, vec![]);
    }
    // The clock of a machine was wrong: its version is signed, and the newest.
    let ahead = row_at(world.unix_ms + 61 * MINUTE, Kind::Full);
    let key = put_row_of(&mut world, &vault, &ahead);
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().manifest.key, key);
    for scope in listings() {
        assert!(key.contains(&newest(&mut world, &vault, scope).unwrap().0));
    }
    assert_eq!(ignored(&mut world), [""; 0]);
}

#[test]
fn a_newest_version_that_does_not_verify_is_an_error_that_names_the_one_that_does() {
    let (mut world, vault, first, second) = two_versions();
    // Several, and one that is too large to be read.
    for later in 0..3 {
        let body = vec![b' '; if later == 1 { 1 << 20 } else { 0 }];
        world.put(&format!("{PREFIX}{}", row_at(world.unix_ms + later, Kind::Full)), &body);
    }
    for (which, verifies) in
        [(Selector::Latest, &second), (Selector::AsOf(i64::MAX), &second), (Selector::AsOf(world.unix_ms), &second)]
    {
        let e = find(&mut world, &vault, which).unwrap_err();
        assert!(matches!(e.code(), Code::Untrusted | Code::Format), "{e}");
        let (vid, at) = (&verifies.row.vid, crate::time::rfc3339(verifies.row.recorded_ms));
        assert!(e.message().contains(&format!("the newest version that verifies is {vid}, recorded at {at}")), "{e}");
        assert!(e.hint().ends_with(&format!("set version = {vid}.")), "{e}");
        let chosen = find(&mut world, &vault, Selector::Version(Vid::parse(vid).unwrap())).unwrap();
        assert_eq!(chosen.row, verifies.row);
    }
    // Times before it are not concerned.
    assert_eq!(find(&mut world, &vault, Selector::AsOf(second.row.recorded_ms)).unwrap().row, second.row);
    assert_eq!(find(&mut world, &vault, Selector::AsOf(first.row.recorded_ms)).unwrap().row, first.row);
}

#[test]
fn of_several_rows_of_a_version_the_first_that_verifies_counts_and_the_others_are_reported() {
    let (mut world, vault, _, second) = two_versions();
    let own = &second.manifest.key;
    let forged = |by: i64, kind: &str| {
        let own = own.replace(".full.", kind);
        own.replace(&format!(".{}.", second.row.recorded_ms), &format!(".{}.", second.row.recorded_ms - by))
    };
    let (older, deleted) = (forged(2, ".full."), forged(1, ".del."));
    world.put(&older, b"");
    world.put(&deleted, b"");
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, second.row);
    let mut keys = ignored(&mut world);
    keys.sort();
    assert_eq!(keys, [older, deleted]);
}

#[test]
fn a_marker_on_a_deletion_brings_the_backup_back() {
    let (mut world, vault, _, second) = two_versions();
    let deletion = row_at(world.unix_ms, Kind::Del);
    put_row_of(&mut world, &vault, &deletion);
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap_err().code(), Code::NotFound);
    mark(&mut world, &vault, &deletion.vid.to_string(), Mark::Deleted);
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, second.row);
    for scope in listings() {
        assert_eq!(newest(&mut world, &vault, scope), Some((second.row.vid.clone(), second.row.kind)));
    }
    // Who may only write cannot make it so.
    let (mut world, vault, ..) = two_versions();
    put_row_of(&mut world, &vault, &deletion);
    world.put(&Mark::Deleted.key(&name(), deletion.vid), b"");
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap_err().code(), Code::NotFound);
}

/// What proof costs: nothing where nothing is hidden, and one GET for each marker, once for each open vault.
#[test]
fn each_marker_is_read_once_and_a_clean_vault_costs_nothing() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let versions: Vec<Found> = (1..=20)
        .map(|n| {
            world.unix_ms += MINUTE;
            stored(&mut world, &vault, &[n], n)
        })
        .collect();
    let cost = |world: &mut World, which: Option<Selector>| {
        world.log.clear();
        match which {
            Some(which) => drop(find(world, &vault, which).unwrap()),
            None => drop(list(world, &vault, Scope::Backup(name()))),
        }
        let count = |operation| world.operations().iter().filter(|own| **own == operation).count();
        (count("ListObjectsV2"), count("GetObject"), world.operations().len())
    };
    let as_of = Selector::AsOf(versions[19].row.recorded_ms);
    assert_eq!(cost(&mut world, Some(Selector::Latest)), (1, 1, 2));
    assert_eq!(cost(&mut world, Some(as_of)), (1, 1, 2));
    assert_eq!(cost(&mut world, None), (1, 0, 1));
    for n in [17, 18, 19, 2, 3] {
        mark(&mut world, &vault, &versions[n].row.vid, Mark::Deleted);
    }
    assert_eq!(cost(&mut world, Some(Selector::Latest)), (1, 4, 5), "the markers that hide newer ones, and the row");
    assert_eq!(cost(&mut world, Some(Selector::Latest)), (1, 1, 2));
    assert_eq!(cost(&mut world, Some(as_of)), (1, 1, 2));
    assert_eq!(cost(&mut world, None), (1, 2, 3), "the other markers");
    assert_eq!(cost(&mut world, None), (1, 0, 1));
    // A marker whose version is gone hides nothing, and is not read.
    mark(&mut world, &vault, &Vid::new(START - 1, [0; 10]).to_string(), Mark::Deleted);
    assert_eq!(cost(&mut world, None), (1, 0, 1));
}

#[test]
fn markers_are_read_beside_each_other() {
    let (mut world, vault) = (World::new(), vault(&[]));
    for n in 0..40 {
        let row = row_at(START - n, Kind::Full);
        put_row_of(&mut world, &vault, &row);
        mark(&mut world, &vault, &row.vid.to_string(), Mark::Deleted);
    }
    let mut page = ListPage::new(vault, Scope::All, Cursor::default(), 1);
    assert!(world.run_until(&mut page, &[], 1).is_none() && world.operations() == ["ListObjectsV2"]);
    let mut reads = 0;
    while let Output::Send(request) = page.poll(world.now()) {
        assert_eq!(request.operation, "GetObject");
        reads += 1;
    }
    assert_eq!(reads, 16);
}

#[test]
fn a_list_of_n_versions_costs_a_list_for_each_thousand() {
    let (mut world, vault) = (World::new(), vault(&[]));
    for n in 0..2_500 {
        world.put(&format!("{PREFIX}{}", row_at(START - n, Kind::Full)), b"{}");
    }
    for scope in listings().into_iter().take(3) {
        world.log.clear();
        assert_eq!(list(&mut world, &vault, scope).len(), 2_500);
        assert_eq!(world.operations(), ["ListObjectsV2"; 3]);
    }
}

/// Without a trusted key there is nothing to verify with, and a marker counts as its key stands.
#[test]
fn a_vault_without_a_trusted_key_reads_no_markers() {
    let (mut world, _, first, second) = two_versions();
    let blind = vault_of(crate::profile::S3, &[], None);
    world.put(&Mark::Deleted.key(&name(), Vid::parse(&second.row.vid).unwrap()), b"");
    world.log.clear();
    assert_eq!(find(&mut world, &blind, Selector::Latest).unwrap().row.vid, first.row.vid);
    assert_eq!(list(&mut world, &blind, Scope::Backup(name())).len(), 1);
    assert_eq!(world.operations(), ["ListObjectsV2", "GetObject", "ListObjectsV2"]);
}

/// Another process may finish a deletion between the LIST that names its marker and the GET that reads it.
#[test]
fn a_marker_that_is_gone_when_it_is_read_still_hides_its_version() {
    let (mut world, vault, first, second) = two_versions();
    mark(&mut world, &vault, &second.row.vid, Mark::Deleted);
    world.fault("GetObject", PREFIX, Fault::Refused(404, "NoSuchKey"));
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, first.row);
    assert_eq!(ignored(&mut world), [""; 0]);
}

/// A store that fails to answer is not a reason to show or to hide anything.
#[test]
fn a_marker_that_cannot_be_read_is_an_error() {
    let (mut world, vault, _, second) = two_versions();
    mark(&mut world, &vault, &second.row.vid, Mark::Deleted);
    let refused = Fault::Refused(403, "AccessDenied");
    world.fault("GetObject", PREFIX, refused);
    let e: Error = find(&mut world, &vault, Selector::Latest).unwrap_err();
    assert!(e.code() == Code::AccessDenied && e.key().ends_with(".-d"), "{e}");
    world.fault("GetObject", PREFIX, refused);
    let mut page = ListPage::new(vault, Scope::All, Cursor::default(), 1);
    assert_eq!(world.run(&mut page, &[]).unwrap_err().code(), Code::AccessDenied);
    assert!(world.keys(CATALOGUE).len() == 3);
}

/// A full backup and an incremental on it, and a marker of the full one that was written while the incremental was stored.
fn deleted_parent() -> (World, Arc<Vault>, Found, Found) {
    let (mut world, vault, _, full) = two_versions();
    let parent = Vid::parse(&full.row.vid).unwrap();
    let incremental = world.run(&mut put(&vault, Some(parent), 3), b"3").unwrap();
    mark(&mut world, &vault, &full.row.vid, Mark::Deleted);
    (world, vault, full, incremental)
}

/// Without it, the incremental could not be restored.
#[test]
fn a_hidden_version_is_found_by_its_id_as_long_as_a_visible_one_builds_on_it() {
    let (mut world, vault, full, incremental) = deleted_parent();
    let by_id = Selector::Version(Vid::parse(&full.row.vid).unwrap());
    assert_eq!(find(&mut world, &vault, by_id).unwrap().row, full.row);
    assert!(list(&mut world, &vault, Scope::All).iter().all(|row| row.vid != full.row.vid), "no list shows it");
    let as_of = find(&mut world, &vault, Selector::AsOf(full.row.recorded_ms)).unwrap();
    assert_ne!(as_of.row.vid, full.row.vid, "and no time has it");
    mark(&mut world, &vault, &incremental.row.vid, Mark::Deleted);
    assert_eq!(find(&mut world, &vault, by_id).unwrap_err().code(), Code::NotFound);
}

#[test]
fn an_unsigned_incremental_shows_no_hidden_version() {
    let (mut world, vault, _, second) = two_versions();
    let vid = Vid::parse(&second.row.vid).unwrap();
    mark(&mut world, &vault, &second.row.vid, Mark::Deleted);
    let forged = RowKey { parent: Some(vid), ..row_at(world.unix_ms, Kind::Inc) };
    let key = format!("{PREFIX}{forged}");
    world.put(&key, b"");
    let e = find(&mut world, &vault, Selector::Version(vid)).unwrap_err();
    assert!(e.code() == Code::NotFound && e.message().contains("a marker hides it"), "{e}");
    assert_eq!(ignored(&mut world), [key]);
}
