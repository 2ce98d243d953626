//! How many parts or slices a transfer has in flight: more while that raises the throughput, half when the store asks
//! to slow down.
//!
//! Throughput is compared from epoch to epoch. A step up that gained too little is taken back and tried again later,
//! since networks and stores change. These are the slow start and the hill climbing of additive-increase congestion
//! control, driven by throughput instead of losses, with its multiplicative decrease (RFC 5681 §3.1) when the store
//! answers SlowDown. During the start the width doubles, and epochs have no minimum duration: a transfer may be over in
//! a second.

use super::{WIDEST, WINDOW};
use crate::op::Session;
use crate::time::Now;

/// Maximum width of a file's upload and of a download into a file.
pub(crate) const FILE: u32 = WIDEST;
/// Maximum width of a stream: each of its parts is held in memory.
pub(crate) const STREAM: u32 = WINDOW;
/// Minimum duration of an epoch in milliseconds. It also lasts for at least as many parts as are in flight.
const EPOCH_MS: u64 = 200;
/// Gain in per cent that keeps a step up; and that keeps one of the start's, which doubles the width.
const GAIN: u128 = 5;
const START_GAIN: u128 = 25;
/// Number of epochs before the next step up, after one that was taken back or after a SlowDown.
const HOLD: u32 = 8;
/// The width is halved at most once in this many milliseconds: requests in flight together all report the same
/// SlowDown.
const HALVING_MS: u64 = 1_000;

/// The width of one transfer.
#[derive(Debug)]
pub(crate) struct Pace {
    width: u32,
    max: u32,
    /// The width still doubles: no step up has gained too little yet.
    starting: bool,
    /// The current epoch: its start, and the parts and bytes finished since.
    epoch_start: Option<u64>,
    parts: u32,
    bytes: u64,
    /// The width before the step on trial, and the bytes and milliseconds of the epoch before it.
    trial: Option<(u32, (u64, u64))>,
    hold: u32,
    halved: Option<u64>,
    /// How many of [`Session::slow_downs`] were taken into account.
    seen_slow_downs: u64,
}

impl Pace {
    /// A pace with at most `max` in flight.
    pub(crate) fn new(max: u32) -> Pace {
        let width = WINDOW.min(max);
        Pace {
            width,
            max,
            starting: true,
            epoch_start: None,
            parts: 0,
            bytes: 0,
            trial: None,
            hold: 0,
            halved: None,
            seen_slow_downs: 0,
        }
    }

    /// How many may be in flight now.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    /// The transfer has started, or resumes after it had nothing to do: time counts from here on.
    pub(crate) fn start(&mut self, now: Now) {
        self.epoch_start.get_or_insert(now.mono_ms);
    }

    /// A part or slice of this many bytes is finished.
    pub(crate) fn finished(&mut self, now: Now, bytes: u64) {
        let epoch_start = *self.epoch_start.get_or_insert(now.mono_ms);
        self.parts += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let took = now.mono_ms.saturating_sub(epoch_start);
        if self.parts < self.width || (took < EPOCH_MS && !self.starting) {
            return;
        }
        let epoch = (self.bytes, took);
        self.restart(now);
        let gain = if self.starting { START_GAIN } else { GAIN };
        if let Some((width, before)) = self.trial.take()
            && !is_gain(before, epoch, gain)
        {
            self.width = width;
            self.hold = if self.starting { 0 } else { HOLD };
            self.starting = false;
        } else if self.hold > 0 {
            self.hold -= 1;
        } else if self.width < self.max {
            self.trial = Some((self.width, epoch));
            let step = if self.starting { self.width } else { (self.width / 4).max(1) };
            self.width = (self.width + step).min(self.max);
        }
    }

    /// The store has asked to slow down.
    pub(crate) fn slowed(&mut self, now: Now) {
        if self.halved.is_some_and(|at| now.mono_ms.saturating_sub(at) < HALVING_MS) {
            return;
        }
        self.halved = Some(now.mono_ms);
        self.width = (self.width / 2).max(1);
        self.trial = None;
        self.starting = false;
        self.hold = HOLD;
        self.restart(now);
    }

    /// Takes into account the SlowDown answers that the transfer's calls received.
    pub(crate) fn observe(&mut self, session: &Session, now: Now) {
        if session.slow_downs() > self.seen_slow_downs {
            self.seen_slow_downs = session.slow_downs();
            self.slowed(now);
        }
    }

    fn restart(&mut self, now: Now) {
        (self.epoch_start, self.parts, self.bytes) = (Some(now.mono_ms), 0, 0);
    }
}

