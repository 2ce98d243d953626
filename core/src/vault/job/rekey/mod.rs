//! *Re-key*: stores the data of versions again under new data keys (SSE-C), so that neither a key-encryption key (KEK) nor
//! a data key that leaked opens it. The store copies ([`copy`]): no data passes through this machine except to be verified.
//! Where the store cannot copy it, it does pass through, if the caller allows that ([`through`]).
//!
//! ```text
//!  clear what earlier runs replaced (`replaced`) ──▶ the next versions of the backup ◀─────────────────────────┐
//!                                                                │                                             │
//!  rows, locators ──▶ HEAD data ──▶ HEAD copies ──▶ copy ──▶ read the copies whole ──▶ is the KEK closed? ──▶ PUT the locator ──▶ read it back
//! ```
//! The new data key is derived from the current KEK, the version and the generation. So runs side by side, and a run after
//! one that was stopped, make the same copy at the same key, and continue with what is there. The generation is the next
//! multiple of [`EPOCH`](crate::vault::objects::EPOCH): a rotation, which writes the next one, never writes the same
//! locator.
//!
//! The old data and its locators stay until the new locator is older than the grace: readers may have read the old one.

mod copy;
mod through;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::dying::own_vid;
use super::report::Action;
use super::walk::Version;
use super::work::{Task, WIDTH, WorkSteps};
use crate::crypto::data_key::DataKey;
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{
    Call, CompletedPart, Context, HeadObject, HeadReply, ListObjectsV2, Listing, Paged, PutObject, Retention, Step,
};
use crate::text::presentable_key;
use crate::transfer::download::Check;
use crate::vault::closed::look;
use crate::vault::encryption::Encryption;
use crate::vault::locator::Locator;
use crate::vault::names::segment;
use crate::vault::objects::{Kind, LOCATORS, LocatorKey, next_epoch};
use crate::vault::proof::Outcome;
use crate::vault::read::{pieces, version_id};
use crate::vault::stored::Stored;
use crate::vault::{Manifest, Verdict, Vid};
use crate::{op, vault};

/// Most versions of a backup that are re-keyed together: their manifests are in memory.
const BATCH: usize = 16;
/// Most copies that a backup has in progress.
const COPIES: usize = 4;
/// Most copies of a backup that are read at the same time, each in several slices.
const CHECKS: usize = 2;

/// What is re-keyed, and how.
#[derive(Clone, Debug, Default)]
pub struct RekeyRequest {
    /// Only the backup with this path in the container of the job.
    pub path: Option<String>,
    /// Only this version of that backup.
    pub version: Option<Vid>,
    /// Data that the store cannot copy may pass through this machine.
    pub through_client: bool,
}

impl RekeyRequest {
    /// Refuses a path without its container, a version without its path, and names that no backup has.
    pub fn check(container: Option<&str>, path: Option<&str>, has_version: bool) -> Result<()> {
        let (set, without) = match (container, path) {
            (None, Some(_)) => ("path", "container"),
            (_, None) if has_version => ("version", "path"),
            (Some(container), Some(path)) => return vault::Name::new(container, path).map(drop),
            _ => return Ok(()),
        };
        let why = format!("{set} is set without {without}");
        Err(Error::new(Code::InvalidOption, why).with_hint(format!("Set {without}, too.")))
    }
}

/// What a re-keying knows of the current backup.
#[derive(Default)]
pub(super) struct Rekeying {
    /// Versions that are still to be looked at, the newest last.
    ahead: Vec<Vid>,
    /// Locators that open, with their data keys, by version.
    found: BTreeMap<Vid, Vec<(Locator, DataKey)>>,
    /// Why a locator of a version does not open.
    refused: BTreeMap<Vid, String>,
    /// The versions that are re-keyed now.
    versions: BTreeMap<Vid, Rekeyed>,
    /// Which extent a HEAD is about, by key and version id.
    asked: BTreeMap<(String, Option<String>), (Vid, usize)>,
    /// Versions whose data is not where the locator says that is tried now.
    missing: BTreeSet<Vid>,
    /// Parts of the copy that is made in parts.
    parts_copied: Vec<CompletedPart>,
    /// Copies that differ from what was stored.
    bad_copies: Vec<Stored>,
}

