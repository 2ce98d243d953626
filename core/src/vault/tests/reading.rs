//! The machines find, read, list and open.

use std::sync::Arc;

use super::super::marker::Mark;
use super::super::objects::{CATALOGUE, LOCATORS, VAULT_KEY};
use super::super::*;
use super::world::*;
use crate::crypto::data_key::DataKey;
use crate::http::ReplyHead;
use crate::machine::{Input, Machine, Output};
use crate::transfer::{Delivery, ReadRequest};
use crate::{Code, Error};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn read(world: &mut World, vault: &Arc<Vault>, found: &Found) -> Result<(), Error> {
    world.run(&mut Read::new(vault.clone(), Arc::new(found.manifest.clone()), ReadRequest::default(), 1).unwrap(), &[])
}

/// The key of a row of one byte, with a version id of the instant `vid_ms`.
fn row(kind: Kind, vid_ms: i64, recorded_ms: i64) -> RowKey {
    RowKey { vid: Vid::new(vid_ms, [0; 10]), recorded_ms, kind, size: 1, parent: None }
}

#[test]
fn find_costs_one_list_and_one_get() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let first = stored(&mut world, &vault, b"1", 1);
    let second = stored(&mut world, &vault, b"2", 2);
    world.log.clear();
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, second.row);
    assert_eq!(world.operations(), ["ListObjectsV2", "GetObject"]);
    let vid = Vid::parse(&first.row.vid).unwrap();
    assert_eq!(find(&mut world, &vault, Selector::Version(vid)).unwrap().object, first.object);
    world.log.clear();
    read(&mut world, &vault, &second).unwrap();
    assert_eq!(world.operations(), ["ListObjectsV2", "GetObject", "GetObject"], "locators, the locator, the data");
}

#[test]
fn a_version_is_found_by_the_start_of_its_id_if_only_one_that_is_visible_starts_like_that() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let versions: Vec<Found> = (1..=3).map(|n| stored(&mut world, &vault, &[n], n)).collect();
    let start = |text: &str| Selector::Start(VidPrefix::parse(text).unwrap());
    // The shortest start that fits no other of the versions.
    let unique = |of: &Found| {
        let others: Vec<&str> = versions.iter().map(|v| &*v.row.vid).filter(|vid| *vid != of.row.vid).collect();
        let length = (1..26).find(|n| !others.iter().any(|vid| vid.starts_with(&of.row.vid[..*n]))).unwrap();
        of.row.vid[..length].to_lowercase()
    };
    for found in &versions {
        assert_eq!(find(&mut world, &vault, start(&unique(found))).unwrap().object, found.object);
    }
    world.log.clear();
    let e = find(&mut world, &vault, start("7")).unwrap_err();
    assert_eq!((e.code(), e.hint()), (Code::Ambiguous, "Give more characters of the version id."));
    let newest = [&versions[2], &versions[1]].map(|found| found.row.vid.clone());
    assert!(newest.iter().all(|vid| e.message().contains(vid)), "{e}");
    assert_eq!(world.operations(), ["ListObjectsV2"]);
    assert_eq!(find(&mut world, &vault, start("00")).unwrap_err().code(), Code::NotFound);
    // Versions that no listing shows do not make it ambiguous, and are not found.
    for hidden in [&versions[0], &versions[2]] {
        mark(&mut world, &vault, &hidden.row.vid, Mark::Deleted);
    }
    assert_eq!(find(&mut world, &vault, start("7")).unwrap().object, versions[1].object);
    assert_eq!(find(&mut world, &vault, start(&unique(&versions[0]))).unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_version_is_the_same_row_from_put_find_and_list() {
    for record in ["false", "true"] {
        let (mut world, vault) = (World::new(), vault(&[("record_after_store", record)]));
        let first = stored(&mut world, &vault, b"1", 1);
        // The clock goes back a little, so the second version id is ahead of it when the put starts, and not when it
        // ends.
        world.unix_ms = Vid::parse(&first.row.vid).unwrap().unix_ms() - 30;
        let second = stored(&mut world, &vault, b"2", 1);
        let ahead = Vid::parse(&second.row.vid).unwrap().unix_ms();
        assert!(second.manifest.initiated < ahead && ahead < second.manifest.completed);
        assert!(second.row.initiated_ms <= second.row.recorded_ms);
        assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, second.row);
        let listed = list(&mut world, &vault, Scope::Backup(name())).remove(0);
        assert_eq!(
            Row {
                manifest_hash: second.row.manifest_hash.clone(),
                signed_by: second.row.signed_by.clone(),
                labels: second.row.labels.clone(),
                ..listed
            },
            second.row
        );
    }
}

#[test]
pub(super) fn as_of_finds_the_newest_version_recorded_by_then() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let versions: Vec<Found> = (1..=3)
        .map(|n| {
            world.unix_ms += 10 * MINUTE;
            stored(&mut world, &vault, &[n], n)
        })
        .collect();
    for (at, wanted) in [
        (versions[0].row.recorded_ms - 1, None),
        (versions[0].row.recorded_ms, Some(0)),
        (versions[1].row.recorded_ms - 1, Some(0)),
        (versions[1].row.recorded_ms, Some(1)),
        (i64::MAX, Some(2)),
    ] {
        let found = find(&mut world, &vault, Selector::AsOf(at)).map(|found| found.row).map_err(|e| e.code());
        assert_eq!(found, wanted.map_or(Err(Code::NotFound), |n: usize| Ok(versions[n].row.clone())), "{at}");
    }
}

