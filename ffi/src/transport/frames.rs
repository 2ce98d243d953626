//! Frames: pieces of payload of 256 KiB, from the [`Pool`] of the process.
//!
//! A frame goes back to the pool when the last one who needs it lets go of it: the part that may have to be
//! sent again, or the connection that still writes from it.

use std::sync::Arc;

use bytes::Bytes;

use super::runtime::guard_fork;
use crate::budget::Pool;

/// The length of a frame in bytes: small enough to be hashed and sent while it lies in the cache, large enough
/// that system calls and thread changes do not count.
pub(crate) const FRAME: usize = 256 * 1024;

/// A frame, filled from its begin.
pub(crate) struct Frame {
    memory: Memory,
    length: usize,
    pool: Arc<Pool>,
    /// The account that it belongs to, where it is not a connection's.
    account: Option<u64>,
}

enum Memory {
    /// Of [`FRAME`] bytes.
    Own(Box<[u8]>),
    /// As a connection gave it.
    Given(Bytes),
}

impl Frame {
    /// An empty one; for the pool alone, which counts it.
    pub(crate) fn new(bytes: Box<[u8]>, pool: Arc<Pool>, account: Option<u64>) -> Frame {
        Frame { memory: Memory::Own(bytes), length: 0, pool, account }
    }

    /// Holds these bytes, up to [`FRAME`] of them, as they are: nothing is copied, and there is no room any more. What lies
    /// behind them in memory counts as a frame whatever their length, so they should be at least half of one.
    pub(crate) fn hold(&mut self, bytes: Bytes) {
        self.length = bytes.len();
        if let Memory::Own(bytes) = std::mem::replace(&mut self.memory, Memory::Given(bytes)) {
            self.pool.keep(bytes);
        }
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// What it holds.
    pub(crate) fn filled(&self) -> &[u8] {
        match &self.memory {
            Memory::Own(bytes) => &bytes[..self.length],
            Memory::Given(bytes) => bytes,
        }
    }

    /// The rest of it, to be written to; then call [`grow`](Frame::grow).
    pub(crate) fn room(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Own(bytes) => &mut bytes[self.length..],
            Memory::Given(_) => &mut [],
        }
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
        self.length == FRAME || matches!(self.memory, Memory::Given(_))
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // After a fork the pool's lock may belong to a thread that does not exist.
        if guard_fork().is_ok() {
            let own = match std::mem::replace(&mut self.memory, Memory::Given(Bytes::new())) {
                Memory::Own(bytes) => Some(bytes),
                Memory::Given(_) => None,
            };
            self.pool.give_back(own, self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_comes_back_when_its_last_owner_lets_go() {
        let pool = Pool::new(4 * FRAME as u64);
        let mut frame = pool.take().await;
        assert_eq!(frame.fill(&vec![7; FRAME + 1]), FRAME);
        assert!(frame.is_full() && frame.filled().iter().all(|&b| b == 7));
        let shared = Arc::new(frame);
        let other = shared.clone();
        drop(shared);
        assert_eq!(pool.in_use(), 1);
        drop(other);
        assert_eq!((pool.in_use(), pool.most_out()), (0, 1));
        assert!(pool.take().await.filled().is_empty(), "a frame that is used again begins empty");
    }

    #[tokio::test]
    async fn bytes_that_a_frame_holds_are_not_copied_and_count_as_one() {
        let pool = Pool::new(4 * FRAME as u64);
        let bytes = Bytes::from(vec![7; FRAME - 1]);
        let mut frame = pool.take().await;
        frame.hold(bytes.clone());
        assert_eq!((frame.filled().as_ptr(), frame.filled().len()), (bytes.as_ptr(), FRAME - 1));
        assert!(frame.is_full() && frame.room().is_empty());
        assert_eq!((frame.fill(b"more"), pool.in_use()), (0, 1));
        drop(frame);
        assert_eq!((pool.in_use(), pool.figures().0), (0, 0));
        assert!(bytes.is_unique(), "it was let go");
        assert!(pool.take().await.room().len() == FRAME, "the next one has room");
    }
}