/// A version that is re-keyed.
struct Rekeyed {
    manifest: Manifest,
    /// Where its data is, and with which key: the locators that open, the highest generation last.
    sources: Vec<(Locator, DataKey)>,
    /// The new locator, and its data key.
    locator: Locator,
    key: DataKey,
    copies: Vec<Copy>,
    /// The lock of the data, if it has one that has not ended.
    lock: Option<Retention>,
    /// Some of its data passed through this machine.
    is_sent: bool,
    /// Why it is not re-keyed.
    problem: Option<String>,
    is_written: bool,
}

/// The copy of an extent.
#[derive(Clone, Debug, Default)]
struct Copy {
    size: u64,
    storage_class: Option<String>,
    /// It is there whole.
    is_done: bool,
    version_id: Option<String>,
}

impl Rekeyed {
    fn fail(&mut self, why: impl Into<String>) {
        self.problem.get_or_insert(why.into());
    }

    /// What requests for the data say of its encryption: of the old data, and of the copy.
    fn source_encryption(&self) -> op::Encryption {
        Encryption::SseC.of_data(self.sources.last().map(|(_, key)| key))
    }

    fn encryption(&self) -> op::Encryption {
        Encryption::SseC.of_data(Some(&self.key))
    }

    /// The object that an extent, numbered from 0, is copied from.
    fn source(&self, extent: usize) -> (String, Option<String>) {
        let Some((locator, _)) = self.sources.last() else { return Default::default() };
        (locator.data.extent(extent + 1), version_id(&self.manifest, &locator.data, extent))
    }

    /// The headers of the copy of an extent.
    fn headers(&self, extent: usize, now_ms: i64) -> Vec<(String, String)> {
        let mut headers = vec![("x-amz-meta-s3vault-vid".to_owned(), self.manifest.vid.clone())];
        let class = self.copies.get(extent).and_then(|copy| copy.storage_class.clone());
        headers.extend(class.map(|class| ("x-amz-storage-class".to_owned(), class)));
        headers.extend(self.locks(now_ms));
        headers
    }

    /// The headers that lock what is written as the old data is locked.
    fn locks(&self, now_ms: i64) -> Vec<(String, String)> {
        let lock = self.lock.filter(|lock| lock.until_ms > now_ms);
        lock.iter().flat_map(Retention::headers).collect()
    }

    /// Whether a reply to a HEAD is about an extent of this version, whole.
    fn is_of(&self, extent: usize, found: &HeadReply) -> bool {
        let size = self.copies.get(extent).map(|copy| copy.size);
        found.size == size && found.meta("s3vault-vid") == Some(&*self.manifest.vid)
    }

    fn bytes(&self) -> u64 {
        self.copies.iter().map(|copy| copy.size).sum()
    }
}

impl WorkSteps {
    pub(super) fn rekey(&mut self) -> Step<WorkSteps> {
        self.rekeying = Rekeying::default();
        let Task::Rekey(RekeyRequest { path, .. }) = &self.env.task else { return self.next_backup() };
        if path.as_ref().is_some_and(|path| segment(path) != self.backup().segments.1) {
            return self.next_backup();
        }
        self.clear(false, Self::choose_versions)
    }

    fn choose_versions(&mut self) -> Step<WorkSteps> {
        let Task::Rekey(RekeyRequest { version: only, .. }) = self.env.task.clone() else { return self.next_backup() };
        let has_data = |version: &Version| version.rows.iter().any(|(row, _)| row.kind != Kind::Del);
        let chosen = self.backup().versions.iter().filter(|(vid, version)| {
            only.is_none_or(|only| only == **vid) && has_data(version) && !version.locators.is_empty()
        });
        let has_key = |version: &Version| version.locators.iter().any(|(locator, _)| locator.kek.is_some());
        let (ahead, keeps): (Vec<_>, Vec<_>) = chosen.partition(|(_, version)| has_key(version));
        let (mut ahead, keeps): (Vec<Vid>, Vec<Vid>) =
            (ahead.into_iter().map(|(vid, _)| *vid).collect(), keeps.into_iter().map(|(vid, _)| *vid).collect());
        for vid in keeps {
            self.say(self.at, Some(vid), Action::Keep, 0, "it has no data key");
        }
        // The newest version first.
        ahead.reverse();
        self.rekeying.ahead = ahead;
        self.next_to_rekey()
    }

