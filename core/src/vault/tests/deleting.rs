//! Deletions that somebody asks for: rm, undelete, and the deletion of a version, in all modes.

use super::world::*;
use crate::crypto::keyring::Keyring;
use crate::machine::Event;
use crate::vault::marker::{Mark, Marker};
use crate::vault::objects::{CATALOGUE, Kind};
use crate::vault::*;
use crate::{Code, Error};

fn rm(world: &mut World, vault: &Arc<Vault>, random: u8) -> Result<Found, Error> {
    world.run(&mut Remove::new(vault.clone(), name(), [random; 10], 1), &[])
}

fn undelete(world: &mut World, vault: &Arc<Vault>) -> Result<(), Error> {
    world.run(&mut Undelete::new(vault.clone(), name(), 1), &[])
}

fn delete(world: &mut World, vault: &Arc<Vault>, found: &Found) -> Result<(), Error> {
    let mut machine = DeleteVersion::new(vault.clone(), &found.manifest, world.unix_ms, 1)?;
    world.run(&mut machine, &[])
}

fn incremental(world: &mut World, vault: &Arc<Vault>, parent: &Found, random: u8) -> Found {
    let parent = Vid::parse(&parent.manifest.vid).unwrap();
    world.run(&mut put(vault, Some(parent), random), b"changes").unwrap()
}

fn latest(world: &mut World, vault: &Arc<Vault>) -> Result<String, Code> {
    find(world, vault, Selector::Latest).map(|found| found.manifest.vid).map_err(|e| e.code())
}

#[test]
pub(super) fn rm_hides_a_backup_and_undelete_shows_it_again() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        assert_eq!(rm(&mut world, &vault, 9).unwrap_err().code(), Code::NotFound, "{mode:?}: there is nothing");
        let first = stored(&mut world, &vault, b"one", 1);
        let before = world.unix_ms;
        world.unix_ms += MINUTE;
        let removed = rm(&mut world, &vault, 2).unwrap();
        assert_eq!((removed.row.kind, removed.row.bytes), (Some(Kind::Del), 0));
        assert_eq!(latest(&mut world, &vault), Err(Code::NotFound));
        let found = find(&mut world, &vault, Selector::AsOf(before)).unwrap();
        assert_eq!(found.manifest.vid, first.manifest.vid, "{mode:?}: as of a time before, it is there");
        let again = rm(&mut world, &vault, 3).unwrap_err();
        assert!(again.code() == Code::NotFound && again.message().contains("already deleted at"), "{again}");
        undelete(&mut world, &vault).unwrap();
        assert_eq!(latest(&mut world, &vault), Ok(first.manifest.vid.clone()), "{mode:?}");
        let e = undelete(&mut world, &vault).unwrap_err();
        assert!(e.code() == Code::NotFound && e.message().contains("is not deleted"), "{e}");
        // A backup that was deleted can be stored again.
        rm(&mut world, &vault, 4).unwrap();
        let second = stored(&mut world, &vault, b"two", 5);
        assert_eq!(latest(&mut world, &vault), Ok(second.manifest.vid));
    }
}

#[test]
fn a_deletion_is_later_than_every_version_also_one_ahead_of_the_clock() {
    let (mut world, vault) = (World::new(), vault(&[]));
    world.unix_ms += 10 * MINUTE;
    let newest = stored(&mut world, &vault, b"x", 1);
    world.unix_ms -= 10 * MINUTE;
    world.client_off_ms = 0;
    let removed = rm(&mut world, &vault, 2).unwrap();
    assert!(removed.manifest.vid < newest.manifest.vid, "later ids sort first");
    assert_eq!(latest(&mut world, &vault), Err(Code::NotFound));
}

#[test]
fn a_deletion_whose_answer_is_lost_is_sent_again_with_the_same_date() {
    let (mut world, vault) = (World::new(), vault(&[]));
    stored(&mut world, &vault, b"x", 1);
    world.log.clear();
    world.fault("PutObject", CATALOGUE, Fault::LostAfter);
    rm(&mut world, &vault, 2).unwrap();
    let puts: Vec<_> = world.log.iter().filter(|(operation, ..)| *operation == "PutObject").collect();
    assert!(puts.len() == 2 && puts[0] == puts[1], "{puts:?}");
}

