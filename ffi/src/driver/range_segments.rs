//! The segments of a range that is received: how each is decrypted, and whether all were.
//!
//! A range consists of whole segments. The stored bytes are hashed as they arrive; once a segment is complete, it is decrypted in
//! the frame that holds it. If it does not open, nothing of it is kept. The range is then still received to its end, because
//! its part may be read again: the bytes may have changed on their way. Only if the machine wants the range as it is, the
//! download fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use s3vault_core::crypto::segment::{OVERHEAD, PartSegments, SEGMENT, Segments};
use s3vault_core::http::Range;
use s3vault_core::{Code, Error, Result};

use crate::transport::frames::Frame;

/// Length of a whole segment as it is stored.
pub(super) const STORED: u64 = (SEGMENT + OVERHEAD) as u64;

/// How one reading of a range is decrypted.
pub(super) struct RangeSegments {
    of_backup: Arc<Segments>,
    of_part: PartSegments,
    range: Range,
    /// How many segments were opened, without a gap.
    opened: AtomicU64,
}

impl RangeSegments {
    pub(super) fn new(segments: &Arc<Segments>, range: Range) -> Result<RangeSegments> {
        let none = || Error::new(Code::Internal, format!("part {} has no salt", range.part + 1));
        let of_part = segments.of_part(range.part).ok_or_else(none)?;
        Ok(RangeSegments { of_backup: segments.clone(), of_part, range, opened: AtomicU64::new(0) })
    }

    /// Stored length of the segment that starts at this stored byte of the range.
    pub(super) fn stored(&self, start: u64) -> usize {
        self.range.stored.saturating_sub(start).min(STORED) as usize
    }

    /// Decrypts the segment that starts at this stored byte of the range and is complete in the frame, whose bytes are then
    /// the backup's. A segment that does not open leaves none. Returns their offset in the backup.
    pub(super) fn open(&self, start: u64, frame: &mut Frame) -> u64 {
        let nth = start / STORED;
        let offset = self.range.offset + nth * SEGMENT as u64;
        let length = self.of_part.open(offset, frame.filled_mut()).map(|data| data.len());
        if length.is_some() {
            let _ = self.opened.compare_exchange(nth, nth + 1, Ordering::AcqRel, Ordering::Acquire);
        }
        frame.truncate(length.unwrap_or(0));
        offset
    }

    /// Fails if not all of the range was decrypted.
    pub(super) fn check(&self) -> Result<()> {
        let opened = self.opened.load(Ordering::Acquire);
        if opened == self.range.stored.div_ceil(STORED) {
            return Ok(());
        }
        Err(self.of_backup.damaged(self.range.part, self.range.offset + opened * SEGMENT as u64))
    }
}
