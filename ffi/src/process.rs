//! Limits that all transfers of the process share: memory, connections, bandwidth.

use s3vault_core::Result;

pub use crate::budget::Stats;
use crate::budget::process;

/// Sets one of the options `memory`, `connections`, `bandwidth_up`, `bandwidth_down`. It applies at once, also to
/// transfers in progress; if a limit is lowered, resources in use count against it until they are released. An empty
/// value restores the default.
///
/// Fails with [`Code::UnknownOption`](crate::Code::UnknownOption), whose hint names the nearest key, and with
/// [`Code::InvalidOption`](crate::Code::InvalidOption), also for an option that is not a limit of the process.
pub fn set(key: &str, value: &str) -> Result<()> {
    process().set(key, value)
}

/// Returns what is in use right now.
pub fn stats() -> Stats {
    process().stats()
}
