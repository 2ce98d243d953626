//! What a download requests: the slices of its pieces, in the order of their bytes. A slice consists of whole segments.

use super::Piece;
use crate::checksum::SliceHash;
use crate::http::Range;

/// Number of slices of a piece of this length. An empty piece has one slice, since its object has to be requested too.
pub(super) fn count(length: u64, slice: u64) -> u64 {
    length.div_ceil(slice).max(1)
}

/// Iterates over the slices of pieces.
pub(super) struct Slices {
    slice: u64,
    /// Index of the next slice's piece, and the slice's number in it.
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

    /// Ends the iteration.
    pub(super) fn stop(&mut self) {
        self.piece = usize::MAX;
    }

    /// The next slice, with the index of its piece.
    pub(super) fn next(&mut self, pieces: &[Piece]) -> Option<(usize, Range)> {
        let (at, piece) = (self.piece, pieces.get(self.piece)?);
        let (length, start) = (piece.length, self.nth * self.slice);
        let hash = match (piece.verified, length > self.slice) {
            (false, _) => SliceHash::Nothing,
            (true, false) => SliceHash::Whole,
            (true, true) if piece.form.is_plain() => SliceHash::Subtree(start),
            (true, true) => SliceHash::Crc,
        };
        let (offset, length_here) = (piece.offset + start, self.slice.min(length - start));
        let range = Range {
            index: self.index,
            part: piece.number,
            offset,
            length: length_here,
            stored: piece.form.stored(length_here),
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
