//! The state of a run: the clock, the queue of events, the store and the tasks.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use s3_model::Bucket;
use s3vault_core::account::Account;
use s3vault_core::credentials::Credentials;
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::http::RequestId;
use s3vault_core::settings::Settings;
use s3vault_core::time::Now;
use s3vault_core::vault::{Name, Vault};

use crate::case::{Case, FaultId};
use crate::checks::waits::Retries;
use crate::content::Content;
use crate::coverage::{Counts, Probe};
use crate::deletion;
use crate::inputs::{DEFAULT_REGION, Region};
use crate::lookup::StoredRow;
use crate::network::{Exchange, Stage};
use crate::scenario::Scenario;
use crate::store;
use crate::task::{Job, Outcome, Task};

/// When a run starts, in Unix milliseconds.
pub const START: i64 = 1_764_000_000_000;
/// Maximum duration of a run, in simulated milliseconds: retries, and an outage of an hour, end long before.
const LONGEST: u64 = 48 * 3_600_000;
/// Maximum number of steps of a run; one more for each MiB.
const MOST_STEPS: u64 = 2_000_000;

/// An event that is due at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A task starts, or resumes from its checkpoint.
    Start { task: usize },
    /// The machine has to be polled.
    Wake { task: usize, life: u32 },
    /// An exchange reaches its next stage.
    Exchange { number: u64, stage: Stage },
    /// A part of the source is ready.
    Part { task: usize, life: u32, number: u32 },
    /// A part has been hashed.
    Hash { task: usize, life: u32, number: u32, offset: u64, length: u64 },
    /// The oldest record is on disk, or could not be saved.
    Saved { task: usize, life: u32 },
    /// The reader has consumed a range.
    Consumed { task: usize, life: u32, index: u32 },
    /// The driver has looked for new keys.
    Keys { task: usize, life: u32, generation: u64, found: bool },
    /// An injection of the scenario is due.
    Injection { number: usize },
    /// The caller commits again.
    Again { task: usize, life: u32 },
    /// Keys that the store accepts are available again.
    NewKeys,
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// The first promise that was broken.
    pub violation: Option<String>,
    /// The log, if it was asked for.
    pub story: Vec<String>,
    /// The faults that were applied.
    pub faults: BTreeSet<FaultId>,
    /// How the puts ended, and how many ended so.
    pub outcomes: BTreeMap<String, u64>,
    /// How often each probe was hit.
    pub hits: Counts,
    /// Number of requests.
    pub requests: u64,
    /// Number of tasks at the start.
    pub tasks: usize,
}

pub(crate) struct World {
    pub(crate) case: Case,
    pub(crate) scenario: Scenario,
    pub(crate) random: fastrand::Rng,
    /// Randomness for what follows the puts, so that the puts do not depend on it.
    pub(crate) extra: fastrand::Rng,
    /// Randomness for lookups.
    pub(crate) more: fastrand::Rng,
    /// Simulated milliseconds since the start.
    pub(crate) time: u64,
    pub(crate) client_off_ms: i64,
    pub(crate) store_off_ms: i64,
    pub(crate) store: s3_model::Store<Content>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) exchanges: BTreeMap<u64, Exchange>,
    pub(crate) queue: BinaryHeap<std::cmp::Reverse<(u64, u64, Event)>>,
    pub(crate) sequence: u64,
    /// No more faults: the final checks run.
    pub(crate) is_over: bool,
    /// Requests are refused until then, and not answered until then.
    pub(crate) storm_until: u64,
    pub(crate) outage_until: u64,
    /// All requests take effect and are answered with 500 until then.
    pub(crate) fail_after_until: u64,
    /// No request can be sent until then.
    pub(crate) unreachable_until: u64,
    /// How far the store's clock was ahead of the time of the run, at most, when a request was sent.
    pub(crate) ahead_ms: i64,
    /// Which task chose a vid.
    pub(crate) vids: BTreeMap<String, usize>,
    /// The rows at the store, by their keys, and the versions whose row somebody deleted.
    pub(crate) rows: BTreeMap<String, StoredRow>,
    pub(crate) removed: BTreeSet<String>,
    /// The versions that were there when the put of a version chose its id.
    pub(crate) older: BTreeMap<String, BTreeSet<String>>,
    /// A clock has stepped.
    pub(crate) has_stepped: bool,
    /// Requests that machines have abandoned in the current stage of an exchange.
    pub(crate) dropped: Vec<(usize, u32, RequestId)>,
    /// The task that is driven has an input of a request that is still in progress.
    pub(crate) is_arriving: bool,
    /// The retries of each account, and how long they waited, as a part of their largest delays.
    pub(crate) retries: Vec<Retries>,
    pub(crate) delays: Vec<f64>,
    /// Versions whose data was changed in the store.
    pub(crate) spoiled: BTreeSet<String>,
    /// For some time there were no keys that the store accepts.
    pub(crate) no_keys: bool,
    /// Number in the access key that is valid now.
    pub(crate) keys: u32,
    pub(crate) keeps_log: bool,
    pub(crate) report: Report,
}

