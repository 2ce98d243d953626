//! Transfers: what moves the bytes of a backup to the store and back.

pub mod checkpoint;
pub(crate) mod download;
pub(crate) mod extent;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod upload;

pub use download::{Taking, Want};

/// Parts and slices that a transfer has under way when it begins; and at most, where it holds them in memory.
pub const WINDOW: u32 = 8;
/// Parts and slices of a transfer that holds none of them in memory, at most.
pub const WIDEST: u32 = 32;
