//! Verification: of a signed manifest without a store, of one version, and of all versions of a vault or a sample of them.

mod manifest;
mod needed;
mod report;
mod state;

use std::collections::VecDeque;

use s3vault_core::settings::{Call, Settings};
use s3vault_core::vault::{Name, Row, Sample, Verdict, Verified, Verify, Vid};
use s3vault_core::{Code, Error, Result};

use super::{Kind, Vault, Version};
use crate::control::{Control, after_interrupt};
use crate::driver::download::Discarding;
use crate::entropy;
use crate::transport::clock;

pub use manifest::verify_manifest;
use needed::{Ancestor, Needed};
pub use report::VerifyReport;
use state::{Plan, State};

/// Versions that are verified at the same time. Each reads several slices at once, as far as the budget of the process
/// allows.
const VERSIONS: usize = 4;

/// Bytes that are read at once where they have to be hashed in order.
const PIECE: usize = 1 << 18;

impl Version {
    /// Reads all data of the version and compares it with the manifest, as a restore does, and keeps none of it. An error
    /// means that nothing is known of the version: the store is away, or refuses the keys.
    pub fn verify(&self, options: &Settings, control: &mut Control<'_>) -> Result<Verified> {
        options.only_for(Call::VerifyVersion)?;
        control.one_call(|control| {
            let machine = Verify::new(self.core(), self.manifest().clone(), entropy::seed()?)?;
            let verified = Discarding::start(self.host(), machine, control)?.end(0, control)?;
            if verified.needs_md5 { self.compare_md5(verified, control) } else { Ok(verified) }
        })
    }

    /// Verifies data that was adopted without hashes by its MD5, which takes its bytes in order: reading does that.
    fn compare_md5(&self, verified: Verified, control: &mut Control<'_>) -> Result<Verified> {
        let (mut get, mut buffer, mut bytes) = (self.open(&Settings::new(), control)?, vec![0; PIECE], 0);
        let compared = loop {
            match get.read(&mut buffer, control) {
                Ok(0) => break Ok(()),
                Ok(count) => bytes += count as u64,
                Err(e) => break Err(e),
            }
        };
        let (verdict, reason) = match compared {
            Ok(()) => (Verdict::Good, String::new()),
            Err(e) => match Verdict::of(&e) {
                Some(bad) => (bad, e.message().to_owned()),
                None => return Err(e),
            },
        };
        Ok(Verified { verdict, bytes, reason, needs_md5: false, ..verified })
    }
}

impl Vault {
    /// Reads the data of all versions, or of a sample of them, and compares it with their manifests, several versions at a
    /// time. Each version is reported as an event of kind [`Item`](crate::EventKind::Item). Options: `container`, `path`,
    /// `sample`, `sample_seed`, `state`.
    ///
    /// Versions that are hidden are left out, unless one that is not hidden builds on them: a restore needs them. What is
    /// bad is in the report, and is no error.
    pub fn verify(&self, options: &Settings, control: &mut Control<'_>) -> Result<VerifyReport> {
        options.only_for(Call::Verify)?;
        let container = Some(options.text("container")).filter(|text| !text.is_empty());
        let path = Some(options.text("path")).filter(|text| !text.is_empty());
        if path.is_some() && container.is_none() {
            let why = "path is set without container";
            return Err(Error::new(Code::InvalidOption, why).with_hint("Set container, too."));
        }
        let seed = match options.text("sample_seed") {
            "" => None,
            text => Some(text.parse::<u64>().map_err(|_| {
                let why = format!("sample_seed = '{text}' is not a whole number");
                Error::new(Code::InvalidOption, why).with_hint("Use a number such as 1, or leave it empty.")
            })?),
        };
        let plan = Plan {
            vault: self.0.vault.id().to_owned(),
            container: container.unwrap_or_default().to_owned(),
            path: path.unwrap_or_default().to_owned(),
            sample: options.number("sample"),
            sample_seed: seed.unwrap_or_else(today),
        };
        let file = Some(options.text("state")).filter(|file| !file.is_empty()).map(std::path::Path::new);
        let mut run = Run {
            vault: self,
            state: State::open(file, plan, seed.is_some())?,
            report: VerifyReport::default(),
            running: VecDeque::new(),
            nearest: None,
        };
        let verified = control.one_call(|control| {
            run.all(container, path, control)?;
            Ok(std::mem::take(&mut run.report))
        });
        match verified {
            Ok(report) => {
                run.state.remove()?;
                Ok(report)
            }
            Err(e) => Err(after_interrupt(e, || match file {
                Some(file) => format!("Run it again with state = {} to continue.", file.display()),
                None => "With the option state, a run that is stopped can be continued.".into(),
            })),
        }
    }
}

