//! When to retry: full-jitter backoff for failures after which the same request may succeed, with longer delays if the
//! store asks for them. A token bucket limits the rate of all retries of a client.
//!
//! While a store is away (it restarts, a line is down, a proxy answers in its place), a transfer keeps trying for the
//! setting `retry_time`: attempts say nothing about how long an outage lasts. What a store refuses although it is there
//! is tried a few times.
//!
//! Source: "Exponential Backoff and Jitter", AWS architecture blog; "Retry behavior", AWS SDKs and tools reference
//! guide; `Retry-After`, RFC 9110 §10.2.3. Unlike in AWS's SDKs, an empty bucket delays a retry and does not fail it: a
//! backup that takes hours over a bad connection must not fail because many of its parts needed retries.

use crate::error::{Code, Error, Family};
use crate::mutation::{Mutation, is_active};
use crate::time::{Now, parse_http_date};

/// Most attempts of one request that a store refuses although it is there, including the first.
pub const ATTEMPTS: u32 = 6;
/// Attempts that a request has in any case while the store is away, unless `retry_time` is 0: one may take longer than the
/// time that there is for all.
const LEAST_ATTEMPTS: u32 = 3;
/// Longest time from the first attempt of a query to the start of the last, in milliseconds.
pub const QUERY_MS: u64 = 30_000;
/// The same for a request to a store that has not answered yet, in milliseconds: its address may be wrong.
pub const FIRST_MS: u64 = 3_000;
/// Largest delay after the first attempt, in milliseconds; it doubles with each attempt.
const FIRST_DELAY_MS: u64 = 100;
/// Largest delay after any attempt, in milliseconds.
const MAX_DELAY_MS: u64 = 10_000;
/// Longest wait that a store's `Retry-After` is granted, in milliseconds.
const MAX_RETRY_AFTER_MS: u64 = 60_000;

/// Whether the same request may succeed if it is sent again, to a store that may never have answered.
pub fn may_help(error: &Error) -> bool {
    error.is_retryable() || error.family() == Family::Transport && !is_permanent(error)
}

/// A name that does not resolve or a proxy that refuses will not change within seconds.
fn is_permanent(error: &Error) -> bool {
    matches!(error.code(), Code::Certificate | Code::Resolve | Code::Proxy)
}

/// Whether the store is away, or says that it cannot answer now.
pub fn is_outage(error: &Error) -> bool {
    error.code() == Code::Unavailable || error.family() == Family::Transport && error.code() != Code::Certificate
}

/// Whether a status asks to slow down.
pub fn is_slow_down(status: u16) -> bool {
    matches!(status, 429 | 503 | 509 | 529)
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
    /// Whether the store has answered any request before.
    pub answered: bool,
    /// Longest time from the first attempt to the start of the last, in milliseconds.
    pub retry_time_ms: u64,
}

/// How long to wait before the next attempt, in milliseconds; `None` if the request must not be retried.
pub fn delay_ms(failure: Failure<'_>, random: &mut fastrand::Rng) -> Option<u64> {
    let Failure { error, attempts, .. } = failure;
    let outage = is_outage(error);
    let may_help = may_help(error) || outage && failure.answered;
    let left = failure.retry_time_ms.saturating_sub(failure.elapsed_ms);
    let is_over = match outage {
        true => left == 0 && (attempts >= LEAST_ATTEMPTS || failure.retry_time_ms == 0),
        false => attempts >= ATTEMPTS,
    };
    let is_endless = is_active(if outage { Mutation::IgnoreRetryTime } else { Mutation::IgnoreAttempts });
    if !may_help || is_over && !is_endless && !is_active(Mutation::RetryForever) {
        return None;
    }
    let asked = match failure.retry_after_ms.filter(|_| !outage || left > 0) {
        Some(asked) if asked > MAX_RETRY_AFTER_MS && is_active(Mutation::EndAtLongRetryAfter) => return None,
        Some(asked) if is_active(Mutation::WaitForLongRetryAfter) => asked,
        Some(asked) if !is_active(Mutation::IgnoreRetryAfter) => asked.min(MAX_RETRY_AFTER_MS),
        _ => 0,
    };
    let ceiling = FIRST_DELAY_MS.saturating_mul(1 << (attempts.max(1) - 1).min(16)).min(max_delay_ms());
    // Clients that were told the same time must not all retry at the same instant.
    let delay = asked.saturating_add(jitter_ms(ceiling, random));
    // The last attempt is at the end of the time, however long the store asks to wait.
    Some(if outage && left > 0 { delay.min(left) } else { delay })
}

fn max_delay_ms() -> u64 {
    if is_active(Mutation::DoubleForever) { u64::MAX } else { MAX_DELAY_MS }
}

