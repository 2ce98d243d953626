//! Key-encryption keys (KEKs) that are kept elsewhere, behind functions of the caller that may fail, or return anything.

use super::rotating::{all_read, locators, read, rotate, rotation, run_until_killed, vault_with, with};
use super::world::*;
use crate::crypto::external::token::{Behaviour, Token};
use crate::crypto::keyring::{Kek, Keyring};
use crate::profile::S3;
use crate::vault::objects::{LOCATORS, closed_key};
use crate::vault::*;
use crate::{Code, Error};

const SSE_C: [(&str, &str); 2] = [("encryption", "sse-c"), ("allow_plain_sse_c", "true")];
const HSM: &str = "00000000000000aa";
const KMS: &str = "00000000000000bb";

/// A keyring with the KEKs of these numbers, and these external ones, of which the last one is current.
fn keyring_with(numbers: &[u8], external: &[(&str, &Arc<Token>)]) -> Arc<Keyring> {
    let mut keyring = Keyring::generate([1; 32]);
    numbers.iter().for_each(|number| keyring.add_kek(Kek::new([*number; 32], 0)));
    keyring.mark_escrowed();
    for (id, token) in external {
        let token: Arc<Token> = (*token).clone();
        keyring = keyring.with_external(id, token, START).unwrap();
    }
    Arc::new(keyring)
}

fn external_vault(
    mode: Mode,
    numbers: &[u8],
    external: &[(&str, &Arc<Token>)],
    changes: &[(&str, &str)],
) -> Arc<Vault> {
    each_vault_has_its_encryption();
    vault_of(S3, &[mode.settings(), changes].concat(), Some(keyring_with(numbers, external)))
}

fn token(number: u8) -> Arc<Token> {
    Arc::new(Token::new(number))
}

fn id(number: u8) -> String {
    Kek::new([number; 32], 0).id().to_owned()
}

fn under(world: &World) -> Vec<String> {
    locators(world).into_iter().filter_map(|locator| locator.kek).collect()
}

fn put_it(world: &mut World, vault: &Arc<Vault>, random: u8) -> Result<Vid, Error> {
    let mut machine = put(vault, None, random);
    world.sealer = machine.seals_with().map(Sealer::new);
    Vid::parse(&world.run(&mut machine, b"bytes")?.row.vid)
}

#[test]
fn a_backup_under_an_external_key_is_read_by_all_who_have_its_functions_and_by_nobody_else() {
    for mode in Mode::ALL {
        for changes in [&SSE_C[..], &[("encryption", "envelope")]] {
            let (mut world, hsm) = (World::mode(mode), token(1));
            let vault = external_vault(mode, &[1], &[(HSM, &hsm)], changes);
            assert_eq!(vault.escrow_warning(), None, "{mode:?}");
            let vid = put_it(&mut world, &vault, 1).unwrap();
            assert_eq!(under(&world), [HSM], "{mode:?}");
            let another = external_vault(mode, &[], &[(HSM, &hsm)], changes);
            read(&mut world, &another, &name(), vid).unwrap();
            let without = vault_with(mode, &[1], changes);
            let e = read(&mut world, &without, &name(), vid).unwrap_err();
            assert!(e.code() == Code::WrongKey && e.message().contains(HSM), "{mode:?}: {e:?}");
            assert!(e.hint().contains("s3v_keyring_custom"), "{mode:?}: {e:?}");
            let other = external_vault(mode, &[], &[(HSM, &token(2))], changes);
            let e = read(&mut world, &other, &name(), vid).unwrap_err();
            assert!(e.code() == Code::ExternalKey && e.message().contains("the tag does not match"), "{mode:?}: {e:?}");
            assert!(e.message().contains(HSM) && e.message().contains(&vid.to_string()), "{mode:?}: {e:?}");
        }
    }
}

