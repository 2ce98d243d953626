//! Resources that all transfers of the process share. Their limits can be changed while transfers run.
//!
//! | file | contents |
//! |---|---|
//! | `memory` | frames for payload, never more than the limit; large replies count too |
//! | `connections` | requests in progress, in turns between transfers |
//! | `bandwidth` | bytes per second, up and down |

mod bandwidth;
mod connections;
mod memory;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use s3vault_core::settings::{self, Scope, Settings};
use s3vault_core::{Code, Error, Result};

pub(crate) use bandwidth::{Bandwidth, Flow};
pub(crate) use connections::{Connections, Urgency};
pub(crate) use memory::{Account, Collected, Grant, Pool};

/// The shared resources.
pub(crate) struct Budget {
    pub(crate) memory: Arc<Pool>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) up: Arc<Bandwidth>,
    pub(crate) down: Arc<Bandwidth>,
    /// Payload bytes sent.
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    transfers: AtomicU32,
    next: AtomicU64,
    set: Mutex<Settings>,
}

/// The budget of the process.
pub(crate) fn process() -> &'static Arc<Budget> {
    static PROCESS: OnceLock<Arc<Budget>> = OnceLock::new();
    PROCESS.get_or_init(|| Budget::new(&Settings::new()))
}

impl Budget {
    /// Creates a budget with the limits in the settings, or their defaults.
    pub(crate) fn new(settings: &Settings) -> Arc<Budget> {
        Arc::new(Budget {
            memory: Pool::new(settings.number("memory")),
            connections: Connections::new(settings.number("connections")),
            up: Bandwidth::new(settings.number("bandwidth_up")),
            down: Bandwidth::new(settings.number("bandwidth_down")),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            transfers: AtomicU32::new(0),
            next: AtomicU64::new(0),
            set: Mutex::new(settings.clone()),
        })
    }

    /// Sets one limit, also for transfers in progress. An empty value restores the default.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = set.clone();
        changed.set(key, value)?;
        if settings::option(key)?.scope != Scope::Process {
            return Err(Error::new(Code::InvalidOption, format!("{key} is not a limit of the process"))
                .with_hint("Use memory, connections, bandwidth_up or bandwidth_down."));
        }
        *set = changed;
        self.memory.set_limit(set.number("memory"));
        self.connections.set_limit(set.number("connections"));
        self.up.set_rate(set.number("bandwidth_up"));
        self.down.set_rate(set.number("bandwidth_down"));
        Ok(())
    }

    /// Returns a snapshot.
    pub(crate) fn stats(&self) -> Stats {
        let (memory, memory_peak, memory_limit) = self.memory.figures();
        let (connections, connections_peak, connections_limit) = self.connections.figures();
        Stats {
            transfers: self.transfers.load(Ordering::Relaxed),
            memory,
            memory_peak,
            memory_limit,
            connections,
            connections_peak,
            connections_limit,
            bytes_up: self.bytes_up.load(Ordering::Relaxed),
            bytes_down: self.bytes_down.load(Ordering::Relaxed),
        }
    }

    /// Counts a transfer, or another call, that starts.
    pub(crate) fn start(self: &Arc<Self>) -> Transfer {
        self.transfers.fetch_add(1, Ordering::Relaxed);
        Transfer { id: self.next.fetch_add(1, Ordering::Relaxed), budget: self.clone() }
    }
}

/// A transfer that shares the budget; it counts until it is dropped.
pub(crate) struct Transfer {
    /// Its number in the turns for connections.
    pub(crate) id: u64,
    budget: Arc<Budget>,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.budget.transfers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Resources that all transfers of the process use right now, and their limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Transfers and other calls to stores in progress.
    pub transfers: u32,
    /// Bytes of memory that are in use or reserved for payload, and of large replies.
    pub memory: u64,
    /// The highest value of `memory` so far.
    pub memory_peak: u64,
    /// The limit of `memory`.
    pub memory_limit: u64,
    /// Requests in progress.
    pub connections: u64,
    /// The highest value of `connections` so far.
    pub connections_peak: u64,
    /// The limit of `connections`.
    pub connections_limit: u64,
    /// Payload bytes sent.
    pub bytes_up: u64,
    /// Payload bytes received.
    pub bytes_down: u64,
}