/// A delay from nothing to `ceiling`.
fn jitter_ms(ceiling: u64, random: &mut fastrand::Rng) -> u64 {
    match random.u64(0..=ceiling) {
        _ if is_active(Mutation::SkipBackoff) => 0,
        _ if is_active(Mutation::SkipJitter) => ceiling,
        delay => delay,
    }
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
        if is_active(Mutation::SkipTokens) { 0 } else { self.filled_ms.min(0).unsigned_abs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const RETRY_TIME_MS: u64 = 900_000;

    fn failure(error: &Error, attempts: u32) -> Failure<'_> {
        let retry_time_ms = RETRY_TIME_MS;
        Failure { error, attempts, elapsed_ms: 0, retry_after_ms: None, answered: true, retry_time_ms }
    }

    fn slow() -> Error {
        Error::new(Code::Unavailable, "x").with_reply(503, "SlowDown", "").retryable()
    }

    #[test]
    fn backoff_grows_up_to_a_limit() {
        let mut random = fastrand::Rng::with_seed(1);
        let lost = Error::new(Code::ConnectionLost, "x");
        for attempts in 1..40 {
            let limit = (FIRST_DELAY_MS << (attempts - 1).min(16)).min(MAX_DELAY_MS);
            for _ in 0..200 {
                assert!(delay_ms(failure(&lost, attempts), &mut random).unwrap() <= limit, "{attempts}");
            }
        }
    }

    /// An outage of any kind ends a request only after the whole time, whatever the number of attempts.
    #[test]
    fn a_store_that_is_away_is_tried_for_the_retry_time() {
        let mut random = fastrand::Rng::with_seed(1);
        let reply = |status| Error::new(Code::Unavailable, "x").with_reply(status, "", "").retryable();
        let mut errors: Vec<Error> = [429, 500, 502, 503, 520].map(reply).into();
        let codes = [Code::Connect, Code::ConnectionLost, Code::TimedOut, Code::Resolve, Code::Proxy];
        errors.extend(codes.map(|code| Error::new(code, "x")));
        for error in &errors {
            for retry_time_ms in [0, 1, FIRST_MS, RETRY_TIME_MS] {
                let (mut elapsed_ms, mut attempts) = (0, 1);
                while let Some(delay) =
                    delay_ms(Failure { elapsed_ms, retry_time_ms, ..failure(error, attempts) }, &mut random)
                {
                    (elapsed_ms, attempts) = (elapsed_ms + delay, attempts + 1);
                }
                assert!(elapsed_ms == retry_time_ms || retry_time_ms == 1, "{error}: the last attempt is at the end");
            }
        }
    }

    /// An attempt may take a minute: it must not be the only one.
    #[test]
    fn a_request_that_timed_out_has_a_few_attempts_in_any_case() {
        let mut random = fastrand::Rng::with_seed(1);
        let slow = Error::new(Code::TimedOut, "x");
        let late = |attempts| Failure { elapsed_ms: 60_000, retry_time_ms: FIRST_MS, ..failure(&slow, attempts) };
        assert!((1..LEAST_ATTEMPTS).all(|attempts| delay_ms(late(attempts), &mut random).is_some()));
        assert_eq!(delay_ms(late(LEAST_ATTEMPTS), &mut random), None);
        assert_eq!(delay_ms(Failure { retry_time_ms: 0, ..late(1) }, &mut random), None);
    }

    #[test]
    fn what_a_store_refuses_is_tried_a_few_times() {
        let mut random = fastrand::Rng::with_seed(1);
        let digest = Error::new(Code::Store, "x").with_reply(400, "BadDigest", "").retryable();
        assert!(delay_ms(failure(&digest, ATTEMPTS - 1), &mut random).is_some());
        assert_eq!(delay_ms(failure(&digest, ATTEMPTS), &mut random), None);
    }

    /// A name with a typing error must show at once; one that did resolve will again.
    #[test]
    fn names_and_proxies_are_retried_once_the_store_has_answered() {
        let mut random = fastrand::Rng::with_seed(1);
        for code in [Code::Resolve, Code::Proxy] {
            let error = Error::new(code, "x");
            assert!(delay_ms(failure(&error, 1), &mut random).is_some());
            assert_eq!(delay_ms(Failure { answered: false, ..failure(&error, 1) }, &mut random), None);
        }
        let certificate = Error::new(Code::Certificate, "x");
        assert_eq!(delay_ms(failure(&certificate, 1), &mut random), None);
    }

    #[test]
    fn a_wish_to_wait_is_granted_up_to_a_limit() {
        let mut random = fastrand::Rng::with_seed(1);
        let slow = slow();
        let asked = |ms| Failure { retry_after_ms: Some(ms), ..failure(&slow, 1) };
        assert!((7_000..=7_100).contains(&delay_ms(asked(7_000), &mut random).unwrap()));
        for ms in [60_000, 61_000, 300_000, u64::MAX] {
            let delay = delay_ms(asked(ms), &mut random).unwrap();
            assert!((MAX_RETRY_AFTER_MS..=MAX_RETRY_AFTER_MS + FIRST_DELAY_MS).contains(&delay), "{ms}: {delay}");
        }
        let late = Failure { elapsed_ms: RETRY_TIME_MS - 500, ..asked(60_000) };
        assert_eq!(delay_ms(late, &mut random), Some(500), "there is time for one more");
        let over = Failure { elapsed_ms: RETRY_TIME_MS, ..asked(60_000) };
        assert!(delay_ms(over, &mut random).unwrap() <= FIRST_DELAY_MS, "there is none to wait");
    }

    #[test]
    fn delays_are_spread_from_nothing_to_their_limit() {
        let mut random = fastrand::Rng::with_seed(1);
        let slow = slow();
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