/// What is wrong is found before the first object of a version is stored.
#[test]
fn nothing_is_stored_with_an_external_key_that_does_not_work() {
    use Behaviour::*;
    for mode in Mode::ALL {
        for (behaviour, says) in [
            (Fails, "session lost"),
            (FailsAfter(1), "session lost"),
            (WrapsTo(0), "0 bytes"),
            (WrapsTo(4097), "4097 bytes"),
            (WrapsTo(4096), "the tag does not match"),
            (UnwrapsTo(0), "0 bytes"),
            (UnwrapsTo(31), "31 bytes"),
            (UnwrapsTo(33), "33 bytes"),
            (UnwrapsToAnother, "another data key"),
        ] {
            // In a new vault, and in one where the locator is sent beside the LIST.
            for is_known in [false, true] {
                let (mut world, hsm) = (World::mode(mode), token(1));
                let vault = external_vault(mode, &[1], &[(HSM, &hsm)], &SSE_C);
                if is_known {
                    put_it(&mut world, &vault, 1).unwrap();
                    world.unix_ms += MINUTE;
                }
                let before = (world.keys(LOCATORS), world.keys("vm/"), world.keys("_s3vault/1/cat/"));
                hsm.set(match behaviour {
                    FailsAfter(calls) => FailsAfter(hsm.calls() + calls),
                    other => other,
                });
                let when = format!("{mode:?}, {behaviour:?}, {is_known}");
                let e = put_it(&mut world, &vault, 2).unwrap_err();
                assert_eq!(e.code(), Code::ExternalKey, "{when}: {e:?}");
                assert!(e.message().contains(HSM) && e.message().contains(says), "{when}: {e:?}");
                let after = (world.keys(LOCATORS), world.keys("vm/"), world.keys("_s3vault/1/cat/"));
                assert_eq!(after, before, "{when}");
                hsm.set(Right);
                put_it(&mut world, &vault, 3).unwrap();
            }
        }
    }
}

#[test]
fn a_read_whose_external_key_does_not_work_is_an_error_that_names_the_key() {
    let (mode, hsm) = (Mode::Native, token(1));
    let mut world = World::mode(mode);
    let vault = external_vault(mode, &[], &[(HSM, &hsm)], &[("encryption", "envelope")]);
    let vid = put_it(&mut world, &vault, 1).unwrap();
    for (behaviour, says) in [(Behaviour::Fails, "session lost"), (Behaviour::UnwrapsTo(16), "16 bytes")] {
        hsm.set(behaviour);
        let e = read(&mut world, &vault, &name(), vid).unwrap_err();
        assert_eq!(e.code(), Code::ExternalKey, "{e:?}");
        assert!(e.message().contains(HSM) && e.message().contains(says), "{e:?}");
        assert_eq!(e.operation(), "GetObject", "{e:?}");
    }
    hsm.set(Behaviour::Right);
    read(&mut world, &vault, &name(), vid).unwrap();
}

/// Both versions have the same container and path: the version id tells them apart.
#[test]
fn a_wrapped_key_of_another_version_does_not_open() {
    let (mode, hsm) = (Mode::Native, token(1));
    let mut world = World::mode(mode);
    // Anybody may sign here: what protects the key is what it was wrapped with.
    let vault = external_vault(mode, &[], &[(HSM, &hsm)], &SSE_C);
    let one = put_it(&mut world, &vault, 1).unwrap();
    world.unix_ms += MINUTE;
    put_it(&mut world, &vault, 2).unwrap();
    let keys = world.keys(LOCATORS);
    let locator = |world: &World, key: &str| {
        let json = world.body(key).split(|b| *b == b'\n').next().unwrap().to_vec();
        locator::Locator::parse(&json, key).unwrap()
    };
    let is_one = |key: &&String| key.contains(&one.to_string());
    let (of_one, of_two) = (keys.iter().find(is_one).unwrap(), keys.iter().find(|key| !is_one(key)).unwrap());
    let mut changed = locator(&world, of_one);
    changed.wrapped = locator(&world, of_two).wrapped;
    world.put(of_one, &changed.to_object(vault.signing_key()));
    let e = read(&mut world, &vault, &name(), one).unwrap_err();
    assert!(e.code() == Code::ExternalKey && e.message().contains("the tag does not match"), "{e:?}");
    let calls = hsm.calls();
    for text in [String::new(), "%".into(), "A".repeat(5468)] {
        changed.wrapped.as_mut().unwrap().key = text;
        world.put(of_one, &changed.to_object(vault.signing_key()));
        let e = read(&mut world, &vault, &name(), one).unwrap_err();
        assert_eq!(e.code(), Code::Untrusted, "{e:?}");
    }
    assert_eq!(hsm.calls(), calls, "what cannot be a wrapped key is not handed to the caller");
}

