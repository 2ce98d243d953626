//! How a backup is cut into parts, and parts into extents: one object each, where one does not take them all.

use super::WINDOW;
use crate::profile::Profile;

/// The least part of a plan and the largest single PUT: 8 MiB.
pub(crate) const BASE: u64 = 8 << 20;
/// A stream's parts double at part 1,001, 2,001, and so on, while as many as the memory takes fit in it.
const DOUBLING: u32 = 1000;

/// The parts of one backup. They are numbered from 1 over all extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Known for a file; not for a stream.
    length: Option<u64>,
    /// A file's part; the largest of a stream.
    part: u64,
    /// The smallest part of a stream.
    least: u64,
    /// Parts of one extent at most, and its bytes.
    parts: u32,
    object: u64,
    trailers: bool,
}

impl Plan {
    /// For a source of this length, where it is known; of a stream's parts a quarter of `memory` holds one.
    pub(crate) fn new(length: Option<u64>, profile: &Profile, memory: u64) -> Plan {
        let (part, least) = match length {
            Some(length) => {
                let object = length.min(profile.most_object);
                let part = object.div_ceil(u64::from(profile.most_parts)).next_multiple_of(1 << 20).max(BASE);
                (part.min(profile.most_part), BASE)
            }
            None if profile.equal_parts => {
                let part = (memory / u64::from(WINDOW)).clamp(BASE, profile.most_part) >> 20 << 20;
                (part, part)
            }
            None => ((memory / 4).clamp(BASE, profile.most_part) >> 20 << 20, BASE),
        };
        let parts = (profile.most_object / part).clamp(1, u64::from(profile.most_parts)) as u32;
        let parts = if length.is_some() { parts } else { profile.most_parts };
        Plan { length, part, least, parts, object: profile.most_object, trailers: profile.trailers }
    }

    /// The same plan as one that a checkpoint began with, whatever the profile says by now.
    pub(crate) fn with_part(self, part: u64) -> Plan {
        if self.length.is_some() { Plan { part, ..self } } else { self }
    }

    /// A file's part, or the largest of a stream.
    pub(crate) fn part(&self) -> u64 {
        self.part
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.length.is_none()
    }

    /// The length of the part that begins at `offset`; `None` after the end of a file.
    pub(crate) fn part_length(&self, number: u32, offset: u64) -> Option<u64> {
        Some(match self.length {
            Some(length) if offset >= length && number > 1 => return None,
            Some(length) => self.part.min(length - offset),
            None => self.least.saturating_mul(1 << ((number - 1) / DOUBLING).min(32)).min(self.part),
        })
    }

    /// How long a part is at least that is to have this length, but at the source's end.
    pub(crate) fn least(&self, length: u64) -> u64 {
        if self.is_stream() { self.least.min(length) } else { length }
    }

    /// How many parts an extent has at most.
    pub(crate) fn of_an_extent(&self) -> u64 {
        u64::from(self.parts)
    }

    /// How many parts and extents a file has; `None` for a stream.
    pub(crate) fn count(&self) -> Option<(u64, u64)> {
        let parts = self.length?.div_ceil(self.part).max(1);
        Some((parts, parts.div_ceil(self.of_an_extent())))
    }

    /// Whether a file ends here.
    pub(crate) fn ends(&self, offset: u64) -> bool {
        self.length == Some(offset)
    }

    /// Whether the part that ends at `end` fills its extent, which began with part `first` at `begin`.
    pub(crate) fn fills(&self, first: u32, number: u32, begin: u64, end: u64) -> bool {
        let next = self.part_length(number + 1, end).unwrap_or(0);
        number - first + 1 >= self.parts || end - begin + next > self.object
    }

