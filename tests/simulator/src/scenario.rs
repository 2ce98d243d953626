//! What a seed means: the store, the backups, and what goes wrong.

use s3vault_core::profile::{self, Profile, S3};

use crate::case::Case;
use crate::content::mix;
use crate::inputs::Second;
use crate::store::Quirks;

const MIB: u64 = 1 << 20;

/// A backup to store.
#[derive(Clone, Debug)]
pub struct PutSpec {
    /// Index of the backup's name: backups with the same one share their versions.
    pub name: usize,
    /// Length in bytes.
    pub length: u64,
    /// The source is a file: its length is known, and it is read by position.
    pub is_file: bool,
    /// The end of a stream is known with its last byte; otherwise only after it.
    pub ends_early: bool,
    /// The put has a checkpoint.
    pub has_checkpoint: bool,
    /// When it starts, in milliseconds.
    pub start: u64,
    /// How long the source takes for a part, in milliseconds.
    pub slowness: u64,
    /// How much payload its process may hold, in bytes.
    pub memory: u64,
    /// Its parent is the newest version that was acknowledged when it starts, if there is one.
    pub is_incremental: bool,
}

/// What is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process is killed. A new one resumes from its checkpoint later.
    Crash,
    /// The caller cancels.
    Cancel,
    /// The caller suspends.
    Suspend,
    /// Another client aborts the uploads of the task.
    Vanish,
    /// The source changes from this block on.
    Change(u64),
    /// The client's wall clock steps.
    ClientClock(i64),
    /// The store's clock steps.
    StoreClock(i64),
    /// The keys of the task expire; whether the driver finds new ones.
    Expire(bool),
    /// The checkpoint's disk is full.
    DiskFull,
    /// All requests are refused for this many milliseconds.
    Storm(u64),
    /// No request is answered for this many milliseconds.
    Outage(u64),
    /// For this many milliseconds all requests take effect, and all are answered with 500.
    FailAfter(u64),
    /// No connection can be made for this many milliseconds.
    Unreachable(u64),
    /// All connections of the task break.
    Break,
    /// All requests in flight arrive a second time, this many milliseconds later.
    Echo(u64),
    /// The computer that the task runs on loses power.
    PowerCut,
    /// The data of the version is damaged in the store; or, if true, replaced by another version of the object.
    Spoil(bool),
    /// The store loses a part of the open upload: the one with this number, modulo the number of parts.
    LosePart(u64),
    /// The store fails while it completes the upload, and never completes it. The parts of these bits are gone.
    BreakUpload(u64),
}

/// When something is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// With the n-th request of the task, from 1.
    Request(u64),
    /// With its n-th request of this kind: an operation, or `row`.
    Kind(&'static str, u64),
}

/// Something that is injected when a task sends a request.
#[derive(Clone, Copy, Debug)]
pub struct Injection {
    /// The task.
    pub task: usize,
    /// The task is the restore of the put, not the put.
    pub reader: bool,
    /// The request that triggers it.
    pub trigger: Trigger,
    /// Delay after that request, in milliseconds.
    pub delay: u64,
    /// What is injected.
    pub action: Action,
}

/// A fault of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives.
    LostBefore,
    /// It takes effect, and the reply is lost.
    LostAfter,
    /// The client abandons it, and it takes effect this many milliseconds later.
    Late(u64),
    /// It takes effect a second time, this many milliseconds later.
    Twice(u64),
    /// It is refused with this status and code, and with `Retry-After` if that is not 0.
    Refused(u16, &'static str, u64),
    /// It takes effect, and is answered with 200 and an error.
    ErrorIn200,
    /// The reply breaks off.
    Truncated,
    /// One bit of the body changes on its way.
    FlippedUp,
    /// One bit of the reply's body changes on its way.
    FlippedDown,
    /// It takes effect and is answered after this many milliseconds.
    Slow(u64),
    /// Not a byte of it is sent, and the driver knows that.
    NotSent,
    /// It takes effect, and is answered with this status: a 5xx that does not ask to slow down.
    FailedAfter(u16),
    /// A proxy answers with this status and a web page; whether the request took effect.
    Page(u16, bool),
    /// A row that a listing read is deleted before this request for it arrives.
    RowGone,
    /// A page that is truncated says so in another word than `true`.
    OtherTruncated,
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Profile of the store.
    pub profile: Profile,
    /// Other properties of the store.
    pub quirks: Quirks,
    /// Backups to store.
    pub puts: Vec<PutSpec>,
    /// What is injected, and when.
    pub injections: Vec<Injection>,
    /// How many of 1,000 requests have a fault.
    pub faults: u64,
    /// Duration of a round trip, in milliseconds.
    pub trip: u64,
    /// How long 8 MiB take, in milliseconds.
    pub pace: u64,
    /// What only the second set of inputs has.
    pub second: Second,
}

