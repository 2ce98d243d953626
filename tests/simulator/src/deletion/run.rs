//! A run: the clock, the queue of events, the processes, and what happens to their requests.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use s3_model::{Rules as StoreRules, Store};
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::profile::S3;
use s3vault_core::time::Now;
use s3vault_core::vault::Vault;
use s3vault_core::{Code, Error};

use super::actor::{Actor, CONTAINER};
use super::flight::Flight;
use super::plan::{Op, Plan, Planned};
use super::rules::{Rules, Sender};
use super::snapshot::Snapshot;
use crate::case::{Case, FaultId};
use crate::content::{Content, mix};
use crate::process::Source;
use crate::store::{BUCKET, at};
use crate::task::Machine;
use crate::world::{Report, START};

/// Numbers of the processes in the names of faults: after those of the tasks. Their naps and damaged copies have as many
/// more.
pub(super) const FIRST: usize = 1000;
/// The same for a run of re-keyings: after all those of deletions.
pub(super) const FIRST_OF_REKEYINGS: usize = 5 * FIRST;
/// Most events of a run.
const MOST_EVENTS: u64 = 200_000;

thread_local! {
    static KEYRING: OnceCell<Arc<Keyring>> = const { OnceCell::new() };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Start { number: usize },
    Arrived { flight: u64, is_copy: bool },
    Replied { flight: u64 },
    Dropped { flight: u64 },
    Wake { number: usize, life: u32 },
    Awake { number: usize, life: u32 },
}

pub(super) struct Run {
    pub(super) case: Case,
    pub(super) plan: Plan,
    pub(super) random: fastrand::Rng,
    pub(super) keyring: Arc<Keyring>,
    /// The number of the key-encryption key that is current, and those that are retired.
    pub(super) current: u8,
    pub(super) retired: BTreeSet<u8>,
    pub(super) vault: Arc<Vault>,
    /// The bucket that keeps the backups.
    pub(super) bucket: String,
    pub(super) store: Store<Content>,
    pub(super) time: u64,
    pub(super) off_ms: i64,
    pub(super) queue: BinaryHeap<std::cmp::Reverse<(u64, u64, Event)>>,
    pub(super) sequence: u64,
    pub(super) actors: Vec<Actor>,
    pub(super) senders: BTreeMap<(usize, u32), Sender>,
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) rules: Rules,
    pub(super) job_requests: u64,
    /// Number of the newest arrival when the store began to delete everything again.
    pub(super) unlocked: u64,
    pub(super) is_over: bool,
    pub(super) faults: BTreeSet<FaultId>,
    pub(super) violation: Option<String>,
    pub(super) keeps_log: bool,
    pub(super) story: Vec<String>,
}

/// Runs a plan of a case, and adds what happened to the report.
pub(super) fn run(case: &Case, plan: Plan, keeps_log: bool, report: &mut Report) {
    let mut run = match Run::new(case, plan, keeps_log) {
        Ok(run) => run,
        Err(e) => unreachable!("these settings are good: {e}"),
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run.all())) {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        run.violate(format!("it panics: {}", why.unwrap_or_default()));
    }
    report.violation = report.violation.take().or(run.violation);
    report.story.append(&mut run.story);
    report.faults.append(&mut run.faults);
    for (what, count) in run.rules.hits {
        *report.hits.entry(what).or_default() += count;
    }
}

