//! When to retry: full-jitter backoff for failures after which the same request may succeed, with longer delays if the
//! store asks for them. A token bucket limits the rate of all retries of a client.
//!
//! Source: "Exponential Backoff and Jitter", AWS architecture blog; "Retry behavior", AWS SDKs and tools reference
//! guide; `Retry-After`, RFC 9110 §10.2.3. Unlike in AWS's SDKs, an empty bucket delays a retry and does not fail it: a
//! backup that takes hours over a bad connection must not fail because many of its parts needed retries.

use crate::error::{Code, Error, Family};
use crate::mutation::{Mutation, is_active};
use crate::time::{Now, parse_http_date};

/// Most attempts of one request, including the first.
pub const ATTEMPTS: u32 = 6;
/// Most attempts of a request that the store throttles (SlowDown, 429, 503).
pub const THROTTLED_ATTEMPTS: u32 = 12;
/// Longest time from the first attempt to the start of the last, in milliseconds.
pub const BUDGET_MS: u64 = 180_000;
/// Largest delay after the first attempt, in milliseconds; it doubles with each attempt.
const FIRST_DELAY_MS: u64 = 100;
/// Largest delay after any attempt, in milliseconds.
const MAX_DELAY_MS: u64 = 10_000;
/// Longest `Retry-After` that is waited for, in milliseconds; a store that asks for more is treated as unavailable.
const MAX_RETRY_AFTER_MS: u64 = 60_000;

/// Whether the same request may succeed if it is sent again.
pub fn may_help(error: &Error) -> bool {
    error.is_retryable() || error.family() == Family::Transport && !is_permanent(error)
}

/// An untrusted certificate, a name that does not resolve or a proxy that refuses will not change within seconds.
fn is_permanent(error: &Error) -> bool {
    matches!(error.code(), Code::Certificate | Code::Resolve | Code::Proxy)
}

/// What is known about a request that has failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Why the last attempt failed.
    pub error: &'a Error,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Time since the start of the first attempt, in milliseconds.
    pub elapsed_ms: u64,
    /// The reply's `Retry-After`, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// How long to wait before the next attempt, in milliseconds; `None` if the request must not be retried.
pub fn delay_ms(failure: Failure<'_>, random: &mut fastrand::Rng) -> Option<u64> {
    let throttled = failure.error.code() == Code::Unavailable && matches!(failure.error.status(), 429 | 503);
    let most = if throttled { THROTTLED_ATTEMPTS } else { ATTEMPTS };
    if !may_help(failure.error) || failure.attempts >= most && !is_active(Mutation::RetryForever) {
        return None;
    }
    let ceiling = FIRST_DELAY_MS.saturating_mul(1 << (failure.attempts.max(1) - 1).min(16)).min(MAX_DELAY_MS);
    let delay = match failure.retry_after_ms {
        Some(asked) if asked > MAX_RETRY_AFTER_MS => return None,
        // Clients that were told the same time must not all retry at the same instant.
        Some(asked) => asked + random.u64(0..=ceiling),
        None => random.u64(0..=ceiling),
    };
    let is_in_time = failure.elapsed_ms.saturating_add(delay) <= BUDGET_MS || is_active(Mutation::RetryForever);
    is_in_time.then_some(delay)
}

/// Parses `Retry-After` (seconds or a date) into milliseconds from now, by the store's clock.
pub fn retry_after_ms(text: &str, store_unix_ms: i64) -> Option<u64> {
    match text.trim().parse::<u32>() {
        Ok(seconds) => Some(u64::from(seconds) * 1000),
        Err(_) => parse_http_date(text).map(|at| at.saturating_sub(store_unix_ms).max(0) as u64),
    }
}

/// The token bucket of a client: it limits the rate of all the client's retries.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Fill level in milliseconds of refilling; negative while retries wait for tokens that were promised to them.
    filled_ms: i64,
    at: u64,
}

/// Capacity of the bucket in tokens.
const CAPACITY: i64 = 100;
/// Milliseconds per token: the bucket refills at 10 tokens a second.
const TOKEN_MS: i64 = 100;

impl Default for Tokens {
    fn default() -> Self {
        Tokens { filled_ms: CAPACITY * TOKEN_MS, at: 0 }
    }
}

impl Tokens {
    /// Takes a token for a retry, and returns how long the retry must wait for it, in milliseconds.
    pub fn take(&mut self, now: Now) -> u64 {
        let passed = now.mono_ms.saturating_sub(self.at).min(i64::MAX as u64) as i64;
        self.at = self.at.max(now.mono_ms);
        self.filled_ms = self.filled_ms.saturating_add(passed).min(CAPACITY * TOKEN_MS).saturating_sub(TOKEN_MS);
        self.filled_ms.min(0).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn failure(error: &Error, attempts: u32) -> Failure<'_> {
        Failure { error, attempts, elapsed_ms: 0, retry_after_ms: None }
    }