impl Scenario {
    /// The scenario of a case.
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
        let quirks =
            Quirks { unique_etags: random.bool(), page: [2, 7, 1000][random.usize(0..3)], ..Quirks::default() };
        // Some runs have no faults at all: everything has to succeed in them.
        let faults = [0, 10, 30, 100, 250][(random.u32(0..20) as usize).div_ceil(5)];
        let calm = faults == 0 && random.bool();
        let count = [1, 1, 2, 3][random.usize(0..4)];
        let puts: Vec<PutSpec> = (0..count).map(|_| put(&mut random, case.shorter)).collect();
        let mut injections = Vec::new();
        for (task, put) in puts.iter().enumerate() {
            let often = if calm { 0 } else { [0, 1, 1, 2, 3][random.usize(0..5)] };
            for _ in 0..often {
                let request = random.u64(1..=4 + (put.length >> 23).min(40) * 2);
                let delay = random.u64(0..300);
                injections.push(Injection {
                    task,
                    reader: false,
                    trigger: Trigger::Request(request),
                    delay,
                    action: action(&mut random, put),
                });
            }
        }
        let trip = [1, 20, 100, 400][random.usize(0..4)];
        let pace = [40, 200, 1500][random.usize(0..3)];
        if !calm {
            let mut random = fastrand::Rng::with_seed(mix(case.seed, 3));
            for (task, put) in puts.iter().enumerate() {
                injections.extend(scene(&mut random, task, put, trip));
            }
            for (task, put) in puts.iter().enumerate() {
                for _ in 0..random.u32(0..4) {
                    injections.push(into_restore(&mut random, task, put));
                }
            }
        }
        let faults = if calm { 0 } else { faults };
        let mut scenario =
            Scenario { profile, quirks, puts, injections, faults, trip, pace, second: Second::default() };
        if case.inputs > 1 {
            scenario.extend(case);
        }
        scenario
    }

    /// Whether nothing is injected and no request has a fault.
    pub fn is_calm(&self) -> bool {
        self.faults == 0 && self.injections.is_empty()
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
        is_incremental: false,
    }
}

fn action(random: &mut fastrand::Rng, put: &PutSpec) -> Action {
    let minute = 60_000;
    loop {
        return match random.u32(0..20) {
            0..=5 if put.has_checkpoint => Action::Crash,
            6 => Action::Crash,
            7 | 8 => Action::Cancel,
            9 | 10 if put.has_checkpoint => Action::Suspend,
            11 => Action::Vanish,
            12 if put.is_file => Action::Change(random.u64(0..=put.length >> 23)),
            13 => Action::ClientClock(random.i64(-90 * minute..90 * minute)),
            14 => Action::StoreClock(random.i64(0..20 * minute)),
            15 | 16 => Action::Expire(random.u32(0..4) > 0),
            17 if put.has_checkpoint => Action::DiskFull,
            18 => Action::Storm([2_000, 20_000, 200_000, 3_000_000][random.usize(0..4)]),
            19 => Action::Outage([2_000, 40_000, 200_000, 3_000_000][random.usize(0..4)]),
            _ => continue,
        };
    }
}

