//! Tells an attempt that a connection is being made for it, and which address is dialled.
//!
//! reqwest does not say whether a request waits for a connection or for its reply; but the connector runs inside
//! the attempt's own future, so a task-local value finds the way. Where another connection becomes free first,
//! this one goes on by itself, and the attempt counts as connecting until it is done: a time-out that comes a
//! little later, never too early.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tower_layer::Layer;
use tower_service::Service;

use super::activity::Activity;
use super::resolve::OneAddress;

tokio::task_local! {
    static ATTEMPT: Arc<Activity>;
    static CONNECTION: Arc<Connecting>;
}

/// Runs this future; connections that it makes are noticed by `activity`.
pub(crate) fn noticed_by<F: Future>(activity: Arc<Activity>, future: F) -> impl Future<Output = F::Output> {
    ATTEMPT.scope(activity, future)
}

/// The connection that this task makes goes to this address of this name.
pub(super) fn dialling(name: String, address: IpAddr) {
    // Without a connection nobody wants to know.
    let _ = CONNECTION.try_with(|connection| connection.dialling(name, address));
}

/// The layer around the connector.
#[derive(Clone)]
pub(crate) struct Noticing {
    /// Who chose the address, and learns whether it was any good.
    pub(super) resolver: Option<OneAddress>,
    /// A connection that is dropped after so long was given up.
    pub(super) connect_timeout: Duration,
}

impl<S> Layer<S> for Noticing {
    type Service = NoticingConnector<S>;

    fn layer(&self, connector: S) -> NoticingConnector<S> {
        NoticingConnector { connector, noticing: self.clone() }
    }
}

/// A connector that says when it is at work.
#[derive(Clone)]
pub(crate) struct NoticingConnector<S> {
    connector: S,
    noticing: Noticing,
}

impl<S, R> Service<R> for NoticingConnector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        let connecting = Arc::new(Connecting::begin(self.noticing.clone()));
        let connection = self.connector.call(target);
        Box::pin(CONNECTION.scope(connecting.clone(), async move {
            let connection = connection.await;
            connecting.done(connection.is_ok());
            connection
        }))
    }
}

/// As long as it lives, the attempt is connecting.
struct Connecting {
    /// `None` where the connection is not an attempt's.
    attempt: Option<Arc<Activity>>,
    noticing: Noticing,
    begun: Instant,
    dialled: Mutex<Option<(String, IpAddr)>>,
    done: AtomicBool,
}

impl Connecting {
    fn begin(noticing: Noticing) -> Connecting {
        let attempt = ATTEMPT.try_with(Arc::clone).ok();
        if let Some(attempt) = &attempt {
            attempt.connecting(true);
        }
        Connecting { attempt, noticing, begun: Instant::now(), dialled: Mutex::default(), done: AtomicBool::new(false) }
    }

    fn dialling(&self, name: String, address: IpAddr) {
        if let Some(attempt) = &self.attempt {
            attempt.dialled(address);
        }
        *self.dialled.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, address));
    }

    fn done(&self, made: bool) {
        if self.done.swap(true, Ordering::Relaxed) {
            return;
        }
        let dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (false, Some((name, address)), Some(resolver)) = (made, dialled, &self.noticing.resolver) {
            resolver.failed(&name, address);
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        // Dropped before it was done: by the time-out, which is the address's fault, or by a cancel, which is not.
        self.done(self.begun.elapsed() < self.noticing.connect_timeout);
        if let Some(attempt) = &self.attempt {
            attempt.connecting(false);
        }
    }
}
