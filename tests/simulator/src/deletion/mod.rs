//! Deletions: *rm*, *undelete*, *delete a version*, *prune* and *sweep* run beside puts, for weeks. Any process may be
//! killed or fall asleep at any of its requests; requests are lost, late or arrive twice.
//!
//! - `plan`, `beside`: what a seed means.
//! - `run`, `flight`, `ending`: the clock and the processes; their requests; their results and what is left.
//! - `keys`: key-encryption keys that become current, are rotated to, and are retired.
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
mod rules;
mod run;
mod snapshot;
mod together;

use crate::case::Case;
use crate::world::Report;

pub(crate) use run::run;

/// Runs the deletions of a case alone.
pub fn run_deletions(case: &Case, keeps_log: bool) -> Report {
    let mut report = Report::default();
    run(case, keeps_log, &mut report);
    report
}
