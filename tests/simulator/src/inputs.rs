//! The second set of inputs: what a seed means since [`INPUTS`](crate::case::INPUTS) is 2. It is drawn from randomness of
//! its own, so that lines of the first set keep their meaning.

use s3_model::{Accepts, Whole};
use s3vault_core::profile::{Profile, S3};

use crate::case::Case;
use crate::content::mix;
use crate::mode::Mode;
use crate::scenario::{Action, Fault, Injection, PutSpec, Scenario, Trigger};

const MIB: u64 = 1 << 20;
const MINUTE: i64 = 60_000;

/// The region that requests are signed for unless another one was learned: core's default.
pub const DEFAULT_REGION: &str = "us-east-1";

/// Values of the setting `retry_time` in seconds: most outages outlast the first ones.
const RETRY_TIMES: [u64; 4] = [1, 5, 60, 900];

/// Where the bucket is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Region {
    /// In the region that requests are signed for.
    #[default]
    Default,
    /// In another one. No region is configured, so the right one is learned from a refusal.
    Unknown,
    /// In another one, and the wrong one is configured: it is never corrected, so nothing succeeds.
    Misconfigured,
}

impl Region {
    /// The region that the store accepts signatures for.
    pub fn name(self) -> &'static str {
        if self == Region::Default { DEFAULT_REGION } else { "eu-west-1" }
    }
}

/// What only the second set has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    /// There are reads of the latest version and as of a time, and listings, while puts run.
    pub has_lookups: bool,
    /// Where the bucket is.
    pub region: Region,
    /// The setting `record_after_store`.
    pub record_after_store: bool,
    /// The second name is so long that its segment in keys is a hash.
    pub has_long_name: bool,
    /// Faults are transient and rare: everything succeeds.
    pub is_mild: bool,
    /// The setting `retry_time`, in seconds; 0: its default.
    pub retry_time: u64,
    /// In a storm requests are refused with 429 instead of 503.
    pub storm_is_429: bool,
    /// The `Retry-After` of a storm in seconds; 0 for none.
    pub storm_asks: u64,
    /// A proxy replaces the `Date` of each reply by that of a clock which differs by so many milliseconds; 0 for none.
    pub proxy_ms: i64,
    /// Some pages say in another word than `true` that they are truncated.
    pub has_other_truncated: bool,
    /// The vault's mode.
    pub mode: Mode,
}

impl Scenario {
    /// Adds what only the second set has.
    pub(crate) fn extend(&mut self, case: &Case) {
        let mut random = fastrand::Rng::with_seed(mix(case.seed, 6));
        let mut retry = fastrand::Rng::with_seed(mix(case.seed, 10));
        let is_calm = self.is_calm();
        self.second = Second {
            has_lookups: true,
            region: match random.u32(0..32) {
                0 => Region::Misconfigured,
                1..=4 => Region::Unknown,
                _ => Region::Default,
            },
            record_after_store: random.bool(),
            has_long_name: random.bool(),
            is_mild: !is_calm && random.u32(0..8) == 0,
            retry_time: if is_calm { 0 } else { RETRY_TIMES[retry.usize(0..RETRY_TIMES.len())] },
            storm_is_429: random.bool(),
            storm_asks: [0, 0, 1, 30][random.usize(0..4)],
            ..Second::default()
        };
        if self.puts.len() < 3 && random.bool() {
            self.puts.push(small_put(&mut random, case.shorter));
        }
        let first = self.puts.first().map_or(0, |put| put.name);
        for put in self.puts.iter_mut().skip(1) {
            if random.bool() {
                (put.is_incremental, put.name) = (true, first);
                put.start = random.u64(0..900_000);
            }
        }
        self.second.is_mild &= self.second.region != Region::Misconfigured;
        if self.second.is_mild {
            self.second.retry_time = 0;
            self.injections.clear();
            self.faults = [20, 60, 100][random.usize(0..3)];
        } else if !is_calm {
            self.inject_more(&mut random);
        }
        if case.inputs > 2 {
            self.extend_again(case);
        }
        if case.inputs > 3 {
            // What came with the fourth set.
            let mut random = fastrand::Rng::with_seed(mix(case.seed, 14));
            self.second.mode = if random.u32(0..3) == 0 { Mode::Emulated } else { Mode::Native };
        }
    }

