//! The chain of an incremental.

use std::sync::Arc;

use super::super::marker::Mark;
use super::super::*;
use super::world::*;
use crate::machine::Event;
use crate::{Code, Error};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A full backup and three incrementals, each on the one before.
fn chain_of_four() -> (World, Arc<Vault>, Vec<Found>) {
    let (mut world, vault) = (World::new(), vault(&[]));
    let mut versions: Vec<Found> = Vec::new();
    for n in 0..4u8 {
        world.unix_ms += MINUTE;
        let parent = versions.last().map(|found| Vid::parse(&found.row.vid).unwrap());
        let found = world.run(&mut put(&vault, parent, n), &[n]).unwrap();
        versions.push(found);
        // Beside the chain.
        stored(&mut world, &vault, b"full", 100 + n);
    }
    world.log.clear();
    (world, vault, versions)
}

fn chain(world: &mut World, vault: &Arc<Vault>, found: &Found) -> Result<Vec<Row>, Error> {
    world.run(&mut Chain::new(vault.clone(), &found.manifest, found.row.clone(), 1)?, &[])
}

fn rows(versions: &[Found]) -> Vec<Row> {
    versions.iter().map(|found| found.row.clone()).collect()
}

#[test]
fn a_chain_starts_with_the_full_backup_and_each_row_of_it_is_verified() {
    let (mut world, vault, versions) = chain_of_four();
    for n in 0..4 {
        world.log.clear();
        assert_eq!(chain(&mut world, &vault, &versions[n]).unwrap(), rows(&versions[..=n]));
        let expected: Vec<&str> = match n {
            0 => vec![],
            n => std::iter::once("ListObjectsV2").chain(vec!["GetObject"; n]).collect(),
        };
        assert_eq!(world.operations(), expected, "one LIST, and a GET for each ancestor");
    }
}

#[test]
fn a_parent_that_a_marker_hides_is_still_part_of_the_chain() {
    let (mut world, vault, versions) = chain_of_four();
    mark(&mut world, &vault, &versions[1].row.vid, Mark::Deleted);
    mark(&mut world, &vault, &versions[0].row.vid, Mark::Deleted);
    assert_eq!(chain(&mut world, &vault, &versions[3]).unwrap(), rows(&versions));
}

#[test]
fn a_missing_parent_is_named() {
    let (mut world, vault, versions) = chain_of_four();
    world.set_versions(&versions[1].manifest.key, vec![]);
    let e = chain(&mut world, &vault, &versions[3]).unwrap_err();
    let (child, parent) = (&versions[2].row.vid, &versions[1].row.vid);
    assert!(e.message().contains(&format!("version {child} of vm disk needs version {parent}")), "{e}");
    assert_eq!(e.code(), Code::DataMissing);
}

#[test]
fn only_signed_rows_make_a_chain() {
    let (mut world, vault, versions) = chain_of_four();
    let key = &versions[1].manifest.key;
    // Another row of the same version, with another parent, comes first.
    let forged = key.replace(&format!(".{}.", versions[1].row.recorded_ms), ".1.");
    world.put(&forged, b"");
    assert_eq!(chain(&mut world, &vault, &versions[3]).unwrap(), rows(&versions));
    assert!(world.events.iter().any(|event| matches!(event, Event::Ignored { key, .. } if *key == forged)));
    world.set_versions(&forged, vec![]);
    world.put(key, b"{}\n");
    let e = chain(&mut world, &vault, &versions[3]).unwrap_err();
    assert!(e.code() == Code::Untrusted && e.message().contains(&versions[1].row.vid), "{e}");
}
