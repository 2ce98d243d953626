//! A sequence in one mode: the store, the two writers, and who is next.

use std::collections::BTreeMap;
use std::sync::Arc;

use s3_model::http::Reply;
use s3_model::{Rules, Store};
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::profile::{Profile, S3};
use s3vault_core::time::Now;
use s3vault_core::transfer::ReadRequest;
use s3vault_core::vault::{Found, Read, Row, Vault};
use s3vault_core::{Code, Result as CoreResult};

use super::arrival::Storing;
use super::change::Changing;
use super::outcome::Outcome;
use super::reference::{Reference, is_near_future};
use super::sequence::{MINUTE, NAMES, Op, Overlap, Place, Scope, Sequence, Step, Turn};
use super::stranger::VAULT_ID;
use crate::content::Content;
use crate::mode::Mode;
use crate::process::{Process, Source};
use crate::store::{BUCKET, at};
use crate::task::{Ended, Machine};
use crate::wire::{Answer, Wire};
use crate::world::START;

/// An operation at work.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Put(Storing),
    Find {
        expected: Result<usize, Code>,
        found: Option<Box<Found>>,
    },
    List {
        scope: Option<Scope>,
        rows: Vec<Row>,
    },
    Change(Changing),
    /// Another program has done it.
    Stranger(Outcome),
}

/// A writer.
pub(super) struct Writer {
    pub(super) process: Process,
    pub(super) work: Option<Work>,
    /// Writes that took effect, and requests, since the operation started.
    pub(super) writes: u64,
    pub(super) requests: u64,
    /// A put that was killed, and its checkpoint.
    pub(super) killed: Option<(Storing, Vec<u8>)>,
    pub(super) result: Option<CoreResult<Ended>>,
}

/// A run.
pub(super) struct Run {
    pub(super) sequence: Sequence,
    pub(super) mode: Mode,
    pub(super) keyring: Arc<Keyring>,
    pub(super) store: Store<Content>,
    /// Milliseconds since the start.
    pub(super) time: u64,
    pub(super) client_off_ms: i64,
    pub(super) store_off_ms: i64,
    pub(super) reference: Reference,
    pub(super) writers: [Writer; 2],
    /// Sources so far.
    pub(super) sources: u32,
    /// The bucket of each container that has a version.
    pub(super) buckets: BTreeMap<&'static str, String>,
    pub(super) outcomes: Vec<Outcome>,
    /// How many outcomes all modes have in common: a put that was refused may have left a locator in one mode only, as it knew
    /// the store's clock or not, and its parent is then kept. Every outcome is compared with the reference.
    pub(super) compared: Option<usize>,
    pub(super) story: Vec<String>,
}

/// Most requests of an operation.
const MOST_REQUESTS: u64 = 2000;

/// What was checked, or why it is wrong.
pub(super) type Checked<T> = Result<T, String>;

impl Run {
    pub(super) fn new(sequence: &Sequence, mode: Mode, keyring: &Arc<Keyring>) -> Checked<Run> {
        let rules = Rules {
            min_part: S3.min_part_size,
            max_parts: sequence.max_parts,
            max_page: sequence.page,
            completes_again: false,
            unique_etags: true,
            ..Rules::default()
        };
        let writer = || -> Checked<Writer> {
            let process = Process::new(vault(sequence, mode, keyring)?);
            Ok(Writer { process, work: None, writes: 0, requests: 0, killed: None, result: None })
        };
        let mut store = Store::new(rules, sequence.seed);
        if !mode.is_per_vm() {
            let created = store.create_bucket(BUCKET, mode.versioning(), at(START));
            created.map_err(|refusal| format!("no bucket: {refusal:?}"))?;
        }
        Ok(Run {
            writers: [writer()?, writer()?],
            sequence: sequence.clone(),
            mode,
            keyring: keyring.clone(),
            store,
            time: 0,
            client_off_ms: 0,
            store_off_ms: 0,
            reference: Reference::default(),
            sources: 0,
            buckets: BTreeMap::new(),
            outcomes: Vec::new(),
            compared: None,
            story: Vec::new(),
        })
    }

    /// Runs all steps, and compares what is there afterwards.
    pub(super) fn all(&mut self) -> Checked<()> {
        for step in self.sequence.steps.clone() {
            self.step(&step)?;
        }
        self.time += 1000;
        for mode in [self.mode, self.mode.other_versions()] {
            self.writers[0].process = Process::new(vault(&self.sequence, mode, &self.keyring)?);
            self.everything()?;
        }
        Ok(())
    }

