//! What a seed means: a sequence of operations, who runs them, where they overlap and where a process is killed.

use s3vault_core::vault::Vid;
use s3vault_core::vault::retention::Policy;

use super::change::Change;
use crate::content::mix;

const MIB: u64 = 1 << 20;
const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;

/// The backups: containers and paths. One is so long that its segment in keys is a hash.
pub(super) const NAMES: [(&str, &str); 5] = [
    ("vm", "disk"),
    ("vm", "dir/größe +1.img"),
    ("VM (2)", "disk"),
    (
        "VM (2)",
        concat!(
            "long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/",
            "long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/disk"
        ),
    ),
    ("VM (2)", "dir/x"),
];

/// The containers.
pub(super) const CONTAINERS: [&str; 2] = ["vm", "VM (2)"];

/// Which version a lookup is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The newest.
    Latest,
    /// The one with this id.
    Version(Vid),
    /// The newest at this time.
    AsOf(i64),
    /// The one that was recorded at this time.
    Recorded { at: i64, tolerance_ms: u64 },
}

/// Which versions are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of them.
    All,
    /// Those of a container.
    Container(&'static str),
    /// Those of a name.
    Backup(usize),
    /// The newest of each path that starts like this.
    Paths(&'static str, &'static str),
}

/// An operation. Where it names a version, that is chosen among those that are there when it starts: `pick` modulo their
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Stores a backup.
    Put { name: usize, parent: Parent, length: u64, is_file: bool, has_checkpoint: bool },
    /// Resumes the put that the process was killed in, if it had a checkpoint.
    Resume,
    /// Another program deletes a version.
    Delete { name: usize, pick: usize },
    /// Another program deletes a backup; its versions stay.
    Remove { name: usize },
    /// Another program takes that back.
    Undelete { name: usize },
    /// The vault itself deletes, prunes or sweeps.
    Own(Change),
    /// Finds the newest version and reads it.
    Latest { name: usize },
    /// Finds a version by its id and reads it.
    Version { name: usize, pick: usize },
    /// Finds the newest version as of a time, this many milliseconds from when one was recorded, and reads it.
    AsOf { name: usize, pick: usize, off_ms: i64 },
    /// Finds the version that was recorded at a time, this many milliseconds from when one was recorded, and reads it.
    Recorded { name: usize, pick: usize, off_ms: i64, tolerance_ms: u64 },
    /// Lists versions.
    List(Scope),
    /// Lists the containers.
    Containers,
}

impl Op {
    /// Whether it changes the vault.
    pub(super) fn writes(self) -> bool {
        matches!(self, Op::Put { .. } | Op::Resume)
    }
}

/// What a backup builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    /// Nothing: it is full.
    None,
    /// The newest version, if there is one.
    Newest,
    /// Any version of the name, if there is one.
    Any(usize),
    /// A version that is not one of the name.
    Foreign,
}

/// A place in the requests of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// After this many writes of the vault's objects took effect. It is the same in all modes.
    Writes(u64),
    /// After this many requests, of any kind. Modes differ in them.
    Requests(u64),
}

/// An operation of one of the writers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// What it does.
    pub(super) op: Op,
    /// Where its process is killed.
    pub(super) crash: Option<Place>,
}

/// What happens while an operation is under way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Overlap {
    /// At this place of it, the other one runs whole; this long passes before and after.
    Within(Place, u64),
    /// Both of them send requests in an order that this seed gives.
    Mixed(u64),
}

/// A step: the operation of one writer, and maybe one of the other beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// How long nothing happens before it, in milliseconds.
    pub(super) pause: u64,
    /// How far the clock of all clients steps, in milliseconds.
    pub(super) client_step: i64,
    /// How far the clock of the store steps, in milliseconds.
    pub(super) store_step: i64,
    /// Which writer is first: 0 or 1.
    pub(super) writer: usize,
    /// Its operation.
    pub(super) first: Turn,
    /// The operation of the other one.
    pub(super) second: Option<(Turn, Overlap)>,
}

/// A sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Where it comes from.
    pub(super) seed: u64,
    /// The setting `record_after_store`.
    pub(super) record_after_store: bool,
    /// Most entries in a page of a listing.
    pub(super) page: usize,
    /// Most parts of an object.
    pub(super) max_parts: u32,
    /// All modes must have the same results: it has only places that are the same in all of them.
    pub(super) is_same: bool,
    /// Its steps.
    pub(super) steps: Vec<Step>,
}

