//! What a seed means: the store, what is done when, and who is killed or falls asleep.

use s3vault_core::profile::{Profile, S3};
use s3vault_core::vault::retention::Policy;

use super::run::FIRST;
use super::{beside, keys};
use crate::case::Case;
use crate::content::{BLOCK, mix};
use crate::mode::Mode;

pub(super) const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const MIB: u64 = 1 << 20;

/// B of docs/protocol.md, in milliseconds.
pub(super) const LATE_MS: i64 = S3.max_request_age_ms;
/// W of docs/protocol.md, in milliseconds.
pub(super) const WAIT_MS: i64 = 2 * LATE_MS;

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Stores a backup.
    Put { name: usize, is_incremental: bool, length: u64, is_file: bool, has_checkpoint: bool },
    /// Hides a backup.
    Remove { name: usize },
    /// Takes that back.
    Undelete { name: usize },
    /// Deletes one of the versions.
    Delete { name: usize, pick: usize },
    /// Prunes the bucket.
    Prune(Policy),
    /// Sweeps the bucket.
    Sweep,
    /// Adopts what other programs wrote.
    Adopt { hash: bool },
    /// Another program writes this many objects, one over the other.
    Write { name: usize, count: u32 },
    /// Another program deletes an object, without a version id.
    Hide { name: usize },
    /// The store refuses to delete what one of the versions has.
    Lock { name: usize, pick: usize },
    /// It deletes everything again.
    Unlock,
    /// Makes the next key-encryption key current.
    Activate,
    /// Wraps all data keys with the current key-encryption key.
    Rotate,
    /// Copies all data under new data keys; the store damages the first copy that the process makes.
    Rekey { damages: bool },
    /// Retires the oldest key-encryption key.
    Retire,
    /// Reads one of the versions beside everything else.
    ReadAmid { name: usize, pick: usize },
    /// Reads a version; at the end only.
    Read { name: usize, vid: s3vault_core::vault::Vid },
}

/// How long a process sleeps.
#[derive(Clone, Copy, Debug)]
pub(super) enum Nap {
    /// For this many milliseconds.
    For(u64),
    /// Until jobs have sent this many requests, after this many milliseconds.
    Jobs(u64, u64),
}

/// What happens to a process at one of its requests, by their number from 1.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mishap {
    /// It falls asleep before it sends the request.
    Nap(u64, Nap),
    /// It is killed; whether the request arrives, and after how many milliseconds a put resumes.
    Crash(u64, bool, u64),
}

/// Something to do.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// When, in milliseconds.
    pub(super) at: u64,
    pub(super) op: Op,
    pub(super) mishaps: Vec<Mishap>,
    /// How far the clock of its process is ahead of the store's, in milliseconds.
    pub(super) off_ms: i64,
}

impl Planned {
    /// An operation to which nothing happens.
    pub(super) fn new(at: u64, op: Op) -> Planned {
        Planned { at, op, mishaps: Vec::new(), off_ms: 0 }
    }
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Determines what the plan leaves open.
    pub(super) seed: u64,
    /// Number of the first process in the names of faults.
    pub(super) first: usize,
    pub(super) mode: Mode,
    /// Entries in a page of a list.
    pub(super) page: usize,
    pub(super) grace_ms: i64,
    /// How many of 1,000 requests have a fault.
    pub(super) faults: u64,
    /// How many puts run first, one after the other, without faults.
    pub(super) firsts: usize,
    /// How far all clocks are ahead while the last of them runs, in milliseconds.
    pub(super) ahead_ms: i64,
    /// Somebody without the key stores rows.
    pub(super) has_forged_rows: bool,
    /// Other programs write into the bucket, too.
    pub(super) has_others: bool,
    /// Number of key-encryption keys; 0 where data is not encrypted.
    pub(super) keks: u8,
    /// Data is encrypted on this side, and not by the store.
    pub(super) seals: bool,
    /// Data is copied under new data keys.
    pub(super) rekeys: bool,
    pub(super) planned: Vec<Planned>,
}

impl Plan {
    /// The plan of a case. What a newer set of inputs adds has random numbers of its own, so that older cases stay what
    /// they are.
    pub(super) fn new(case: &Case) -> Plan {
        let mut plan = Plan::of_five(case.seed);
        if case.inputs > 5 {
            beside::extend(&mut plan, &mut fastrand::Rng::with_seed(mix(case.seed, 0xAD_0B7)));
        }
        if case.inputs > 6 {
            keys::extend(&mut plan, &mut fastrand::Rng::with_seed(mix(case.seed, 0x4E1)));
        }
        if case.inputs > 8 && plan.keks > 0 {
            keys::seal(&mut plan, &mut fastrand::Rng::with_seed(mix(case.seed, 0x5EA1)));
        }
        plan
    }

    /// What its store can do: where data is re-keyed, some of it is copied in parts. They are blocks of `Content`, whose
    /// digests are computed once.
    pub(super) fn profile(&self) -> Profile {
        let max_part_size = if self.rekeys { BLOCK } else { S3.max_part_size };
        Profile { max_part_size, ..S3 }
    }

