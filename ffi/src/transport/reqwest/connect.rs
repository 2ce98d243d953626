//! What an attempt learns about the connection that reqwest makes for it.
//!
//! reqwest reports neither when it starts to connect nor which addresses it dials. Its resolver and a layer around its connector
//! are called while it polls the request, so they find the attempt in a task-local variable. A connection that reqwest finishes
//! in the background, because an idle one became free first, is not the attempt's any more.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

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
    resolved: Mutex<Option<(String, Vec<IpAddr>)>>,
}

impl Progress {
    pub(super) fn new(activity: Arc<Activity>) -> Progress {
        Progress { activity, resolved: Mutex::default() }
    }

    /// Runs a request whose connection is recorded here.
    pub(super) fn watch<F: Future>(self: &Arc<Self>, request: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.clone(), request)
    }

    /// The name that was resolved for a new connection, and the addresses that it dialled, in order.
    pub(super) fn resolved(&self) -> Option<(String, Vec<IpAddr>)> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
                // Dialled first; another one only if this one does not accept the connection.
                current.activity.connected_to(addresses[0]);
                *current.resolved.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((name.as_str().to_owned(), addresses.clone()));
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
        let mut connecting = CURRENT.try_with(|current| Connecting::start(current.activity.clone())).ok();
        let connection = self.0.call(request);
        Box::pin(async move {
            let mut connection = pin!(connection);
            poll_fn(|context| {
                if CURRENT.try_with(|_| ()).is_err() {
                    connecting = None;
                }
                connection.as_mut().poll(context)
            })
            .await
        })
    }
}
