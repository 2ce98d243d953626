//! *Prune*: marks the versions that the retention lets go, then finishes what was marked before.
//!
//! ```text
//!  judge by the keys ──something goes──▶ Verify rows and markers ──▶ judge ──▶ Locators ──▶ Mark ──▶ finish
//!         └────────────nothing goes─────────────────────────────────────────────────────────────────▲
//! ```
//! The text of keys is not authenticated, so it only tells whether there is anything to do. Whatever justifies a deletion
//! is read and verified: the versions that go, and those that count before them. A version whose row does not verify is
//! neither counted nor deleted, and what it names as its parent stays.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Action;
use super::walk::{Backup, Version};
use super::work::{After, WorkSteps, candidate};
use crate::mutation::{Mutation, is_active};
use crate::op::{ListObjectsV2, Paged, PutObject, Step};
use crate::vault::Vid;
use crate::vault::find::AHEAD_MS;
use crate::vault::marker::{Mark, Marker};
use crate::vault::objects::{LOCATORS, LocatorKey};
use crate::vault::retention::{Candidate, Policy, Verdict, Why};

/// The verdicts on the versions of each backup, the newest first.
type Judged = Vec<Vec<(Candidate, Verdict)>>;

impl WorkSteps {
    pub(super) fn prune(&mut self, policy: Policy) -> Step<WorkSteps> {
        let by_keys: Vec<Vec<Candidate>> =
            self.backups.iter().map(|backup| backup.versions.values().filter_map(candidate).collect()).collect();
        let verdicts = policy.judge(self.clock, &by_keys);
        let goes = |verdict: &Verdict| matches!(verdict, Verdict::Goes(_));
        if !verdicts.iter().flatten().any(goes) && !is_active(Mutation::PruneByKeys) {
            let judged =
                by_keys.into_iter().zip(verdicts).map(|(path, verdicts)| path.into_iter().zip(verdicts).collect());
            self.say_verdicts(&judged.collect());
            return self.finish();
        }
        let versions = self.backups.iter().flat_map(|backup| backup.versions.values());
        let markers = versions.filter_map(|version| version.deleted.clone()).collect();
        self.prove(markers, move |steps| {
            let is_read = |version: &Version| candidate(version).is_some() && !is_active(Mutation::PruneByKeys);
            let of = |(n, backup): (usize, &Backup)| {
                let visible = backup.versions.iter().filter(|(_, version)| is_read(version));
                visible.map(|(vid, _)| (n, *vid)).collect::<Vec<_>>()
            };
            let rows = steps.backups.iter().enumerate().flat_map(of).collect();
            steps.read_rows(rows, move |steps| steps.judge(policy))
        })
    }

    /// Everything that counts is verified.
    fn judge(&mut self, policy: Policy) -> Step<WorkSteps> {
        let refused: Vec<((usize, Vid), String)> = self.refused.iter().map(|(at, why)| (*at, why.clone())).collect();
        for ((backup, vid), why) in refused {
            if !self.known.contains_key(&(backup, vid)) {
                self.say(backup, Some(vid), Action::Problem, 0, format!("not counted and not deleted: {why}"));
            }
        }
        let mut paths: Vec<Vec<Candidate>> = Vec::new();
        for (n, backup) in self.backups.iter().enumerate() {
            let visible = backup.versions.iter().filter_map(|(vid, version)| {
                let by_key = candidate(version)?;
                match self.known.get(&(n, *vid)) {
                    Some(known) => Some(known.candidate.clone()),
                    None if is_active(Mutation::PruneByKeys) => Some(by_key),
                    None => None,
                }
            });
            paths.push(visible.collect());
        }
        let latest = self.clock.saturating_add(AHEAD_MS);
        let future = paths.iter().flatten().find(|version| version.vid.unix_ms() > latest);
        if let Some(vid) = future.map(|version| version.vid).filter(|_| !is_active(Mutation::PruneInTheFuture)) {
            let why =
                format!("version {vid} is dated in the future, so that ages cannot be compared: nothing is deleted");
            for n in 0..self.backups.len() {
                self.say(n, None, Action::Problem, 0, why.clone());
            }
            return self.finish();
        }
        let verdicts = policy.judge(self.clock, &paths);
        let zipped = paths.into_iter().zip(verdicts).map(|(path, verdicts)| path.into_iter().zip(verdicts).collect());
        self.check_dependents(zipped.collect(), 0)
    }

