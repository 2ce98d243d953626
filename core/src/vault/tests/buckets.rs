//! Readers in all modes: emulated versions, and a bucket for each container.

use std::sync::Arc;

use s3_model::Versioning;

use super::super::objects::{CATALOGUE, VAULT_KEY};
use super::super::*;
use super::world::*;
use crate::machine::Event;
use crate::transfer::ReadRequest;
use crate::{Code, Error};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const PER_VM: [(&str, &str); 2] = [("mode", "bucket-per-vm"), ("bucket_prefix", "backup-")];
const EMULATED: (&str, &str) = ("mode", "single-bucket-no-versioning");

fn per_vm() -> Arc<Vault> {
    vault(&PER_VM)
}

/// Makes the bucket of a container.
fn make_bucket(world: &mut World, vault: &Vault, container: &str, versioning: Versioning) {
    let bucket = vault.bucket(container).name().to_owned();
    world.create_bucket_named(&bucket, versioning);
}

fn put_to(world: &mut World, vault: &Arc<Vault>, container: &str, path: &str, random: u8) -> Found {
    world.unix_ms += MINUTE;
    let request = PutRequest { name: Name::new(container, path).unwrap(), ..request(None, Some(1), random) };
    world.run(&mut Put::new(vault.clone(), request).unwrap(), &[random]).unwrap()
}

fn find_in(world: &mut World, vault: &Arc<Vault>, container: &str, path: &str) -> Result<Found, Error> {
    let name = Name::new(container, path)?;
    world.run(&mut Find::new(vault.clone(), name, Selector::Latest, None, 1), &[])
}

fn names(rows: Vec<Row>) -> Vec<(String, String)> {
    let mut names: Vec<_> = rows.into_iter().map(|row| (row.container, row.path)).collect();
    names.sort();
    names
}

fn ignored(world: &World) -> Vec<(String, String)> {
    let events = world.events.iter();
    let ignored = events.filter_map(|event| match event {
        Event::Ignored { bucket, why, .. } => Some((bucket.clone(), why.clone())),
        _ => None,
    });
    ignored.collect()
}

/// A vault that is opened with nothing but credentials and configuration has all that was stored, and each reader gives
/// the same results in every mode.
#[test]
fn a_vault_that_is_opened_again_has_everything_in_every_mode() {
    let modes: [(&[(&str, &str)], Versioning); 4] = [
        (&[], Versioning::Enabled),
        (&[EMULATED], Versioning::Off),
        (&PER_VM, Versioning::Enabled),
        (&[PER_VM[0], PER_VM[1], ("per_vm_versioning", "emulated")], Versioning::Off),
    ];
    let mut results = Vec::new();
    for (mode, versioning) in modes {
        let (mut world, writer) = (World::new(), vault(mode));
        world.set_versioning(versioning);
        for container in ["vm", "VM", "größe"] {
            if writer.layout.single().is_none() {
                make_bucket(&mut world, &writer, container, versioning);
            }
        }
        for (n, (container, path)) in
            [("vm", "a"), ("VM", "b/c"), ("vm", "d"), ("größe", "x"), ("vm", "a")].into_iter().enumerate()
        {
            put_to(&mut world, &writer, container, path, n as u8);
        }
        let reader = vault(mode);
        world.run(&mut Open::new(reader.clone(), 1), &[]).unwrap();
        let mut found = Vec::new();
        for container in list(&mut world, &reader, Scope::Containers) {
            let container = container.container;
            for path in list(&mut world, &reader, Scope::Paths { container: container.clone(), prefix: String::new() })
            {
                let newest = find_in(&mut world, &reader, &container, &path.path).unwrap();
                let manifest = Arc::new(newest.manifest.clone());
                let mut read = Read::new(reader.clone(), manifest, ReadRequest::default(), 1).unwrap();
                world.run(&mut read, &[]).unwrap();
                let versions = list(&mut world, &reader, Scope::Backup(Name::new(&container, &path.path).unwrap()));
                found.push((container.clone(), path.path, newest.row.recorded_ms, versions.len()));
            }
        }
        found.sort();
        let mut all = list(&mut world, &reader, Scope::All);
        all.sort_by_key(|row| row.recorded_ms);
        let all: Vec<_> = all.into_iter().map(|row| (row.container, row.path, row.bytes)).collect();
        results.push((found, all));
    }
    assert_eq!(results[0].0.len(), 4);
    assert_eq!(results[0].1.len(), 5);
    for result in &results[1..] {
        let without_times = |found: &[(String, String, i64, usize)]| -> Vec<_> {
            found.iter().map(|(container, path, _, count)| (container.clone(), path.clone(), *count)).collect()
        };
        assert_eq!(without_times(&result.0), without_times(&results[0].0));
        assert_eq!(result.1, results[0].1);
    }
}