#[test]
fn a_version_is_found_by_the_time_at_which_it_was_recorded() {
    let option = crate::settings::OPTIONS.iter().find(|option| option.key == "tolerance_ms").unwrap();
    assert_eq!(option.kind, crate::settings::Kind::Number(0, find::MAX_TOLERANCE_MS));
    for record in ["false", "true"] {
        let (mut world, vault) = (World::new(), vault(&[("record_after_store", record)]));
        let versions: Vec<Found> = [0, 700, 10_000, 20_000]
            .into_iter()
            .zip(1..)
            .map(|(later, n)| {
                world.unix_ms = START + MINUTE + later;
                stored(&mut world, &vault, &[n], n)
            })
            .collect();
        let at = |n: usize| versions[n].row.recorded_ms;
        let recorded = |at, tolerance_ms| Selector::Recorded { at, tolerance_ms };
        for (which, wanted) in [
            (recorded(at(0), 0), Ok(0)),
            (recorded(at(0), 86_400_000), Ok(0)),
            (recorded(at(1), 5_000), Ok(1)),
            (recorded(at(2) + 900, 1_000), Ok(2)),
            (recorded(at(2) - 900, 1_000), Ok(2)),
            (recorded(at(3) + 5_000, 5_000), Ok(3)),
            (recorded(at(2) + 900, 899), Err(Code::NotFound)),
            (recorded(at(0) + 1, 1_000), Err(Code::Ambiguous)),
            (recorded(at(2) + 1, 20_000), Err(Code::Ambiguous)),
            (recorded(i64::MAX, 1_000), Err(Code::NotFound)),
            (recorded(i64::MIN, u64::MAX), Err(Code::Ambiguous)),
        ] {
            let found = find(&mut world, &vault, which).map(|found| found.row).map_err(|e| e.code());
            assert_eq!(found, wanted.map(|n: usize| versions[n].row.clone()), "{which:?}");
        }
        let e = find(&mut world, &vault, recorded(at(3) + 1_500, 1_000)).unwrap_err();
        let vid = &versions[3].row.vid;
        assert!(e.message().contains(vid) && e.hint().contains("tolerance_ms = 1500"), "{e}");
        let e = find(&mut world, &vault, recorded(0, 1_000)).unwrap_err();
        assert!(e.message().contains(&versions[0].row.vid) && !e.hint().contains("tolerance_ms"), "{e}");
        let e = find(&mut world, &vault, recorded(at(0) + 1, 1_000)).unwrap_err();
        assert!([0, 1].iter().all(|n| e.message().contains(&versions[*n].row.vid)), "{e}");
        // What no listing shows is not found, and makes nothing ambiguous.
        mark(&mut world, &vault, &versions[1].row.vid, Mark::Deleted);
        assert_eq!(find(&mut world, &vault, recorded(at(0) + 1, 1_000)).unwrap().object, versions[0].object);
        assert_eq!(find(&mut world, &vault, recorded(at(1), 0)).unwrap_err().code(), Code::NotFound);
    }
}

#[test]
fn versions_that_were_recorded_in_the_same_millisecond_are_told_apart_by_their_ids() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let first = stored(&mut world, &vault, b"1", 1);
    world.unix_ms = first.row.recorded_ms - 60;
    let mut second = stored(&mut world, &vault, b"2", 2);
    for back in 1..200 {
        if second.row.recorded_ms == first.row.recorded_ms {
            break;
        }
        let row = format!("{CATALOGUE}vm/disk/");
        world
            .keys(&row)
            .into_iter()
            .filter(|key| key.contains(&second.row.vid))
            .for_each(|key| world.set_versions(&key, vec![]));
        world.unix_ms = first.row.recorded_ms - 60 + back;
        second = stored(&mut world, &vault, b"2", 2);
    }
    let at = first.row.recorded_ms;
    assert_eq!(second.row.recorded_ms, at);
    let e = find(&mut world, &vault, Selector::Recorded { at, tolerance_ms: 0 }).unwrap_err();
    assert!(e.code() == Code::Ambiguous && e.message().contains(&second.row.vid), "{e}");
}

/// The store's clock is set back by 20 minutes: the second version id runs ahead of its recorded time.
#[test]
pub(super) fn as_of_finds_a_version_whose_id_runs_ahead() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.unix_ms += 30 * MINUTE;
    let first = stored(&mut world, &vault, b"1", 1);
    world.unix_ms -= 20 * MINUTE;
    let second = stored(&mut world, &vault, b"2", 2);
    assert!(second.row.vid < first.row.vid && second.row.recorded_ms < first.row.recorded_ms);
    let at = second.row.recorded_ms + MINUTE;
    assert_eq!(find(&mut world, &vault, Selector::AsOf(at)).unwrap().row, second.row);
}

/// The store's clock is set back by two hours while the put runs.
#[test]
fn as_of_finds_a_version_during_whose_put_the_clock_went_back() {
    let (mut world, vault) = (World::new(), vault(&[("record_after_store", "true")]));
    world.unix_ms += 180 * MINUTE;
    let mut is_back = false;
    world.hook(move |world, request| {
        if request.operation == "UploadPart" && !std::mem::replace(&mut is_back, true) {
            world.unix_ms -= 120 * MINUTE;
            world.client_off_ms += 120 * MINUTE;
        }
    });
    let found = stored(&mut world, &vault, &large(), 1);
    assert_eq!(found.manifest.completed, found.manifest.initiated, "no put ends before its start");
    assert_eq!(find(&mut world, &vault, Selector::AsOf(found.row.recorded_ms)).unwrap().row, found.row);
}

#[test]
pub(super) fn record_after_store_records_the_end() {
    for (setting, is_end) in [("false", false), ("true", true)] {
        let (mut world, vault) = (World::new(), vault(&[("record_after_store", setting)]));
        world.hook(|world, request| {
            if request.operation == "UploadPart" {
                world.unix_ms += MINUTE;
            }
        });
        let found = stored(&mut world, &vault, &large(), 1);
        let m = &found.manifest;
        assert!(m.completed >= m.initiated + 3 * MINUTE && (m.stored - m.completed).abs() < 2_000);
        assert_eq!(m.recorded, if is_end { m.completed } else { m.initiated });
    }
}

#[test]
fn a_marked_version_is_hidden_and_a_suspected_one_is_not() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let first = stored(&mut world, &vault, b"1", 1);
    let second = stored(&mut world, &vault, b"2", 2);
    mark(&mut world, &vault, &first.row.vid, Mark::Suspected);
    mark(&mut world, &vault, &second.row.vid, Mark::Deleted);
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, first.row);
    let hidden = find(&mut world, &vault, Selector::Version(Vid::parse(&second.row.vid).unwrap()));
    assert_eq!(hidden.unwrap_err().code(), Code::NotFound);
    let vids: Vec<String> = list(&mut world, &vault, Scope::Backup(name())).into_iter().map(|row| row.vid).collect();
    assert_eq!(vids, [first.row.vid]);
}