/// Runs a case; with `keeps_log` the report has its log.
pub fn run(case: &Case, keeps_log: bool) -> Report {
    let mut report = run_scenario(case, Scenario::new(case), keeps_log);
    if case.inputs > 4 {
        deletion::run(case, keeps_log, &mut report);
    }
    report
}

/// Runs a given scenario; the case has the seed.
pub fn run_scenario(case: &Case, scenario: Scenario, keeps_log: bool) -> Report {
    let mut world = World::new(case.clone(), scenario, keeps_log);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(panic) = ran {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.violate(format!("it panics: {}", why.unwrap_or_default()));
    }
    world.report
}

impl World {
    pub(crate) fn new(case: Case, scenario: Scenario, keeps_log: bool) -> World {
        let store = store::new(&scenario.profile, scenario.quirks, scenario.second.mode, case.seed);
        let mut world = World {
            random: fastrand::Rng::with_seed(crate::content::mix(case.seed, 2)),
            extra: fastrand::Rng::with_seed(crate::content::mix(case.seed, 5)),
            more: fastrand::Rng::with_seed(crate::content::mix(case.seed, 7)),
            spoiled: BTreeSet::new(),
            rows: BTreeMap::new(),
            removed: BTreeSet::new(),
            older: BTreeMap::new(),
            has_stepped: false,
            dropped: Vec::new(),
            is_arriving: false,
            retries: Vec::new(),
            delays: Vec::new(),
            case,
            scenario,
            time: 0,
            client_off_ms: 0,
            store_off_ms: 0,
            store,
            tasks: Vec::new(),
            exchanges: BTreeMap::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            is_over: false,
            storm_until: 0,
            outage_until: 0,
            fail_after_until: 0,
            unreachable_until: 0,
            ahead_ms: i64::MIN,
            vids: BTreeMap::new(),
            no_keys: false,
            keys: 0,
            keeps_log,
            report: Report::default(),
        };
        let shared = world.vault();
        for (task, put) in world.scenario.puts.clone().into_iter().enumerate() {
            let vault = if task < 2 { shared.clone() } else { world.vault() };
            let start = put.start;
            world.tasks.push(Task::new(Job::Put(put), vault, task as u32 + 1));
            if !world.case.without.contains(&task) {
                world.after(start, Event::Start { task });
            }
        }
        if world.scenario.second.has_lookups {
            let vault = world.vault();
            for name in 0..2 {
                let (by_time, delay) = (world.more.bool(), world.more.u64(0..1_200_000));
                let job = if world.more.bool() { world.find(name, by_time) } else { world.listing() };
                let task = world.tasks.len();
                world.tasks.push(Task::new(job, vault.clone(), 0));
                if !world.case.without.contains(&task) {
                    world.after(delay, Event::Start { task });
                }
            }
        }
        world.report.tasks = world.tasks.len();
        world
    }

