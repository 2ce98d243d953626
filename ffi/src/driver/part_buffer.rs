//! The bytes of a part that stays in memory until the store has it: a stream's, or one that is encrypted here.
//!
//! An encrypted part consists of segments, one in each frame. A segment is encrypted in place once it is complete and known
//! not to be the backup's last, or known to be; then it is hashed. Each part gets a new salt when it is started, so nothing
//! that this machine does twice is encrypted under the same key and nonce.

use std::sync::Arc;

use s3vault_core::checksum::Digester;
use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::crypto::segment::{MAX_LENGTH, SEGMENT, Salt, SegmentKey};
use s3vault_core::{Code, Error, PartRequest, Result};

use super::engine::Message;
use crate::budget::Grant;
use crate::entropy;
use crate::transport::frames::{Frame, Size};

/// Bytes are hashed in runs of at least this length: BLAKE3 is several times as fast as on small pieces, and the run is
/// still in the cache.
const HASH_RUN: usize = 64 * 1024;

/// A part that the machine asked for, with memory for its least length.
pub(super) struct GrantedPart {
    pub(super) request: PartRequest,
    pub(super) grant: Grant,
}

/// How much memory the least length of a part takes, in bytes of frames.
pub(super) fn least_memory(request: &PartRequest) -> u64 {
    let least = request.min_length.clamp(1, request.length);
    least.next_multiple_of(request.multiple_of.max(1))
}

/// A part that is being filled.
pub(super) struct PartBuffer {
    request: PartRequest,
    grant: Grant,
    /// No more memory is available now: the part ends before its length.
    ends: bool,
    /// Bytes of the backup.
    filled: u64,
    full: Vec<Arc<Frame>>,
    frame: Option<Frame>,
    digester: Digester,
    /// How many bytes of the frame are hashed.
    hashed: usize,
    seal: Option<Seal>,
}

/// How a part is encrypted.
struct Seal {
    key: SegmentKey,
    salt: Salt,
    /// The index of its first segment in the backup.
    first: u64,
}

impl PartBuffer {
    /// Starts a part, which is encrypted if there is a key.
    pub(super) fn new(GrantedPart { request, grant }: GrantedPart, key: Option<&DataKey>) -> Result<PartBuffer> {
        let seal = match key {
            Some(key) => Some(Seal::new(key, &request)?),
            None => None,
        };
        Ok(PartBuffer {
            request,
            grant,
            ends: false,
            filled: 0,
            full: Vec::new(),
            frame: None,
            digester: Digester::new(),
            hashed: 0,
            seal,
        })
    }

    /// Whether it can hold no more bytes.
    pub(super) fn is_full(&self) -> bool {
        self.ends || self.filled == self.request.length
    }

    /// Where the next bytes go; not empty. They must follow: the bytes before them are then not the last of the backup. `None`
    /// if no more memory is available now, which ends the part.
    pub(super) fn room(&mut self) -> Option<&mut [u8]> {
        let size = if self.seal.is_some() { Size::Segment } else { Size::Plain };
        let is_whole = |frame: &Frame| size == Size::Segment && frame.filled().len() == SEGMENT;
        if self.frame.as_ref().is_none_or(is_whole) {
            let Some(next) = self.grant.take(size) else {
                self.ends = true;
                return None;
            };
            self.seal(false);
            self.frame = Some(next);
        }
        let left = usize::try_from(self.request.length - self.filled).unwrap_or(usize::MAX);
        let frame = self.frame.as_mut()?;
        let left = if size == Size::Segment { left.min(SEGMENT - frame.filled().len()) } else { left };
        let room = frame.room();
        let most = left.min(room.len());
        Some(&mut room[..most])
    }

