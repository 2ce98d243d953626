//! Jobs: prune, sweep, rotation and re-keying of a bucket. A job walks through the catalogue in order, works on several backups at the same
//! time, and says what it does with each version, backup by backup in the order of the catalogue.
//!
//! ```text
//!  GetBucketVersioning ──▶ [uploads, probes] ──▶ Walk (LIST, page by page) ──backup──▶ a strand of work for each, at most 8 ──▶ items in order
//!                                          ▲──────────── as long as there is room ────────────┘
//! ```
//! - `walk`: reads the lists, and hands out one backup after the other.
//! - `work`: what all work has in common. `prune` and `sweep` decide what goes; `finish` removes it, with what
//!   belongs to it (`dying`, `belongings`). `rotate` changes locators only; `rekey` copies data, or has it pass through
//!   this machine, and `replaced` removes what that has replaced.
//! - `report`: what is said of it.
//!
//! It can be stopped at any point, and run again: what was done stays done, and nothing is lost.

mod belongings;
mod dying;
mod finish;
mod probes;
mod prune;
mod rekey;
mod replaced;
pub mod report;
mod rotate;
mod sweep;
mod uploads;
mod walk;
mod work;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};

pub(crate) use dying::own_vid;
pub use rekey::RekeyRequest;
pub use report::{Action, Item, Report};

use super::Vault;
use super::delete::check_may_sign;
use super::encryption::Encryption;
use super::layout::Place;
use super::retention::Policy;
use crate::error::{Code, Error, Family, Result};
use crate::machine::{Event, Input, Machine, Output};
use crate::mutation::{Mutation, is_active};
use crate::op::{
    BucketVersioning, Call, Calling, GetBucketVersioning, ListMultipartUploads, Next, Paged, Session, Strand,
    UploadListing,
};
use crate::time::Now;
use probes::Probes;
use uploads::OldUploads;
use walk::{Ahead, Walk};
use work::{Env, Task, WorkSteps};

/// Most backups that are worked on at the same time.
const BACKUPS: usize = 8;
/// Most backups that are finished, but wait for one before them.
const DONE: usize = 64;
/// Clocks that differ more than this are no measure of age, in milliseconds.
const CLOCKS_MS: i64 = 5 * 60_000;

/// What a job is asked for.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// The container; `None` for all of the bucket. In a vault with a bucket for each container it must be given.
    pub container: Option<String>,
    /// Says what would be done, and does nothing.
    pub dry_run: bool,
    /// How long an unfinished put is left alone, in milliseconds.
    pub grace_ms: i64,
    /// Drives the jitter of retries.
    pub seed: u64,
}

enum Stage {
    /// Whether objects of the bucket have versions.
    Versioning(Box<Call<GetBucketVersioning>>),
    /// Which old uploads there are.
    Uploads(Box<Call<ListMultipartUploads>>),
    /// Deletes what tried the store and stayed.
    Probes(Strand<Probes>),
    Running,
    Over,
}

/// A backup that is worked on.
struct Worker {
    strand: Strand<WorkSteps>,
    is_done: bool,
}

/// The machine of a job.
pub struct Job {
    vault: Arc<Vault>,
    place: Arc<Place>,
    session: Session,
    request: JobRequest,
    task: Task,
    stage: Stage,
    walk: Walk,
    old_uploads: OldUploads,
    env: Option<Arc<Env>>,
    workers: VecDeque<Worker>,
    report: Report,
    result: Option<Result<Report>>,
}

impl Job {
    /// Marks the versions that the retention lets go, and removes what was marked long enough ago.
    pub fn prune(vault: Arc<Vault>, policy: Policy, request: JobRequest) -> Result<Job> {
        policy.check()?;
        let together = policy.together;
        Job::new(vault, Task::Prune(policy), request, false, together)
    }

    /// Marks what crashed puts left, and removes what was marked long enough ago.
    pub fn sweep(vault: Arc<Vault>, request: JobRequest) -> Result<Job> {
        Job::new(vault, Task::Sweep, request, true, false)
    }

    /// Wraps the data keys of stored versions with the current key-encryption key.
    pub fn rotate(vault: Arc<Vault>, request: JobRequest) -> Result<Job> {
        check_may_sign(&vault)?;
        vault.current_kek()?;
        Job::new(vault, Task::Rotate, request, true, false)
    }

    /// Copies the data of stored versions under new data keys (SSE-C): of the whole bucket, of a container, of a backup of
    /// it, or of one version of that. The driver must discard the ranges that it reads.
    pub fn rekey(vault: Arc<Vault>, request: JobRequest, rekey: RekeyRequest) -> Result<Job> {
        let path = &rekey.path;
        RekeyRequest::check(request.container.as_deref(), path.as_deref(), rekey.version.is_some())?;
        check_may_sign(&vault)?;
        vault.check_may_rekey()?;
        let walk = request.container.as_deref().zip(path.as_deref()).map(|(c, p)| Walk::of_backup(c, p));
        let mut job = Job::new(vault, Task::Rekey(rekey), request, true, false)?;
        job.walk = walk.unwrap_or(job.walk);
        Ok(job)
    }