impl Run {
    fn new(case: &Case, plan: Plan, keeps_log: bool) -> Result<Run, Error> {
        let keyring = KEYRING.with(|keyring| keyring.get_or_init(|| Arc::new(Keyring::generate([1; 32]))).clone());
        let keyring = if plan.keks > 0 { super::keys::keyring(1, plan.keks, &BTreeSet::new()) } else { keyring };
        let vault = plan.mode.vault(plan.profile(), &keyring, super::keys::settings(&plan).iter().copied())?;
        let rules = StoreRules {
            min_part: S3.min_part_size,
            max_page: plan.page,
            unique_etags: !plan.has_others,
            ..StoreRules::default()
        };
        let mut store = Store::new(rules, plan.seed);
        let created = store.create_bucket(BUCKET, plan.mode.versioning(), at(START));
        created.unwrap_or_else(|refusal| unreachable!("the bucket is the first: {refusal:?}"));
        Ok(Run {
            random: fastrand::Rng::with_seed(mix(plan.seed, 0xDE1)),
            rules: Rules::new(plan.grace_ms, super::keys::ids(&plan)),
            current: 1,
            retired: BTreeSet::new(),
            case: case.clone(),
            plan,
            keyring,
            bucket: vault.bucket_name(CONTAINER),
            vault,
            store,
            time: 0,
            off_ms: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            actors: Vec::new(),
            senders: BTreeMap::new(),
            flights: BTreeMap::new(),
            job_requests: 0,
            unlocked: 0,
            is_over: false,
            faults: BTreeSet::new(),
            violation: None,
            keeps_log,
            story: Vec::new(),
        })
    }

    fn all(&mut self) {
        let planned = self.plan.planned.clone();
        let (mode, grace) = (self.plan.mode, self.plan.grace_ms / 1000);
        let what = if self.plan.rekeys { "re-keyings" } else { "deletions" };
        self.log(|| format!("{what} in mode {mode:?}, grace {grace} s"));
        for (n, one) in planned.into_iter().enumerate() {
            if self.case.without.contains(&(self.plan.first + n)) {
                continue;
            }
            let number = self.add(one.clone());
            self.push_at(one.at, Event::Start { number });
            if n < self.plan.firsts {
                // What runs while the clocks are wrong has no faults: the protocol's times are those of the store.
                let is_last = n + 1 == self.plan.firsts;
                (self.is_over, self.off_ms) = (true, if is_last { self.plan.ahead_ms } else { 0 });
                self.drain();
                (self.is_over, self.off_ms) = (false, 0);
                if is_last && self.plan.has_forged_rows {
                    self.forge();
                }
            }
        }
        self.drain();
        for number in 0..self.actors.len() {
            if self.actors[number].is_asleep {
                self.awake(number);
            }
        }
        self.drain();
        self.sweep_all();
    }

    pub(super) fn add(&mut self, planned: Planned) -> usize {
        let number = self.actors.len();
        let is_shared = number.is_multiple_of(2) && planned.off_ms == 0;
        let vault = if is_shared { self.vault.clone() } else { self.fresh() };
        self.actors.push(Actor::new(vault, planned, number as u32 + 1));
        number
    }

    pub(super) fn fresh(&self) -> Arc<Vault> {
        let settings = super::keys::settings(&self.plan).iter().copied();
        self.plan
            .mode
            .vault(self.plan.profile(), &self.keyring, settings)
            .unwrap_or_else(|e| unreachable!("these settings are good: {e}"))
    }

    pub(super) fn drain(&mut self) {
        let mut events = 0;
        while let Some(std::cmp::Reverse((time, _, event))) = self.queue.pop() {
            self.time = self.time.max(time);
            events += 1;
            if events > MOST_EVENTS {
                self.violate(format!("{MOST_EVENTS} events, and no end"));
            }
            if self.violation.is_some() {
                self.queue.clear();
                return;
            }
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Start { number } => self.start(number),
            Event::Arrived { flight, is_copy } => self.arrived(flight, is_copy),
            Event::Replied { flight } => self.replied(event, flight, true),
            Event::Dropped { flight } => self.replied(event, flight, false),
            Event::Wake { number, life } => {
                let actor = &mut self.actors[number];
                if actor.life != life {
                    return;
                }
                if actor.is_asleep {
                    return actor.deferred.push(event);
                }
                let now = self.now(number);
                let result = self.actors[number].process.drive(now, None);
                self.driven(number, result);
            }
            Event::Awake { number, life } => {
                if self.actors[number].life == life && self.actors[number].is_asleep {
                    self.awake(number);
                }
            }
        }
    }