    /// `bytes` bytes were put into the room.
    pub(super) fn filled(&mut self, bytes: usize) {
        let Some(frame) = &mut self.frame else { return };
        frame.grow(bytes);
        self.filled += bytes as u64;
        if self.seal.is_some() {
            return;
        }
        let is_full = frame.is_full();
        if is_full || frame.filled().len() - self.hashed >= HASH_RUN {
            self.digester.update(&frame.filled()[self.hashed..]);
            self.hashed = frame.filled().len();
        }
        if is_full {
            self.full.extend(self.frame.take().map(Arc::new));
            self.hashed = 0;
        }
    }

    /// Copies as much as fits into the current frame and the part. Returns how many bytes that were.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let Some(room) = self.room() else { return 0 };
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.filled(count);
        count
    }

    /// Encrypts and hashes the segment in the current frame, if there is one.
    fn seal(&mut self, last: bool) {
        let (Some(seal), Some(mut frame)) = (&self.seal, self.frame.take()) else { return };
        // The index fits: Seal::new has checked the part's end.
        let index = (seal.first + self.full.len() as u64) as u32;
        let tag = seal.key.seal(index, last, frame.filled_mut());
        frame.fill(&tag);
        self.digester.update(frame.filled());
        self.full.push(Arc::new(frame));
    }

    /// Ends the part. `last`: the backup ends with it; otherwise more bytes follow.
    pub(super) fn ready(mut self, last: bool) -> Message {
        let (number, length) = (self.request.number, self.filled);
        debug_assert!(last || length >= self.request.min_length, "only the last part may be shorter than requested");
        if self.seal.is_some() {
            if self.frame.is_none() {
                // An empty backup is one empty segment.
                self.frame = self.grant.take(Size::Segment);
            }
            self.seal(last);
        } else if let Some(frame) = self.frame.take() {
            self.digester.update(&frame.filled()[self.hashed..]);
            self.full.push(Arc::new(frame));
        }
        let (digest, salt) = (Some(self.digester.finish()), self.seal.map(|seal| seal.salt));
        Message::PartReady { number, frames: self.full, length, digest, last, salt }
    }
}

