//! *Re-key*: stores the data of versions again under new data keys (SSE-C), so that neither a key-encryption key (KEK) nor
//! a data key that leaked opens it. The store copies: no data passes through this machine but to be verified.
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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::dying::own_vid;
use super::report::Action;
use super::walk::Version;
use super::work::{Task, WIDTH, WorkSteps};
use crate::crypto::data_key::DataKey;
use crate::error::{Code, Error, Result};
use crate::op::{
    AbortMultipartUpload, Call, CompleteMultipartUpload, CompletedPart, CompletedUpload, Context, CopyObject,
    CopyReply, CopySource, CreateMultipartUpload, HeadObject, HeadReply, ListMultipartUploads, ListObjectsV2,
    ListParts, Listing, Paged, PutObject, Retention, Step, UploadPartCopy,
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
/// Length of the parts in which a large object is copied, in bytes, if the store allows it.
const PART: u64 = 1 << 30;

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

/// An object that is copied in parts.
#[derive(Clone)]
struct Large {
    vid: Vid,
    extent: usize,
    key: String,
    size: u64,
    part: u64,
    upload_id: String,
    done: Vec<CompletedPart>,
}

impl Large {
    /// Offset and length of a part, numbered from 1.
    fn range(&self, number: u32) -> (u64, u64) {
        let start = u64::from(number - 1) * self.part;
        (start, self.part.min(self.size.saturating_sub(start)))
    }

    fn parts(&self) -> u32 {
        u32::try_from(self.size.div_ceil(self.part)).unwrap_or(u32::MAX)
    }
}

impl WorkSteps {
    pub(super) fn rekey(&mut self) -> Step<WorkSteps> {
        self.rekeying = Rekeying::default();
        let Task::Rekey { path, .. } = &self.env.task else { return self.next_backup() };
        if path.as_ref().is_some_and(|path| segment(path) != self.backup().segments.1) {
            return self.next_backup();
        }
        self.clear(false, Self::choose_versions)
    }

    fn choose_versions(&mut self) -> Step<WorkSteps> {
        let Task::Rekey { version: only, .. } = self.env.task.clone() else { return self.next_backup() };
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
                self.say(
                    self.at,
                    Some(vid),
                    Action::Rekey,
                    version.bytes(),
                    "its data key was not made with the current key",
                );
            }
            return self.next_to_rekey();
        }
        let all = self.rekeying.versions.keys().copied().collect();
        self.look_at_data(all)
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
        let generation = next_epoch(highest).map_err(problem)?;
        let name = self.name().map_err(problem)?;
        let key = self.env.vault.rekeyed_key(current, &name, vid, generation).map_err(problem)?;
        let wrapped = self.env.vault.wrap(&name, vid, &Encryption::SseC, &key).map_err(problem)?;
        let data = newest.data.rekeyed(vid, generation, &kek);
        let locator = newest.rekeyed(&name, generation, wrapped, data).map_err(problem)?;
        let copies = manifest.extents.iter().map(|extent| Copy { size: extent.size, ..Copy::default() }).collect();
        let lock = manifest.lock.map(|lock| lock.retention());
        let (problem, is_written) = (None, false);
        let version = Rekeyed { manifest, sources, locator, key, copies, lock, problem, is_written };
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

    /// Looks which copies are there: another run may have made them.
    fn look_at_copies(&mut self) -> Step<WorkSteps> {
        self.rekeying.asked.clear();
        let mut heads = Vec::new();
        for (vid, version) in self.rekeying.versions.iter().filter(|(_, version)| version.problem.is_none()) {
            for extent in 0..version.copies.len() {
                let (key, version_id) = (version.locator.data.extent(extent + 1), None);
                self.rekeying.asked.insert((key.clone(), None), (*vid, extent));
                let encryption = version.encryption();
                heads.push(HeadObject { key, version_id, encryption, without_checksums: true });
            }
        }
        Step::each(heads, WIDTH, Self::copy_seen, |steps, _| steps.copy_small())
    }

    fn copy_seen(&mut self, _: &mut Context<'_>, op: &HeadObject, answer: Result<HeadReply>) -> Result<()> {
        let Some((vid, extent)) = self.rekeying.asked.get(&(op.key.clone(), None)).copied() else { return Ok(()) };
        match answer {
            Ok(found) if self.rekeying.versions.get(&vid).is_some_and(|version| version.is_of(extent, &found)) => {
                self.copied(vid, extent, found.version_id);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(e) if e.code() == Code::WrongKey || matches!(e.status(), 400 | 403 | 404) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The copy of an extent is there.
    fn copied(&mut self, vid: Vid, extent: usize, version_id: Option<String>) {
        let env = self.env.clone();
        let Some(version) = self.rekeying.versions.get_mut(&vid) else { return };
        let key = version.locator.data.extent(extent + 1);
        match env.vault.layout.name_stored(&env.place, &key, version_id) {
            Ok(version_id) => {
                (version.copies[extent].is_done, version.copies[extent].version_id) = (true, version_id);
            }
            Err(e) => version.fail(e.message()),
        }
    }

    /// A copy was refused. What the store says of one version does not stop the others.
    fn copy_refused(&mut self, vid: Vid, e: Error) -> Result<()> {
        if e.status() == 0 || e.code() == Code::Unavailable {
            return Err(e);
        }
        if let Some(version) = self.rekeying.versions.get_mut(&vid) {
            version.fail(format!("left as it is, since the store did not copy its data: {}", e.message()));
        }
        Ok(())
    }

    /// The extents that have to be copied.
    fn to_copy(&self) -> impl Iterator<Item = (Vid, usize, &Rekeyed)> {
        let versions = self.rekeying.versions.iter().filter(|(_, version)| version.problem.is_none());
        versions.flat_map(|(vid, version)| {
            let missing = version.copies.iter().enumerate().filter(|(_, copy)| !copy.is_done);
            missing.map(move |(extent, _)| (*vid, extent, version))
        })
    }

    fn copy_source(&self, version: &Rekeyed, extent: usize) -> CopySource {
        let (key, version_id) = version.source(extent);
        let customer_key = version.source_encryption().customer_key().cloned();
        CopySource { bucket: self.env.place.bucket.name().to_owned(), key, version_id, customer_key, if_match: None }
    }

    /// Copies what the store copies in one request.
    fn copy_small(&mut self) -> Step<WorkSteps> {
        let most = self.env.vault.account().profile().max_part_size;
        self.rekeying.asked.clear();
        let (mut copies, mut asked) = (Vec::new(), Vec::new());
        for (vid, extent, version) in self.to_copy().filter(|(_, extent, version)| version.copies[*extent].size <= most)
        {
            let key = version.locator.data.extent(extent + 1);
            let mut headers = version.headers(extent, self.clock);
            headers.push(("x-amz-metadata-directive".into(), "REPLACE".into()));
            asked.push(((key.clone(), None), (vid, extent)));
            let (source, encryption) = (self.copy_source(version, extent), version.encryption());
            copies.push(CopyObject { key, source, headers, encryption });
        }
        self.rekeying.asked.extend(asked);
        let copied = |steps: &mut Self, _: &mut Context<'_>, op: &CopyObject, answer: Result<CopyReply>| {
            let Some((vid, extent)) = steps.rekeying.asked.get(&(op.key.clone(), None)).copied() else {
                return Ok(());
            };
            match answer {
                Ok(reply) => {
                    steps.copied(vid, extent, reply.version_id);
                    Ok(())
                }
                Err(e) => steps.copy_refused(vid, e),
            }
        };
        Step::each(copies, COPIES, copied, |steps, _| steps.next_large())
    }

    /// Copies the next extent that the store copies in parts only. An upload that another run left is continued.
    fn next_large(&mut self) -> Step<WorkSteps> {
        let profile = *self.env.vault.account().profile();
        let Some((vid, extent, version)) = self.to_copy().next() else { return self.check_copies() };
        let (key, size) = (version.locator.data.extent(extent + 1), version.copies[extent].size);
        if !profile.part_copy {
            let why =
                "left as it is, since the store copies objects of this size only in parts, and does not have that";
            if let Some(version) = self.rekeying.versions.get_mut(&vid) {
                version.fail(why);
            }
            return self.next_large();
        }
        let part = PART.min(profile.max_part_size).max(size.div_ceil(u64::from(profile.max_parts)));
        let large = Large { vid, extent, key, size, part, upload_id: String::new(), done: Vec::new() };
        let (prefix, plain) = (large.key.clone(), !profile.says_upload_encoding);
        let list = ListMultipartUploads { prefix, plain, ..Default::default() };
        Step::try_call(list, move |steps: &mut Self, _, page| match page {
            Ok(page) => {
                let own = page.uploads.into_iter().filter(|upload| upload.key == large.key);
                match own.max_by_key(|upload| upload.initiated_ms) {
                    Some(upload) => {
                        let (key, upload_id) = (upload.key, upload.upload_id.clone());
                        let list = ListParts { key, upload_id, encryption: steps.new_key(vid), ..Default::default() };
                        steps.list_copied(list, Large { upload_id: upload.upload_id, ..large })
                    }
                    None => steps.create_copy(large),
                }
            }
            // A store that does not list uploads.
            Err(e) if matches!(e.status(), 405 | 501) => steps.create_copy(large),
            Err(e) => Step::done(Err(e)),
        })
    }

    fn new_key(&self, vid: Vid) -> op::Encryption {
        self.rekeying.versions.get(&vid).map(Rekeyed::encryption).unwrap_or_default()
    }

    /// The parts that an upload of another run has.
    fn list_copied(&mut self, list: ListParts, mut large: Large) -> Step<WorkSteps> {
        Step::try_call(list, move |steps: &mut Self, list, page| match page {
            Ok(page) => {
                let next = list.next(&page);
                for part in page.parts {
                    if (1..=large.parts()).contains(&part.number) && large.range(part.number).1 == part.size {
                        large.done.push(CompletedPart { number: part.number, etag: part.etag, crc64nvme: None });
                    }
                }
                match next {
                    Some(next) => steps.list_copied(next, large),
                    None => steps.copy_parts(large),
                }
            }
            // It ended meanwhile, or is not ours.
            Err(e) if matches!(e.status(), 400 | 403 | 404) => steps.create_copy(Large { done: Vec::new(), ..large }),
            Err(e) => Step::done(Err(e)),
        })
    }

    fn create_copy(&mut self, large: Large) -> Step<WorkSteps> {
        let Some(version) = self.rekeying.versions.get(&large.vid) else { return self.next_large() };
        let (headers, encryption) = (version.headers(large.extent, self.clock), version.encryption());
        let create = CreateMultipartUpload { key: large.key.clone(), headers, encryption, checksum: false };
        Step::try_call(create, move |steps: &mut Self, _, answer| match answer {
            Ok(upload_id) => steps.copy_parts(Large { upload_id, ..large }),
            Err(e) => match steps.copy_refused(large.vid, e) {
                Ok(()) => steps.next_large(),
                Err(e) => Step::done(Err(e)),
            },
        })
    }

    fn copy_parts(&mut self, large: Large) -> Step<WorkSteps> {
        let Some(version) = self.rekeying.versions.get(&large.vid) else { return self.next_large() };
        let done: BTreeSet<u32> = large.done.iter().map(|part| part.number).collect();
        let missing = (1..=large.parts()).filter(|number| !done.contains(number));
        let copies: Vec<UploadPartCopy> = missing
            .map(|number| UploadPartCopy {
                key: large.key.clone(),
                upload_id: large.upload_id.clone(),
                number,
                source: self.copy_source(version, large.extent),
                range: Some(large.range(number)),
                encryption: version.encryption(),
            })
            .collect();
        self.parts_copied = large.done.clone();
        let vid = large.vid;
        let copied = move |steps: &mut Self, _: &mut Context<'_>, op: &UploadPartCopy, answer: Result<CopyReply>| {
            match answer {
                Ok(reply) => {
                    let part = CompletedPart { number: op.number, etag: reply.etag, crc64nvme: None };
                    steps.parts_copied.push(part);
                    Ok(())
                }
                // Another run has completed the upload, or the version was removed: the copy tells.
                Err(e) if e.status() == 404 => Ok(()),
                Err(e) => steps.copy_refused(vid, e),
            }
        };
        Step::each(copies, COPIES, copied, move |steps, _| {
            let mut parts = std::mem::take(&mut steps.parts_copied);
            parts.sort_by_key(|part| part.number);
            if steps.rekeying.versions.get(&vid).is_none_or(|version| version.problem.is_some()) {
                return steps.next_large();
            }
            if parts.len() < large.parts() as usize {
                return steps.look_at_copy(large);
            }
            let (key, upload_id, size) = (large.key.clone(), large.upload_id.clone(), large.size);
            let (crc64nvme, encryption) = (None, steps.new_key(vid));
            let complete = CompleteMultipartUpload { key, upload_id, parts, crc64nvme, size, encryption };
            Step::try_call(complete, move |steps: &mut Self, _, answer: Result<CompletedUpload>| match answer {
                Ok(reply) => {
                    steps.copied(large.vid, large.extent, reply.version_id);
                    steps.next_large()
                }
                Err(e) if e.status() == 404 => steps.look_at_copy(large),
                Err(e) => match steps.copy_refused(large.vid, e) {
                    Ok(()) => steps.next_large(),
                    Err(e) => Step::done(Err(e)),
                },
            })
        })
    }

    /// The upload is gone: another run may have completed it.
    fn look_at_copy(&mut self, large: Large) -> Step<WorkSteps> {
        let (key, encryption) = (large.key.clone(), self.new_key(large.vid));
        let head = HeadObject { key, version_id: None, encryption, without_checksums: true };
        Step::try_call(head, move |steps: &mut Self, _, answer| {
            let Some(version) = steps.rekeying.versions.get_mut(&large.vid) else { return steps.next_large() };
            match answer {
                Ok(found) if version.is_of(large.extent, &found) => {
                    steps.copied(large.vid, large.extent, found.version_id);
                }
                Err(e) if e.status() == 0 => return Step::done(Err(e)),
                _ => {
                    version.fail("left as it is: the upload of its copy, or its data, was removed meanwhile");
                    return steps.abort_copy(large);
                }
            }
            steps.next_large()
        })
    }

    /// Aborts an upload that cannot be completed: no later run continues it if the version was removed.
    fn abort_copy(&mut self, large: Large) -> Step<WorkSteps> {
        let abort = AbortMultipartUpload { key: large.key, upload_id: large.upload_id };
        Step::try_call(abort, |steps: &mut Self, _, answer| match answer {
            Err(e) if e.status() == 0 => Step::done(Err(e)),
            _ => steps.next_large(),
        })
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
            steps.bad_copies.extend(copies);
            Ok(())
        };
        Step::each_asking(checks, CHECKS, checked, |steps, _| {
            if steps.bad_copies.is_empty() {
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
                    steps.bad_copies.retain(|copy| own_vid(&copy.key) != Some(locator.vid));
                }
            }
            if let Some(next) = call.op().next(&page) {
                return Self::delete_bad_copies(next);
            }
            let bad = std::mem::take(&mut steps.bad_copies);
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
                    let why = "its data was copied under a new data key, and verified";
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
        self.rekeyed_key(self.current_kek()?, &name, Vid::new(0, [0; 10]), 0)?;
        if self.account().profile().sse_c_copy {
            return Ok(());
        }
        let why = "the store does not copy objects that are encrypted with customer keys (SSE-C)";
        Err(Error::new(Code::Unsupported, why)
            .with_hint("Store the backups again: new versions have new data keys. Then delete the old ones."))
    }
}
