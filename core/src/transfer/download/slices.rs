//! What a download asks for: the slices of its pieces, in the order of their bytes.

use super::Piece;
use crate::checksum::SliceHash;
use crate::http::Range;

/// How many slices a piece of this length has; an empty one has one, since it is an object to be asked for.
pub(super) fn count(length: u64, slice: u64) -> u64 {
    length.div_ceil(slice).max(1)
}

/// Goes through the slices of pieces.
pub(super) struct Slices {
    slice: u64,
    /// The piece of the next slice, and the slice's number in it.
    piece: usize,
    nth: u64,
    index: u32,
}

impl Slices {
    pub(super) fn new(slice: u64) -> Slices {
        Slices { slice, piece: 0, nth: 0, index: 0 }
    }

    pub(super) fn is_over(&self, pieces: &[Piece]) -> bool {
        self.piece >= pieces.len()
    }

    /// No more come.
    pub(super) fn stop(&mut self) {
        self.piece = usize::MAX;
    }

    /// The next slice, with the place of its piece.
    pub(super) fn next(&mut self, pieces: &[Piece]) -> Option<(usize, Range)> {
        let (at, piece) = (self.piece, pieces.get(self.piece)?);
        let (length, begin) = (piece.hash.length, self.nth * self.slice);
        let hash = match (piece.verified, length > self.slice) {
            (false, _) => SliceHash::Nothing,
            (true, false) => SliceHash::Whole,
            (true, true) => SliceHash::Subtree(begin),
        };
        let range = Range {
            index: self.index,
            part: piece.number,
            offset: piece.offset + begin,
            length: self.slice.min(length - begin),
            done: 0,
            reading: 0,
            hash,
        };
        self.index += 1;
        self.nth += 1;
        if self.nth == count(length, self.slice) {
            (self.piece, self.nth) = (self.piece + 1, 0);
        }
        Some((at, range))
    }
}
