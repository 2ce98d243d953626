//! The wall clock and the monotonic clock, which are passed to core.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use s3vault_core::time::Now;

/// Reads both clocks.
pub(crate) fn now() -> Now {
    let unix_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    };
    Now { unix_ms, mono_ms: mono_ms() }
}

/// Milliseconds since boot, including time asleep: a dated request must not outlive its date because the machine was
/// suspended, and `CLOCK_MONOTONIC` stops then.
pub(crate) fn mono_ms() -> u64 {
    let since_boot =
        clock_gettime(ClockId::CLOCK_BOOTTIME).or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC)).map(Duration::from);
    since_boot.map_or(0, |since| since.as_millis() as u64)
}

/// Time from now until this monotonic time, but at most `limit`: timers stop while the machine is suspended, so a longer
/// sleep would end too late.
pub(crate) fn until(mono: u64, limit: Duration) -> Duration {
    Duration::from_millis(mono.saturating_sub(mono_ms())).min(limit)
}
