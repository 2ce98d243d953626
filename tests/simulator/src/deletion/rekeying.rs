//! What the eighth set of inputs adds: some seeds have a run of re-keyings after that of deletions. Data is copied under new
//! data keys by several processes side by side, and what that replaced is removed, beside everything else.
//!
//! A version that nobody deleted loses an object only if a re-keying has replaced it for the grace, and what replaced it is
//! there, or if it is a copy that no locator names. At the end no data is left under a data key that was replaced.

use std::collections::{BTreeMap, BTreeSet};

use s3vault_core::vault::locator::DataKeys;
use s3vault_core::vault::{Kind, Vid};

use super::keys::encrypt;
use super::plan::{DAY, HOUR, LATE_MS, MIB, MINUTE, Mishap, Nap, Op, Plan, Planned, SECOND, WAIT_MS, mishaps};
use super::rules::{Checked, Committed, Rules, SECOND_MS, Sender};
use super::run::{FIRST, FIRST_OF_REKEYINGS, Run};
use super::snapshot::{Held, Id, Snapshot, locator};
use super::{beside, keys};
use crate::case::{Case, FaultId};
use crate::content::mix;
use crate::coverage::Probe;
use crate::wire::Wire;

/// A re-keying writes the next multiple of this.
pub(super) const EPOCH: u32 = 65_536;
/// The KEKs of a run.
const KEKS: u8 = 4;
/// One of this many seeds has re-keyings: such a run takes as long as three other seeds.
const SEEDS: u64 = 32;

/// The re-keyings of a case, if it has some.
pub(super) fn plan(case: &Case) -> Option<Plan> {
    if case.inputs < 8 || !case.seed.is_multiple_of(SEEDS) {
        return None;
    }
    let mut random = fastrand::Rng::with_seed(mix(case.seed, 0x2E_4E1));
    let mut plan = Plan { first: FIRST_OF_REKEYINGS, rekeys: true, ..Plan::of_five(random.u64(..)) };
    if random.bool() {
        beside::extend(&mut plan, &mut random);
    }
    keys::extend(&mut plan, &mut random);
    encrypt(&mut plan, KEKS);
    add_rounds(&mut plan, &mut random);
    Some(plan)
}

fn add_rounds(plan: &mut Plan, random: &mut fastrand::Rng) {
    let is_calm = plan.planned.iter().all(|one| one.mishaps.is_empty());
    let start = plan.planned[plan.firsts - 1].at + MINUTE;
    let end = plan.planned.iter().map(|one| one.at).max().unwrap_or(start);
    let mut at = random.u64(start..=end.max(start));
    for _ in 0..random.u32(1..4) {
        round(plan, random, at, is_calm);
        at += [MINUTE, HOUR, plan.grace_ms.unsigned_abs()][random.usize(0..3)];
    }
    if !is_calm && random.bool() {
        late_locator(plan, random);
    }
}

/// A re-keying sleeps between a copy and its locator, until a sweep has removed the copy that no locator names.
fn late_locator(plan: &mut Plan, random: &mut fastrand::Rng) {
    let grace = plan.grace_ms.unsigned_abs();
    let end = plan.planned.iter().map(|one| one.at).max().unwrap_or_default();
    let start = end + 2 * grace + DAY;
    let put = Op::Put { name: 0, is_incremental: false, length: 4096, is_file: true, has_checkpoint: false };
    let nap = Mishap::Nap(random.u64(8..40), Nap::For(grace + 2 * HOUR));
    let op = Op::Rekey { damages: false };
    plan.planned.extend([
        Planned::new(start, put),
        Planned { at: start + MINUTE, op, mishaps: vec![nap], off_ms: 0 },
        Planned::new(start + grace + HOUR, Op::Sweep),
    ]);
}

