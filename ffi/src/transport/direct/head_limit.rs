//! The limit of what a server may send before the head of its reply.
//!
//! hyper limits the length of one head, but skips any number of interim replies (1xx, RFC 9110 §15.2). A server that sends them
//! without an end would keep the attempt's thread busy, and with it the timers that end the attempt.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most bytes that may be received between a request and the head of its reply: a head, and thousands of interim replies.
const LIMIT: usize = 1 << 20;

/// No limit: no head is awaited.
const LIFTED: usize = usize::MAX;

/// Counts the bytes that a connection receives before the head of a reply. The stream, which hyper owns, has one clone, and the
/// code that sends requests the other.
#[derive(Clone)]
pub(super) struct HeadLimit(
    /// How many more bytes may be received; [`LIFTED`] while no head is awaited.
    Arc<AtomicUsize>,
);

impl HeadLimit {
    pub(super) fn new() -> HeadLimit {
        HeadLimit(Arc::new(AtomicUsize::new(LIFTED)))
    }

    /// Starts to count: a request is about to be sent.
    pub(super) fn start(&self) {
        self.0.store(LIMIT, Ordering::Relaxed);
    }

    /// Stops counting: the head of the reply has been received.
    pub(super) fn lift(&self) {
        self.0.store(LIFTED, Ordering::Relaxed);
    }

    /// Whether more bytes may be received.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        let text = format!("the server sent {} MiB of interim replies (1xx) instead of a reply", LIMIT >> 20);
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// Records that this many bytes were received. One read may pass the limit, since it may have read the head, too.
    pub(super) fn received(&self, count: usize) {
        let left = self.0.load(Ordering::Relaxed);
        if left != LIFTED {
            self.0.store(left.saturating_sub(count), Ordering::Relaxed);
        }
    }
}
