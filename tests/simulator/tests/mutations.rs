//! Proof that the simulator sees: with each mutation of the engine active, some seed breaks a promise.

use s3vault_core::mutation::{Mutation, activate};
use simulator::{Case, run};

/// Number of seeds that are tried for each mutation.
const SEEDS: u64 = 2000;

#[test]
fn each_mutation_is_found() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        activate(Some(*mutation));
        let found = (0..SEEDS).find_map(|seed| Some((seed, run(&Case::of(seed), false).violation?)));
        match found {
            Some((seed, why)) => println!("{mutation:?}: seed {seed}: {why}"),
            None => missed.push(mutation),
        }
    }
    activate(None);
    assert!(missed.is_empty(), "{SEEDS} seeds do not find {missed:?}");
}
