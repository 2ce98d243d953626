//! 2,000 seeds with all that can go wrong, the regression cases, and that a seed is one run.

use simulator::coverage::{Counts, Probe};
use simulator::{Case, regressions, run};

/// Number of seeds.
const SEEDS: u64 = 2000;

#[test]
fn no_seed_breaks_a_promise() {
    let (mut stored, mut reached) = (0, Counts::new());
    for case in regressions().chain((0..SEEDS).map(Case::of)) {
        let report = run(&case, false);
        assert_eq!(report.violation, None, "{case}: `cargo run -p simulator -- --seed {}` tells its story", case.seed);
        for what in report.hits.into_keys() {
            *reached.entry(what).or_default() += 1;
        }
        stored += report.outcomes.iter().filter(|(how, _)| how.starts_with("stored")).map(|(_, n)| n).sum::<u64>();
    }
    // Where everything fails no promise is broken either.
    assert!(stored > 1000, "{stored} backups were stored");
    let of_thousand = |what: &Probe| reached.get(what).copied().unwrap_or(0) * 1000 / SEEDS;
    let rare = Probe::ALL.iter().filter(|what| of_thousand(what) < what.share());
    let rare: Vec<String> = rare.map(|what| format!("{what:?} in {} of {}", of_thousand(what), what.share())).collect();
    assert!(rare.is_empty(), "these events occur in too few seeds of 1,000: {rare:?}");
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..20 {
        let case = Case::of(seed);
        let (first, second) = (run(&case, true), run(&case, true));
        assert_eq!(first.story, second.story);
        assert!(!first.story.is_empty());
    }
}
