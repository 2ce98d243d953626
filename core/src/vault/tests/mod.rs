//! The vault's machines against a store that is played by hand.

mod opening;
mod protocol;
mod reading;
mod resume;
mod tail;
mod world;
