//! Jobs over the whole vault, or over one container: prune, sweep, rotate, rekey and adopt.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use s3vault_core::settings::{Call, Settings};
use s3vault_core::vault::names::check_container;
use s3vault_core::vault::retention::Policy;
use s3vault_core::vault::{Adopt, AdoptRequest, CustomerKeys, Job, JobRequest, RekeyRequest, Report, Vid};
use s3vault_core::{Code, Error, Result};

use super::{Vault, adopt_keys};
use crate::control::{Control, after_interrupt};
use crate::driver::Started;
use crate::driver::download::Discarding;
use crate::entropy;

/// A job of one bucket.
enum Task {
    Prune(Policy),
    Sweep,
    Rotate,
    Rekey(RekeyRequest),
    Adopt { hash: bool, keys: Arc<CustomerKeys> },
}

impl Task {
    fn wraps_data_keys(&self) -> bool {
        match self {
            Task::Rotate | Task::Rekey { .. } => true,
            Task::Adopt { keys, .. } => !keys.is_empty(),
            Task::Prune(_) | Task::Sweep => false,
        }
    }
}

impl Vault {
    /// Hides the versions that the retention lets go, and frees the space of what was hidden more than half an hour ago.
    /// Each version is reported as an event of kind [`Item`](crate::EventKind::Item), backup by backup in the order of the
    /// catalogue.
    ///
    /// Options: `container`, `dry_run`, `grace`, and `retention_full_versions`, `retention_full_days`,
    /// `retention_inc_versions`, `retention_inc_days`, `keep_last`, `retention_scope`, which stand in for those of the
    /// vault's configuration.
    ///
    /// A job that was stopped can be run again, and continues.
    pub fn prune(&self, options: &Settings, control: &mut Control<'_>) -> Result<Report> {
        options.only_for(Call::Prune)?;
        let policy = Policy::from_settings(&self.0.retention.overlaid(options));
        policy.check()?;
        self.run_job(&Task::Prune(policy), options, control)
    }

    /// Marks what crashed puts left, and frees the space of what was hidden or marked more than half an hour ago.
    /// Options: `container`, `dry_run`, `grace`. See [`prune`](Vault::prune).
    pub fn sweep(&self, options: &Settings, control: &mut Control<'_>) -> Result<Report> {
        options.only_for(Call::Sweep)?;
        self.run_job(&Task::Sweep, options, control)
    }

    /// Wraps the data keys of stored versions with the current key-encryption key of the keyring. Their data stays as it
    /// is. Options: `container`, `dry_run`. See [`prune`](Vault::prune).
    pub fn rotate(&self, options: &Settings, control: &mut Control<'_>) -> Result<Report> {
        options.only_for(Call::Rotate)?;
        self.run_job(&Task::Rotate, options, control)
    }

    /// Copies the data of stored versions that the store encrypts with data keys (SSE-C) under new ones, which are made with
    /// the current key-encryption key of the keyring. What they had before goes in a later run. Where the store cannot copy
    /// such data, it passes through this machine, if `through_client` allows that. Options: `container`, `path`, `version`,
    /// `dry_run`, `grace`, `through_client`. See [`prune`](Vault::prune).
    pub fn rekey(&self, options: &Settings, control: &mut Control<'_>) -> Result<Report> {
        options.only_for(Call::Rekey)?;
        let named = |key: &'static str| Some(options.text(key)).filter(|text| !text.is_empty());
        let (container, path) = (named("container"), named("path"));
        RekeyRequest::check(container, path, named("version").is_some())?;
        let version = match (container, path, named("version")) {
            (Some(container), Some(path), Some(version)) => {
                let mut which = Settings::new();
                which.set("version", version)?;
                Some(Vid::parse(&self.find(container, path, &which, control)?.row().vid)?)
            }
            _ => None,
        };
        let (path, through_client) = (path.map(str::to_owned), options.flag("through_client"));
        self.run_job(&Task::Rekey(RekeyRequest { path, version, through_client }), options, control)
    }

