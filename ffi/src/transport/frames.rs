//! Frames: pieces of payload of 256 KiB, from the [`Pool`] of the process.
//!
//! A frame goes back to the pool when the last one who needs it lets go of it: the part that may have to be
//! sent again, or the connection that still writes from it.

use std::alloc::{Layout, handle_alloc_error};
use std::sync::Arc;

use memmap2::MmapMut;

use super::runtime::guard_fork;
use crate::budget::Pool;

/// The length of a frame in bytes: small enough to be hashed and sent while it lies in the cache, large enough
/// that system calls and thread changes do not count.
pub(crate) const FRAME: usize = 256 * 1024;

/// The memory of a frame: pages of the system's, which go back to it when they are dropped. The allocator would keep them for
/// the thread that let go of them, while others ask it for more: half as much again as is counted, in a process that runs on.
pub(crate) struct Pages(MmapMut);

impl Pages {
    /// Where the system has no more memory the process ends, as it does when the allocator finds none.
    pub(crate) fn new() -> Pages {
        Pages(MmapMut::map_anon(FRAME).unwrap_or_else(|_| handle_alloc_error(Layout::new::<[u8; FRAME]>())))
    }
}

/// A frame, filled from its begin.
pub(crate) struct Frame {
    /// Empty only while it is dropped.
    pages: Option<Pages>,
    length: usize,
    pool: Arc<Pool>,
    /// The account that it belongs to, where it is not a connection's.
    account: Option<u64>,
}

impl Frame {
    /// An empty one; for the pool alone, which counts it.
    pub(crate) fn new(pages: Pages, pool: Arc<Pool>, account: Option<u64>) -> Frame {
        Frame { pages: Some(pages), length: 0, pool, account }
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// What it holds.
    pub(crate) fn filled(&self) -> &[u8] {
        self.pages.as_ref().map_or(&[], |pages| &pages.0[..self.length])
    }

    /// The rest of it, to be written to; then call [`grow`](Frame::grow).
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.pages.as_mut().map_or(&mut [], |pages| &mut pages.0[self.length..])
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
        // After a fork the pool's lock may belong to a thread that does not exist.
        if guard_fork().is_ok()
            && let Some(pages) = self.pages.take()
        {
            self.pool.give_back(pages, self.account);
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
}