    /// Reads the entries and the locators of the next versions.
    fn next_to_rekey(&mut self) -> Step<WorkSteps> {
        let start = self.rekeying.ahead.len().saturating_sub(BATCH);
        let batch = self.rekeying.ahead.split_off(start);
        if batch.is_empty() {
            return self.next_backup();
        }
        self.read_manifests(batch, |steps, batch| {
            let prefix = steps.backup().prefix(LOCATORS);
            let of = |vid: &Vid| steps.backup().versions.get(vid).map(|version| &version.locators);
            let keys = batch.iter().filter_map(of).flatten().map(|(locator, _)| format!("{prefix}{locator}")).collect();
            steps.read_locators(keys, Self::locator_to_rekey, move |steps| steps.decide(&batch))
        })
    }

    fn locator_to_rekey(&mut self, vid: Vid, outcome: Outcome<Locator>) {
        let why = match self.of_version(vid, outcome) {
            Outcome::Gone(_) => return,
            Outcome::Refused(e) => e,
            Outcome::Counts(locator) => match self.env.vault.data_key(&locator) {
                Ok(Some(key)) => return self.rekeying.found.entry(vid).or_default().push((locator, key)),
                Ok(None) => return,
                Err(e) => e,
            },
        };
        self.rekeying.refused.entry(vid).or_insert_with(|| why.message().to_owned());
    }

    /// Decides what becomes of each version.
    fn decide(&mut self, batch: &[Vid]) -> Step<WorkSteps> {
        let mut found = std::mem::take(&mut self.rekeying.found);
        let mut refused = std::mem::take(&mut self.rekeying.refused);
        for vid in batch.iter().rev() {
            let mut sources = found.remove(vid).unwrap_or_default();
            sources.sort_by_key(|(locator, _)| locator.generation);
            let why = refused.remove(vid);
            if let Err((action, why)) = self.decide_on(*vid, sources, why)
                && !why.is_empty()
            {
                self.say(self.at, Some(*vid), action, 0, why);
            }
        }
        if self.only_looks() {
            for (vid, version) in std::mem::take(&mut self.rekeying.versions) {
                let (action, bytes, why) = self.would_rekey(&version);
                self.say(self.at, Some(vid), action, bytes, why);
            }
            return self.next_to_rekey();
        }
        let all = self.rekeying.versions.keys().copied().collect();
        self.look_at_data(all)
    }

    /// What a dry run says of a version that is to be re-keyed.
    fn would_rekey(&self, version: &Rekeyed) -> (Action, u64, String) {
        let why_not = version.copies.iter().find_map(|copy| self.why_not_copied(copy.size));
        let why = "its data key was not made with the current key";
        match why_not {
            None => (Action::Rekey, version.bytes(), why.to_owned()),
            Some(why_not) if self.may_send() => {
                let why = format!("{why}. Its data passes through this machine, since {why_not}");
                (Action::Rekey, version.bytes(), why)
            }
            Some(why_not) => (Action::Problem, 0, version.why_not_sent(&why_not)),
        }
    }