    /// Makes versions of what other programs wrote into a bucket of the vault as `container/path`, without moving it. Each
    /// object is reported as an event of kind [`Item`](crate::EventKind::Item). Options: `container`, `dry_run`, `hash`,
    /// `adopt_buckets`, `adopt_keys`.
    ///
    /// It can be repeated: what is adopted already is left as it is.
    pub fn adopt(&self, options: &Settings, control: &mut Control<'_>) -> Result<Report> {
        options.only_for(Call::Adopt)?;
        let keys = match options.text("adopt_keys") {
            "" => CustomerKeys::default(),
            path => adopt_keys::read(Path::new(path))?,
        };
        let task = Task::Adopt { hash: options.flag("hash"), keys: Arc::new(keys) };
        let named = self.adopted_containers(options)?;
        self.run_job_in(&named, &task, options, control)
    }

    /// The containers that `adopt_buckets` names. Locators and catalogue entries of a container are in its own bucket, and
    /// say which keys of that bucket have the data: data of another bucket has no place in them.
    fn adopted_containers(&self, options: &Settings) -> Result<Vec<String>> {
        let list = options.text("adopt_buckets");
        if list.is_empty() {
            return Ok(Vec::new());
        }
        let refuse = |why: String, hint: &str| Err(Error::new(Code::InvalidOption, why).with_hint(hint));
        if !self.0.vault.has_bucket_per_container() {
            let why = "adopt_buckets is for vaults with a bucket for each container, and this vault has one bucket";
            return refuse(why.into(), "Leave adopt_buckets empty: the vault's bucket is adopted.");
        }
        if !options.text("container").is_empty() {
            let why = "container and adopt_buckets cannot both be set";
            return refuse(why.into(), "Set adopt_buckets to BUCKET=CONTAINER for that container only.");
        }
        let mut containers = Vec::new();
        for pair in list.split(',') {
            let Some((bucket, container)) = pair.trim().split_once('=') else {
                let why = format!("adopt_buckets: '{pair}' is not of the form BUCKET=CONTAINER");
                return refuse(why, "Write, for example, backup-vm1-pmi6hunu55=vm1.");
            };
            check_container(container)?;
            let own = self.0.vault.bucket_name(container);
            if bucket != own {
                let why = format!(
                    "adopt_buckets: bucket {bucket} cannot be adopted for container {container}, whose bucket is {own}"
                );
                return refuse(
                    why,
                    "Copy its objects into the container's own bucket and adopt that, or open the bucket as a vault of its own with mode = single-bucket and adopt it there.",
                );
            }
            containers.push(container.to_owned());
        }
        Ok(containers)
    }

    fn run_job(&self, task: &Task, options: &Settings, control: &mut Control<'_>) -> Result<Report> {
        self.run_job_in(&[], task, options, control)
    }

