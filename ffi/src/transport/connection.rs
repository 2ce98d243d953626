//! A connection and its requests, one at a time; and those that wait for their next one.
//!
//! hyper's connection is polled by the attempt that has it, not by a task of its own: what was received is hashed where it was
//! read, while it lies in that core's cache, and nobody is woken in between. One that waits is polled by nobody; who takes it
//! asks whether it still stands.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::body::Sending;
use super::stream::Stream;

/// What a connection reads of a reply at once, in bytes: it is copied and hashed while it lies in the core's cache.
const READ: usize = 64 * 1024;

/// At most so many connections to one store are kept without a request.
const MOST: usize = 32;

/// One without a request is closed after this time; stores close theirs after 5 to 60 s.
const LONGEST: Duration = Duration::from_secs(20);

/// A connection that nobody else uses.
pub(super) struct Connection {
    sender: SendRequest<Sending>,
    driver: http1::Connection<TokioIo<Stream>, Sending>,
    closed: bool,
    /// The address of the store's name that was dialled.
    pub(super) dialled: Option<IpAddr>,
    /// It had requests before.
    used: bool,
}

/// Why there is no reply.
pub(super) enum Lost {
    /// The connection was closed while it waited for this request, of which no byte was sent.
    Unsent(Box<Request<Sending>>),
    Failed(hyper::Error),
}

impl Connection {
    pub(super) async fn begin(stream: Stream, dialled: Option<IpAddr>) -> hyper::Result<Connection> {
        let mut builder = http1::Builder::new();
        builder.read_buf_exact_size(Some(READ));
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Connection { sender, driver, closed: false, dialled, used: false })
    }

    /// Sends a request, and waits for the head of its reply.
    pub(super) async fn request(&mut self, request: Request<Sending>) -> Result<Response<Incoming>, Lost> {
        let used = std::mem::replace(&mut self.used, true);
        let mut reply = pin!(self.sender.try_send_request(request));
        let reply = self.driving(|context| reply.as_mut().poll(context)).await;
        reply.map_err(|mut e| match e.take_message() {
            Some(request) if used => Lost::Unsent(Box::new(request)),
            _ => Lost::Failed(e.into_error()),
        })
    }

    /// The next bytes of the body of a reply; `None` at its end.
    pub(super) async fn chunk(&mut self, body: &mut Incoming) -> hyper::Result<Option<Bytes>> {
        self.driving(|context| poll_chunk(body, context)).await
    }

    /// Whether it can take another request: the last reply was read to its end, and so was the request.
    async fn is_ready(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            Poll::Ready(!self.closed && matches!(self.sender.poll_ready(context), Poll::Ready(Ok(()))))
        })
        .await
    }

    /// Waits for what the connection brings.
    async fn driving<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        poll_fn(|context| {
            let there = poll(context);
            if there.is_ready() {
                return there;
            }
            self.drive(context);
            poll(context)
        })
        .await
    }

    /// Reads and writes what can be. What is wrong with the connection is said to the one who waits for the reply.
    fn drive(&mut self, context: &mut Context<'_>) {
        self.closed = self.closed || Pin::new(&mut self.driver).poll(context).is_ready();
    }
}

fn poll_chunk(body: &mut Incoming, context: &mut Context<'_>) -> Poll<hyper::Result<Option<Bytes>>> {
    loop {
        let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(context)).transpose()? else {
            return Poll::Ready(Ok(None));
        };
        // Trailers belong to nobody.
        if let Ok(bytes) = frame.into_data() {
            return Poll::Ready(Ok(Some(bytes)));
        }
    }
}

/// Connections that wait for a request, by scheme, host and port of the store.
#[derive(Default)]
pub(super) struct Idle(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: HashMap<String, Vec<(Instant, Connection)>>,
    /// Somebody will close those that waited for too long.
    watched: bool,
}

impl Idle {
    /// The one that was used last, if it still stands.
    pub(super) async fn take(&self, store: &str) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.state().waiting.get_mut(store)?.pop()?;
            if since.elapsed() < LONGEST && connection.is_ready().await {
                return Some(connection);
            }
        }
    }

    /// A reply was read to its end: what it came over waits for the next request, if it can.
    pub(super) async fn give_back(self: &Arc<Self>, store: &str, mut connection: Connection) {
        if !connection.is_ready().await {
            return;
        }
        let mut state = self.state();
        let waiting = state.waiting.entry(store.to_owned()).or_default();
        if waiting.len() >= MOST {
            return;
        }
        waiting.push((Instant::now(), connection));
        if !std::mem::replace(&mut state.watched, true) {
            tokio::spawn(watch(Watched(Arc::downgrade(self))));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that waited for too long, until none is left.
async fn watch(idle: Watched) {
    loop {
        tokio::time::sleep(LONGEST).await;
        let Some(idle) = idle.0.upgrade() else { return };
        let mut state = idle.state();
        state.waiting.retain(|_, waiting| {
            waiting.retain(|(since, _)| since.elapsed() < LONGEST);
            !waiting.is_empty()
        });
        if state.waiting.is_empty() {
            return;
        }
    }
}

/// However the watch ends, with its runtime too, another may begin.
struct Watched(Weak<Idle>);

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(idle) = self.0.upgrade() {
            idle.state().watched = false;
        }
    }
}
