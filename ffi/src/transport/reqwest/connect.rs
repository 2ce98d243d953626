//! What an attempt learns about the connection that reqwest makes for it.
//!
//! reqwest reports neither when it starts to connect nor which addresses it dials. Its resolver and a layer around its connector
//! are called while it polls the request, so they find the attempt in a task-local variable. A connection that reqwest finishes
//! in the background, because an idle one became free first, is not the attempt's any more.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use ::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tower_layer::Layer;
use tower_service::Service;

use crate::transport::resolve::Names;
use crate::transport::watchdog::{Activity, Connecting};

tokio::task_local! {
    /// The attempt whose request is being polled.
    static CURRENT: Arc<Progress>;
}

/// The connection of one attempt.
pub(super) struct Progress {
    activity: Arc<Activity>,
    /// The name that was resolved last, and its addresses.
    resolved: Mutex<Option<Resolved>>,
    /// Whether a new connection was made for the attempt.
    connected: AtomicBool,
}

/// A name and its addresses, in the order in which they are dialled.
#[derive(Clone)]
pub(super) struct Resolved {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
}

impl Progress {
    pub(super) fn new(activity: Arc<Activity>) -> Progress {
        Progress { activity, resolved: Mutex::default(), connected: AtomicBool::new(false) }
    }

    /// Runs a request whose connection is recorded here.
    pub(super) fn watch<F: Future>(self: &Arc<Self>, request: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.clone(), request)
    }

    /// The name that was resolved for a new connection.
    pub(super) fn resolved(&self) -> Option<Resolved> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a new connection was made for the attempt.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Records that a new connection was made. It most likely goes to the address that was dialled first.
    fn connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
        if let Some(address) = self.resolved().and_then(|resolved| resolved.addresses.first().copied()) {
            self.activity.connected_to(address);
        }
    }
}

/// Resolves names with the transport's cache.
pub(super) struct Resolver(pub(super) Names);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        let current = CURRENT.try_with(Arc::clone).ok();
        Box::pin(async move {
            let addresses = names.addresses(name.as_str()).await?;
            if let Some(current) = current {
                let resolved = Resolved { name: name.as_str().to_owned(), addresses: addresses.clone() };
                *current.resolved.lock().unwrap_or_else(PoisonError::into_inner) = Some(resolved);
            }
            // The connector replaces port 0 by the URL's port.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

/// Wraps reqwest's connector, to record when an attempt waits for a new connection.
#[derive(Clone)]
pub(super) struct ConnectorLayer;

impl<S> Layer<S> for ConnectorLayer {
    type Service = Connector<S>;

    fn layer(&self, inner: S) -> Connector<S> {
        Connector(inner)
    }
}

#[derive(Clone)]
pub(super) struct Connector<S>(S);

impl<S, R> Service<R> for Connector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let current = CURRENT.try_with(Arc::clone).ok();
        let mut current = current.map(|current| (Connecting::start(current.activity.clone()), current));
        let connection = self.0.call(request);
        Box::pin(async move {
            let mut connection = pin!(connection);
            poll_fn(|context| {
                if CURRENT.try_with(|_| ()).is_err() {
                    current = None;
                }
                let made = ready!(connection.as_mut().poll(context));
                if let (Some((_, current)), true) = (&current, made.is_ok()) {
                    current.connected();
                }
                Poll::Ready(made)
            })
            .await
        })
    }
}