    /// All versions are listed, and each of them is read.
    fn everything(&mut self) -> Checked<()> {
        let whole = |op| Turn { op, crash: None };
        self.turn(0, whole(Op::List(Scope::All)))?;
        self.turn(0, whole(Op::Containers))?;
        for name in 0..NAMES.len() {
            for (pick, number) in self.reference.all(name).into_iter().enumerate() {
                self.turn(0, whole(Op::Version { name, pick }))?;
                // In one mode the row of a deleted version may be there for longer: a put that was refused may have left a
                // locator, which names it, or not yet have sent it.
                if self.reference.versions[number].is_hidden {
                    self.outcomes.pop();
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Checked<()> {
        self.client_off_ms += step.client_step;
        self.store_off_ms += step.store_step;
        self.pass(step.pause);
        let (first, other) = (step.writer, 1 - step.writer);
        match step.second {
            None => self.turn(first, step.first),
            Some((second, Overlap::Within(place, pause))) => {
                self.start(first, step.first.op)?;
                self.proceed(first, Some(place))?;
                self.pass(pause);
                self.turn(other, second)?;
                self.pass(pause);
                self.finish(first, step.first.crash)
            }
            Some((second, Overlap::Mixed(seed))) => {
                self.start(first, step.first.op)?;
                self.start(other, second.op)?;
                let mut random = fastrand::Rng::with_seed(seed);
                while self.writers.iter().any(Writer::is_busy) {
                    let one = random.usize(0..2);
                    let next = self.writers[one].requests + 1;
                    self.proceed(one, Some(Place::Requests(next)))?;
                }
                self.finish(first, None)?;
                self.finish(other, None)
            }
        }
    }

    /// Time passes: this long, and longer where a version would be so near to the limit of what is in the future that the
    /// second, to which a client knows the store's clock, decides.
    fn pass(&mut self, pause: u64) {
        self.time += pause;
        while self.reference.versions.iter().any(|version| is_near_future(version.vid, self.clock())) {
            self.time += 2 * MINUTE;
        }
    }

    /// An operation from its start to its end.
    fn turn(&mut self, writer: usize, turn: Turn) -> Checked<()> {
        self.start(writer, turn.op)?;
        self.finish(writer, turn.crash)
    }

    /// Continues an operation up to this place, or to its end.
    fn proceed(&mut self, number: usize, until: Option<Place>) -> Checked<()> {
        loop {
            let writer = &self.writers[number];
            let is_there = match until {
                Some(Place::Writes(writes)) => writer.writes >= writes,
                Some(Place::Requests(requests)) => writer.requests >= requests,
                None => false,
            };
            if !writer.is_busy() || is_there {
                return Ok(());
            }
            if writer.requests > MOST_REQUESTS {
                return Err(format!("{number} sends {MOST_REQUESTS} requests, and does not end"));
            }
            self.exchange(number)?;
            self.next(number)?;
        }
    }

    /// Ends an operation, or kills its process at this place.
    fn finish(&mut self, number: usize, crash: Option<Place>) -> Checked<()> {
        // It may have ended at once.
        self.next(number)?;
        self.proceed(number, crash)?;
        let writer = &mut self.writers[number];
        let Some(work) = writer.work.take() else {
            self.outcomes.push(Outcome::Nothing);
            return Ok(());
        };
        let result = writer.result.take();
        let builds = self.builds_on_a_version(&work);
        let outcome = match result {
            Some(result) => self.outcome(number, work, result)?,
            None => self.kill(number, work)?,
        };
        if builds && matches!(outcome, Outcome::Failed(_)) {
            self.compared.get_or_insert(self.outcomes.len() + 1);
        }
        self.story.push(format!("{number} at {} s: {outcome:?}", self.time / 1000));
        self.outcomes.push(outcome);
        Ok(())
    }

    /// Whether it is a put whose locator keeps a version.
    fn builds_on_a_version(&self, work: &Work) -> bool {
        let Work::Put(Storing { parent: Some(parent), .. }) = work else { return false };
        self.reference.versions.iter().any(|version| version.vid == *parent)
    }

    fn kill(&mut self, number: usize, work: Work) -> Checked<Outcome> {
        let vault = vault(&self.sequence, self.mode, &self.keyring)?;
        let old = std::mem::replace(&mut self.writers[number].process, Process::new(vault));
        let Work::Put(storing) = work else { return Ok(Outcome::Killed(None)) };
        let stored = storing.stored;
        if storing.is_saved {
            self.writers[number].killed = Some((storing, old.disk));
        }
        Ok(Outcome::Killed(stored))
    }

    /// The next request arrives, or the time of the next retry comes.
    fn exchange(&mut self, number: usize) -> Checked<()> {
        let Some((request, drop_at)) = self.writers[number].process.requests.pop_front() else {
            let Some(wake) = self.writers[number].process.wake else {
                return Err(format!("{number} waits for nothing"));
            };
            self.time = self.time.max(wake);
            let now = self.now();
            let writer = &mut self.writers[number];
            writer.result = writer.process.drive(now, None);
            return Ok(());
        };
        let now = self.now();
        self.writers[number].requests += 1;
        if drop_at <= now.mono_ms {
            let writer = &mut self.writers[number];
            writer.result = writer.process.dropped(now, &request);
            return Ok(());
        }
        let wire = self.writers[number].process.wire(&request);
        let clock = self.clock();
        let answer = Answer::from(self.answer(&wire));
        self.story.push(format!("    {number} {} {}: {}", wire.request.bucket, wire.short(), answer.status));
        if answer.status < 300 {
            self.arrived(number, &wire, clock)?;
        }
        let writer = &mut self.writers[number];
        writer.result = writer.process.answered(now, &request, answer);
        Ok(())
    }

    fn answer(&mut self, wire: &Wire) -> Reply<Content> {
        let now = at(self.clock());
        let bucket = &wire.request.bucket;
        if self.mode.is_per_vm() && self.store.bucket(bucket).is_err() {
            // Somebody has created it.
            let _ = self.store.create_bucket(bucket, self.mode.versioning(), now);
        }
        self.store.answer(&wire.request, now)
    }

    /// A machine has ended: starts the next one of its operation, if there is one.
    fn next(&mut self, number: usize) -> Checked<()> {
        let Some(result) = self.writers[number].result.take() else { return Ok(()) };
        let Some(mut work) = self.writers[number].work.take() else { return Ok(()) };
        let next = match (&mut work, result) {
            (Work::Find { expected, found }, Ok(Ended::Found(it))) => {
                let Ok(expected) = *expected else {
                    return Err(format!("{number} finds {}, and should not: {expected:?}", it.row.vid));
                };
                self.check_row(expected, &it.row)?;
                let version = &self.reference.versions[expected];
                let source = Source { number: version.source, length: version.length, is_file: false };
                let vault = self.writers[number].process.vault.clone();
                let read = Read::new(vault, Arc::new(it.manifest.clone()), ReadRequest::default(), self.time);
                self.writers[number].process.source = source;
                *found = Some(it);
                Ok(Machine::Read(read.map_err(|e| format!("{number} cannot read: {e:?}"))?))
            }
            (Work::Change(_), Ok(Ended::Found(it))) => Ok(self.delete_found(number, &it)?),
            (Work::List { scope, rows }, Ok(Ended::Listed(more, cursor))) => {
                rows.extend(more);
                let scope = *scope;
                match cursor {
                    Some(cursor) => Ok(self.list(number, scope, cursor)),
                    None => Err(Ok(Ended::Read)),
                }
            }
            (_, result) => Err(result),
        };
        let now = self.now();
        let writer = &mut self.writers[number];
        writer.work = Some(work);
        match next {
            Ok(machine) => {
                writer.result = writer.process.start(now, machine);
                self.next(number)
            }
            Err(result) => {
                writer.result = Some(result);
                Ok(())
            }
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { unix_ms: START + self.time as i64 + self.client_off_ms, mono_ms: self.time }
    }

    /// The store's clock.
    pub(super) fn clock(&self) -> i64 {
        START + self.time as i64 + self.store_off_ms
    }
}

impl Writer {
    fn is_busy(&self) -> bool {
        self.work.is_some() && self.result.is_none()
    }
}

pub(super) fn vault(sequence: &Sequence, mode: Mode, keyring: &Arc<Keyring>) -> Checked<Arc<Vault>> {
    let profile = Profile { max_parts: sequence.max_parts, completes_again: false, ..S3 };
    let record = if sequence.record_after_store { "true" } else { "false" };
    mode.vault(profile, keyring, [("record_after_store", record), ("vault_id", VAULT_ID)])
        .map_err(|e| format!("no vault: {e:?}"))
}
