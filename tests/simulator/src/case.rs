//! The name of a run: its seed, and what was removed to make it shorter.

use std::collections::BTreeSet;
use std::fmt;

/// Names a fault: `2.17` is the fault of the 17th request of task 2, `t3` the third injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultId {
    /// The fault of a task's request.
    Request(usize, u64),
    /// An injection of the scenario.
    Injection(usize),
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultId::Request(task, number) => write!(f, "{task}.{number}"),
            FaultId::Injection(number) => write!(f, "t{number}"),
        }
    }
}

impl FaultId {
    fn parse(text: &str) -> Option<FaultId> {
        if let Some(number) = text.strip_prefix('t') {
            return Some(FaultId::Injection(number.parse().ok()?));
        }
        let (task, number) = text.split_once('.')?;
        Some(FaultId::Request(task.parse().ok()?, number.parse().ok()?))
    }
}

/// The newest set of inputs: the second one has lookups, incrementals, steps back of the store's clock, and the faults of
/// [`crate::inputs`]; the third a proxy whose clock is wrong, and pages that say in other words that they are truncated;
/// the fourth vaults in a bucket without versioning; the fifth deletions, prune and sweep, in a run of their own
/// (`crate::deletion`); the sixth adds to that run adopt, a bucket for each container, locks, retention by days and of all
/// paths together, and wrong clocks; the seventh data keys, rotation and retired keys; the eighth a run of re-keyings in some seeds; in
/// the ninth some of the data is encrypted on this side.
pub const INPUTS: u32 = 9;

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Determines everything else in the run.
    pub seed: u64,
    /// Tasks that are left out.
    pub without: BTreeSet<usize>,
    /// The only faults that apply; `None` for all faults of the seed.
    pub faults: Option<BTreeSet<FaultId>>,
    /// Number of times that sources are halved.
    pub shorter: u32,
    /// The set of inputs that the seed chooses from. A line keeps its meaning when later inputs are added.
    pub inputs: u32,
}

impl Case {
    /// The whole run of a seed.
    pub fn of(seed: u64) -> Case {
        Case { seed, without: BTreeSet::new(), faults: None, shorter: 0, inputs: INPUTS }
    }

    /// Reads a line of `regressions.txt`: `seed=7 inputs=2 without=1,2 faults=0.3,t1 shorter=1`, all but the seed
    /// optional. Without `inputs` the line is from the time of the first set.
    pub fn parse(line: &str) -> Option<Case> {
        let mut case = Case { inputs: 1, ..Case::of(0) };
        for word in line.split_whitespace() {
            let (name, value) = word.split_once('=')?;
            let items = || value.split(',').filter(|item| !item.is_empty());
            match name {
                "seed" => case.seed = value.parse().ok()?,
                "without" => case.without = items().map(|item| item.parse().ok()).collect::<Option<_>>()?,
                "faults" => case.faults = Some(items().map(FaultId::parse).collect::<Option<_>>()?),
                "inputs" => case.inputs = value.parse().ok()?,
                "shorter" => case.shorter = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(case)
    }

    /// Whether this fault may happen.
    pub fn has(&self, id: FaultId) -> bool {
        self.faults.as_ref().is_none_or(|faults| faults.contains(&id))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: Vec<String>| items.join(",");
        write!(f, "seed={}", self.seed)?;
        if self.inputs > 1 {
            write!(f, " inputs={}", self.inputs)?;
        }
        if !self.without.is_empty() {
            write!(f, " without={}", list(self.without.iter().map(ToString::to_string).collect()))?;
        }
        if let Some(faults) = &self.faults {
            write!(f, " faults={}", list(faults.iter().map(ToString::to_string).collect()))?;
        }
        if self.shorter > 0 {
            write!(f, " shorter={}", self.shorter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_its_line() {
        for line in ["seed=7", "seed=7 inputs=2", "seed=7 without=1,2 faults=0.3,3.99,t1 shorter=1", "seed=0 faults="] {
            assert_eq!(Case::parse(line).unwrap().to_string(), line);
        }
        assert_eq!(Case::parse("seed=x"), None);
    }
}