/// Re-keyings side by side, and what runs beside them until what they replaced is removed.
fn round(plan: &mut Plan, random: &mut fastrand::Rng, start: u64, is_calm: bool) {
    let grace = plan.grace_ms.unsigned_abs();
    let mut add = |at: u64, op: Op, mishaps: Vec<Mishap>| plan.planned.push(Planned { at, op, mishaps, off_ms: 0 });
    let happens = |random: &mut fastrand::Rng, op: &Op| {
        let mut all = if is_calm { Vec::new() } else { mishaps(random, op, grace) };
        if !is_calm && random.u32(0..4) == 0 {
            all.push(Mishap::Crash(random.u64(1..60), random.bool(), 0));
        }
        // It falls asleep between the copy and its locator, or between the locator and what it removes.
        if !is_calm && random.u32(0..3) == 0 {
            let time = [MINUTE, WAIT_MS as u64 + MINUTE, grace + HOUR, 2 * grace + 2 * HOUR][random.usize(0..4)];
            all.push(Mishap::Nap(random.u64(8..50), Nap::For(time)));
        }
        all
    };
    let name = |random: &mut fastrand::Rng| usize::from(random.u32(0..3) == 0);
    let put = Op::Put {
        name: name(random),
        is_incremental: random.bool(),
        length: [4096, 4096, 8 * MIB + 5][random.usize(0..3)],
        is_file: true,
        has_checkpoint: false,
    };
    add(start, put, Vec::new());
    let rekeyed = start + random.u64(SECOND..MINUTE);
    if random.bool() {
        add(rekeyed + random.u64(0..100), Op::Activate, Vec::new());
    }
    for _ in 0..random.u32(1..4) {
        let op = Op::Rekey { damages: !is_calm && random.u32(0..4) == 0 };
        let mishaps = happens(random, &op);
        let spread = [2, 200, 3000][random.usize(0..3)];
        add(rekeyed + random.u64(0..spread), op, mishaps);
    }
    for _ in 0..random.u32(0..3) {
        let op = [Op::Rotate, Op::Sweep, Op::Delete { name: name(random), pick: random.usize(..) }][random.usize(0..3)];
        let mishaps = happens(random, &op);
        add(rekeyed + random.u64(0..2000), op, mishaps);
    }
    let removed = rekeyed + grace + random.u64(SECOND..2 * HOUR);
    for at in [rekeyed, removed] {
        let op = Op::ReadAmid { name: name(random), pick: random.usize(..) };
        let nap = Mishap::Nap(random.u64(3..7), Nap::For(random.u64(100..20 * SECOND)));
        add(at + random.u64(0..2000), op, vec![nap]);
    }
    for _ in 0..random.u32(1..4) {
        let op = [Op::Sweep, Op::Rekey { damages: false }, Op::Rekey { damages: false }][random.usize(0..3)];
        let mishaps = happens(random, &op);
        let spread = [100, 3000, 20 * MINUTE][random.usize(0..3)];
        add(removed + random.u64(0..spread), op, mishaps);
    }
}

/// An object that a locator names; without an id it is the one at this key.
type Named = (String, Option<String>);

/// What re-keyings did.
#[derive(Default)]
pub(super) struct Rekeyings {
    /// What the locators of re-keyings, and of rotations after them, name; and since when, in Unix milliseconds.
    names: BTreeMap<String, (DataKeys, i64)>,
    /// Copies that the store damaged, and the keys of all that it ever did.
    damaged: BTreeSet<Id>,
    damaged_keys: BTreeSet<String>,
    /// Keys of copies that were stored while their version was being removed, by this process: its data may have been listed
    /// before.
    late: BTreeMap<String, (usize, u32)>,
    /// Processes that did not end well, or of which a request arrived twice: nobody knows of what they left.
    pub(super) stopped: BTreeSet<(usize, u32)>,
}

/// The version whose copy has this key.
fn copy_of(key: &str) -> Option<Vid> {
    Vid::parse(key.rsplit_once('@')?.1.split_once(".r")?.0).ok()
}

impl Rules {
    /// A locator took effect: what it names.
    pub(super) fn names(&mut self, wire: &Wire, now: i64) -> Checked {
        let key = &wire.request.key;
        let Some(one) = locator(key).filter(|one| one.generation >= EPOCH) else { return Ok(()) };
        let first = wire.request.body.as_bytes().split(|byte| *byte == b'\n').next().unwrap_or_default();
        let data = serde_json::from_slice::<serde_json::Value>(first).ok().map(|json| json["data"].clone());
        let data: DataKeys = data
            .and_then(|data| serde_json::from_value(data).ok())
            .ok_or_else(|| format!("{key} does not say where the data is"))?;
        if copy_of(&data.first) != Some(one.vid) {
            return Err(format!("{key} names {}, which is no copy of the version", data.first));
        }
        let known = self.rekeyings.names.get(key).filter(|(known, _)| *known == data).map(|(_, since)| *since);
        self.rekeyings.names.insert(key.clone(), (data, known.unwrap_or(now)));
        Ok(())
    }

    /// A copy may have been made.
    pub(super) fn copied(&mut self, who: (usize, u32), wire: &Wire, before: &Snapshot, after: &Snapshot, now: i64) {
        // One that was written over a damaged one is whole.
        self.rekeyings.damaged.retain(|id| match (before.objects.get(id), after.objects.get(id)) {
            (Some(before), Some(after)) => before.etag == after.etag,
            (_, after) => after.is_some(),
        });
        let key = &wire.request.key;
        let Some(vid) = copy_of(key) else { return };
        if wire.operation == "UploadPartCopy" {
            self.hit(Probe::CopiedInParts);
        }
        let there = before.of(vid);
        let is_marked = there.marked_ms().is_some_and(|at| at < now - WAIT_MS + SECOND_MS);
        let is_late = is_marked || !there.has_row;
        if matches!(wire.operation, "CopyObject" | "CreateMultipartUpload" | "CompleteMultipartUpload") && is_late {
            self.rekeyings.late.insert(key.clone(), who);
        }
    }