/// Each version has keys of its own, and no version id is sent.
#[test]
fn emulated_versions_are_read_by_their_keys() {
    let (mut world, vault) = (World::new(), vault(&[EMULATED]));
    world.set_versioning(Versioning::Off);
    let (first, second) = (put_to(&mut world, &vault, "vm", "a", 1), put_to(&mut world, &vault, "vm", "a", 2));
    for found in [&first, &second] {
        let extent = &found.manifest.extents[0];
        assert_eq!((&*extent.key, &extent.version_id), (&*format!("vm/a@{}", found.row.vid), &None));
        world.log.clear();
        let manifest = Arc::new(found.manifest.clone());
        world.run(&mut Read::new(vault.clone(), manifest, ReadRequest::default(), 1).unwrap(), &[]).unwrap();
        assert_eq!(world.log.last().unwrap().1, extent.key);
    }
}

#[test]
fn a_container_without_a_bucket_has_no_versions() {
    let (mut world, vault) = (World::new(), per_vm());
    let e = find_in(&mut world, &vault, "vm", "disk").unwrap_err();
    assert!(e.code() == Code::NotFound && e.message().contains("there is no backup vm disk"), "{e}");
    for scope in [
        Scope::Container("vm".into()),
        Scope::Backup(name()),
        Scope::Paths { container: "vm".into(), prefix: "d".into() },
    ] {
        assert_eq!(list(&mut world, &vault, scope), []);
    }
    for scope in [Scope::All, Scope::Containers] {
        assert_eq!(list(&mut world, &vault, scope), []);
    }
    // In the modes with one bucket that is an error: the bucket must exist.
    let elsewhere = super::world::vault(&[("bucket", "other")]);
    assert_eq!(find_in(&mut world, &elsewhere, "vm", "disk").unwrap_err().code(), Code::NoSuchBucket);
}

#[test]
fn buckets_of_others_are_not_listed() {
    let (mut world, vault) = (World::new(), per_vm());
    for container in ["vm", "empty", "other", "moved", "broken", "denied"] {
        make_bucket(&mut world, &vault, container, Versioning::Enabled);
    }
    let found = put_to(&mut world, &vault, "vm", "disk", 1);
    let bucket = |container: &str| vault.bucket(container).name().to_owned();
    // A bucket with a description and no version yet; it is the container's, and shows nothing.
    world.put_in(&bucket("empty"), VAULT_KEY, &vault.description("empty"));
    let other = super::world::vault(&[PER_VM[0], PER_VM[1], ("vault_id", &"0".repeat(32))]);
    world.put_in(&bucket("other"), VAULT_KEY, &other.description("other"));
    world.put_in(&bucket("moved"), VAULT_KEY, &vault.description("vm"));
    world.put_in(&bucket("broken"), VAULT_KEY, b"<html>");
    // Names of another form are not looked at, and neither is a bucket without a description reported.
    for stranger in ["backup-x", "backup-logs-2025", "else-vm-pmi6hunu55"] {
        world.create_bucket_named(stranger, Versioning::Enabled);
        world.put_in(stranger, &found.manifest.key, &found.object);
    }
    for scope in [Scope::All, Scope::Containers] {
        world.events.clear();
        let rows = names(list(&mut world, &vault, scope.clone()));
        let path = if scope == Scope::All { "disk" } else { "" };
        assert_eq!(rows, [("vm".to_owned(), path.to_owned())]);
        let mut reported = ignored(&world);
        reported.sort();
        let mut expected = ["other", "moved", "broken"].map(bucket);
        expected.sort();
        assert_eq!(reported.iter().map(|(bucket, _)| bucket.clone()).collect::<Vec<_>>(), expected);
        assert!(reported.iter().any(|(_, why)| why.contains("says that this is vault 0000")), "{reported:?}");
        assert!(
            reported.iter().any(|(_, why)| why.contains(&format!("whose bucket is {}", bucket("vm")))),
            "{reported:?}"
        );
    }
}

/// What must reach every bucket of the vault stops at one that may be the vault's and cannot be read.
#[test]
fn a_list_of_the_buckets_has_empty_ones_and_ends_at_one_that_cannot_be_read() {
    let (mut world, vault) = (World::new(), per_vm());
    for container in ["vm", "empty", "other", "z"] {
        make_bucket(&mut world, &vault, container, Versioning::Enabled);
    }
    put_to(&mut world, &vault, "vm", "disk", 1);
    let bucket = |container: &str| vault.bucket(container).name().to_owned();
    world.put_in(&bucket("empty"), VAULT_KEY, &vault.description("empty"));
    let other = super::world::vault(&[PER_VM[0], PER_VM[1], ("vault_id", &"0".repeat(32))]);
    world.put_in(&bucket("other"), VAULT_KEY, &other.description("other"));
    let mut names: Vec<_> = list(&mut world, &vault, Scope::Buckets).into_iter().map(|row| row.container).collect();
    names.sort();
    assert_eq!(names, ["empty", "vm"]);
    for (description, code) in [(&vault.description("vm")[..], Code::Untrusted), (b"<html>", Code::Format)] {
        world.put_in(&bucket("z"), VAULT_KEY, description);
        assert_eq!(failed_list(&mut world, &vault).code(), code);
    }
    world.put_in(&bucket("z"), VAULT_KEY, &vault.description("z"));
    world.fault("GetObject", VAULT_KEY, Fault::Refused(403, "AccessDenied"));
    assert_eq!(failed_list(&mut world, &vault).code(), Code::AccessDenied);
}

