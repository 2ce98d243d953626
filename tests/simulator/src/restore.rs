//! Restores into a file that are killed and resume, and reads of some bytes: as a driver does them over core's machines.
//!
//! The file's parts are marked once they were verified. What is left of file and marks after a kill proves nothing: marked
//! parts are read from the file, compared with the manifest, and only then told to the machine as there.

use std::collections::BTreeSet;
use std::ops::Range;

use s3vault_core::checksum::SLICE;
use s3vault_core::transfer::{Delivery, ReadRequest};
use s3vault_core::vault::{Located, Read};
use s3vault_core::{Code, Error, Family};

use crate::content::Content;
use crate::coverage::Probe;
use crate::mode::Mode;
use crate::store;
use crate::task::{How, Job, Machine, Outcome};
use crate::world::{Event, World};

/// How often some bytes are read of a version whose place is known.
const READS: u32 = 3;

impl World {
    /// All puts have ended: every version is restored, with faults.
    pub(crate) fn restore_all(&mut self) {
        for task in 0..self.tasks.len() {
            let (Some(put), Some(Outcome::Stored { vid })) =
                (self.tasks[task].put().cloned(), &self.tasks[task].outcome)
            else {
                continue;
            };
            let how = [How::File, How::File, How::Bytes, How::Stream][self.extra.usize(0..4)];
            if how == How::Stream {
                continue;
            }
            let source = self.tasks[task].source;
            let job = Job::Read { name: put.name, vid: vid.clone(), source, must_succeed: false, how };
            let reader = self.tasks.len();
            let vault = self.vault();
            self.tasks.push(crate::task::Task::new(job, vault, 0));
            self.tasks[reader].of = Some(task);
            let delay = self.extra.u64(0..60_000);
            self.after(delay, Event::Start { task: reader });
        }
    }

    /// The task that restores what this put has stored.
    pub(crate) fn reader_of(&self, put: usize) -> Option<usize> {
        self.tasks.iter().position(|task| task.of == Some(put))
    }

    /// What a restore requests of a version: everything that is missing in its file.
    pub(crate) fn request_rest(&mut self, number: usize) -> ReadRequest {
        let task = &self.tasks[number];
        let Some(found) = &task.found else { return ReadRequest::default() };
        let (mut have, mut missing) = (BTreeSet::new(), 0);
        for (part, place) in (0..).zip(found.manifest.parts()).filter(|(part, _)| task.marks.contains(part)) {
            let (offset, hash) = (place.offset, place.hash);
            let content = Content::concat(task.file.range(offset..offset + place.length).map(|(_, piece)| piece));
            if hash.matches(content.length(), &content.digest()) {
                have.insert(part);
            } else {
                missing += 1;
            }
        }
        self.log(|| format!("{number} restores into a file that has parts {have:?}, and {missing} marks too many"));
        (0..have.len()).for_each(|_| self.hit(Probe::PartKept));
        (0..missing).for_each(|_| self.hit(Probe::MarkWithoutBytes));
        self.tasks[number].there = have.clone();
        ReadRequest { delivery: Delivery::ByPosition, skip: have, ..ReadRequest::default() }
    }

    /// Writes received bytes at their offset.
    pub(crate) fn write(&mut self, number: usize, offset: u64, content: &Content) {
        if self.tasks[number].how() == Some(How::File) {
            self.tasks[number].file.insert(offset, content.clone());
        }
    }

    /// The process of a restore is gone; after a power cut nobody knows what of the file is on the disk.
    pub(crate) fn restore_killed(&mut self, number: usize, power_cut: bool) {
        self.hit(Probe::RestoreKilled);
        if power_cut {
            self.hit(Probe::PowerCut);
            let mut file = std::mem::take(&mut self.tasks[number].file);
            file.retain(|_, content| {
                match self.extra.u32(0..8) {
                    0 => return false,
                    1 => *content = content.slice(0, content.length() / 2),
                    2 => *content = content.flip(0),
                    _ => {}
                }
                true
            });
            let mut marks = std::mem::take(&mut self.tasks[number].marks);
            marks.retain(|_| self.extra.u32(0..4) > 0);
            // A byte of the marks that nobody wrote.
            if self.extra.u32(0..4) == 0 {
                marks.insert(self.extra.u32(0..6));
            }
            (self.tasks[number].file, self.tasks[number].marks) = (file, marks);
        }
        self.restart_restore(number);
    }

    fn restart_restore(&mut self, number: usize) {
        self.tasks[number].die();
        self.tasks[number].accepted.clear();
        self.tasks[number].in_hand.clear();
        if self.tasks[number].how() == Some(How::File) && self.tasks[number].patience > 0 {
            self.tasks[number].patience -= 1;
            self.fresh_vault(number);
            let delay = [1, 1_000, 600_000][self.extra.usize(0..3)];
            self.after(delay, Event::Start { task: number });
        }
    }

