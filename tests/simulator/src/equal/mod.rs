//! Equal results: a random sequence of operations has the same results in all modes, and those of a reference that is a
//! list of versions.
//!
//! Two writers run the operations. One may run while another is under way; a process may be killed between any two
//! requests, and a put that was killed may resume from its checkpoint; clocks step; days pass. Each result is compared
//! with the reference as soon as it is there, and the results of all modes with each other.
//!
//! A new operation of a vault gets a variant of `Op` in `sequence.rs`, its machine in `operation.rs`, and its meaning in
//! the reference.

mod arrival;
mod change;
mod operation;
mod outcome;
mod reference;
mod run;
mod sequence;
mod stranger;

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use s3vault_core::crypto::keyring::Keyring;

use outcome::Outcome;
use run::Run;
pub use sequence::Sequence;

use crate::mode::Mode;

thread_local! {
    /// One keyring serves all runs: to make one costs more than a run.
    static KEYRING: OnceCell<Arc<Keyring>> = const { OnceCell::new() };
}

/// Runs a sequence in all modes. Returns how many operations were compared.
///
/// # Errors
/// A result differs; the text says which, and tells the story.
pub fn check(sequence: &Sequence) -> Result<u64, String> {
    let keyring = KEYRING.with(|keyring| keyring.get_or_init(|| Arc::new(Keyring::generate([1; 32]))).clone());
    let mut first: Option<(Mode, Vec<Outcome>, usize)> = None;
    let mut compared = 0;
    for mode in Mode::ALL {
        let mut run = Run::new(sequence, mode, &keyring)?;
        let ended = catch_unwind(AssertUnwindSafe(|| run.all())).unwrap_or_else(|_| Err("it panics".to_owned()));
        let told = |why: String, run: &Run| {
            format!("seed {} in mode {mode:?}: {why}\n{}", sequence.seed, run.story.join("\n"))
        };
        if let Err(why) = ended {
            return Err(told(why, &run));
        }
        compared += run.outcomes.len() as u64;
        let most = run.compared.unwrap_or(usize::MAX);
        match &first {
            Some((other, outcomes, its)) if sequence.is_same => {
                if let Some(at) = difference(outcomes, &run.outcomes).filter(|at| *at < most.min(*its)) {
                    let (here, there) = (run.outcomes.get(at), outcomes.get(at));
                    return Err(told(format!("result {at} is {here:?}, and {there:?} in mode {other:?}"), &run));
                }
            }
            Some(_) => {}
            None => first = Some((mode, run.outcomes, most)),
        }
    }
    Ok(compared)
}

/// The first place where two runs differ. What was not done has no result.
fn difference(one: &[Outcome], other: &[Outcome]) -> Option<usize> {
    let differ = |at: &usize| match (one.get(*at), other.get(*at)) {
        (Some(Outcome::Nothing), Some(_)) | (Some(_), Some(Outcome::Nothing)) => false,
        // A put that fails may have ended in one mode before the write at which it is killed in another: whether its locator
        // has been sent depends on whether it has seen the store's clock.
        (Some(Outcome::Killed(None)), Some(Outcome::Failed(_)))
        | (Some(Outcome::Failed(_)), Some(Outcome::Killed(None))) => false,
        (one, other) => one != other,
    };
    (0..one.len().max(other.len())).find(differ)
}
