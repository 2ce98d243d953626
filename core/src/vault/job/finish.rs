//! *Finish*: removes what a marker has condemned, once the marker is older than W. It is a part of every prune and sweep,
//! and may be interrupted at any point: the next run continues.
//!
//! ```text
//!  Prove markers ──▶ Read rows ──▶ Locators ──▶ Uploads ──▶ Data ──▶ Owners ─▶ delete rows ─▶ abort uploads ─▶ Data again ─┐
//!                                                                                                                         │
//!                              delete markers ◀── delete locators ◀── delete data ◀───────────────────────────────────────┘
//! ```
//! - A version with a row and only a sweep's marker is alive: its marker is removed.
//! - A version with a row goes only if nothing depends on it that does not go with it. A whole chain goes at once.
//! - A version without a row is dead for good.
//!
//! Keys with `@VID` belong to the version alone. The plain key is shared with other versions and other programs, so there
//! only that goes which belongs to this version: the object that its row names, and objects between its start and B after
//! its end whose metadata has its version id (`belongings`).

use std::collections::BTreeSet;

use super::dying::Dying;
use super::report::Action;
use super::walk::Object;
use super::work::{WIDTH, WorkSteps};
use crate::error::Result;
use crate::mutation::{Mutation, is_active};
use crate::op::{AbortMultipartUpload, Context, Step};
use crate::text::presentable_key;
use crate::vault::Vid;
use crate::vault::locator::Locator;
use crate::vault::names::OWN_FOLDER;
use crate::vault::objects::{CATALOGUE, CatalogueKey, EPOCH, Entry, LOCATORS, LocatorKey, epoch};
use crate::vault::proof::Outcome;
use crate::vault::stored::Stored;

impl WorkSteps {
    /// A version that is being removed. They are in the order of their ids.
    pub(super) fn dying(&self, vid: Vid) -> Option<&Dying> {
        self.dying.binary_search_by_key(&vid, |dying| dying.vid).ok().and_then(|at| self.dying.get(at))
    }

    pub(super) fn dying_mut(&mut self, vid: Vid) -> Option<&mut Dying> {
        self.dying.binary_search_by_key(&vid, |dying| dying.vid).ok().and_then(|at| self.dying.get_mut(at))
    }

    /// Finishes the versions of the current backup whose markers are old enough, then continues with the next backup.
    pub(super) fn finish(&mut self) -> Step<WorkSteps> {
        let ripe_before = self.clock.saturating_sub(self.env.wait_ms);
        let is_ripe = |modified_ms: i64| modified_ms < ripe_before || is_active(Mutation::FinishAtOnce);
        let mut waiting = Vec::new();
        let mut markers = Vec::new();
        let mut ripe = Vec::new();
        for (vid, version) in &self.backup().versions {
            let both = [&version.deleted, &version.suspected];
            let newest = both.iter().filter_map(|marker| marker.as_ref()).map(|marker| marker.modified_ms).max();
            match newest {
                None => {}
                // In a dry run, too: the version is alive.
                Some(_) if self.only_looks() && version.deleted.is_none() && !version.rows.is_empty() => {}
                Some(modified_ms) if is_ripe(modified_ms) => {
                    ripe.push(*vid);
                    markers.extend(both.into_iter().flatten().cloned());
                }
                Some(_) => waiting.push(*vid),
            }
        }
        for vid in waiting {
            let minutes = self.env.wait_ms / 60_000;
            self.say(self.at, Some(vid), Action::Wait, 0, format!("its marker is not {minutes} minutes old yet"));
        }
        if ripe.is_empty() || self.only_looks() {
            let n = self.at;
            for vid in ripe {
                let why = if self.env.may_delete { "its marker is old enough" } else { "this vault has no keyring" };
                let action = if self.env.may_delete { Action::Free } else { Action::Wait };
                self.say(n, Some(vid), action, 0, why);
            }
            return self.next_backup();
        }
        self.prove(markers, move |steps| steps.proven(ripe))
    }

