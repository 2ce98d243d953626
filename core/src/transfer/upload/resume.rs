//! What the store has of an upload: ListParts takes precedence over the checkpoint and over UploadPart's answers.

use std::collections::BTreeMap;

use super::abandon::cannot_complete;
use super::{Completion, LastPart, Object, State, Upload};
use crate::SourceStart;
use crate::checksum::crc_text;
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, ListParts, ListedPart, PartListing, Session};
use crate::text::presentable;
use crate::transfer::checkpoint::{Finished, OpenUpload, length_of};
use crate::transfer::plan::Plan;

impl Upload {
    /// Resumes the upload of a checkpoint, of which the store listed these parts.
    pub(crate) fn resume(
        object: Object,
        plan: Plan,
        mut open: OpenUpload,
        listed: Option<&BTreeMap<u32, Listed>>,
    ) -> Upload {
        let first = open.first;
        if let Some(listed) = listed.filter(|_| !is_active(Mutation::TrustCheckpointOverList)) {
            // The listing takes precedence: a part that is missing or differs in the store is sent again.
            open.parts.retain(|number, part| {
                let Some(found) = listed.get(&(number - first + 1)).filter(|found| found.matches(part)) else {
                    return false;
                };
                part.etag.clone_from(&found.etag);
                true
            });
        }
        if is_active(Mutation::ResendStoredParts) {
            open.parts.clear();
        }
        let contiguous = (first..).take_while(|number| open.parts.contains_key(number)).count() as u32;
        let is_whole = |last: u32| last < first + contiguous || is_active(Mutation::BelieveCompleteWithoutParts);
        let complete_last = open.complete.filter(|(last, _)| is_whole(*last));
        if plan.is_stream() && complete_last.is_none() {
            // A stream resumes at the first gap: parts after it are written again. So is a short part, which was meant
            // to be the last.
            open.parts.split_off(&(first + contiguous));
            let least = plan.min_length(u64::MAX);
            if let Some(short) = open.parts.iter().find(|(_, part)| part.length < least).map(|(number, _)| *number) {
                open.parts.split_off(&short);
            }
        }
        let state = State::Sending { upload_id: open.upload_id };
        let mut upload = Upload {
            finished: open.parts,
            last: complete_last.map(|(number, ends_source)| LastPart { number, ends_source }),
            // What came of a Complete that an earlier process may have sent is not known.
            completion: if open.complete.is_some() { Completion::InDoubt } else { Completion::NotSent },
            ..Upload::at((first, open.offset), object, plan, state, open.signed)
        };
        upload.skip_finished();
        upload
    }

    /// The upload of a checkpoint is gone. Complete was sent before, so its object may exist.
    pub(crate) fn settle(session: &Session, object: Object, plan: Plan, open: OpenUpload, why: Error) -> Upload {
        let mut upload = Upload::resume(object, plan, open, None);
        if let State::Sending { upload_id } = &upload.state {
            let complete = Call::new(upload.complete(session, upload_id));
            upload.state = State::Settle(upload.settle_sent(), complete, why.recode(Code::Abandoned));
        }
        upload
    }

    /// Where the source starts.
    pub(crate) fn source_start(&self) -> SourceStart {
        SourceStart {
            offset: self.next.1,
            ended: self.plan.is_stream() && self.last.is_some_and(|last| last.ends_source),
            stored: self.start + length_of(self.finished.values()),
        }
    }

    /// Skips the parts that the store has, to the next one to request.
    pub(super) fn skip_finished(&mut self) {
        while let Some(part) = self.finished.get(&self.next.0) {
            let (number, end) = (self.next.0, self.next.1 + part.length);
            self.next = (number + 1, end);
            if self.last.is_none() && self.plan.ends_at(end) {
                self.last = Some(LastPart { number, ends_source: true });
            } else if self.last.is_none() && self.plan.fills_extent(self.first, number, self.start, end) {
                self.last = Some(LastPart { number, ends_source: false });
            }
        }
    }

