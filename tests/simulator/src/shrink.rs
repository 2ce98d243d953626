//! Makes a failing run shorter: fewer tasks, shorter sources, fewer faults, as long as it still breaks a promise.

use std::collections::BTreeSet;

use crate::case::{Case, FaultId};
use crate::world::Report;

/// Maximum number of runs that are tried.
const MOST_RUNS: u32 = 400;

/// Runs a case; with `true` the report has its log.
pub type Run = fn(&Case, bool) -> Report;

/// The shortest case that was found which fails as this one does, in some way.
pub fn shrink(case: &Case, run: Run) -> Case {
    let mut shrinking = Shrinking { best: case.clone(), runs: 0, run };
    let report = run(case, false);
    for task in (0..report.tasks).rev() {
        let mut smaller = shrinking.best.clone();
        smaller.without.insert(task);
        shrinking.keep_if_it_fails(smaller);
    }
    for _ in 0..4 {
        let smaller = Case { shorter: shrinking.best.shorter + 1, ..shrinking.best.clone() };
        if !shrinking.keep_if_it_fails(smaller) {
            break;
        }
    }
    let all: BTreeSet<FaultId> = run(&shrinking.best, false).faults;
    let explicit = Case { faults: Some(all), ..shrinking.best.clone() };
    shrinking.keep_if_it_fails(explicit);
    shrinking.fewer_faults();
    shrinking.best
}

struct Shrinking {
    best: Case,
    runs: u32,
    run: Run,
}

impl Shrinking {
    fn keep_if_it_fails(&mut self, case: Case) -> bool {
        self.runs += 1;
        let fails = self.runs <= MOST_RUNS && (self.run)(&case, false).violation.is_some();
        if fails {
            self.best = case;
        }
        fails
    }

    /// Leaves out halves, then quarters, and so on.
    fn fewer_faults(&mut self) {
        let mut size = self.best.faults.as_ref().map_or(0, BTreeSet::len).div_ceil(2);
        while size > 0 {
            let faults: Vec<FaultId> = self.best.faults.iter().flatten().copied().collect();
            let mut fewer = false;
            for left_out in faults.chunks(size) {
                let mut kept = self.best.faults.clone().unwrap_or_default();
                kept.retain(|fault| !left_out.contains(fault));
                fewer |= self.keep_if_it_fails(Case { faults: Some(kept), ..self.best.clone() });
            }
            if !fewer {
                size = if size == 1 { 0 } else { size.div_ceil(2) };
            }
        }
    }
}