    /// The markers that are left are verified.
    fn proven(&mut self, ripe: Vec<Vid>) -> Step<WorkSteps> {
        let mut alive = Vec::new();
        let mut rows = Vec::new();
        for vid in ripe {
            let Some(version) = self.backup().versions.get(&vid) else { continue };
            let markers = [&version.deleted, &version.suspected];
            let Some(marked_ms) = markers.into_iter().flatten().map(|marker| marker.modified_ms).max() else {
                continue;
            };
            let has_row = !version.rows.is_empty();
            if has_row && version.deleted.is_none() && !is_active(Mutation::FinishSuspectedRow) {
                // The put was only slow.
                alive.extend(version.suspected.as_ref().map(|marker| marker.key.clone()));
                continue;
            }
            if has_row {
                rows.push((self.at, vid));
            }
            let (manifest, locator, stays) = (None, None, None);
            let (objects, uploads) = (Vec::new(), Vec::new());
            let freed_bytes = 0;
            let one = Dying { vid, marked_ms, has_row, manifest, locator, stays, objects, uploads, freed_bytes };
            self.dying.push(one);
        }
        self.remove_markers(alive, move |steps| steps.read_dying(rows))
    }

    /// Removes markers of sweeps whose versions are alive.
    fn remove_markers(
        &mut self,
        keys: Vec<String>,
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        if keys.is_empty() {
            return then(self);
        }
        self.list_stored(self.backup().prefix(CATALOGUE), false, move |steps, stored| {
            let markers = stored.into_iter().filter(|object| keys.contains(&object.key)).collect();
            steps.delete_stored(markers, then)
        })
    }

    fn read_dying(&mut self, rows: Vec<(usize, Vid)>) -> Step<WorkSteps> {
        if self.dying.is_empty() {
            return self.next_backup();
        }
        // The manifests themselves are needed, also where prune has read them.
        for row in &rows {
            self.known.remove(row);
        }
        self.read_rows(rows, |steps| {
            let at = steps.at;
            for dying in &mut steps.dying {
                if dying.has_row && dying.manifest.is_none() {
                    let why = steps.refused.get(&(at, dying.vid)).map_or("its row is gone", String::as_str);
                    dying.stay(Action::Problem, format!("kept, since its row does not verify: {why}"));
                }
            }
            let list = crate::op::ListObjectsV2 { prefix: steps.backup().prefix(LOCATORS), ..Default::default() };
            Self::locators_page(list, Vec::new(), Self::check_needed)
        })
    }

    /// Leaves the versions that others need which do not go themselves.
    fn check_needed(&mut self, locators: Vec<LocatorKey>) -> Step<WorkSteps> {
        let rows = self.backup().versions.values().flat_map(|version| version.rows.iter().map(|(row, _)| row));
        let of_rows = rows.filter_map(|row| Some((row.parent?, row.vid)));
        let of_locators = locators.iter().filter_map(|locator| Some((locator.parent?, locator.vid)));
        let of_locators = of_locators.filter(|_| !is_active(Mutation::FinishIgnoresLocators));
        let mut needs: Vec<(Vid, Vid)> = of_rows.chain(of_locators).collect();
        let mut goes = self.going();
        // A version that stays keeps what it needs, and so on: children are newer than their parents, and come first.
        needs.sort_by_key(|(_, child)| *child);
        for (parent, child) in needs.iter().filter(|_| !is_active(Mutation::FinishNeededVersion)) {
            if goes.contains(child) || !goes.remove(parent) {
                continue;
            }
            if let Some(dying) = self.dying_mut(*parent) {
                dying.stay(Action::Wait, format!("version {child} depends on it"));
            }
        }
        self.read_first_locators(&locators)
    }

    /// Reads the first locators of versions without a row: they say where the data is, and since when. Of others, those are
    /// read that have a data key which the row no longer shows.
    fn read_first_locators(&mut self, locators: &[LocatorKey]) -> Step<WorkSteps> {
        let prefix = self.backup().prefix(LOCATORS);
        let is_needed = |vid: Vid| {
            let dying = self.dying(vid).filter(|dying| dying.goes());
            dying.is_some_and(|dying| dying.manifest.is_none() || dying.is_locked_out(&self.env.vault))
        };
        let own = locators.iter().filter(|locator| is_needed(locator.vid));
        let keys = own.map(|locator| format!("{prefix}{locator}")).collect();
        // Without a locator there is no data, since locators go after it: only markers are left.
        self.read_locators(keys, Self::first_locator_read, |steps| steps.list_uploads())
    }

