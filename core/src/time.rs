//! Time: the caller's two clocks, which are arguments; the store's clock, learned from its replies; and date formats.

use jiff::Timestamp;
use jiff::fmt::strtime;

/// The caller's clocks at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, in milliseconds since 1970-01-01T00:00:00Z. It may be wrong, and it may jump.
    pub unix_ms: i64,
    /// A monotonic clock, in milliseconds since an arbitrary instant.
    pub mono_ms: u64,
}

/// Formats a date as SigV4 does: `20130524T000000Z`.
pub fn amz_date(unix_ms: i64) -> String {
    format("%Y%m%dT%H%M%SZ", unix_ms)
}

/// Whether a time can be written as a date, which ends with the year 9999.
pub fn is_date(unix_ms: i64) -> bool {
    Timestamp::from_millisecond(unix_ms).is_ok()
}

/// Formats a time as RFC 3339 in UTC with milliseconds: `2013-05-24T00:00:00.000Z`.
pub fn rfc3339(unix_ms: i64) -> String {
    format("%Y-%m-%dT%H:%M:%S.%3fZ", unix_ms)
}

fn format(pattern: &str, unix_ms: i64) -> String {
    let at = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    strtime::format(pattern, at).unwrap_or_default()
}

/// Parses an RFC 3339 time, as in S3's XML or on a command line, into Unix milliseconds.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(|at| at.as_millisecond())
}

/// The last millisecond, in UTC, of a date such as `2026-11-24`.
pub fn end_of_day(text: &str) -> Option<i64> {
    let is_date = text.len() == "2026-11-24".len();
    if is_date { parse_rfc3339(&format!("{text}T23:59:59.999Z")) } else { None }
}

/// Parses an HTTP date (RFC 9110 §5.6.7, in the form that servers must send) into Unix milliseconds.
pub fn parse_http_date(text: &str) -> Option<i64> {
    static PARSER: jiff::fmt::rfc2822::DateTimeParser = jiff::fmt::rfc2822::DateTimeParser::new();
    PARSER.parse_timestamp(text).ok().map(|at| at.as_millisecond())
}

/// The store's clock, as learned from its replies (`Date`, or the time in a refusal): it corrects the clock skew of this
/// machine.
///
/// `Date` has whole seconds and arrives late, so a local clock that could be right is not corrected.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreClock {
    offset_ms: i64,
}

impl StoreClock {
    /// A clock that differs from the local one by `offset_ms`.
    pub fn with_offset(offset_ms: i64) -> StoreClock {
        StoreClock { offset_ms }
    }

    /// The correction to add to the local wall clock, in milliseconds.
    pub fn offset_ms(self) -> i64 {
        self.offset_ms
    }

    /// The store's time at `now`, in Unix milliseconds.
    pub fn at(self, now: Now) -> i64 {
        now.unix_ms.saturating_add(self.offset_ms)
    }

    /// Learns from the `Date` of a reply, which the store wrote between `sent` and `received`.
    pub fn learn(&mut self, date_ms: i64, sent: Now, received: Now) {
        let travelled = received.mono_ms.saturating_sub(sent.mono_ms) as i64;
        // The store's time at `received` is between these two.
        let (early, late) = (date_ms, date_ms.saturating_add(999).saturating_add(travelled));
        let here = self.at(received);
        if here < early {
            self.offset_ms = self.offset_ms.saturating_add(early - here);
        } else if here > late {
            self.offset_ms = self.offset_ms.saturating_sub(here - late);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_forms_of_the_wire() {
        assert_eq!(amz_date(1_369_353_600_000), "20130524T000000Z");
        assert_eq!(rfc3339(1_369_353_600_007), "2013-05-24T00:00:00.007Z");
        assert_eq!(parse_rfc3339("2013-05-24T00:00:00.007Z"), Some(1_369_353_600_007));
        assert_eq!(parse_rfc3339("2013-05-24T02:00:00+02:00"), Some(1_369_353_600_000));
        assert_eq!(parse_http_date("Fri, 24 May 2013 00:00:00 GMT"), Some(1_369_353_600_000));
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn a_clock_that_could_be_right_is_left_alone_and_another_is_corrected() {
        let at = |unix_ms, mono_ms| Now { unix_ms, mono_ms };
        let mut clock = StoreClock::default();
        clock.learn(10_000, at(10_400, 0), at(10_700, 300));
        assert_eq!(clock.offset_ms(), 0);
        clock.learn(3_610_000, at(10_400, 0), at(10_700, 300));
        assert_eq!(clock.offset_ms(), 3_610_000 - 10_700);
        clock.learn(3_610_000, at(10_400, 0), at(10_700, 300));
        assert_eq!(clock.offset_ms(), 3_610_000 - 10_700, "the same lesson again changes nothing");
        clock.learn(7_210_000, at(10_400, 0), at(10_700, 300));
        assert_eq!(clock.at(at(10_700, 300)), 7_210_000, "corrected once more");
        clock.learn(10_000, at(10_400, 0), at(10_700, 300));
        assert_eq!(clock.at(at(10_700, 300)), 10_000 + 999 + 300);
    }
}
