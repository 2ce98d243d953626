//! How a backup is cut into parts, and parts into extents: one object each, where one does not take them all.

use crate::profile::Profile;

/// The least part of a plan and the largest single PUT: 8 MiB.
pub(crate) const BASE: u64 = 8 << 20;
/// A stream's parts double at part 1,001, 2,001, and so on, up to this, since as many as the window takes are held in memory.
const STREAM_MOST: u64 = 64 << 20;
const DOUBLING: u32 = 1000;

/// The parts of one backup. They are numbered from 1 over all extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Known for a file; not for a stream.
    length: Option<u64>,
    /// A file's part.
    part: u64,
    /// Parts of one extent at most.
    parts: u32,
    trailers: bool,
}

impl Plan {
    /// For a source of this length, where it is known.
    pub(crate) fn new(length: Option<u64>, profile: &Profile) -> Plan {
        let object = length.unwrap_or(0).min(profile.most_object);
        let part = object.div_ceil(u64::from(profile.most_parts)).next_multiple_of(1 << 20).max(BASE);
        let part = part.min(profile.most_part);
        let largest = if length.is_some() { part } else { STREAM_MOST };
        let parts = (profile.most_object / largest).clamp(1, u64::from(profile.most_parts)) as u32;
        Plan { length, part, parts, trailers: profile.trailers }
    }

    /// The length of the part that begins at `offset`, where a stream's last one may turn out to be shorter; `None`
    /// after the end of a file.
    pub(crate) fn part_length(&self, number: u32, offset: u64) -> Option<u64> {
        Some(match self.length {
            Some(length) if offset >= length && number > 1 => return None,
            Some(length) => self.part.min(length - offset),
            None => (BASE << ((number - 1) / DOUBLING).min(32)).min(STREAM_MOST),
        })
    }

    /// Whether its length is known, so that no part of it is held in memory.
    pub(crate) fn is_file(&self) -> bool {
        self.length.is_some()
    }

    /// Whether this part fills its extent, which began with part `first`.
    pub(crate) fn fills(&self, first: u32, number: u32) -> bool {
        number - first + 1 >= self.parts
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

    #[test]
    fn a_files_parts_are_equal_and_fill_as_few_extents_as_can_be() {
        for profile in PROFILES {
            let one = profile.most_object;
            for length in [0, 1, BASE, BASE + 1, 10_000 * BASE, 10_000 * BASE + 1, 5 << 40, one, one + 1, 2 * one + 1] {
                let plan = Plan::new(Some(length), profile);
                let (mut offset, mut number, mut first, mut extents, mut begin) = (0, 0, 1, 1, 0);
                while offset < length {
                    number += 1;
                    let part = plan.part_length(number, offset).unwrap();
                    assert!(part == plan.part || offset + part == length);
                    assert!(part <= profile.most_part && part >= profile.least_part.min(length - offset));
                    offset += part;
                    assert!(offset - begin <= profile.most_object && number - first < profile.most_parts);
                    if plan.fills(first, number) && offset < length {
                        (first, extents, begin) = (number + 1, extents + 1, offset);
                    }
                }
                assert_eq!(plan.part_length(number.max(1) + 1, offset), None);
                assert!(
                    extents <= length.div_ceil(profile.most_object - profile.most_part).max(1),
                    "{length}: {extents}"
                );
            }
        }
    }

    #[test]
    fn a_streams_parts_double_and_go_on_in_the_next_extent() {
        let plan = Plan::new(None, &S3);
        let at = |number| plan.part_length(number, 0).map(|part| part >> 20);
        assert_eq!([1, 1000, 1001, 2001, 3001, 9999, 10_001].map(|n| at(n).unwrap()), [8, 8, 16, 32, 64, 64, 64]);
        assert!(!plan.fills(1, 9_999) && plan.fills(1, 10_000) && !plan.fills(10_001, 10_001));
    }

    #[test]
    fn what_must_be_the_same_at_each_attempt_is_hashed_before() {
        let plan = Plan::new(Some(3 * BASE), &S3);
        assert!(!plan.hashed(1, 1, 0) && !plan.hashed(1, 3, 2 * BASE) && plan.hashed(3, 3, 2 * BASE));
        assert!(Plan::new(Some(BASE), &S3).hashed(1, 1, 0) && Plan::new(None, &S3).hashed(1, 1, 0));
        let without = Profile { trailers: false, ..S3 };
        assert!(Plan::new(Some(3 * BASE), &without).hashed(1, 2, BASE));
    }
}