#[test]
pub(super) fn each_marker_hides_its_own_version() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let versions: Vec<Found> = (1..=4).map(|n| stored(&mut world, &vault, &[n], n)).collect();
    for hidden in [1, 2, 3] {
        mark(&mut world, &vault, &versions[hidden].row.vid, Mark::Deleted);
    }
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, versions[0].row);
    assert_eq!(find(&mut world, &vault, Selector::AsOf(i64::MAX)).unwrap().row, versions[0].row);
    assert_eq!(list(&mut world, &vault, Scope::Backup(name())).len(), 1);
}

#[test]
fn unknown_objects_in_the_catalogue_are_skipped() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"1", 1);
    for stray in ["0", "0000000000000000000000000A.1.half.1.-", "readme.txt"] {
        world.put(&format!("{CATALOGUE}vm/disk/{stray}"), b"?");
    }
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, found.row);
    assert_eq!(list(&mut world, &vault, Scope::All).len(), 1);
}

/// Anyone who can write to the bucket can write such keys, and callers use names as names of files.
#[test]
fn names_that_no_vault_accepts_are_not_listed() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"1", 1);
    let entry = found.manifest.key.rsplit('/').next().unwrap().to_owned();
    for (container, path) in [
        ("..", "disk"),
        ("vm", ".."),
        ("vm", "..=2F..=2Fetc=2Fpasswd"),
        ("vm", "=2Fetc=2Fpasswd"),
        ("vm", "a=2F=2Fb"),
        ("vm", "a=00b"),
        ("vm", "=2E=2E"),
        ("vm", "a b"),
        ("=2E=2E", "disk"),
        ("_s3vault", "disk"),
        ("vm", "~disk"),
        ("~vm", "disk"),
    ] {
        world.put(&format!("{CATALOGUE}{container}/{path}/{entry}"), &found.object);
    }
    world.log.clear();
    for scope in
        [Scope::All, Scope::Container("vm".into()), Scope::Paths { container: "vm".into(), prefix: String::new() }]
    {
        let rows = list(&mut world, &vault, scope);
        assert_eq!(rows.iter().map(|row| (&*row.container, &*row.path)).collect::<Vec<_>>(), [("vm", "disk")]);
    }
    let containers = list(&mut world, &vault, Scope::Containers);
    assert_eq!(containers.iter().map(|row| &*row.container).collect::<Vec<_>>(), ["vm"]);
    assert!(world.operations().iter().all(|operation| *operation == "ListObjectsV2"), "nothing of them is read");
}

/// Nothing of an object is trusted before all of it was read, so its size must be plausible.
#[test]
fn an_object_that_is_too_large_to_be_a_manifest_is_not_read() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"1", 1);
    world.put(&found.manifest.key, &vec![b'x'; 1 << 20]);
    world.log.clear();
    let e = find(&mut world, &vault, Selector::Latest).unwrap_err();
    assert!(e.code() == Code::Format && e.message().contains("has 1048576 bytes, but a manifest of 1 bytes"), "{e}");
    assert_eq!(world.operations(), ["ListObjectsV2"]);
}

/// An attacker who can write to the bucket cannot make anything be read as a backup that no trusted key signed.
#[test]
pub(super) fn an_object_that_no_trusted_key_signed_is_not_read() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"1", 1);
    let key = found.manifest.key.clone();
    let json = String::from_utf8(found.object.to_vec()).unwrap();
    for forged in [
        json.lines().next().unwrap().to_owned() + "\n",
        json.replace("\"size\":1", "\"size\":2"),
        json.replace("\"format\":1", "\"format\":2"),
        "{}\n".into(),
        String::new(),
    ] {
        world.put(&key, forged.as_bytes());
        let e = find(&mut world, &vault, Selector::Latest).unwrap_err();
        assert!(matches!(e.code(), Code::Untrusted | Code::Format), "{e:?}");
    }
    // The hints help the owner, and not the attacker: each is for its case.
    let line = |key: &Keyring| {
        let object = signed::encode(json.lines().next().unwrap().as_bytes().to_vec(), Some(key.signing_key()));
        String::from_utf8(object).unwrap()
    };
    let other = Keyring::generate([9; 32]);
    let other_id = other.signing_key().public().id().to_owned();
    let unsigned = json.lines().next().unwrap().to_owned() + "\n";
    for (forged, says, hint) in [
        (unsigned, "is not signed".to_owned(), "anyone who can write to the bucket can remove a signature"),
        (json.replace("\"size\":1", "\"size\":2"), "were changed".to_owned(), "restore another version"),
        (line(&other), format!("key {other_id}, which is not trusted"), "unless you know that the key is yours"),
    ] {
        world.put(&key, forged.as_bytes());
        let e = find(&mut world, &vault, Selector::Latest).unwrap_err();
        assert!(e.code() == Code::Untrusted && e.message().contains(&says) && e.hint().contains(hint), "{e}");
        assert!(!e.hint().contains("verify_keys") && !e.hint().contains(&other_id), "{e}");
    }
    assert!(!Code::Untrusted.info().hint.contains("verify_keys"));
    // A second row of the same version id that verifies is used.
    let newer = key.replace(&format!(".{}.", found.manifest.recorded), &format!(".{}.", found.manifest.recorded - 1));
    world.put(&newer, b"{}\n");
    world.put(&key, &found.object);
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, found.row);
    // A signed row that was copied to another place is refused.
    let elsewhere = key.replace("/disk/", "/other/");
    world.put(&elsewhere, &found.object);
    let other = Name::new("vm", "other").unwrap();
    let e = world.run(&mut Find::new(vault.clone(), other, Selector::Latest, None, 1), &[]).unwrap_err();
    assert_eq!(e.code(), Code::Untrusted);
}

