//! Random sequences of all operations, two writers, crashes and clock steps: equal results in all modes, and those of a
//! reference.

#![allow(clippy::panic)]
use simulator::equal::{Sequence, check};

/// Number of sequences.
const SEEDS: u64 = 2000;

#[test]
fn all_modes_have_the_results_of_the_reference() {
    let mut compared = 0;
    for seed in 0..SEEDS {
        match check(&Sequence::new(seed)) {
            Ok(count) => compared += count,
            Err(why) => panic!("{why}\n`cargo run -p simulator -- equal --seed {seed}` tells the story again"),
        }
    }
    println!("{SEEDS} sequences, {compared} results");
}
