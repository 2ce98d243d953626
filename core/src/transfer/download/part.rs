//! A part that is being read: the slices that arrived, and their digests. Of a part in segments, whose slices are no
//! subtrees of its BLAKE3, only the CRC64NVME is compared.

use super::Piece;
use super::slices::count;
use crate::checksum::{Crc, Digest, combine_all, merge};
use crate::http::Range;
use crate::mutation::{Mutation, is_active};

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
    pub(super) fn new(piece: &Piece, slice: u64) -> Part {
        let slices = vec![None; count(piece.length, slice) as usize];
        Part { slice, missing: slices.len(), slices, readings: 0, other_length: false }
    }

    /// Adds a slice that arrived. Returns the verdict if it was the last one.
    pub(super) fn take(&mut self, piece: &Piece, range: Range, length: u64, digest: Digest) -> Option<Verdict> {
        let place = self.slices.get_mut(((range.offset - piece.offset) / self.slice) as usize)?;
        if place.replace(Arrived { range, digest, delivered: false }).is_none() {
            self.missing -= 1;
        }
        self.other_length |= length != range.stored;
        (self.missing == 0).then(|| self.verdict(piece))
    }

    fn verdict(&self, piece: &Piece) -> Verdict {
        if self.other_length {
            return Verdict::Wrong("its length differs from the manifest");
        }
        let arrived = self.slices.iter().flatten();
        let (hash, digests) = (&piece.hash, arrived.clone().map(|arrived| arrived.digest));
        let is_right = if piece.form.is_plain() || self.slices.len() == 1 {
            let digests: Vec<Digest> = digests.collect();
            merge(&digests, self.slice, piece.length).is_some_and(|digest| hash.matches(hash.length, &digest))
        } else {
            let crcs = arrived.map(|arrived| (arrived.digest.crc64nvme, arrived.range.stored));
            combine_all(Crc::Crc64Nvme, crcs) == hash.crc64nvme
        };
        if is_right || is_active(Mutation::SkipPartVerification) {
            Verdict::Right
        } else {
            Verdict::Wrong("its hashes differ from the manifest")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{Digester, SliceHash, digest};
    use crate::op::Encryption;
    use crate::transfer::extent::PartHash;
    use crate::transfer::stored_form::StoredForm;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SLICE: u64 = 1024;

    #[test]
    fn a_part_is_judged_when_each_of_its_slices_arrived_with_its_length() {
        let data = vec![7; 2 * SLICE as usize];
        let (length, form, encryption) = (2 * SLICE, StoredForm::PLAIN, Encryption::default());
        let hash = PartHash::new(length, &digest(&data));
        let (number, start, offset) = (0, 0, 0);
        let (key, version_id, verified) = ("k".to_owned(), None, true);
        let object = length;
        let piece = Piece {
            number,
            key,
            version_id,
            etag: None,
            encryption,
            start,
            object,
            offset,
            length,
            hash,
            form,
            verified,
        };
        let slice = |index: u32| {
            let start = u64::from(index) * SLICE;
            let hash = SliceHash::Subtree(start);
            let mut digester = Digester::of(hash);
            digester.update(&data[start as usize..][..SLICE as usize]);
            let whole = Range::of_part(0, 0, SLICE);
            (Range { index, offset: start, hash, ..whole }, digester.finish())
        };
        let mut part = Part::new(&piece, SLICE);
        let mut take = |index: u32, length: u64| {
            let (range, digest) = slice(index);
            match part.take(&piece, range, length, digest) {
                None => "more",
                Some(Verdict::Right) => "right",
                Some(Verdict::Wrong(why)) => {
                    part.restart();
                    why
                }
            }
        };
        let short = "its length differs from the manifest";
        assert_eq!([take(0, SLICE - 1), take(1, SLICE)], ["more", short], "the first was short");
        assert_eq!([take(0, SLICE), take(1, SLICE + 1)], ["more", short], "read again, the second was long");
        assert_eq!([take(0, SLICE), take(0, SLICE), take(1, SLICE)], ["more", "more", "right"]);
    }
}
