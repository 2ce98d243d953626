//! What the vault itself deletes: *rm*, *undelete*, *delete a version*, *prune* and *sweep*, and what each of them means in
//! the reference.

use std::collections::BTreeSet;

use s3vault_core::vault::job::Job;
use s3vault_core::vault::objects::{CATALOGUE, CatalogueKey, Entry, LocatorKey, locators_prefix};
use s3vault_core::vault::retention::Policy;
use s3vault_core::vault::{DeleteVersion, Find, JobRequest, Kind, Remove, Selector, Undelete, Vid};
use s3vault_core::{Code, Result as CoreResult};

use super::operation::name;
use super::outcome::Outcome;
use super::reference::{Reference, Version, is_future};
use super::run::{Checked, Run, Work};
use super::sequence::NAMES;
use crate::task::{Ended, Machine};
use crate::wire::Wire;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Clocks that differ more than this are no measure of age, in milliseconds.
const CLOCKS_MS: i64 = 5 * 60_000;

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Hides a backup.
    Remove { name: usize },
    /// Takes that back.
    Undelete { name: usize },
    /// Deletes a version.
    Delete { name: usize, pick: usize },
    /// Prunes a container.
    Prune { container: &'static str, policy: Policy },
    /// Sweeps a container.
    Sweep { container: &'static str },
}

/// A change at work.
#[derive(Clone, Debug)]
pub(super) struct Changing {
    change: Change,
    /// The versions that it must hide, or why it must fail.
    expected: Result<Vec<usize>, Code>,
    /// Versions that it has hidden, and the one that it has stored.
    hidden: Vec<usize>,
    stored: Option<usize>,
}

impl Reference {
    /// The versions that a prune of a name deletes. `awaited`: what puts in progress build on.
    fn pruned(&self, name: usize, policy: Policy, clock: i64, awaited: &BTreeSet<Vid>) -> Vec<usize> {
        let own = self.of(name);
        let version = |n: usize| &self.versions[n];
        if own.iter().any(|n| is_future(version(*n).vid, clock)) {
            return Vec::new();
        }
        let (mut goes, mut fulls, mut incs) = (BTreeSet::new(), 0, 0);
        for (place, n) in own.iter().enumerate() {
            let (rank, versions, days) = match version(*n).kind {
                Kind::Full => (&mut fulls, policy.full_versions, policy.full_days),
                Kind::Inc => (&mut incs, policy.inc_versions, policy.inc_days),
                Kind::Del => continue,
            };
            *rank += 1;
            let is_old = days > 0 && clock - version(*n).recorded_ms > days as i64 * DAY_MS;
            if (versions > 0 && *rank > versions || is_old) && !(policy.keep_last && place == 0) {
                goes.insert(*n);
            }
        }
        for n in &own {
            if let Some(parent) = version(*n).parent.filter(|_| !goes.contains(n)) {
                goes.remove(&parent);
            }
        }
        let mut hides = false;
        for n in own.iter().rev() {
            match version(*n).kind {
                Kind::Del if !hides => drop(goes.insert(*n)),
                Kind::Del => {}
                _ => hides |= !goes.contains(n),
            }
        }
        for n in own.iter().filter(|n| awaited.contains(&version(**n).vid)) {
            let mut next = Some(*n);
            while let Some(n) = next {
                goes.remove(&n);
                next = version(n).parent;
            }
        }
        goes.into_iter().collect()
    }
}

impl Run {
    /// Starts a change; `None` if there is nothing to do.
    pub(super) fn change(&mut self, number: usize, change: Change) -> Checked<Option<(Work, Machine)>> {
        let vault = self.writers[number].process.vault.clone();
        let (clock, seed) = (self.clock(), self.time);
        let ask = |container: &str| JobRequest {
            container: Some(container.to_owned()),
            dry_run: false,
            grace_ms: 7 * DAY_MS,
            seed,
        };
        let newest = |name: usize| {
            let is_in_future = |n: &usize| is_future(self.reference.versions[*n].vid, clock);
            match self.reference.all(name).first() {
                Some(n) if is_in_future(n) => Err(Code::FutureVersion),
                _ => self.reference.of(name).first().copied().ok_or(Code::NotFound),
            }
        };
        let is_deleted = |n: usize| self.reference.versions[n].kind == Kind::Del;
        let (expected, machine) = match change {
            Change::Remove { name } => {
                self.sources += 1;
                let mut entropy = [1; 10];
                entropy[..4].copy_from_slice(&self.sources.to_be_bytes());
                let expected =
                    newest(name).and_then(|n| if is_deleted(n) { Err(Code::NotFound) } else { Ok(Vec::new()) });
                (expected, Machine::Remove(Remove::new(vault, self::name(name), entropy, seed)))
            }
            Change::Undelete { name } => {
                let expected = newest(name).and_then(|n| if is_deleted(n) { Ok(vec![n]) } else { Err(Code::NotFound) });
                (expected, Machine::Undelete(Undelete::new(vault, self::name(name), seed)))
            }
            Change::Delete { name, pick } => {
                let mut own = self.reference.of(name);
                own.retain(|n| !is_deleted(*n));
                let Some(n) = pick.checked_rem(own.len()).map(|pick| own[pick]) else { return Ok(None) };
                let vid = self.reference.versions[n].vid;
                let is_needed = self.reference.has_dependent(n) || self.awaited(name).contains(&vid);
                let find = Find::new(vault, self::name(name), Selector::Version(vid), None, seed);
                (if is_needed { Err(Code::HasDependents) } else { Ok(vec![n]) }, Machine::Find(find))
            }
            Change::Prune { container, policy } => {
                let apart = (self.now().unix_ms - clock).abs();
                // The clocks are known to the second.
                if apart.abs_diff(CLOCKS_MS) <= 2_000 {
                    return Ok(None);
                }
                let names = (0..NAMES.len()).filter(|name| NAMES[*name].0 == container);
                let mut all: Vec<usize> =
                    names.flat_map(|name| self.reference.pruned(name, policy, clock, &self.awaited(name))).collect();
                all.sort_unstable();
                let job =
                    Job::prune(vault, policy, ask(container)).map_err(|e| format!("{number} cannot prune: {e:?}"))?;
                (if apart > CLOCKS_MS { Err(Code::ClockSkew) } else { Ok(all) }, Machine::Job(Box::new(job)))
            }
            Change::Sweep { container } => {
                let job = Job::sweep(vault, ask(container)).map_err(|e| format!("{number} cannot sweep: {e:?}"))?;
                (Ok(Vec::new()), Machine::Job(Box::new(job)))
            }
        };
        let changing = Changing { change, expected, hidden: Vec::new(), stored: None };
        Ok(Some((Work::Change(changing), machine)))
    }

    /// The version that a deletion is for was found.
    pub(super) fn delete_found(&self, number: usize, found: &s3vault_core::vault::Found) -> Checked<Machine> {
        let vault = self.writers[number].process.vault.clone();
        let delete = DeleteVersion::new(vault, &found.manifest, self.now().unix_ms, self.time);
        Ok(Machine::Delete(delete.map_err(|e| format!("{number} cannot delete: {e:?}"))?))
    }

    /// What puts in progress build on: those that have a locator, and no row.
    fn awaited(&self, index: usize) -> BTreeSet<Vid> {
        let bucket = self.buckets.get(NAMES[index].0).and_then(|bucket| self.store.bucket(bucket).ok());
        let Some(bucket) = bucket else { return BTreeSet::new() };
        let own = locators_prefix(&name(index));
        let locators = bucket.keys(&own).filter_map(|(key, _)| LocatorKey::parse(key.rsplit_once('/')?.1));
        let rows: BTreeSet<Vid> =
            self.reference.versions.iter().filter(|one| !one.is_gone).map(|one| one.vid).collect();
        locators.filter(|locator| !rows.contains(&locator.vid)).filter_map(|locator| locator.parent).collect()
    }

    /// A request of a change took effect.
    pub(super) fn changed(&mut self, number: usize, wire: &Wire, clock: i64) -> Checked<()> {
        let Run { writers, reference, store, buckets, .. } = self;
        let Some(Work::Change(changing)) = &mut writers[number].work else { return Ok(()) };
        let entry =
            CatalogueKey::parse(&wire.request.key).map(|key| key.entry).filter(|_| wire.request.method == "PUT");
        match (changing.change, entry) {
            (Change::Remove { name }, Some(Entry::Row(row))) if row.kind == Kind::Del => {
                if reference.all(name).iter().any(|n| reference.versions[*n].vid <= row.vid) {
                    return Err(format!("{number} hides a backup by {}, and a version is newer", row.vid));
                }
                if row.recorded_ms.abs_diff(clock) > 2_000 {
                    return Err(format!("{number} records a deletion at {}, and it is {clock}", row.recorded_ms));
                }
                changing.stored = Some(reference.versions.len());
                reference.versions.push(Version::deleted(name, row.vid, row.recorded_ms));
            }
            (Change::Sweep { .. }, Some(Entry::Suspected(vid))) => reference.suspected.push(vid),
            (Change::Sweep { .. } | Change::Remove { .. }, Some(entry)) => {
                return Err(format!("{number} writes {entry:?}, and should not"));
            }
            (_, Some(Entry::Deleted(vid))) => {
                let hidden = reference.versions.iter().position(|one| one.vid == vid);
                let Some(n) = hidden else { return Err(format!("{number} deletes {vid}, which is not there")) };
                reference.versions[n].is_hidden = true;
                changing.hidden.push(n);
            }
            (_, Some(entry)) => return Err(format!("{number} writes {entry:?}, and should not")),
            (_, None) => {}
        }
        if wire.operation.starts_with("DeleteObject") {
            let bucket = buckets.values().find(|bucket| **bucket == wire.request.bucket);
            let Some(bucket) = bucket.and_then(|bucket| store.bucket(bucket).ok()) else { return Ok(()) };
            let keys = bucket.keys(CATALOGUE).filter_map(|(key, _)| CatalogueKey::parse(key));
            let rows = keys.filter(|key| matches!(key.entry, Entry::Row(_))).map(|key| key.entry.vid());
            let rows: BTreeSet<Vid> = rows.collect();
            for version in &mut reference.versions {
                let is_here = buckets.get(NAMES[version.name].0) == Some(&wire.request.bucket);
                if is_here && !version.is_gone && !rows.contains(&version.vid) {
                    if !version.is_hidden {
                        return Err(format!("{number} removes the row of {version:?}, which nobody deleted"));
                    }
                    version.is_gone = true;
                }
            }
        }
        Ok(())
    }

    /// Compares the result of a change with the reference.
    pub(super) fn change_ended(
        &self,
        number: usize,
        mut changing: Changing,
        result: CoreResult<Ended>,
    ) -> Checked<Outcome> {
        changing.hidden.sort_unstable();
        match (&changing.expected, result) {
            (Err(code), Err(e)) if e.code() == *code && changing.hidden.is_empty() => Ok(Outcome::Failed(*code)),
            (Ok(expected), Ok(_)) if *expected == changing.hidden => match (changing.change, changing.stored) {
                (Change::Remove { .. }, Some(stored)) => Ok(Outcome::Deleted(stored)),
                (Change::Remove { .. }, None) => Err(format!("{number} hides a backup, and no row says so")),
                _ => Ok(Outcome::Hidden(changing.hidden)),
            },
            (_, result) => {
                let result = result.map(|_| ());
                Err(format!("{number} ends with {result:?}: {changing:?}"))
            }
        }
    }
}
