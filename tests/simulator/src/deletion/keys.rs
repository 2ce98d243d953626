//! What the seventh set of inputs adds to a plan: data is encrypted, and key-encryption keys (KEKs) become current one after
//! the other, are rotated to, and are retired, while processes that have read the keyring before still run. The store encrypts
//! the data; since the ninth set, in one of three such plans the processes do.
//!
//! Whatever happens, each version is opened by a KEK that is not retired, and only versions that have a row are rotated. At the
//! end a rotation and the retirement of all other KEKs must leave one that opens everything.

use std::collections::BTreeSet;
use std::sync::Arc;

use s3vault_core::crypto::keyring::{Kek, Keyring};
use s3vault_core::crypto::segment::SEGMENT;
use s3vault_core::vault::{Retired, Vid};
use s3vault_core::{Code, Error};

use super::plan::{LATE_MS, MINUTE, Mishap, Nap, Op, Plan, Planned, SECOND, mishaps};
use super::rekeying::EPOCH;
use super::rules::{Checked, Rules, Sender};
use super::run::Run;
use super::snapshot::{Snapshot, locator};
use crate::content::BLOCK;
use crate::coverage::Probe;
use crate::mode::Mode;

/// Prefix of objects that try what the store does.
pub(super) const PROBES: &str = "_s3vault/1/probe/";
/// The KEKs of a run.
const KEKS: u8 = 3;
/// How old the marker of a closed KEK must be, in milliseconds, with what retiring it adds.
const RETIRED_MS: u64 = 4 * LATE_MS as u64 + 2 * SECOND;

pub(super) fn extend(plan: &mut Plan, random: &mut fastrand::Rng) {
    if random.u32(0..5) != 0 {
        return;
    }
    encrypt(plan, KEKS);
    let is_calm = plan.planned.iter().all(|one| one.mishaps.is_empty());
    let mut at = plan.planned[plan.firsts - 1].at + MINUTE;
    for _ in 1..KEKS {
        round(plan, random, at, is_calm);
        at += RETIRED_MS + 40 * MINUTE;
    }
}

/// Data is encrypted by the store, and there are this many KEKs.
pub(super) fn encrypt(plan: &mut Plan, keks: u8) {
    (plan.keks, plan.ahead_ms) = (keks, 0);
    // An adoption cannot look at the vault's own data at plain keys, which the store encrypts: it calls that a problem.
    if plan.has_others {
        plan.mode = if plan.mode.is_per_vm() { Mode::PerVmEmulated } else { Mode::Emulated };
    }
}

/// In one of three plans data is encrypted on this side. Its bytes are real, and cost more than described ones: so the largest
/// backups have two segments, or in one of four such plans two parts.
pub(super) fn seal(plan: &mut Plan, random: &mut fastrand::Rng) {
    plan.seals = random.u32(0..3) == 0;
    if !plan.seals {
        return;
    }
    let most = if random.u32(0..4) == 0 { BLOCK + 5 } else { SEGMENT as u64 + 5 };
    for planned in &mut plan.planned {
        if let Op::Put { length, .. } = &mut planned.op {
            *length = (*length).min(most);
        }
    }
}