    #[test]
    fn backoff_grows_up_to_a_limit_and_attempts_end() {
        let mut random = fastrand::Rng::with_seed(1);
        let lost = Error::new(Code::ConnectionLost, "x");
        for attempts in 1..ATTEMPTS {
            for _ in 0..200 {
                assert!(delay_ms(failure(&lost, attempts), &mut random).unwrap() <= FIRST_DELAY_MS << (attempts - 1));
            }
        }
        assert_eq!(delay_ms(failure(&lost, ATTEMPTS), &mut random), None);
        let late = Failure { elapsed_ms: BUDGET_MS + 1, ..failure(&lost, 1) };
        assert_eq!(delay_ms(late, &mut random), None);
    }

    #[test]
    fn a_store_that_throttles_gets_more_attempts_and_longer_delays() {
        let mut random = fastrand::Rng::with_seed(1);
        let slow = Error::new(Code::Unavailable, "x").with_reply(503, "SlowDown", "").retryable();
        assert!(delay_ms(failure(&slow, THROTTLED_ATTEMPTS - 1), &mut random).is_some());
        assert_eq!(delay_ms(failure(&slow, THROTTLED_ATTEMPTS), &mut random), None);
        let asked = |ms| Failure { retry_after_ms: Some(ms), ..failure(&slow, 1) };
        assert!((7_000..=7_100).contains(&delay_ms(asked(7_000), &mut random).unwrap()));
        assert_eq!(delay_ms(asked(61_000), &mut random), None, "longer than is waited for");
    }

    /// 429 is how stores other than S3 throttle.
    #[test]
    fn both_statuses_of_throttling_count() {
        let mut random = fastrand::Rng::with_seed(1);
        for (status, most) in [(429, THROTTLED_ATTEMPTS), (503, THROTTLED_ATTEMPTS), (500, ATTEMPTS), (502, ATTEMPTS)] {
            let e = Error::new(Code::Unavailable, "x").with_reply(status, "SlowDown", "").retryable();
            assert!(delay_ms(failure(&e, most - 1), &mut random).is_some(), "{status}");
            assert_eq!(delay_ms(failure(&e, most), &mut random), None, "{status}");
        }
    }

    #[test]
    fn delays_are_spread_from_nothing_to_their_limit() {
        let mut random = fastrand::Rng::with_seed(1);
        let slow = Error::new(Code::Unavailable, "x").with_reply(503, "SlowDown", "").retryable();
        for (attempts, limit) in [(1, FIRST_DELAY_MS), (3, 4 * FIRST_DELAY_MS), (11, MAX_DELAY_MS)] {
            let delays: Vec<u64> = (0..500).map(|_| delay_ms(failure(&slow, attempts), &mut random).unwrap()).collect();
            let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
            assert!(*least < limit / 20 && *most > limit / 20 * 19 && *most <= limit, "{attempts}: {least} to {most}");
        }
        let asked = |random: &mut _| delay_ms(Failure { retry_after_ms: Some(5_000), ..failure(&slow, 1) }, random);
        let first = asked(&mut random);
        assert!((0..20).any(|_| asked(&mut random) != first), "all clients that were told the same come back together");
    }

    #[test]
    fn the_last_attempt_starts_within_the_budget() {
        let mut random = fastrand::Rng::with_seed(1);
        let slow = Error::new(Code::Unavailable, "x").with_reply(503, "SlowDown", "").retryable();
        let asked = |elapsed_ms| Failure { elapsed_ms, retry_after_ms: Some(7_000), ..failure(&slow, 1) };
        assert!(delay_ms(asked(BUDGET_MS - 7_000 - FIRST_DELAY_MS), &mut random).is_some());
        assert_eq!(delay_ms(asked(BUDGET_MS - 6_999), &mut random), None, "it would start too late");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after_ms("7", 0), Some(7_000));
        assert_eq!(retry_after_ms("Fri, 24 May 2013 00:00:10 GMT", 1_369_353_600_000), Some(10_000));
        assert_eq!(retry_after_ms("Fri, 24 May 2013 00:00:10 GMT", 1_400_000_000_000), Some(0));
        assert_eq!(retry_after_ms("soon", 0), None);
    }

    #[test]
    fn only_transient_errors_are_retried() {
        let e = |code| Error::new(code, "x");
        assert!(may_help(&e(Code::Connect)) && may_help(&e(Code::TimedOut)) && may_help(&e(Code::Store).retryable()));
        for code in [Code::Certificate, Code::Resolve, Code::Proxy, Code::AccessDenied, Code::Store, Code::DiskFull] {
            assert!(!may_help(&e(code)), "{code:?}");
        }
    }

    #[test]
    fn the_rate_of_all_retries_is_at_most_the_refill_rate_of_the_bucket() {
        let at = |mono_ms| Now { unix_ms: 0, mono_ms };
        let mut tokens = Tokens::default();
        for _ in 0..CAPACITY {
            assert_eq!(tokens.take(at(5)), 0);
        }
        assert_eq!([tokens.take(at(5)), tokens.take(at(5)), tokens.take(at(5))], [100, 200, 300]);
        assert_eq!(tokens.take(at(1_305)), 0, "more than a second has passed");
        assert_eq!(tokens.take(at(0)), 0, "a clock that goes back takes nothing away");
    }
}
