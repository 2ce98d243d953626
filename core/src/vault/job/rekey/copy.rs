//! The copies of a re-keying: those that are there, those that the store makes in one request or in parts, and how a large
//! object is completed, whether the store copied its parts or they passed through this machine ([`through`](super::through)).

use std::collections::BTreeSet;

use super::super::work::{WIDTH, WorkSteps};
use super::through::PIECE;
use super::{COPIES, Rekeyed};
use crate::error::{Code, Error, Result};
use crate::op;
use crate::op::{
    AbortMultipartUpload, CompleteMultipartUpload, CompletedPart, CompletedUpload, Context, CopyObject, CopyReply,
    CopySource, CreateMultipartUpload, HeadObject, HeadReply, ListMultipartUploads, ListParts, Paged, Step,
    UploadPartCopy, answer_of,
};
use crate::vault::Vid;

/// Length of the parts in which the store copies a large object, in bytes, if it allows that.
const PART: u64 = 1 << 30;

/// An object that is copied in parts.
#[derive(Clone)]
pub(super) struct Large {
    pub(super) vid: Vid,
    pub(super) extent: usize,
    pub(super) key: String,
    size: u64,
    part: u64,
    pub(super) upload_id: String,
    pub(super) done: Vec<CompletedPart>,
    /// Its parts pass through this machine.
    is_sent: bool,
}

impl Large {
    /// Offset and length of a part, numbered from 1.
    pub(super) fn range(&self, number: u32) -> (u64, u64) {
        let start = u64::from(number - 1) * self.part;
        (start, self.part.min(self.size.saturating_sub(start)))
    }

    fn parts(&self) -> u32 {
        u32::try_from(self.size.div_ceil(self.part)).unwrap_or(u32::MAX)
    }

    /// Numbers of the parts that the upload does not have.
    pub(super) fn missing(&self) -> Vec<u32> {
        let done: BTreeSet<u32> = self.done.iter().map(|part| part.number).collect();
        (1..=self.parts()).filter(|number| !done.contains(number)).collect()
    }
}

