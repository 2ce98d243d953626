//! Bodies of replies, which are read in one of two ways: as hyper decodes them, or from the stream.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use s3vault_core::http::TransportFailure;

use super::connection::{Connection, Idle, RawBody};
use crate::transport::attempt::Attempt;
use crate::transport::reply::take_into;

/// The body of a reply.
pub(in crate::transport) struct Body {
    state: State,
    /// Where the connection goes after the body.
    idle: Arc<Idle>,
}

enum State {
    /// Decoded by hyper: chunked, or without a length.
    Decoded { connection: Box<Connection>, incoming: Incoming, rest: Bytes },
    /// Read from the stream into the caller's memory.
    Raw(Box<RawBody>),
    /// Read to its end, or broken.
    Ended,
}

impl Body {
    pub(super) fn new(connection: Connection, incoming: Incoming, idle: Arc<Idle>) -> Body {
        Body { state: State::Decoded { connection: Box::new(connection), incoming, rest: Bytes::new() }, idle }
    }

    pub(in crate::transport) async fn chunk(&mut self, attempt: &Attempt) -> Result<Option<Bytes>, TransportFailure> {
        let State::Decoded { connection, incoming, .. } = &mut self.state else { return Ok(None) };
        let chunk = attempt.read(connection.chunk(incoming)).await?;
        if chunk.is_none() {
            self.end(attempt).await;
        }
        Ok(chunk)
    }

    pub(in crate::transport) async fn read(
        &mut self,
        into: &mut [u8],
        attempt: &Attempt,
    ) -> Result<usize, TransportFailure> {
        self.bypass_hyper();
        match &mut self.state {
            State::Raw(raw) => {
                let count = attempt.read(raw.read(into)).await?;
                if count == 0 {
                    self.end(attempt).await;
                }
                return Ok(count);
            }
            State::Decoded { rest, .. } if !rest.is_empty() => {}
            State::Decoded { .. } => {
                let Some(next) = self.chunk(attempt).await? else { return Ok(0) };
                if let State::Decoded { rest, .. } = &mut self.state {
                    *rest = next;
                }
            }
            State::Ended => return Ok(0),
        }
        let State::Decoded { rest, .. } = &mut self.state else { return Ok(0) };
        Ok(take_into(rest, into))
    }

    /// From here on reads from the stream, if the body has a `Content-Length`.
    fn bypass_hyper(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Decoded { connection, incoming, rest } if rest.is_empty() => {
                match connection.into_raw_body(incoming) {
                    Ok(raw) => State::Raw(Box::new(raw)),
                    Err((connection, incoming)) => State::Decoded { connection, incoming, rest },
                }
            }
            other => other,
        };
    }

    /// Ends a body that was read to its end, and returns its connection to the idle ones if it can be reused.
    async fn end(&mut self, attempt: &Attempt) {
        let connection = match std::mem::replace(&mut self.state, State::Ended) {
            State::Decoded { connection, .. } => Some(*connection),
            State::Raw(raw) => raw.finish().await,
            State::Ended => None,
        };
        if let Some(connection) = connection {
            self.idle.put_back(&attempt.store, connection).await;
        }
    }
}
