//! Connections with one request at a time, and the pool of idle connections.
//!
//! hyper's connection is polled by the attempt that uses it, not by a task of its own. So received bytes are hashed on the core
//! that read them, while they are in its cache, and no task is woken in between. An idle connection is not polled; whether it
//! is still open is checked when it is taken.

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

use super::head_limit::HeadLimit;
use super::stream::Stream;
use crate::transport::body::Sending;

/// Size in bytes of hyper's read buffer, and so of the longest head of a reply. Large bodies do not pass through it.
const READ_BUFFER: usize = 32 * 1024;

/// The most idle connections that are kept per store.
const MAX_IDLE: usize = 32;

/// An idle connection is closed after this time. Stores close theirs after 5 to 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection, used by one attempt at a time.
pub(super) struct Connection {
    sender: SendRequest<Sending>,
    driver: http1::Connection<TokioIo<Stream>, Sending>,
    head_limit: HeadLimit,
    closed: bool,
    /// The address that was dialled, if the store's host is a name.
    pub(super) address: Option<IpAddr>,
    /// Whether it has carried a request before.
    used: bool,
    /// Whether the store closes it after this reply.
    last: bool,
}

/// Why there is no reply.
pub(super) enum RequestError {
    /// The idle connection had been closed, and no byte of this request was sent.
    NotSent(Box<Request<Sending>>),
    Failed(hyper::Error),
}

impl Connection {
    pub(super) async fn start(stream: Stream, address: Option<IpAddr>) -> hyper::Result<Connection> {
        let mut builder = http1::Builder::new();
        builder.read_buf_exact_size(Some(READ_BUFFER));
        let head_limit = stream.head_limit();
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Connection { sender, driver, head_limit, closed: false, address, used: false, last: false })
    }

    /// Sends a request and waits for the head of its reply.
    pub(super) async fn request(&mut self, request: Request<Sending>) -> Result<Response<Incoming>, RequestError> {
        let used = std::mem::replace(&mut self.used, true);
        self.head_limit.start();
        let mut reply = pin!(self.sender.try_send_request(request));
        let reply = self.drive_until(|context| reply.as_mut().poll(context)).await;
        self.head_limit.lift();
        self.last = reply.as_ref().is_ok_and(closes);
        reply.map_err(|mut e| match e.take_message() {
            Some(request) if used => RequestError::NotSent(Box::new(request)),
            _ => RequestError::Failed(e.into_error()),
        })
    }

    /// Returns the next bytes of a reply's body, or `None` at its end.
    pub(super) async fn chunk(&mut self, body: &mut Incoming) -> hyper::Result<Option<Bytes>> {
        self.drive_until(|context| poll_chunk(body, context)).await
    }

    /// Takes the stream back from hyper, to read the body from it. Fails if the body has no `Content-Length`. No byte of the
    /// body may have been read before.
    pub(super) fn into_raw_body(self: Box<Self>, mut body: Incoming) -> Result<RawBody, (Box<Connection>, Incoming)> {
        let Some(left) = body.size_hint().exact().filter(|_| !self.closed) else { return Err((self, body)) };
        let Parts { io, read_buf, .. } = self.driver.into_parts();
        // What hyper has read of the body: a piece that is ready, and the contents of its buffer.
        let mut early = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(Some(bytes))) = poll_chunk(&mut body, &mut context) {
            early.extend_from_slice(&bytes);
        }
        early.extend_from_slice(&read_buf);
        Ok(RawBody { stream: io.into_inner(), early: early.into(), left, address: self.address, last: self.last })
    }

    /// Whether it can carry another request: it is open, and the last request and reply are complete.
    async fn is_ready(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            Poll::Ready(!self.closed && matches!(self.sender.poll_ready(context), Poll::Ready(Ok(()))))
        })
        .await
    }

    /// Waits for this future while driving the connection.
    async fn drive_until<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        poll_fn(|context| {
            let result = poll(context);
            if result.is_ready() {
                return result;
            }
            self.drive(context);
            poll(context)
        })
        .await
    }

    /// Reads and writes as much as possible. hyper reports an error of the connection to the task that waits for the reply.
    fn drive(&mut self, context: &mut Context<'_>) {
        self.closed = self.closed || Pin::new(&mut self.driver).poll(context).is_ready();
    }
}

fn poll_chunk(body: &mut Incoming, context: &mut Context<'_>) -> Poll<hyper::Result<Option<Bytes>>> {
    loop {
        let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(context)).transpose()? else {
            return Poll::Ready(Ok(None));
        };
        // Trailers are ignored.
        if let Ok(bytes) = frame.into_data() {
            return Poll::Ready(Ok(Some(bytes)));
        }
    }
}

/// Whether the server closes the connection after this reply (RFC 9112 §9.3).
fn closes(reply: &Response<Incoming>) -> bool {
    let says = |option: &str| {
        let values = reply.headers().get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(option))
    };
    says("close") || (reply.version() < Version::HTTP_11 && !says("keep-alive"))
}

/// A body with a `Content-Length`, read from the stream into the caller's memory.
pub(super) struct RawBody {
    stream: Stream,
    /// Bytes of the body that were read together with the head.
    early: Bytes,
    /// Number of bytes of the body that have not been read yet.
    left: u64,
    address: Option<IpAddr>,
    last: bool,
}

impl RawBody {
    /// Reads what is available, and at least one byte. Returns 0 at the end of the body.
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
            let missing = format!("the connection was closed {} bytes before the end of the body", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, missing));
        }
        self.left -= count as u64;
        Ok(count)
    }

    /// Ends the body. Returns the connection if it can carry another request.
    pub(super) async fn finish(self) -> Option<Connection> {
        if self.last || self.left > 0 || !self.early.is_empty() {
            return None;
        }
        let mut connection = Connection::start(self.stream, self.address).await.ok()?;
        connection.used = true;
        Some(connection)
    }
}

/// Idle connections, by scheme, host and port of the store.
#[derive(Default)]
pub(super) struct Idle(Mutex<State>);

#[derive(Default)]
struct State {
    idle: HashMap<String, Vec<(Instant, Connection)>>,
    /// Whether a task runs that closes connections after [`IDLE_TIMEOUT`].
    reaper_runs: bool,
}

impl Idle {
    /// Takes the most recently used connection that is still open.
    pub(super) async fn take(&self, store: &str) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.state().idle.get_mut(store)?.pop()?;
            if since.elapsed() < IDLE_TIMEOUT && connection.is_ready().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose reply was read to its end, if it can carry another request.
    pub(super) async fn put_back(self: &Arc<Self>, store: &str, mut connection: Connection) {
        if !connection.is_ready().await {
            return;
        }
        let mut state = self.state();
        let idle = state.idle.entry(store.to_owned()).or_default();
        if idle.len() >= MAX_IDLE {
            return;
        }
        idle.push((Instant::now(), connection));
        if !std::mem::replace(&mut state.reaper_runs, true) {
            tokio::spawn(reap(Reaper(Arc::downgrade(self))));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that were idle for too long, until none is left.
async fn reap(reaper: Reaper) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT).await;
        let Some(idle) = reaper.0.upgrade() else { return };
        let mut state = idle.state();
        state.idle.retain(|_, connections| {
            connections.retain(|(since, _)| since.elapsed() < IDLE_TIMEOUT);
            !connections.is_empty()
        });
        if state.idle.is_empty() {
            return;
        }
    }
}

/// Lets another task start when this one ends, also when it ends with its runtime.
struct Reaper(Weak<Idle>);

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(idle) = self.0.upgrade() {
            idle.state().reaper_runs = false;
        }
    }
}
