//! Where a backup does not decrypt.

use wasm_bindgen::prelude::wasm_bindgen;

/// Consecutive segments with the same damage.
#[wasm_bindgen(getter_with_clone)]
#[derive(Clone)]
pub struct DamagedSegments {
    /// Number of the first segment in the backup, from 1.
    #[wasm_bindgen(readonly)]
    pub first: u32,
    /// Number of the last one.
    #[wasm_bindgen(readonly)]
    pub last: u32,
    /// Number of the part that has the first one, from 1.
    #[wasm_bindgen(readonly)]
    pub part: u32,
    /// Offset of their first byte in the stored bytes.
    #[wasm_bindgen(readonly)]
    pub start: u64,
    /// Offset after their last byte in the stored bytes.
    #[wasm_bindgen(readonly)]
    pub end: u64,
    /// `damaged`: not what was encrypted there. `truncated`: some of its bytes are missing. `missing`: all are.
    #[wasm_bindgen(readonly)]
    pub what: String,
}

/// What is wrong with a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Damaged,
    Truncated,
    Missing,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Damaged => "damaged",
            What::Truncated => "truncated",
            What::Missing => "missing",
        }
    }
}

/// Collects damaged segments. The list is short even if millions of consecutive segments are missing.
#[derive(Default)]
pub(crate) struct Damage(Vec<DamagedSegments>);

impl Damage {
    /// Adds the segments `first` to `last`, which are at these stored bytes and follow those that were added before.
    pub(crate) fn add(&mut self, what: What, part: u32, (first, last): (u32, u32), (start, end): (u64, u64)) {
        match self.0.last_mut() {
            Some(before) if before.what == what.name() && before.end == start => {
                before.last = last;
                before.end = end;
            }
            _ => self.0.push(DamagedSegments { first, last, part, start, end, what: what.name().into() }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn list(&self) -> Vec<DamagedSegments> {
        self.0.clone()
    }
}
