//! The byte stream of a connection: TCP, or TLS over TCP or over a proxy's tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::head_limit::HeadLimit;
use super::record_reader::RecordReader;

/// A stream that is read and written.
pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// A stream to the store, or to the proxy in front of it.
pub(super) struct Stream {
    layer: Layer,
    head_limit: HeadLimit,
}

enum Layer {
    Plain(TcpStream),
    Tls(Box<TlsStream<RecordReader<Box<dyn ReadWrite>>>>),
}

impl Stream {
    pub(super) fn plain(tcp: TcpStream) -> Stream {
        Stream { layer: Layer::Plain(tcp), head_limit: HeadLimit::new() }
    }

    pub(super) fn tls(tls: TlsStream<RecordReader<Box<dyn ReadWrite>>>) -> Stream {
        Stream { layer: Layer::Tls(Box::new(tls)), head_limit: HeadLimit::new() }
    }

    /// The limit of what this stream receives before the head of a reply.
    pub(super) fn head_limit(&self) -> HeadLimit {
        self.head_limit.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.head_limit.check()?;
        let before = into.filled().len();
        let read = match &mut stream.layer {
            Layer::Plain(tcp) => Pin::new(tcp).poll_read(context, into),
            Layer::Tls(tls) => {
                tls.get_mut().0.lend_buffer(into.remaining());
                let read = poll_read_all(tls, context, into);
                tls.get_mut().0.return_buffer();
                read
            }
        };
        stream.head_limit.received(into.filled().len() - before);
        read
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
        match &mut self.get_mut().layer {
            Layer::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Layer::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().layer {
            Layer::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, pieces),
            Layer::Tls(tls) => Pin::new(tls).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layer {
            Layer::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Layer::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layer {
            Layer::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Layer::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