/// One KEK replaces another.
fn round(plan: &mut Plan, random: &mut fastrand::Rng, start: u64, is_calm: bool) {
    let name = |random: &mut fastrand::Rng| usize::from(random.u32(0..3) == 0);
    let put = |random: &mut fastrand::Rng| Op::Put {
        name: name(random),
        is_incremental: random.bool(),
        length: 4096,
        is_file: true,
        has_checkpoint: random.bool(),
    };
    let add = |plan: &mut Plan, at: u64, op: Op, mishaps: Vec<Mishap>| {
        plan.planned.push(Planned { at, op, mishaps, off_ms: 0 });
    };
    let over = RETIRED_MS + 5 * MINUTE;
    // They have read the keyring, and sleep until the KEK is retired.
    for _ in 0..random.u32(0..3) {
        let op = if random.bool() { Op::Rotate } else { put(random) };
        let nap = Mishap::Nap(random.u64(1..5), Nap::For(over + random.u64(MINUTE..20 * MINUTE)));
        add(plan, start, op, vec![nap]);
    }
    for _ in 0..random.u32(0..3) {
        let op = put(random);
        let nap = Mishap::Nap(random.u64(1..14), Nap::For(random.u64(SECOND..14 * MINUTE)));
        add(plan, start + random.u64(0..5 * SECOND), op, vec![nap]);
    }
    let is_hurried = random.u32(0..2) == 0;
    let rotated = start + 10 * SECOND;
    if is_hurried {
        // Two rotations side by side, under different KEKs.
        add(plan, rotated - 60, Op::Activate, Vec::new());
        add(plan, rotated - random.u64(1..50), Op::Rotate, Vec::new());
        add(plan, rotated + random.u64(1..50), Op::Rotate, Vec::new());
    }
    add(plan, rotated, Op::Activate, Vec::new());
    for _ in 0..random.u32(0..3) {
        let mishaps = if is_calm || random.bool() { Vec::new() } else { mishaps(random, &Op::Rotate, 60 * MINUTE) };
        add(plan, rotated + random.u64(1..200), Op::Rotate, mishaps);
    }
    for _ in 0..2 {
        let op = Op::ReadAmid { name: name(random), pick: random.usize(..) };
        let nap = Mishap::Nap(random.u64(3..6), Nap::For(random.u64(100..20 * SECOND)));
        add(plan, rotated - random.u64(0..400), op, vec![nap]);
    }
    let closed = rotated + random.u64(SECOND..10 * MINUTE);
    let ripe = closed + RETIRED_MS + random.u64(0..2 * MINUTE);
    add(plan, closed, Op::Retire, Vec::new());
    add(plan, ripe, Op::Retire, Vec::new());
    if random.bool() {
        add(plan, ripe + 5 * SECOND, Op::Rotate, Vec::new());
    }
    add(plan, ripe + 15 * SECOND, Op::Retire, Vec::new());
    for _ in 0..2 {
        let op = put(random);
        add(plan, start + over + random.u64(0..30 * MINUTE), op, Vec::new());
    }
    let op = Op::ReadAmid { name: name(random), pick: random.usize(..) };
    add(plan, start + over + 30 * MINUTE, op, Vec::new());
}

fn kek(number: u8) -> Kek {
    Kek::new([number; 32], 0)
}

/// The owner's keyring.
pub(super) fn keyring(current: u8, keks: u8, retired: &BTreeSet<u8>) -> Arc<Keyring> {
    let mut keyring = Keyring::generate([1; 32]);
    (1..=keks).filter(|number| !retired.contains(number)).for_each(|number| keyring.add_kek(kek(number)));
    keyring.mark_escrowed();
    let _ = keyring.activate(kek(current).id());
    Arc::new(keyring)
}

/// What a vault is configured with.
pub(super) fn settings(plan: &Plan) -> &'static [(&'static str, &'static str)] {
    match (plan.keks, plan.seals) {
        (0, _) => &[],
        (_, true) => &[("encryption", "envelope")],
        (_, false) => &[("encryption", "sse-c"), ("allow_plain_sse_c", "true")],
    }
}

/// Ids of all KEKs.
pub(super) fn ids(plan: &Plan) -> Option<BTreeSet<String>> {
    (plan.keks > 0).then(|| (1..=plan.keks).map(|number| kek(number).id().to_owned()).collect())
}

impl Run {
    /// A process reads the keyring when it starts. Some processes do several things, one after the other.
    pub(super) fn open_with_keys(&mut self, number: usize) {
        let is_shared = number.is_multiple_of(2) && matches!(self.actors[number].op, Op::Put { .. });
        if self.plan.keks > 0 && self.actors[number].life == 0 && !is_shared {
            self.actors[number].process.vault = self.fresh();
        } else if is_shared && self.actors[number].life == 0 && self.plan.keks > 0 {
            self.actors[number].process.vault = self.vault.clone();
        }
    }

    fn read_keyring(&mut self) {
        self.keyring = keyring(self.current, self.plan.keks, &self.retired);
    }

    /// The next KEK becomes current.
    pub(super) fn activate(&mut self, number: usize) {
        self.actors[number].is_over = true;
        if self.current < self.plan.keks {
            self.current += 1;
            self.read_keyring();
            let current = self.current;
            self.log(|| format!("{number}: key {current}, {}, is current", kek(current).id()));
        }
    }

