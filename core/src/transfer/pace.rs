//! How many parts or slices a transfer has under way: more while more bring more, half where the store asks for it.
//!
//! Throughput is compared from epoch to epoch. A step up that brought too little is taken back, and after a while tried
//! again, since lines and stores change: the slow start and the hill climbing of additive-increase congestion controls, on
//! throughput in place of losses, with the multiplicative decrease of theirs (RFC 5681 §3.1) where the store says SlowDown.
//! The start doubles, and its epochs are as short as they come: a transfer may be over in a second.

use super::{WIDEST, WINDOW};
use crate::op::Session;
use crate::time::Now;

/// A file's parts and a download's slices, at most.
pub(crate) const FILE: u32 = WIDEST;
/// A stream's parts, at most: each is held in memory.
pub(crate) const STREAM: u32 = WINDOW;
/// An epoch lasts at least so long, in milliseconds, and at least as many parts as are under way.
const EPOCH_MS: u64 = 200;
/// A step up is kept that brought so many per cent; and one of the start's, which doubles.
const GAIN: u128 = 5;
const START_GAIN: u128 = 25;
/// So many epochs pass before the next step up, after one that was taken back or a SlowDown.
const HOLD: u32 = 8;
/// What was under way at a SlowDown hears of the same: it halves once in so many milliseconds.
const HALVING_MS: u64 = 1_000;

/// The width of one transfer.
#[derive(Debug)]
pub(crate) struct Pace {
    width: u32,
    most: u32,
    /// Until a step up brings too little.
    starting: bool,
    /// What an epoch counts: when it began, and the parts and bytes that were finished since.
    began: Option<u64>,
    parts: u32,
    bytes: u64,
    /// The width before the step that is on trial, and the bytes and milliseconds of the epoch before it.
    trial: Option<(u32, (u64, u64))>,
    hold: u32,
    halved: Option<u64>,
    /// Of [`Session::slow_downs`], those that were heard.
    heard: u64,
}

impl Pace {
    /// At most so many under way.
    pub(crate) fn new(most: u32) -> Pace {
        let width = WINDOW.min(most);
        Pace {
            width,
            most,
            starting: true,
            began: None,
            parts: 0,
            bytes: 0,
            trial: None,
            hold: 0,
            halved: None,
            heard: 0,
        }
    }

    /// How many may be under way now.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    /// The transfer has begun, or goes on after it had nothing to do: time counts from here on.
    pub(crate) fn begin(&mut self, now: Now) {
        self.began.get_or_insert(now.mono_ms);
    }

    /// A part or slice of so many bytes is there.
    pub(crate) fn finished(&mut self, now: Now, bytes: u64) {
        let began = *self.began.get_or_insert(now.mono_ms);
        self.parts += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let took = now.mono_ms.saturating_sub(began);
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
        } else if self.width < self.most {
            self.trial = Some((self.width, epoch));
            let step = if self.starting { self.width } else { (self.width / 4).max(1) };
            self.width = (self.width + step).min(self.most);
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

    /// Takes notice of what the transfer's calls were told.
    pub(crate) fn heed(&mut self, session: &Session, now: Now) {
        if session.slow_downs() > self.heard {
            self.heard = session.slow_downs();
            self.slowed(now);
        }
    }

    fn restart(&mut self, now: Now) {
        (self.began, self.parts, self.bytes) = (Some(now.mono_ms), 0, 0);
    }
}

/// Whether the throughput of the second of these epochs (bytes, milliseconds) is so many per cent above the first's.
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

    /// A line that moves a part in `part_ms`, one after the other, with `delay_ms` more to its answer. The widths after
    /// each part, and the time that all took.
    fn line(pace: &mut Pace, parts: u32, part_ms: u64, delay_ms: u64, from: u64) -> (Vec<u32>, u64) {
        let (mut line_free, mut now, mut begun, mut widths) = (from, from, 0, Vec::new());
        let mut under_way = BinaryHeap::new();
        pace.begin(at(now));
        while widths.len() < parts as usize {
            while begun < parts && (under_way.len() as u32) < pace.width() {
                line_free = line_free.max(now) + part_ms;
                under_way.push(Reverse(line_free + delay_ms));
                begun += 1;
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
        // 100 ms of delay and 10 of line a part: eleven fill it.
        let (widths, _) = line(&mut Pace::new(FILE), 3_000, 10, 100, 0);
        let late = &widths[1_000..];
        let often = |width: u32| late.iter().filter(|found| **found == width).count();
        assert!(late.iter().all(|width| (10..=20).contains(width)), "{late:?}");
        assert!((10..=16).map(often).sum::<usize>() * 10 > late.len() * 8, "{late:?}");
    }

    #[test]
    fn one_that_nothing_fills_gets_the_most() {
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
    fn a_line_that_changes_is_followed() {
        let mut pace = Pace::new(FILE);
        let (widths, took) = line(&mut pace, 1_000, 50, 10, 0);
        assert!(widths[999] <= 10);
        let (widths, _) = line(&mut pace, 3_000, 1, 1_000, took);
        assert_eq!(widths[2_999], 32);
    }

    #[test]
    fn a_slow_down_halves_once_for_all_that_was_under_way_and_holds() {
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
