//! Runs core's machines. Each machine has a task that owns it, each request has a task of its own, and the calling
//! thread only waits.
//!
//! ```text
//! calling thread ── Message ──▶ engine (handle, poll, sleep) ── Send ──▶ request task ──▶ transport
//!        ▲                        │        ▲                               │
//!        └──────── Notice ────────┘        └────────── Message ────────────┘
//! ```
//!
//! The calling thread receives from crossbeam channels and waits in short slices, only in [`wait`]: between slices it
//! checks the cancel and the time-out, and calls the callback. It never waits for the network, so it returns in time
//! whatever the network does; the machine then ends in the background.
//!
//! Payload never passes through the machine: [`upload`] and [`download`] hold it, by the numbers of parts and ranges.

mod checkpoint;
mod download_discard;
mod download_file;
mod download_stream;
mod engine;
pub(crate) mod external;
mod file_writer;
mod held_parts;
mod keys;
mod part_buffer;
mod progress;
mod range_segments;
mod request;
mod sparse;
mod task;
#[cfg(test)]
mod test_machines;
#[cfg(test)]
mod tests;
mod upload_file;
mod upload_sealed_file;
mod upload_stream;
mod wait;

/// Bytes to the store.
pub(crate) mod upload {
    pub(crate) use super::checkpoint::CheckpointFile;
    pub(crate) use super::upload_file::upload_file;
    pub(crate) use super::upload_sealed_file::upload_sealed_file;
    pub(crate) use super::upload_stream::StreamUpload;
}

/// Bytes from the store.
pub(crate) mod download {
    pub(crate) use super::download_discard::Discarding;
    pub(crate) use super::download_file::{Destination, download_file};
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
pub(crate) use keys::KeySource;
use progress::Progress;
use task::Task;
use wait::{Deadline, Waiter};

/// What the machines of one store need to run.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) transport: Transport,
    /// Where the store's keys come from; `None` for a machine without a store.
    pub(crate) keys: Option<Arc<dyn KeySource>>,
}

/// Runs a machine without payload to its end. If the wait ends first (cancel, time-out, callback), the machine is told
/// to finish, and does so in the background.
pub(crate) fn run<M>(host: &Host, machine: M, control: &mut Control<'_>) -> Result<M::Done>
where
    M: Machine + Send + 'static,
    M::Done: Send + 'static,
{
    Started::start(host, machine, control)?.end(0, control)
}

/// A machine without payload that runs beside others of the same call. What it reports waits until its end is waited for.
pub(crate) struct Started<T>(Task<T>);

impl<T: Send + 'static> Started<T> {
    /// Starts the machine, unless the call was cancelled.
    pub(crate) fn start<M>(host: &Host, machine: M, control: &Control<'_>) -> Result<Started<T>>
    where
        M: Machine<Done = T> + Send + 'static,
    {
        control.check_cancel()?;
        Ok(Started(Task::start(host, machine, NoPayload, Progress::new(None))?))
    }

    /// Waits for the end, as [`run`] does. `items` were reported by earlier steps of the call.
    pub(crate) fn end(self, items: u64, control: &mut Control<'_>) -> Result<T> {
        self.0.progress.count_items_after(items);
        self.0.end(Deadline::of(control)?, control)
    }
}

/// Runs blocking work on a thread of the library, while the calling thread waits as it does for a machine. If the wait
/// ends first, the work's flag is set and its result is dropped.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    control: &mut Control<'_>,
) -> Result<T> {
    let deadline = Deadline::of(control)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = bounded(1);
    let flag = stop.clone();
    runtime::handle()?.spawn_blocking(move || {
        let _ = sender.send(work(&flag));
    });
    let result = Waiter::of(control).wait(&receiver, &Progress::new(None), deadline, control);
    if result.is_err() {
        stop.store(true, Ordering::Release);
    }
    result
}

struct NoPayload;

impl Payload for NoPayload {}