    /// The oldest KEK is to be retired; returns whether there is one.
    pub(super) fn chooses_retired(&mut self, number: usize) -> bool {
        let oldest = (1..self.current).find(|number| !self.retired.contains(number));
        self.actors[number].kek = oldest.map(|oldest| kek(oldest).id().to_owned()).unwrap_or_default();
        oldest.is_some()
    }

    /// A KEK may be dropped if nothing needs it.
    pub(super) fn retired(&mut self, number: usize, retired: &Retired) -> Checked {
        if !retired.is_unneeded() {
            return Ok(());
        }
        let own = self.actors[number].kek.clone();
        let Some(dropped) = (1..=self.plan.keks).find(|number| kek(*number).id() == own) else { return Ok(()) };
        self.retired.insert(dropped);
        self.read_keyring();
        self.log(|| format!("key {dropped} is retired"));
        self.rules.hit(Probe::KeyRetired);
        if let Some(keks) = &mut self.rules.keks {
            keks.remove(&own);
        }
        let now = self.snapshot();
        self.rules.whole(&now)
    }

    /// A read beside everything else has ended.
    pub(super) fn read_amid(&mut self, number: usize, result: Result<(), Error>) -> Checked {
        let Some(vid) = self.actors[number].target else { return Ok(()) };
        match result {
            Ok(()) if !self.actors[number].process.has_all() => Err(format!("version {vid} is read with other bytes")),
            Ok(()) => {
                self.rules.hit(Probe::ReadAmid);
                Ok(())
            }
            // It was deleted meanwhile.
            Err(_) if self.rules.is_hidden(vid) => Ok(()),
            Err(e) if matches!(e.code(), Code::DataMissing | Code::WrongKey | Code::Damaged | Code::Untrusted) => {
                Err(format!("version {vid} is visible, and cannot be read: {e:?}"))
            }
            Err(_) => Ok(()),
        }
    }

    /// Everything has stopped: after a rotation, the current KEK opens every version, and all others can be retired.
    pub(super) fn retire_all(&mut self) {
        if self.store.bucket(&self.bucket).is_err() {
            return;
        }
        self.run_alone(Op::Rotate);
        let (now, current) = (self.snapshot(), kek(self.current).id().to_owned());
        let other = now.locators.iter().find(|(_, one)| one.kek.as_ref().is_some_and(|own| *own != current));
        if let Some((key, _)) = other {
            return self.violate(format!("{key} is left by a rotation to {current}"));
        }
        for _ in 1..self.current {
            self.run_alone(Op::Retire);
            self.time += RETIRED_MS + MINUTE;
            self.run_alone(Op::Retire);
        }
        if let Some(left) = (1..self.current).find(|number| !self.retired.contains(number)) {
            self.violate(format!("key {left} cannot be retired, and nothing needs it"));
        }
    }
}

impl Rules {
    /// A locator was stored: only rotations and re-keyings store later generations, and only of versions that have a row.
    pub(super) fn rotates(&mut self, sender: &Sender, key: &str) -> Checked {
        let Some(one) = locator(key).filter(|one| one.generation > 0) else { return Ok(()) };
        let starts_epoch = one.generation.is_multiple_of(EPOCH);
        if !matches!((sender.op, starts_epoch), (Op::Rotate, false) | (Op::Rekey { .. }, true)) {
            return Err(format!("{:?} stores {key}", sender.op));
        }
        if !self.committed.contains_key(&one.vid) {
            return Err(format!("{key} is stored, and the put of the version has not ended"));
        }
        self.hit(if starts_epoch { Probe::Rekeyed } else { Probe::Rotated });
        Ok(())
    }

    /// Whether a version has a locator that opens with a KEK that is not retired.
    pub(super) fn opens(&self, vid: Vid, now: &Snapshot) -> bool {
        let Some(keks) = &self.keks else { return true };
        let mut own = now.locators.iter().filter(|(_, one)| one.vid == vid);
        own.any(|(_, one)| one.kek.as_ref().is_none_or(|kek| keks.contains(kek)))
    }
}