/// Injections that belong together, where they matter most: at a part, a Complete or a row.
fn scene(random: &mut fastrand::Rng, task: usize, put: &PutSpec, trip: u64) -> Vec<Injection> {
    let parts = put.length >> 23;
    let part = Trigger::Kind("UploadPart", random.u64(1..=parts.clamp(1, 40)));
    let complete = Trigger::Kind("CompleteMultipartUpload", random.u64(1..=2));
    let soon = random.u64(0..=3 * trip);
    let later = [1, 2_000, 60_000][random.usize(0..3)];
    let crash = if put.has_checkpoint { Some(Action::Crash) } else { None };
    let (change, lose) = (Action::Change(random.u64(0..=parts)), Action::LosePart(random.u64(..)));
    let (trigger, all) = match random.u32(0..20) {
        0 | 1 => (complete, [crash, None, None]),
        2 => (Trigger::Kind("row", 1), [crash, None, None]),
        3 => (Trigger::Kind("CreateMultipartUpload", 2), [crash, None, None]),
        4 => (part, [Some(Action::Echo(later)), crash, None]),
        5 => (part, [Some(Action::Echo(soon)), Some(Action::Break), None]),
        6 | 7 => (part, [crash, Some(lose), None]),
        8 => (part, [Some(lose), None, None]),
        9 => (complete, [Some(Action::Echo(soon)), Some(Action::Break), crash]),
        10 | 11 if put.is_file => (part, [Some(change), Some(Action::Break), None]),
        12 => (part, [Some(Action::Break), None, None]),
        13 => (part, [Some(Action::Echo(later)), None, None]),
        14 | 15 => (Trigger::Kind("row", 1), [Some(Action::Break), Some(Action::Outage(400_000)), None]),
        16 => (complete, [Some(Action::BreakUpload(random.u64(..))), Some(Action::Break), None]),
        17 => (complete, [Some(Action::BreakUpload(random.u64(..))), crash, None]),
        _ => return Vec::new(),
    };
    // One after the other.
    let delays = (soon..).step_by(1 + trip as usize / 4);
    let all = all.into_iter().flatten().zip(delays);
    all.map(|(action, delay)| Injection { task, reader: false, trigger, delay, action }).collect()
}

/// An injection into a restore.
fn into_restore(random: &mut fastrand::Rng, task: usize, put: &PutSpec) -> Injection {
    let action = match random.u32(0..20) {
        0..=6 => Action::Crash,
        7..=11 => Action::PowerCut,
        12 => Action::Cancel,
        13 => Action::Suspend,
        14 => Action::Expire(true),
        15 => Action::Outage([2_000, 400_000][random.usize(0..2)]),
        16 | 17 => Action::Break,
        18 => Action::Spoil(true),
        _ => Action::Spoil(false),
    };
    // After those of the vault, the row and the locator.
    let trigger = Trigger::Kind("GetObject", random.u64(1..=4 + (put.length >> 23).min(40) * 2));
    Injection { task, reader: true, trigger, delay: random.u64(0..2_000), action }
}

/// The fault of the n-th request of a task.
pub fn request_fault(seed: u64, task: usize, request: u64, operation: &str, of_thousand: u64) -> Option<Fault> {
    let mut random = fastrand::Rng::with_seed(mix(mix(seed, 0xFA7E + task as u64), request));
    if random.u64(0..1000) >= of_thousand {
        return operation_fault(&mut random, operation, of_thousand);
    }
    let later = |random: &mut fastrand::Rng| match random.u32(0..4) {
        0 => random.u64(0..2_000),
        1 => random.u64(0..120_000),
        2 => random.u64(0..840_000),
        _ => random.u64(0..4_000_000),
    };
    Some(match random.u32(0..20) {
        0..=2 => Fault::LostBefore,
        3..=5 => Fault::LostAfter,
        6 | 7 => Fault::Late(later(&mut random)),
        8 => Fault::Twice(later(&mut random)),
        9 => Fault::Refused(503, "SlowDown", 0),
        10 => Fault::Refused(503, "SlowDown", [0, 1, 5, 30][random.usize(0..4)]),
        11 => Fault::Refused(500, "InternalError", 0),
        12 => Fault::Refused(503, "ServiceUnavailable", 0),
        13 if operation == "CompleteMultipartUpload" => Fault::ErrorIn200,
        13 | 14 => Fault::Truncated,
        15 => Fault::FlippedUp,
        16 | 17 => Fault::FlippedDown,
        _ => Fault::Slow(random.u64(1_000..40_000)),
    })
}

/// Faults that an operation has in addition to those of all operations.
fn operation_fault(random: &mut fastrand::Rng, operation: &str, of_thousand: u64) -> Option<Fault> {
    let often = match operation {
        "CompleteMultipartUpload" => 2 * of_thousand,
        "UploadPart" | "GetObject" => of_thousand / 2,
        _ => 0,
    };
    if random.u64(0..1000) >= often {
        return None;
    }
    Some(match (operation, random.u32(0..4)) {
        ("CompleteMultipartUpload", 0) => Fault::LostBefore,
        ("CompleteMultipartUpload", 1) => Fault::LostAfter,
        ("CompleteMultipartUpload", 2) => Fault::ErrorIn200,
        ("CompleteMultipartUpload", _) => Fault::Late(random.u64(0..60_000)),
        ("UploadPart", _) => Fault::Twice(random.u64(0..20_000)),
        (_, 0) => Fault::FlippedDown,
        _ => Fault::Truncated,
    })
}