impl WorkSteps {
    /// Looks which copies are there: another run may have made them.
    pub(super) fn look_at_copies(&mut self) -> Step<WorkSteps> {
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
    pub(super) fn copied(&mut self, vid: Vid, extent: usize, version_id: Option<String>) {
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

    /// A request for the copy was refused: `what` failed. What the store says of one version does not stop the others.
    pub(super) fn refused(&mut self, vid: Vid, what: &str, e: Error) -> Result<()> {
        if e.status() == 0 || e.code() == Code::Unavailable {
            return Err(e);
        }
        if let Some(version) = self.rekeying.versions.get_mut(&vid) {
            version.fail(format!("left as it is, since {what}: {}", e.message()));
        }
        Ok(())
    }

    /// The store did not copy. If it cannot, that is remembered for all versions, and the data is still to be copied.
    fn copy_refused(&mut self, vid: Vid, e: Error) -> Result<()> {
        if e.status() == 501 || e.s3_code() == "NotImplemented" {
            self.env.refused_copy.get_or_init(|| answer_of(&e));
            return Ok(());
        }
        self.refused(vid, "the store did not copy its data", e)
    }

    /// Why the store cannot copy an object of this size; `None` if it can, as far as is known.
    pub(super) fn why_not_copied(&self, size: u64) -> Option<String> {
        let profile = self.env.vault.account().profile();
        let why = "the store does not copy what it encrypts with customer keys (SSE-C)";
        match self.env.refused_copy.get() {
            Some(answer) => Some(format!("{why}: it answered {answer}")),
            None if !profile.sse_c_copy => Some(why.to_owned()),
            None if size > profile.max_part_size && !profile.part_copy => {
                Some("the store copies objects of this size only in parts, and does not have that".to_owned())
            }
            None => None,
        }
    }

    /// The extents that have to be copied.
    pub(super) fn to_copy(&self) -> impl Iterator<Item = (Vid, usize, &Rekeyed)> {
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
        let is_small = |size: u64| size <= most && self.why_not_copied(size).is_none();
        for (vid, extent, version) in
            self.to_copy().filter(|(_, extent, version)| is_small(version.copies[*extent].size))
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
        Step::each(copies, COPIES, copied, |steps, _| steps.send_small())
    }

    /// Copies the next extent that is copied in parts only. An upload that another run left is continued.
    pub(super) fn next_large(&mut self) -> Step<WorkSteps> {
        let profile = *self.env.vault.account().profile();
        let Some((vid, extent, version)) = self.to_copy().next() else { return self.check_copies() };
        let (key, size) = (version.locator.data.extent(extent + 1), version.copies[extent].size);
        let why = self.why_not_copied(size);
        if let Some(why) = why.as_ref().filter(|_| !self.may_send()) {
            let why = version.why_not_sent(why);
            if let Some(version) = self.rekeying.versions.get_mut(&vid) {
                version.fail(why);
            }
            return self.next_large();
        }
        let is_sent = why.is_some();
        let longest = if is_sent { PIECE } else { PART };
        let part = longest.min(profile.max_part_size).max(size.div_ceil(u64::from(profile.max_parts)));
        let large = Large { vid, extent, key, size, part, upload_id: String::new(), done: Vec::new(), is_sent };
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

    pub(super) fn new_key(&self, vid: Vid) -> op::Encryption {
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
                    None => steps.make_parts(large),
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
            Ok(upload_id) => steps.make_parts(Large { upload_id, ..large }),
            Err(e) => match steps.refused(large.vid, "the store did not start the upload of its copy", e) {
                Ok(()) => steps.next_large(),
                Err(e) => Step::done(Err(e)),
            },
        })
    }

    fn make_parts(&mut self, large: Large) -> Step<WorkSteps> {
        match large.missing() {
            missing if missing.is_empty() => self.complete_copy(large),
            missing if large.is_sent => self.send_parts(large, missing),
            missing => self.copy_parts(large, missing),
        }
    }

    fn copy_parts(&mut self, large: Large, missing: Vec<u32>) -> Step<WorkSteps> {
        let Some(version) = self.rekeying.versions.get(&large.vid) else { return self.next_large() };
        let copies: Vec<UploadPartCopy> = missing
            .into_iter()
            .map(|number| UploadPartCopy {
                key: large.key.clone(),
                upload_id: large.upload_id.clone(),
                number,
                source: self.copy_source(version, large.extent),
                range: Some(large.range(number)),
                encryption: version.encryption(),
            })
            .collect();
        let vid = large.vid;
        let copied = move |steps: &mut Self, _: &mut Context<'_>, op: &UploadPartCopy, answer: Result<CopyReply>| {
            match answer {
                Ok(reply) => {
                    let part = CompletedPart { number: op.number, etag: reply.etag, crc64nvme: None };
                    steps.rekeying.parts_copied.push(part);
                    Ok(())
                }
                // Another run has completed the upload, or the version was removed: the copy tells.
                Err(e) if e.status() == 404 => Ok(()),
                Err(e) => steps.copy_refused(vid, e),
            }
        };
        Step::each(copies, COPIES, copied, move |steps, _| steps.parts_made(large))
    }

    /// The answers for the parts that were missing are there, or for some of them.
    pub(super) fn parts_made(&mut self, mut large: Large) -> Step<WorkSteps> {
        let made = std::mem::take(&mut self.rekeying.parts_copied);
        if self.rekeying.versions.get(&large.vid).is_none_or(|version| version.problem.is_some()) {
            return self.next_large();
        }
        // The store refused to copy: the same upload continues with parts that pass through this machine.
        if !large.is_sent && self.why_not_copied(large.size).is_some() {
            return self.next_large();
        }
        if made.is_empty() {
            return self.look_at_copy(large);
        }
        large.done.extend(made);
        self.make_parts(large)
    }

    /// All parts are there.
    fn complete_copy(&mut self, large: Large) -> Step<WorkSteps> {
        let mut parts = large.done.clone();
        parts.sort_by_key(|part| part.number);
        let (key, upload_id, size) = (large.key.clone(), large.upload_id.clone(), large.size);
        let (crc64nvme, encryption) = (None, self.new_key(large.vid));
        let complete = CompleteMultipartUpload { key, upload_id, parts, crc64nvme, size, encryption };
        Step::try_call(complete, move |steps: &mut Self, _, answer: Result<CompletedUpload>| match answer {
            Ok(reply) => {
                steps.copied(large.vid, large.extent, reply.version_id);
                steps.next_large()
            }
            Err(e) if e.status() == 404 => steps.look_at_copy(large),
            Err(e) => match steps.refused(large.vid, "the store did not complete its copy", e) {
                Ok(()) => steps.next_large(),
                Err(e) => Step::done(Err(e)),
            },
        })
    }

    /// The upload is gone: another run may have completed it.
    pub(super) fn look_at_copy(&mut self, large: Large) -> Step<WorkSteps> {
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
}