#[test]
fn a_rotation_moves_versions_to_an_external_key_between_two_and_back() {
    for mode in Mode::ALL {
        let (mut world, hsm, kms) = (World::mode(mode), token(1), token(2));
        let old = with(mode, &[1]);
        let mut versions = vec![(name(), Vid::parse(&stored(&mut world, &old, b"bytes", 1).row.vid).unwrap())];
        world.unix_ms += MINUTE;
        let to_hsm = external_vault(mode, &[1], &[(HSM, &hsm)], &SSE_C);
        versions.push((name(), put_it(&mut world, &to_hsm, 2).unwrap()));
        assert_eq!(rotate(&mut world, &to_hsm).rotated, 1, "{mode:?}");
        assert_eq!(under(&world), [HSM, HSM], "{mode:?}");
        all_read(&mut world, &external_vault(mode, &[], &[(HSM, &hsm)], &SSE_C), &versions, "to the HSM");
        let to_kms = external_vault(mode, &[], &[(HSM, &hsm), (KMS, &kms)], &SSE_C);
        let calls = (hsm.calls(), kms.calls());
        assert_eq!(rotate(&mut world, &to_kms).rotated, 2, "{mode:?}");
        let calls = (hsm.calls() - calls.0, kms.calls() - calls.1);
        // Wrapped, unwrapped at once, and unwrapped as it was read back.
        assert_eq!(calls, (2, 6), "{mode:?}: what a rotation of two versions costs");
        assert_eq!(under(&world), [KMS, KMS], "{mode:?}");
        all_read(&mut world, &external_vault(mode, &[], &[(KMS, &kms)], &SSE_C), &versions, "to the KMS");
        let mut keyring = keyring_with(&[2], &[(KMS, &kms)]).copy();
        keyring.activate(&id(2)).unwrap();
        let back = vault_of(S3, &[mode.settings(), &SSE_C].concat(), Some(Arc::new(keyring)));
        assert_eq!(rotate(&mut world, &back).rotated, 2, "{mode:?}");
        all_read(&mut world, &with(mode, &[2]), &versions, "back");
    }
}

/// What they write has the same key, and other bytes each time.
#[test]
fn two_rotations_to_an_external_key_may_run_side_by_side() {
    for mode in [Mode::Native, Mode::Emulated] {
        let (mut base, hsm) = (World::mode(mode), token(1));
        let old = with(mode, &[1]);
        let mut versions = Vec::new();
        for n in 1..=2 {
            versions.push((name(), Vid::parse(&stored(&mut base, &old, &[n; 9], n).row.vid).unwrap()));
            base.unix_ms += MINUTE;
        }
        let mut has_differed = false;
        'first: for first_stop in 0.. {
            for second_stop in 0.. {
                let mut world = base.copy();
                let new = || external_vault(mode, &[1], &[(HSM, &hsm)], &SSE_C);
                let (one, other) = (new(), new());
                let (mut a, mut b) = (rotation(&one, false), rotation(&other, false));
                let when = format!("{mode:?}: {first_stop}, {second_stop}");
                if run_until_killed(&mut world, &mut a, first_stop).is_some() {
                    break 'first;
                }
                let is_over = run_until_killed(&mut world, &mut b, second_stop).is_some();
                let written = locators_with_bytes(&world);
                assert_eq!(world.run(&mut a, &[]).unwrap().problems, 0, "{when}");
                let now = locators_with_bytes(&world);
                has_differed |= now.iter().any(|(key, bytes)| written.get(key).is_some_and(|old| old != bytes));
                all_read(&mut world, &new(), &versions, &when);
                if !is_over {
                    assert_eq!(world.run(&mut b, &[]).unwrap().problems, 0, "{when}");
                }
                rotate(&mut world, &new());
                assert_eq!(under(&world), [HSM, HSM], "{when}");
                all_read(&mut world, &external_vault(mode, &[], &[(HSM, &hsm)], &SSE_C), &versions, &when);
                if is_over {
                    break;
                }
            }
        }
        assert!(has_differed, "{mode:?}: one wrote over the other's locator");
    }
}

fn locators_with_bytes(world: &World) -> std::collections::BTreeMap<String, Vec<u8>> {
    let newest = |key: &str| world.versions(key).last().unwrap().content().unwrap().clone();
    world.keys(LOCATORS).into_iter().map(|key| (key.clone(), newest(&key))).collect()
}

