//! The two clocks that core is given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use s3vault_core::time::Now;

/// Both clocks now.
pub(crate) fn now() -> Now {
    let unix_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    };
    Now { unix_ms, mono_ms: mono_ms() }
}

/// Milliseconds since boot, sleep included: a dated request must not outlive its date because the machine
/// was suspended, and `CLOCK_MONOTONIC` stands still then.
pub(crate) fn mono_ms() -> u64 {
    let since_boot =
        clock_gettime(ClockId::CLOCK_BOOTTIME).or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC)).map(Duration::from);
    since_boot.map_or(0, |since| since.as_millis() as u64)
}

/// How long from now until this monotonic time, but at most `limit`: a longer sleep would not notice that the
/// machine was suspended, since timers stand still then.
pub(crate) fn until(mono: u64, limit: Duration) -> Duration {
    Duration::from_millis(mono.saturating_sub(mono_ms())).min(limit)
}
