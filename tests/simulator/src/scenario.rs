//! What a seed means: the store, the backups, and what goes wrong.

use s3vault_core::profile::{self, Profile, S3};

use crate::case::Case;
use crate::content::mix;
use crate::store::Habits;

const MIB: u64 = 1 << 20;

/// A backup to store.
#[derive(Clone, Debug)]
pub struct PutSpec {
    /// Backups of one name meet.
    pub name: usize,
    /// In bytes.
    pub length: u64,
    /// A file's length is known, and it is read by position.
    pub is_file: bool,
    /// A stream's end is said with its last byte; else after it.
    pub ends_early: bool,
    /// Steps are saved.
    pub has_checkpoint: bool,
    /// When it starts, in milliseconds.
    pub start: u64,
    /// Milliseconds that a part of the source takes.
    pub slowness: u64,
    /// Bytes of payload that its process may hold.
    pub memory: u64,
}

/// What a happening does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The process is killed. A new one resumes from its checkpoint later.
    Crash,
    /// The caller cancels.
    Cancel,
    /// The caller suspends.
    Suspend,
    /// Somebody aborts its uploads.
    Vanish,
    /// The source changes from this block on.
    Change(u64),
    /// The client's wall clock steps.
    ClientClock(i64),
    /// The store's clock steps.
    StoreClock(i64),
    /// Its keys expire; the driver finds others, or not.
    Expire(bool),
    /// The checkpoint's disk is full.
    DiskFull,
    /// All requests are refused for so long.
    Storm(u64),
    /// No request is answered for so long.
    Outage(u64),
    /// All of its connections break.
    Break,
    /// All of its requests under way arrive once more, so much later.
    Echo(u64),
    /// The machine that it runs on loses power.
    PowerCut,
    /// Its version's data rots in the store; or stands there as another version of the object.
    Spoil(bool),
    /// The store loses a part of its open upload: this one, of as many as there are.
    LosePart(u64),
    /// The store fails while it completes the upload, and never completes it. The parts of these bits are gone.
    BreakUpload(u64),
}

/// When a happening takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the task's n-th request, from 1.
    Request(u64),
    /// At its n-th request of this kind: an operation, or `row`.
    Kind(&'static str, u64),
}

/// Something that happens when a task sends a request.
#[derive(Clone, Copy, Debug)]
pub struct Happening {
    /// Which task's.
    pub task: usize,
    /// Not the put's: that of what restores it.
    pub reader: bool,
    /// At which of its requests.
    pub when: When,
    /// Milliseconds later.
    pub delay: u64,
    /// What.
    pub what: What,
}

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never arrives.
    LostBefore,
    /// It takes effect, and the answer is lost.
    LostAfter,
    /// The client gives it up, and it takes effect so much later.
    Late(u64),
    /// It takes effect again so much later.
    Twice(u64),
    /// It is refused with this status and code, and `Retry-After` where it is not 0.
    Refused(u16, &'static str, u64),
    /// It takes effect, and is answered with 200 and an error.
    ErrorIn200,
    /// The reply breaks off.
    Truncated,
    /// One bit of the body changes on its way.
    FlippedUp,
    /// One bit of the reply's body changes on its way.
    FlippedDown,
    /// It takes effect after so long, and is answered then.
    Slow(u64),
}

/// A run, laid out.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The store's facts.
    pub profile: Profile,
    /// And what else it is like.
    pub habits: Habits,
    /// What is stored.
    pub puts: Vec<PutSpec>,
    /// What goes wrong at an instant.
    pub happenings: Vec<Happening>,
    /// How many of 1,000 requests meet a fate.
    pub faults: u64,
    /// A round trip, in milliseconds.
    pub trip: u64,
    /// Milliseconds that 8 MiB take.
    pub pace: u64,
}

