//! The vault's machines against a simulated store.

mod contract;
mod opening;
mod protocol;
mod reading;
mod resume;
mod stores;
mod tail;
mod world;
