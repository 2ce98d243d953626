//! Backups that the store encrypts. Under SSE-C the world refuses each request for data that has no key, and each other one
//! that has: so the tests of other files show, under SSE-C, that no request of theirs forgets it.

use super::super::*;
use super::world::*;
use super::{adopting, deleting, jobs, left_uploads, protocol, reading, resume};
use crate::crypto::keyring::{Kek, Keyring};
use crate::profile::{Profile, S3};
use crate::transfer::ReadRequest;
use crate::{Code, Error};
use s3_model::{Accepts, Encryption as Stored, Rules};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn with_sse_c(test: fn()) {
    with_settings(SSE_C, test);
}

fn in_all_modes(test: fn()) {
    Mode::ALL.into_iter().for_each(|mode| in_mode(mode, test));
}

fn read(world: &mut World, vault: &Arc<Vault>, found: &Found) -> Result<(), Error> {
    world.delivered.clear();
    let manifest = Arc::new(found.manifest.clone());
    world.run(&mut Read::new(vault.clone(), manifest, ReadRequest::default(), 1).unwrap(), &[])
}

/// All versions of data in the store, with the key of SSE-C.
fn data(world: &World) -> Vec<(String, Stored)> {
    let keys = world.keys("").into_iter().filter(|key| !key.starts_with("_s3vault/"));
    let of = |key: String| {
        let objects = world.versions(&key).iter().filter_map(|version| version.object.as_ref());
        objects.map(|object| (key.clone(), object.attributes.encryption.clone())).collect::<Vec<_>>()
    };
    keys.flat_map(of).collect()
}

#[test]
fn backups_of_any_size_are_stored_under_their_key_and_read_with_it() {
    with_sse_c(|| {
        in_all_modes(|| {
            for (profile, extents) in [(S3, 1), (Profile { max_parts: 2, ..S3 }, 2)] {
                let (mut world, vault, source) = (World::new(), vault_on(profile, &[]), large());
                let streamed = stored(&mut world, &vault, &source, 1);
                assert_eq!(streamed.manifest.extents.len(), extents);
                let file = world.run(&mut put_file(&vault, source.len()), &source).unwrap();
                let small = stored(&mut world, &vault, b"small", 2);
                let empty = stored(&mut world, &vault, b"", 3);
                for found in [&streamed, &file, &small, &empty] {
                    read(&mut world, &vault, found).unwrap();
                    let read: u64 = world.delivered.iter().map(|range| range.length).sum();
                    assert_eq!(read, found.row.bytes);
                    let wrapped = found.manifest.wrapped.as_ref().unwrap();
                    assert_eq!(wrapped.kek, keyring().current_kek().unwrap().id());
                }
                let data = data(&world);
                assert!(data.len() >= 3 + extents, "{data:?}");
                let is_encrypted = |(_, stored): &(String, Stored)| matches!(stored, Stored::Customer { .. });
                assert!(data.iter().all(is_encrypted), "{data:?}");
            }
        });
    });
}

#[test]
fn stores_that_refuse_checksums_are_compared_with_the_key() {
    with_sse_c(|| {
        let rules = Rules { accepts: Accepts::Md5, checksums: false, ..Rules::default() };
        let (mut world, vault, source) = (World::with(rules), vault(&[]), large());
        let found = world.run(&mut put_file(&vault, source.len()), &source).unwrap();
        assert!(world.operations().contains(&"HeadObject"));
        read(&mut world, &vault, &found).unwrap();
    });
}

#[test]
fn a_complete_without_an_answer_is_settled_with_the_key() {
    with_sse_c(|| {
        in_all_modes(|| {
            let (mut world, vault, source) = (World::new(), vault(&[]), large());
            world.fault("CompleteMultipartUpload", "vm/disk", Fault::LostAfter);
            let found = stored(&mut world, &vault, &source, 1);
            assert!(world.operations().contains(&"HeadObject"));
            read(&mut world, &vault, &found).unwrap();
        });
    });
}

#[test]
fn puts_resume_wherever_they_were_killed() {
    with_sse_c(|| {
        resume::a_stream_resumes_wherever_it_was_killed();
        resume::a_file_resumes_wherever_it_was_killed();
        in_mode(Mode::Emulated, resume::a_stream_of_several_extents_resumes_wherever_it_was_killed);
        in_mode(Mode::PerVmNative, resume::a_file_of_several_extents_resumes_wherever_it_was_killed);
        resume::a_complete_that_took_effect_is_found();
        resume::a_put_is_suspended_in_any_state_and_resumes();
    });
}

