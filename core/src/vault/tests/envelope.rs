//! Backups that the driver encrypts: puts that are killed and resumed, and what a reader gets to decrypt them.

use super::super::*;
use super::world::*;
use crate::crypto::keyring::{Kek, Keyring};
use crate::crypto::segment::{OVERHEAD, SEGMENT, Segments};
use crate::machine::{Machine, Output};
use crate::profile::{Profile, S3};
use crate::transfer::ReadRequest;
use crate::transfer::checkpoint::Checkpoint;
use crate::{Code, Error};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const MIB: usize = 1 << 20;

fn keyring() -> Arc<Keyring> {
    let mut keyring = Keyring::generate([1; 32]);
    keyring.add_kek(Kek::new([2; 32], START));
    Arc::new(keyring)
}

fn vault(profile: Profile) -> Arc<Vault> {
    vault_of(profile, &[("encryption", "envelope")], Some(keyring()))
}

/// What the driver is told to decrypt with, and how the read ends.
fn read(world: &mut World, vault: &Arc<Vault>, found: &Found) -> (Option<Arc<Segments>>, Result<(), Error>) {
    let mut machine = Read::new(vault.clone(), Arc::new(found.manifest.clone()), ReadRequest::default(), 1).unwrap();
    let mut segments = None;
    loop {
        // The world drops this output.
        if let Some(end) = world.run_until(&mut Watched { machine: &mut machine, segments: &mut segments }, b"", 1) {
            return (segments, end);
        }
    }
}

/// Keeps what a read says of its segments.
struct Watched<'a> {
    machine: &'a mut Read,
    segments: &'a mut Option<Arc<Segments>>,
}

impl Machine for Watched<'_> {
    type Done = ();

    fn poll(&mut self, now: crate::time::Now) -> Output<()> {
        let output = self.machine.poll(now);
        if let Output::Segments(segments) = &output {
            assert!(self.segments.replace(segments.clone()).is_none(), "told twice");
        }
        output
    }

    fn handle(&mut self, now: crate::time::Now, input: crate::machine::Input<'_>) {
        self.machine.handle(now, input);
    }
}

/// The only version, read and decrypted from its objects.
fn decrypted(world: &mut World, vault: &Arc<Vault>) -> Vec<u8> {
    let found = find(world, vault, Selector::Latest).unwrap();
    let (segments, end) = read(world, vault, &found);
    end.unwrap();
    let (segments, mut bytes) = (segments.unwrap(), Vec::new());
    for (number, part) in (0..).zip(found.manifest.parts()) {
        let extent = &found.manifest.extents[part.extent];
        let mut versions = world.versions(&extent.key).iter();
        let version = versions.find(|version| Some(&version.id) == extent.version_id.as_ref()).unwrap();
        let stored = &version.content().unwrap()[part.start as usize..][..part.hash.length as usize];
        let of_part = segments.of_part(number).unwrap();
        for stored in stored.chunks(SEGMENT + OVERHEAD) {
            bytes.extend_from_slice(of_part.open(bytes.len() as u64, &mut stored.to_vec()).unwrap());
        }
    }
    assert_eq!(bytes.len() as u64, found.manifest.size);
    bytes
}

fn source(size: usize, run: u8) -> Vec<u8> {
    (0..size).map(|n| (n / 4096) as u8 ^ run).collect()
}

/// A put that is killed after each of these numbers of steps, with another source each time. Returns whether it ended before
/// the last of them.
fn killed(profile: Profile, size: usize, kills: &[usize]) -> bool {
    let (mut world, vault) = (World::new(), vault(profile));
    let mut expected = Vec::new();
    for (run, steps) in (0u8..).zip(kills.iter().copied().chain([100_000])) {
        let source = source(size, run);
        world.source_start = None;
        let (checkpoint, valid) = Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap();
        world.saved.truncate(valid);
        let mut request = request(None, None, run + 1);
        request.checkpoint = Some(checkpoint);
        // A new process has another key, unless its checkpoint has one.
        request.data_key = crate::crypto::data_key::DataKey::new([run; 32]);
        let mut put = Put::new(vault.clone(), request).unwrap();
        let key = put.seals_with().unwrap();
        match &mut world.sealer {
            Some(sealer) => sealer.restart(key),
            None => world.sealer = Some(Sealer::new(key)),
        }
        let end = world.run_until(&mut put, &source, steps);
        if let Some((offset, is_ended)) = world.source_start {
            let rest = if is_ended { &expected[offset as usize..] } else { &source[offset as usize..] };
            expected = [&expected[..offset as usize], rest].concat();
        }
        if let Some(end) = end {
            end.unwrap();
            assert!(decrypted(&mut world, &vault) == expected, "killed after {kills:?}");
            return run < kills.len() as u8;
        }
    }
    panic!("the last run is not killed");
}