    fn new(vault: Arc<Vault>, task: Task, request: JobRequest, locators: bool, together: bool) -> Result<Job> {
        let place = vault.layout.place_of(request.container.as_deref())?;
        let least = 2 * vault.account().profile().max_request_age_ms;
        if request.grace_ms < least {
            let why = format!("grace is {} s, but it must be at least {} s", request.grace_ms / 1000, least / 1000);
            return Err(Error::new(Code::InvalidOption, why).with_hint(
                "A put whose last request is under way may still finish for that long. The default is seven days.",
            ));
        }
        let session = Session::new(&place.bucket, request.seed);
        let walk = Walk::new(request.container.as_deref(), locators, together);
        let report = Report { dry_run: request.dry_run, ..Report::default() };
        Ok(Job {
            vault,
            place,
            session,
            request,
            task,
            stage: Stage::Versioning(Box::new(Call::new(GetBucketVersioning))),
            walk,
            old_uploads: OldUploads::default(),
            env: None,
            workers: VecDeque::new(),
            report,
            result: None,
        })
    }

    /// Everything is known that the work depends on.
    fn prepared(&mut self, now: Now, versioning: Result<BucketVersioning>) {
        let has_versions = match self.vault.layout.has_versions(versioning) {
            Ok(has_versions) => has_versions,
            Err(e) => return self.end(Err(e)),
        };
        let offset_ms = self.session.clock(now).saturating_sub(now.unix_ms);
        if matches!(self.task, Task::Prune(_)) && offset_ms.abs() > CLOCKS_MS && !is_active(Mutation::PruneInTheFuture)
        {
            let why = format!(
                "this machine's clock and the store's differ by {} s, so that ages cannot be compared: nothing is deleted",
                offset_ms.abs() / 1000
            );
            return self.end(Err(Error::new(Code::ClockSkew, why)));
        }
        self.env = Some(Arc::new(Env {
            vault: self.vault.clone(),
            place: self.place.clone(),
            task: self.task.clone(),
            dry_run: self.request.dry_run,
            grace_ms: self.request.grace_ms,
            wait_ms: 2 * self.vault.account().profile().max_request_age_ms,
            has_versions,
            may_delete: self.vault.signing_key().is_some(),
            one_by_one: AtomicBool::new(false),
            ranges: AtomicU32::new(0),
            refused_copy: OnceLock::new(),
            held: AtomicU64::new(0),
        }));
        let is_sweep = matches!(self.task, Task::Sweep);
        let list = OldUploads::list(&self.vault, self.request.container.as_deref()).filter(|_| is_sweep);
        self.stage = match list {
            Some(list) => Stage::Uploads(Box::new(Call::new(list))),
            None => self.probes(now),
        };
    }

    /// After the uploads: looks for what tried the store, where something may have.
    fn probes(&self, now: Now) -> Stage {
        let is_sweep = matches!(self.task, Task::Sweep) && *self.vault.encryption() == Encryption::SseC;
        match self.env.as_deref().filter(|env| is_sweep && env.may_delete && !env.dry_run) {
            Some(env) => {
                let before_ms = self.session.clock(now).saturating_sub(env.grace_ms);
                let (probes, first) = Probes::start(env.has_versions, before_ms);
                Stage::Probes(Strand::start(probes, first))
            }
            None => Stage::Running,
        }
    }

    /// A page of the bucket's uploads.
    fn uploads(&mut self, now: Now, list: &ListMultipartUploads, page: Result<UploadListing>) {
        let page = match page {
            Ok(page) => page,
            // A store without uploads has none.
            Err(e) if matches!(e.status(), 405 | 501) => UploadListing::default(),
            Err(e) => return self.end(Err(e)),
        };
        let next = list.next(&page);
        let before_ms = self.session.clock(now).saturating_sub(self.request.grace_ms);
        self.old_uploads.see(&self.vault, page, before_ms);
        self.stage = match next {
            Some(next) => Stage::Uploads(Box::new(Call::new(next))),
            None => self.probes(now),
        };
    }

    /// Ends the job. What is in progress is abandoned.
    fn end(&mut self, result: Result<Report>) {
        self.walk.abandon(&mut self.session);
        match &mut self.stage {
            Stage::Versioning(call) => call.abandon(&mut self.session),
            Stage::Uploads(call) => call.abandon(&mut self.session),
            Stage::Probes(strand) => strand.cancel(&mut self.session),
            Stage::Running | Stage::Over => {}
        }
        for worker in self.workers.iter_mut().filter(|worker| !worker.is_done) {
            worker.strand.cancel(&mut self.session);
        }
        self.stage = Stage::Over;
        self.result = Some(result);
    }