/// A manifest whose signature was stripped is not restored by a reader that requires trust and has forgotten its key.
#[test]
fn trust_required_refuses_to_read_without_a_trusted_key() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"1", 1);
    let json = std::str::from_utf8(&found.object).unwrap().lines().next().unwrap().to_owned() + "\n";
    let public = vault.signing_key().unwrap().public().to_string();
    let without = |changes: &[(&str, &str)]| vault_of(crate::profile::S3, changes, None);
    let blind = without(&[("trust", "required")]);
    for object in [found.object.to_vec(), json.clone().into_bytes()] {
        world.put(&found.manifest.key, &object);
        assert!(find(&mut world, &without(&[]), Selector::Latest).is_ok(), "auto reads what nobody vouches for");
        world.log.clear();
        let e = find(&mut world, &blind, Selector::Latest).unwrap_err();
        assert!(e.code() == Code::InvalidOption && e.message().starts_with("trust = required"), "{e}");
        assert!(e.hint().contains("keyring") && e.hint().contains("verify_keys") && world.log.is_empty(), "{e}");
    }
    let manifest = Arc::new(found.manifest.clone());
    let e = Read::new(blind, manifest, ReadRequest::default(), 1).err().unwrap();
    assert_eq!(e.code(), Code::InvalidOption);
    // With a trusted key it is a signature that counts.
    let seeing = without(&[("trust", "required"), ("verify_keys", &public)]);
    world.put(&found.manifest.key, &found.object);
    let id = public.split(' ').nth(1);
    assert!(id.is_some() && found.row.signed_by.as_deref() == id, "{:?}", found.row);
    assert_eq!(find(&mut world, &seeing, Selector::Latest).unwrap().row, found.row);
    let unverified = find(&mut world, &without(&[]), Selector::Latest).unwrap().row;
    assert_eq!(unverified, Row { signed_by: None, ..found.row.clone() });
    world.put(&found.manifest.key, json.as_bytes());
    assert_eq!(find(&mut world, &seeing, Selector::Latest).unwrap_err().code(), Code::Untrusted);
    world.put(&found.manifest.key, &found.object);
    assert_eq!(find(&mut world, &seeing, Selector::Latest).unwrap().row, found.row);
}

#[test]
fn a_bit_flipped_in_transit_is_read_again_and_one_in_the_store_is_damage() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, &large(), 1);
    world.fault("GetObject", "vm/disk", Fault::Flipped);
    read(&mut world, &vault, &found).unwrap();
    world.body_mut("vm/disk")[9 << 20] ^= 1;
    let e = read(&mut world, &vault, &found).unwrap_err();
    assert_eq!(e.code(), Code::Damaged);
    assert!(e.message().contains("part 2 of 3"), "{e}");
}

#[test]
pub(super) fn a_range_that_breaks_resumes_after_its_last_byte_and_each_byte_is_served_once() {
    for delivery in [Delivery::ByPosition, Delivery::InOrder, Delivery::WholeParts { memory: 64 << 20 }] {
        let (mut world, vault) = (World::new(), vault(&[]));
        let found = stored(&mut world, &vault, &large(), 1);
        for at in [0, 1, 1_000_000, 3_000_000, 77] {
            world.fault("GetObject", "vm/disk", Fault::BrokenAt(at));
        }
        let request = ReadRequest { delivery, ..ReadRequest::default() };
        let manifest = Arc::new(found.manifest.clone());
        world.run(&mut Read::new(vault.clone(), manifest, request, 1).unwrap(), &[]).unwrap();
        assert_eq!(world.served.len(), 3 + 5, "{delivery:?}");
        let mut served: Vec<(usize, usize)> = world.served.iter().map(|(_, from, to)| (*from, *to)).collect();
        served.sort_unstable();
        let end = served.iter().fold(0, |end, (from, to)| {
            assert_eq!(*from, end, "{served:?}");
            *to
        });
        assert_eq!(end, large().len());
        let delivered: Vec<u32> = world.delivered.iter().map(|range| range.part).collect();
        assert_eq!(delivered.len(), 3);
    }
}

#[test]
fn truncated_and_missing_data_are_reported() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, &large(), 1);
    world.body_mut("vm/disk").truncate(18 << 20);
    assert_eq!(read(&mut world, &vault, &found).unwrap_err().code(), Code::BadReply, "another range came");
    world.set_versions("vm/disk", Vec::new());
    assert_eq!(read(&mut world, &vault, &found).unwrap_err().code(), Code::DataMissing);
    let locator = world.keys(LOCATORS).remove(0);
    world.set_versions(&locator, Vec::new());
    let e = read(&mut world, &vault, &found).unwrap_err();
    assert_eq!(e.code(), Code::DataMissing);
    assert!(e.message().contains("locator"), "{e}");
}

/// A replica has other version ids than the manifest: a store answers 404 to those, or 400 if they are not in its form.
#[test]
pub(super) fn the_data_of_a_replica_is_found_under_its_own_version_ids() {
    for refusal in [None, Some((400, "InvalidArgument"))] {
        let (mut world, vault) = (World::new(), vault(&[]));
        let first = stored(&mut world, &vault, &large(), 1);
        let second = stored(&mut world, &vault, &large(), 2);
        let mut versions = world.versions("vm/disk").to_vec();
        for (number, version) in versions.iter_mut().enumerate() {
            version.id = format!("replica-{number}");
        }
        world.set_versions("vm/disk", versions);
        for found in [&first, &second] {
            if let Some((status, code)) = refusal {
                world.fault("GetObject", "vm/disk", Fault::Refused(status, code));
            }
            world.delivered.clear();
            read(&mut world, &vault, found).unwrap();
            assert_eq!(world.delivered.len(), 3, "each part once");
        }
        let versions = world.versions("vm/disk")[..1].to_vec();
        world.set_versions("vm/disk", versions);
        read(&mut world, &vault, &first).unwrap();
        let e = read(&mut world, &vault, &second).unwrap_err();
        assert!(e.code() == Code::DataMissing && e.message().contains("no other version of vm/disk"), "{e}");
        world.fault("ListObjectVersions", "", Fault::Refused(403, "AccessDenied"));
        let e = read(&mut world, &vault, &second).unwrap_err();
        assert!(e.code() == Code::DataMissing && e.hint().contains("s3:ListBucketVersions"), "{e}");
    }
}

