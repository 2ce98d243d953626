//! 2,000 seeds, the regression cases, and that a seed is one run.

use simulator::{Case, regressions, run};

#[test]
fn no_seed_breaks_a_promise() {
    let mut stored = 0;
    for case in regressions().chain((0..2000).map(Case::of)) {
        let report = run(&case, false);
        assert_eq!(report.violation, None, "{case}: `cargo run -p simulator -- --seed {}` tells its story", case.seed);
        stored += report.outcomes.iter().filter(|(how, _)| how.starts_with("stored")).map(|(_, n)| n).sum::<u64>();
    }
    // Where everything fails no promise is broken either.
    assert!(stored > 1000, "{stored} backups were stored");
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