    /// Whether what is left at a key was stored while its version was being removed, by a process that could not remove it.
    pub(super) fn is_left_late(&self, key: &str) -> bool {
        self.rekeyings.late.get(key).is_some_and(|who| self.rekeyings.stopped.contains(who))
    }

    /// How many of the objects of a version are copies that were stored while it was being removed.
    pub(super) fn late_copies(&self, vid: Vid, now: &Snapshot) -> usize {
        let late = now.objects.iter().filter(|((key, _), _)| self.rekeyings.late.contains_key(key));
        late.filter(|(_, held)| held.vid == Some(vid)).count()
    }

    /// How many of the uploads of a version are such copies.
    pub(super) fn late_uploads(&self, vid: Vid, now: &Snapshot) -> usize {
        let late = now.uploads.iter().filter(|((key, _), _)| self.rekeyings.late.contains_key(key));
        late.filter(|(_, (of, _))| *of == Some(vid)).count()
    }

    /// What a locator of a version names.
    fn named(&self, locator: &str, one: &Committed) -> Vec<Named> {
        let Some((data, _)) = self.rekeyings.names.get(locator) else { return one.extents.clone() };
        let extents = 0..one.extents.len();
        extents.map(|extent| (data.extent(extent + 1), data.version_ids.get(extent).cloned())).collect()
    }

    /// Since when locators name this data.
    fn named_since(&self, locator: &str) -> Option<i64> {
        let (data, _) = self.rekeyings.names.get(locator)?;
        self.rekeyings.names.values().filter(|(other, _)| other == data).map(|(_, since)| *since).min()
    }

    /// Whether a reader finds the data of a version: by the highest locator that opens and whose data is there, whole.
    pub(super) fn has_data(&self, vid: Vid, one: &Committed, now: &Snapshot) -> bool {
        if self.rekeyings.names.is_empty() {
            return one.extents.iter().all(|named| is_there(named, now));
        }
        let opens =
            |kek: &Option<String>| kek.as_ref().is_none_or(|kek| self.keks.as_ref().is_some_and(|k| k.contains(kek)));
        let mut own: Vec<_> = now.locators.iter().filter(|(_, of)| of.vid == vid && opens(&of.kek)).collect();
        own.sort_by_key(|(_, of)| std::cmp::Reverse(of.generation));
        let mut found = own.iter().map(|(key, _)| self.named(key, one));
        let found = found.find(|named| named.iter().all(|named| is_there(named, now)));
        let is_damaged = |(key, id): &Named| {
            self.rekeyings.damaged.iter().any(|(own, of)| own == key && id.as_ref().is_none_or(|id| id == of))
        };
        // A deletion has no data.
        one.extents.is_empty() || found.is_some_and(|named| !named.iter().any(is_damaged))
    }

    /// Whether a re-keying or a sweep may remove an object of a version that was not deleted: a re-keying has replaced it,
    /// or it is a copy that no locator names. What is removed of a version that was deleted is for the other rules.
    pub(super) fn is_replaced_by_copy(
        &mut self,
        sender: &Sender,
        id: &Id,
        held: &Held,
        before: &Snapshot,
        now: i64,
    ) -> Result<bool, String> {
        let own = locator(&id.0);
        let vid = own.as_ref().map(|own| own.vid).or(held.vid);
        let (Op::Rekey { .. } | Op::Sweep, Some(vid)) = (sender.op, vid) else { return Ok(false) };
        let Some(one) = self.committed.get(&vid) else { return Ok(false) };
        let is_old = |at: i64| at <= now - self.grace_ms + SECOND_MS;
        let was_listed = |key: &str| self.listed.contains_key(&(sender.who.0, sender.who.1, key.to_owned()));
        let names_it = |key: &str| {
            self.named(key, one).iter().any(|(of, version)| *of == id.0 && version.as_ref().is_none_or(|v| *v == id.1))
        };
        let locators = || before.locators.iter().filter(|(_, of)| of.vid == vid);
        let named = locators().filter(|(key, _)| own.is_none() && names_it(key) && was_listed(key));
        let named = named.map(|(_, of)| of.generation).max();
        let most = own.as_ref().map(|own| own.generation).max(named);
        let is_replaced = locators().any(|(key, of)| {
            most.is_none_or(|most| of.generation > most)
                && self.named_since(key).is_some_and(is_old)
                && self.named(key, one).iter().all(|named| is_there(named, before))
        });
        let is_copy = own.is_none() && copy_of(&id.0).is_some();
        let is_left = is_copy && named.is_none() && is_old(held.modified_ms);
        let is_bad = matches!(sender.op, Op::Rekey { .. }) && self.rekeyings.damaged_keys.contains(&id.0);
        if is_replaced || is_left || is_bad {
            self.hit(if is_replaced { Probe::ReplacedFreed } else { Probe::CopyFreed });
            return Ok(true);
        }
        if one.hidden.is_none() {
            let since = locators().filter_map(|(key, _)| self.named_since(key)).min().map_or(0, |at| (now - at) / 1000);
            return Err(format!("{} of {} is removed, which no copy of {vid} has replaced; {since} s", id.1, id.0));
        }
        Ok(false)
    }

