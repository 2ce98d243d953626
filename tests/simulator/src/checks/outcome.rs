//! Checks of a put's outcome, and of everything at the end of a run.

use s3_model::Attributes;
use s3vault_core::vault::Vid;
use s3vault_core::vault::objects::{CATALOGUE, CatalogueKey, Entry};
use s3vault_core::{Code, Error};

use super::RELISTS;
use crate::coverage::Probe;
use crate::inputs::Region;
use crate::task::{How, Job, Listing, Outcome, Task};
use crate::world::World;

/// How far version ids may run ahead of the store's clock, in milliseconds.
const HOUR_MS: i64 = 3_600_000;

impl World {
    pub(crate) fn check_end(&mut self, number: usize, result: &Result<String, Error>) {
        let task = &self.tasks[number];
        let is_calm = self.scenario.is_calm() || self.report.faults.is_empty();
        let (has_changed, can_be_damaged) = (task.edition > 0, !self.scenario.profile.checksums);
        let is_lost = task.lost_parts > 0;
        let is_removed = task.parent.as_ref().is_some_and(|parent| self.removed.contains(parent));
        if self.scenario.second.region == Region::Misconfigured {
            return self.check_misconfigured(number, result);
        }
        match result {
            Ok(vid) if task.differs.is_some() => {
                let part = task.differs.unwrap_or_default();
                self.violate(format!("version {vid} is acknowledged, and part {part} was other bytes when read again"));
            }
            // The store has all parts, if not under the ETags that it answered with.
            Err(e) if e.s3_code() == "InvalidPart" && task.replaced + task.lost_parts < RELISTS => {
                self.violate(format!("task {number} ends with {e:?}, and ListParts would have told"));
            }
            Err(e) if e.s3_code() == "XAmzContentChecksumMismatch" && e.code() != Code::Abandoned => {
                self.violate(format!("task {number} ends with {e:?}, and would keep an upload that never completes"));
            }
            // A parent's entry that was damaged on its way does not verify.
            Err(e) if e.code() == Code::BadParent && !is_removed && !task.flipped => {
                self.violate(format!("task {number}'s parent was acknowledged, and it ends with {e:?}"));
            }
            Err(e) if e.code() == Code::FutureVersion && !self.has_future_version(number) => {
                self.violate(format!("task {number} ends with {e:?}, and no version is that new"));
            }
            Err(e) if e.code() == Code::WrongRegion => {
                self.violate(format!("task {number} was told the right region, and ends with {e:?}"));
            }
            Err(e) if unprovoked(e.code(), task) => {
                self.violate(format!("task {number} ends with {e:?}, and nobody gave a reason"));
            }
            Err(e) if is_calm => self.violate(format!("task {number} fails without a fault: {e:?}")),
            Err(e) if e.code() == Code::Internal || e.is_expired() => {
                self.violate(format!("task {number} ends with {e:?}"));
            }
            Err(e) if e.code() == Code::BadCheckpoint => {
                self.violate(format!("task {number} does not know its own checkpoint: {e:?}"));
            }
            Err(e) if e.code() == Code::Damaged && !can_be_damaged && !has_changed && !is_lost => {
                self.violate(format!("task {number} finds damage that nobody did: {e:?}"));
            }
            Err(e) if e.code() == Code::AccessDenied && !task.keyless && !self.no_keys => {
                self.violate(format!("task {number} had new keys, and ends with {e:?}"));
            }
            Err(e) if e.code() == Code::SourceChanged && !has_changed => {
                self.violate(format!("task {number}'s source did not change: {e:?}"));
            }
            _ => {}
        }
    }

    /// With the wrong region nothing succeeds, and its error is the only one, unless the put was stopped before.
    fn check_misconfigured(&mut self, number: usize, result: &Result<String, Error>) {
        match result {
            Ok(vid) => self.violate(format!("version {vid} was stored, although the configured region is wrong")),
            Err(e) if e.code() == Code::WrongRegion => self.hit(Probe::RegionRefused),
            Err(e) if self.scenario.is_calm() => {
                self.violate(format!("task {number} has the wrong region, and ends with {e:?}"));
            }
            Err(_) => {}
        }
    }

    /// Whether a version of the put's name runs further ahead of the store's clock than any put makes one.
    fn has_future_version(&self, number: usize) -> bool {
        let name = |task: &Task| task.put().map(|put| put.name);
        let own = self.vids.iter().filter(|(_, by)| name(&self.tasks[**by]) == name(&self.tasks[number]));
        let newest = own.filter_map(|(vid, _)| Vid::parse(vid).ok()).map(Vid::unix_ms).max();
        // The engine knows the store's clock to the second, and to the duration of a reply.
        newest.is_some_and(|newest| newest > self.store_ms() + HOUR_MS - 120_000)
    }

