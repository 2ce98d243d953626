//! Whether the time of a comparison of tags depends on where they differ, as dudect measures it (Reparaz, Balasch, Verbauwhede:
//! *Dude, is my code constant time?*, 2017).
//!
//! `constant-time [MEASUREMENTS]`: the tag is wrong in its first byte or in its last, by random choice, and the times of the two
//! classes are compared with Welch's t-test, at several percentiles above which times are dropped: they are interrupts. A
//! comparison byte by byte, which stops at the first difference, is the control: if the test does not find it, the machine is too
//! noisy, and the run fails.

use std::hint::black_box;
use std::iter::repeat_with;
use std::process::ExitCode;
use std::time::Instant;

use s3vault_core::JournalKey;
use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::crypto::segment::{SALT_LENGTH, Salt, SegmentKey};
use s3vault_core::transfer::checkpoint::Checkpoint;

/// dudect's threshold: a larger |t| is not chance.
const LEAKS: f64 = 10.0;
/// A comparison leaks if it does in each of these runs: one may be disturbed.
const RUNS: usize = 3;

/// Length of the segment, in bytes.
const LENGTH: usize = 64;
const PLAIN: [u8; LENGTH] = [5; LENGTH];
/// Inputs that are made at once.
const BATCH: usize = 1000;

/// Where the tag differs.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    First,
    Last,
}

impl Class {
    fn flip(self, tag: &mut [u8]) {
        let at = if self == Class::First { 0 } else { tag.len() - 1 };
        // A digit of hexadecimal stays one: "0" to "1", "a" to "c".
        tag[at] ^= if tag[at] == b'a' { 2 } else { 1 };
    }
}

/// Count, mean and sum of squared deviations, updated value by value (Welford).
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let before = value - self.mean;
        self.mean += before / self.count;
        self.squares += before * (value - self.mean);
    }

    /// The squared standard error of the mean.
    fn error(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// Welch's t of the times of the two classes that are at most `limit`.
fn welch(times: &[(Class, u64)], limit: u64) -> f64 {
    let mut moments = [Moments::default(), Moments::default()];
    for (class, time) in times.iter().filter(|(_, time)| *time <= limit) {
        moments[usize::from(*class == Class::Last)].add(*time as f64);
    }
    let [first, last] = moments;
    (first.mean - last.mean) / (first.error() + last.error()).sqrt()
}

/// The largest |t| over the percentiles. `prepare` makes the input of a class, `act` is what is measured.
fn largest<T>(count: usize, prepare: &mut dyn FnMut(Class) -> T, act: &mut dyn FnMut(&mut T)) -> f64 {
    let mut times: Vec<(Class, u64)> = Vec::with_capacity(count);
    while times.len() < count {
        // Made before anything is measured: what a processor remembers of the making is not measured.
        let classes = repeat_with(|| if fastrand::bool() { Class::First } else { Class::Last }).take(BATCH);
        let mut inputs: Vec<(Class, T)> = classes.map(|class| (class, prepare(class))).collect();
        for (class, input) in &mut inputs {
            let start = Instant::now();
            act(black_box(input));
            times.push((*class, start.elapsed().as_nanos() as u64));
        }
    }
    // Caches and branches are cold first.
    times.drain(..count / 10);
    let mut sorted: Vec<u64> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable();
    let limits = [0.5, 0.8, 0.9, 0.95, 0.99].map(|share| sorted[((sorted.len() - 1) as f64 * share) as usize]);
    limits.iter().map(|limit| welch(&times, *limit).abs()).fold(0.0, f64::max)
}

/// Measures a comparison, and returns whether its time leaks where the tag differs.
fn leaks<T>(name: &str, count: usize, mut prepare: impl FnMut(Class) -> T, mut act: impl FnMut(&mut T)) -> bool {
    let mut seen = Vec::new();
    for _ in 0..RUNS {
        seen.push(largest(count, &mut prepare, &mut act));
        if seen.last().is_some_and(|t| *t < LEAKS) {
            break;
        }
    }
    let leaks = seen.iter().all(|t| *t >= LEAKS);
    let shown: Vec<String> = seen.iter().map(|t| format!("{t:.1}")).collect();
    let verdict = if leaks { "depends on where the tag differs" } else { "does not depend on where the tag differs" };
    println!("{name}: |t| {}, the time {verdict}", shown.join(", "));
    leaks
}

/// Compares byte by byte, until the first difference.
fn naive(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(a, b)| black_box(a) == black_box(b))
}

fn main() -> ExitCode {
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);

    let key = SegmentKey::derive(&DataKey::new([7; 32]), &Salt([9; SALT_LENGTH]));
    let mut sealed = PLAIN;
    let tag = key.seal(0, true, &mut sealed);
    // These bytes, and a forged tag of the segment.
    let forged = |bytes: [u8; LENGTH], class: Class| {
        let mut tag = tag;
        class.flip(&mut tag);
        [&bytes[..], &tag].concat()
    };
    let segments = leaks(
        "tags of segments (AES-256-GCM)",
        count,
        |class| forged(sealed, class),
        |stored| {
            black_box(key.open(0, true, stored).is_some());
        },
    );
    let control = leaks(
        "control: the same, compared byte by byte",
        count,
        |class| forged(PLAIN, class),
        |plain| {
            let (data, found) = plain.split_at_mut(LENGTH);
            let computed = key.seal(0, true, data);
            black_box(naive(&computed, found));
        },
    );

    let journal = JournalKey::derive(b"secret");
    let file = |tag: &[u8]| [b"s3vault checkpoint 2\n", tag, b" {}\n"].concat();
    let line = |class: Class| {
        let mut tag = RIGHT_TAG.to_owned();
        class.flip(&mut tag);
        file(&tag)
    };
    let refusal = |file: &[u8]| Checkpoint::parse(file, &journal).map_err(|e| e.message().to_owned()).err();
    assert_ne!(refusal(&file(RIGHT_TAG)), refusal(&line(Class::First)), "RIGHT_TAG is not the right tag");
    let checkpoints = leaks("tags of checkpoints (keyed BLAKE3)", count, line, |file| {
        black_box(Checkpoint::parse(file, &journal).is_ok());
    });

    if !control {
        println!("constant-time: the control was not found: run it again when the machine is less busy");
    }
    if !control || segments || checkpoints {
        return ExitCode::FAILURE;
    }
    println!("constant-time: 2 comparisons are in constant time, the control is not, {count} measurements of each");
    ExitCode::SUCCESS
}

/// The tag of the first record `{}` with the key of the secret "secret" (`the_exact_format` in core/src/journal.rs).
const RIGHT_TAG: &[u8; 32] = b"2869eba3f455fc725ae9432cce50f79b";