    /// No data of a visible version is left under a data key that was replaced, and no locator of one.
    fn all_rekeyed(&self, now: &Snapshot) -> Checked {
        let visible = self.committed.iter().filter(|(_, one)| one.hidden.is_none() && one.adopted.is_none());
        for (vid, one) in visible.filter(|(_, one)| one.row.kind != Kind::Del) {
            let mut own = now.locators.iter().filter(|(_, of)| of.vid == *vid);
            let (Some((key, of)), None) = (own.next(), own.next()) else {
                return Err(format!("version {vid} was re-keyed, and other locators are left"));
            };
            if of.generation < EPOCH {
                return Err(format!("version {vid} was not re-keyed: {key}"));
            }
            let named = self.named(key, one);
            let is_named = |(key, id): &Id| {
                named.iter().any(|(of, version)| of == key && version.as_ref().is_none_or(|version| version == id))
            };
            let data = now.objects.iter().filter(|(_, held)| held.vid == Some(*vid));
            if let Some(((key, id), _)) = data.into_iter().find(|(id, _)| !is_named(id)) {
                return Err(format!("{id} of {key} is left, and was replaced by a re-keying"));
            }
        }
        Ok(())
    }
}

/// Whether an object that a locator names is there.
fn is_there((key, id): &Named, now: &Snapshot) -> bool {
    match id {
        Some(id) => now.objects.contains_key(&(key.clone(), id.clone())),
        None => now.objects.keys().any(|(there, _)| there == key),
    }
}

impl Run {
    /// The store damages the first copy of a process, if the plan says so, and nothing was at its key before.
    pub(super) fn damage(&mut self, number: usize, wire: &Wire, before: &Snapshot) {
        let key = &wire.request.key;
        let actor = &self.actors[number];
        let is_damaged = matches!(actor.op, Op::Rekey { damages: true }) && !actor.has_damage;
        if wire.operation != "CopyObject" || !is_damaged || before.objects.keys().any(|(there, _)| there == key) {
            return;
        }
        if !self.may(FaultId::Injection(self.plan.first + 2 * FIRST + number)) {
            return;
        }
        let object =
            self.store.bucket_mut(&self.bucket).ok().and_then(|bucket| bucket.objects.get_mut(key)?.last_mut());
        let Some((id, object)) = object.and_then(|version| Some((version.id.clone(), version.object.as_mut()?))) else {
            return;
        };
        object.content = object.content.flip(0);
        object.etag = object.content.md5().iter().map(|byte| format!("{byte:02x}")).collect();
        self.actors[number].has_damage = true;
        self.rules.rekeyings.damaged.insert((key.clone(), id));
        self.rules.rekeyings.damaged_keys.insert(key.clone());
        self.rules.hit(Probe::CopyDamaged);
        self.log(|| format!("    the store damages {key}"));
    }

    /// Everything has stopped: all is re-keyed, and after the grace a sweep removes what that replaced.
    pub(super) fn rekey_all(&mut self) {
        if self.store.bucket(&self.bucket).is_err() {
            return;
        }
        // What a rotation that slept wrote under a retired key is in the way until the next rotation.
        let is_retired = |kek: &String| self.rules.keks.as_ref().is_some_and(|keks| !keks.contains(kek));
        if self.snapshot().locators.iter().any(|(_, one)| one.kek.as_ref().is_some_and(is_retired)) {
            self.run_alone(Op::Rotate);
        }
        for op in [Op::Rekey { damages: false }, Op::Sweep] {
            self.run_alone(op);
            self.time += (self.plan.grace_ms + 2 * LATE_MS).unsigned_abs() + MINUTE;
        }
        self.run_alone(Op::Sweep);
        let now = self.snapshot();
        let checked = self.rules.whole(&now).and_then(|()| self.rules.all_rekeyed(&now));
        self.note(checked);
    }
}