    /// Takes note of a version that is to be re-keyed, or says why it is not; with nothing to say, it was removed meanwhile.
    fn decide_on(
        &mut self,
        vid: Vid,
        sources: Vec<(Locator, DataKey)>,
        refused: Option<String>,
    ) -> Result<(), (Action, String)> {
        let at = (self.at, vid);
        let Some(manifest) = self.manifests.remove(&vid) else {
            let why = self.refused.get(&at).map(|why| format!("left as it is, since its entry does not verify: {why}"));
            return Err((Action::Problem, why.unwrap_or_default()));
        };
        match manifest.encryption() {
            Ok(Encryption::SseC) if manifest.adopted.is_some() => {
                let why = "left under its data key: another program wrote it, and it was adopted, so only a new backup has a new one";
                return Err((Action::Leave, why.into()));
            }
            Ok(Encryption::SseC) => {}
            Ok(Encryption::Envelope) => {
                let why = "left under its data key: it was encrypted on this side (envelope), so only a new backup has a new one";
                return Err((Action::Leave, why.into()));
            }
            _ => return Err((Action::Keep, "it has no data key".into())),
        }
        let problem = |e: Error| (Action::Problem, e.message().to_owned());
        let Some((newest, _)) = sources.last() else {
            let why = refused.map(|why| format!("left as it is, since no locator opens: {why}"));
            return Err((Action::Problem, why.unwrap_or_default()));
        };
        let current = self.env.vault.current_kek().map_err(problem)?;
        let kek = current.id().to_owned();
        let is_alone = sources.iter().filter(|(other, _)| other.generation == newest.generation).count() == 1;
        if newest.rekeyed_with() == Some(&kek) && is_alone && !self.clearing.is_missing(vid) {
            return Err(match self.backup().versions.get(&vid).is_some_and(|version| version.locators.len() > 1) {
                true => (
                    Action::Wait,
                    "it is re-keyed; what it had before goes once its new locator is older than the grace".into(),
                ),
                false => (Action::Keep, "its data key was made with the current key".into()),
            });
        }
        let listed = self.backup().versions.get(&vid).into_iter().flat_map(|version| &version.locators);
        let highest = listed.map(|(locator, _)| locator.generation).max().unwrap_or(newest.generation);
        let generation = match is_active(Mutation::RekeyInEpoch) {
            true => highest + 1,
            false => next_epoch(highest).map_err(problem)?,
        };
        let name = self.name().map_err(problem)?;
        let key = self.env.vault.rekeyed_key(current, &name, vid, generation).map_err(problem)?;
        let wrapped = self.env.vault.wrap(&name, vid, &Encryption::SseC, &key).map_err(problem)?;
        let data = newest.data.rekeyed(vid, generation, &kek);
        let locator = newest.rekeyed(&name, generation, wrapped, data).map_err(problem)?;
        let copies = manifest.extents.iter().map(|extent| Copy { size: extent.size, ..Copy::default() }).collect();
        let lock = manifest.lock.map(|lock| lock.retention());
        let (is_sent, problem, is_written) = (false, None, false);
        let version = Rekeyed { manifest, sources, locator, key, copies, lock, is_sent, problem, is_written };
        self.rekeying.versions.insert(vid, version);
        Ok(())
    }

    /// Looks at the old data: its storage class, its lock, and whether it is there.
    fn look_at_data(&mut self, of: Vec<Vid>) -> Step<WorkSteps> {
        self.rekeying.asked.clear();
        let mut heads = Vec::new();
        for vid in of {
            let Some(version) = self.rekeying.versions.get(&vid) else { continue };
            for extent in 0..version.copies.len() {
                let (key, version_id) = version.source(extent);
                self.rekeying.asked.insert((key.clone(), version_id.clone()), (vid, extent));
                let encryption = version.source_encryption();
                heads.push(HeadObject { key, version_id, encryption, without_checksums: true });
            }
        }
        Step::each(heads, WIDTH, Self::data_looked_at, |steps, _| {
            let missing = std::mem::take(&mut steps.rekeying.missing);
            if missing.is_empty() {
                return steps.look_at_copies();
            }
            // A locator whose data is gone, or was never whole: a lower one has the data.
            for vid in &missing {
                let Some(version) = steps.rekeying.versions.get_mut(vid) else { continue };
                let (key, _) = version.source(0);
                version.sources.pop();
                if version.sources.is_empty() {
                    let why = format!("left as it is: {} has not the data that its entry names", presentable_key(&key));
                    version.fail(why);
                }
            }
            let is_left = |vid: &Vid| steps.rekeying.versions.get(vid).is_some_and(|version| version.problem.is_none());
            let again = missing.into_iter().filter(is_left).collect();
            steps.look_at_data(again)
        })
    }

