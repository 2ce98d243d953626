//! The adaptive first-byte time-out: how long to wait from a request's last byte to its reply's first byte before the
//! request is hedged, that is, sent again on another connection.
//!
//! A few of a store's replies to parts take seconds while all others take milliseconds; another attempt reaches another
//! server and is quick ("Performance design patterns for Amazon S3: Timeouts and retries for latency-sensitive
//! applications"). The time-out is learned from the store's own replies; it is not a setting.

/// Number of replies that must be measured before a reply can be late.
const MIN_SAMPLES: usize = 16;
/// Number of the latest replies whose times are kept.
const SAMPLES: usize = 128;
/// A reply is late after this many times the 95th percentile.
const FACTOR: u64 = 4;
/// Smallest time-out in milliseconds.
const MIN_MS: u64 = 1_000;
/// Largest time-out in milliseconds.
const MAX_MS: u64 = 30_000;
/// How often one call is hedged at most.
pub(crate) const MAX_HEDGES: u32 = 2;
/// How often all calls together are hedged at most, plus once per [`CALLS_PER_HEDGE`] calls.
const INITIAL_HEDGES: u64 = 4;
const CALLS_PER_HEDGE: u64 = 20;

/// The times of a store's replies to requests with payload, and the count of hedges. All calls share it.
#[derive(Debug)]
pub(crate) struct FirstBytes {
    /// Ring buffer of reply times in milliseconds.
    took: [u32; SAMPLES],
    count: usize,
    calls: u64,
    hedges: u64,
}

impl Default for FirstBytes {
    fn default() -> FirstBytes {
        FirstBytes { took: [0; SAMPLES], count: 0, calls: 0, hedges: 0 }
    }
}

impl FirstBytes {
    /// Counts a call whose first attempt was sent.
    pub(crate) fn started(&mut self) {
        self.calls += 1;
    }

    /// Records that a reply started after `ms` milliseconds.
    pub(crate) fn answered(&mut self, ms: u64) {
        self.took[self.count % SAMPLES] = ms.min(u64::from(u32::MAX)) as u32;
        self.count += 1;
    }

    /// How long to wait for the reply of a call that was hedged `hedges` times, in milliseconds; `None`: without limit.
    pub(crate) fn limit_ms(&self, hedges: u32) -> Option<u64> {
        if self.count < MIN_SAMPLES || hedges >= MAX_HEDGES {
            return None;
        }
        let mut took = self.took;
        let took = &mut took[..self.count.min(SAMPLES)];
        // The 95th percentile by nearest rank.
        let rank = (took.len() * 95).div_ceil(100) - 1;
        let (_, percentile, _) = took.select_nth_unstable(rank);
        Some((u64::from(*percentile) * FACTOR).clamp(MIN_MS, MAX_MS) << hedges)
    }

    /// Whether a late attempt may be hedged; if so, it is counted.
    pub(crate) fn take_hedge(&mut self) -> bool {
        let is_free = self.hedges < INITIAL_HEDGES + self.calls / CALLS_PER_HEDGE;
        self.hedges += u64::from(is_free);
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn after(took: impl IntoIterator<Item = u64>) -> Option<u64> {
        let mut first_bytes = FirstBytes::default();
        took.into_iter().for_each(|ms| first_bytes.answered(ms));
        first_bytes.limit_ms(0)
    }

    #[test]
    fn the_time_out_is_four_times_the_95th_percentile() {
        assert_eq!(after(vec![500; 15]), None, "too few samples");
        assert_eq!(after(vec![500; 16]), Some(2_000));
        assert_eq!(after((1..=100).map(|n| n * 10)), Some(3_800));
        assert_eq!(after([vec![400; 95], vec![9_000; 5]].concat()), Some(1_600), "the slowest 5 of 100 do not count");
        assert_eq!(after(vec![1; 20]), Some(1_000), "never less than a second");
        assert_eq!(after(vec![60_000; 20]), Some(30_000), "never more than half a minute");
        assert_eq!(after([vec![7_000; 500], vec![500; 128]].concat()), Some(2_000), "only the last 128 count");
    }

    #[test]
    fn a_call_is_hedged_twice_and_the_time_out_doubles() {
        let mut first_bytes = FirstBytes::default();
        (0..16).for_each(|_| first_bytes.answered(500));
        assert_eq!((0..3).map(|n| first_bytes.limit_ms(n)).collect::<Vec<_>>(), [Some(2_000), Some(4_000), None]);
    }

    #[test]
    fn one_call_in_twenty_is_hedged_plus_four_at_the_start() {
        let mut first_bytes = FirstBytes::default();
        let hedged = |first_bytes: &mut FirstBytes| (0..1_000).filter(|_| first_bytes.take_hedge()).count();
        assert_eq!(hedged(&mut first_bytes), 4);
        (0..100).for_each(|_| first_bytes.started());
        assert_eq!(hedged(&mut first_bytes), 5);
        (0..19).for_each(|_| first_bytes.started());
        assert_eq!(hedged(&mut first_bytes), 0);
    }
}
