//! A process of a run: what it does, and the machine that it starts for it.

use std::sync::Arc;

use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::http::{Request, RequestId};
use s3vault_core::time::Now;
use s3vault_core::transfer::checkpoint::{Checkpoint, FileIdentity};
use s3vault_core::vault::job::Job;
use s3vault_core::vault::{
    Adopt, AdoptRequest, Find, JobRequest, Name, Put, PutRequest, RekeyRequest, Remove, Retire, Selector, Undelete,
    Vault, Vid,
};
use s3vault_core::{Error, Result};

use super::plan::{Mishap, Op, Plan, Planned};
use crate::process::{Process, Source};
use crate::task::{Ended, Machine};

/// The container of the backups.
pub(super) const CONTAINER: &str = "vm";
/// Paths of the backups.
pub(super) const PATHS: [&str; 2] = ["disk", "other.img"];

/// The name of this number.
pub(super) fn name(number: usize) -> Name {
    Name::new(CONTAINER, PATHS[number]).unwrap_or_else(|e| unreachable!("this name is good: {e}"))
}

pub(super) struct Actor {
    pub(super) process: Process,
    pub(super) op: Op,
    pub(super) mishaps: Vec<Mishap>,
    /// Number of machines that it has started; what is meant for an earlier one is dropped.
    pub(super) life: u32,
    /// Number of requests, over all lives.
    pub(super) requests: u64,
    /// Requests of this life that were looked at.
    pub(super) seen: Vec<RequestId>,
    /// It sleeps; what it does when it wakes.
    pub(super) is_asleep: bool,
    pub(super) held: Vec<Request>,
    pub(super) deferred: Vec<super::run::Event>,
    /// It wakes when jobs have sent this many requests.
    pub(super) wakes_after: Option<u64>,
    /// The parent of what it stores.
    pub(super) parent: Option<Vid>,
    /// The version that it deletes.
    pub(super) target: Option<Vid>,
    /// The key-encryption key that it retires.
    pub(super) kek: String,
    /// How far its clock is ahead of the store's, in milliseconds.
    pub(super) off_ms: i64,
    /// Number of deletions that the store refused to its machine.
    pub(super) refused: u32,
    /// The store has damaged a copy of it.
    pub(super) has_damage: bool,
    pub(super) is_over: bool,
}

impl Actor {
    pub(super) fn new(vault: Arc<Vault>, planned: Planned, source: u32) -> Actor {
        let Planned { op, mishaps, off_ms, .. } = planned;
        let mut process = Process::new(vault);
        if let Op::Put { length, is_file, .. } = op {
            process.source = Source { number: source, length, is_file };
        }
        Actor {
            process,
            op,
            mishaps,
            life: 0,
            requests: 0,
            seen: Vec::new(),
            is_asleep: false,
            held: Vec::new(),
            deferred: Vec::new(),
            wakes_after: None,
            parent: None,
            target: None,
            kek: String::new(),
            off_ms,
            refused: 0,
            has_damage: false,
            is_over: false,
        }
    }

    pub(super) fn is_job(&self) -> bool {
        matches!(self.op, Op::Prune(_) | Op::Sweep | Op::Rotate | Op::Rekey { .. })
    }

    /// The machine of what it does.
    pub(super) fn machine(&self, plan: &Plan, seed: u64) -> Result<Machine> {
        let vault = self.process.vault.clone();
        let container = plan.mode.is_per_vm().then(|| CONTAINER.to_owned());
        let grace_ms = plan.grace_ms;
        let request = JobRequest { container: container.clone(), dry_run: false, grace_ms, seed };
        Ok(match self.op {
            Op::Put { name, has_checkpoint, .. } => Machine::Put(self.put(vault, name, has_checkpoint, seed)?),
            Op::Remove { name } => Machine::Remove(Remove::new(vault, self::name(name), entropy(seed), seed)),
            Op::Undelete { name } => Machine::Undelete(Undelete::new(vault, self::name(name), seed)),
            Op::Delete { name, .. } | Op::ReadAmid { name, .. } => {
                let vid = self.target.unwrap_or(Vid::first_of(0));
                Machine::Find(Find::new(vault, self::name(name), Selector::Version(vid), None, seed))
            }
            Op::Read { name, vid } => {
                Machine::Find(Find::new(vault, self::name(name), Selector::Version(vid), None, seed))
            }
            Op::Prune(policy) => Machine::Job(Box::new(Job::prune(vault, policy, request)?)),
            Op::Sweep => Machine::Job(Box::new(Job::sweep(vault, request)?)),
            Op::Rotate => Machine::Job(Box::new(Job::rotate(vault, request)?)),
            Op::Rekey { .. } => Machine::Job(Box::new(Job::rekey(vault, request, RekeyRequest::default())?)),
            Op::Retire => Machine::Retire(Box::new(Retire::new(vault, container.as_deref(), &self.kek, seed)?)),
            Op::Adopt { hash } => {
                let request = AdoptRequest { container, dry_run: false, hash, keys: Arc::default(), seed };
                Machine::Adopt(Box::new(Adopt::new(vault, request)?))
            }
            Op::Write { .. } | Op::Hide { .. } | Op::Lock { .. } | Op::Unlock | Op::Activate => {
                unreachable!("the vault does not do this")
            }
        })
    }

    fn put(&self, vault: Arc<Vault>, name: usize, has_checkpoint: bool, seed: u64) -> Result<Put> {
        let checkpoint = match has_checkpoint {
            true => Some(Checkpoint::parse(&self.process.disk, &vault.checkpoint_key())?.0),
            false => None,
        };
        let Source { number, length, is_file } = self.process.source;
        let identity =
            FileIdentity { device: 1, inode: u64::from(number), size: length, modified_ns: 0, changed_ns: Some(0) };
        let request = PutRequest {
            name: self::name(name),
            parent: self.parent,
            length: is_file.then_some(length),
            source: is_file.then_some(identity),
            live: false,
            labels: Default::default(),
            checkpoint,
            memory: 256 << 20,
            entropy: entropy(seed),
            data_key: DataKey::new([3; 32]),
            seed,
        };
        Put::new(vault, request)
    }

    /// Starts a machine.
    pub(super) fn start(&mut self, now: Now, machine: Machine) -> Option<std::result::Result<Ended, Error>> {
        self.life += 1;
        self.seen.clear();
        self.refused = 0;
        self.process.requests.clear();
        self.process.wake = None;
        self.process.start(now, machine)
    }
}

fn entropy(seed: u64) -> [u8; 10] {
    let mut random = fastrand::Rng::with_seed(seed);
    std::array::from_fn(|_| random.u8(..))
}
