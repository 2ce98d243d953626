//! Tells an attempt that a connection is being made for it.
//!
//! reqwest does not say whether a request waits for a connection or for its reply; but the connector runs inside
//! the attempt's own future, so a task-local value finds the way. Where another connection becomes free first,
//! this one goes on by itself, and the attempt counts as connecting until it is done: a time-out that comes a
//! little later, never too early.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::activity::Activity;

tokio::task_local! {
    static ATTEMPT: Arc<Activity>;
}

/// Runs this future; connections that it makes are noticed by `activity`.
pub(crate) fn noticed_by<F: Future>(activity: Arc<Activity>, future: F) -> impl Future<Output = F::Output> {
    ATTEMPT.scope(activity, future)
}

/// The layer around the connector.
#[derive(Clone)]
pub(crate) struct Noticing;

impl<S> Layer<S> for Noticing {
    type Service = NoticingConnector<S>;

    fn layer(&self, connector: S) -> NoticingConnector<S> {
        NoticingConnector(connector)
    }
}

/// A connector that says when it is at work.
#[derive(Clone)]
pub(crate) struct NoticingConnector<S>(S);

impl<S, R> Service<R> for NoticingConnector<S>
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

    fn call(&mut self, target: R) -> Self::Future {
        let attempt = ATTEMPT.try_with(Connecting::begin).ok();
        let connection = self.0.call(target);
        Box::pin(async move {
            let connection = connection.await;
            drop(attempt);
            connection
        })
    }
}

/// As long as it lives, the attempt is connecting.
struct Connecting(Arc<Activity>);

impl Connecting {
    fn begin(attempt: &Arc<Activity>) -> Connecting {
        attempt.connecting(true);
        Connecting(attempt.clone())
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting(false);
    }
}