    /// Adds what came with the third set.
    fn extend_again(&mut self, case: &Case) {
        self.do_less(&mut fastrand::Rng::with_seed(mix(case.seed, 0x1E55)));
        let mut random = fastrand::Rng::with_seed(mix(case.seed, 12));
        self.second.has_other_truncated =
            self.quirks.page < 1000 && !self.is_calm() && !self.second.is_mild && random.bool();
        // Whose clock is right cannot be told if two are wrong.
        let is_set = |action| matches!(action, Action::ClientClock(_) | Action::StoreClock(_));
        let are_right = !self.injections.iter().any(|injection| is_set(injection.action));
        if random.u32(0..4) == 0 && are_right {
            let minutes = random.i64(16..90);
            self.second.proxy_ms = if random.bool() { minutes * MINUTE } else { -minutes * MINUTE };
        }
    }

    /// Some stores refuse checksums, store the framing of aws-chunked as data, or show wrong checksums of whole objects.
    fn do_less(&mut self, random: &mut fastrand::Rng) {
        match random.u32(0..24) {
            0..=2 => self.quirks.accepts = Accepts::Headers,
            3..=5 => (self.quirks.accepts, self.profile.checksums) = (Accepts::Md5, false),
            6 | 7 => (self.quirks.keeps_framing, self.profile.checksums) = (true, false),
            8 => self.quirks.whole = Whole::Composite,
            9 | 10 => self.quirks.whole = Whole::Wrong,
            11 | 12 => self.quirks.whole = Whole::Refused,
            _ => {}
        }
    }

    /// So many requests are refused at once that their retries have to wait for tokens.
    fn crowd(&mut self, random: &mut fastrand::Rng) {
        let put = PutSpec { start: 0, length: 640 * MIB, is_file: true, slowness: 0, ..self.puts[0].clone() };
        // The first two share an account, and with it the tokens.
        self.puts.resize(self.puts.len().max(2), put.clone());
        self.puts[..2].fill(put);
        (self.profile, self.trip, self.pace, self.faults) = (S3, 1, 200, 10);
        self.second.storm_asks = 0;
        let trigger = Trigger::Kind("UploadPart", random.u64(50..=70));
        self.injections.retain(|injection| injection.task > 1);
        self.injections.push(Injection { task: 0, reader: false, trigger, delay: 0, action: Action::Storm(20_000) });
    }

    /// A put is killed between two of its extents.
    fn kill_between_extents(&mut self) {
        let put = &mut self.puts[0];
        (put.length, put.has_checkpoint) = (104 * MIB, true);
        self.profile = Profile { max_parts: 6, max_object_size: 384 * MIB, ..S3 };
        let trigger = Trigger::Kind("CreateMultipartUpload", 2);
        self.injections.insert(0, Injection { task: 0, reader: false, trigger, delay: 0, action: Action::Crash });
    }