    /// Whether a part must be hashed before it is sent: where the store takes no trailers; and a file's last part that
    /// begins its extent, since that becomes a single PUT, which is signed with a date and must be the same at each
    /// attempt. A stream's are hashed as they are written.
    pub(crate) fn hashed(&self, first: u32, number: u32, offset: u64) -> bool {
        let is_single = number == first && self.length.is_none_or(|length| length - offset <= self.part);
        !self.trailers || is_single
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{PROFILES, S3};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const MEMORY: u64 = 256 << 20;

    #[test]
    fn a_files_parts_are_equal_and_fill_as_few_extents_as_can_be() {
        for profile in PROFILES {
            let one = profile.most_object;
            for length in [0, 1, BASE, BASE + 1, 10_000 * BASE, 10_000 * BASE + 1, 5 << 40, one, one + 1, 2 * one + 1] {
                let plan = Plan::new(Some(length), profile, MEMORY);
                let (mut offset, mut number, mut first, mut extents, mut begin) = (0, 0, 1, 1, 0);
                while offset < length {
                    number += 1;
                    let part = plan.part_length(number, offset).unwrap();
                    assert!(part == plan.part || offset + part == length);
                    assert!(part <= profile.most_part && part >= profile.least_part.min(length - offset));
                    offset += part;
                    assert!(offset - begin <= profile.most_object && number - first < profile.most_parts);
                    if plan.fills(first, number, begin, offset) && offset < length {
                        (first, extents, begin) = (number + 1, extents + 1, offset);
                    }
                }
                assert!(plan.ends(offset));
                let begun = if first > number && extents > 1 { extents - 1 } else { extents };
                assert_eq!(plan.count(), Some((u64::from(number.max(1)), begun)), "{length}");
                assert_eq!(plan.part_length(number.max(1) + 1, offset), None);
                assert!(
                    extents <= length.div_ceil(profile.most_object - profile.most_part).max(1),
                    "{length}: {extents}"
                );
            }
        }
    }

    #[test]
    fn a_streams_parts_double_as_far_as_the_memory_goes() {
        let plan = Plan::new(None, &S3, MEMORY);
        let at = |number| plan.part_length(number, 0).map(|part| part >> 20);
        assert_eq!([1, 1000, 1001, 2001, 3001, 9999, 10_001].map(|n| at(n).unwrap()), [8, 8, 16, 32, 64, 64, 64]);
        assert_eq!([plan.least(8 << 20), plan.least(64 << 20)], [BASE, BASE]);
        let small = Plan::new(None, &S3, 32 << 20);
        assert_eq!(small.part_length(9_999, 0), Some(BASE));
        assert!(!plan.fills(1, 9_999, 0, 1) && plan.fills(1, 10_000, 0, 1) && !plan.fills(10_001, 10_001, 0, 1));
    }

    #[test]
    fn a_streams_extent_ends_before_the_object_is_too_large() {
        let profile = Profile { most_object: 100 << 20, ..S3 };
        let plan = Plan::new(None, &profile, MEMORY);
        assert!(!plan.fills(1, 11, 0, 88 << 20) && plan.fills(1, 12, 0, 96 << 20));
        assert!(!plan.fills(13, 23, 96 << 20, (96 + 88) << 20));
    }

    #[test]
    fn equal_parts_are_equal_where_the_provider_wants_them() {
        let plan = Plan::new(None, &Profile { equal_parts: true, ..S3 }, MEMORY);
        for number in [1, 1_001, 9_999] {
            let length = plan.part_length(number, 0).unwrap();
            assert_eq!((length, plan.least(length)), (32 << 20, 32 << 20));
        }
    }

    #[test]
    fn what_must_be_the_same_at_each_attempt_is_hashed_before() {
        let file = |length, profile: &Profile| Plan::new(Some(length), profile, MEMORY);
        let plan = file(3 * BASE, &S3);
        assert!(!plan.hashed(1, 1, 0) && !plan.hashed(1, 3, 2 * BASE) && plan.hashed(3, 3, 2 * BASE));
        assert!(file(BASE, &S3).hashed(1, 1, 0) && Plan::new(None, &S3, MEMORY).hashed(1, 1, 0));
        let without = Profile { trailers: false, ..S3 };
        assert!(file(3 * BASE, &without).hashed(1, 2, BASE));
    }
}
