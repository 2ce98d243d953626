//! Replies: the head, and the body, which comes from either client.

use bytes::Bytes;
use s3vault_core::http::{ReplyHead, TransportFailure};

use super::attempt::Attempt;
use super::direct;

/// A reply whose head has been received.
pub(crate) struct Reply {
    pub(crate) head: ReplyHead,
    body: Body,
    attempt: Attempt,
}

/// The body of a reply.
pub(super) enum Body {
    Direct(direct::Body),
    #[cfg(feature = "reqwest")]
    Reqwest(super::reqwest::Body),
}

impl Reply {
    pub(super) fn new(head: ReplyHead, body: Body, attempt: Attempt) -> Reply {
        Reply { head, body, attempt }
    }

    /// Returns the next bytes of the body, or `None` at its end. A body that is cut short is a failure. Must not be called
    /// after [`read`](Reply::read).
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportFailure> {
        match &mut self.body {
            Body::Direct(body) => body.chunk(&self.attempt).await,
            #[cfg(feature = "reqwest")]
            Body::Reqwest(body) => body.chunk(&self.attempt).await,
        }
    }

    /// Reads the next bytes of the body into `into`, which must not be empty, and returns their number, or 0 at the end. Meant
    /// for large bodies: the direct client reads a body with a `Content-Length` from the stream without a copy.
    pub(crate) async fn read(&mut self, into: &mut [u8]) -> Result<usize, TransportFailure> {
        match &mut self.body {
            Body::Direct(body) => body.read(into, &self.attempt).await,
            #[cfg(feature = "reqwest")]
            Body::Reqwest(body) => body.read(into, &self.attempt).await,
        }
    }

    /// Description of the request for messages.
    pub(crate) fn what(&self) -> &str {
        &self.attempt.watchdog.what
    }
}

/// Copies as many of these bytes as there is room for, removes them, and returns their number.
pub(super) fn take_into(bytes: &mut Bytes, into: &mut [u8]) -> usize {
    let count = bytes.len().min(into.len());
    into[..count].copy_from_slice(&bytes.split_to(count));
    count
}
