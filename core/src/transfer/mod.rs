//! Transfers: what moves the bytes of a backup to the store and back.

pub mod checkpoint;
pub(crate) mod download;
pub(crate) mod plan;
pub(crate) mod upload;

pub use download::{Taking, Want};

/// Parts and ranges that one transfer has under way at most.
pub const WINDOW: u32 = 8;
