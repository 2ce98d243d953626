//! What TLS reads from: the network, in pieces as large as its reader has room for. rustls alone asks for one record at a
//! time (16 KiB).
//!
//! The buffer is the thread's, not the connection's: what was read into it is decrypted before the thread turns to anything
//! else, so a hundred connections take no more memory than two threads do, and it stays in the core's cache.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is read at once, in bytes.
const BUFFER: usize = 64 * 1024;

/// The longest record, with its header (RFC 8446 §5.2), in bytes.
const RECORD: usize = 5 + (1 << 14) + 256;

thread_local! {
    static SPARE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// A connection below its TLS.
pub(super) struct Beneath<T> {
    inner: T,
    /// Between [`lend`](Beneath::lend) and [`settle`](Beneath::settle).
    lent: Option<Lent>,
    /// What the reader above had no room for; less than two records.
    rest: Vec<u8>,
    taken: usize,
}

/// The thread's buffer.
struct Lent {
    bytes: Box<[u8]>,
    taken: usize,
    end: usize,
    /// The reader above has room for what so many bytes bring.
    room: usize,
}

impl<T> Beneath<T> {
    pub(super) fn new(inner: T) -> Beneath<T> {
        Beneath { inner, lent: None, rest: Vec::new(), taken: 0 }
    }

    /// Whoever reads has room for so many bytes, and calls [`settle`](Beneath::settle) before anything else is read on this
    /// thread.
    pub(super) fn lend(&mut self, room: usize) {
        let bytes = SPARE.take().unwrap_or_else(|| vec![0; BUFFER].into());
        self.lent = Some(Lent { bytes, taken: 0, end: 0, room });
    }

    /// Gives the buffer back to the thread, and keeps what is left in it.
    pub(super) fn settle(&mut self) {
        let Some(lent) = self.lent.take() else { return };
        if lent.taken < lent.end {
            self.rest.clear();
            self.rest.extend_from_slice(&lent.bytes[lent.taken..lent.end]);
            self.taken = 0;
        }
        SPARE.set(Some(lent.bytes));
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Beneath<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken < this.rest.len() {
            this.taken += give(&this.rest[this.taken..], into);
            return Poll::Ready(Ok(()));
        }
        // A handshake, record by record.
        let Some(lent) = &mut this.lent else { return Pin::new(&mut this.inner).poll_read(context, into) };
        if lent.taken == lent.end {
            (lent.taken, lent.end) = (0, 0);
            // What is beyond the room would have to be kept; but a record is decrypted whole.
            let most = lent.room.clamp(RECORD, BUFFER);
            let mut buffer = ReadBuf::new(&mut lent.bytes[..most]);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut buffer))?;
            lent.end = buffer.filled().len();
            lent.room = lent.room.saturating_sub(lent.end);
        }
        lent.taken += give(&lent.bytes[lent.taken..lent.end], into);
        Poll::Ready(Ok(()))
    }
}

/// Copies what there is room for, and says how much that was.
fn give(bytes: &[u8], into: &mut ReadBuf<'_>) -> usize {
    let count = bytes.len().min(into.remaining());
    into.put_slice(&bytes[..count]);
    count
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Beneath<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn every_byte_comes_once_and_in_order_however_it_is_lent() {
        let sent: Vec<u8> = (0..300_000u32).map(|n| (n / 256 + n) as u8).collect();
        let (mut store, wire) = tokio::io::duplex(100_000);
        let bytes = sent.clone();
        tokio::spawn(async move { store.write_all(&bytes).await.unwrap() });
        let (mut beneath, mut other) = (Beneath::new(wire), Beneath::new(&b"other"[..]));
        let mut got = Vec::new();
        for turn in 0.. {
            // In turns: lent with room for more and for less than comes, and not at all.
            match turn % 3 {
                0 => beneath.lend(BUFFER),
                1 => beneath.lend(10),
                _ => {}
            }
            let mut piece = vec![0; 1 + turn * 37 % 9000];
            let count = beneath.read(&mut piece).await.unwrap();
            beneath.settle();
            // Another connection has the thread's buffer in between.
            other.lend(5);
            let _ = other.read(&mut [0; 2]).await.unwrap();
            other.settle();
            if count == 0 {
                break;
            }
            got.extend_from_slice(&piece[..count]);
        }
        assert!(got == sent);
    }
}
