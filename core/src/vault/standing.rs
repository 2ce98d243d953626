//! What the objects are worth that hide versions from readers: in a vault that trusts a key, a marker, a `del` row or a row in
//! the future counts only once it was read and verified. What does not verify is reported and ignored.
//!
//! ```text
//!  decide ──something that hides is not proven──▶ prove … (16 at a time) ──▶ decide
//! ```
//! A decision assumes that everything unproven counts, and collects it; then all of that is read at once, and the decision
//! is made again. So nothing is read that no decision depends on, and nothing at all in a vault where nothing is hidden.

use std::collections::HashSet;

use super::Vault;
use super::proof::{Claim, Outcome, ignore};
use crate::account::Bucket;
use crate::op::Context;

/// What a claim is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was verified, or the vault trusts no key.
    Counts,
    /// It was read, and does not count.
    Refused,
    /// It was not read yet.
    Unproven,
}

/// What a machine has read of such objects.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    counts: HashSet<String>,
    refused: HashSet<String>,
}

impl Proofs {
    pub(super) fn standing(&self, vault: &Vault, claim: &Claim) -> Standing {
        match vault.must_prove(&claim.key, claim.size) {
            _ if self.refused.contains(&claim.key) => Standing::Refused,
            Some(_) if !self.counts.contains(&claim.key) => Standing::Unproven,
            _ => Standing::Counts,
        }
    }

    /// Whether a claim counts. One that is not proven yet counts for now, and is added to `unproven`.
    pub(super) fn counts(&self, vault: &Vault, claim: &Claim, unproven: &mut Vec<Claim>) -> bool {
        match self.standing(vault, claim) {
            Standing::Counts => true,
            Standing::Refused => false,
            Standing::Unproven => {
                unproven.push(claim.clone());
                true
            }
        }
    }

    /// Keeps what became of a claim.
    pub(super) fn settle<T>(&mut self, context: &mut Context<'_>, bucket: &Bucket, key: &str, outcome: Outcome<T>) {
        let counts = match outcome {
            Outcome::Counts(_) => true,
            // A marker goes only after the version that it hides; a row that is gone hides nothing.
            Outcome::Gone(_) => key.ends_with(".-d"),
            Outcome::Refused(why) => {
                ignore(context, bucket, key, &why);
                false
            }
        };
        let set = if counts { &mut self.counts } else { &mut self.refused };
        set.insert(key.to_owned());
    }
}
