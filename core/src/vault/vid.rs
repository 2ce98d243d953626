//! Version ids: 26 characters that sort newest first in a listing.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::error::{Code, Error, Result};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TIME_BITS: u32 = 48;
const RANDOM_BITS: u32 = 80;
const LAST_MS: i64 = (1 << TIME_BITS) - 1;

/// A version id: 48 bits of 2^48 - 1 - Unix milliseconds, then 80 random bits, in Crockford's base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vid(u128);

impl Vid {
    /// Number of characters of a version id.
    pub const LENGTH: usize = 26;

    /// A version id of this instant. Times outside the range of 48 bits are clamped to it.
    pub fn new(unix_ms: i64, random: [u8; 10]) -> Vid {
        let time = (LAST_MS - unix_ms.clamp(0, LAST_MS)) as u128;
        Vid(random.iter().fold(time, |bits, byte| bits << 8 | u128::from(*byte)))
    }

    /// The version id that sorts before all others of this instant or an earlier one.
    pub fn first_of(unix_ms: i64) -> Vid {
        Vid::new(unix_ms, [0; 10])
    }

    /// The instant of the version id, in Unix milliseconds.
    pub fn unix_ms(self) -> i64 {
        LAST_MS - (self.0 >> RANDOM_BITS) as i64
    }

    /// The random bits.
    pub fn random(self) -> [u8; 10] {
        let mut random = [0; 10];
        random.copy_from_slice(&self.0.to_be_bytes()[6..]);
        random
    }

    /// Parses a version id.
    pub fn parse(text: &str) -> Result<Vid> {
        Vid::try_parse(text).ok_or_else(|| {
            Error::new(Code::InvalidOption, format!("'{text}' is not a version id")).with_hint(
                "A version id has 26 characters of 0-9 and A-Z without I, L, O and U, as a listing shows it.",
            )
        })
    }

    pub(crate) fn try_parse(text: &str) -> Option<Vid> {
        if text.len() != Vid::LENGTH || text.as_bytes()[0] > b'7' {
            return None;
        }
        text.bytes()
            .try_fold(0u128, |bits, byte| {
                ALPHABET.iter().position(|c| *c == byte).map(|value| bits << 5 | value as u128)
            })
            .map(Vid)
    }
}

impl fmt::Display for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..Vid::LENGTH as u32).rev().try_for_each(|place| {
            let value = (self.0 >> (5 * place)) as usize & 31;
            write!(f, "{}", ALPHABET[value] as char)
        })
    }
}

/// Gives the version ids of a process their times: no two of them the same millisecond. The locator of a put is sent
/// beside its LIST with an id by the clock, and is abandoned if the LIST shows one that is not older. A put that follows
/// another within a millisecond would leave such a locator, which keeps its parent until it is swept.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last_ms: AtomicI64,
}

impl Clock {
    /// How far behind the last time an instant may be and still follow it, in milliseconds: a clock that was set back
    /// by more, and a version in the future, say nothing about other versions.
    const FOLLOWS_MS: i64 = 1_000;

    /// The first time that is not before this instant, in Unix milliseconds, and was not given yet.
    pub(super) fn next(&self, unix_ms: i64) -> i64 {
        let after = |last: i64| match last.saturating_sub(unix_ms) {
            0..Clock::FOLLOWS_MS => last + 1,
            _ => unix_ms,
        };
        match self.last_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last))) {
            Ok(last) | Err(last) => after(last),
        }
    }
}

/// The start of a version id, as people type it: at least one character, in upper or lower case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VidPrefix {
    /// The version id that continues it with zeros.
    first: Vid,
    length: usize,
}

impl VidPrefix {
    /// Parses a version id or the start of one.
    pub fn parse(text: &str) -> Result<VidPrefix> {
        let padded = format!("{:0<1$}", text.to_ascii_uppercase(), Vid::LENGTH);
        match Vid::try_parse(&padded) {
            Some(first) if !text.is_empty() => Ok(VidPrefix { first, length: text.len() }),
            _ => Err(Error::new(Code::InvalidOption, format!("'{text}' is not a version id or the start of one"))
                .with_hint(
                    "Give a version id as a listing shows it (26 characters of 0-9 and A-Z without I, L, O and U), or enough of its first characters.",
                )),
        }
    }

