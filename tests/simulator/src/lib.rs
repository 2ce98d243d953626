//! The simulator: core's machines, a model store and a fake clock in one thread. One seed is one run, again and again.

pub mod bucket;
pub mod case;
mod checks;
pub mod content;
mod driver;
mod happenings;
mod network;
pub mod scenario;
pub mod shrink;
pub mod task;
pub mod wire;
pub mod world;

pub use case::Case;
pub use world::{Report, run};
