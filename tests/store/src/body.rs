//! The bodies of requests and replies as they pass: counted, and where a fault says so, cut.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use s3s::StdError;

use crate::shared::{InFlight, Shared};

/// The body of a request. Clones are the same body: one is read by the operation, and what it left by the server.
#[derive(Clone)]
pub(crate) struct Inbound {
    shared: Arc<Shared>,
    inner: Arc<Mutex<Incoming>>,
    read: Arc<AtomicBool>,
}

impl Inbound {
    pub(crate) fn new(shared: Arc<Shared>, body: Incoming) -> Self {
        Self { shared, inner: Arc::new(Mutex::new(body)), read: Arc::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Incoming> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is left, up to `max` bytes, so that a client that is still sending gets to read the answer. Returns
    /// whether the body came to its end; if not, the connection cannot carry another request.
    ///
    /// Nothing is read when the client waits for "100 Continue", which the first read would send, and never got it.
    pub(crate) async fn drain(mut self, expects_continue: bool, max: u64) -> bool {
        if expects_continue && !self.read.load(Ordering::Relaxed) {
            return self.is_end_stream();
        }
        let mut drained = 0;
        while drained < max {
            match std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
                Some(Ok(frame)) => drained += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(_)) => return false,
                None => return true,
            }
        }
        false
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        self.read.store(true, Ordering::Relaxed);
        let frame = ready!(Pin::new(&mut *self.inner()).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.shared.stats.add_in(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner().size_hint()
    }
}

/// What happens to the body of a reply at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The body ends there, and the connection with it.
    Close,
    /// The connection stays, and nothing more comes.
    Stall,
    /// One bit is flipped, and the rest of the body follows.
    Flip,
}

/// The body of a reply.
pub(crate) struct Outbound {
    shared: Arc<Shared>,
    inner: s3s::Body,
    cut: Option<(u64, Cut)>,
    flush: Option<Pin<Box<tokio::time::Sleep>>>,
    _in_flight: InFlight,
}

/// The time hyper gets to write out what it holds before an error makes it close the connection.
const FLUSH: Duration = Duration::from_millis(20);

impl Outbound {
    pub(crate) fn new(shared: Arc<Shared>, inner: s3s::Body, cut: Option<(u64, Cut)>, in_flight: InFlight) -> Self {
        Self { shared, inner, cut, flush: None, _in_flight: in_flight }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        match self.cut {
            Some((0, Cut::Stall)) => return Poll::Pending,
            Some((0, Cut::Close)) => {
                let flush = self.flush.get_or_insert_with(|| Box::pin(tokio::time::sleep(FLUSH)));
                ready!(flush.as_mut().poll(cx));
                return Poll::Ready(Some(Err("the reply is cut short by an ordered fault".into())));
            }
            _ => {}
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let Ok(mut data) = frame.into_data() else { return Poll::Ready(None) };
        if let Some((left, Cut::Flip)) = &mut self.cut {
            match usize::try_from(*left).ok().filter(|at| *at < data.len()) {
                None => *left -= data.len() as u64,
                Some(at) => {
                    let mut flipped = data.to_vec();
                    flipped[at] ^= 1;
                    (data, self.cut) = (flipped.into(), None);
                }
            }
        } else if let Some((left, _)) = &mut self.cut {
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
        }
        self.shared.stats.add_out(data.len());
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
