//! *Sweep*: finds what crashed writers left, marks it, and finishes what was marked before.
//!
//! ```text
//!  old uploads ──▶ Abort those that stored versions left (`uploads`)
//!  old locators without a row ──▶ Rows again ──▶ read the locator ──▶ Uploads ──idle──▶ Mark ──┐
//!  rows without a locator ──▶ Locators again ──▶ Data ──missing──▶ delete the row ────────────┴▶ finish
//! ```
//! A put that was only slow finds the marker, or has written its row by then: then *finish* removes the marker.

use super::report::Action;
use super::walk::Version;
use super::work::{After, WIDTH, WorkSteps};
use crate::error::{Code, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{
    Context, HeadObject, HeadReply, ListMultipartUploads, ListObjectsV2, ListParts, Paged, PutObject, Step,
};
use crate::text::presentable_key;
use crate::vault::Vid;
use crate::vault::locator::Locator;
use crate::vault::marker::{Mark, Marker};
use crate::vault::objects::{CATALOGUE, CatalogueKey, Kind, LOCATORS, LocatorKey};
use crate::vault::proof::Outcome;
use crate::vault::stored::Stored;

impl WorkSteps {
    pub(super) fn sweep(&mut self) -> Step<WorkSteps> {
        self.abort_left(|steps| steps.clear(true, Self::look_for_left))
    }

    /// Looks for versions that a put left unfinished.
    fn look_for_left(&mut self) -> Step<WorkSteps> {
        let old_before = self.clock.saturating_sub(self.env.grace_ms);
        let is_left = |version: &Version| {
            let first = version.first_locator();
            let is_bare = version.rows.is_empty() && version.deleted.is_none() && version.suspected.is_none();
            let is_old = |modified_ms: i64| modified_ms < old_before || is_active(Mutation::SweepYoungPuts);
            is_bare && first.is_some_and(|(_, object)| is_old(object.modified_ms))
        };
        let left: Vec<Vid> = self.backup().versions.iter().filter(|(_, v)| is_left(v)).map(|(vid, _)| *vid).collect();
        let is_ghost =
            |version: &Version| version.locators.is_empty() && has_data(version) && version.deleted.is_none();
        let has_ghosts = self.backup().versions.values().any(is_ghost);
        if left.is_empty() && !has_ghosts {
            return self.finish();
        }
        if is_active(Mutation::SweepWithoutLook) {
            return self.read_left(left);
        }
        // The locators were listed before: a row that is not there now was not there with them.
        let list = ListObjectsV2 { prefix: self.backup().prefix(CATALOGUE), ..Default::default() };
        self.backup_mut().forget_entries();
        self.entries_page(
            list,
            Box::new(move |steps, ()| {
                let is_bare = |vid: &Vid| {
                    let version = steps.backup().versions.get(vid);
                    version.is_some_and(|v| v.rows.is_empty() && v.deleted.is_none() && v.suspected.is_none())
                };
                let left = left.into_iter().filter(is_bare).collect();
                steps.read_left(left)
            }),
        )
    }

    /// Lists the catalogue of the backup again.
    fn entries_page(&mut self, list: ListObjectsV2, then: After<()>) -> Step<WorkSteps> {
        Step::call(list, move |steps: &mut Self, list, page| {
            let next = list.next(&page);
            for object in page.objects {
                let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(&object.key) else { continue };
                let modified_ms = object.last_modified_ms.unwrap_or(i64::MAX);
                let object = super::walk::Object { key: object.key, size: object.size, modified_ms };
                steps.backup_mut().add_entry(entry, object);
            }
            match next {
                Some(next) => steps.entries_page(next, then),
                None => then(steps, ()),
            }
        })
    }

    /// Reads the locators of what was left: they say where the data is.
    fn read_left(&mut self, left: Vec<Vid>) -> Step<WorkSteps> {
        let of = |vid: &Vid| {
            let version = self.backup().versions.get(vid)?;
            let (_, object) = version.first_locator()?;
            Some(object.key.clone())
        };
        self.read_locators(left.iter().filter_map(of).collect(), Self::left_read, |steps| steps.next_suspect())
    }

    fn left_read(&mut self, vid: Vid, outcome: Outcome<Locator>) {
        match outcome {
            Outcome::Counts(locator) => self.suspects.push((vid, locator)),
            Outcome::Gone(_) => {}
            Outcome::Refused(e) => {
                let why = format!("kept, since its locator does not verify: {}", e.message());
                self.say(self.at, Some(vid), Action::Problem, 0, why);
            }
        }
    }

    /// Looks at the uploads of the next suspect: somebody may be working on it.
    fn next_suspect(&mut self) -> Step<WorkSteps> {
        let Some((vid, locator)) = self.suspects.pop() else { return self.mark_suspects() };
        if locator.adopted.is_some() {
            // An upload at its key is another program's.
            return self.suspect_parts(vid, Vec::new());
        }
        let list = ListMultipartUploads {
            prefix: locator.data.first.clone(),
            plain: !self.env.vault.account().profile().says_upload_encoding,
            ..Default::default()
        };
        self.suspect_uploads(list, vid, locator, Vec::new())
    }

    fn suspect_uploads(
        &mut self,
        list: ListMultipartUploads,
        vid: Vid,
        locator: Locator,
        mut parts: Vec<ListParts>,
    ) -> Step<WorkSteps> {
        Step::try_call(list, move |steps: &mut Self, list, page| match page {
            Ok(page) => {
                let old_before = steps.clock.saturating_sub(steps.env.grace_ms);
                let next = list.next(&page);
                for upload in page.uploads {
                    let of_extent = upload.key.strip_prefix(&*locator.data.next);
                    let is_extent = of_extent.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
                    let initiated_ms = upload.initiated_ms.unwrap_or(i64::MAX);
                    if upload.key != locator.data.first && !is_extent || initiated_ms < locator.t0 - 1_000 {
                        continue;
                    }
                    if initiated_ms >= old_before && !is_active(Mutation::SweepYoungPuts) {
                        steps.say_busy(vid);
                        return steps.next_suspect();
                    }
                    let (key, upload_id) = (upload.key, upload.upload_id);
                    let encryption = steps.env.vault.access_by_locator(&locator);
                    parts.push(ListParts { key, upload_id, encryption, ..ListParts::default() });
                }
                match next {
                    Some(next) => steps.suspect_uploads(next, vid, locator, parts),
                    None => steps.suspect_parts(vid, parts),
                }
            }
            Err(e) if matches!(e.status(), 405 | 501) => steps.suspect_parts(vid, Vec::new()),
            Err(e) => Step::done(Err(e)),
        })
    }

    fn suspect_parts(&mut self, vid: Vid, mut parts: Vec<ListParts>) -> Step<WorkSteps> {
        let Some(list) = parts.pop() else {
            self.suspected.push(vid);
            return self.next_suspect();
        };
        Step::try_call(list, move |steps: &mut Self, list, page| match page {
            Ok(page) => {
                let old_before = steps.clock.saturating_sub(steps.env.grace_ms);
                let is_young = |at: Option<i64>| at.is_some_and(|at| at >= old_before);
                if page.parts.iter().any(|part| is_young(part.last_modified_ms)) && !is_active(Mutation::SweepYoungPuts)
                {
                    steps.say_busy(vid);
                    return steps.next_suspect();
                }
                parts.extend(list.next(&page));
                steps.suspect_parts(vid, parts)
            }
            Err(e) if e.status() == 404 => steps.suspect_parts(vid, parts),
            // With another key: it is the upload of another put.
            Err(e) if e.code() == Code::WrongKey && list.encryption.customer_key().is_some() => {
                steps.suspect_parts(vid, parts)
            }
            Err(e) if e.code() == Code::WrongKey => {
                steps.say(steps.at, Some(vid), Action::Wait, 0, KEY_NEEDED);
                steps.next_suspect()
            }
            Err(e) => Step::done(Err(e)),
        })
    }

    fn say_busy(&mut self, vid: Vid) {
        self.say(
            self.at,
            Some(vid),
            Action::Wait,
            0,
            "its put is not finished, and parts of it are younger than the grace",
        );
    }

    fn mark_suspects(&mut self) -> Step<WorkSteps> {
        let suspected = std::mem::take(&mut self.suspected);
        for vid in &suspected {
            self.say(self.at, Some(*vid), Action::Suspect, 0, "its put was abandoned: it has no catalogue entry");
        }
        if self.only_looks() || suspected.is_empty() {
            return self.check_ghosts();
        }
        let name = match self.name() {
            Ok(name) => name,
            Err(e) => return Step::done(Err(e)),
        };
        let put = |vid: &Vid| {
            let marker = Marker::new(&self.env.vault.id, &name, *vid, Mark::Suspected);
            self.env.vault.put_json(marker.key.clone(), marker.to_object(self.env.vault.signing_key()))
        };
        let puts: Vec<PutObject> = suspected.iter().map(put).collect();
        if is_active(Mutation::SweepWithoutMarker) {
            let prefix = self.backup().prefix(LOCATORS);
            return self.list_stored(prefix, false, move |steps, stored| {
                let of = |key: &str| LocatorKey::of(key).map(|locator| locator.vid);
                let locators = stored.into_iter().filter(|o| of(&o.key).is_some_and(|vid| suspected.contains(&vid)));
                steps.delete_stored(locators.collect(), Self::check_ghosts)
            });
        }
        Self::put_all(puts, Self::check_ghosts)
    }

    /// A row whose locator is gone may have been written late, after its version was removed: it goes if its data is gone,
    /// too.
    fn check_ghosts(&mut self) -> Step<WorkSteps> {
        let ripe_before = self.clock.saturating_sub(self.env.wait_ms);
        let is_ghost = |version: &Version| {
            let is_old = version.rows.iter().all(|(_, object)| object.modified_ms < ripe_before);
            version.locators.is_empty() && has_data(version) && version.deleted.is_none() && is_old
        };
        let ghosts: Vec<Vid> =
            self.backup().versions.iter().filter(|(_, v)| is_ghost(v)).map(|(vid, _)| *vid).collect();
        if ghosts.is_empty() {
            return self.finish();
        }
        let list = ListObjectsV2 { prefix: self.backup().prefix(LOCATORS), ..Default::default() };
        Self::locators_page(list, Vec::new(), move |steps, locators| {
            let has_none = |vid: &Vid| locators.iter().all(|locator| locator.vid != *vid);
            let ghosts: Vec<(usize, Vid)> = ghosts.into_iter().filter(has_none).map(|vid| (steps.at, vid)).collect();
            let heads = ghosts.clone();
            steps.read_rows(ghosts, move |steps| steps.look_for_data(heads))
        })
    }

    /// Looks whether the data of rows without a locator is there.
    fn look_for_data(&mut self, ghosts: Vec<(usize, Vid)>) -> Step<WorkSteps> {
        let mut heads = Vec::new();
        self.ghosts.clear();
        for (backup, vid) in ghosts {
            let Some(known) = self.known.get(&(backup, vid)) else {
                self.say(backup, Some(vid), Action::Problem, 0, "kept: it has no locator, and its row does not verify");
                continue;
            };
            let Some((key, version_id)) = known.objects.first().cloned() else { continue };
            self.ghosts.push((vid, key.clone(), version_id.clone(), true));
            let encryption = self.access_of(backup, vid);
            heads.push(HeadObject { key, version_id, encryption, without_checksums: true });
        }
        Step::each(heads, WIDTH, Self::data_seen, |steps, _| steps.delete_ghosts())
    }

    fn data_seen(&mut self, _: &mut Context<'_>, op: &HeadObject, answer: Result<HeadReply>) -> Result<()> {
        let is_missing = match answer {
            Ok(_) => false,
            Err(e) if e.status() == 404 => true,
            Err(e) if e.code() == Code::WrongKey || matches!(e.status(), 400 | 403) => false,
            Err(e) => return Err(e),
        };
        for ghost in self.ghosts.iter_mut().filter(|(_, key, id, _)| *key == op.key && *id == op.version_id) {
            ghost.3 = is_missing;
        }
        Ok(())
    }

    fn delete_ghosts(&mut self) -> Step<WorkSteps> {
        let mut gone = Vec::new();
        for (vid, _, _, is_missing) in std::mem::take(&mut self.ghosts) {
            if is_missing {
                gone.push(vid);
            } else {
                self.say(
                    self.at,
                    Some(vid),
                    Action::Problem,
                    0,
                    "its data is there, but it has no locator, so it cannot be read",
                );
            }
        }
        let freed = |steps: &mut Self, vid| {
            steps.say(steps.at, Some(vid), Action::Free, 0, "its row was written after its data was removed");
        };
        if gone.is_empty() || self.only_looks() {
            gone.into_iter().for_each(|vid| freed(self, vid));
            return self.finish();
        }
        let of = |key: &str| CatalogueKey::parse(key).map(|key| key.entry.vid());
        self.list_stored(self.backup().prefix(CATALOGUE), false, move |steps, stored| {
            let rows = stored.into_iter().filter(|object| of(&object.key).is_some_and(|vid| gone.contains(&vid)));
            let rows: Vec<Stored> = rows.collect();
            steps.delete_stored(rows, move |steps| {
                let refused = std::mem::take(&mut steps.not_deleted);
                for vid in gone {
                    match refused.iter().find(|((key, _), _)| of(key) == Some(vid)) {
                        Some(((key, _), why)) => {
                            let why = format!("the store did not delete {}: {why}", presentable_key(key));
                            steps.say(steps.at, Some(vid), Action::Wait, 0, why);
                        }
                        None => freed(steps, vid),
                    }
                }
                steps.finish()
            })
        })
    }
}

/// Why an upload stays whose parts the store lists only with its key.
pub(super) const KEY_NEEDED: &str =
    "the store lists the parts of an upload only with its key (SSE-C), which the keyring does not have";

/// Whether a version has a row of data.
fn has_data(version: &Version) -> bool {
    version.rows.iter().any(|(row, _)| row.kind != Kind::Del)
}
