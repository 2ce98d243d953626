//! Frames: buffers of 256 KiB for payload, from the process-wide [`Pool`]. Where payload is encrypted here, a frame holds a
//! segment and its tag, which AES-GCM needs in one piece.
//!
//! A frame returns to the pool when its last owner drops it: the part that may have to be sent again, or the connection that
//! still writes from it.

use std::alloc::{Layout, handle_alloc_error};
use std::sync::Arc;

use memmap2::MmapMut;
use s3vault_core::crypto::segment::{OVERHEAD, SEGMENT};

use super::runtime::guard_fork;
use crate::budget::Pool;

/// Size of a frame in bytes: small enough to be hashed and sent while it is in the cache, large enough that the cost of system
/// calls and thread switches is small.
pub(crate) const FRAME: usize = 256 * 1024;

/// How large a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// [`FRAME`] bytes.
    Plain,
    /// A segment of an encrypted backup, as it is stored.
    Segment,
}

impl Size {
    /// How many bytes fit.
    fn bytes(self) -> usize {
        match self {
            Size::Plain => FRAME,
            Size::Segment => SEGMENT + OVERHEAD,
        }
    }

    /// How many frames of 256 KiB it counts as. The page that holds the tag of a segment is not counted.
    pub(crate) fn frames(self) -> usize {
        self.bytes() / FRAME
    }
}

/// Memory of a frame: pages from the operating system, which are returned to it when they are dropped. The allocator would
/// keep them for the thread that freed them while other threads allocate more, so a long-running process would use half as
/// much again as is counted.
pub(crate) struct Pages {
    memory: MmapMut,
    size: Size,
}

impl Pages {
    /// Allocates pages. Ends the process if the system has no memory left, as the allocator does.
    pub(crate) fn new(size: Size) -> Pages {
        let failed = |_| handle_alloc_error(Layout::new::<[u8; FRAME]>());
        Pages { memory: MmapMut::map_anon(size.bytes()).unwrap_or_else(failed), size }
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }
}

/// A frame, filled from its start.
pub(crate) struct Frame {
    /// `None` only while the frame is dropped.
    pages: Option<Pages>,
    length: usize,
    pool: Arc<Pool>,
    /// The account that the frame is charged to; `None` for a connection's frame.
    account: Option<u64>,
}

impl Frame {
    /// Makes an empty frame. Only the pool calls this, since it counts frames.
    pub(crate) fn new(pages: Pages, pool: Arc<Pool>, account: Option<u64>) -> Frame {
        Frame { pages: Some(pages), length: 0, pool, account }
    }

    /// Empties the frame.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// The bytes that have been filled.
    pub(crate) fn filled(&self) -> &[u8] {
        self.pages.as_ref().map_or(&[], |pages| &pages.memory[..self.length])
    }

    /// The same, to be encrypted or decrypted in place.
    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        self.pages.as_mut().map_or(&mut [], |pages| &mut pages.memory[..self.length])
    }

    /// Drops all but the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    fn capacity(&self) -> usize {
        self.pages.as_ref().map_or(0, |pages| pages.size.bytes())
    }

    /// The free part of the frame. After writing to it, call [`grow`](Frame::grow).
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.pages.as_mut().map_or(&mut [], |pages| &mut pages.memory[self.length..])
    }

    /// Counts `bytes` of the free part as filled.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.length = (self.length + bytes).min(self.capacity());
    }

    /// Copies as much of `bytes` as there is room for, and returns how many that were.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.grow(count);
        count
    }

    /// Whether there is no room left.
    pub(crate) fn is_full(&self) -> bool {
        self.length == self.capacity()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // After a fork the pool's lock may be held by a thread that does not exist in this process.
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
    async fn a_frame_returns_to_the_pool_when_its_last_owner_drops_it() {
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
        assert!(pool.take().await.filled().is_empty(), "a reused frame starts empty");
    }
}