impl Scenario {
    /// Of a case.
    pub fn new(case: &Case) -> Scenario {
        let mut random = fastrand::Rng::with_seed(mix(case.seed, 1));
        let profile = match random.u32(0..8) {
            0 | 1 => S3,
            2 | 3 => profile::named("minio").unwrap_or(S3),
            4 => profile::named("ceph").unwrap_or(S3),
            5 => Profile { trailers: false, ..S3 },
            // Several extents in a backup of a few hundred MiB.
            6 => Profile { max_parts: 6, max_object_size: 384 * MIB, ..S3 },
            _ => Profile { max_parts: 3, max_object_size: 192 * MIB, completes_again: false, ..S3 },
        };
        let habits = Habits { unique_etags: random.bool(), page: [2, 7, 1000][random.usize(0..3)] };
        // Some are without faults at all: there everything has to succeed.
        let faults = [0, 10, 30, 100, 250][(random.u32(0..20) as usize).div_ceil(5)];
        let calm = faults == 0 && random.bool();
        let count = [1, 1, 2, 3][random.usize(0..4)];
        let puts: Vec<PutSpec> = (0..count).map(|_| put(&mut random, case.shorter)).collect();
        let mut happenings = Vec::new();
        for (task, put) in puts.iter().enumerate() {
            let often = if calm { 0 } else { [0, 1, 1, 2, 3][random.usize(0..5)] };
            for _ in 0..often {
                let request = random.u64(1..=4 + (put.length >> 23).min(40) * 2);
                let delay = random.u64(0..300);
                happenings.push(Happening {
                    task,
                    reader: false,
                    when: When::Request(request),
                    delay,
                    what: what(&mut random, put),
                });
            }
        }
        let trip = [1, 20, 100, 400][random.usize(0..4)];
        let pace = [40, 200, 1500][random.usize(0..3)];
        if !calm {
            let mut random = fastrand::Rng::with_seed(mix(case.seed, 3));
            for (task, put) in puts.iter().enumerate() {
                happenings.extend(scene(&mut random, task, put, trip));
            }
            for (task, put) in puts.iter().enumerate() {
                for _ in 0..random.u32(0..4) {
                    happenings.push(of_reader(&mut random, task, put));
                }
            }
        }
        Scenario { profile, habits, puts, happenings, faults: if calm { 0 } else { faults }, trip, pace }
    }

    /// Whether nothing goes wrong.
    pub fn is_calm(&self) -> bool {
        self.faults == 0 && self.happenings.is_empty()
    }
}

fn put(random: &mut fastrand::Rng, shorter: u32) -> PutSpec {
    let lengths = [
        0,
        1,
        4096,
        MIB + 13,
        8 * MIB - 1,
        8 * MIB,
        8 * MIB + 1,
        16 * MIB,
        24 * MIB + 5,
        32 * MIB,
        40 * MIB,
        48 * MIB,
        72 * MIB + 1,
        96 * MIB,
        104 * MIB + 7,
        160 * MIB,
        320 * MIB,
    ];
    PutSpec {
        name: random.usize(0..2),
        length: lengths[random.usize(0..lengths.len())] >> shorter,
        is_file: random.bool(),
        ends_early: random.bool(),
        has_checkpoint: random.u32(0..3) > 0,
        start: random.u64(0..3000),
        slowness: [0, 5, 100, 2000, 120_000][[0, 0, 0, 1, 1, 1, 2, 2, 3, 4][random.usize(0..10)]],
        memory: [64, 128, 256][random.usize(0..3)] * MIB,
    }
}

fn what(random: &mut fastrand::Rng, put: &PutSpec) -> What {
    let minute = 60_000;
    loop {
        return match random.u32(0..20) {
            0..=5 if put.has_checkpoint => What::Crash,
            6 => What::Crash,
            7 | 8 => What::Cancel,
            9 | 10 if put.has_checkpoint => What::Suspend,
            11 => What::Vanish,
            12 if put.is_file => What::Change(random.u64(0..=put.length >> 23)),
            13 => What::ClientClock(random.i64(-90 * minute..90 * minute)),
            14 => What::StoreClock(random.i64(0..20 * minute)),
            15 | 16 => What::Expire(random.u32(0..4) > 0),
            17 if put.has_checkpoint => What::DiskFull,
            18 => What::Storm([2_000, 20_000, 200_000, 3_000_000][random.usize(0..4)]),
            19 => What::Outage([2_000, 40_000, 200_000, 3_000_000][random.usize(0..4)]),
            _ => continue,
        };
    }
}

