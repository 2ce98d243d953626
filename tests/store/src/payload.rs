//! The bytes of objects, and the limit on all of them.
//!
//! What arrives is packed into blocks of 1 MiB. Keeping the frames that hyper hands out would keep its read buffers too,
//! of which each frame fills only a part: a GiB of frames can hold much more memory than a GiB.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use s3_model::Content;
use s3s::StdError;
use s3s::stream::{ByteStream, RemainingLength};

const BLOCK: usize = 1 << 20;

/// How many payload bytes the store may hold, finished or still arriving.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    max: u64,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) max: u64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), max })
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> Result<(), Full> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.max)
            })
            .map(|_| ())
            .map_err(|_| Full { max: self.max })
    }
}

/// A share of the budget, given back when the last payload that holds it goes.
#[derive(Debug)]
struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Lease {
    fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Immutable bytes. Clones share the memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payload {
    blocks: Vec<Bytes>,
    leases: Vec<Arc<Lease>>,
    len: u64,
}

impl Payload {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes of `range`, which must lie inside the payload, without a copy.
    pub(crate) fn slice(&self, range: Range<u64>) -> Blocks {
        let mut queue = VecDeque::new();
        let mut start = 0;
        for block in &self.blocks {
            let end = start + block.len() as u64;
            let from = range.start.max(start);
            let to = range.end.min(end);
            if from < to {
                queue.push_back(block.slice((from - start) as usize..(to - start) as usize));
            }
            if end >= range.end {
                break;
            }
            start = end;
        }
        Blocks { remaining: range.end - range.start, queue }
    }

    /// The payload with one bit of the byte at `offset` changed; `None` when it has no such byte.
    pub(crate) fn flipped(&self, offset: u64) -> Option<Self> {
        let mut damaged = self.clone();
        let mut start = 0;
        for block in &mut damaged.blocks {
            let end = start + block.len() as u64;
            if offset < end {
                let mut bytes = block.to_vec();
                *bytes.get_mut((offset - start) as usize)? ^= 1;
                *block = bytes.into();
                return Some(damaged);
            }
            start = end;
        }
        None
    }

    /// The first `len` bytes of the payload; `None` when it is not longer than that.
    pub(crate) fn cut(&self, len: u64) -> Option<Self> {
        if len >= self.len {
            return None;
        }
        let blocks = self.slice(0..len).queue.into();
        Some(Self { blocks, leases: self.leases.clone(), len })
    }
}

impl Content for Payload {
    fn length(&self) -> u64 {
        self.len
    }

    fn append(&mut self, other: &Self) {
        self.blocks.extend(other.blocks.iter().cloned());
        self.leases.extend(other.leases.iter().cloned());
        self.len += other.len;
    }
}

/// Gathers a payload. Dropped unfinished, it gives its share of the budget back.
#[derive(Debug)]
pub(crate) struct Writer {
    blocks: Vec<Bytes>,
    block: Vec<u8>,
    lease: Lease,
    expected: u64,
}

impl Writer {
    /// `expected` is the length that was announced; 0 when it is not known.
    pub(crate) fn new(budget: Arc<Budget>, expected: u64) -> Self {
        Self { blocks: Vec::new(), block: Vec::new(), lease: Lease { budget, bytes: 0 }, expected }
    }

    pub(crate) fn len(&self) -> u64 {
        self.lease.bytes
    }

    pub(crate) fn push(&mut self, mut data: &[u8]) -> Result<(), Full> {
        let before = self.len();
        self.lease.grow(data.len() as u64)?;
        let mut written = before;
        while !data.is_empty() {
            if self.block.capacity() == 0 {
                let left = self.expected.saturating_sub(written).min(BLOCK as u64) as usize;
                self.block.reserve_exact(left.max(data.len().min(BLOCK)));
            }
            let room = self.block.capacity() - self.block.len();
            let (now, later) = data.split_at(room.min(data.len()));
            self.block.extend_from_slice(now);
            written += now.len() as u64;
            data = later;
            if self.block.len() == self.block.capacity() {
                self.blocks.push(std::mem::take(&mut self.block).into());
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Payload {
        if !self.block.is_empty() {
            self.block.shrink_to_fit();
            self.blocks.push(self.block.into());
        }
        let len = self.lease.bytes;
        Payload { blocks: self.blocks, leases: vec![Arc::new(self.lease)], len }
    }
}

/// A run of blocks on its way out.
#[derive(Debug)]
pub(crate) struct Blocks {
    queue: VecDeque<Bytes>,
    remaining: u64,
}

impl Stream for Blocks {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let block = self.queue.pop_front();
        self.remaining -= block.as_ref().map_or(0, |block| block.len() as u64);
        Poll::Ready(block.map(Ok))
    }
}

impl ByteStream for Blocks {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(self.remaining as usize)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn payload(budget: &Arc<Budget>, data: &[u8], frame: usize, expected: u64) -> Payload {
        let mut writer = Writer::new(Arc::clone(budget), expected);
        for frame in data.chunks(frame) {
            writer.push(frame).unwrap();
        }
        writer.finish()
    }

    fn bytes(blocks: Blocks) -> Vec<u8> {
        assert_eq!(blocks.queue.iter().map(Bytes::len).sum::<usize>() as u64, blocks.remaining);
        blocks.queue.into_iter().flatten().collect()
    }

    #[test]
    fn any_framing_gives_the_same_bytes() {
        let budget = Budget::new(u64::MAX);
        let data = pattern(2 * BLOCK + 77);
        for (frame, expected) in [(1000, 0), (1000, data.len() as u64), (3 * BLOCK, 0), (7777, 5), (BLOCK, 9 << 20)] {
            let payload = payload(&budget, &data, frame, expected);
            assert_eq!(payload.len(), data.len() as u64);
            assert_eq!(bytes(payload.slice(0..payload.len())), data, "frames of {frame}, {expected} announced");
        }
    }

    #[test]
    fn a_slice_crosses_blocks_and_parts() {
        let budget = Budget::new(u64::MAX);
        let (one, two) = (pattern(BLOCK + 3), pattern(50));
        let mut whole = payload(&budget, &one, 999, 0);
        whole.append(&payload(&budget, &two, 7, 0));
        let flat = [one, two].concat();
        for range in [0..1, 5..5, (BLOCK - 1)..(BLOCK + 2), (BLOCK + 1)..(BLOCK + 20), 0..flat.len()] {
            assert_eq!(bytes(whole.slice(range.start as u64..range.end as u64)), flat[range.clone()], "{range:?}");
        }
    }

    #[test]
    fn the_budget_is_given_back_by_the_last_holder() {
        let budget = Budget::new(100);
        let first = payload(&budget, &pattern(60), 10, 60);
        let copy = first.clone();
        let mut second = Writer::new(Arc::clone(&budget), 0);
        second.push(&pattern(40)).unwrap();
        assert_eq!(second.push(&[1]), Err(Full { max: 100 }));
        assert_eq!(budget.used(), 100);
        drop(second);
        drop(first);
        assert_eq!(budget.used(), 60);
        drop(copy);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn damage_changes_one_bit_or_the_end_and_never_the_original() {
        let budget = Budget::new(u64::MAX);
        let data = pattern(BLOCK + 9);
        let good = payload(&budget, &data, 4096, 0);
        let bad = bytes(good.flipped(BLOCK as u64 + 2).unwrap().slice(0..good.len()));
        let differ: Vec<usize> = (0..data.len()).filter(|&i| bad[i] != data[i]).collect();
        assert_eq!(differ, [BLOCK + 2]);
        assert_eq!(bytes(good.cut(5).unwrap().slice(0..5)), data[..5]);
        assert_eq!(bytes(good.slice(0..good.len())), data);
        assert!(good.flipped(good.len()).is_none() && good.cut(good.len()).is_none());
    }
}
