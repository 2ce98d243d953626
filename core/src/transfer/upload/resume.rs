//! What the store has of an upload: ListParts is believed over the checkpoint, and over what UploadPart answered.

use std::collections::BTreeMap;

use super::give_up::never_complete;
use super::settle::Settle;
use super::{Object, State, Upload};
use crate::checksum::crc_text;
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, ListParts, ListedPart, PartListing};
use crate::transfer::checkpoint::{Finished, OpenUpload, length_of};
use crate::transfer::plan::Plan;

impl Upload {
    /// Goes on with the upload of a checkpoint, of which the store has listed these parts.
    pub(crate) fn resume(
        object: Object,
        plan: Plan,
        mut open: OpenUpload,
        listed: Option<&BTreeMap<u32, Listed>>,
    ) -> Upload {
        let first = open.first;
        if let Some(listed) = listed.filter(|_| !is_active(Mutation::TrustCheckpointOverList)) {
            // What the store lists is believed: a part that it has not, or has otherwise, is sent again.
            open.parts.retain(|number, part| {
                let Some(found) = listed.get(&(number - first + 1)).filter(|found| found.is(part)) else {
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
        let whole = open.complete.filter(|(last, _)| *last < first + contiguous);
        if plan.is_stream() && whole.is_none() {
            // Where the stream goes on: what is behind a gap is written once more. A short part was to be the last.
            open.parts.split_off(&(first + contiguous));
            let least = plan.least(u64::MAX);
            if let Some(short) = open.parts.iter().find(|(_, part)| part.length < least).map(|(number, _)| *number) {
                open.parts.split_off(&short);
            }
        }
        let state = State::Sending { upload_id: open.upload_id };
        let mut upload = Upload {
            finished: open.parts,
            last: whole.map(|(last, _)| last),
            more: whole.is_some_and(|(_, ended)| !ended),
            sealed: whole.is_some(),
            completing: open.complete.is_some(),
            doubtful: open.complete.is_some(),
            ..Upload::at((first, open.offset), object, plan, state, open.signed)
        };
        upload.skip_finished();
        upload
    }

    /// The upload of a checkpoint is gone: Complete was sent before, so its object may be there.
    pub(crate) fn settle(object: Object, plan: Plan, open: OpenUpload, why: Error) -> Upload {
        let mut upload = Upload::resume(object, plan, open, None);
        if let State::Sending { upload_id } = &upload.state {
            let complete = Call::new(upload.complete(upload_id));
            upload.state = State::Settle(Settle::new(&upload.object.key), complete, why.recode(Code::GivenUp));
        }
        upload
    }

    /// Where the source goes on.
    pub(crate) fn goes_on(&self) -> GoesOn {
        GoesOn {
            offset: self.next.1,
            ended: self.plan.is_stream() && self.sealed && !self.more,
            done: self.begin + length_of(self.finished.values()),
        }
    }

    /// Steps over the parts that the store has, to the next one to ask for.
    pub(super) fn skip_finished(&mut self) {
        while let Some(part) = self.finished.get(&self.next.0) {
            let (number, end) = (self.next.0, self.next.1 + part.length);
            self.next = (number + 1, end);
            if self.last.is_none() && self.plan.ends(end) {
                self.last = Some(number);
            } else if self.last.is_none() && self.plan.fills(self.first, number, self.begin, end) {
                (self.last, self.more) = (Some(number), true);
            }
        }
    }

    /// Believes the list: a part with the size and checksum that were sent counts under the ETag that it has now. Of a file
    /// any other part, and one that is not listed, is sent again; a stream's bytes are gone. Where the store may have begun
    /// to put the parts together, the upload is given up.
    pub(super) fn take_etags(&mut self, asked: &ListParts, page: &PartListing) -> Result<()> {
        let number = |listed: u32| self.first.saturating_add(listed - 1);
        let found: BTreeMap<u32, Listed> =
            page.parts.iter().map(|listed| (number(listed.number), Listed::from(listed))).collect();
        // What the page would have if the store had it.
        let covered = number(asked.marker.saturating_add(1))..=page.next.map_or(u32::MAX, number);
        let sent: Vec<u32> = self.finished.keys().copied().filter(|number| covered.contains(number)).collect();
        let before = self.finished.range(..covered.start()).map(|(_, part)| part);
        let mut offset = self.begin + length_of(before) + length_of(self.again.iter().map(|(.., part)| part));
        for number in sent {
            let Some(part) = self.finished.get_mut(&number) else { continue };
            let begin = offset;
            offset += part.length;
            let listed = found.get(&number);
            if let Some(listed) = listed.filter(|listed| listed.is(part)) {
                if !is_active(Mutation::KeepOutdatedEtag) {
                    part.etag.clone_from(&listed.etag);
                }
                continue;
            }
            let own = number - self.first + 1;
            if self.doubtful {
                return Err(never_complete(unlike(own, &self.object.key, part, listed)));
            }
            if self.plan.is_stream() {
                return Err(
                    unlike(own, &self.object.key, part, listed).with_hint("Store the backup again, from its begin.")
                );
            }
            if let Some(part) = self.finished.remove(&number) {
                self.again.push_back((number, begin, part));
            }
        }
        Ok(())
    }
}

/// The first part of an upload that is not in the store as it was sent.
pub(crate) fn unlike_listed(open: &OpenUpload, listed: &BTreeMap<u32, Listed>) -> Option<Error> {
    open.parts.iter().find_map(|(number, part)| {
        let own = number - open.first + 1;
        let found = listed.get(&own);
        let is_there = found.is_some_and(|found| found.is(part));
        (!is_there).then(|| unlike(own, &open.key, part, found))
    })
}

/// A part is not in the store as it was sent.
fn unlike(number: u32, key: &str, sent: &Finished, listed: Option<&Listed>) -> Error {
    let Some(listed) = listed else {
        let why = format!("part {number} of {key} was stored, and the store does not have it any more");
        return Error::new(Code::DataMissing, why);
    };
    let why = format!(
        "part {number} of {key} has other bytes in the store than were sent: {} bytes, CRC64NVME {}, and {} bytes, {}",
        listed.size,
        listed.crc64nvme.as_deref().unwrap_or("unknown"),
        sent.length,
        crc_text(sent.digest.crc64nvme)
    );
    Error::new(Code::Damaged, why)
}

/// Where a source goes on, as [`Output::Begin`] says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GoesOn {
    /// In bytes, from its begin.
    pub(crate) offset: u64,
    /// It was at its end.
    pub(crate) ended: bool,
    /// What the store has of it, in bytes.
    pub(crate) done: u64,
}

impl GoesOn {
    /// All before this byte is stored, and nothing behind it.
    pub(crate) fn at(offset: u64, ended: bool) -> GoesOn {
        GoesOn { offset, ended, done: offset }
    }
}

/// A part as the store lists it.
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
    /// Whether the store has the bytes that were sent, as far as it tells.
    fn is(&self, part: &Finished) -> bool {
        let is_same = self.crc64nvme.as_deref().is_none_or(|crc| crc == crc_text(part.digest.crc64nvme));
        self.size == part.length && is_same
    }
}