    /// A restore failed: its file stays, so that another may resume it.
    pub(crate) fn restore_failed(&mut self, number: usize, e: &Error) {
        if self.tasks[number].how() != Some(How::File) {
            return;
        }
        let passes = matches!(e.code(), Code::Cancelled | Code::TimedOut | Code::Suspended | Code::Unavailable)
            || e.family() == Family::Transport
            || e.is_retryable();
        if !passes || self.tasks[number].marks.is_empty() {
            self.tasks[number].file.clear();
            self.tasks[number].marks.clear();
        }
        if passes {
            self.restart_restore(number);
        }
    }

    /// A restore succeeded: the file must equal the source.
    pub(crate) fn check_restored(&mut self, number: usize) {
        let task = &self.tasks[number];
        let size = task.found.as_ref().map_or(0, |found| found.manifest.size);
        let whole = Content::concat(task.file.values());
        if let Some(why) = crate::checks::wrong(&whole, task.job.source(), 0, size) {
            return self.violate(format!("a restore ends well with wrong bytes in its file: {why}"));
        }
        self.hit(if task.there.is_empty() { Probe::Restored } else { Probe::RestoreResumed });
        self.log(|| format!("{number} has restored all"));
    }

    /// The place of a version is known: some bytes of it are read.
    pub(crate) fn read_bytes(&mut self, number: usize, located: Located) {
        let size = self.tasks[number].found.as_ref().map_or(0, |found| found.manifest.size);
        if size == 0 || self.tasks[number].reads >= READS {
            return;
        }
        self.tasks[number].reads += 1;
        let start = self.extra.u64(0..size);
        let length = [1, 1000, SLICE, 3 * SLICE + 1][self.extra.usize(0..4)].min(size - start);
        let bytes = start..start + length;
        let whole = Delivery::WholeParts { memory: 256 << 20 };
        let delivery = [Delivery::Unverified, Delivery::Unverified, whole, Delivery::InOrder][self.extra.usize(0..4)];
        self.log(|| format!("{number} reads bytes {bytes:?}, {delivery:?}"));
        self.hit(Probe::ReadBytes);
        let (vault, seed) = (self.tasks[number].vault.clone(), self.extra.u64(..));
        let task = &mut self.tasks[number];
        (task.delivery, task.bytes) = (delivery, bytes.clone());
        task.accepted.clear();
        task.ranges.clear();
        task.in_hand.clear();
        let request = ReadRequest { delivery, bytes: Some(bytes), ..ReadRequest::default() };
        task.machine = Some(Machine::Read(Read::located(vault, &located, request, seed)));
        task.located = Some(located);
        self.again_soon(number);
    }

    /// What was wanted came, with the rest of its parts where they are verified, and nothing else.
    pub(crate) fn check_bytes(&mut self, number: usize) {
        let task = &self.tasks[number];
        let Some(found) = &task.found else { return };
        let wanted = task.bytes.clone();
        let overlaps = |part: &Range<u64>| part.start < wanted.end && wanted.start < part.end;
        let parts = found.manifest.parts().map(|part| part.offset..part.offset + part.length).filter(overlaps);
        let (mut start, mut end) = (u64::MAX, 0);
        parts.for_each(|part| (start, end) = (start.min(part.start), end.max(part.end)));
        if task.delivery == Delivery::Unverified {
            (start, end) = (wanted.start, wanted.end);
        }
        let whole = Content::concat(task.accepted.values());
        let is_open = task.delivery == Delivery::Unverified && self.may_be_wrong(number);
        let is_long =
            task.accepted.first_key_value().map(|(at, _)| *at) == Some(start) && whole.length() == end - start;
        match crate::checks::wrong(&whole, task.job.source(), start, end - start) {
            Some(why) if !is_open || !is_long => {
                self.violate(format!("a reading of {wanted:?} ends well with wrong bytes: {why}"));
            }
            _ => {
                let located = self.tasks[number].located.take();
                located.into_iter().for_each(|located| self.read_bytes(number, located));
            }
        }
    }

    /// Whether bytes of a reader changed on their way or in the store.
    pub(crate) fn may_be_wrong(&self, number: usize) -> bool {
        let task = &self.tasks[number];
        task.flipped || matches!(&task.job, Job::Read { vid, .. } if self.spoiled.contains(vid))
    }

    /// The data of a version is damaged, or replaced by another version of the object.
    pub(crate) fn spoil(&mut self, number: usize, is_replaced: bool) {
        let Job::Read { vid, .. } = self.job(number) else { return };
        let mut changed = Vec::new();
        let bucket = store::bucket_mut(&mut self.store);
        for (key, versions) in bucket.objects.iter_mut().filter(|(key, _)| !key.starts_with("_s3vault/")) {
            for version in versions {
                let Some(object) = &mut version.object else { continue };
                if object.attributes.metadata.get("s3vault-vid") != Some(&vid) {
                    continue;
                }
                let length = object.content.length();
                if is_replaced && self.scenario.second.mode == Mode::Native {
                    version.id += "r";
                } else if length > 0 {
                    let at = self.extra.u64(0..length);
                    let (before, after) = (object.content.slice(0, at), object.content.slice(at, length).flip(0));
                    object.content = Content::concat([&before, &after].into_iter());
                }
                changed.push(format!("    a version of {key} changes"));
            }
        }
        for line in changed {
            self.log(|| line);
        }
        self.hit(Probe::Spoiled);
        self.spoiled.insert(vid);
    }
}
