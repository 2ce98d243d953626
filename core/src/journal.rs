//! The records that a machine wants saved before it takes its next step. It knows their order and how many are not on
//! the disk yet, and nothing of what they say.

use std::collections::VecDeque;

/// Records of a put that have to be saved, and the number of those whose save is not confirmed yet.
#[derive(Default)]
pub(crate) struct Journal {
    records: VecDeque<(Vec<u8>, bool)>,
    unsaved: usize,
}

impl Journal {
    /// Adds a record. With `restart` it replaces everything that was saved before.
    pub(crate) fn add(&mut self, record: impl Into<Vec<u8>>, restart: bool) {
        self.records.push_back((record.into(), restart));
        self.unsaved += 1;
    }

    /// Takes the next record to save, and whether it replaces everything before it.
    pub(crate) fn next(&mut self) -> Option<(Vec<u8>, bool)> {
        self.records.pop_front()
    }

    /// Notes that the oldest unsaved record is on the disk.
    pub(crate) fn saved(&mut self) {
        self.unsaved = self.unsaved.saturating_sub(1);
    }

    /// Whether every record is on the disk.
    pub(crate) fn is_saved(&self) -> bool {
        self.unsaved == 0
    }
}