    /// Looks for puts that are in progress and build on a version that would go: they have only a locator yet.
    fn check_dependents(&mut self, mut judged: Judged, backup: usize) -> Step<WorkSteps> {
        let Some(verdicts) = judged.get(backup) else { return self.mark(judged) };
        if !verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Goes(_))) {
            return self.check_dependents(judged, backup + 1);
        }
        let rows: BTreeSet<Vid> = verdicts.iter().map(|(version, _)| version.vid).collect();
        // Rows that did not verify keep what they name, too.
        let others = self.backups[backup].versions.iter().filter(|(vid, _)| !rows.contains(vid));
        let mut needed: BTreeMap<Vid, Vid> = others
            .flat_map(|(vid, version)| version.rows.iter().filter_map(|(row, _)| Some((row.parent?, *vid))))
            .filter(|(_, child)| self.backups[backup].versions[child].deleted.is_none())
            .collect();
        let list = ListObjectsV2 { prefix: self.backups[backup].prefix(LOCATORS), ..Default::default() };
        Self::locators_page(list, Vec::new(), move |steps, locators| {
            let versions = &steps.backups[backup].versions;
            let in_progress = |locator: &&LocatorKey| versions.get(&locator.vid).is_none_or(|v| v.rows.is_empty());
            if !is_active(Mutation::PruneIgnoresLocators) {
                needed.extend(
                    locators.iter().filter(in_progress).filter_map(|locator| Some((locator.parent?, locator.vid))),
                );
            }
            keep_needed(&mut judged[backup], &needed);
            steps.check_dependents(judged, backup + 1)
        })
    }

    /// Reads all pages of a list of locators.
    pub(super) fn locators_page(
        list: ListObjectsV2,
        mut found: Vec<LocatorKey>,
        then: impl FnOnce(&mut WorkSteps, Vec<LocatorKey>) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        let then: After<Vec<LocatorKey>> = Box::new(then);
        Step::call(list, move |steps: &mut Self, list, page| {
            found.extend(page.keys().filter_map(LocatorKey::of));
            match list.next(&page) {
                Some(next) => Self::locators_page(next, found, then),
                None => then(steps, found),
            }
        })
    }

    /// Marks what goes, children before their parents.
    fn mark(&mut self, judged: Judged) -> Step<WorkSteps> {
        self.say_verdicts(&judged);
        if self.only_looks() {
            return self.finish();
        }
        let mut levels: Vec<Vec<PutObject>> = Vec::new();
        for (n, verdicts) in judged.iter().enumerate() {
            let Some(name) = self.backups[n].name.clone() else { continue };
            let mut heights: BTreeMap<Vid, usize> = BTreeMap::new();
            // A child is newer than its parent, so it comes first.
            for (version, _) in verdicts.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Goes(_))) {
                let height = heights.get(&version.vid).copied().unwrap_or(0);
                if let Some(parent) = version.parent {
                    let of_parent = heights.entry(parent).or_default();
                    *of_parent = (*of_parent).max(height + 1);
                }
                let marker = Marker::new(&self.env.vault.id, &name, version.vid, Mark::Deleted);
                let object = marker.to_object(self.env.vault.signing_key());
                let height = if is_active(Mutation::MarkParentsFirst) { 0 } else { height };
                if levels.len() <= height {
                    levels.resize_with(height + 1, Vec::new);
                }
                levels[height].push(self.env.vault.put_json(marker.key, object));
            }
        }
        levels.reverse();
        Self::mark_level(levels)
    }

    fn mark_level(mut levels: Vec<Vec<PutObject>>) -> Step<WorkSteps> {
        match levels.pop() {
            Some(level) => Self::put_all(level, move |_| Self::mark_level(levels)),
            None => Self::put_all(Vec::new(), |steps| steps.finish()),
        }
    }

    fn say_verdicts(&mut self, judged: &Judged) {
        for (n, verdicts) in judged.iter().enumerate() {
            for (version, verdict) in verdicts {
                let row = self.backups[n].versions.get(&version.vid).and_then(|v| v.rows.first());
                let size = row.map_or(0, |(row, _)| row.size);
                let (action, why) = match verdict {
                    Verdict::Stays(why) => (Action::Keep, why.to_string()),
                    Verdict::Goes(why) if !self.env.may_delete => {
                        (Action::Keep, format!("{why}; but this vault has no keyring, so it deletes nothing"))
                    }
                    Verdict::Goes(why) => (Action::Delete, why.to_string()),
                };
                self.say(n, Some(version.vid), action, size, why);
            }
        }
    }
}

/// Keeps the versions that others need, and what those build on.
fn keep_needed(verdicts: &mut [(Candidate, Verdict)], needed: &BTreeMap<Vid, Vid>) {
    let mut needed = needed.clone();
    // A parent is older than its children, so it comes after them.
    for (version, verdict) in verdicts {
        if let (Verdict::Goes(_), Some(child)) = (&verdict, needed.get(&version.vid)) {
            *verdict = Verdict::Stays(Why::NeededBy(*child));
            needed.extend(version.parent.map(|parent| (parent, version.vid)));
        }
    }
}
