//! A whole container as it was at a time, and the search for a label.

use std::sync::Arc;

use super::super::marker::Mark;
use super::super::*;
use super::world::*;
use crate::Code;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn put_path(world: &mut World, vault: &Arc<Vault>, path: &str, random: u8) -> Found {
    world.unix_ms += MINUTE;
    let request = PutRequest { name: Name::new("vm", path).unwrap(), ..request(None, Some(1), random) };
    world.run(&mut Put::new(vault.clone(), request).unwrap(), b"x").unwrap()
}

fn as_of(world: &mut World, vault: &Arc<Vault>, scope: Scope, at: i64) -> Vec<(String, String)> {
    let query = Query { as_of: Some(at), ..scope.into() };
    list(world, vault, query).into_iter().map(|row| (row.path, row.vid)).collect()
}

#[test]
fn a_container_as_of_a_time_has_one_row_for_each_path() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let hashed = "/x".repeat(90)[1..].to_owned();
    let a = put_path(&mut world, &vault, "a", 1);
    let disk = put_path(&mut world, &vault, "disk", 2);
    let long = put_path(&mut world, &vault, &hashed, 3);
    let newer = put_path(&mut world, &vault, "a", 4);
    world.unix_ms += MINUTE;
    let deleted = RowKey {
        vid: Vid::new(world.unix_ms, [0; 10]),
        recorded_ms: world.unix_ms,
        kind: Kind::Del,
        size: 0,
        parent: None,
    };
    put_row_of(&mut world, &vault, &deleted);
    let again = put_path(&mut world, &vault, "disk", 5);
    let of = |found: &Found| (found.row.path.clone(), found.row.vid.clone());
    let container = || Scope::Container("vm".into());
    for (at, expected) in [
        (a.row.recorded_ms - 1, vec![]),
        (a.row.recorded_ms, vec![of(&a)]),
        (long.row.recorded_ms, vec![of(&a), of(&disk), of(&long)]),
        (newer.row.recorded_ms, vec![of(&newer), of(&disk), of(&long)]),
        (deleted.recorded_ms, vec![of(&newer), of(&long)]),
        (again.row.recorded_ms, vec![of(&newer), of(&again), of(&long)]),
        (i64::MAX, vec![of(&newer), of(&again), of(&long)]),
    ] {
        for scope in [container(), Scope::All, Scope::Paths { container: "vm".into(), prefix: String::new() }] {
            assert_eq!(as_of(&mut world, &vault, scope, at), expected, "{at}");
        }
        // Each is what a lookup as of the same time finds.
        for (path, vid) in expected {
            let name = Name::new("vm", &path).unwrap();
            let found = world.run(&mut Find::new(vault.clone(), name, Selector::AsOf(at), None, 1), &[]).unwrap();
            assert_eq!(found.row.vid, vid);
        }
    }
    let paths = Scope::Paths { container: "vm".into(), prefix: "d".into() };
    assert_eq!(as_of(&mut world, &vault, paths, disk.row.recorded_ms), [of(&disk)]);
    let backup = Scope::Backup(Name::new("vm", "a").unwrap());
    assert_eq!(as_of(&mut world, &vault, backup, newer.row.recorded_ms - 1), [of(&a)]);
}

#[test]
fn a_container_as_of_a_time_does_not_believe_an_unsigned_deletion_or_marker() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = put_path(&mut world, &vault, "disk", 1);
    let vid = Vid::parse(&found.row.vid).unwrap();
    let deleted = RowKey {
        vid: Vid::new(world.unix_ms, [0; 10]),
        recorded_ms: world.unix_ms,
        kind: Kind::Del,
        size: 0,
        parent: None,
    };
    for key in [Mark::Deleted.key(&name(), vid), format!("_s3vault/1/cat/vm/disk/{deleted}")] {
        world.put(&key, b"");
    }
    let container = Scope::Container("vm".into());
    assert_eq!(as_of(&mut world, &vault, container, i64::MAX), [("disk".to_owned(), found.row.vid.clone())]);
}

/// One row for each path, also where its versions take several pages.
#[test]
fn a_path_has_one_row_as_of_a_time_however_many_pages_its_versions_take() {
    let (mut world, vault) = (World::new(), vault(&[]));
    for n in 0..2_500 {
        let row = RowKey {
            vid: Vid::new(START - n, [0; 10]),
            recorded_ms: START - n,
            kind: Kind::Full,
            size: 1,
            parent: None,
        };
        world.put(&format!("_s3vault/1/cat/vm/disk/{row}"), b"{}");
    }
    for back in [0, 999, 1_000, 1_001, 2_499] {
        let vid = Vid::new(START - back, [0; 10]).to_string();
        let rows = as_of(&mut world, &vault, Scope::Container("vm".into()), START - back);
        assert_eq!(rows, [("disk".to_owned(), vid)], "{back}");
    }
    assert_eq!(as_of(&mut world, &vault, Scope::All, START - 2_500), []);
}

#[test]
fn a_list_of_containers_shows_no_versions_to_choose_from() {
    for query in [
        Query { as_of: Some(0), ..Scope::Containers.into() },
        Query { label: Some(("a".into(), "b".into())), ..Scope::Containers.into() },
    ] {
        assert_eq!(query.check().unwrap_err().code(), Code::InvalidOption);
    }
}

/// Stores a version of no bytes with this label.
fn labelled(world: &mut World, vault: &Vault, at: i64, label: Option<(&str, &str)>) -> String {
    let row = RowKey { vid: Vid::new(at, [0; 10]), recorded_ms: at, kind: Kind::Full, size: 0, parent: None };
    let times = manifest::Times { initiated: at, completed: at, stored: at };
    let mut manifest = Manifest::new(&vault.id, &name(), &row, times, Vec::new(), None);
    manifest.labels = Labels::parse(&label.map_or_else(String::new, |(key, value)| format!("{key}={value}"))).unwrap();
    world.put(&manifest.key, &manifest.to_object(vault.signing_key()));
    row.vid.to_string()
}

#[test]
fn a_label_is_looked_for_in_the_manifest_of_each_version() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let night = labelled(&mut world, &vault, START, Some(("job", "night")));
    labelled(&mut world, &vault, START + 1, Some(("job", "day")));
    labelled(&mut world, &vault, START + 2, None);
    let newest = labelled(&mut world, &vault, START + 3, Some(("job", "night")));
    let hidden = labelled(&mut world, &vault, START + 4, Some(("job", "night")));
    mark(&mut world, &vault, &hidden, Mark::Deleted);
    // A row that nobody signed has no labels.
    world.put(&format!("_s3vault/1/cat/vm/disk/{}.{}.full.0.-", Vid::new(START + 5, [0; 10]), START), b"");
    let query =
        |value: &str| Query { label: Some(("job".into(), value.into())), ..Scope::Container("vm".into()).into() };
    world.log.clear();
    let rows = list(&mut world, &vault, query("night"));
    assert_eq!(rows.iter().map(|row| &*row.vid).collect::<Vec<_>>(), [&newest, &night]);
    assert!(rows.iter().all(|row| row.signed_by.is_some() && row.manifest_hash.is_some()));
    let gets = world.operations().iter().filter(|operation| **operation == "GetObject").count();
    assert_eq!(gets, 7, "the marker, each row that is not hidden, and once more the one that does not verify");
    assert_eq!(list(&mut world, &vault, query("never")), []);
}