/// Whether the throughput of the second of these epochs (bytes, milliseconds) is at least this many per cent above the
/// first's.
fn is_gain(before: (u64, u64), after: (u64, u64), percent: u128) -> bool {
    let product = |bytes: u64, ms: u64| u128::from(bytes) * u128::from(ms.max(1));
    product(after.0, before.1) * 100 >= product(before.0, after.1) * (100 + percent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const PART: u64 = 8 << 20;

    fn at(mono_ms: u64) -> Now {
        Now { unix_ms: 0, mono_ms }
    }

    /// A network that moves one part after another, each in `part_ms`, and delays its answer by `delay_ms`. Returns the
    /// width after each part, and the total time.
    fn line(pace: &mut Pace, parts: u32, part_ms: u64, delay_ms: u64, from: u64) -> (Vec<u32>, u64) {
        let (mut line_free, mut now, mut started, mut widths) = (from, from, 0, Vec::new());
        let mut under_way = BinaryHeap::new();
        pace.start(at(now));
        while widths.len() < parts as usize {
            while started < parts && (under_way.len() as u32) < pace.width() {
                line_free = line_free.max(now) + part_ms;
                under_way.push(Reverse(line_free + delay_ms));
                started += 1;
            }
            let Some(Reverse(done)) = under_way.pop() else { break };
            now = done;
            pace.finished(at(now), PART);
            widths.push(pace.width());
        }
        (widths, now - from)
    }

    #[test]
    fn a_long_line_gets_as_many_as_fill_it() {
        // With a delay of 100 ms and 10 ms a part, eleven parts fill the line.
        let (widths, _) = line(&mut Pace::new(FILE), 3_000, 10, 100, 0);
        let late = &widths[1_000..];
        let often = |width: u32| late.iter().filter(|found| **found == width).count();
        assert!(late.iter().all(|width| (10..=20).contains(width)), "{late:?}");
        assert!((10..=16).map(often).sum::<usize>() * 10 > late.len() * 8, "{late:?}");
    }

    #[test]
    fn a_line_that_nothing_fills_gets_the_maximum() {
        let (widths, _) = line(&mut Pace::new(FILE), 3_000, 1, 1_000, 0);
        assert_eq!((widths[0], widths[2_999], widths.iter().max()), (8, 32, Some(&32)));
        let (widths, _) = line(&mut Pace::new(STREAM), 3_000, 1, 1_000, 0);
        assert!(widths.iter().all(|width| *width == 8), "a stream has no more than eight");
    }

    #[test]
    fn the_start_doubles_while_that_brings_more() {
        let (widths, took) = line(&mut Pace::new(FILE), 128, 2, 100, 0);
        assert_eq!((widths[6], widths[7], widths[22], widths[23]), (8, 16, 16, 32), "{widths:?}");
        assert!(took < 800, "sixteen rounds of eight take 1,600 ms, and this took {took}");
    }

    #[test]
    fn a_short_line_keeps_eight_and_tries_more_only_now_and_then() {
        let (widths, _) = line(&mut Pace::new(FILE), 1_000, 50, 10, 0);
        assert!(widths[..24].iter().all(|width| (8..=16).contains(width)), "{widths:?}");
        assert!(widths[24..].iter().all(|width| (8..=10).contains(width)), "{widths:?}");
        let more = widths.iter().filter(|width| **width == 10).count();
        assert!((1..=250).contains(&more), "{more} of 1000 parts were tries");
    }

    #[test]
    fn the_width_follows_a_line_that_changes() {
        let mut pace = Pace::new(FILE);
        let (widths, took) = line(&mut pace, 1_000, 50, 10, 0);
        assert!(widths[999] <= 10);
        let (widths, _) = line(&mut pace, 3_000, 1, 1_000, took);
        assert_eq!(widths[2_999], 32);
    }

    #[test]
    fn a_slow_down_halves_once_for_all_requests_in_flight_and_holds() {
        let mut pace = Pace::new(FILE);
        let (_, end) = line(&mut pace, 3_000, 1, 1_000, 0);
        assert_eq!(pace.width(), 32);
        (0..32).for_each(|n| pace.slowed(at(end + n)));
        assert_eq!(pace.width(), 16);
        let (widths, took) = line(&mut pace, 16 * HOLD, 1, 1_000, end + 40);
        assert!(widths.iter().all(|width| *width == 16), "it holds: {widths:?}");
        for (n, width) in [8, 4, 2, 1, 1].into_iter().enumerate() {
            pace.slowed(at(end + took + 2_000 * (n as u64 + 1)));
            assert_eq!(pace.width(), width);
        }
        let (widths, _) = line(&mut pace, 3_000, 1, 1_000, end + took + 20_000);
        assert_eq!(widths[2_999], 32, "from one it grows again");
    }
}
