//! Replies: the head, and the body, which is read in one of two ways.

use bytes::Bytes;
use hyper::body::Incoming;
use s3vault_core::http::{ReplyHead, TransportFailure};

use super::Exchange;
use super::connection::{Connection, RawBody};

/// A reply whose head has been received.
pub(crate) struct Reply {
    pub(crate) head: ReplyHead,
    body: Body,
    exchange: Exchange,
}

enum Body {
    /// Decoded by hyper: chunked, or without a length.
    Decoded { connection: Box<Connection>, incoming: Incoming, rest: Bytes },
    /// Read from the stream into the caller's memory.
    Raw(Box<RawBody>),
    /// Read to its end, or broken.
    Ended,
}

impl Reply {
    pub(super) fn new(head: ReplyHead, connection: Connection, incoming: Incoming, exchange: Exchange) -> Reply {
        let body = Body::Decoded { connection: Box::new(connection), incoming, rest: Bytes::new() };
        Reply { head, body, exchange }
    }

    /// Returns the next bytes of the body, or `None` at its end. A body that is cut short is a failure. Must not be called
    /// after [`read`](Reply::read).
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportFailure> {
        let Body::Decoded { connection, incoming, .. } = &mut self.body else { return Ok(None) };
        let chunk = self.exchange.step(connection.chunk(incoming)).await?;
        if chunk.is_none() {
            self.end().await;
        }
        Ok(chunk)
    }

    /// Reads the next bytes of the body into `into`, which must not be empty, and returns their number, or 0 at the end. Meant
    /// for large bodies: a body with a `Content-Length` is read from the stream without a copy.
    pub(crate) async fn read(&mut self, into: &mut [u8]) -> Result<usize, TransportFailure> {
        self.bypass_hyper();
        match &mut self.body {
            Body::Raw(raw) => {
                let count = self.exchange.step(raw.read(into)).await?;
                if count == 0 {
                    self.end().await;
                }
                return Ok(count);
            }
            Body::Decoded { rest, .. } if !rest.is_empty() => {}
            Body::Decoded { .. } => {
                let Some(next) = self.chunk().await? else { return Ok(0) };
                if let Body::Decoded { rest, .. } = &mut self.body {
                    *rest = next;
                }
            }
            Body::Ended => return Ok(0),
        }
        let Body::Decoded { rest, .. } = &mut self.body else { return Ok(0) };
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest.split_to(count));
        Ok(count)
    }

    /// From here on reads from the stream, if the body has a `Content-Length`.
    fn bypass_hyper(&mut self) {
        self.body = match std::mem::replace(&mut self.body, Body::Ended) {
            Body::Decoded { connection, incoming, rest } if rest.is_empty() => match connection.into_raw_body(incoming)
            {
                Ok(raw) => Body::Raw(Box::new(raw)),
                Err((connection, incoming)) => Body::Decoded { connection, incoming, rest },
            },
            other => other,
        };
    }

    /// Ends a body that was read to its end, and returns its connection to the idle ones if it can be reused.
    async fn end(&mut self) {
        let connection = match std::mem::replace(&mut self.body, Body::Ended) {
            Body::Decoded { connection, .. } => Some(*connection),
            Body::Raw(raw) => raw.finish().await,
            Body::Ended => None,
        };
        if let Some(connection) = connection {
            self.exchange.transport.0.idle.put_back(&self.exchange.store, connection).await;
        }
    }

    /// Description of the request for messages.
    pub(crate) fn what(&self) -> &str {
        &self.exchange.watchdog.what
    }
}