    /// The version id, if this is all of it.
    pub fn whole(self) -> Option<Vid> {
        (self.length == Vid::LENGTH).then_some(self.first)
    }

    /// Whether a version id starts like this.
    pub fn fits(self, vid: Vid) -> bool {
        let ignored = 5 * (Vid::LENGTH - self.length);
        vid.0 >> ignored == self.first.0 >> ignored
    }
}

impl fmt::Display for VidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.to_string()[..self.length])
    }
}

impl fmt::Debug for VidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_process_gives_no_millisecond_twice_and_follows_its_clock() {
        let clock = Clock::default();
        let given: Vec<i64> = [5_000, 5_000, 5_000, 5_001, 5_900, 5_100].iter().map(|ms| clock.next(*ms)).collect();
        assert_eq!(given, [5_000, 5_001, 5_002, 5_003, 5_900, 5_901]);
        // A version in the future, or a clock that was set back.
        assert_eq!((clock.next(90_000), clock.next(6_000), clock.next(6_000)), (90_000, 6_000, 6_001));
    }

    #[test]
    fn newer_ids_sort_first() {
        let texts: Vec<String> = [LAST_MS, 1_764_000_000_001, 1_764_000_000_000, 1, 0]
            .iter()
            .map(|ms| Vid::new(*ms, [9; 10]).to_string())
            .collect();
        assert!(texts.is_sorted() && texts.iter().all(|t| t.len() == Vid::LENGTH), "{texts:?}");
        assert!(Vid::first_of(5).to_string() < Vid::new(5, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).to_string());
    }

    #[test]
    fn text_round_trips() {
        for (ms, random) in [(0, [0; 10]), (1_764_000_000_123, [0xA5; 10]), (LAST_MS, [255; 10])] {
            let vid = Vid::new(ms, random);
            assert_eq!(Vid::parse(&vid.to_string()).unwrap(), vid);
            assert_eq!((vid.unix_ms(), vid.random()), (ms, random));
        }
        assert_eq!(Vid::new(0, [255; 10]).to_string(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        // A clock before 1970 or after the last instant gives the nearest version id that there is.
        for (ms, nearest) in [(-1, 0), (i64::MIN, 0), (LAST_MS + 1, LAST_MS), (i64::MAX, LAST_MS)] {
            assert_eq!(Vid::new(ms, [1; 10]), Vid::new(nearest, [1; 10]), "{ms}");
        }
        let good = Vid::new(0, [0; 10]).to_string();
        for bad in [
            "",
            "x",
            &good[1..],
            &format!("{good}0"),
            &good.to_lowercase(),
            &format!("8{}", &good[1..]),
            &format!("{}U", &good[1..]),
            "ü5555555555555555555555555",
        ] {
            assert!(Vid::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_start_of_an_id_is_read_in_either_case() {
        let vid = Vid::new(1_764_000_000_123, [0xA5; 10]);
        let text = vid.to_string();
        for length in 1..=Vid::LENGTH {
            for start in [text[..length].to_owned(), text[..length].to_lowercase()] {
                let prefix = VidPrefix::parse(&start).unwrap();
                assert_eq!(prefix.to_string(), text[..length]);
                assert_eq!(prefix.whole(), (length == Vid::LENGTH).then_some(vid));
                assert!(prefix.fits(vid) && !prefix.fits(Vid::new(LAST_MS, [0; 10])), "{start}");
            }
        }
        for bad in ["", "8", "U", "7!", &format!("{text}0"), "ü", "7ü", "0000000000000000000000000000"] {
            assert_eq!(VidPrefix::parse(bad).unwrap_err().code(), Code::InvalidOption, "{bad}");
        }
    }
}
