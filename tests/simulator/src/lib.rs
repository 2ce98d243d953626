//! The simulator: core's machines, a model store and a fake clock in one thread. One seed is one run, again and again.

pub mod case;
mod checks;
pub mod content;
pub mod coverage;
mod deletion;
mod driver;
pub mod equal;
pub mod inputs;
mod life;
pub mod lookup;
pub mod mode;
mod network;
mod process;
mod restore;
pub mod scenario;
mod sealing;
pub mod shrink;
pub mod store;
pub mod task;
pub mod wire;
pub mod world;

pub use case::Case;
pub use deletion::{run_deletions, run_rekeyings};
pub use world::{Report, run, run_scenario};

/// Cases that failed once.
pub fn regressions() -> impl Iterator<Item = Case> {
    let lines = include_str!("../regressions.txt").lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| {
        Case::parse(line.split('#').next().unwrap_or_default()).unwrap_or_else(|| unreachable!("'{line}' is no case"))
    })
}
