//! Bandwidth: bytes per second, for all transfers together.
//!
//! Each grant is a slice of payload (64 KiB at most). Grants are served in the order in which they were requested,
//! which alone shares the line between all that want it. Every grant is given the instant at which it is due, directly
//! after the previous one, so this needs no task and no queue, only an instant. An unlimited direction costs one
//! atomic load.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Unused bandwidth is kept for this long.
const BURST: Duration = Duration::from_millis(100);

/// One direction.
pub(crate) struct Bandwidth {
    /// Bytes per second; 0 means no limit.
    rate: AtomicU64,
    /// Bytes granted in advance, and when they were counted.
    debt: Mutex<Option<(f64, Instant)>>,
    changed: Notify,
}

impl Bandwidth {
    pub(crate) fn new(rate: u64) -> Arc<Bandwidth> {
        Arc::new(Bandwidth { rate: AtomicU64::new(rate), debt: Mutex::new(None), changed: Notify::new() })
    }

    /// Changes the rate, also for those who wait already.
    pub(crate) fn set_rate(&self, rate: u64) {
        let now_unlimited = rate == 0;
        if self.rate.swap(rate, Ordering::Relaxed) != rate {
            if now_unlimited {
                *self.debt.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            self.changed.notify_waiters();
        }
    }

    /// Waits until `bytes` bytes may be sent or received.
    pub(crate) async fn pass(&self, bytes: u64) {
        if self.rate.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut ahead = self.owe(bytes);
        loop {
            let changed = self.changed.notified();
            let rate = self.rate.load(Ordering::Relaxed);
            if rate == 0 || ahead <= 0.0 {
                return;
            }
            let from = Instant::now();
            tokio::select! {
                () = sleep_until(from + Duration::from_secs_f64(ahead / rate as f64)) => return,
                // Until now bytes passed at the old rate.
                () = changed => ahead -= from.elapsed().as_secs_f64() * rate as f64,
            }
        }
    }

    /// Counts the bytes, and returns how many earlier ones are still due.
    fn owe(&self, bytes: u64) -> f64 {
        let mut debt = self.debt.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, rate) = (Instant::now(), self.rate.load(Ordering::Relaxed) as f64);
        let burst = -rate * BURST.as_secs_f64();
        let before = debt.map_or(0.0, |(debt, at)| (debt - now.duration_since(at).as_secs_f64() * rate).max(burst));
        *debt = Some((before + bytes as f64, now));
        before.max(0.0)
    }
}

/// The bytes of one body in one direction.
pub(crate) struct Flow {
    direction: Arc<Bandwidth>,
    passing: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Flow {
    pub(crate) fn new(direction: Arc<Bandwidth>) -> Flow {
        Flow { direction, passing: None }
    }

    /// Ready when `bytes` bytes may be sent or received; they are then counted.
    pub(crate) fn poll_pass(&mut self, bytes: u64, context: &mut Context<'_>) -> Poll<()> {
        if self.passing.is_none() {
            if self.direction.rate.load(Ordering::Relaxed) == 0 {
                return Poll::Ready(());
            }
            let direction = self.direction.clone();
            self.passing = Some(Box::pin(async move { direction.pass(bytes).await }));
        }
        if let Some(passing) = &mut self.passing {
            ready!(passing.as_mut().poll(context));
        }
        self.passing = None;
        Poll::Ready(())
    }
}
