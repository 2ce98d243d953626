//! What all transfers of the process share: memory, connections, bandwidth.

use s3vault_core::Result;

pub use crate::budget::Stats;
use crate::budget::process;

/// Sets one of the options `memory`, `connections`, `bandwidth_up`, `bandwidth_down`; transfers that are under way heed
/// it from now on. A lowered limit takes effect as what is held comes back. An empty value is the default.
///
/// Fails with [`Code::UnknownOption`](crate::Code::UnknownOption), whose hint names the nearest key, or with
/// [`Code::InvalidOption`](crate::Code::InvalidOption), also for keys that are not the process's.
pub fn set(key: &str, value: &str) -> Result<()> {
    process().set(key, value)
}

/// What is used at this moment.
pub fn stats() -> Stats {
    process().stats()
}