    fn first_locator_read(&mut self, vid: Vid, outcome: Outcome<Locator>) {
        let vault = self.env.vault.clone();
        // One that opens, before one under a retired key.
        let rank = |locator: &Locator| (vault.data_key(locator).is_err(), locator.generation);
        let Some(dying) = self.dying_mut(vid) else { return };
        match outcome {
            Outcome::Counts(locator) => {
                if dying.locator.as_ref().is_none_or(|other| rank(other) > rank(&locator)) {
                    dying.locator = Some(locator);
                }
            }
            Outcome::Gone(_) => {}
            Outcome::Refused(e) => {
                dying.stay(Action::Problem, format!("kept, since its locator does not verify: {}", e.message()));
            }
        }
    }

    /// Deletes what other programs wrote, before the entries that name it: only an entry tells which object it is.
    pub(super) fn delete_adopted(&mut self) -> Step<WorkSteps> {
        let is_adopted = |dying: &Dying| {
            dying.goes() && dying.has_row && dying.adopted().is_some() && !is_active(Mutation::FinishAdoptedRowFirst)
        };
        let adopted = self.dying.iter().filter(|dying| is_adopted(dying));
        let objects: Vec<Stored> = adopted.flat_map(|dying| dying.objects.iter().cloned()).collect();
        if objects.is_empty() {
            return self.delete_rows();
        }
        self.delete_stored(objects, move |steps| {
            steps.check_deleted();
            for dying in steps.dying.iter_mut().filter(|dying| is_adopted(dying)) {
                // Without versions, another object may be there from now on.
                dying.freed_bytes = std::mem::take(&mut dying.objects).iter().map(|object| object.size).sum();
            }
            steps.delete_rows()
        })
    }

    /// Deletes all rows of the versions that go.
    pub(super) fn delete_rows(&mut self) -> Step<WorkSteps> {
        let going: BTreeSet<Vid> = self.dying.iter().filter(|d| d.goes() && d.has_row).map(|d| d.vid).collect();
        if going.is_empty() {
            return self.abort_uploads();
        }
        self.list_entries(move |steps| {
            let is_row = |key: &str| {
                let entry = CatalogueKey::parse(key).map(|key| key.entry);
                matches!(entry, Some(Entry::Row(row)) if going.contains(&row.vid))
            };
            let rows = steps.entries.iter().filter(|object| is_row(&object.key)).cloned().collect();
            steps.delete_stored(rows, |steps| {
                steps.check_deleted();
                steps.abort_uploads()
            })
        })
    }

    /// Lists the objects of the catalogue with what a deletion has to name. Where that is only their keys, they are known.
    fn list_entries(
        &mut self,
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        if !self.entries.is_empty() {
            return then(self);
        }
        if self.env.has_versions {
            return self.list_stored(self.backup().prefix(CATALOGUE), false, move |steps, stored| {
                steps.entries = stored;
                then(steps)
            });
        }
        let listed = self.backup().versions.values().flat_map(|version| {
            let rows = version.rows.iter().map(|(_, object)| object);
            rows.chain(&version.deleted).chain(&version.suspected)
        });
        self.entries = listed.map(Object::stored).collect();
        then(self)
    }

    /// A version whose objects the store did not delete stays as far as it is.
    pub(super) fn check_deleted(&mut self) {
        let not_deleted = std::mem::take(&mut self.not_deleted);
        for ((key, version_id), why) in not_deleted.into_iter().filter(|_| !is_active(Mutation::FinishIgnoresRefusal)) {
            let own = key.strip_prefix(OWN_FOLDER).and_then(|_| key.rsplit_once('/')).map(|(_, last)| last);
            let vid = own.and_then(|last| Vid::try_parse(last.split('.').next()?));
            let is_of = |dying: &&mut Dying| {
                let mut objects = dying.objects.iter();
                vid == Some(dying.vid) || objects.any(|object| object.key == key && object.version_id == version_id)
            };
            if let Some(dying) = self.dying.iter_mut().find(is_of) {
                dying.stay(Action::Refused, format!("the store did not delete {}: {why}", presentable_key(&key)));
            }
        }
    }

    fn abort_uploads(&mut self) -> Step<WorkSteps> {
        let going = self.dying.iter().filter(|dying| dying.goes());
        let uploads: BTreeSet<(String, String)> = going.flat_map(|dying| dying.uploads.iter().cloned()).collect();
        if uploads.is_empty() || is_active(Mutation::AbortAfterData) {
            return self.delete_data(uploads);
        }
        Self::abort_all(uploads, |steps| {
            // An upload may have been completed before it could be aborted: the data is listed again.
            for dying in &mut steps.dying {
                dying.uploads.clear();
                dying.objects.clear();
            }
            steps.list_data_again()
        })
    }

