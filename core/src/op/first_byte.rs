//! How long a store may take from a request's last byte to its reply's first one, before another attempt is quicker.
//!
//! Of a store's parts some few hang for seconds while all others take milliseconds; another attempt goes to another
//! server and is done at once ("Performance design patterns for Amazon S3: Timeouts and retries for latency-sensitive
//! applications"). What is slow is learned from the store's own answers, never set.

/// So many answers are needed before any is late.
const NEEDED: usize = 16;
/// So many are kept.
const KEPT: usize = 128;
/// Late is what takes so many times as long as 95 of 100 do, but within these bounds, in milliseconds.
const TIMES: u64 = 4;
const LEAST_MS: u64 = 1_000;
const MOST_MS: u64 = 30_000;
/// A call is hedged so often.
pub(crate) const HEDGES: u32 = 2;
/// All calls together are hedged so often, and once more for each twenty of them.
const HEDGES_AT_FIRST: u64 = 4;
const CALLS_PER_HEDGE: u64 = 20;

/// What a store's answers to payload took, and how often one of them was not waited for. All calls share it.
#[derive(Debug)]
pub(crate) struct FirstBytes {
    /// A ring, in milliseconds.
    took: [u32; KEPT],
    count: usize,
    calls: u64,
    hedges: u64,
}

impl Default for FirstBytes {
    fn default() -> FirstBytes {
        FirstBytes { took: [0; KEPT], count: 0, calls: 0, hedges: 0 }
    }
}

impl FirstBytes {
    /// A call's first attempt is on its way.
    pub(crate) fn began(&mut self) {
        self.calls += 1;
    }

    /// A reply began after so long.
    pub(crate) fn answered(&mut self, ms: u64) {
        self.took[self.count % KEPT] = ms.min(u64::from(u32::MAX)) as u32;
        self.count += 1;
    }

    /// How long to wait for a reply, in milliseconds, after the call was hedged so often.
    pub(crate) fn limit_ms(&self, hedges: u32) -> Option<u64> {
        if self.count < NEEDED || hedges >= HEDGES {
            return None;
        }
        let mut took = self.took;
        let took = &mut took[..self.count.min(KEPT)];
        // The nearest rank.
        let rank = (took.len() * 95).div_ceil(100) - 1;
        let (_, most, _) = took.select_nth_unstable(rank);
        Some((u64::from(*most) * TIMES).clamp(LEAST_MS, MOST_MS) << hedges)
    }

    /// Whether another attempt may be made in place of one that is late.
    pub(crate) fn take_hedge(&mut self) -> bool {
        let is_free = self.hedges < HEDGES_AT_FIRST + self.calls / CALLS_PER_HEDGE;
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
    fn late_is_four_times_what_95_of_100_take() {
        assert_eq!(after(vec![500; 15]), None, "too few to know");
        assert_eq!(after(vec![500; 16]), Some(2_000));
        assert_eq!(after((1..=100).map(|n| n * 10)), Some(3_800));
        assert_eq!(after([vec![400; 95], vec![9_000; 5]].concat()), Some(1_600), "the slow ones do not count");
        assert_eq!(after(vec![1; 20]), Some(1_000), "never less than a second");
        assert_eq!(after(vec![60_000; 20]), Some(30_000), "never more than half a minute");
        assert_eq!(after([vec![7_000; 500], vec![500; 128]].concat()), Some(2_000), "only the last 128 count");
    }

    #[test]
    fn each_hedge_of_a_call_waits_twice_as_long_and_there_are_two() {
        let mut first_bytes = FirstBytes::default();
        (0..16).for_each(|_| first_bytes.answered(500));
        assert_eq!((0..3).map(|n| first_bytes.limit_ms(n)).collect::<Vec<_>>(), [Some(2_000), Some(4_000), None]);
    }

    #[test]
    fn one_call_in_twenty_is_hedged_and_a_few_at_first() {
        let mut first_bytes = FirstBytes::default();
        let hedged = |first_bytes: &mut FirstBytes| (0..1_000).filter(|_| first_bytes.take_hedge()).count();
        assert_eq!(hedged(&mut first_bytes), 4);
        (0..100).for_each(|_| first_bytes.began());
        assert_eq!(hedged(&mut first_bytes), 5);
        (0..19).for_each(|_| first_bytes.began());
        assert_eq!(hedged(&mut first_bytes), 0);
    }
}
