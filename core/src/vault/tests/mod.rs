//! The vault's machines against a store that is played by hand.

mod protocol;
mod reading;
mod resume;
mod world;
