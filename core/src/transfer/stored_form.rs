//! How the bytes of a backup become the bytes of its objects. The two have lengths and positions of their own: a backup's
//! are what its source has and its reader gets, stored ones are what requests carry and what is hashed.

use crate::crypto::segment;

/// The form in which a backup is stored: its bytes as they are ([`StoredForm::PLAIN`]), or segments of them that each take
/// more bytes in the object than in the backup, such as an authentication tag.
///
/// Each part starts with a segment of its own, and every part but the last of a backup consists of whole segments. An
/// empty backup is one empty segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredForm {
    /// Length of a whole segment in bytes of the backup; 1 for a backup that is stored as it is.
    segment: u64,
    /// Number of bytes that a segment takes in addition.
    overhead: u64,
}

impl Default for StoredForm {
    fn default() -> StoredForm {
        StoredForm::PLAIN
    }
}

impl StoredForm {
    /// The bytes of the backup are stored as they are.
    pub const PLAIN: StoredForm = StoredForm { segment: 1, overhead: 0 };

    /// Encrypted segments, each with its tag.
    pub const ENVELOPE: StoredForm =
        StoredForm { segment: segment::SEGMENT as u64, overhead: segment::OVERHEAD as u64 };

    /// The form of a backup that is encrypted as the setting `encryption` names it.
    pub(crate) fn of_encryption(name: &str) -> StoredForm {
        if name == "envelope" { StoredForm::ENVELOPE } else { StoredForm::PLAIN }
    }

    /// Whether the bytes of the backup are stored as they are.
    pub(crate) fn is_plain(self) -> bool {
        self == StoredForm::PLAIN
    }

    /// Length of a whole segment in bytes of the backup.
    pub(crate) fn segment(self) -> u64 {
        self.segment
    }

    /// Stored length of this many bytes of a backup, which start with a segment.
    pub(crate) fn stored(self, length: u64) -> u64 {
        length.saturating_add(self.overhead.saturating_mul(length.div_ceil(self.segment).max(1)))
    }

    /// The number of bytes of a backup with this stored length; `None` if no number has it.
    pub(crate) fn length(self, stored: u64) -> Option<u64> {
        let segments = stored.div_ceil(self.whole()).max(1);
        let length = stored.checked_sub(segments.checked_mul(self.overhead)?)?;
        (self.stored(length) == stored).then_some(length)
    }

    /// Where a segment starts in the stored bytes of its part, from where it starts in the part.
    pub(crate) fn position(self, offset: u64) -> u64 {
        offset / self.segment * self.whole()
    }

    /// The largest number of bytes of a backup in whole segments whose stored length is at most this.
    pub(crate) fn capacity(self, stored: u64) -> u64 {
        stored / self.whole() * self.segment
    }

    /// Stored length of a whole segment.
    fn whole(self) -> u64 {
        self.segment + self.overhead
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// A form with segments of this length, which take 16 bytes more.
    pub(crate) fn segments_of(segment: u64) -> StoredForm {
        StoredForm { segment, overhead: 16 }
    }

    #[test]
    fn plain_bytes_are_stored_as_they_are() {
        for n in [0, 1, 7, 8 << 20, u64::MAX - 1] {
            let form = StoredForm::PLAIN;
            assert_eq!((form.stored(n), form.length(n), form.position(n), form.capacity(n)), (n, Some(n), n, n));
        }
        assert!(StoredForm::PLAIN.is_plain() && !segments_of(1).is_plain());
    }

    #[test]
    fn each_segment_takes_its_overhead() {
        let form = segments_of(1000);
        for (length, stored) in [(0, 16), (1, 17), (999, 1015), (1000, 1016), (1001, 1033), (3000, 3048)] {
            assert_eq!((form.stored(length), form.length(stored)), (stored, Some(length)));
        }
        for no_length in [0, 15, 1017, 1032, 2048] {
            assert_eq!(form.length(no_length), None, "{no_length}");
        }
        assert_eq!([form.position(0), form.position(1000), form.position(5000)], [0, 1016, 5080]);
        assert_eq!([form.capacity(1015), form.capacity(1016), form.capacity(5079)], [0, 1000, 4000]);
    }
}
