//! A reply whose head came, and its body, which is read in one of two ways.

use bytes::Bytes;
use hyper::body::Incoming;
use s3vault_core::http::{ReplyHead, TransportFailure};

use super::Way;
use super::connection::{Connection, Straight};

/// A reply whose head came.
pub(crate) struct Reply {
    pub(crate) head: ReplyHead,
    body: Body,
    way: Way,
}

enum Body {
    /// As hyper brings it: chunked, or of a length that nobody said.
    Framed { connection: Box<Connection>, incoming: Incoming, rest: Bytes },
    /// Straight from the stream into the reader's memory.
    Straight(Box<Straight>),
    /// It was read to its end, or broke.
    Ended,
}

impl Reply {
    pub(super) fn new(head: ReplyHead, connection: Connection, incoming: Incoming, way: Way) -> Reply {
        let body = Body::Framed { connection: Box::new(connection), incoming, rest: Bytes::new() };
        Reply { head, body, way }
    }

    /// The next bytes of the body; `None` at its end. A body that is cut short is a failure. Not after [`read`](Reply::read).
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportFailure> {
        let Body::Framed { connection, incoming, .. } = &mut self.body else { return Ok(None) };
        let chunk = self.way.moving(connection.chunk(incoming)).await?;
        if chunk.is_none() {
            self.end().await;
        }
        Ok(chunk)
    }

    /// Reads the next bytes of the body into `into`, which is not empty; 0 at its end. For bodies that are large: where their
    /// length was said, nothing lies between them and the stream.
    pub(crate) async fn read(&mut self, into: &mut [u8]) -> Result<usize, TransportFailure> {
        self.straighten();
        match &mut self.body {
            Body::Straight(straight) => {
                let count = self.way.moving(straight.read(into)).await?;
                if count == 0 {
                    self.end().await;
                }
                return Ok(count);
            }
            Body::Framed { rest, .. } if !rest.is_empty() => {}
            Body::Framed { .. } => {
                let Some(next) = self.chunk().await? else { return Ok(0) };
                if let Body::Framed { rest, .. } = &mut self.body {
                    *rest = next;
                }
            }
            Body::Ended => return Ok(0),
        }
        let Body::Framed { rest, .. } = &mut self.body else { return Ok(0) };
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest.split_to(count));
        Ok(count)
    }

    /// Takes hyper out of the way, where the body's length was said.
    fn straighten(&mut self) {
        self.body = match std::mem::replace(&mut self.body, Body::Ended) {
            Body::Framed { connection, incoming, rest } if rest.is_empty() => match connection.straight(incoming) {
                Ok(straight) => Body::Straight(Box::new(straight)),
                Err((connection, incoming)) => Body::Framed { connection, incoming, rest },
            },
            other => other,
        };
    }

    /// The body was read to its end: what it came over waits for the next request, if it can.
    async fn end(&mut self) {
        let connection = match std::mem::replace(&mut self.body, Body::Ended) {
            Body::Framed { connection, .. } => Some(*connection),
            Body::Straight(straight) => straight.ended().await,
            Body::Ended => None,
        };
        if let Some(connection) = connection {
            self.way.transport.0.idle.give_back(&self.way.store, connection).await;
        }
    }

    /// Where it came from, for messages.
    pub(crate) fn what(&self) -> &str {
        &self.way.watch.what
    }
}
