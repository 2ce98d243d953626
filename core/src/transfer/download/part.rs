//! A part that is being read: the slices that arrived, and their digests.

use super::slices::count;
use crate::checksum::{Digest, merge};
use crate::http::Range;
use crate::mutation::{Mutation, is_active};
use crate::transfer::extent::PartHash;

/// The result of verifying a part, once all of its slices arrived.
pub(super) enum Verdict {
    /// Its hashes match the manifest.
    Right,
    /// They do not; says what differs.
    Wrong(&'static str),
}

/// A slice that arrived.
#[derive(Clone)]
struct Arrived {
    range: Range,
    digest: Digest,
    /// It was delivered before its part was verified.
    delivered: bool,
}

/// A part with slices in flight.
pub(super) struct Part {
    slice: u64,
    /// One entry for each slice; `None` if it has not arrived.
    slices: Vec<Option<Arrived>>,
    missing: usize,
    /// How many times it was read completely.
    pub(super) readings: u32,
    /// A slice arrived with another length than requested.
    other_length: bool,
}

impl Part {
    pub(super) fn new(length: u64, slice: u64) -> Part {
        let slices = vec![None; count(length, slice) as usize];
        Part { slice, missing: slices.len(), slices, readings: 0, other_length: false }
    }

    /// Adds a slice that arrived. Returns the verdict if it was the last one.
    pub(super) fn take(
        &mut self,
        hash: &PartHash,
        start: u64,
        range: Range,
        length: u64,
        digest: Digest,
    ) -> Option<Verdict> {
        let place = self.slices.get_mut(((range.offset - start) / self.slice) as usize)?;
        if place.replace(Arrived { range, digest, delivered: false }).is_none() {
            self.missing -= 1;
        }
        self.other_length |= length != range.length;
        (self.missing == 0).then(|| self.verdict(hash))
    }

    fn verdict(&self, hash: &PartHash) -> Verdict {
        if self.other_length {
            return Verdict::Wrong("its length differs from the manifest");
        }
        let digests: Vec<Digest> = self.slices.iter().flatten().map(|arrived| arrived.digest).collect();
        match merge(&digests, self.slice, hash.length) {
            Some(digest) if hash.matches(hash.length, &digest) || is_active(Mutation::SkipPartVerification) => {
                Verdict::Right
            }
            _ => Verdict::Wrong("its hashes differ from the manifest"),
        }
    }

    /// The slices that arrived and were not delivered.
    pub(super) fn undelivered(&self) -> impl Iterator<Item = Range> {
        self.slices.iter().flatten().filter(|arrived| !arrived.delivered).map(|arrived| arrived.range)
    }

    /// Marks a slice as delivered before its part is verified.
    pub(super) fn deliver(&mut self, range: Range) {
        if let Some(arrived) = self.slices.iter_mut().flatten().find(|arrived| arrived.range.index == range.index) {
            arrived.delivered = true;
        }
    }

    pub(super) fn any_delivered(&self) -> bool {
        self.slices.iter().flatten().any(|arrived| arrived.delivered)
    }

    /// Discards what arrived, for another reading.
    pub(super) fn restart(&mut self) {
        self.missing = self.slices.len();
        self.slices.fill(None);
        self.other_length = false;
        self.readings += 1;
    }
}
