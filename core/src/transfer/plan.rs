//! How a backup is cut into parts.

use crate::error::{Code, Error, Result};
use crate::profile::Profile;

/// The least part of a plan and the largest single PUT: 8 MiB.
pub(crate) const BASE: u64 = 8 << 20;
/// A stream's parts double at part 1,001, 2,001, and so on, up to this, since as many as the window takes are held in memory.
const STREAM_MOST: u64 = 64 << 20;
const DOUBLING: u32 = 1000;

/// The parts of one upload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Known for a file; not for a stream.
    length: Option<u64>,
    /// A file's part.
    part: u64,
    most_parts: u32,
    trailers: bool,
}

impl Plan {
    /// For a source of this length, where it is known.
    pub(crate) fn new(length: Option<u64>, profile: &Profile) -> Result<Plan> {
        let part = length.unwrap_or(0).div_ceil(u64::from(profile.most_parts)).next_multiple_of(1 << 20).max(BASE);
        if part > profile.most_part {
            let most = profile.most_part.saturating_mul(u64::from(profile.most_parts));
            let why =
                format!("the file has {} bytes, and an object of this store holds {most} at most", length.unwrap_or(0));
            return Err(Error::new(Code::Unsupported, why).with_hint("Store the disk in pieces."));
        }
        Ok(Plan { length, part, most_parts: profile.most_parts, trailers: profile.trailers })
    }

    /// Whether parts must be hashed before they are sent: those of a single PUT, which are signed with a date and must be
    /// the same at each attempt, and all where the store takes no trailers. A stream's are hashed as they are written.
    pub(crate) fn hashed(&self) -> bool {
        !self.trailers || self.length.is_none_or(|length| length <= self.part)
    }

    /// The length of the part that begins at `offset`, where a stream's last one may turn out to be shorter; `None`
    /// after the end of a file, and after the most parts that an object takes.
    pub(crate) fn part_length(&self, number: u32, offset: u64) -> Option<u64> {
        if number > self.most_parts {
            return None;
        }
        Some(match self.length {
            Some(length) if offset >= length && number > 1 => return None,
            Some(length) => self.part.min(length - offset),
            None => (BASE << ((number - 1) / DOUBLING).min(32)).min(STREAM_MOST),
        })
    }

    /// The error of a stream that goes on after the last part.
    pub(crate) fn too_long(&self, offset: u64) -> Error {
        let why =
            format!("the stream has more than {offset} bytes, and an upload ends after {} parts", self.most_parts);
        Error::new(Code::Unsupported, why).with_hint("Store it from a file: its parts are cut to fit.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::S3;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_files_parts_are_equal_and_few_enough() {
        for length in [0, 1, BASE, BASE + 1, 10_000 * BASE, 10_000 * BASE + 1, 6 << 40, 10_000 * (5 << 30)] {
            let plan = Plan::new(Some(length), &S3).unwrap();
            let (mut offset, mut number) = (0, 0);
            while offset < length {
                number += 1;
                let part = plan.part_length(number, offset).unwrap();
                assert!(part == plan.part || offset + part == length);
                offset += part;
            }
            assert_eq!(offset, length);
            assert_eq!(plan.part_length(number.max(1) + 1, offset), None);
        }
        assert_eq!(Plan::new(Some(10_000 * (5 << 30) + 1), &S3).unwrap_err().code(), Code::Unsupported);
    }

    #[test]
    fn a_streams_parts_double_and_end_with_an_error() {
        let plan = Plan::new(None, &S3).unwrap();
        let at = |number| plan.part_length(number, 0).map(|part| part >> 20);
        assert_eq!([1, 1000, 1001, 2001, 3001, 9999].map(|n| at(n).unwrap()), [8, 8, 16, 32, 64, 64]);
        assert_eq!(at(10_001), None);
    }
}