    /// Adopts a page of the parts' listing: a part with the size and checksum that were sent keeps its place under the
    /// ETag that it has now. Any other part of a file, and one that is not listed, is sent again; a stream's bytes can
    /// no longer be read. If the store may have started to assemble the parts, the upload is abandoned.
    pub(super) fn update_from_listing(&mut self, asked: &ListParts, page: &PartListing) -> Result<()> {
        let number = |listed: u32| self.first.saturating_add(listed - 1);
        let found: BTreeMap<u32, Listed> =
            page.parts.iter().map(|listed| (number(listed.number), Listed::from(listed))).collect();
        // The range of part numbers that this page covers.
        let covered = number(asked.marker.saturating_add(1))..=page.next.map_or(u32::MAX, number);
        let sent: Vec<u32> = self.finished.keys().copied().filter(|number| covered.contains(number)).collect();
        let before = self.finished.range(..covered.start()).map(|(_, part)| part);
        let mut offset = self.start + length_of(before) + length_of(self.resend.iter().map(|(.., part)| part));
        for number in sent {
            let Some(part) = self.finished.get_mut(&number) else { continue };
            let start = offset;
            offset += part.length;
            let listed = found.get(&number);
            if let Some(listed) = listed.filter(|listed| listed.matches(part)) {
                if !is_active(Mutation::KeepOutdatedEtag) {
                    part.etag.clone_from(&listed.etag);
                }
                continue;
            }
            let own = number - self.first + 1;
            if self.completion >= Completion::InDoubt {
                return Err(cannot_complete(part_differs(own, &self.object.key, part, listed)));
            }
            if self.plan.is_stream() {
                return Err(part_differs(own, &self.object.key, part, listed)
                    .with_hint("Store the backup again from the start."));
            }
            if let Some(part) = self.finished.remove(&number) {
                self.resend.push_back((number, start, part));
            }
        }
        Ok(())
    }
}

/// The error about the first part of an upload that is missing or differs in the store.
pub(crate) fn first_missing_part(open: &OpenUpload, listed: &BTreeMap<u32, Listed>) -> Option<Error> {
    open.parts.iter().find_map(|(number, part)| {
        let own = number - open.first + 1;
        let found = listed.get(&own);
        let is_there = found.is_some_and(|found| found.matches(part));
        (!is_there).then(|| part_differs(own, &open.key, part, found))
    })
}

/// The error about a part that is missing or differs in the store.
fn part_differs(number: u32, key: &str, sent: &Finished, listed: Option<&Listed>) -> Error {
    let Some(listed) = listed else {
        let why = format!("part {number} of {key} was stored, but the store no longer has it");
        return Error::new(Code::DataMissing, why);
    };
    let why = format!(
        "part {number} of {key} differs in the store from what was sent: the store lists {} bytes with CRC64NVME {}, and {} bytes with CRC64NVME {} were sent",
        listed.size,
        presentable(listed.crc64nvme.as_deref().unwrap_or("unknown")),
        sent.stored,
        crc_text(sent.digest.crc64nvme)
    );
    Error::new(Code::Damaged, why)
}

/// A part in the store's listing.
pub(crate) struct Listed {
    size: u64,
    crc64nvme: Option<String>,
    etag: String,
}

impl From<&ListedPart> for Listed {
    fn from(part: &ListedPart) -> Listed {
        Listed { size: part.size, crc64nvme: part.crc64nvme.clone(), etag: part.etag.clone() }
    }
}

impl Listed {
    /// Whether the store has the bytes that were sent, as far as the listing tells.
    fn matches(&self, part: &Finished) -> bool {
        let is_same = self.crc64nvme.as_deref().is_none_or(|crc| crc == crc_text(part.digest.crc64nvme));
        self.size == part.stored && is_same
    }
}