    pub(super) fn start(&mut self, number: usize) {
        let seed = self.random.u64(..);
        let op = self.actors[number].op;
        self.open_with_keys(number);
        match op {
            Op::Put { name, is_incremental: true, .. } if self.actors[number].life == 0 => {
                let visible = self.rules.visible(name);
                let newest =
                    visible.first().filter(|vid| self.rules.committed[*vid].row.kind != s3vault_core::vault::Kind::Del);
                self.actors[number].parent = newest.copied();
            }
            Op::Activate => return self.activate(number),
            Op::Retire if !self.chooses_retired(number) => return,
            Op::Delete { name, pick } | Op::ReadAmid { name, pick } => {
                let visible = self.rules.visible(name);
                self.actors[number].target = pick.checked_rem(visible.len()).map(|pick| visible[pick]);
                let Some(vid) = self.actors[number].target else { return };
                if matches!(op, Op::ReadAmid { .. }) {
                    let one = &self.rules.committed[&vid];
                    if one.adopted.is_some() || one.row.kind == s3vault_core::vault::Kind::Del {
                        return;
                    }
                    let (source, length) = one.source;
                    self.actors[number].process.source = Source { number: source, length, is_file: false };
                }
            }
            Op::Write { .. } | Op::Hide { .. } | Op::Lock { .. } | Op::Unlock => {
                self.log(|| format!("{number}: {op:?}"));
                self.actors[number].is_over = true;
                return self.interfere(number, op);
            }
            Op::Read { vid, .. } => {
                let (source, length) = self.rules.committed[&vid].source;
                self.actors[number].process.source = Source { number: source, length, is_file: false };
            }
            _ => {}
        }
        self.log(|| format!("{number} starts: {op:?}"));
        match self.actors[number].machine(&self.plan, seed) {
            Ok(machine) => self.run_machine(number, machine),
            // The data key of its checkpoint is wrapped with a key that was retired while it was away. It has stored nothing.
            Err(e) if e.code() == Code::WrongKey && self.resumes(number) && !self.retired.is_empty() => {
                self.log(|| format!("{number} cannot resume: {e:?}"));
                self.actors[number].is_over = true;
            }
            Err(e) => self.violate(format!("{number} cannot start {op:?}: {e:?}")),
        }
    }

    /// Whether it is a put that was killed, and resumes from its checkpoint.
    fn resumes(&self, number: usize) -> bool {
        let actor = &self.actors[number];
        actor.life > 0 && matches!(actor.op, Op::Put { has_checkpoint: true, .. })
    }

    pub(super) fn run_machine(&mut self, number: usize, machine: Machine) {
        let now = self.now(number);
        let clock = self.clock();
        let actor = &mut self.actors[number];
        let result = actor.start(now, machine);
        let source = (actor.process.source.number, actor.process.source.length);
        let who = (number, actor.life);
        let sender =
            Sender { op: actor.op, who, since: self.rules.arrivals, since_ms: clock, source, off_ms: actor.off_ms };
        self.senders.insert((number, actor.life), sender);
        self.driven(number, result);
    }

    pub(super) fn push_at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(std::cmp::Reverse((time, self.sequence, event)));
    }

    /// Whether a fault applies; if so, it is recorded.
    pub(super) fn may(&mut self, fault: FaultId) -> bool {
        let applies = !self.is_over && self.case.has(fault);
        if applies {
            self.faults.insert(fault);
        }
        applies
    }

    /// The time in a process.
    pub(super) fn now(&self, number: usize) -> Now {
        Now { unix_ms: self.clock() + self.actors[number].off_ms, mono_ms: self.time }
    }

    /// What is in the bucket.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.store.bucket(&self.bucket).map(Snapshot::new).unwrap_or_default()
    }

    /// The store's clock.
    pub(super) fn clock(&self) -> i64 {
        START + self.time as i64 + self.off_ms
    }

    pub(super) fn note(&mut self, checked: Result<(), String>) {
        if let Err(why) = checked {
            self.violate(why);
        }
    }

    pub(super) fn violate(&mut self, why: String) {
        if self.violation.is_none() {
            self.log(|| format!("VIOLATION: {why}"));
            self.violation = Some(why);
        }
    }

    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        if self.keeps_log {
            let at = self.time;
            self.story.push(format!("{:>7}.{:03} {}", at / 1000, at % 1000, line()));
        }
    }
}
