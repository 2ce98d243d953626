//! Runs core's machines: one task per machine, which owns it; a task per request; and the calling thread, which
//! only waits.
//!
//! ```text
//! calling thread ── Message ──▶ engine (handle, poll, sleep) ── Send ──▶ request task ──▶ transport
//!        ▲                        │        ▲                               │
//!        └─── asks, the result ───┘        └────────── Message ────────────┘
//! ```
//!
//! The calling thread talks over crossbeam channels and waits in slices, in [`wait`] alone: there the cancel, the
//! time-out and the callback are looked at. It never waits for the network, so it returns in time whatever the
//! network does; the machine then comes to its end in the background.
//!
//! Payload never passes through the machine: [`upload`] and [`download`] hold it, under the numbers of parts and
//! ranges.

mod checkpoint;
mod download_file;
mod download_stream;
mod engine;
mod keys;
mod progress;
mod request;
mod serial;
mod sparse;
mod task;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toys;
mod upload_file;
mod upload_stream;
mod wait;

/// Bytes into the store.
pub(crate) mod upload {
    pub(crate) use super::checkpoint::CheckpointFile;
    pub(crate) use super::upload_file::upload_file;
    pub(crate) use super::upload_stream::StreamUpload;
}

/// Bytes out of the store.
pub(crate) mod download {
    pub(crate) use super::download_file::{Place, download_file};
    pub(crate) use super::download_stream::StreamDownload;
    pub(crate) use super::sparse::Zeros;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::bounded;
use s3vault_core::{Machine, Result};

use crate::control::Control;
use crate::transport::{Transport, runtime};
use engine::Payload;
pub(crate) use keys::Keys;
use progress::Progress;
use task::Task;
use wait::{Deadline, Pulse};

/// What machines of one store are driven with.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) transport: Transport,
    /// Where the store's keys come from; a machine without a store has none.
    pub(crate) keys: Option<Arc<dyn Keys>>,
}

/// Runs a machine that moves no payload to its end. When the wait ends first (cancel, time-out, callback), the
/// machine is told to come to its end in the background.
pub(crate) fn run<M>(host: &Host, machine: M, control: &mut Control<'_>) -> Result<M::Done>
where
    M: Machine + Send + 'static,
    M::Done: Send + 'static,
{
    Task::start(host, machine, NoPayload, Progress::new(None))?.end(control)
}

/// Runs work that blocks on a thread of the library, while the calling thread waits as it does for a machine. When the
/// wait ends first, the work is told by its flag, and what comes of it is nobody's.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    control: &mut Control<'_>,
) -> Result<T> {
    let deadline = Deadline::of(control);
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = bounded(1);
    let told = stop.clone();
    runtime::handle()?.spawn_blocking(move || {
        let _ = sender.send(work(&told));
    });
    let result = Pulse::new().wait(&receiver, &Progress::new(None), deadline, control);
    if result.is_err() {
        stop.store(true, Ordering::Release);
    }
    result
}

struct NoPayload;

impl Payload for NoPayload {}