    fn list_data_again(&mut self) -> Step<WorkSteps> {
        for dying in self.dying.iter_mut() {
            // Their rows are gone.
            dying.has_row = false;
        }
        self.list_data()
    }

    fn delete_data(&mut self, late: BTreeSet<(String, String)>) -> Step<WorkSteps> {
        let mut objects = Vec::new();
        for dying in self.dying.iter_mut().filter(|dying| dying.goes()) {
            dying.freed_bytes += dying.objects.iter().map(|object| object.size).sum::<u64>();
            objects.extend(dying.objects.iter().cloned());
        }
        self.delete_stored(objects, move |steps| {
            steps.check_deleted();
            Self::abort_all(late, Self::delete_locators)
        })
    }

    /// Aborts these uploads, then continues. One that is gone is what was wanted.
    fn abort_all(
        uploads: BTreeSet<(String, String)>,
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        let aborts = uploads.into_iter().map(|(key, upload_id)| AbortMultipartUpload { key, upload_id });
        let aborted = |_: &mut Self, _: &mut Context<'_>, _: &AbortMultipartUpload, answer: Result<()>| match answer {
            Err(e) if e.status() == 404 => Ok(()),
            answer => answer,
        };
        Step::each(aborts, WIDTH, aborted, |steps, _| then(steps))
    }

    /// Deletes the locators, after the data: what is left is found by them.
    fn delete_locators(&mut self) -> Step<WorkSteps> {
        let going = self.going();
        if going.is_empty() {
            return self.finished();
        }
        self.list_stored(self.backup().prefix(LOCATORS), false, move |steps, stored| {
            let own = stored.into_iter().filter_map(|object| Some((LocatorKey::of(&object.key)?, object)));
            let mut own: Vec<_> = own.filter(|(locator, _)| going.contains(&locator.vid)).collect();
            for (locator, _) in &own {
                steps.leave_if_copied(locator);
            }
            own.retain(|(locator, _)| steps.dying(locator.vid).is_some_and(Dying::goes));
            let locators: Vec<Stored> = own.into_iter().map(|(_, object)| object).collect();
            if locators.is_empty() || is_active(Mutation::MarkersBeforeLocators) {
                return steps.delete_markers();
            }
            // A rotation may have written another one meanwhile: the list is made again until it is empty.
            steps.delete_stored(locators, |steps| {
                steps.check_deleted();
                steps.delete_locators()
            })
        })
    }

    /// Leaves a version that a re-keying has copied since its locators were listed: its data may have been listed before the
    /// copy was there, and without the locator nothing says that there is one.
    fn leave_if_copied(&mut self, locator: &LocatorKey) {
        let of_copy = epoch(locator.generation);
        let is_rotated = !locator.generation.is_multiple_of(EPOCH);
        let mut listed = self.backup().versions.get(&locator.vid).into_iter().flat_map(|version| &version.locators);
        let is_known = listed.any(|(known, _)| known == locator || is_rotated && epoch(known.generation) == of_copy);
        if let Some(dying) = self.dying_mut(locator.vid).filter(|_| of_copy > 0 && !is_known) {
            dying.stay(Action::Wait, "it was re-keyed meanwhile, and its copy goes with the next run");
        }
    }

    /// Deletes the markers, last of all.
    fn delete_markers(&mut self) -> Step<WorkSteps> {
        let going = self.going();
        if going.is_empty() {
            return self.finished();
        }
        self.list_entries(move |steps| {
            let is_marker = |key: &str| match CatalogueKey::parse(key).map(|key| key.entry) {
                Some(Entry::Deleted(vid) | Entry::Suspected(vid)) => going.contains(&vid),
                _ => false,
            };
            let markers = steps.entries.iter().filter(|object| is_marker(&object.key)).cloned().collect();
            steps.delete_stored(markers, |steps| {
                steps.check_deleted();
                steps.finished()
            })
        })
    }

    fn going(&self) -> BTreeSet<Vid> {
        self.dying.iter().filter(|dying| dying.goes()).map(|dying| dying.vid).collect()
    }

    fn finished(&mut self) -> Step<WorkSteps> {
        let at = self.at;
        for dying in std::mem::take(&mut self.dying) {
            match dying.stays {
                Some((action, why)) => self.say(at, Some(dying.vid), action, 0, why),
                None => self.say(at, Some(dying.vid), Action::Free, dying.freed_bytes, "its objects were removed"),
            }
        }
        self.next_backup()
    }
}