#[test]
fn reading_follows_the_highest_valid_locator() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"data", 1);
    let first = world.keys(LOCATORS).remove(0);
    let body = world.body(&first).to_vec();
    let next = first.replace(".000000.", ".000001.");
    let json = String::from_utf8(body).unwrap().lines().next().unwrap().to_owned();
    let json = json
        .replace(&first, &next)
        .replace("\"generation\":0", "\"generation\":1")
        .replace("\"vm/disk\"", "\"vm/disk@moved\"");
    let signed = signed::encode(json.clone().into_bytes(), vault.signing_key());
    world.put(&next, &signed);
    world.put("vm/disk@moved", b"data");
    world.log.clear();
    read(&mut world, &vault, &found).unwrap();
    assert!(world.log.iter().any(|(_, key, _)| key == "vm/disk@moved"));
    // A locator that does not verify is skipped.
    world.put(&next, json.as_bytes());
    world.log.clear();
    read(&mut world, &vault, &found).unwrap();
    assert!(world.log.iter().any(|(_, key, _)| key == "vm/disk"));
}

/// A locator of the highest generation, signed and of this size, is followed or not.
fn follows_a_locator_of(size: usize, says_its_length: bool) -> Result<bool, Error> {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"data", 1);
    let first = world.keys(LOCATORS).remove(0);
    let next = first.replace(".000000.", ".000001.");
    let json = String::from_utf8(world.body(&first).to_vec()).unwrap().lines().next().unwrap().to_owned();
    let json = json
        .replace(&first, &next)
        .replace("\"generation\":0", "\"generation\":1")
        .replace("\"vm/disk\"", "\"vm/disk@moved\"");
    let padded = |pad: usize| {
        let json = json.replacen('{', &format!("{{\"later\":\"{}\",", "x".repeat(pad)), 1);
        signed::encode(json.into_bytes(), vault.signing_key())
    };
    let object = padded(size - padded(0).len());
    assert_eq!(object.len(), size);
    world.put(&next, &object);
    world.put("vm/disk@moved", b"data");
    world.log.clear();
    if !says_its_length {
        world.fault("GetObject", &next, Fault::Lacks("content-length"));
    }
    read(&mut world, &vault, &found)?;
    Ok(world.log.iter().any(|(_, key, _)| key == "vm/disk@moved"))
}

/// Who can write to the bucket can neither make a reader hold a large locator nor stop it with one.
#[test]
fn a_locator_that_is_too_large_is_skipped() {
    assert_eq!(follows_a_locator_of(64 << 10, true), Ok(true));
    assert_eq!(follows_a_locator_of(64 << 10, false), Ok(true));
    assert_eq!(follows_a_locator_of((64 << 10) + 1, true), Ok(false));
    let e = follows_a_locator_of((64 << 10) + 1, false).unwrap_err();
    assert!(e.code() == Code::BadReply && e.message().contains("longer than 65536 bytes"), "{e}");
    // Without another generation, its size is the error.
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"data", 1);
    let only = world.keys(LOCATORS).remove(0);
    world.put(&only, &vec![b' '; 1 << 20]);
    world.log.clear();
    let e = read(&mut world, &vault, &found).unwrap_err();
    assert!(e.code() == Code::Format && e.message().contains("has 1048576 bytes, but at most 65536"), "{e}");
    assert_eq!(world.operations(), ["ListObjectsV2", "GetObject"], "no attempt is repeated");
}

/// The first line of an object: its JSON, without the signature.
fn json_line(world: &World, key: &str) -> String {
    String::from_utf8(world.body(key).to_vec()).unwrap().lines().next().unwrap().to_owned() + "\n"
}

/// With the same keyring, objects of one vault could be copied into another.
#[test]
fn a_locator_of_another_vault_is_not_followed() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"data", 1);
    let locator = world.keys(LOCATORS).remove(0);
    let json = String::from_utf8(world.body(&locator).to_vec()).unwrap().lines().next().unwrap().to_owned();
    let json = json.replace(&found.manifest.vault, &"0".repeat(32)).replace("\"vm/disk\"", "\"vm/other\"");
    world.put(&locator, &signed::encode(json.into_bytes(), vault.signing_key()));
    world.put("vm/other", b"evil");
    world.log.clear();
    let e = read(&mut world, &vault, &found).unwrap_err();
    assert!(e.code() == Code::Untrusted && e.message().contains("belongs to another version"), "{e}");
    assert!(world.log.iter().all(|(_, key, _)| key != "vm/other"));
    // A locator that nobody signed is refused, which is another answer than that there is none.
    world.put(&locator, json_line(&world, &locator).as_bytes());
    assert_eq!(read(&mut world, &vault, &found).unwrap_err().code(), Code::Untrusted);
}

#[test]
fn listings_page_through_and_read_hashed_names() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let names = [
        ("vm", "a"),
        ("vm", "a/b"),
        ("vm", "b"),
        ("größe", "x"),
        (&*"#".repeat(90), "p"),
        ("vm", &"/x".repeat(90)[1..]),
    ];
    for (n, (container, path)) in names.iter().enumerate() {
        for version in 0..2 {
            let request = PutRequest {
                source: None,
                live: false,
                labels: Labels::default(),
                checkpoint: None,
                memory: 256 << 20,
                name: Name::new(container, path).unwrap(),
                parent: None,
                length: Some(1),
                entropy: [n as u8 * 2 + version; 10],
                data_key: DataKey::new([3; 32]),
                seed: 1,
            };
            world.run(&mut Put::new(vault.clone(), request).unwrap(), b"x").unwrap();
        }
    }
    let mut all: Vec<(String, String)> =
        list(&mut world, &vault, Scope::All).into_iter().map(|row| (row.container, row.path)).collect();
    all.dedup();
    all.sort();
    let mut wanted: Vec<(String, String)> = names.iter().map(|(c, p)| (c.to_string(), p.to_string())).collect();
    wanted.sort();
    assert_eq!(all, wanted);
    let mut containers: Vec<String> =
        list(&mut world, &vault, Scope::Containers).into_iter().map(|row| row.container).collect();
    containers.sort();
    assert_eq!(containers, ["#".repeat(90), "größe".into(), "vm".into()]);
    let paths = |world: &mut World, prefix: &str| -> Vec<String> {
        let scope = Scope::Paths { container: "vm".into(), prefix: prefix.into() };
        list(world, &vault, scope).into_iter().map(|row| row.path).collect()
    };
    assert_eq!(paths(&mut world, "a"), ["a", "a/b"]);
    assert_eq!(paths(&mut world, "x/"), [&"/x".repeat(90)[1..]], "a hashed path is found by its prefix");
    assert_eq!(paths(&mut world, ""), ["a", "a/b", "b", &"/x".repeat(90)[1..]]);
}

