//! The byte stream of a connection: TCP, or TLS over TCP or over a proxy's tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::record_reader::RecordReader;

/// A stream that is read and written.
pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// A stream to the store, or to the proxy in front of it.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<RecordReader<Box<dyn ReadWrite>>>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, into),
            Stream::Tls(tls) => {
                tls.get_mut().0.lend_buffer(into.remaining());
                let read = poll_read_all(tls, context, into);
                tls.get_mut().0.return_buffer();
                read
            }
        }
    }
}

/// Reads records as long as they are available and fit, so that the reader is woken once for all of them.
fn poll_read_all<T: ReadWrite>(tls: &mut T, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let start = into.filled().len();
    while into.remaining() > 0 {
        let before = into.filled().len();
        let read = Pin::new(&mut *tls).poll_read(context, into);
        let more = read.is_ready() && into.filled().len() > before;
        if !more {
            // An error, or the end of the stream, is returned again by the next call.
            return if into.filled().len() > start { Poll::Ready(Ok(())) } else { read };
        }
    }
    Poll::Ready(Ok(()))
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, pieces),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
