//! How a backup is split into parts, and the parts into extents: one object each, if a single object cannot hold them
//! all. Lengths and offsets are of the backup; the store's limits apply to stored lengths.

use super::WINDOW;
use crate::account::integrity::Integrity;
use crate::checksum::Digest;
use crate::crypto::segment::Salt;
use crate::http::Part;
use crate::machine::PartRequest;
use crate::profile::Profile;
use crate::transfer::stored_form::StoredForm;

/// Minimum part size of a plan and maximum size of a single PUT: 8 MiB.
pub(crate) const MIN_PART: u64 = 8 << 20;
/// A stream's part size doubles at part 1,001, 2,001, and so on, up to what the memory allows.
const DOUBLING: u32 = 1000;

/// The parts of one backup, numbered from 1 across all extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Length of a file; `None` for a stream.
    length: Option<u64>,
    /// Part size of a file; maximum part size of a stream.
    part: u64,
    /// Minimum part size of a stream.
    min_part: u64,
    /// Maximum number of parts, and of stored bytes, of one extent.
    max_parts: u32,
    max_object: u64,
    form: StoredForm,
}

impl Plan {
    /// A plan for a source of this length, if it is known. A part of a stream takes at most a quarter of `memory`.
    pub(crate) fn new(length: Option<u64>, profile: &Profile, memory: u64, form: StoredForm) -> Plan {
        let max_part = form.capacity(profile.max_part_size);
        let least = MIN_PART.next_multiple_of(form.segment());
        let whole =
            |part: u64| (part.clamp(least, max_part) >> 20 << 20).next_multiple_of(form.segment()).min(max_part);
        let (part, min_part) = match length {
            Some(length) => {
                let object = length.min(form.capacity(profile.max_object_size));
                (whole(object.div_ceil(u64::from(profile.max_parts)).next_multiple_of(1 << 20)), least)
            }
            None if profile.equal_parts => {
                let part = whole(memory / u64::from(WINDOW));
                (part, part)
            }
            None => (whole(memory / 4), least),
        };
        let max_parts = (profile.max_object_size / form.stored(part)).clamp(1, u64::from(profile.max_parts)) as u32;
        let max_parts = if length.is_some() { max_parts } else { profile.max_parts };
        let max_object = profile.max_object_size;
        Plan { length, part, min_part, max_parts, max_object, form }
    }

    /// The plan that a checkpoint was started with, whatever the profile says now.
    pub(crate) fn with_part(self, part: u64) -> Plan {
        if self.length.is_some() { Plan { part, ..self } } else { self }
    }

    /// The form in which the backup is stored.
    pub(crate) fn form(&self) -> StoredForm {
        self.form
    }

    /// Part size of a file, or maximum part size of a stream.
    pub(crate) fn part(&self) -> u64 {
        self.part
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.length.is_none()
    }

    /// Length of the part that starts at `offset`; `None` after the end of a file.
    pub(crate) fn part_length(&self, number: u32, offset: u64) -> Option<u64> {
        Some(match self.length {
            Some(length) if offset >= length && number > 1 => return None,
            Some(length) => self.part.min(length - offset),
            None => self.min_part.saturating_mul(1 << ((number - 1) / DOUBLING).min(32)).min(self.part),
        })
    }

    /// Minimum length of a part that is planned with this length, except at the end of the source.
    pub(crate) fn min_length(&self, length: u64) -> u64 {
        if self.is_stream() { self.min_part.min(length) } else { length }
    }

    /// Maximum number of parts of an extent.
    pub(crate) fn parts_per_extent(&self) -> u64 {
        u64::from(self.max_parts)
    }

    /// Number of parts and extents of a file; `None` for a stream.
    pub(crate) fn count(&self) -> Option<(u64, u64)> {
        let parts = self.length?.div_ceil(self.part).max(1);
        Some((parts, parts.div_ceil(self.parts_per_extent())))
    }

    /// Whether a file ends at this offset.
    pub(crate) fn ends_at(&self, offset: u64) -> bool {
        self.length == Some(offset)
    }

    /// Whether the part that ends at `end` fills its extent, which starts with part `first` at `start`.
    pub(crate) fn fills_extent(&self, first: u32, number: u32, start: u64, end: u64) -> bool {
        let next = self.part_length(number + 1, end).unwrap_or(0);
        number - first + 1 >= self.max_parts || self.form.stored(end - start + next) > self.max_object
    }

