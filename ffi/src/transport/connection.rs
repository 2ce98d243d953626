//! A connection and its requests, one at a time; and those that wait for their next one.
//!
//! hyper's connection is polled by the attempt that has it, not by a task of its own: what was received is hashed where it was
//! read, while it lies in that core's cache, and nobody is woken in between. One that waits is polled by nobody; who takes it
//! asks whether it still stands.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Parts, SendRequest};
use hyper::header::CONNECTION;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;

use super::body::Sending;
use super::stream::Stream;

/// What a connection reads at once, in bytes, and the longest head of a reply. Large bodies do not come this way.
const READ: usize = 32 * 1024;

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
    /// The store said that it closes it after this reply.
    last: bool,
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
        Ok(Connection { sender, driver, closed: false, dialled, used: false, last: false })
    }

    /// Sends a request, and waits for the head of its reply.
    pub(super) async fn request(&mut self, request: Request<Sending>) -> Result<Response<Incoming>, Lost> {
        let used = std::mem::replace(&mut self.used, true);
        let mut reply = pin!(self.sender.try_send_request(request));
        let reply = self.driving(|context| reply.as_mut().poll(context)).await;
        self.last = reply.as_ref().is_ok_and(closes);
        reply.map_err(|mut e| match e.take_message() {
            Some(request) if used => Lost::Unsent(Box::new(request)),
            _ => Lost::Failed(e.into_error()),
        })
    }

    /// The next bytes of the body of a reply; `None` at its end.
    pub(super) async fn chunk(&mut self, body: &mut Incoming) -> hyper::Result<Option<Bytes>> {
        self.driving(|context| poll_chunk(body, context)).await
    }

    /// The rest of a body of which no byte was taken, without hyper between it and its reader, where its length was said.
    pub(super) fn straight(self: Box<Self>, mut body: Incoming) -> Result<Straight, (Box<Connection>, Incoming)> {
        let Some(left) = body.size_hint().exact().filter(|_| !self.closed) else { return Err((self, body)) };
        let Parts { io, read_buf, .. } = self.driver.into_parts();
        // What hyper has read of it: a piece that it has handed on, and what it would have handed on next.
        let mut early = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(Some(bytes))) = poll_chunk(&mut body, &mut context) {
            early.extend_from_slice(&bytes);
        }
        early.extend_from_slice(&read_buf);
        Ok(Straight { stream: io.into_inner(), early: early.into(), left, dialled: self.dialled, last: self.last })
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

/// Whether the connection ends with this reply (RFC 9112 §9.3).
fn closes(reply: &Response<Incoming>) -> bool {
    let says = |option: &str| {
        let values = reply.headers().get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|said| said.trim().eq_ignore_ascii_case(option))
    };
    says("close") || (reply.version() < Version::HTTP_11 && !says("keep-alive"))
}

/// A connection in the midst of a body whose length was said, read from the stream into the reader's memory.
pub(super) struct Straight {
    stream: Stream,
    /// What was read of the stream together with the head.
    early: Bytes,
    /// Of the body, in bytes.
    left: u64,
    dialled: Option<IpAddr>,
    last: bool,
}

impl Straight {
    /// Reads what is there, and at least one byte; 0 at the end of the body.
    pub(super) async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let count = if self.early.is_empty() {
            self.stream.read(&mut into[..most]).await?
        } else {
            let early = self.early.split_to(most.min(self.early.len()));
            into[..early.len()].copy_from_slice(&early);
            early.len()
        };
        if count == 0 {
            let missing = format!("it was closed {} bytes before the end of the body", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, missing));
        }
        self.left -= count as u64;
        Ok(count)
    }

    /// After the end of the body: for the next request, where there can be one.
    pub(super) async fn ended(self) -> Option<Connection> {
        if self.last || self.left > 0 || !self.early.is_empty() {
            return None;
        }
        let mut connection = Connection::begin(self.stream, self.dialled).await.ok()?;
        connection.used = true;
        Some(connection)
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
