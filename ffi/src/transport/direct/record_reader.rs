//! The read buffer between TCP and TLS. rustls alone reads one record (16 KiB) per system call; this reads as much as the
//! caller has room for.
//!
//! The buffer belongs to the thread, not to the connection: what was read into it is decrypted before the thread does
//! anything else. So a hundred connections need no more memory than the few threads do, and the buffer stays in the core's
//! cache.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Size of a thread's buffer in bytes.
const BUFFER: usize = 64 * 1024;

/// Size of the longest record with its header (RFC 8446 §5.2) in bytes.
const RECORD: usize = 5 + (1 << 14) + 256;

thread_local! {
    static SPARE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The TCP side of a TLS connection.
pub(super) struct RecordReader<T> {
    inner: T,
    /// The thread's buffer, between [`lend_buffer`](RecordReader::lend_buffer) and
    /// [`return_buffer`](RecordReader::return_buffer).
    lent: Option<LentBuffer>,
    /// Bytes that TLS has not read yet; less than two records.
    rest: Vec<u8>,
    /// How many bytes of `rest` have been read.
    rest_read: usize,
}

/// The thread's buffer, in use by one connection.
struct LentBuffer {
    bytes: Box<[u8]>,
    /// Bytes from `read` to `filled` are to be read by TLS.
    read: usize,
    filled: usize,
    /// How many more bytes the caller has room for.
    room: usize,
}

impl<T> RecordReader<T> {
    pub(super) fn new(inner: T) -> RecordReader<T> {
        RecordReader { inner, lent: None, rest: Vec::new(), rest_read: 0 }
    }

    /// Gives the connection the thread's buffer, for a caller that has room for this many bytes. The caller calls
    /// [`return_buffer`](RecordReader::return_buffer) before anything else is read on this thread.
    pub(super) fn lend_buffer(&mut self, room: usize) {
        let bytes = SPARE.take().unwrap_or_else(|| vec![0; BUFFER].into());
        self.lent = Some(LentBuffer { bytes, read: 0, filled: 0, room });
    }

    /// Returns the buffer to the thread, and keeps the bytes that TLS has not read.
    pub(super) fn return_buffer(&mut self) {
        let Some(lent) = self.lent.take() else { return };
        if lent.read < lent.filled {
            self.rest.clear();
            self.rest.extend_from_slice(&lent.bytes[lent.read..lent.filled]);
            self.rest_read = 0;
        }
        SPARE.set(Some(lent.bytes));
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for RecordReader<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rest_read < this.rest.len() {
            this.rest_read += copy(&this.rest[this.rest_read..], into);
            return Poll::Ready(Ok(()));
        }
        // Without a buffer, as during the handshake, TLS reads record by record.
        let Some(lent) = &mut this.lent else { return Pin::new(&mut this.inner).poll_read(context, into) };
        if lent.read == lent.filled {
            (lent.read, lent.filled) = (0, 0);
            // Bytes beyond the caller's room would have to be kept, but TLS decrypts whole records only.
            let most = lent.room.clamp(RECORD, BUFFER);
            let mut buffer = ReadBuf::new(&mut lent.bytes[..most]);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut buffer))?;
            lent.filled = buffer.filled().len();
            lent.room = lent.room.saturating_sub(lent.filled);
        }
        lent.read += copy(&lent.bytes[lent.read..lent.filled], into);
        Poll::Ready(Ok(()))
    }
}

/// Copies as many bytes as there is room for, and returns their number.
fn copy(bytes: &[u8], into: &mut ReadBuf<'_>) -> usize {
    let count = bytes.len().min(into.remaining());
    into.put_slice(&bytes[..count]);
    count
}

impl<T: AsyncWrite + Unpin> AsyncWrite for RecordReader<T> {
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
    async fn every_byte_is_read_once_and_in_order_with_and_without_the_buffer() {
        let sent: Vec<u8> = (0..300_000u32).map(|n| (n / 256 + n) as u8).collect();
        let (mut server, client) = tokio::io::duplex(100_000);
        let bytes = sent.clone();
        tokio::spawn(async move { server.write_all(&bytes).await.unwrap() });
        let (mut reader, mut other) = (RecordReader::new(client), RecordReader::new(&b"other"[..]));
        let mut got = Vec::new();
        for turn in 0.. {
            // In turn: a buffer with more room than needed, one with less, and none.
            match turn % 3 {
                0 => reader.lend_buffer(BUFFER),
                1 => reader.lend_buffer(10),
                _ => {}
            }
            let mut piece = vec![0; 1 + turn * 37 % 9000];
            let count = reader.read(&mut piece).await.unwrap();
            reader.return_buffer();
            // Another connection uses the thread's buffer in between.
            other.lend_buffer(5);
            let _ = other.read(&mut [0; 2]).await.unwrap();
            other.return_buffer();
            if count == 0 {
                break;
            }
            got.extend_from_slice(&piece[..count]);
        }
        assert!(got == sent);
    }
}