/// The number of days since 1970.
fn today() -> u64 {
    u64::try_from(clock::now().unix_ms / 86_400_000).unwrap_or(0)
}

/// A run over many versions.
struct Run<'a> {
    vault: &'a Vault,
    state: State,
    report: VerifyReport,
    /// The versions that are being read, the oldest first.
    running: VecDeque<(Row, Discarding<Verified>)>,
    /// The version that is read if the sample has none.
    nearest: Option<(Vid, Row)>,
}

impl Run<'_> {
    fn all(&mut self, container: Option<&str>, path: Option<&str>, control: &mut Control<'_>) -> Result<()> {
        let plan = self.state.plan();
        let sample = Sample::new(plan.sample, plan.sample_seed);
        self.report.set_sample(plan.sample, plan.sample_seed);
        let mut rows = self.vault.versions(container, path, &Settings::new())?;
        let mut needed = Needed::default();
        while let Some(row) = rows.next(control)? {
            if needed.ends_before(&row) {
                self.ancestors(std::mem::take(&mut needed), sample, control)?;
            }
            needed.add(&row);
            self.report.versions += 1;
            if row.kind != Some(Kind::Del) {
                self.choose(row, sample, control)?;
            }
        }
        self.ancestors(needed, sample, control)?;
        if self.report.chosen == 0
            && let Some((vid, row)) = self.nearest.take()
        {
            self.start(vid, row, control)?;
        }
        while !self.running.is_empty() {
            self.finish_one(control)?;
        }
        Ok(())
    }

    /// Starts to verify a version, if the sample has it.
    fn choose(&mut self, row: Row, sample: Sample, control: &mut Control<'_>) -> Result<()> {
        let vid = Vid::parse(&row.vid)?;
        if sample.has(vid) {
            return self.start(vid, row, control);
        }
        if self.nearest.as_ref().is_none_or(|(nearest, _)| sample.is_nearer(vid, *nearest)) {
            self.nearest = Some((vid, row));
        }
        Ok(())
    }

    /// Chooses among the versions that were not listed, and that those which were listed build on.
    fn ancestors(&mut self, needed: Needed, sample: Sample, control: &mut Control<'_>) -> Result<()> {
        for ancestor in needed.ancestors(self.vault, control)? {
            match ancestor {
                Ancestor::Hidden(row) => {
                    self.report.versions += 1;
                    self.report.hidden += 1;
                    self.choose(row, sample, control)?;
                }
                Ancestor::Bad(verified) => {
                    self.report.versions += 1;
                    self.report.hidden += 1;
                    self.report.chosen += 1;
                    self.verified(&verified, control)?;
                }
            }
        }
        Ok(())
    }

    /// Starts to verify a version, unless an earlier run has done that, once there is room.
    fn start(&mut self, vid: Vid, row: Row, control: &mut Control<'_>) -> Result<()> {
        self.report.chosen += 1;
        if let Some(done) = self.state.done(&row) {
            self.report.resumed += 1;
            self.report.count(&done);
            return Ok(());
        }
        while self.running.len() >= VERSIONS {
            self.finish_one(control)?;
        }
        let name = Name::new(&row.container, &row.path)?;
        let machine = Verify::listed(self.vault.0.vault.clone(), name, vid, entropy::seed()?);
        let reading = Discarding::start(&self.vault.0.client.host, machine, control)?;
        self.running.push_back((row, reading));
        Ok(())
    }

    /// Waits for the version that was started first.
    fn finish_one(&mut self, control: &mut Control<'_>) -> Result<()> {
        let Some((row, reading)) = self.running.pop_front() else { return Ok(()) };
        let mut verified = match reading.end(self.report.done(), control) {
            Ok(verified) => verified,
            // It was deleted meanwhile.
            Err(e) if e.code() == Code::NotFound => {
                self.report.chosen -= 1;
                return Ok(());
            }
            Err(e) => {
                let why = format!("verifying version {} of {} {}", row.vid, row.container, row.path);
                return Err(e.context(why));
            }
        };
        if verified.needs_md5 {
            let mut settings = Settings::new();
            settings.set("version", &row.vid)?;
            let version = self.vault.find(&row.container, &row.path, &settings, control)?;
            verified = version.compare_md5(verified, control)?;
        }
        self.verified(&verified, control)
    }

    /// Reports a version.
    fn verified(&mut self, verified: &Verified, control: &mut Control<'_>) -> Result<()> {
        self.state.add(verified)?;
        self.report.count(verified);
        control.item(self.report.done(), &verified.to_json())
    }
}