    pub(super) fn of_five(seed: u64) -> Plan {
        let mut random = fastrand::Rng::with_seed(mix(seed, 0xDE1E7E));
        let mode = if random.u32(0..3) == 0 { Mode::Emulated } else { Mode::Native };
        let grace = [WAIT_MS as u64, WAIT_MS as u64, 2 * HOUR, 7 * DAY][random.usize(0..4)];
        let ahead_ms = [0, 0, 0, 0, 30, 120][random.usize(0..6)] * MINUTE as i64;
        let firsts = random.usize(1..4);
        let mut planned: Vec<Planned> = (0..firsts).map(|n| first(&mut random, n as u64 * MINUTE)).collect();
        let mut at = firsts as u64 * MINUTE;
        let calm = random.u32(0..6) == 0;
        let add = |planned: &mut Vec<Planned>, random: &mut fastrand::Rng, at: u64, op: Op| {
            let mishaps = if calm { Vec::new() } else { mishaps(random, &op, grace) };
            let spread = [1, 300, 3000, MINUTE][random.usize(0..4)];
            planned.push(Planned { at: at + random.u64(0..spread), op, mishaps, off_ms: 0 });
        };
        for _ in 0..random.u32(1..4) {
            let op = put(&mut random);
            add(&mut planned, &mut random, at, op);
            at += [1, SECOND, MINUTE][random.usize(0..3)];
        }
        if !calm && random.u32(0..8) == 0 {
            planned.extend(race(&mut random, at + MINUTE));
            at += 3 * MINUTE;
        }
        for _ in 0..random.u32(2..6) {
            at +=
                [0, MINUTE, WAIT_MS as u64 + MINUTE, WAIT_MS as u64 + MINUTE, grace + 10 * MINUTE][random.usize(0..5)];
            for _ in 0..random.u32(1..4) {
                let op = op(&mut random);
                add(&mut planned, &mut random, at, op);
            }
        }
        Plan {
            seed,
            first: FIRST,
            mode,
            page: [3, 1000, 1000][random.usize(0..3)],
            grace_ms: grace as i64,
            faults: if calm { 0 } else { [0, 20, 80][random.usize(0..3)] },
            firsts,
            ahead_ms,
            has_forged_rows: random.u32(0..6) == 0,
            has_others: false,
            keks: 0,
            seals: false,
            rekeys: false,
            planned,
        }
    }
}

/// A version is deleted while an incremental that builds on it has not stored its locator yet, and the incremental takes
/// longer than W.
fn race(random: &mut fastrand::Rng, at: u64) -> Vec<Planned> {
    let op = Op::Put { name: 0, is_incremental: true, length: 4096, is_file: true, has_checkpoint: random.bool() };
    let wait = WAIT_MS as u64;
    let (before, after) = (random.u64(1..5), random.u64(1..4));
    let mishaps = vec![
        Mishap::Nap(before, Nap::For(random.u64(MINUTE..14 * MINUTE))),
        Mishap::Nap(before + after, Nap::For(random.u64(wait..4 * wait))),
    ];
    vec![
        Planned { at, op, mishaps, off_ms: 0 },
        Planned::new(at + 5 * SECOND, Op::Delete { name: 0, pick: 0 }),
        Planned::new(at + wait + random.u64(MINUTE..wait), Op::Sweep),
    ]
}

/// One of the first backups: something is there.
fn first(random: &mut fastrand::Rng, at: u64) -> Planned {
    let op = Op::Put {
        name: 0,
        is_incremental: false,
        length: [1, 4096][random.usize(0..2)],
        is_file: true,
        has_checkpoint: false,
    };
    Planned::new(at, op)
}

pub(super) fn put(random: &mut fastrand::Rng) -> Op {
    Op::Put {
        name: usize::from(random.u32(0..3) == 0),
        is_incremental: random.bool(),
        length: [1, 4096, 4096, 24 * MIB + 5][random.usize(0..4)],
        is_file: random.bool(),
        has_checkpoint: random.bool(),
    }
}

fn op(random: &mut fastrand::Rng) -> Op {
    let name = usize::from(random.u32(0..3) == 0);
    match random.u32(0..16) {
        0..4 => put(random),
        4 => Op::Remove { name },
        5 => Op::Undelete { name },
        6..8 => Op::Delete { name, pick: random.usize(..) },
        8..11 => Op::Prune(Policy {
            full_versions: random.u64(1..3),
            inc_versions: random.u64(0..3),
            keep_last: random.bool(),
            ..Policy::default()
        }),
        _ => Op::Sweep,
    }
}

pub(super) fn mishaps(random: &mut fastrand::Rng, op: &Op, grace: u64) -> Vec<Mishap> {
    let is_put = matches!(op, Op::Put { .. });
    let mut all = Vec::new();
    let requests = if is_put { 10 } else { 24 };
    if random.u32(0..8) < if is_put { 4 } else { 1 } {
        let long = [MINUTE, 14 * MINUTE, WAIT_MS as u64 + MINUTE, grace + HOUR, grace + WAIT_MS as u64 + HOUR];
        let time = long[random.usize(0..long.len())];
        let nap = if random.bool() { Nap::For(time) } else { Nap::Jobs(random.u64(1..40), time) };
        all.push(Mishap::Nap(random.u64(1..=requests), nap));
    }
    if random.u32(0..8) < 2 {
        let later = [SECOND, 20 * MINUTE, 2 * HOUR, grace + HOUR][random.usize(0..4)];
        all.push(Mishap::Crash(random.u64(1..=requests), random.bool(), later));
    }
    all
}
