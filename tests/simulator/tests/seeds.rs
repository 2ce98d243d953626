//! 2,000 seeds with all that can go wrong, the regression cases, and that a seed is one run.

use simulator::coverage::{Counts, Probe};
use simulator::{Case, regressions, run};

/// Each kind of injection takes effect so often at least.
const LEAST: u64 = 5;

#[test]
fn no_seed_breaks_a_promise() {
    let (mut stored, mut hits) = (0, Counts::new());
    for case in regressions().chain((0..2000).map(Case::of)) {
        let report = run(&case, false);
        assert_eq!(report.violation, None, "{case}: `cargo run -p simulator -- --seed {}` tells its story", case.seed);
        for (what, count) in report.hits {
            *hits.entry(what).or_default() += count;
        }
        stored += report.outcomes.iter().filter(|(how, _)| how.starts_with("stored")).map(|(_, n)| n).sum::<u64>();
    }
    // Where everything fails no promise is broken either.
    assert!(stored > 1000, "{stored} backups were stored");
    let is_rare = |what: &&Probe| hits.get(what).copied().unwrap_or(0) < LEAST;
    let rare: Vec<&Probe> = Probe::ALL.iter().filter(is_rare).collect();
    assert!(rare.is_empty(), "these events hardly occur any more: {rare:?}");
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