    /// A vault as a new process opens it.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        let mut settings = Settings::new();
        let name = format!("A{}", self.keys);
        let second = self.scenario.second;
        let own = [("api_url", store::URL), ("access_key", &name), ("secret_key", "S")];
        let own = own.into_iter().chain(second.mode.settings().iter().copied());
        let region = if second.region == Region::Misconfigured { DEFAULT_REGION } else { "" };
        let record = if second.record_after_store { "true" } else { "false" };
        let retry_time = second.retry_time.to_string();
        let retry_time = if second.retry_time == 0 { "" } else { &retry_time };
        let chosen = [("region", region), ("record_after_store", record), ("retry_time", retry_time)];
        let all = own.chain(chosen.into_iter().filter(|(_, value)| !value.is_empty()));
        let made = all.into_iter().try_for_each(|(key, value)| settings.set(key, value)).and_then(|()| {
            let account = Account::from_settings(&settings, Credentials::from_settings(&settings)?)?;
            let account = Arc::new(account.with_profile(self.scenario.profile));
            Vault::new(&settings, &account, Some(Arc::new(Keyring::generate([1; 32]))))
        });
        match made {
            Ok(vault) => Arc::new(vault),
            Err(e) => unreachable!("these settings are good: {e}"),
        }
    }

    pub(crate) fn bucket(&self) -> &Bucket<Content> {
        store::bucket(&self.store)
    }

    pub(crate) fn bucket_mut(&mut self) -> &mut Bucket<Content> {
        store::bucket_mut(&mut self.store)
    }

    pub(crate) fn name(&self, number: usize) -> Name {
        let long = "long/".repeat(60) + "disk";
        let path = match number {
            0 => "disk",
            _ if self.scenario.second.has_long_name => long.as_str(),
            _ => "other.img",
        };
        Name::new("vm", path).unwrap_or_else(|e| unreachable!("this name is good: {e}"))
    }

    pub(crate) fn now(&self) -> Now {
        Now { unix_ms: START + self.time as i64 + self.client_off_ms, mono_ms: self.time }
    }

    /// The store's clock.
    pub(crate) fn store_ms(&self) -> i64 {
        START + self.time as i64 + self.store_off_ms
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(std::cmp::Reverse((self.time + delay, self.sequence, event)));
    }

    pub(crate) fn violate(&mut self, why: String) {
        if self.report.violation.is_none() {
            self.log(|| format!("VIOLATION: {why}"));
            self.report.violation = Some(why);
        }
    }

    pub(crate) fn hit(&mut self, what: Probe) {
        *self.report.hits.entry(what).or_default() += 1;
    }

    pub(crate) fn log(&mut self, line: impl FnOnce() -> String) {
        if self.keeps_log {
            let at = self.time;
            self.report.story.push(format!("{:>7}.{:03} {}", at / 1000, at % 1000, line()));
        }
    }

    /// Whether this fault applies; if so, it is recorded.
    pub(crate) fn applies(&mut self, id: FaultId) -> bool {
        let takes = !self.is_over && self.case.has(id);
        if takes {
            self.report.faults.insert(id);
        }
        takes
    }

    fn run(&mut self) {
        self.drain();
        if self.report.violation.is_none() {
            self.restore_all();
            self.drain();
        }
        self.after_all();
        let tasks = self.tasks.iter();
        for task in tasks {
            self.report.requests += task.requests;
            if let (Job::Put(_), Some(outcome)) = (&task.job, &task.outcome) {
                let word = match outcome {
                    Outcome::Stored { .. } if task.life > 0 => "stored after a resume".to_owned(),
                    Outcome::Stored { .. } => "stored".to_owned(),
                    Outcome::Failed(code) => code.clone(),
                    Outcome::Open(code) => format!("open: {code}"),
                };
                *self.report.outcomes.entry(word).or_default() += 1;
            }
        }
    }

    /// Processes events until there are none.
    pub(crate) fn drain(&mut self) {
        let payload: u64 = self.scenario.puts.iter().map(|put| put.length >> 20).sum();
        let (mut steps, most_steps) = (0, MOST_STEPS + payload);
        while let Some(std::cmp::Reverse((at, _, event))) = self.queue.pop() {
            self.time = self.time.max(at);
            steps += 1;
            if steps > most_steps {
                self.violate(format!("{most_steps} steps, and no end"));
            }
            if self.time > LONGEST {
                self.violate(format!("{} hours, and no end", LONGEST / 3_600_000));
            }
            if self.report.violation.is_some() {
                return;
            }
            self.event(event);
        }
        for (number, task) in self.tasks.iter().enumerate() {
            if task.machine.is_some() {
                let why = format!("task {number} waits for nothing, after {} requests", task.requests);
                self.violate(why);
                return;
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Start { task } => self.start_task(task),
            Event::Wake { task, life } => {
                let task_ = &mut self.tasks[task];
                if task_.life == life && task_.wake.is_some_and(|at| at <= self.time) {
                    task_.wake = None;
                    self.drive(task, None);
                }
            }
            Event::Exchange { number, stage } => self.exchange(number, stage),
            Event::Part { task, life, number } => self.part(task, life, number),
            Event::Hash { task, life, number, offset, length } => self.hash(task, life, number, (offset, length)),
            Event::Saved { task, life } => self.saved(task, life),
            Event::Consumed { task, life, index } => self.consumed(task, life, index),
            Event::Keys { task, life, generation, found } => self.keys_found(task, life, generation, found),
            Event::Injection { number } => self.inject(number),
            Event::Again { task, life } => self.again(task, life),
            Event::NewKeys => self.keys += 1,
        }
    }
}