    /// The request of a part that starts at `offset`, in the extent that starts with part `first`.
    pub(crate) fn request(
        &self,
        first: u32,
        number: u32,
        offset: u64,
        length: u64,
        integrity: Integrity,
    ) -> PartRequest {
        let (min_length, hash_first) = (self.min_length(length), self.hash_first(first, number, offset, integrity));
        PartRequest { number, offset, length, min_length, multiple_of: self.form.segment(), hash_first }
    }

    /// A part of this length that is ready to be sent.
    pub(crate) fn part_ready(
        &self,
        number: u32,
        offset: u64,
        length: u64,
        digest: Option<Digest>,
        salt: Option<Salt>,
    ) -> Part {
        Part { number, offset, length, stored: self.form.stored(length), digest, md5: None, salt }
    }

    /// Whether a part must be hashed before it is sent. That is so if the store accepts no trailers, and for a file's
    /// last part if it is also the first of its extent: it becomes a single PUT, which is signed with a date and must
    /// be the same at each attempt. A stream's parts are hashed as they are written. For a store that needs the MD5,
    /// [`Output::HashPart`](crate::Output::HashPart) asks for all hashes at once.
    pub(crate) fn hash_first(&self, first: u32, number: u32, offset: u64, integrity: Integrity) -> bool {
        let is_single = number == first && self.length.is_none_or(|length| length - offset <= self.part);
        match integrity {
            Integrity::Trailer => is_single,
            Integrity::Header => true,
            Integrity::Md5 => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{PROFILES, S3};
    use crate::transfer::stored_form::tests::segments_of;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const MEMORY: u64 = 256 << 20;

    #[test]
    fn a_files_parts_are_equal_and_fill_as_few_extents_as_possible() {
        for profile in PROFILES {
            let one = profile.max_object_size;
            for length in [
                0,
                1,
                MIN_PART,
                MIN_PART + 1,
                10_000 * MIN_PART,
                10_000 * MIN_PART + 1,
                5 << 40,
                one,
                one + 1,
                2 * one + 1,
            ] {
                let plan = Plan::new(Some(length), profile, MEMORY, StoredForm::PLAIN);
                let (mut offset, mut number, mut first, mut extents, mut start) = (0, 0, 1, 1, 0);
                while offset < length {
                    number += 1;
                    let part = plan.part_length(number, offset).unwrap();
                    assert!(part == plan.part || offset + part == length);
                    assert!(part <= profile.max_part_size && part >= profile.min_part_size.min(length - offset));
                    offset += part;
                    assert!(offset - start <= profile.max_object_size && number - first < profile.max_parts);
                    if plan.fills_extent(first, number, start, offset) && offset < length {
                        (first, extents, start) = (number + 1, extents + 1, offset);
                    }
                }
                assert!(plan.ends_at(offset));
                let expected = if first > number && extents > 1 { extents - 1 } else { extents };
                assert_eq!(plan.count(), Some((u64::from(number.max(1)), expected)), "{length}");
                assert_eq!(plan.part_length(number.max(1) + 1, offset), None);
                assert!(
                    extents <= length.div_ceil(profile.max_object_size - profile.max_part_size).max(1),
                    "{length}: {extents}"
                );
            }
        }
    }

    #[test]
    fn a_streams_parts_double_as_far_as_the_memory_goes() {
        let plan = Plan::new(None, &S3, MEMORY, StoredForm::PLAIN);
        let at = |number| plan.part_length(number, 0).map(|part| part >> 20);
        assert_eq!([1, 1000, 1001, 2001, 3001, 9999, 10_001].map(|n| at(n).unwrap()), [8, 8, 16, 32, 64, 64, 64]);
        assert_eq!([plan.min_length(8 << 20), plan.min_length(64 << 20)], [MIN_PART, MIN_PART]);
        let small = Plan::new(None, &S3, 32 << 20, StoredForm::PLAIN);
        assert_eq!(small.part_length(9_999, 0), Some(MIN_PART));
        assert!(
            !plan.fills_extent(1, 9_999, 0, 1)
                && plan.fills_extent(1, 10_000, 0, 1)
                && !plan.fills_extent(10_001, 10_001, 0, 1)
        );
    }

    #[test]
    fn a_streams_extent_ends_before_the_object_is_too_large() {
        let profile = Profile { max_object_size: 100 << 20, ..S3 };
        let plan = Plan::new(None, &profile, MEMORY, StoredForm::PLAIN);
        assert!(!plan.fills_extent(1, 11, 0, 88 << 20) && plan.fills_extent(1, 12, 0, 96 << 20));
        assert!(!plan.fills_extent(13, 23, 96 << 20, (96 + 88) << 20));
    }

    #[test]
    fn a_file_keeps_the_size_of_parts_that_was_decided_before() {
        let plan = |length| Plan::new(length, &S3, MEMORY, StoredForm::PLAIN).with_part(16 << 20);
        assert_eq!(plan(Some(40 << 20)).part_length(1, 0), Some(16 << 20));
        assert_eq!(plan(None).part_length(1, 0), Some(MIN_PART), "a stream's parts grow as they did");
    }

    #[test]
    fn parts_are_equal_if_the_provider_requires_it() {
        let plan = Plan::new(None, &Profile { equal_parts: true, ..S3 }, MEMORY, StoredForm::PLAIN);
        for number in [1, 1_001, 9_999] {
            let length = plan.part_length(number, 0).unwrap();
            assert_eq!((length, plan.min_length(length)), (32 << 20, 32 << 20));
        }
    }

    #[test]
    fn parts_that_must_be_the_same_at_each_attempt_are_hashed_first() {
        let file = |length, profile: &Profile| Plan::new(Some(length), profile, MEMORY, StoredForm::PLAIN);
        let plan = file(3 * MIN_PART, &S3);
        let trailer = Integrity::Trailer;
        assert!(!plan.hash_first(1, 1, 0, trailer) && !plan.hash_first(1, 3, 2 * MIN_PART, trailer));
        assert!(plan.hash_first(3, 3, 2 * MIN_PART, trailer));
        let stream = Plan::new(None, &S3, MEMORY, StoredForm::PLAIN);
        assert!(file(MIN_PART, &S3).hash_first(1, 1, 0, trailer) && stream.hash_first(1, 1, 0, trailer));
        assert!(plan.hash_first(1, 2, MIN_PART, Integrity::Header));
        assert!(!plan.hash_first(1, 2, MIN_PART, Integrity::Md5), "it is hashed as a whole when it is ready");
    }

    #[test]
    fn parts_in_segments_stay_within_the_stores_limits() {
        for profile in PROFILES {
            for (segment, length) in [(1 << 20, 3 << 40), (1000, 100 << 30), (3 << 20, 0), (1 << 20, 60 << 40)] {
                let form = segments_of(segment);
                let plan = Plan::new(Some(length), profile, MEMORY, form);
                let part = plan.part_length(1, 0).unwrap();
                assert!(part == length || part.is_multiple_of(segment) && form.stored(part) <= profile.max_part_size);
                let (mut number, mut first, mut start, mut offset, mut extents) = (1, 1, 0, part, 1);
                while !plan.ends_at(offset) {
                    if plan.fills_extent(first, number, start, offset) {
                        assert!(form.stored(offset - start) <= profile.max_object_size);
                        (first, start, extents) = (number + 1, offset, extents + 1);
                    }
                    number += 1;
                    offset += plan.part_length(number, offset).unwrap();
                }
                assert!(form.stored(offset - start) <= profile.max_object_size && number - first < profile.max_parts);
                assert_eq!(plan.count(), Some((u64::from(number), extents)));
            }
            let plan = Plan::new(None, profile, MEMORY, segments_of(1 << 20));
            let request = plan.request(1, 1, 0, plan.part_length(1, 0).unwrap(), Integrity::Header);
            assert_eq!(
                (request.multiple_of, request.length % (1 << 20), request.min_length % (1 << 20)),
                (1 << 20, 0, 0)
            );
        }
        assert_eq!(Plan::new(Some(0), &S3, MEMORY, segments_of(1000)).part_ready(1, 0, 0, None, None).stored, 16);
    }

    /// Twelve parts of 8 MiB would fit as they are, and eleven fit with what their segments take in addition.
    #[test]
    fn an_extent_is_full_by_its_stored_length() {
        let profile = Profile { max_object_size: 12 * MIN_PART, ..S3 };
        for (form, fit) in [(StoredForm::PLAIN, 12), (segments_of(1 << 20), 11)] {
            let file = Plan::new(Some(100 * MIN_PART), &profile, MEMORY, form);
            assert_eq!((file.part(), file.parts_per_extent()), (MIN_PART, fit));
            for plan in [file, Plan::new(None, &profile, MEMORY, form)] {
                let fills = |parts: u64| plan.fills_extent(1, parts as u32, 0, parts * MIN_PART);
                assert!(!fills(fit - 1) && fills(fit), "{form:?}");
            }
        }
    }
}