impl Seal {
    fn new(key: &DataKey, request: &PartRequest) -> Result<Seal> {
        let (number, offset) = (request.number, request.offset);
        if offset.saturating_add(request.length) > MAX_LENGTH {
            let why =
                format!("part {number} starts at byte {offset}, and an encrypted backup has at most {MAX_LENGTH}");
            return Err(Error::new(Code::InvalidOption, why).with_hint("Store the source as several backups."));
        }
        if !offset.is_multiple_of(SEGMENT as u64) || !request.multiple_of.is_multiple_of(SEGMENT as u64) {
            let why = format!("part {number} was requested from byte {offset}, where no segment starts");
            return Err(Error::new(Code::Internal, why));
        }
        let salt = Salt(entropy::bytes()?);
        Ok(Seal { key: SegmentKey::derive(key, &salt), salt, first: offset / SEGMENT as u64 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;
    use crate::budget::Pool;

    const OVERHEAD: usize = s3vault_core::crypto::segment::OVERHEAD;

    fn request(number: u32, offset: u64, length: u64, multiple_of: u64) -> PartRequest {
        PartRequest { number, offset, length, min_length: multiple_of, multiple_of, hash_first: true }
    }

    async fn granted(pool: &Arc<Pool>, request: PartRequest) -> (crate::budget::Account, GrantedPart) {
        let account = pool.account(least_memory(&request));
        let grant = account.ask(least_memory(&request)).unwrap().await.unwrap();
        (account, GrantedPart { request, grant })
    }

    /// The stored bytes of a part, its length and its salt.
    fn ready(part: PartBuffer, last: bool) -> (Vec<u8>, u64, Option<Salt>) {
        let Message::PartReady { frames, length, digest, salt, .. } = part.ready(last) else { unreachable!() };
        let stored: Vec<u8> = frames.iter().flat_map(|frame| frame.filled().to_vec()).collect();
        assert!(digest == Some(s3vault_core::checksum::digest(&stored)), "the digest is that of what is stored");
        (stored, length, salt)
    }

    #[tokio::test]
    async fn a_part_is_stored_in_segments_that_open_where_they_are_and_only_the_last_one_is_the_last() {
        let (pool, key) = (Pool::new(64 << 20), DataKey::new([5; 32]));
        for (length, last) in
            [(0, true), (1, true), (SEGMENT, true), (SEGMENT, false), (3 * SEGMENT, false), (2 * SEGMENT + 7, true)]
        {
            let offset = 7 * SEGMENT as u64;
            let request = request(3, offset, 4 * SEGMENT as u64, SEGMENT as u64);
            let (_account, granted) = granted(&pool, request).await;
            let mut part = PartBuffer::new(granted, Some(&key)).unwrap();
            let data: Vec<u8> = (0..length).map(|n| (n / 1000) as u8).collect();
            let mut rest = &data[..];
            while !rest.is_empty() {
                rest = &rest[part.fill(&rest[..rest.len().min(300_001)])..];
            }
            let (mut stored, counted, salt) = ready(part, last);
            assert_eq!(counted, length as u64);
            let opens = SegmentKey::derive(&key, &salt.unwrap());
            let segments = length.div_ceil(SEGMENT).max(1);
            assert_eq!(stored.len(), length + segments * OVERHEAD);
            let mut plain = Vec::new();
            for (n, segment) in stored.chunks_mut(SEGMENT + OVERHEAD).enumerate() {
                let is_last = last && n + 1 == segments;
                plain.extend_from_slice(opens.open(7 + n as u32, is_last, segment).unwrap());
            }
            assert!(plain == data, "{length}");
        }
        assert_eq!(pool.in_use(), 0);
    }

    #[tokio::test]
    async fn a_part_ends_at_the_end_of_a_segment_where_memory_is_short() {
        // Accounts may hold seven eighths of it: three segments.
        let (pool, key) = (Pool::new(4 << 20), DataKey::new([5; 32]));
        let (_account, granted) = granted(&pool, request(1, 0, 8 << 20, SEGMENT as u64)).await;
        let mut part = PartBuffer::new(granted, Some(&key)).unwrap();
        let (data, mut filled) = (vec![1; 8 << 20], 0);
        while !part.is_full() {
            filled += part.fill(&data[filled..]);
        }
        assert_eq!((filled, pool.in_use()), (3 * SEGMENT, 12));
        assert_eq!(ready(part, false).1, 3 * SEGMENT as u64);
    }

    #[tokio::test]
    async fn no_salt_is_drawn_twice() {
        let (pool, key) = (Pool::new(64 << 20), DataKey::new([5; 32]));
        let mut salts = HashSet::new();
        for n in 0..10_000 {
            // The same part of the same backup, as if each attempt to store it was killed.
            let (_account, granted) = granted(&pool, request(1, 0, 8 << 20, SEGMENT as u64)).await;
            let mut part = PartBuffer::new(granted, Some(&key)).unwrap();
            part.fill(&[n as u8]);
            assert!(salts.insert(ready(part, true).2.unwrap().0), "{n}");
        }
    }

    #[tokio::test]
    async fn a_part_that_is_not_encrypted_has_no_salt() {
        let pool = Pool::new(64 << 20);
        let (_account, granted) = granted(&pool, request(1, 0, 8 << 20, 1)).await;
        let mut part = PartBuffer::new(granted, None).unwrap();
        part.fill(b"plain");
        assert_eq!(ready(part, true), (b"plain".to_vec(), 5, None));
    }

    #[tokio::test]
    async fn what_is_too_long_for_the_index_of_a_segment_is_refused() {
        let pool = Pool::new(64 << 20);
        let (_account, granted) = granted(&pool, request(9, MAX_LENGTH, 8 << 20, SEGMENT as u64)).await;
        let e = PartBuffer::new(granted, Some(&DataKey::new([5; 32]))).err().unwrap();
        assert!(e.code() == Code::InvalidOption && !e.hint().is_empty(), "{e}");
    }
}