/// Some gateways in front of a file system list folder after folder.
#[test]
fn a_store_that_lists_in_the_order_of_folders_serves_each_backup_but_no_list_of_all() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.folder_order = true;
    for container in ["vm", "vm-2"] {
        for random in [1, 2] {
            let request = PutRequest { name: Name::new(container, "disk").unwrap(), ..request(None, None, random) };
            world.run(&mut Put::new(vault.clone(), request).unwrap(), &large()).unwrap();
        }
    }
    for container in ["vm", "vm-2"] {
        let name = Name::new(container, "disk").unwrap();
        assert_eq!(list(&mut world, &vault, Scope::Backup(name.clone())).len(), 2);
        assert_eq!(list(&mut world, &vault, Scope::Container(container.into())).len(), 2);
        let found = world.run(&mut Find::new(vault.clone(), name, Selector::Latest, None, 1), &[]).unwrap();
        read(&mut world, &vault, &found).unwrap();
    }
    let mut all = ListPage::new(vault, Scope::All, Cursor::default(), 1);
    let e = world.run(&mut all, &[]).unwrap_err();
    assert!(e.code() == Code::BadReply && e.message().contains("in the order of folders: '_s3vault/1/cat/vm/"), "{e}");
    assert!(e.hint().contains("get and put work with this store"), "{e}");
}

#[test]
pub(super) fn a_marker_hides_its_row_across_a_page_boundary() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let nth = |n: i64| row(Kind::Full, START - n, START - n);
    for n in 0..1_000 {
        world.put(&format!("{CATALOGUE}vm/disk/{}", nth(n)), b"{}");
    }
    // The marker is the thousandth key, its row the first of the second page.
    mark(&mut world, &vault, &nth(999).vid.to_string(), Mark::Deleted);
    assert_eq!(list(&mut world, &vault, Scope::Backup(name())).len(), 999);
    mark(&mut world, &vault, &nth(0).vid.to_string(), Mark::Deleted);
    assert_eq!(list(&mut world, &vault, Scope::Backup(name())).len(), 998);
}

/// A listing shows a path once, however many pages its versions take, and a version once, however many rows it has.
#[test]
fn what_was_shown_on_a_page_is_not_shown_on_the_next() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let put = |world: &mut World, vid: i64, recorded: i64| {
        let row = row(Kind::Full, vid, recorded);
        world.put(&format!("{CATALOGUE}vm/disk/{row}"), b"{}");
    };
    (0..999).for_each(|n| put(&mut world, START - n, START - n));
    // The thousandth key and the first of the second page are rows of one version.
    put(&mut world, START - 999, START - 999);
    put(&mut world, START - 999, START - 998);
    assert_eq!(list(&mut world, &vault, Scope::Backup(name())).len(), 1_000);
    let paths = Scope::Paths { container: "vm".into(), prefix: String::new() };
    assert_eq!(list(&mut world, &vault, paths).len(), 1);
}

/// Another process may delete an object between the LIST that names it and the GET that reads it.
#[test]
fn an_object_that_is_gone_when_it_is_read_is_passed_over() {
    let gone = Fault::Refused(404, "NoSuchKey");
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"data", 1);
    let vid = Vid::parse(&found.row.vid).unwrap().unix_ms();
    let key = &found.manifest.key;
    let first = key.replace(&format!(".{}.", found.row.recorded_ms), &format!(".{}.", found.row.recorded_ms - 1));
    world.put(&first, b"{}");
    world.fault("GetObject", &first, gone);
    assert_eq!(
        find(&mut world, &vault, Selector::Latest).unwrap().row,
        found.row,
        "another row of the version is there"
    );
    world.fault("GetObject", &first, gone);
    world.fault("GetObject", key, gone);
    let e = find(&mut world, &vault, Selector::Latest).unwrap_err();
    assert!(e.code() == Code::NotFound && e.message().contains("there is no backup vm disk"), "{e}");

    let locator = world.keys(LOCATORS).remove(0);
    let next = locator.replace(".000000.", ".000001.");
    world.put(&next, b"{}");
    world.fault("GetObject", &next, gone);
    read(&mut world, &vault, &found).unwrap();
    world.fault("GetObject", &next, gone);
    world.fault("GetObject", &locator, gone);
    read(&mut world, &vault, &found).expect("the locators are listed again");
    for _ in 0..20 {
        world.fault("GetObject", &next, gone);
        world.fault("GetObject", &locator, gone);
    }
    let e = read(&mut world, &vault, &found).unwrap_err();
    assert!(e.code() == Code::DataMissing && e.message().contains("has no locator"), "{e}");

    // A row that only its manifest names: without it, the segments of its key are shown.
    let hashed = names::segment(&"#".repeat(90));
    world.put(&format!("{CATALOGUE}vm/{hashed}/{}", row(Kind::Full, vid, START)), b"{}");
    world.put(&format!("{CATALOGUE}{hashed}/disk/{vid}"), b"no row");
    world.fault("GetObject", &format!("{CATALOGUE}vm/{hashed}"), gone);
    let paths: Vec<String> =
        list(&mut world, &vault, Scope::Container("vm".into())).into_iter().map(|row| row.path).collect();
    assert_eq!(paths, ["disk", &hashed]);
    let containers: Vec<String> =
        list(&mut world, &vault, Scope::Containers).into_iter().map(|row| row.container).collect();
    assert_eq!(containers, ["vm", &hashed], "a container without a row");
}

