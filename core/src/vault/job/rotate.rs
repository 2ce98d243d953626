//! *Rotate*: wraps the data keys of stored versions with the current key-encryption key (KEK). No data is copied.
//!
//! ```text
//!  locators of a backup ──▶ Read ──▶ PUT the next generation ──▶ Read it ──▶ LIST: is the KEK closed? ──▶ delete lower ones
//!       ▲                                                         │
//!       └────────────── the next versions of the backup ──────────┘
//! ```
//! A version has at least one locator that opens at every moment: lower generations go once the new one was read back.
//! Rotations may run side by side, and be stopped and run again: under the same KEK they write the same key, and what each
//! of them writes there gives the same data key. With a KEK of the keyring it even has the same bytes; with an external one
//! it need not, so what is read back counts if it opens, no matter who wrote it. A put that is running has no entry yet, and
//! is left to the next rotation.
//!
//! A rotation stays in the epoch of the locator that it has read: it neither writes a generation of another epoch nor deletes
//! one. So it cannot put back what a re-keying beside it replaces, and what a re-keying has replaced keeps the locator by
//! which it is removed later.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Action;
use super::work::WorkSteps;
use crate::crypto::data_key::DataKey;
use crate::error::{Code, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{PutObject, Step};
use crate::vault::Vid;
use crate::vault::closed::look;
use crate::vault::locator::Locator;
use crate::vault::objects::{Kind, LOCATORS, LocatorKey, epoch, next_in_epoch};
use crate::vault::proof::Outcome;

/// Most versions of a backup that are rotated together.
const BATCH: usize = 256;

/// What a rotation knows of the current backup.
#[derive(Default)]
pub(super) struct Rotation {
    /// Versions that are still to be looked at, with the keys of their locators, the newest version last.
    ahead: Vec<(Vid, Vec<LocatorKey>)>,
    /// Locators that were read: of each version the one with the highest generation that opens, and its data key.
    found: BTreeMap<Vid, (Locator, Option<DataKey>)>,
    /// Why none of a version's locators opens.
    refused: BTreeMap<Vid, String>,
    /// The versions that have a locator under the current KEK, with its generation.
    rotated: BTreeMap<Vid, u32>,
    /// Those of them that got it now.
    written: BTreeSet<Vid>,
}

impl WorkSteps {
    pub(super) fn rotate(&mut self) -> Step<WorkSteps> {
        let current = match self.env.vault.current_kek() {
            Ok(kek) => kek.id().to_owned(),
            Err(e) => return Step::done(Err(e)),
        };
        self.rotation = Rotation::default();
        let mut ahead = Vec::new();
        let mut keeps = Vec::new();
        for (vid, version) in &self.backup().versions {
            let row = version.rows.first().map(|(row, _)| row);
            if row.is_none() && !is_active(Mutation::RotateUncommitted) {
                continue;
            }
            let mut locators: Vec<LocatorKey> = version.locators.iter().map(|(locator, _)| locator.clone()).collect();
            locators.sort_by_key(|locator| locator.generation);
            let keks: BTreeSet<Option<&str>> = locators.iter().map(|locator| locator.kek.as_deref()).collect();
            if row.is_some_and(|row| row.kind == Kind::Del) || locators.is_empty() {
                continue;
            }
            if keks == BTreeSet::from([None]) {
                keeps.push((*vid, "it has no data key"));
            } else if keks == BTreeSet::from([Some(&*current)]) && locators.len() == 1 {
                keeps.push((*vid, "its data key is wrapped with the current key"));
            } else {
                ahead.push((*vid, locators));
            }
        }
        for (vid, why) in keeps {
            self.say(self.at, Some(vid), Action::Keep, 0, why);
        }
        // The newest version first.
        ahead.reverse();
        self.rotation.ahead = ahead;
        if self.only_looks() {
            for (vid, _) in std::mem::take(&mut self.rotation.ahead).into_iter().rev() {
                self.say(
                    self.at,
                    Some(vid),
                    Action::Rotate,
                    0,
                    format!("its data key is not under key {current} alone"),
                );
            }
            return self.next_backup();
        }
        let locked = if self.env.vault.locks() {
            self.rotation.ahead.iter().map(|(vid, _)| (self.at, *vid)).collect()
        } else {
            Vec::new()
        };
        // A new locator is locked as long as the one before.
        self.read_rows(locked, |steps| steps.next_batch())
    }

    /// Reads the locators of the next versions.
    fn next_batch(&mut self) -> Step<WorkSteps> {
        let start = self.rotation.ahead.len().saturating_sub(BATCH);
        let batch = self.rotation.ahead.split_off(start);
        if batch.is_empty() {
            return self.check_not_closed();
        }
        let prefix = self.backup().prefix(LOCATORS);
        let keys = batch.iter().flat_map(|(_, locators)| locators).map(|locator| format!("{prefix}{locator}"));
        self.read_locators(keys.collect(), Self::locator_to_rotate, move |steps| steps.write_batch(&batch))
    }

    /// A locator was read. The one with the highest generation that opens counts.
    fn locator_to_rotate(&mut self, vid: Vid, outcome: Outcome<Locator>) {
        let why = match self.of_version(vid, outcome) {
            Outcome::Gone(_) => return,
            Outcome::Refused(e) => e,
            Outcome::Counts(locator) => match self.env.vault.data_key(&locator) {
                Ok(key) => {
                    let found = &mut self.rotation.found;
                    if found.get(&vid).is_none_or(|(other, _)| other.generation < locator.generation) {
                        found.insert(vid, (locator, key));
                    }
                    return;
                }
                Err(e) => e,
            },
        };
        self.rotation.refused.entry(vid).or_insert_with(|| why.message().to_owned());
    }

    /// Writes the next generation of what was read.
    fn write_batch(&mut self, batch: &[(Vid, Vec<LocatorKey>)]) -> Step<WorkSteps> {
        let found = std::mem::take(&mut self.rotation.found);
        let mut refused = std::mem::take(&mut self.rotation.refused);
        let mut puts = Vec::new();
        for (vid, locators) in batch {
            let Some((locator, key)) = found.get(vid) else {
                // Without a reason, it was removed meanwhile.
                if let Some(why) = refused.remove(vid) {
                    let why = format!("left as it is, since no locator opens: {why}");
                    self.say(self.at, Some(*vid), Action::Problem, 0, why);
                }
                continue;
            };
            let own = locators.iter().map(|own| own.generation).filter(|g| epoch(*g) == epoch(locator.generation));
            let own: Vec<u32> = own.collect();
            let highest = own.last().copied().unwrap_or(locator.generation);
            let at_the_top = own.iter().filter(|generation| **generation == highest).count();
            match self.next_locator(locator, key.as_ref(), highest, at_the_top == 1) {
                Ok(None) if own.len() == 1 => {
                    let why = "its data key is wrapped with the current key; rekey or sweep removes the locators from before it was re-keyed";
                    self.say(self.at, Some(*vid), Action::Keep, 0, why);
                }
                // A rotation that was stopped wrote it.
                Ok(None) => drop(self.rotation.rotated.insert(*vid, locator.generation)),
                Err(e) if e.code() == Code::Unsupported => {
                    self.say(self.at, Some(*vid), Action::Problem, 0, e.message().to_owned());
                }
                Ok(Some(next)) => {
                    self.rotation.rotated.insert(*vid, next.generation);
                    self.rotation.written.insert(*vid);
                    puts.push(self.put_locator(*vid, &next));
                }
                Err(e) => return Step::done(Err(e)),
            }
        }
        let written: Vec<String> = puts.iter().map(|put| put.key.clone()).collect();
        if is_active(Mutation::RotateDeletesFirst) {
            return self.list_stored(self.backup().prefix(LOCATORS), false, move |steps, stored| {
                let of =
                    |key: &str| LocatorKey::of(key).is_some_and(|own| steps.rotation.rotated.contains_key(&own.vid));
                let old = stored.into_iter().filter(|object| of(&object.key)).collect();
                steps.delete_stored(old, move |_| Self::put_all(puts, |steps| steps.next_batch()))
            });
        }
        Self::put_all(puts, move |steps| {
            steps.read_locators(written, Self::locator_written, |steps| steps.next_batch())
        })
    }

    /// The locator that follows this one, under the current KEK; `None` if that is the one it has, alone in the highest
    /// generation. One that another rotation wrote beside it, under another KEK, would stay otherwise.
    fn next_locator(
        &self,
        locator: &Locator,
        key: Option<&DataKey>,
        highest: u32,
        is_alone: bool,
    ) -> Result<Option<Locator>> {
        let kek = self.env.vault.current_kek()?.id();
        if is_alone
            && locator.generation == highest
            && locator.wrapped.as_ref().is_some_and(|wrapped| wrapped.kek == kek)
        {
            return Ok(None);
        }
        let name = self.name()?;
        let vid = Vid::parse(&locator.vid)?;
        let Some(key) = key else { return Ok(None) };
        let wrapped = self.env.vault.wrap(&name, vid, &locator.encryption()?, key)?;
        locator.rewrapped(&name, next_in_epoch(highest)?, wrapped).map(Some)
    }

    fn put_locator(&self, vid: Vid, next: &Locator) -> PutObject {
        let vault = &self.env.vault;
        let mut put = vault.put_json(next.key.clone(), next.to_object(vault.signing_key()));
        let until = self.known.get(&(self.at, vid)).and_then(|known| known.candidate.locked_until_ms);
        put.headers
            .extend(until.filter(|until| *until > self.clock).iter().flat_map(|until| vault.lock_headers(*until)));
        put
    }

    /// A locator that was written was read back.
    fn locator_written(&mut self, vid: Vid, outcome: Outcome<Locator>) {
        let why = match outcome {
            Outcome::Counts(locator) if self.rotation.rotated.get(&vid) == Some(&locator.generation) => {
                match self.env.vault.data_key(&locator) {
                    Ok(_) => return,
                    Err(e) => Some(format!("does not open: {}", e.message())),
                }
            }
            Outcome::Counts(_) | Outcome::Gone(_) => None,
            Outcome::Refused(e) => Some(format!("does not verify: {}", e.message())),
        };
        self.rotation.rotated.remove(&vid);
        if let Some(why) = why {
            let why = format!("its old locators stay, since the new one {why}");
            self.say(self.at, Some(vid), Action::Problem, 0, why);
        }
    }

    /// The old locators may go unless the KEK was closed: then another rotation moves everything away from it.
    fn check_not_closed(&mut self) -> Step<WorkSteps> {
        if self.rotation.rotated.is_empty() {
            return self.next_backup();
        }
        let kek = match self.env.vault.current_kek() {
            Ok(kek) => kek.id().to_owned(),
            Err(e) => return Step::done(Err(e)),
        };
        look(&self.env.vault, &self.env.place.bucket, &kek.clone(), move |steps: &mut Self, _, look| {
            if look.closed_ms.is_some() && !is_active(Mutation::RotateIgnoresClosed) {
                return Step::done(Err(steps.env.vault.closed(&kek)));
            }
            steps.delete_lower()
        })
    }

    /// Deletes the generations below those that were read back.
    fn delete_lower(&mut self) -> Step<WorkSteps> {
        let prefix = self.backup().prefix(LOCATORS);
        self.list_stored(prefix, false, |steps, stored| {
            let rotated = &steps.rotation.rotated;
            let own = steps.env.vault.current_kek().ok().map(|kek| kek.id().to_owned());
            let is_lower = |key: &str| {
                let Some(locator) = LocatorKey::of(key) else { return false };
                rotated.get(&locator.vid).is_some_and(|generation| match is_active(Mutation::RotateDeletesOthers) {
                    true => locator.generation != *generation || locator.kek.as_deref() != own.as_deref(),
                    false => locator.generation < *generation && epoch(locator.generation) == epoch(*generation),
                })
            };
            let lower = stored.into_iter().filter(|object| is_lower(&object.key)).collect();
            steps.delete_stored(lower, |steps| steps.rotated())
        })
    }

    fn rotated(&mut self) -> Step<WorkSteps> {
        let rotation = std::mem::take(&mut self.rotation);
        let left: BTreeMap<Vid, String> = std::mem::take(&mut self.not_deleted)
            .into_iter()
            .filter_map(|((key, _), why)| Some((LocatorKey::of(&key)?.vid, why)))
            .collect();
        for vid in rotation.rotated.into_keys() {
            match left.get(&vid) {
                Some(why) => {
                    let why = format!("its data key is under the current key, but an old locator stays: {why}");
                    self.say(self.at, Some(vid), Action::Refused, 0, why);
                }
                None if rotation.written.contains(&vid) => {
                    self.say(self.at, Some(vid), Action::Rotate, 0, "its data key is wrapped with the current key");
                }
                None => {
                    let why =
                        "its data key was wrapped with the current key by an earlier run, whose old locator is removed";
                    self.say(self.at, Some(vid), Action::Rotate, 0, why);
                }
            }
        }
        self.next_backup()
    }
}
