//! Deletions: *rm*, *undelete*, *delete a version*, *prune* and *sweep* run beside puts, for weeks. Any process may be
//! killed or fall asleep at any of its requests; requests are lost, late or arrive twice. Some seeds have a second run with
//! re-keyings beside all that.
//!
//! - `plan`, `beside`: what a seed means.
//! - `run`, `flight`, `ending`: the clock and the processes; their requests; their results and what is left.
//! - `keys`: key-encryption keys that become current, are rotated to, and are retired.
//! - `rekeying`: data that is copied under new data keys, and what that replaces.
//! - `others`: what happens to the bucket beside the vault: forged rows, other programs, locks.
//!
//! `rules` checks each request when it takes effect, and what is there afterwards: what docs/protocol.md promises of the
//! store. At the end everything stops, a few sweeps run without faults, and nothing may be left that no row names.

mod actor;
mod adopted;
mod beside;
mod ending;
mod flight;
mod keys;
mod others;
mod plan;
mod rekeying;
mod rules;
mod run;
mod snapshot;
mod together;

use crate::case::Case;
use crate::world::Report;

/// Runs the deletions and the re-keyings of a case, and adds what happened to the report.
pub(crate) fn run(case: &Case, keeps_log: bool, report: &mut Report) {
    for plan in std::iter::once(plan::Plan::new(case)).chain(rekeying::plan(case)) {
        if report.violation.is_none() {
            run::run(case, plan, keeps_log, report);
        }
    }
}

/// Runs the deletions of a case alone.
pub fn run_deletions(case: &Case, keeps_log: bool) -> Report {
    let mut report = Report::default();
    run::run(case, plan::Plan::new(case), keeps_log, &mut report);
    report
}

/// Runs the re-keyings of a case alone; most cases have none.
pub fn run_rekeyings(case: &Case, keeps_log: bool) -> Report {
    let mut report = Report::default();
    if let Some(plan) = rekeying::plan(case) {
        run::run(case, plan, keeps_log, &mut report);
    }
    report
}