#[test]
fn a_put_that_is_killed_anywhere_continues_with_its_key_and_never_uses_a_nonce_twice() {
    // In one extent, and in three of one part each.
    for (profile, size) in [(S3, 10 * MIB), (Profile { max_parts: 1, ..S3 }, 17 * MIB), (S3, 100), (S3, 0)] {
        let mut steps = 1;
        while !killed(profile, size, &[steps]) {
            if size < MIB {
                killed(profile, size, &[steps, 9]);
            }
            steps += if size > MIB { 3 } else { 1 };
        }
        assert!(steps > 5, "{steps}");
    }
}

#[test]
fn a_put_whose_key_was_retired_says_that_it_has_to_start_again() {
    let mut keys = Keyring::generate([1; 32]);
    keys.add_kek(Kek::new([2; 32], START));
    let old = keys.keks()[0].id().to_owned();
    let with = |keys: &Keyring| vault_of(S3, &[("encryption", "envelope")], Some(Arc::new(keys.copy())));
    let (mut world, before) = (World::new(), with(&keys));
    let resumed = |world: &World, vault: &Arc<Vault>| {
        let mut request = request(None, None, 2);
        request.checkpoint = Some(Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap().0);
        Put::new(vault.clone(), request)
    };
    let data = source(10 * MIB, 0);
    let mut request = request(None, None, 1);
    request.checkpoint = Some(Checkpoint::default());
    let mut put = Put::new(before.clone(), request).unwrap();
    world.sealer = Some(Sealer::new(put.seals_with().unwrap()));
    while Checkpoint::parse(&world.saved, &before.checkpoint_key()).unwrap().0.header.is_none() {
        assert!(world.run_until(&mut put, &data, 1).is_none());
    }
    resumed(&world, &before).unwrap();
    keys.add_kek(Kek::new([3; 32], START));
    keys.mark_escrowed();
    keys.activate(keys.keks()[1].id().to_owned().as_str()).unwrap();
    keys.retire(&old).unwrap();
    let e = resumed(&world, &with(&keys)).err().unwrap();
    assert_eq!(e.code(), Code::WrongKey);
    assert_eq!(e.message(), format!("the data key is wrapped with key {old}, which was retired"));
    assert_eq!(e.hint(), "Remove the checkpoint, and store the backup from the start.");
    // Without the retirement, the keyring is another one.
    let mut other = Keyring::generate([1; 32]);
    other.add_kek(Kek::new([3; 32], START));
    let e = resumed(&world, &with(&other)).err().unwrap();
    assert!(e.message().ends_with("which the keyring does not have") && e.hint().contains("import it"), "{e}");
}

#[test]
fn a_reader_without_the_key_verifies_the_data_but_cannot_read_it() {
    let (mut world, sealed) = (World::new(), vault(S3));
    let mut put = Put::new(sealed.clone(), request(None, None, 1)).unwrap();
    world.sealer = put.seals_with().map(Sealer::new);
    let found = world.run(&mut put, &source(9 * MIB, 0)).unwrap();
    let public = keyring().signing_key().public().to_string();
    let public = vault_of(S3, &[("verify_keys", &public)], None);
    assert_eq!(read(&mut world, &public, &found).1.unwrap_err().code(), Code::WrongKey);
    let request = ReadRequest { is_discarded: true, ..ReadRequest::default() };
    let mut verified = Read::new(public, Arc::new(found.manifest), request, 1).unwrap();
    world.run(&mut verified, b"").unwrap();
}