    /// Checks everything at the end of a run, without faults.
    pub(crate) fn after_all(&mut self) {
        if self.report.violation.is_some() {
            return;
        }
        self.is_over = true;
        if self.scenario.second.region == Region::Misconfigured {
            if !self.bucket().objects.is_empty() {
                self.violate("something was stored, although the configured region is wrong".to_owned());
            }
            return;
        }
        (self.storm_until, self.outage_until) = (0, 0);
        (self.fail_after_until, self.unreachable_until) = (0, 0);
        let rows: Vec<String> = self.bucket().keys(CATALOGUE).map(|(key, _)| key.clone()).collect();
        let (vault, mut visible) = (self.vault(), Vec::new());
        for key in rows {
            let Some(CatalogueKey { entry: Entry::Row(row), .. }) = CatalogueKey::parse(&key) else { continue };
            let vid = row.vid.to_string();
            let Some(task) = self.vids.get(&vid).copied() else {
                return self.violate(format!("the row at {key} is nobody's"));
            };
            let (Some(put), source) = (self.tasks[task].put().cloned(), self.tasks[task].source) else { return };
            self.add_task(
                vault.clone(),
                Job::Read { name: put.name, vid: vid.clone(), source, must_succeed: true, how: How::Stream },
            );
            visible.push((vid, task));
        }
        for (number, task) in self.tasks.iter().enumerate() {
            let is_there = |vid: &str| visible.iter().any(|(visible, _)| visible == vid);
            let why = match &task.outcome {
                Some(Outcome::Stored { vid }) if !is_there(vid) && !self.removed.contains(vid) => {
                    format!("version {vid} was acknowledged, and has no row")
                }
                Some(Outcome::Failed(code)) if !task.was_killed && visible.iter().any(|(_, by)| *by == number) => {
                    format!("task {number} ended with {code}, and its version is visible")
                }
                None if task.put().is_some() && !self.case.without.contains(&number) => {
                    format!("task {number} never ended")
                }
                _ => continue,
            };
            return self.violate(why);
        }
        let mut jobs =
            vec![0, 1].into_iter().map(|name| Job::List { listing: Listing::Backup(name), must_succeed: true });
        jobs.by_ref().for_each(|job| self.add_task(vault.clone(), job));
        if self.scenario.second.has_lookups {
            for name in 0..2 {
                let jobs = [self.find(name, false), self.find(name, true), self.listing()];
                jobs.into_iter().for_each(|job| self.add_task(vault.clone(), job));
            }
        }
        self.drain();
        self.check_orphans();
        self.check_delays();
    }

    /// Everything is named by a locator, and what was left without need is found.
    fn check_orphans(&mut self) {
        let vid = |attributes: &Attributes| attributes.metadata.get("s3vault-vid").cloned();
        let mut broken = Vec::new();
        for (key, versions) in &self.bucket().objects {
            for version in versions.iter().filter(|_| !key.starts_with("_s3vault/")) {
                let vid = version.object.as_ref().and_then(|object| vid(&object.attributes));
                if vid.is_none_or(|vid| self.locator(&vid).is_none()) {
                    broken.push(format!("version {} of {key} is left, and no locator names it", version.id));
                }
            }
        }
        for (key, upload) in self.bucket().open_uploads() {
            let id = &upload.id;
            let Some(vid) = vid(&upload.attributes).filter(|vid| self.locator(vid).is_some()) else {
                broken.push(format!("upload {id} of {key} is left, and no locator names it"));
                continue;
            };
            let Some(task) = self.vids.get(&vid).map(|number| &self.tasks[*number]) else { continue };
            let is_known = !upload.parts.is_empty() && !task.completing.contains(id);
            let is_failed = matches!(task.outcome, Some(Outcome::Failed(_)));
            if is_failed && is_known && task.failed == 0 && !task.was_killed {
                broken.push(format!("upload {id} of {key} is left by a put that could abort it"));
            }
        }
        for why in broken {
            self.violate(why);
        }
    }

    /// Uploads that are open for a task's versions.
    pub(crate) fn uploads_of(&self, number: usize) -> Vec<String> {
        let uploads = self.bucket().open_uploads().filter(|(_, upload)| {
            let vid = upload.attributes.metadata.get("s3vault-vid");
            vid.is_some_and(|vid| self.vids.get(vid) == Some(&number))
        });
        uploads.map(|(_, upload)| upload.id.clone()).collect()
    }
}

/// Whether a put ended for a reason that did not exist.
fn unprovoked(code: Code, task: &Task) -> bool {
    match code {
        Code::Cancelled => !task.cancelled,
        Code::Suspended => !task.suspended,
        Code::DiskFull => !task.disk_full,
        Code::NotFound => true,
        // A put that resumes lists the stored parts first.
        Code::DataMissing => !task.lost_alive,
        _ => false,
    }
}