    /// Starts work on what the walk has, as long as there is room.
    fn start_workers(&mut self, now: Now) {
        let Some(env) = self.env.clone() else { return };
        while self.workers.iter().filter(|worker| !worker.is_done).count() < BACKUPS && self.workers.len() < DONE {
            let Ahead::Backups(backups) = self.walk.next() else { return };
            self.report.backups += backups.len() as u64;
            self.report.versions += backups.iter().map(|backup| backup.versions.len() as u64).sum::<u64>();
            let clock = if is_active(Mutation::JobsByOwnClock) { now.unix_ms } else { self.session.clock(now) };
            let mut steps = WorkSteps::new(env.clone(), backups, clock);
            let segments: Vec<_> = steps.backups.iter().map(|backup| backup.segments.clone()).collect();
            steps.old_uploads = segments.iter().flat_map(|segments| self.old_uploads.take(segments)).collect();
            let first = steps.start();
            self.workers.push_back(Worker { strand: Strand::start(steps, first), is_done: false });
        }
    }

    /// Says what was done with the first backups that are done.
    fn flush(&mut self) {
        while self.workers.front().is_some_and(|worker| worker.is_done) {
            let Some(mut worker) = self.workers.pop_front() else { return };
            for item in std::mem::take(&mut worker.strand.steps_mut().items) {
                self.report.count(&item);
                self.session.report(Event::Item { json: item.to_json() });
            }
        }
    }

    /// The work on a backup has ended.
    fn work_ended(&mut self, n: usize, result: Result<()>) {
        self.workers[n].is_done = true;
        let Err(e) = result else { return };
        if e.code() == Code::Cancelled || e.family() != Family::Remote || e.code() == Code::Unavailable {
            return self.end(Err(e));
        }
        // What the store refuses for one backup does not stop the others.
        let steps = self.workers[n].strand.steps_mut();
        let at = steps.at.min(steps.backups.len().saturating_sub(1));
        steps.say(at, None, Action::Problem, 0, e.message().to_owned());
    }
}

impl Machine for Job {
    type Done = Report;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        if let Input::Cancel | Input::Suspend = input {
            if !matches!(self.stage, Stage::Over) {
                self.end(Err(Error::new(Code::Cancelled, "the job was cancelled: run it again to continue")));
            }
            return;
        }
        match &mut self.stage {
            Stage::Versioning(call) => {
                if let Some(answer) = call.handle(&mut self.session, now, &input) {
                    self.prepared(now, answer);
                }
            }
            Stage::Uploads(call) => {
                if let Some(answer) = call.handle(&mut self.session, now, &input) {
                    let list = call.op().clone();
                    self.uploads(now, &list, answer);
                }
            }
            Stage::Probes(strand) => strand.handle(&mut self.session, now, &input),
            Stage::Running => {
                if let Err(e) = self.walk.handle(&mut self.session, now, &input) {
                    return self.end(Err(e));
                }
                for worker in self.workers.iter_mut().filter(|worker| !worker.is_done) {
                    worker.strand.handle(&mut self.session, now, &input);
                }
            }
            Stage::Over => {}
        }
    }

    fn poll(&mut self, now: Now) -> Output<Report> {
        loop {
            if let Some(output) = self.session.pending() {
                return output;
            }
            match &mut self.stage {
                Stage::Over => return self.result.take().map_or(Output::Wait(None), Output::Done),
                Stage::Versioning(call) => return call.poll(&mut self.session, now).into(),
                Stage::Uploads(call) => return call.poll(&mut self.session, now).into(),
                Stage::Probes(strand) => match strand.poll(&mut self.session, now).outward() {
                    Ok(output) => return output,
                    Err(Err(e)) => {
                        self.end(Err(e));
                        continue;
                    }
                    Err(Ok(())) => {
                        self.stage = Stage::Running;
                        continue;
                    }
                },
                Stage::Running => {}
            }
            self.start_workers(now);
            let mut soonest = match self.walk.poll(&mut self.session, now) {
                Next::Wait(at) => at,
                next => return next.into(),
            };
            let mut has_ended = false;
            for n in 0..self.workers.len() {
                if self.workers[n].is_done {
                    continue;
                }
                match self.workers[n].strand.poll(&mut self.session, now) {
                    Output::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
                    Output::Done(result) => {
                        self.work_ended(n, result);
                        has_ended = true;
                        break;
                    }
                    Output::Send(request) => return Output::Send(request),
                    Output::NeedCredentials { generation } => return Output::NeedCredentials { generation },
                    _ => {}
                }
            }
            let count = self.workers.len();
            self.flush();
            if has_ended || self.workers.len() != count {
                continue;
            }
            if matches!(self.stage, Stage::Running) && self.workers.is_empty() && matches!(self.walk.next(), Ahead::End)
            {
                self.stage = Stage::Over;
                self.result = Some(Ok(std::mem::take(&mut self.report)));
            } else if let Some(output) = self.session.pending() {
                return output;
            } else {
                return Output::Wait(soonest);
            }
        }
    }
}