    fn inject_more(&mut self, random: &mut fastrand::Rng) {
        match random.u32(0..48) {
            0 | 1 => return self.crowd(random),
            2..=4 => self.kill_between_extents(),
            _ => {}
        }
        for injection in &mut self.injections {
            if let Action::StoreClock(step) = &mut injection.action
                && random.bool()
            {
                *step = -*step;
            }
        }
        for (task, put) in self.puts.iter().enumerate() {
            let parts = put.length >> 23;
            let part = Trigger::Kind("UploadPart", random.u64(1..=parts.clamp(1, 40)));
            let row = Trigger::Kind("row", 1);
            let get = Trigger::Kind("GetObject", random.u64(1..=4 + parts.min(40)));
            let storm = Action::Storm([2_000, 20_000, 400_000][random.usize(0..3)]);
            let minutes = [5, 40, 100][random.usize(0..3)];
            let back = Action::StoreClock(-random.i64(1_000..minutes * MINUTE));
            let soon = random.u64(0..=3 * self.trip);
            let mut delay = 0;
            let (reader, trigger, action) = match random.u32(0..20) {
                0 | 1 => (false, part, storm),
                2 => (true, get, storm),
                3 => (false, Trigger::Request(1), back),
                4 => (false, part, back),
                5 => (false, row, back),
                6 => (false, row, Action::FailAfter(400_000)),
                7 => (false, part, Action::FailAfter(20_000)),
                8 | 9 => (false, Trigger::Kind("CompleteMultipartUpload", 1), Action::Unreachable(400_000)),
                10 => (random.bool(), Trigger::Request(random.u64(1..10)), Action::Unreachable(2_000)),
                // While the record of the extent is written.
                11 | 12 if put.has_checkpoint => {
                    delay = random.u64(0..4);
                    (false, Trigger::Kind("UploadPart", 1), Action::Crash)
                }
                // Between two readings of a part.
                13..=15 if put.is_file => {
                    let action = Action::Break;
                    self.injections.push(Injection { task, reader: false, trigger: part, delay: soon + 1, action });
                    delay = soon;
                    (false, part, Action::Change(0))
                }
                _ => continue,
            };
            self.injections.push(Injection { task, reader, trigger, delay, action });
        }
    }

    /// Whether the n-th request of a task, a list, is answered with a page that says in another word that it is truncated.
    pub(crate) fn is_other_truncated(&self, seed: u64, task: usize, request: u64) -> bool {
        let mut random = fastrand::Rng::with_seed(mix(mix(seed, 0x7A6E_FA7E + task as u64), request));
        self.second.has_other_truncated && random.bool()
    }

    /// The fault of the n-th request of a task that only the second set has. `reads_row`: a listing reads a row with it.
    pub(crate) fn second_fault(&self, seed: u64, task: usize, request: u64, reads_row: bool) -> Option<Fault> {
        let mut random = fastrand::Rng::with_seed(mix(mix(seed, 0x5EC0_FA7E + task as u64), request));
        if reads_row && self.faults > 0 && random.u32(0..4) == 0 {
            return Some(Fault::RowGone);
        }
        if random.u64(0..1000) >= self.faults / 2 {
            // Only such a store does not notice it at once.
            let is_flipped = !self.profile.checksums && random.u64(0..1000) < self.faults / 8;
            return is_flipped.then_some(Fault::FlippedUp);
        }
        let status = [500, 502, 503, 504][random.usize(0..4)];
        Some(match random.u32(0..22) {
            0..=5 => Fault::NotSent,
            6..=11 => Fault::FailedAfter(status),
            12..=15 => Fault::Refused(429, "TooManyRequests", 0),
            16 | 17 => Fault::Refused(429, "TooManyRequests", [1, 5, 30, 90][random.usize(0..4)]),
            18 | 19 => Fault::Page(502, random.bool()),
            20 => Fault::Page(403, false),
            _ => Fault::Page(200, false),
        })
    }
}

impl Fault {
    /// Whether the fault is one after which another attempt of the same request must succeed.
    pub(crate) fn is_mild(self) -> bool {
        match self {
            Fault::LostBefore | Fault::LostAfter | Fault::NotSent | Fault::FailedAfter(_) | Fault::ErrorIn200 => true,
            Fault::Truncated | Fault::Slow(_) => true,
            Fault::Refused(_, _, after) => after <= 30,
            Fault::Page(status, _) => status == 502,
            // What is signed is read once, and TLS is what keeps it whole.
            Fault::FlippedDown => false,
            Fault::Late(_) | Fault::Twice(_) | Fault::FlippedUp | Fault::RowGone | Fault::OtherTruncated => false,
        }
    }
}

fn small_put(random: &mut fastrand::Rng, shorter: u32) -> PutSpec {
    PutSpec {
        name: random.usize(0..2),
        length: [1, 4096, 8 * MIB + 1, 24 * MIB + 5][random.usize(0..4)] >> shorter,
        is_file: random.bool(),
        ends_early: random.bool(),
        has_checkpoint: random.bool(),
        start: random.u64(0..3000),
        slowness: [0, 5, 100][random.usize(0..3)],
        memory: 64 * MIB,
        is_incremental: false,
    }
}
