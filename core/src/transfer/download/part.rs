//! A part that is being read: which of its slices came, and what they were.

use super::slices::count;
use crate::checksum::{Digest, merge};
use crate::http::Range;
use crate::mutation::{Mutation, is_active};
use crate::transfer::extent::PartHash;

/// What a part is, once all of its slices came.
pub(super) enum Verdict {
    /// Its hashes are the manifest's.
    Right,
    /// They are not; says what is wrong.
    Wrong(&'static str),
}

/// A slice that came.
#[derive(Clone)]
struct Came {
    range: Range,
    digest: Digest,
    /// It was delivered before its part was verified.
    delivered: bool,
}

/// A part with slices under way.
pub(super) struct Part {
    slice: u64,
    /// Of its slices; `None` where one did not come.
    slices: Vec<Option<Came>>,
    missing: usize,
    /// How often it was read whole.
    pub(super) readings: u32,
    /// A slice came in another length.
    other_length: bool,
}

impl Part {
    pub(super) fn new(length: u64, slice: u64) -> Part {
        let slices = vec![None; count(length, slice) as usize];
        Part { slice, missing: slices.len(), slices, readings: 0, other_length: false }
    }

    /// A slice came. The verdict, where it was the last.
    pub(super) fn take(
        &mut self,
        hash: &PartHash,
        begin: u64,
        range: Range,
        length: u64,
        digest: Digest,
    ) -> Option<Verdict> {
        let place = self.slices.get_mut(((range.offset - begin) / self.slice) as usize)?;
        if place.replace(Came { range, digest, delivered: false }).is_none() {
            self.missing -= 1;
        }
        self.other_length |= length != range.length;
        (self.missing == 0).then(|| self.verdict(hash))
    }

    fn verdict(&self, hash: &PartHash) -> Verdict {
        if self.other_length {
            return Verdict::Wrong("its length is not the manifest's");
        }
        let digests: Vec<Digest> = self.slices.iter().flatten().map(|came| came.digest).collect();
        match merge(&digests, self.slice, hash.length) {
            Some(digest) if hash.matches(hash.length, &digest) || is_active(Mutation::SkipPartVerification) => {
                Verdict::Right
            }
            _ => Verdict::Wrong("its hashes are not the manifest's"),
        }
    }

    /// The slices that came and were not delivered.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Range> {
        self.slices.iter().flatten().filter(|came| !came.delivered).map(|came| came.range)
    }

    /// This slice is delivered before its part is verified.
    pub(super) fn deliver(&mut self, range: Range) {
        if let Some(came) = self.slices.iter_mut().flatten().find(|came| came.range.index == range.index) {
            came.delivered = true;
        }
    }

    pub(super) fn any_delivered(&self) -> bool {
        self.slices.iter().flatten().any(|came| came.delivered)
    }

    /// Forgets what came, for another reading.
    pub(super) fn forget(&mut self) {
        self.missing = self.slices.len();
        self.slices.fill(None);
        self.other_length = false;
        self.readings += 1;
    }
}
