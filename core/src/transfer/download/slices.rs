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

    /// Numbers the slices from here on, before the first is taken.
    pub(super) fn number_from(&mut self, index: u32) {
        self.index = index;
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
            start: piece.start + piece.form.position(start),
            object: Some(piece.object),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Encryption;
    use crate::transfer::extent::PartHash;
    use crate::transfer::stored_form::{StoredForm, tests::segments_of};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn piece(number: u32, length: u64, form: StoredForm, verified: bool) -> Piece {
        let hash = PartHash { length: form.stored(length), crc64nvme: 0, blake3: [0; 32] };
        let (key, encryption, offset) = ("k".into(), Encryption::default(), u64::from(number) * 1_000);
        Piece {
            number,
            key,
            version_id: None,
            etag: None,
            encryption,
            start: 0,
            object: hash.length,
            offset,
            length,
            hash,
            form,
            verified,
        }
    }

    #[test]
    fn slices_are_numbered_in_order_and_name_the_part_that_they_belong_to() {
        let plain = |number, length, verified| piece(number, length, StoredForm::PLAIN, verified);
        let pieces = [
            plain(3, 25, true),
            plain(5, 10, true),
            plain(6, 0, true),
            plain(7, 11, false),
            piece(9, 20, segments_of(10), true),
        ];
        let mut slices = Slices::new(10);
        let all: Vec<_> = std::iter::from_fn(|| slices.next(&pieces))
            .map(|(at, range)| (at, range.part, range.offset, range.length, range.stored, range.hash))
            .collect();
        let (whole, nothing, crc) = (SliceHash::Whole, SliceHash::Nothing, SliceHash::Crc);
        assert_eq!(
            all,
            [
                (0, 3, 3_000, 10, 10, SliceHash::Subtree(0)),
                (0, 3, 3_010, 10, 10, SliceHash::Subtree(10)),
                (0, 3, 3_020, 5, 5, SliceHash::Subtree(20)),
                (1, 5, 5_000, 10, 10, whole),
                (2, 6, 6_000, 0, 0, whole),
                (3, 7, 7_000, 10, 10, nothing),
                (3, 7, 7_010, 1, 1, nothing),
                (4, 9, 9_000, 10, 26, crc),
                (4, 9, 9_010, 10, 26, crc),
            ]
        );
        assert!(slices.is_over(&pieces));
        let mut slices = Slices::new(10);
        assert!((0..9).all(|index| slices.next(&pieces).is_some_and(|(_, range)| range.index == index)));
    }
}