impl Sequence {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Sequence {
        let mut random = fastrand::Rng::with_seed(mix(seed, 0xE0A1));
        let is_same = random.bool();
        let count = random.usize(4..=14);
        let has_steps = random.u32(0..3) == 0;
        Sequence {
            seed,
            record_after_store: random.bool(),
            page: [2, 5, 1000][random.usize(0..3)],
            max_parts: [2, 10_000][random.usize(0..2)],
            is_same,
            steps: (0..count).map(|_| step(&mut random, is_same, has_steps)).collect(),
        }
    }
}

fn step(random: &mut fastrand::Rng, is_same: bool, has_steps: bool) -> Step {
    let pause = [SECOND, MINUTE, 20 * MINUTE, 8 * DAY][[0, 0, 1, 1, 2, 3][random.usize(0..6)]];
    let minutes = |random: &mut fastrand::Rng| random.i64(-100..100) * MINUTE as i64;
    let steps = has_steps && random.u32(0..4) == 0;
    let (client_step, store_step) = match (steps, random.bool()) {
        (true, true) => (minutes(random), 0),
        (true, false) => (0, minutes(random)),
        (false, _) => (0, 0),
    };
    let op = op(random);
    let crash = if random.u32(0..4) == 0 { Some(place(random, is_same)) } else { None };
    // What the vault deletes itself is killed in the simulation of deletions.
    let first = Turn { op, crash: crash.filter(|_| !matches!(op, Op::Own(_))) };
    let second = (op.writes() && random.u32(0..3) == 0).then(|| {
        let place = place(random, is_same);
        let pause = [SECOND, 20 * MINUTE, 8 * DAY][random.usize(0..3)];
        match random.bool() {
            true if !is_same => (write(random), Overlap::Mixed(random.u64(..))),
            _ => (Turn { op: self::op(random), crash: None }, Overlap::Within(place, pause)),
        }
    });
    Step { pause, client_step, store_step, writer: random.usize(0..2), first, second }
}

fn place(random: &mut fastrand::Rng, is_same: bool) -> Place {
    if is_same { Place::Writes(random.u64(0..5)) } else { Place::Requests(random.u64(0..9)) }
}

fn write(random: &mut fastrand::Rng) -> Turn {
    Turn { op: put(random), crash: None }
}

fn put(random: &mut fastrand::Rng) -> Op {
    let lengths = [0, 1, 4096, 8 * MIB, 24 * MIB + 5];
    Op::Put {
        name: random.usize(0..NAMES.len()),
        parent: match random.u32(0..8) {
            0..4 => Parent::None,
            4..6 => Parent::Newest,
            6 => Parent::Any(random.usize(..)),
            _ => Parent::Foreign,
        },
        length: lengths[[0, 1, 2, 2, 2, 2, 2, 3, 4][random.usize(0..9)]],
        is_file: random.bool(),
        has_checkpoint: random.bool(),
    }
}

fn policy(random: &mut fastrand::Rng) -> Policy {
    let (full_versions, inc_versions) = (random.u64(0..3), random.u64(0..3));
    let (full_days, inc_days) = ([0, 1, 10][random.usize(0..3)], [0, 1, 10][random.usize(0..3)]);
    let full_days = if full_versions + inc_versions + inc_days == 0 { 10 } else { full_days };
    Policy { full_versions, full_days, inc_versions, inc_days, keep_last: random.bool(), together: false }
}

fn op(random: &mut fastrand::Rng) -> Op {
    let (name, pick) = (random.usize(0..NAMES.len()), random.usize(..));
    let off_ms = [-3_600_000, -1000, -1, 0, 0, 1, 1000, 3_600_000][random.usize(0..8)];
    let container = CONTAINERS[random.usize(0..CONTAINERS.len())];
    match random.u32(0..32) {
        0..9 => put(random),
        9 | 10 => Op::Resume,
        11 | 12 => Op::Delete { name, pick },
        13 => Op::Remove { name },
        14 => Op::Undelete { name },
        15 => Op::Latest { name },
        16 => Op::Version { name, pick },
        17 => Op::AsOf { name, pick, off_ms },
        18 => Op::Recorded { name, pick, off_ms, tolerance_ms: [0, 1, 1000, 86_400_000][random.usize(0..4)] },
        19 => Op::List(match random.u32(0..4) {
            0 => Scope::All,
            1 => Scope::Container(container),
            2 => Scope::Backup(name),
            _ => Scope::Paths(container, ""),
        }),
        22.. => Op::Own(match random.u32(0..7) {
            0 => Change::Remove { name },
            1 => Change::Undelete { name },
            2 => Change::Delete { name, pick },
            3 | 4 => Change::Prune { container, policy: policy(random) },
            _ => Change::Sweep { container },
        }),
        20 => Op::List(Scope::Paths(container, ["d", "dir/", "long/", "x"][random.usize(0..4)])),
        _ => Op::Containers,
    }
}
