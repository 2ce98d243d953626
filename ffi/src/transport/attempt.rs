//! One attempt to send a request: where it goes, its time-outs, and the failures that end it.

use std::error::Error as StdError;
use std::sync::Arc;

use hyper::Uri;
use s3vault_core::http::TransportFailure;

use super::failure::Peer;
use super::proxy::Proxy;
use super::resolve::Names;
use super::watchdog::{Activity, Watchdog};

/// One attempt, whichever client carries it.
pub(super) struct Attempt {
    pub(super) uri: Uri,
    /// Scheme, host and port of the store.
    pub(super) store: String,
    /// The proxy that the store is reached through.
    pub(super) proxy: Option<Arc<Proxy>>,
    pub(super) watchdog: Watchdog,
    pub(super) names: Names,
}

impl Attempt {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.watchdog.activity
    }

    /// Whether the proxy gets the request itself, and not a tunnel or a relayed connection.
    pub(super) fn is_forwarded(&self) -> bool {
        is_http(&self.uri) && self.proxy.as_ref().is_some_and(|proxy| !proxy.is_socks())
    }

    /// Runs this step unless a time-out ends the attempt first.
    pub(super) async fn guard<T>(
        &self,
        step: impl Future<Output = Result<T, TransportFailure>>,
    ) -> Result<T, TransportFailure> {
        self.watchdog.guard(step).await.unwrap_or_else(|failure| Err(self.timed_out(failure)))
    }

    /// Runs a step that reads from the body of the reply.
    pub(super) async fn read<T, E: StdError + 'static>(
        &self,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, TransportFailure> {
        // The caller used the time since the last step.
        self.activity().touch();
        let read = self.watchdog.guard(step).await.map_err(|failure| self.timed_out(failure))?;
        self.activity().touch();
        read.map_err(|e| self.lost(&e))
    }

    /// The peers of the attempt, for messages.
    pub(super) fn peer(&self) -> Peer {
        Peer::of(&self.uri, self.proxy.as_deref())
    }

    /// The failure of a connection that broke.
    pub(super) fn lost(&self, error: &(dyn StdError + 'static)) -> TransportFailure {
        let mut peer = self.peer();
        peer.addresses.extend(self.activity().address());
        peer.lost(error)
    }

    /// Adds the address to the failure of an attempt that the watchdog ended. A machine that hangs accepts connections and then
    /// is silent, so the next attempt dials another address.
    fn timed_out(&self, mut failure: TransportFailure) -> TransportFailure {
        if let Some(address) = self.activity().address() {
            failure.detail.push_str(&format!(", dialled at {address}"));
            if self.watchdog.is_silent() || self.watchdog.is_stalled() {
                self.names.failed(host(&self.uri), address);
            }
        }
        failure
    }
}

/// Scheme, host and port.
pub(super) fn origin(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", uri.scheme_str().unwrap_or("http"))
}

/// Host of a URL, without the brackets of an IPv6 address.
pub(super) fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or("");
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

pub(super) fn is_http(uri: &Uri) -> bool {
    uri.scheme_str() == Some("http")
}
