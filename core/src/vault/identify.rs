//! Finds the data of a version whose native version ids are not those of the manifest: a replica, or a bucket that was
//! copied, has other ids. The objects carry the version id of the backup in their metadata.
//!
//! ```text
//!  Versions of the key ──those of its size──▶ Head … ──ours──▶ next extent … ──▶ Done
//! ```
//! What is found is verified by the manifest's hashes when it is read.

use super::read::Located;
use crate::error::{Code, Error, Result};
use crate::op::{HeadObject, HeadReply, ListObjectVersions, Paged, Sequence, Step, Steps, VersionListing};
use crate::text::presentable_key;
use crate::transfer::extent::Extent;

/// The machine that finds the native version ids.
pub(super) type Identify = Sequence<IdentifySteps>;

/// What [`Identify`] knows on its way.
pub struct IdentifySteps {
    located: Located,
    /// Keys of the extents to find, the next one last, and the index of each in the manifest.
    extents: Vec<(String, usize)>,
    /// Version ids of the objects that have the extent's size, the newest last.
    candidates: Vec<String>,
    /// The refusal of the id in the manifest.
    missed: Error,
}

impl Steps for IdentifySteps {
    type Done = Located;
    const WHAT: &'static str = "finding the version's data";
}

/// Whether a range was refused because its version id does not exist: stores answer 404, or 400 for an id that is not in
/// their own form.
pub(super) fn is_miss(e: &Error) -> bool {
    matches!((e.code(), e.status()), (Code::DataMissing, 404) | (Code::Store, 400))
}

impl Identify {
    /// Finds the objects of a version that is not where its manifest says; `missed` says so.
    pub(super) fn new(located: Located, missed: Error, seed: u64) -> Identify {
        let missed = if missed.code() == Code::Store { missed.recode(Code::DataMissing) } else { missed };
        let mut extents: Vec<(String, usize)> = located.keys().collect();
        extents.reverse();
        let bucket = located.bucket().clone();
        let mut steps = IdentifySteps { located, extents, candidates: Vec::new(), missed };
        let first = steps.next_extent();
        Sequence::start(&bucket, steps, first, seed)
    }
}

impl IdentifySteps {
    fn extent(&self) -> Option<(&str, &Extent)> {
        let (key, number) = self.extents.last()?;
        Some((key, self.located.manifest().extents.get(*number)?))
    }

    fn next_extent(&mut self) -> Step<Self> {
        match self.extent() {
            Some((key, _)) => {
                Step::try_call(ListObjectVersions { prefix: key.to_owned(), ..Default::default() }, Self::page)
            }
            None => Step::done(Ok(self.located.clone())),
        }
    }

    fn page(&mut self, asked: &ListObjectVersions, page: Result<VersionListing>) -> Step<Self> {
        let page = match page {
            Ok(page) => page,
            Err(e) => return self.failed(&e),
        };
        let next = asked.next(&page);
        let Some((key, extent)) = self.extent() else { return self.next_extent() };
        let found: Vec<String> = page.ids_of(key, extent.size).collect();
        self.candidates.extend(found);
        match next {
            Some(next) => Step::try_call(next, Self::page),
            None => {
                // The listing has the newest first, and `pop` takes the last.
                self.candidates.reverse();
                self.next_candidate()
            }
        }
    }

    fn next_candidate(&mut self) -> Step<Self> {
        let version_id = self.candidates.pop();
        let Some((key, _)) = self.extent() else { return self.next_extent() };
        if version_id.is_none() {
            let (key, vid) = (presentable_key(key), &self.located.manifest().vid);
            let why = format!("; and no other version of {key} has s3vault-vid {vid} in its metadata");
            return Step::done(Err(self.missed.clone().append(&why)));
        }
        let key = key.to_owned();
        let encryption = self.located.encryption();
        let head = HeadObject { key, version_id, encryption, without_checksums: true };
        Step::try_call(head, Self::seen)
    }

    fn seen(&mut self, op: &HeadObject, answer: Result<HeadReply>) -> Step<Self> {
        match answer {
            Ok(found) if self.is_ours(&found) => {
                self.located.set_version_id(&op.key, op.version_id.as_deref());
                self.extents.pop();
                self.candidates.clear();
                self.next_extent()
            }
            Ok(_) => self.next_candidate(),
            Err(e) if e.code() == Code::WrongKey || matches!(e.status(), 400 | 403 | 404) => self.next_candidate(),
            Err(e) => self.failed(&e),
        }
    }

    fn is_ours(&self, found: &HeadReply) -> bool {
        let Some((_, extent)) = self.extent() else { return false };
        found.size == Some(extent.size)
            && found.meta("s3vault-vid") == Some(&*self.located.manifest().vid)
            && found.whole_crc64nvme().is_none_or(|crc| extent.crc64nvme.is_none_or(|own| own == crc))
    }

    fn failed(&self, e: &Error) -> Step<Self> {
        Step::done(Err(self.missed.clone().and_then_failed("looking for it under another version id", e)))
    }
}