/// It fails at each of its calls. Nothing is lost, and the next rotation does the rest.
#[test]
fn a_rotation_whose_external_key_fails_at_any_call_loses_nothing() {
    for mode in Mode::ALL {
        let mut base = World::mode(mode);
        let (hsm, kms) = (token(1), token(2));
        let from = external_vault(mode, &[], &[(HSM, &hsm)], &SSE_C);
        let mut versions = Vec::new();
        for n in 1..=2 {
            versions.push((name(), put_it(&mut base, &from, n).unwrap()));
            base.unix_ms += MINUTE;
        }
        let vault = || external_vault(mode, &[], &[(HSM, &hsm), (KMS, &kms)], &SSE_C);
        for (failing, calls) in [(&hsm, 2), (&kms, 6)] {
            for after in 0..calls {
                let mut world = base.copy();
                failing.set(Behaviour::FailsAfter(failing.calls() + after));
                let when = format!("{mode:?}, after {after} of {calls}");
                match world.run(&mut rotation(&vault(), false), &[]) {
                    Ok(report) => assert!(report.problems > 0, "{when}: {report:?}"),
                    Err(e) => assert_eq!(e.code(), Code::ExternalKey, "{when}: {e:?}"),
                }
                failing.set(Behaviour::Right);
                all_read(&mut world, &vault(), &versions, &when);
                let report = rotate(&mut world, &vault());
                assert_eq!(report.problems + report.waiting, 0, "{when}: {report:?}");
                assert_eq!(under(&world), [KMS, KMS], "{when}");
                all_read(&mut world, &external_vault(mode, &[], &[(KMS, &kms)], &SSE_C), &versions, &when);
            }
        }
    }
}

#[test]
fn an_external_key_is_retired_as_any_other() {
    let (mode, hsm) = (Mode::Native, token(1));
    let mut world = World::mode(mode);
    let external = external_vault(mode, &[], &[(HSM, &hsm)], &SSE_C);
    put_it(&mut world, &external, 1).unwrap();
    let e = Retire::new(external, Some("vm"), HSM, 1).err().unwrap();
    assert!(e.message().contains("is current"), "{e:?}");
    let mut keyring = keyring_with(&[2], &[(HSM, &hsm)]).copy();
    keyring.activate(&id(2)).unwrap();
    let vault = vault_of(S3, &[mode.settings(), &SSE_C].concat(), Some(Arc::new(keyring)));
    let retire = |world: &mut World| world.run(&mut Retire::new(vault.clone(), Some("vm"), HSM, 1).unwrap(), &[]);
    assert!(retire(&mut world).unwrap().wait_until_ms.is_some());
    assert!(world.keys("").contains(&closed_key(HSM)));
    world.unix_ms += 61 * MINUTE;
    assert_eq!(retire(&mut world).unwrap().needed, 1);
    assert_eq!(rotate(&mut world, &vault).rotated, 1);
    assert!(retire(&mut world).unwrap().is_unneeded());
    // Who still has it current is refused, whatever its functions say.
    let calls = hsm.calls();
    let e = put_it(&mut world, &external_vault(mode, &[2], &[(HSM, &hsm)], &SSE_C), 2).unwrap_err();
    assert!(e.code() == Code::Keyring && e.message().contains(HSM), "{e:?}");
    assert_eq!(hsm.calls(), calls);
}

/// The keyring file of such a keyring, or what is restored from its escrow.
#[test]
fn a_keyring_whose_current_key_was_external_stores_nothing_without_it() {
    let mode = Mode::Native;
    let mut world = World::mode(mode);
    let copy = Keyring::from_bytes(&keyring_with(&[1], &[(HSM, &token(1))]).to_bytes()).unwrap();
    let vault = vault_of(S3, &[mode.settings(), &SSE_C].concat(), Some(Arc::new(copy)));
    let e = Put::new(vault.clone(), request(None, None, 1)).err().unwrap();
    assert!(e.code() == Code::Keyring && e.message().contains("is current"), "{e:?}");
    assert!(e.hint().contains("s3v_keyring_custom"), "{e:?}");
    let old = with(mode, &[1]);
    let vid = put_it(&mut world, &old, 1).unwrap();
    read(&mut world, &vault, &name(), vid).unwrap();
}