/// The error that ends a list of the buckets.
fn failed_list(world: &mut World, vault: &Arc<Vault>) -> Error {
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        match world.run(&mut ListPage::new(vault.clone(), Scope::Buckets, at, 1), &[]) {
            Ok((_, next)) => cursor = next,
            Err(e) => return e,
        }
    }
    panic!("the list did not fail")
}

#[test]
fn a_list_of_all_needs_the_right_to_list_the_buckets_and_that_of_one_container_does_not() {
    let (mut world, vault) = (World::new(), per_vm());
    make_bucket(&mut world, &vault, "vm", Versioning::Enabled);
    put_to(&mut world, &vault, "vm", "disk", 1);
    for scope in [Scope::All, Scope::Containers] {
        world.fault("ListBuckets", "", Fault::Refused(403, "AccessDenied"));
        let mut page = ListPage::new(vault.clone(), scope, Cursor::default(), 1);
        let e = world.run(&mut page, &[]).unwrap_err();
        assert_eq!(e.code(), Code::AccessDenied);
        assert!(format!("{e} {}", e.hint()).contains("s3:ListAllMyBuckets"), "{e} {}", e.hint());
    }
    world.log.clear();
    assert_eq!(list(&mut world, &vault, Scope::Container("vm".into())).len(), 1);
    assert_eq!(world.operations(), ["ListObjectsV2"]);
}

#[test]
fn a_list_of_all_holds_one_page_of_one_bucket_at_a_time() {
    let (mut world, vault) = (World::new(), per_vm());
    for container in ["a", "b"] {
        make_bucket(&mut world, &vault, container, Versioning::Enabled);
        let bucket = vault.bucket(container).name().to_owned();
        world.put_in(&bucket, VAULT_KEY, &vault.description(container));
        for n in 0..1_500 {
            let row = RowKey {
                vid: Vid::new(START - n, [0; 10]),
                recorded_ms: START,
                kind: Kind::Full,
                size: 1,
                parent: None,
            };
            world.put_in(&bucket, &format!("{CATALOGUE}{container}/disk/{row}"), b"{}");
        }
    }
    let (mut cursor, mut pages) = (Some(Cursor::default()), Vec::new());
    world.log.clear();
    while let Some(at) = cursor {
        let (page, next) = world.run(&mut ListPage::new(vault.clone(), Scope::All, at, 1), &[]).unwrap();
        pages.push(page.len());
        cursor = next;
    }
    assert_eq!(pages, [0, 1_000, 500, 1_000, 500]);
    let operations = ["ListBuckets", "GetObject", "ListObjectsV2", "ListObjectsV2"];
    assert_eq!(world.operations()[..4], operations);
    assert_eq!(world.operations().len(), 7);
}

/// All rows of a listing of uploads: container, path, version id.
fn uploads(world: &mut World, vault: &Arc<Vault>) -> Vec<(String, String, String)> {
    let (mut rows, mut cursor) = (Vec::new(), Some(UploadCursor::default()));
    while let Some(at) = cursor {
        let (page, next) = world.run(&mut UploadsPage::new(vault.clone(), at, 1), &[]).unwrap();
        rows.extend(page);
        cursor = next;
    }
    assert!(rows.iter().all(|row| row.kind.is_none() && row.upload_id.is_some() && row.initiated_ms > 0));
    rows.into_iter().map(|row| (row.container, row.path, row.vid)).collect()
}

#[test]
fn uploads_in_progress_are_listed_in_every_mode() {
    for (mode, versioning, shows_vid) in [
        (&[][..], Versioning::Enabled, false),
        (&[EMULATED], Versioning::Off, true),
        (&PER_VM, Versioning::Enabled, false),
    ] {
        let (mut world, vault) = (World::new(), vault(mode));
        world.set_versioning(versioning);
        if vault.layout.single().is_none() {
            make_bucket(&mut world, &vault, "vm", versioning);
            make_bucket(&mut world, &vault, "idle", versioning);
        }
        assert_eq!(uploads(&mut world, &vault), []);
        // The put is killed before it completes its upload.
        let mut put = put(&vault, None, 1);
        let mut steps = 0;
        while !world.operations().contains(&"UploadPart") && steps < 200 {
            steps += 1;
            assert!(world.run_until(&mut put, &large(), 1).is_none());
        }
        let rows = uploads(&mut world, &vault);
        assert_eq!(rows.len(), 1);
        assert_eq!((&*rows[0].0, &*rows[0].1, !rows[0].2.is_empty()), ("vm", "disk", shows_vid));
    }
}
