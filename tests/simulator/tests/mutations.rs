//! Proof that the simulator sees: with each mutation of the engine active, some seed breaks a promise.

use s3vault_core::mutation::{Mutation, activate};
use simulator::equal::{Sequence, check};
use simulator::{Case, Report, run, run_deletions, run_rekeyings};

/// Number of seeds that are tried for each mutation.
const SEEDS: u64 = 2000;

/// What only deletions and jobs decide.
const OF_DELETIONS: [Mutation; 24] = [
    Mutation::RemoveBeforeNewest,
    Mutation::DeleteNeededVersion,
    Mutation::PruneByKeys,
    Mutation::PruneInTheFuture,
    Mutation::PruneIgnoresLocators,
    Mutation::MarkParentsFirst,
    Mutation::FinishAtOnce,
    Mutation::FinishSuspectedRow,
    Mutation::FinishNeededVersion,
    Mutation::FinishIgnoresLocators,
    Mutation::FinishWholeKey,
    Mutation::AbortBusyUpload,
    Mutation::AbortAfterData,
    Mutation::MarkersBeforeLocators,
    Mutation::SweepYoungPuts,
    Mutation::SweepWithoutLook,
    Mutation::SweepWithoutMarker,
    Mutation::AdoptOwnObjects,
    Mutation::AdoptUndated,
    Mutation::FinishReplacedObject,
    Mutation::FinishAdoptedRowFirst,
    Mutation::FinishIgnoresRefusal,
    Mutation::JobsByOwnClock,
    Mutation::PruneApart,
];

/// What only rotations and retired keys decide.
const OF_KEYS: [Mutation; 10] = [
    Mutation::RotateDeletesFirst,
    Mutation::RotateDeletesOthers,
    Mutation::RotateUncommitted,
    Mutation::RotateIgnoresClosed,
    Mutation::RetireAtOnce,
    Mutation::RetireWithoutLook,
    Mutation::PutIgnoresClosed,
    Mutation::PutLooksOnce,
    Mutation::ReadHighestLocator,
    Mutation::ReadLocatorsOnce,
];

/// What only re-keyings decide.
const OF_REKEYINGS: [Mutation; 4] =
    [Mutation::RekeyWithoutCheck, Mutation::RekeyIgnoresGrace, Mutation::RekeyInEpoch, Mutation::ClearWithoutLook];

#[test]
fn each_mutation_of_keys_is_found() {
    all_found(&OF_KEYS, run_deletions);
}

#[test]
fn each_mutation_of_deletions_is_found() {
    all_found(&OF_DELETIONS, run_deletions);
}

#[test]
fn each_mutation_of_rekeyings_is_found() {
    all_found(&OF_REKEYINGS, run_rekeyings);
}

fn all_found(mutations: &[Mutation], run: fn(&Case, bool) -> Report) {
    let mut missed = Vec::new();
    for mutation in mutations {
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

#[test]
fn each_mutation_is_found() {
    let of_others = [OF_DELETIONS.as_slice(), &OF_KEYS, &OF_REKEYINGS].concat();
    let all: Vec<Mutation> = Mutation::ALL.iter().copied().filter(|mutation| !of_others.contains(mutation)).collect();
    all_found(&all, run);
}

/// What the comparison of results must see by itself: sequences have no faults but crashes.
const SEEN_IN_RESULTS: [Mutation; 9] = [
    Mutation::StopAfterFirstPage,
    Mutation::IgnoreVersionsAhead,
    Mutation::IgnoreNewerVersions,
    Mutation::RecordStart,
    Mutation::ForgetParent,
    Mutation::AcknowledgeBeforeRow,
    Mutation::ReadNewestVersion,
    Mutation::ForgetLastRow,
    Mutation::NumberExtentsFromZero,
];

#[test]
fn the_comparison_of_results_finds_these_mutations() {
    let mut missed = Vec::new();
    for mutation in SEEN_IN_RESULTS {
        activate(Some(mutation));
        let found = (0..SEEDS).find_map(|seed| Some((seed, check(&Sequence::new(seed)).err()?)));
        match found {
            Some((seed, why)) => println!("{mutation:?}: seed {seed}: {}", why.lines().next().unwrap_or_default()),
            None => missed.push(mutation),
        }
    }
    activate(None);
    assert!(missed.is_empty(), "{SEEDS} sequences do not find {missed:?}");
}