/// A hashed name is in the manifests of all its versions: one of them is read.
#[test]
fn the_name_of_a_hashed_path_is_read_once() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let path = "#".repeat(90);
    let request = PutRequest { name: Name::new("vm", &path).unwrap(), ..request(None, Some(1), 1) };
    let newest = world.run(&mut Put::new(vault.clone(), request).unwrap(), b"x").unwrap();
    for n in 1..=1_000 {
        let row = row(Kind::Full, newest.row.recorded_ms - n, newest.row.recorded_ms - n);
        world.put(&format!("{CATALOGUE}vm/{}/{row}", names::segment(&path)), b"{}");
    }
    world.log.clear();
    let rows = list(&mut world, &vault, Scope::All);
    assert!(rows.len() == 1_001 && rows.iter().all(|row| row.path == path));
    assert_eq!(world.operations(), ["ListObjectsV2", "GetObject", "ListObjectsV2"]);
}

#[test]
fn a_version_that_is_refused_is_not_replaced_by_an_older_one() {
    let (mut world, vault) = (World::new(), vault(&[]));
    stored(&mut world, &vault, b"1", 1);
    let newest = stored(&mut world, &vault, b"2", 2);
    world.put(&newest.manifest.key, b"{}\n");
    let e = find(&mut world, &vault, Selector::Latest).unwrap_err();
    assert_eq!(e.code(), Code::Untrusted, "{e}");
}

#[test]
fn a_manifest_with_another_hash_than_the_pin_is_refused() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let (first, second) = (stored(&mut world, &vault, b"1", 1), stored(&mut world, &vault, b"2", 2));
    let mut pinned = |found: &Found| {
        let pin = found.row.manifest_hash.clone();
        world.run(&mut Find::new(vault.clone(), name(), Selector::Latest, pin, 1), &[])
    };
    assert_eq!(pinned(&second).unwrap().row, second.row);
    assert_eq!(pinned(&first).unwrap_err().code(), Code::PinMismatch);
}

#[test]
fn a_deleted_backup_is_found_as_of_a_time_before() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let found = stored(&mut world, &vault, b"1", 1);
    let (vid, recorded) = (Vid::parse(&found.row.vid).unwrap(), found.row.recorded_ms);
    // Only a version's first row counts.
    let second = RowKey { vid, recorded_ms: recorded + 1, kind: Kind::Del, size: 0, parent: None };
    put_row_of(&mut world, &vault, &second);
    assert_eq!(find(&mut world, &vault, Selector::Latest).unwrap().row, found.row);
    let deleted = row(Kind::Del, recorded + MINUTE, recorded + MINUTE);
    put_row_of(&mut world, &vault, &deleted);
    let e = find(&mut world, &vault, Selector::Latest).unwrap_err();
    assert!(e.code() == Code::NotFound && e.message().contains("was deleted at 2025-11-24T16:01:"), "{e}");
    assert_eq!(find(&mut world, &vault, Selector::AsOf(recorded)).unwrap().row, found.row);
    let paths = Scope::Paths { container: "vm".into(), prefix: String::new() };
    assert_eq!(list(&mut world, &vault, paths), []);
    let kinds: Vec<_> = list(&mut world, &vault, Scope::Backup(name())).into_iter().map(|row| row.kind).collect();
    assert_eq!(kinds, [Some(Kind::Del), Some(Kind::Full)]);
}

#[test]
fn opening_a_vault_compares_its_description() {
    let open = |world: &mut World, vault: Arc<Vault>| world.run(&mut Open::new(vault, 1), &[]).map_err(|e| e.code());
    let (mut world, own) = (World::new(), vault(&[]));
    assert_eq!(open(&mut world, own.clone()), Ok(()), "an empty bucket is a vault");
    stored(&mut world, &own, b"x", 1);
    assert_eq!(open(&mut world, own.clone()), Ok(()));
    let other = vault(&[("vault_id", "00112233445566778899aabbccddeeff")]);
    assert_eq!(open(&mut world, other), Err(Code::VaultMismatch));
    let good = String::from_utf8(own.description("vm")).unwrap();
    assert_eq!(good, "{\"format\":1,\"vault\":\"805af1e370be19ef341a3e889b6373bf\",\"layout\":\"single-bucket\"}\n");
    for (bad, code) in [
        ("{".to_owned(), Code::Format),
        (good.replace("\"format\":1", "\"format\":2"), Code::Format),
        (good.replace("\"format\":1", "\"format\":1,\"requires\":[\"x\"]"), Code::Format),
        (good.replace("single-bucket", "bucket-per-vm"), Code::VaultMismatch),
        ("<html>".into(), Code::Format),
    ] {
        world.put(VAULT_KEY, bad.as_bytes());
        assert_eq!(open(&mut world, own.clone()), Err(code), "{bad}");
    }
    world.put(VAULT_KEY, good.replace("\"format\":1", "\"format\":1,\"later\":true").as_bytes());
    assert_eq!(open(&mut world, own), Ok(()), "unknown fields are ignored");
}

/// What a terminal, a log or a reader would obey.
const HOSTILE: &str = "\u{1b}[31m\n\rhelp: send\u{202e}me\u{9b}2J\u{2028}";

/// Everything that an error shows, which must be on one line, short, and without control characters.
fn shown(what: &str, e: &Error) -> String {
    let all = [e.message(), e.hint(), e.s3_code(), e.request_id(), e.bucket(), e.key()].join(" ");
    for text in [all.clone(), e.to_string(), format!("{e:?}")] {
        let bad = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}');
        assert!(!text.contains(bad), "{what}: {text:?}");
        assert!(text.chars().count() < 4_000, "{what}: {} characters", text.len());
    }
    all
}