#[test]
fn a_deletion_that_expires_says_whether_it_was_done() {
    for (fault, expected) in [(Fault::LostAfter, None), (Fault::LostBefore, Some(Code::NotDone))] {
        let (mut world, vault) = (World::new(), vault(&[("retry_time", "7200")]));
        stored(&mut world, &vault, b"x", 1);
        world.fault("PutObject", CATALOGUE, fault);
        // After the first attempt the store is away until its date has passed.
        let mut is_first = true;
        world.hook(move |world, request| {
            if request.operation == "PutObject" && !std::mem::replace(&mut is_first, false) {
                world.unix_ms += 20 * MINUTE;
            }
        });
        let result = rm(&mut world, &vault, 2).map(|_| ()).map_err(|e| e.code()).err();
        assert_eq!(result, expected, "{fault:?}");
        assert_eq!(latest(&mut world, &vault).is_err(), expected.is_none(), "{fault:?}");
    }
}

#[test]
pub(super) fn a_deleted_version_is_hidden_and_the_one_before_is_the_newest() {
    for mode in Mode::ALL {
        let mut world = World::mode(mode);
        let vault = world.vault(&[]);
        let first = stored(&mut world, &vault, b"one", 1);
        world.unix_ms += MINUTE;
        let second = stored(&mut world, &vault, b"two", 2);
        delete(&mut world, &vault, &second).unwrap();
        assert_eq!(latest(&mut world, &vault), Ok(first.manifest.vid.clone()), "{mode:?}");
        delete(&mut world, &vault, &second).unwrap();
        delete(&mut world, &vault, &first).unwrap();
        assert_eq!(latest(&mut world, &vault), Err(Code::NotFound), "{mode:?}");
    }
}

#[test]
fn a_version_that_another_needs_is_not_deleted() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let full = stored(&mut world, &vault, b"full", 1);
    world.unix_ms += MINUTE;
    let one = incremental(&mut world, &vault, &full, 2);
    world.unix_ms += MINUTE;
    let two = incremental(&mut world, &vault, &one, 3);
    for (version, child) in [(&full, &one), (&one, &two)] {
        let e = delete(&mut world, &vault, version).unwrap_err();
        assert!(e.code() == Code::HasDependents && e.message().contains(&*child.manifest.vid), "{e}");
    }
    // From the newest on, each can go.
    for version in [&two, &one, &full] {
        delete(&mut world, &vault, version).unwrap();
    }
    assert_eq!(latest(&mut world, &vault), Err(Code::NotFound));
}

#[test]
fn a_put_in_progress_counts_as_a_dependent() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let full = stored(&mut world, &vault, b"full", 1);
    world.unix_ms += MINUTE;
    let mut child = put(&vault, Some(Vid::parse(&full.manifest.vid).unwrap()), 2);
    // Until its locator is stored.
    for _ in 0..100 {
        if world.log.iter().filter(|(operation, key, _)| *operation == "PutObject" && key.contains("/loc/")).count() > 1
        {
            break;
        }
        assert!(world.run_until(&mut child, b"changes", 1).is_none());
    }
    let e = delete(&mut world, &vault, &full).unwrap_err();
    assert_eq!(e.code(), Code::HasDependents, "{e}");
    // It is not listed, and nobody could delete it first.
    assert!(e.message().contains("is being stored") && e.hint().contains("a sweep"), "{e}");
    world.run(&mut child, b"changes").unwrap();
}

#[test]
fn only_a_key_of_the_vault_can_hide() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let full = stored(&mut world, &vault, b"full", 1);
    let vid = Vid::parse(&full.manifest.vid).unwrap();
    // Somebody who may write, but has no key.
    world.put(&Mark::Deleted.key(&name(), vid), b"");
    let removed = rm(&mut world, &vault, 2).unwrap();
    assert!(matches!(&world.events[..], [Event::Ignored { .. }, ..]), "{:?}", world.events);
    let marker = Marker::new(&vault.id, &name(), Vid::parse(&removed.manifest.vid).unwrap(), Mark::Deleted);
    world.put(&marker.key, &marker.to_object(Some(Keyring::generate([7; 32]).signing_key())));
    let e = rm(&mut world, &vault, 3).unwrap_err();
    assert!(e.message().contains("already deleted"), "a foreign marker takes nothing back: {e}");
    // A vault that trusts a key and has none to sign with cannot delete.
    let key = vault.signing_key().unwrap().public().to_string();
    let reader = vault_of(crate::profile::S3, &[("verify_keys", &key)], None);
    assert_eq!(rm(&mut world, &reader, 4).unwrap_err().code(), Code::Keyring);
}