#[test]
fn puts_survive_lost_answers_refusals_and_cancels() {
    with_sse_c(|| {
        protocol::what_does_not_fit_into_one_object_continues_in_the_next_extent();
        protocol::a_complete_without_an_answer_is_settled_by_the_object_itself();
        protocol::every_request_may_fail_once();
        protocol::every_request_may_be_refused();
        protocol::a_cancel_at_any_request_leaves_nothing_listed_and_no_upload();
        protocol::a_complete_with_an_unknown_outcome_can_be_retried();
    });
}

#[test]
fn data_is_read_from_replicas_and_over_broken_connections() {
    with_sse_c(|| {
        reading::the_data_of_a_replica_is_found_under_its_own_version_ids();
        reading::a_range_that_breaks_resumes_after_its_last_byte_and_each_byte_is_served_once();
    });
}

/// A restore by somebody who trusts the vault, and does not have the key of the version.
#[test]
fn without_the_key_encryption_key_a_version_is_found_and_not_read() {
    with_sse_c(|| {
        let (mut world, own) = (World::new(), vault(&[]));
        let found = stored(&mut world, &own, b"hidden", 1);
        let mut other = Keyring::generate([1; 32]);
        other.add_kek(Kek::new([9; 32], START));
        let without = Keyring::generate([1; 32]);
        for keyring in [other, without] {
            let vault = vault_of(S3, &[], Some(Arc::new(keyring)));
            let e = read(&mut world, &vault, &found).unwrap_err();
            assert!(e.code() == Code::WrongKey && world.delivered.is_empty(), "{e}");
        }
        let id = keyring().signing_key().public().to_string();
        let e = read(&mut world, &vault_of(S3, &[("verify_keys", &id)], None), &found).unwrap_err();
        assert_eq!(e.code(), Code::WrongKey, "{e}");
        read(&mut world, &own, &found).unwrap();
    });
}

/// The object was replaced by one under another key, or without a key.
#[test]
fn an_object_under_another_key_is_a_wrong_key() {
    with_sse_c(|| {
        for stored_as in [Stored::None, Stored::Customer { key_md5: "AAAAAAAAAAAAAAAAAAAAAA==".into() }] {
            let (mut world, vault) = (World::new(), vault(&[]));
            let found = stored(&mut world, &vault, b"hidden", 1);
            let key = &found.manifest.extents[0].key;
            world.model.object_mut("bkt", key, None).unwrap().attributes.encryption = stored_as.clone();
            // The store is also asked without the key.
            let e = unchecked(|| read(&mut world, &vault, &found)).unwrap_err();
            assert!(e.code() == Code::WrongKey && world.delivered.is_empty(), "{stored_as:?}: {e}");
            assert!(e.message().contains(key.as_str()), "{e}");
        }
    });
}

#[test]
fn jobs_and_deletions_work_on_encrypted_backups() {
    with_sse_c(|| {
        jobs::a_prune_does_what_its_dry_run_said_and_frees_it_later();
        jobs::a_sweep_marks_what_a_crashed_put_left_and_frees_it_later();
        jobs::a_put_that_was_only_slow_survives_a_sweep();
        jobs::every_request_of_a_job_may_be_its_last();
        jobs::a_late_duplicate_of_a_lost_put_goes_with_its_version();
        jobs::in_a_replica_nothing_is_deleted();
        jobs::an_entry_without_its_locator_goes_only_if_its_data_is_gone();
        deleting::rm_hides_a_backup_and_undelete_shows_it_again();
        deleting::a_deleted_version_is_hidden_and_the_one_before_is_the_newest();
    });
}

#[test]
fn uploads_that_were_left_are_looked_at_with_their_key() {
    with_sse_c(|| {
        left_uploads::an_upload_that_a_stored_version_left_goes_after_the_grace();
        left_uploads::an_upload_that_an_unfinished_put_may_own_is_not_aborted_before_that_put_is_marked();
        left_uploads::an_upload_in_which_something_was_stored_within_the_grace_is_left_alone();
    });
}