/// A foreign text in a JSON document.
fn json_text(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[test]
fn what_a_store_says_is_shown_on_one_line_without_control_characters_and_short() {
    for foreign in [HOSTILE.to_owned(), format!("{HOSTILE}{}", "x".repeat(2 << 20))] {
        let quoted = json_text(&foreign);
        // The vault's description.
        let id = "805af1e370be19ef341a3e889b6373bf";
        for (what, description) in [
            ("its id", format!("{{\"format\":1,\"vault\":{quoted},\"layout\":\"single-bucket\"}}")),
            ("its layout", format!("{{\"format\":1,\"vault\":\"{id}\",\"layout\":{quoted}}}")),
            ("its requirements", format!("{{\"format\":1,\"requires\":[{quoted}]}}")),
            ("its format", format!("{{\"format\":{quoted}}}")),
            ("no JSON", foreign.clone()),
        ] {
            let (mut world, vault) = (World::new(), vault(&[]));
            // A larger description is not read.
            let description = description.replace(&"x".repeat(2 << 20), &"x".repeat(60_000));
            world.put(VAULT_KEY, description.as_bytes());
            let e = world.run(&mut Open::new(vault, 1), &[]).unwrap_err();
            let all = shown(&format!("vault.json, {what}"), &e);
            assert!(!e.hint().contains("set vault_id ="), "{all}");
        }
        // A catalogue entry and a locator.
        for signed in [true, false] {
            let (mut world, vault) =
                (World::new(), if signed { vault(&[]) } else { vault_of(crate::profile::S3, &[], None) });
            let found = stored(&mut world, &vault, b"1", 1);
            let key = found.manifest.key.clone();
            let json = std::str::from_utf8(&found.object).unwrap().lines().next().unwrap().to_owned();
            let own = json_text(&key);
            let again = |json: String| signed::encode(json.into_bytes(), vault.signing_key());
            for (what, object) in [
                ("its key", again(json.replace(&own, &quoted))),
                ("its vault", again(json.replace(&json_text(&found.manifest.vault), &quoted))),
                ("its version id", again(json.replace(&json_text(&found.row.vid), &quoted))),
                ("its container", again(json.replace("\"vm\"", &quoted))),
                (
                    "a requirement",
                    again(json.replace("\"format\":1", &format!("\"format\":1,\"requires\":[{quoted}]"))),
                ),
                ("its format", again(json.replace("\"format\":1", &format!("\"format\":{quoted}")))),
                (
                    "the id of its key",
                    format!("{json}\ned25519 {} {}\n", foreign.replace([' ', '\n'], "_"), "A".repeat(86) + "==")
                        .into_bytes(),
                ),
                ("its signature", format!("{json}\n{foreign}\n").into_bytes()),
                ("no JSON", again(foreign.replace('\n', ""))),
            ] {
                world.put(&key, &object);
                if let Err(e) = find(&mut world, &vault, Selector::Latest) {
                    shown(&format!("catalogue entry, {what}"), &e);
                } else {
                    assert!(!signed && what == "the id of its key", "{what} is accepted");
                }
            }
            let locator = world.keys(LOCATORS).remove(0);
            let json = String::from_utf8(world.body(&locator).to_vec()).unwrap().lines().next().unwrap().to_owned();
            for (what, object) in [
                ("its key", again(json.replace(&json_text(&locator), &quoted))),
                ("its encryption", again(json.replace("\"none\"", &quoted))),
                ("its version id", again(json.replace(&json_text(&found.row.vid), &quoted))),
            ] {
                world.put(&locator, &object);
                let e = read(&mut world, &vault, &found).unwrap_err();
                shown(&format!("locator, {what}"), &e);
            }
        }
        // The store's replies.
        let escaped: String = foreign.chars().map(|c| format!("&#{};", u32::from(c))).take(1_000).collect();
        let long = escaped.clone() + &foreign[HOSTILE.len()..];
        for (what, status, headers, body) in [
            (
                "error",
                400,
                vec![],
                format!("<Error><Code>{long}</Code><Message>{long}</Message><RequestId>{long}</RequestId></Error>"),
            ),
            ("region", 301, vec![("x-amz-bucket-region", foreign.clone())], String::new()),
            (
                "region in XML",
                301,
                vec![],
                format!("<Error><Code>PermanentRedirect</Code><Region>{long}</Region></Error>"),
            ),
            ("headers", 403, vec![("x-amz-request-id", foreign.clone()), ("server", foreign.clone())], String::new()),
            ("headers of a reply that is not S3's", 200, vec![("x-amz-request-id", foreign.clone())], "<html>".into()),
            ("another document", 200, vec![], format!("<{}>", foreign.replace(['\n', '\r', ' '], "_"))),
            (
                "an entity",
                200,
                vec![],
                format!("<ListBucketResult>&{};</ListBucketResult>", foreign.replace([' ', ';'], "_")),
            ),
            ("a page", 502, vec![("server", foreign.clone())], foreign.clone()),
            (
                "a row",
                200,
                vec![],
                format!("<ListBucketResult><Contents><Key>k</Key><Size>{long}</Size></Contents></ListBucketResult>"),
            ),
        ] {
            let (mut world, vault) = (World::new(), vault(&[]));
            let mut machine = Find::new(vault, name(), Selector::Latest, None, 1);
            let e = loop {
                match machine.poll(world.now()) {
                    Output::Send(request) => {
                        let id = request.id;
                        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
                        machine.handle(world.now(), Input::Head { id, head: ReplyHead { status, headers } });
                        machine.handle(world.now(), Input::Body { id, bytes: body.as_bytes() });
                        machine.handle(world.now(), Input::End { id });
                    }
                    Output::Wait(Some(at)) => world.unix_ms = world.unix_ms.max(START + at as i64),
                    Output::Done(result) => break result.unwrap_err(),
                    _ => {}
                }
            };
            let all = shown(what, &e);
            assert!(!all.contains("Set region ="), "{what}: {all}");
        }
    }
    // Names that the caller gave stay as they are.
    let (mut world, vault) = (World::new(), vault(&[]));
    let path = format!("größe 'x'/{}", ["y".repeat(199), "z".repeat(199), "ä".repeat(99)].join("/"));
    let name = Name::new("vm", &path).unwrap();
    let e = world.run(&mut Find::new(vault, name, Selector::Latest, None, 1), &[]).unwrap_err();
    assert!(e.message().contains(&path), "{e}");
}
