//! The vault's machines against a simulated store.

mod contract;
mod opening;
mod protocol;
mod reading;
mod resume;
mod tail;
mod world;