    fn data_looked_at(&mut self, _: &mut Context<'_>, op: &HeadObject, answer: Result<HeadReply>) -> Result<()> {
        let Some((vid, extent)) = self.rekeying.asked.get(&(op.key.clone(), op.version_id.clone())).copied() else {
            return Ok(());
        };
        let Some(version) = self.rekeying.versions.get_mut(&vid) else { return Ok(()) };
        match answer {
            Ok(found) if version.is_of(extent, &found) => {
                version.copies[extent].storage_class = found.storage_class;
                // The put of an incremental has extended it, maybe.
                let later = |lock: &Retention| version.lock.is_none_or(|own| own.until_ms < lock.until_ms);
                if let Some(lock) = found.lock.filter(later) {
                    version.lock = Some(lock);
                }
            }
            Ok(_) => drop(self.rekeying.missing.insert(vid)),
            Err(e) if e.code() == Code::WrongKey || matches!(e.status(), 400 | 403 | 404) => {
                self.rekeying.missing.insert(vid);
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Reads the copies whole, and compares them with the hashes of their manifests.
    fn check_copies(&mut self) -> Step<WorkSteps> {
        let mut checks = Vec::new();
        for (vid, version) in self.rekeying.versions.iter_mut().filter(|(_, version)| version.problem.is_none()) {
            let ids: Vec<String> = version.copies.iter().filter_map(|copy| copy.version_id.clone()).collect();
            if ids.len() == version.copies.len() {
                version.locator.data.version_ids = ids;
            }
            let pieces = pieces(&version.manifest, &version.locator.data, &version.encryption());
            let take = |ranges| self.env.ranges.fetch_add(ranges, Ordering::Relaxed);
            if !pieces.is_empty() {
                checks.push(Check::new(*vid, &pieces, self.env.vault.parallel_download, take));
            }
        }
        let checked = |steps: &mut Self, _: &mut Context<'_>, check: &Check<Vid>, answer: Result<()>| {
            let Err(e) = answer else { return Ok(()) };
            if is_active(Mutation::RekeyWithoutCheck) {
                return Ok(());
            }
            if Verdict::of(&e).is_none() && e.code() != Code::WrongKey {
                return Err(e);
            }
            let Some(version) = steps.rekeying.versions.get_mut(&check.of) else { return Ok(()) };
            version.fail(format!("left as it is, since the copy differs from what was stored: {}", e.message()));
            let copies = version.copies.iter().enumerate().map(|(extent, copy)| Stored {
                key: version.locator.data.extent(extent + 1),
                version_id: copy.version_id.clone(),
                size: copy.size,
                modified_ms: None,
                etag: String::new(),
                is_delete_marker: false,
            });
            steps.rekeying.bad_copies.extend(copies);
            Ok(())
        };
        Step::each_asking(checks, CHECKS, checked, |steps, _| {
            if steps.rekeying.bad_copies.is_empty() {
                return steps.write_rekeyed();
            }
            let prefix = steps.backup().prefix(LOCATORS);
            Self::delete_bad_copies(ListObjectsV2 { prefix, ..Default::default() })
        })
    }

    /// Deletes the copies that differ, signed at a list of the locators: another run may have copied over them since. Where
    /// its locator is not listed, what it replaced is there for longer than these deletions can take. One that is not
    /// deleted is deleted by a sweep.
    fn delete_bad_copies(list: ListObjectsV2) -> Step<WorkSteps> {
        Step::with(Call::new(list), |steps: &mut Self, _, call: &Call<ListObjectsV2>, answer: Result<Listing>| {
            let page = match answer {
                Ok(page) => page,
                Err(e) => return Step::done(Err(e)),
            };
            steps.dated.get_or_insert(call.sent_ms());
            for locator in page.objects.iter().filter_map(|object| LocatorKey::of(&object.key)) {
                let version = steps.rekeying.versions.get(&locator.vid);
                if version.is_some_and(|version| locator.generation >= version.locator.generation) {
                    steps.rekeying.bad_copies.retain(|copy| own_vid(&copy.key) != Some(locator.vid));
                }
            }
            if let Some(next) = call.op().next(&page) {
                return Self::delete_bad_copies(next);
            }
            let bad = std::mem::take(&mut steps.rekeying.bad_copies);
            steps.delete_stored(bad, |steps| {
                steps.dated = None;
                steps.not_deleted.clear();
                steps.write_rekeyed()
            })
        })
    }

    /// Writes the new locators, unless the KEK was closed: signed at the look, they cannot take effect after it was retired.
    fn write_rekeyed(&mut self) -> Step<WorkSteps> {
        if self.rekeying.versions.values().all(|version| version.problem.is_some()) {
            return self.rekeyed();
        }
        let kek = match self.env.vault.current_kek() {
            Ok(kek) => kek.id().to_owned(),
            Err(e) => return Step::done(Err(e)),
        };
        look(&self.env.vault, &self.env.place.bucket, &kek.clone(), move |steps: &mut Self, _, look| {
            if look.closed_ms.is_some() {
                return Step::done(Err(steps.env.vault.closed(&kek)));
            }
            let vault = steps.env.vault.clone();
            let (mut puts, mut written) = (Vec::new(), Vec::new());
            for version in steps.rekeying.versions.values().filter(|version| version.problem.is_none()) {
                let locator = &version.locator;
                let mut put = vault.put_json(locator.key.clone(), locator.to_object(vault.signing_key()));
                put.headers.extend(version.locks(look.listed_ms));
                written.push(locator.key.clone());
                puts.push(Call::dated(put, look.listed_ms));
            }
            let put = |_: &mut Self, _: &mut Context<'_>, _: &PutObject, answer: Result<_>| answer.map(|_| ());
            Step::each_call(puts, WIDTH, put, move |steps, _| {
                steps.read_locators(written, Self::rekeyed_read, |steps| steps.rekeyed())
            })
        })
    }

    /// A new locator was read back. One that another run wrote at the same time names a copy of its own.
    fn rekeyed_read(&mut self, vid: Vid, outcome: Outcome<Locator>) {
        let vault = self.env.vault.clone();
        let Some(version) = self.rekeying.versions.get_mut(&vid) else { return };
        match outcome {
            Outcome::Counts(locator) if locator.data.first == version.locator.data.first => {
                match vault.data_key(&locator) {
                    Ok(_) => version.is_written = true,
                    Err(e) => version.fail(format!("its new locator does not open: {}", e.message())),
                }
            }
            Outcome::Counts(_) => version.fail("its new locator was replaced by another one"),
            Outcome::Gone(_) => version.fail("its new locator is gone: the version was removed meanwhile"),
            Outcome::Refused(e) => version.fail(format!("its new locator does not verify: {}", e.message())),
        }
    }

    fn rekeyed(&mut self) -> Step<WorkSteps> {
        for (vid, version) in std::mem::take(&mut self.rekeying.versions).into_iter() {
            let bytes = version.bytes();
            match version.problem {
                Some(why) => self.say(self.at, Some(vid), Action::Problem, 0, why),
                None if version.is_written => {
                    let why = match version.is_sent {
                        false => "its data was copied under a new data key, and verified",
                        true => "its data passed through this machine, is under a new data key, and was verified",
                    };
                    self.say(self.at, Some(vid), Action::Rekey, bytes, why);
                }
                None => {}
            }
        }
        self.next_to_rekey()
    }

    /// Reads the entries of these versions, and keeps their manifests.
    pub(super) fn read_manifests(
        &mut self,
        of: Vec<Vid>,
        then: impl FnOnce(&mut WorkSteps, Vec<Vid>) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        let rows: Vec<(usize, Vid)> = of.iter().map(|vid| (self.at, *vid)).collect();
        for row in &rows {
            self.known.remove(row);
        }
        self.manifests.clear();
        self.wanted = of.iter().copied().collect();
        self.read_rows(rows, move |steps| {
            steps.wanted.clear();
            then(steps, of)
        })
    }
}

impl vault::Vault {
    /// Refuses to re-key what cannot be re-keyed here.
    pub(super) fn check_may_rekey(&self) -> Result<()> {
        let name = vault::Name::new("container", "path")?;
        self.rekeyed_key(self.current_kek()?, &name, Vid::new(0, [0; 10]), 0).map(drop)
    }
}