/// What goes wrong together, where it matters most: at a part, a Complete or a row.
fn scene(random: &mut fastrand::Rng, task: usize, put: &PutSpec, trip: u64) -> Vec<Happening> {
    let parts = put.length >> 23;
    let part = When::Kind("UploadPart", random.u64(1..=parts.clamp(1, 40)));
    let complete = When::Kind("CompleteMultipartUpload", random.u64(1..=2));
    let soon = random.u64(0..=3 * trip);
    let later = [1, 2_000, 60_000][random.usize(0..3)];
    let crash = if put.has_checkpoint { Some(What::Crash) } else { None };
    let (change, lose) = (What::Change(random.u64(0..=parts)), What::LosePart(random.u64(..)));
    let (when, all) = match random.u32(0..20) {
        0 | 1 => (complete, [crash, None, None]),
        2 => (When::Kind("row", 1), [crash, None, None]),
        3 => (When::Kind("CreateMultipartUpload", 2), [crash, None, None]),
        4 => (part, [Some(What::Echo(later)), crash, None]),
        5 => (part, [Some(What::Echo(soon)), Some(What::Break), None]),
        6 | 7 => (part, [crash, Some(lose), None]),
        8 => (part, [Some(lose), None, None]),
        9 => (complete, [Some(What::Echo(soon)), Some(What::Break), crash]),
        10 | 11 if put.is_file => (part, [Some(change), Some(What::Break), None]),
        12 => (part, [Some(What::Break), None, None]),
        13 => (part, [Some(What::Echo(later)), None, None]),
        14 | 15 => (When::Kind("row", 1), [Some(What::Break), Some(What::Outage(400_000)), None]),
        16 => (complete, [Some(What::BreakUpload(random.u64(..))), Some(What::Break), None]),
        17 => (complete, [Some(What::BreakUpload(random.u64(..))), crash, None]),
        _ => return Vec::new(),
    };
    // One after the other.
    let delays = (soon..).step_by(1 + trip as usize / 4);
    let all = all.into_iter().flatten().zip(delays);
    all.map(|(what, delay)| Happening { task, reader: false, when, delay, what }).collect()
}

/// What goes wrong with a restore.
fn of_reader(random: &mut fastrand::Rng, task: usize, put: &PutSpec) -> Happening {
    let what = match random.u32(0..20) {
        0..=6 => What::Crash,
        7..=11 => What::PowerCut,
        12 => What::Cancel,
        13 => What::Suspend,
        14 => What::Expire(true),
        15 => What::Outage([2_000, 400_000][random.usize(0..2)]),
        16 | 17 => What::Break,
        18 => What::Spoil(true),
        _ => What::Spoil(false),
    };
    // After those of the vault, the row and the locator.
    let when = When::Kind("GetObject", random.u64(1..=4 + (put.length >> 23).min(40) * 2));
    Happening { task, reader: true, when, delay: random.u64(0..2_000), what }
}

/// What the n-th request of a task meets.
pub fn fate(seed: u64, task: usize, request: u64, operation: &str, of_thousand: u64) -> Option<Fate> {
    let mut random = fastrand::Rng::with_seed(mix(mix(seed, 0xFA7E + task as u64), request));
    if random.u64(0..1000) >= of_thousand {
        return own_fate(&mut random, operation, of_thousand);
    }
    let later = |random: &mut fastrand::Rng| match random.u32(0..4) {
        0 => random.u64(0..2_000),
        1 => random.u64(0..120_000),
        2 => random.u64(0..840_000),
        _ => random.u64(0..4_000_000),
    };
    Some(match random.u32(0..20) {
        0..=2 => Fate::LostBefore,
        3..=5 => Fate::LostAfter,
        6 | 7 => Fate::Late(later(&mut random)),
        8 => Fate::Twice(later(&mut random)),
        9 => Fate::Refused(503, "SlowDown", 0),
        10 => Fate::Refused(503, "SlowDown", [0, 1, 5, 30][random.usize(0..4)]),
        11 => Fate::Refused(500, "InternalError", 0),
        12 => Fate::Refused(503, "ServiceUnavailable", 0),
        13 if operation == "CompleteMultipartUpload" => Fate::ErrorIn200,
        13 | 14 => Fate::Truncated,
        15 => Fate::FlippedUp,
        16 | 17 => Fate::FlippedDown,
        _ => Fate::Slow(random.u64(1_000..40_000)),
    })
}

/// What an operation meets beside what all of them do.
fn own_fate(random: &mut fastrand::Rng, operation: &str, of_thousand: u64) -> Option<Fate> {
    let often = match operation {
        "CompleteMultipartUpload" => 2 * of_thousand,
        "UploadPart" | "GetObject" => of_thousand / 2,
        _ => 0,
    };
    if random.u64(0..1000) >= often {
        return None;
    }
    Some(match (operation, random.u32(0..4)) {
        ("CompleteMultipartUpload", 0) => Fate::LostBefore,
        ("CompleteMultipartUpload", 1) => Fate::LostAfter,
        ("CompleteMultipartUpload", 2) => Fate::ErrorIn200,
        ("CompleteMultipartUpload", _) => Fate::Late(random.u64(0..60_000)),
        ("UploadPart", _) => Fate::Twice(random.u64(0..20_000)),
        (_, 0) => Fate::FlippedDown,
        _ => Fate::Truncated,
    })
}
