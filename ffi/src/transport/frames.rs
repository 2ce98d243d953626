//! Frames: pieces of payload of 256 KiB, from a pool.
//!
//! A frame goes back to the pool when the last one who needs it lets go of it: the part that may have to be
//! sent again, or the connection that still writes from it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The length of a frame in bytes: small enough to be hashed and sent while it lies in the cache, large enough
/// that system calls and thread changes do not count.
pub(crate) const FRAME: usize = 256 * 1024;

/// A pool keeps at most so many free frames (16 MiB).
const KEEP_FREE: usize = 64;

/// Frames that are free, and how many are not.
#[derive(Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Box<[u8]>>>,
    in_use: AtomicUsize,
    peak: AtomicUsize,
}

impl Pool {
    /// An empty frame.
    pub(crate) fn take(self: &Arc<Self>) -> Frame {
        let free = self.free.lock().ok().and_then(|mut free| free.pop());
        let in_use = self.in_use.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(in_use, Ordering::Relaxed);
        Frame { bytes: free.unwrap_or_else(|| vec![0; FRAME].into()), length: 0, pool: self.clone() }
    }

    /// The most frames that were in use at once.
    #[cfg(test)]
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// How many frames are in use.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }
}

/// A frame, filled from its begin.
pub(crate) struct Frame {
    bytes: Box<[u8]>,
    length: usize,
    pool: Arc<Pool>,
}

impl Frame {
    /// What it holds.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The rest of it, to be written to; then call [`grow`](Frame::grow).
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.length..]
    }

    /// Counts `bytes` of the room as filled.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.length = (self.length + bytes).min(FRAME);
    }

    /// Copies as much of `bytes` as there is room for, and says how much that was.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.grow(count);
        count
    }

    /// Whether there is no room left.
    pub(crate) fn is_full(&self) -> bool {
        self.length == FRAME
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.pool.in_use.fetch_sub(1, Ordering::Relaxed);
        // Never waits: after a fork the lock may belong to a thread that does not exist.
        if let Ok(mut free) = self.pool.free.try_lock()
            && free.len() < KEEP_FREE
        {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_when_its_last_owner_lets_go() {
        let pool = Arc::new(Pool::default());
        let mut frame = pool.take();
        assert_eq!(frame.fill(&vec![7; FRAME + 1]), FRAME);
        assert!(frame.is_full() && frame.filled().iter().all(|&b| b == 7));
        let shared = Arc::new(frame);
        let other = shared.clone();
        drop(shared);
        assert_eq!(pool.in_use(), 1);
        drop(other);
        assert_eq!((pool.in_use(), pool.peak()), (0, 1));
        assert!(pool.take().filled().is_empty(), "a frame that is used again begins empty");
    }
}