/// A bucket's policy may demand the header of every PUT.
#[test]
fn with_sse_s3_and_sse_kms_everything_that_is_written_asks_for_it() {
    const S3_KEYS: Changes = &[("encryption", "sse-s3")];
    const KMS_KEYS: Changes = &[("encryption", "sse-kms"), ("sse_kms_key", "alias/backup")];
    for (settings, algorithm, kms_key) in [(S3_KEYS, "AES256", None), (KMS_KEYS, "aws:kms", Some("alias/backup"))] {
        for mode in Mode::ALL {
            let mut world = World::mode(mode);
            let vault = world.vault(settings);
            world.hook(move |_, request| {
                let header =
                    |name: &str| request.headers.iter().find(|(own, _)| own == name).map(|(_, value)| &**value);
                if matches!(request.operation, "PutObject" | "CreateMultipartUpload") {
                    assert_eq!(header("x-amz-server-side-encryption"), Some(algorithm), "{}", request.url);
                    assert_eq!(header("x-amz-server-side-encryption-aws-kms-key-id"), kms_key);
                }
            });
            let found = stored(&mut world, &vault, &large(), 1);
            let parent = Vid::parse(&found.manifest.vid).unwrap();
            let next = world.run(&mut put(&vault, Some(parent), 2), b"more").unwrap();
            read(&mut world, &vault, &next).unwrap();
            assert_eq!(next.manifest.encryption.as_deref(), Some(settings[0].1));
            let now = world.unix_ms;
            world.run(&mut Remove::new(vault.clone(), name(), [3; 10], 1), &[]).unwrap();
            world.run(&mut Undelete::new(vault.clone(), name(), 1), &[]).unwrap();
            world.run(&mut DeleteVersion::new(vault.clone(), &next.manifest, now, 1).unwrap(), &[]).unwrap();
            let objects = world.keys("").into_iter().flat_map(|key| world.versions(&key).to_vec());
            let stored: Vec<Stored> = objects.filter_map(|v| Some(v.object?.attributes.encryption)).collect();
            let wanted = Stored::Store { algorithm: algorithm.into(), kms_key: kms_key.map(str::to_owned) };
            assert!(stored.len() > 6 && stored.iter().all(|own| *own == wanted), "{stored:?}");
        }
    }
}

#[test]
fn a_store_that_ignores_sse_s3_is_named_before_anything_is_stored() {
    let (mut world, vault) = (World::new(), vault(&[("encryption", "sse-s3")]));
    world.fault("PutObject", "_s3vault/vault.json", Fault::Lacks("x-amz-server-side-encryption"));
    let e = world.run(&mut put(&vault, None, 1), b"x").unwrap_err();
    assert!(e.code() == Code::BadReply && e.message().contains("does not confirm the requested encryption"), "{e}");
    assert_eq!(data(&world), []);
}

/// New backups follow the setting, and old ones stay readable.
#[test]
fn the_encryption_of_a_vault_may_change() {
    let mut world = World::new();
    let mut found = Vec::new();
    let kinds = ["none", "sse-c", "sse-s3", "sse-c"];
    for (n, kind) in (1..).zip(kinds) {
        // The world's own check of keys is for vaults that never change.
        let vault = vault(&[("api_url", "https://127.0.0.1:9000"), ("encryption", kind)]);
        let version = unchecked(|| world.run(&mut put(&vault, None, n), b"x")).unwrap();
        found.push(version);
        for version in &found {
            unchecked(|| read(&mut world, &vault, version)).unwrap();
        }
    }
    let stored: Vec<&str> = found.iter().map(|found| found.manifest.encryption.as_deref().unwrap_or("none")).collect();
    assert_eq!(stored, kinds);
}

#[test]
fn an_adoption_leaves_the_data_that_the_vault_has_encrypted() {
    with_sse_c(|| {
        for mode in [Mode::Native, Mode::PerVmNative] {
            in_mode(mode, || {
                let (mut world, vault) = (World::new(), vault(&[]));
                let found = stored(&mut world, &vault, b"own", 1);
                world.is_adopting = true;
                let report = adopting::adopt(&mut world, &vault);
                world.is_adopting = false;
                assert_eq!((report.adopted, report.problems), (0, 0), "{:?}", report.problem_texts);
                read(&mut world, &vault, &found).unwrap();
            });
        }
    });
}