    /// Runs the job in the buckets of these containers. Without any: of the container that the options name, or of all.
    fn run_job_in(
        &self,
        named: &[String],
        task: &Task,
        options: &Settings,
        control: &mut Control<'_>,
    ) -> Result<Report> {
        if task.wraps_data_keys() && !options.flag("dry_run") {
            self.warn_of_missing_escrow(control)?;
        }
        let container = Some(options.text("container")).filter(|container| !container.is_empty());
        if let Some(container) = container {
            check_container(container)?;
        }
        let run = |control: &mut Control<'_>| match container {
            None if !named.is_empty() => {
                let mut buckets = Buckets::new(self, task, options);
                for container in named {
                    buckets.add(Some(container), control)?;
                }
                buckets.end(control)
            }
            None if self.0.vault.has_bucket_per_container() => self.run_in_each_bucket(task, options, control),
            container => {
                let mut buckets = Buckets::new(self, task, options);
                buckets.add(container, control)?;
                buckets.end(control)
            }
        };
        let noting = |control: &mut Control<'_>| self.noting_deletions(control, run);
        control.one_call(noting).map_err(|e| {
            after_interrupt(e, || "Run it again to continue: what it has done stays done, and nothing is lost.".into())
        })
    }

    /// Runs the job in the bucket of each container.
    fn run_in_each_bucket(&self, task: &Task, options: &Settings, control: &mut Control<'_>) -> Result<Report> {
        let mut buckets = Buckets::new(self, task, options);
        let mut containers = self.containers(&Settings::new())?;
        while let Some(row) = containers.next(control)? {
            buckets.add(Some(&row.container), control)?;
        }
        buckets.end(control)
    }

    fn start_in_bucket(
        &self,
        task: &Task,
        container: Option<&str>,
        options: &Settings,
        control: &Control<'_>,
    ) -> Result<Running> {
        let request = JobRequest {
            container: container.map(str::to_owned),
            dry_run: options.flag("dry_run"),
            grace_ms: i64::try_from(options.duration_ms("grace")).unwrap_or(i64::MAX),
            seed: entropy::seed()?,
        };
        let (vault, host) = (self.0.vault.clone(), &self.0.client.host);
        Ok(match task {
            Task::Prune(policy) => Running::Job(Started::start(host, Job::prune(vault, *policy, request)?, control)?),
            Task::Sweep => Running::Job(Started::start(host, Job::sweep(vault, request)?, control)?),
            Task::Rotate => Running::Job(Started::start(host, Job::rotate(vault, request)?, control)?),
            Task::Rekey(rekey) => {
                let rekey = Job::rekey(vault, request, rekey.clone())?;
                Running::Reading(Discarding::start(host, rekey, control)?)
            }
            Task::Adopt { hash, keys } => {
                let JobRequest { container, dry_run, seed, .. } = request;
                let request = AdoptRequest { container, dry_run, hash: *hash, keys: keys.clone(), seed };
                let adopt = Adopt::new(vault, request)?;
                Running::Reading(Discarding::start(host, adopt, control)?)
            }
        })
    }
}

/// Buckets that are worked on at the same time.
const BUCKETS: usize = 4;

/// A job in a bucket that was started.
enum Running {
    Job(Started<Report>),
    /// One that reads data.
    Reading(Discarding<Report>),
}

/// A job in several buckets. Items come bucket by bucket, in the order in which the buckets were added; the job in a later
/// bucket stops when it has as many items as are kept for the caller.
struct Buckets<'a> {
    vault: &'a Vault,
    task: &'a Task,
    options: &'a Settings,
    report: Report,
    running: VecDeque<Running>,
}

impl Buckets<'_> {
    fn new<'a>(vault: &'a Vault, task: &'a Task, options: &'a Settings) -> Buckets<'a> {
        let report = Report { dry_run: options.flag("dry_run"), ..Report::default() };
        Buckets { vault, task, options, report, running: VecDeque::new() }
    }

    /// Starts the job in the bucket of a container, once there is room. `None`: in the vault's only bucket.
    fn add(&mut self, container: Option<&str>, control: &mut Control<'_>) -> Result<()> {
        if self.running.len() >= BUCKETS {
            self.end_first(control)?;
        }
        self.running.push_back(self.vault.start_in_bucket(self.task, container, self.options, control)?);
        Ok(())
    }

    /// Waits for all.
    fn end(mut self, control: &mut Control<'_>) -> Result<Report> {
        while !self.running.is_empty() {
            self.end_first(control)?;
        }
        Ok(self.report)
    }

    fn end_first(&mut self, control: &mut Control<'_>) -> Result<()> {
        let items = self.report.items();
        self.report.add(match self.running.pop_front() {
            Some(Running::Job(job)) => job.end(items, control)?,
            Some(Running::Reading(job)) => job.end_job(items, control)?,
            None => return Ok(()),
        });
        Ok(())
    }
}
