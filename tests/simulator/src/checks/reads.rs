//! Reads: what is requested, delivered, and reported.

use s3vault_core::http::Range;
use s3vault_core::transfer::Delivery;
use s3vault_core::{Code, Error};

use super::{MOST_READ, wrong};
use crate::content::Content;
use crate::coverage::Probe;
use crate::task::{How, Job};
use crate::world::World;

impl World {
    pub(crate) fn accept(&mut self, number: usize, range: Range) {
        let task = &mut self.tasks[number];
        let Some(content) = task.ranges.get(&(range.index, range.reading)).cloned() else {
            return self.violate(format!("task {number} is to deliver range {}, which never came", range.index));
        };
        let (delivery, source) = (task.delivery, task.job.source());
        if content.length() != range.stored || task.accepted.contains_key(&range.offset) {
            return self.violate(format!("task {number} is to deliver range {} twice, or not all of it", range.index));
        }
        task.accepted.insert(range.offset, content.clone());
        task.ranges.remove(&(range.index, range.reading));
        task.marks.insert(range.part);
        // In order they are delivered before their part is verified, except its end.
        let is_open = delivery == Delivery::InOrder || delivery == Delivery::Unverified && self.may_be_wrong(number);
        if !is_open && let Some(why) = wrong(&content, source, range.offset, range.length) {
            self.violate(format!("wrong bytes are delivered as verified: {why}"));
        }
    }

    /// A driver of a reader holds no more slices than those under way, except a part that waits to be verified.
    pub(super) fn check_reader(&mut self, number: usize, range: Range) {
        if range.reading > 0 {
            self.hit(Probe::ReadAgain);
        }
        let task = &mut self.tasks[number];
        let is_first = task.in_hand.insert(range.index, range.length).is_none();
        task.asked += u64::from(is_first || range.reading > 0);
        if task.how() == Some(How::File) && task.there.contains(&range.part) {
            return self.violate(format!("task {number} reads part {} again, which is there", range.part + 1));
        }
        // What is written where it belongs is held by nobody.
        let held: u64 = task.in_hand.values().sum();
        if task.delivery != Delivery::ByPosition && held > MOST_READ {
            self.violate(format!("task {number} has {held} bytes of ranges in hand"));
        }
    }

    /// A read failed: it must not report damage that was not injected.
    pub(crate) fn check_read_failed(&mut self, number: usize, e: &Error) {
        self.log(|| format!("{number} could not read: {e}"));
        let is_damage =
            matches!(e.code(), Code::Damaged | Code::DataMissing | Code::NotFound | Code::Internal | Code::Untrusted);
        let is_removed = matches!(&self.tasks[number].job, Job::Read { vid, .. } if self.removed.contains(vid));
        if is_damage && self.may_be_wrong(number) {
            self.hit(Probe::DamageNoticed);
        } else if is_removed && e.code() == Code::NotFound {
            self.hit(Probe::FoundNothing);
        } else if is_damage {
            self.violate(format!("task {number} finds damage that nobody did: {e:?}"));
        }
        let is_stopped = matches!(e.code(), Code::Cancelled | Code::Suspended);
        if is_stopped && !self.tasks[number].cancelled && !self.tasks[number].suspended {
            self.violate(format!("task {number} ends with {e:?}, and nobody gave a reason"));
        }
    }

    /// A read succeeded: it must have delivered all of the stored data and nothing else.
    pub(crate) fn check_read(&mut self, number: usize) {
        let task = &self.tasks[number];
        let size = task.found.as_ref().map_or(0, |found| found.manifest.size);
        let whole = Content::concat(task.accepted.values());
        if let Some(why) = wrong(&whole, task.job.source(), 0, size) {
            return self.violate(format!("a reading ends well with wrong bytes: {why}"));
        }
        self.log(|| format!("{number} has read all"));
    }
}
