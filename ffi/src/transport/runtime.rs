//! The library's private runtime: a few threads that block all signals, shutdown, and the check for forked processes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use s3vault_core::{Code, Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::disk;

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// The process in which the runtime was first started; 0 before.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// How often [`shutdown`] was called.
static SHUTDOWNS: AtomicU64 = AtomicU64::new(0);

/// Number of state machines that run to their end in the background.
static BACKGROUND: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// What that work left in the store, for the caller of [`shutdown`]: uploads, and backups.
static LEFT: Mutex<(Vec<String>, Vec<String>)> = Mutex::new((Vec::new(), Vec::new()));

/// Limit on threads for blocking work: files, and the C library's resolver.
const BLOCKING_THREADS: usize = 64;

/// Returns an error in a forked child of the process that used the library: the library's threads do not exist there, and its
/// locks may be held permanently. Costs one system call.
pub(crate) fn guard_fork() -> Result<()> {
    let process = PROCESS.load(Ordering::Acquire);
    if process == 0 || process == std::process::id() {
        return Ok(());
    }
    Err(Error::new(
        Code::Forked,
        format!("this process was forked from process {process} after the library was used there"),
    ))
}

/// Returns a handle to the runtime, and starts it if it is not running.
pub(crate) fn handle() -> Result<Handle> {
    guard_fork()?;
    // The caller may have closed them since the last call.
    disk::occupy_standard_streams();
    let mut runtime = lock(&RUNTIME);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    PROCESS.store(std::process::id(), Ordering::Release);
    let started = start()?;
    let handle = started.handle().clone();
    *runtime = Some(started);
    Ok(handle)
}

fn start() -> Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let failed = |what: &str, e: &dyn std::fmt::Display| Error::new(Code::Internal, format!("{what}: {e}"));
    // Workers inherit the signal mask of the thread that starts them, so there is no moment at which a signal could reach
    // one. Threads that are started later block signals themselves.
    let before = signals().thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|e| failed("blocking signals", &e))?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, 4))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("s3vault")
        .on_thread_start(|| {
            // This cannot fail, since the mask is valid.
            let _ = signals().thread_block();
        })
        .enable_all()
        .build()
        .map_err(|e| failed("starting the library's threads", &e));
    before.thread_set_mask().map_err(|e| failed("restoring signals", &e))?;
    runtime
}

/// All signals except those that a fault raises in the faulting thread: if they were blocked, the kernel would end the process
/// without calling the application's crash handler. SIGPIPE is blocked: a broken connection raises it in the thread that
/// writes, which is always one of the library's.
fn signals() -> SigSet {
    let mut set = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP] {
        set.remove(fault);
    }
    set
}

/// Work in the background that [`shutdown`] waits for.
pub(crate) struct Background(());

impl Background {
    /// Counts as running until it is dropped.
    pub(crate) fn start() -> Background {
        *lock(&BACKGROUND.0) += 1;
        Background(())
    }

    /// Records an upload that is left in the store: nobody else hears of it.
    pub(crate) fn leave(&self, what: String) {
        lock(&LEFT).0.push(what);
    }

    /// Records a backup that was stored although its caller ended the call.
    pub(crate) fn store(&self, what: String) {
        lock(&LEFT).1.push(what);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *lock(&BACKGROUND.0) -= 1;
        BACKGROUND.1.notify_all();
    }
}

/// Waits for work in the background, then stops the library's threads; takes at most `timeout`. Calls in progress on other
/// threads fail. The next call starts the threads again.
pub(crate) fn shutdown(timeout: Duration) -> Result<()> {
    guard_fork()?;
    let end = Instant::now() + timeout;
    let left = || end.saturating_duration_since(Instant::now());
    let busy = lock(&BACKGROUND.0);
    let (busy, _) =
        BACKGROUND.1.wait_timeout_while(busy, left(), |busy| *busy > 0).unwrap_or_else(PoisonError::into_inner);
    let unfinished = *busy;
    drop(busy);
    SHUTDOWNS.fetch_add(1, Ordering::AcqRel);
    let runtime = lock(&RUNTIME).take();
    if let Some(runtime) = runtime {
        runtime.shutdown_timeout(left());
    }
    let (mut left, mut stored) = std::mem::take(&mut *lock(&LEFT));
    if unfinished == 0 && left.is_empty() {
        if stored.is_empty() {
            return Ok(());
        }
        return Err(Error::new(Code::WrongState, stored.join("; ")).with_hint("Do not store it again."));
    }
    left.append(&mut stored);
    let code = if unfinished > 0 { Code::TimedOut } else { Code::Store };
    if unfinished > 0 {
        left.insert(
            0,
            format!("{unfinished} uploads had not ended after {} ms, and their parts may stay", timeout.as_millis()),
        );
    }
    Err(Error::new(code, left.join("; ")).with_hint(
        "Abort the bucket's incomplete multipart uploads with an S3 client, or let a lifecycle rule remove them: until then their parts take space.",
    ))
}

/// How often the library's threads were stopped.
pub(crate) fn shutdowns() -> u64 {
    SHUTDOWNS.load(Ordering::Acquire)
}

/// Locks a mutex. A panic cannot leave the guarded values inconsistent, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
