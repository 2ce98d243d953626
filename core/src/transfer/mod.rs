//! Transfers: moving the bytes of a backup to the store and back.

pub mod checkpoint;
pub(crate) mod download;
pub(crate) mod extent;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod stored_form;
#[cfg(test)]
mod tests;
pub(crate) mod upload;

pub use download::{Delivery, ReadRequest};
pub use stored_form::StoredForm;

/// Number of parts or slices that a transfer starts with in flight, which is also the maximum where it holds them in
/// memory.
pub const WINDOW: u32 = 8;
/// Maximum number of parts or slices in flight of a transfer that holds none of them in memory.
pub const WIDEST: u32 = 32;
