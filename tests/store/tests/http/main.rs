//! The store over raw HTTP: what it refuses, its hooks, and its life as a server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod buckets;
mod client;
mod deletion;
mod hooks;
mod life;
mod lock;
mod strictness;
