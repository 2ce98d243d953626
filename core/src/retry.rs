//! When to try again: full-jitter backoff, for failures after which the same request may succeed.

use crate::error::{Error, Family};

/// Attempts of one request, the first one included.
pub const ATTEMPTS: u32 = 6;
const FIRST_MS: u64 = 100;
const MOST_MS: u64 = 10_000;

/// Whether the same request may succeed when it is sent again.
pub fn may_help(error: &Error) -> bool {
    error.is_retryable() || error.family() == Family::Transport && !is_lasting(error)
}

/// A certificate that is not trusted, a name that does not resolve, or a proxy that refuses, will be so in a second.
fn is_lasting(error: &Error) -> bool {
    matches!(error.code(), crate::Code::Certificate | crate::Code::Resolve | crate::Code::Proxy)
}

/// How long to wait before the attempt after `attempts`, in milliseconds; `None` where there is none.
pub fn delay_ms(attempts: u32, random: &mut fastrand::Rng) -> Option<u64> {
    if attempts >= ATTEMPTS {
        return None;
    }
    let most = FIRST_MS.saturating_mul(1 << (attempts.max(1) - 1).min(16)).min(MOST_MS);
    Some(random.u64(0..=most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_backoff_grows_is_bounded_and_ends() {
        let mut random = fastrand::Rng::with_seed(1);
        for attempts in 1..ATTEMPTS {
            for _ in 0..200 {
                assert!(delay_ms(attempts, &mut random).unwrap() <= FIRST_MS << (attempts - 1));
            }
        }
        assert_eq!(delay_ms(ATTEMPTS, &mut random), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let e = |code| Error::new(code, "x");
        assert!(may_help(&e(Code::Connect)) && may_help(&e(Code::TimedOut)) && may_help(&e(Code::Store).retryable()));
        for code in [Code::Certificate, Code::Resolve, Code::Proxy, Code::AccessDenied, Code::Store, Code::DiskFull] {
            assert!(!may_help(&e(code)), "{code:?}");
        }
    }
}
