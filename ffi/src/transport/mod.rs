//! HTTP requests to the store, each sent once, over hyper's connections on the library's private runtime.
//!
//! The transport makes no decisions: it does not retry, follow redirects, decompress, or take a proxy from the environment.
//! Each attempt ends with a reply or with a [`TransportFailure`] that says whether the store may have received the request.
//! (An idle connection that the store has closed does not cost an attempt: the request is sent on another connection, as long
//! as no byte of it was written.)
//!
//! HTTP/1.1 only. A transfer is many large bodies at the same time, and with a connection for each, every body has its own
//! TCP window, its own TLS state (so all cores encrypt) and its own loss recovery. HTTP/2 would put all of them into one TCP
//! connection behind one flow-control window, and AWS S3 and most other stores do not offer it.
//!
//! | file | content |
//! |---|---|
//! | `runtime` | threads, signals, fork, shutdown |
//! | `tls` | TLS configuration, trusted CA certificates |
//! | `body`, `frames` | request bodies, and the buffers they are read into |
//! | `page_cache` | file reads that do not wait for a disk |
//! | `watchdog` | idle time-out, stalled connections, deadlines |
//! | `failure` | error codes and messages |
//! | `connect`, `stream`, `record_reader` | making connections; their byte streams |
//! | `connection` | requests on a connection; idle connections |
//! | `reply` | replies and their bodies |
//! | `resolve`, `proxy` | name resolution; HTTP proxies |
//! | `clock` | the clocks that are passed to core |

pub(crate) mod body;
pub(crate) mod clock;
mod connect;
mod connection;
pub(crate) mod failure;
pub(crate) mod frames;
mod page_cache;
mod proxy;
mod record_reader;
mod reply;
mod resolve;
pub(crate) mod runtime;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod testserver;
mod tls;
pub(crate) mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Response, StatusCode, Uri};
use s3vault_core::http::{Method, ReplyHead, Request, TransportFailure};
use s3vault_core::settings::Settings;
use s3vault_core::{Code, Error, Result};

use crate::budget::{self, Budget, Pool};

use body::{Outgoing, Sending};
use connect::Connector;
use connection::{Connection, Idle, RequestError};
use failure::Peer;
pub(crate) use proxy::Proxy;
pub(crate) use reply::Reply;
pub(crate) use resolve::Names;
use watchdog::{Activity, LastPayload, Watchdog};

/// While other attempts make progress, an attempt that transfers payload ends after the idle time-out divided by this.
const STALL_DIVISOR: u32 = 6;

/// The transport's part of a vault's settings.
#[derive(Clone, Debug)]
pub(crate) struct TransportSettings {
    /// PEM file with the CA certificates to trust. `None` means the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Limit for name resolution, TCP, proxy tunnel and TLS together.
    pub(crate) connect_timeout: Duration,
    /// An attempt ends when no byte moves in either direction for this long.
    pub(crate) idle_timeout: Duration,
    /// Whether one address of a name is dialled until it fails.
    pub(crate) resolve_once: bool,
    /// The proxy for all connections.
    pub(crate) proxy: Option<Proxy>,
}

impl TransportSettings {
    /// Reads the transport's settings from a vault's settings.
    pub(crate) fn from_settings(settings: &Settings) -> Result<TransportSettings> {
        let given = |key| Some(settings.text(key)).filter(|text| !text.is_empty());
        let proxy = given("proxy").map(Proxy::parse).transpose()?;
        let resolve_once = settings.flag("resolve_once");
        if resolve_once && proxy.is_some() {
            return Err(Error::new(
                Code::InvalidOption,
                "resolve_once = true has no effect with a proxy, because the proxy resolves the names",
            )
            .with_hint("Remove resolve_once or proxy."));
        }
        Ok(TransportSettings {
            ca_file: given("ca_file").map(PathBuf::from),
            connect_timeout: Duration::from_millis(settings.number("connect_timeout_ms")),
            idle_timeout: Duration::from_millis(settings.number("idle_timeout_ms")),
            resolve_once,
            proxy,
        })
    }
}

/// Sends requests. Clones share connections and memory.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Inner>);

struct Inner {
    connector: Connector,
    idle: Arc<Idle>,
    budget: Arc<Budget>,
    last_payload: Arc<LastPayload>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if runtime::guard_fork().is_err() {
            // Its locks may be held by threads that do not exist in this process.
            std::mem::forget(std::mem::take(&mut self.idle));
        }
    }
}

impl Transport {
    /// Makes a transport. Does not connect yet.
    pub(crate) fn new(settings: &TransportSettings) -> Result<Transport> {
        Transport::with(settings, Names::new(settings.resolve_once), budget::process().clone())
    }

    /// Makes a transport with another resolver and another budget. For tests.
    pub(crate) fn with(settings: &TransportSettings, names: Names, budget: Arc<Budget>) -> Result<Transport> {
        let _guard = runtime::handle()?;
        let connector = Connector {
            names,
            tls: Arc::new(tls::client_config(settings.ca_file.as_deref())?),
            proxy: settings.proxy.clone(),
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
        };
        Ok(Transport(Arc::new(Inner { connector, idle: Arc::default(), budget, last_payload: Arc::default() })))
    }

    /// Makes the activity record of one attempt.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        Activity::new(self.0.last_payload.clone())
    }

    /// The pool of frames for payload.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0.budget.memory
    }

    /// The budget that all transfers of the process share.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.0.budget
    }

    /// Sends a request once and waits for the head of the reply.
    pub(crate) async fn send(
        &self,
        request: &Request,
        body: Option<Outgoing>,
        activity: Arc<Activity>,
    ) -> Result<Reply, TransportFailure> {
        let uri = exact_uri(&request.url)?;
        let (connector, store) = (&self.0.connector, failure::origin(&uri));
        let watchdog = Watchdog {
            what: format!("{} to {store}", request.operation),
            activity: activity.clone(),
            idle: connector.idle_timeout,
            stall: connector.idle_timeout / STALL_DIVISOR,
            drop_at: request.drop_at,
        };
        let headers = self.headers(&uri, request, body.as_ref())?;
        let body = body.unwrap_or_else(|| Outgoing::bytes(Vec::new()));
        let mut out = hyper::Request::new(body.into_body(activity.clone(), self.0.budget.clone()));
        *out.method_mut() = method(request.method);
        *out.uri_mut() = self.target(&uri);
        *out.headers_mut() = headers;
        let exchange = Exchange { transport: self.clone(), uri, store, watchdog };
        let sent = exchange.watchdog.guard(exchange.send(out)).await;
        let (connection, response) = sent.unwrap_or_else(|failure| Err(exchange.timed_out(failure)))?;
        if let Some(proxy) = &connector.proxy
            && request.url.starts_with("http://")
            && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            return Err(proxy.unauthorized());
        }
        activity.touch();
        let head = ReplyHead {
            status: response.status().as_u16(),
            headers: response
                .headers()
                .iter()
                .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
                .collect(),
        };
        Ok(Reply::new(head, connection, response.into_body(), exchange))
    }

    /// The request target: the whole URL for a proxy that forwards the request (RFC 9112 §3.2.2), else path and query.
    fn target(&self, uri: &Uri) -> Uri {
        let forwarded = self.0.connector.proxy.is_some() && uri.scheme_str() == Some("http");
        match uri.path_and_query() {
            Some(path) if !forwarded => Uri::from(path.clone()),
            _ => uri.clone(),
        }
    }

    fn headers(&self, uri: &Uri, request: &Request, body: Option<&Outgoing>) -> Result<HeaderMap, TransportFailure> {
        let mut headers = HeaderMap::with_capacity(request.headers.len() + 3);
        for (name, value) in &request.headers {
            let bad = |_| unsendable(&format!("the header {name} is not valid"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(e.to_string()))?;
            let mut text = HeaderValue::from_bytes(value.as_bytes()).map_err(|e| bad(e.to_string()))?;
            text.set_sensitive(value.is_secret());
            headers.append(name, text);
        }
        if !headers.contains_key(HOST)
            && let Some(authority) = uri.authority()
        {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|e| unsendable(&e.to_string()))?;
            headers.insert(HOST, host);
        }
        // Stores refuse a PUT or POST without Content-Length, and hyper sends none for an empty body.
        if matches!(request.method, Method::Put | Method::Post) || body.is_some() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.map_or(0, Outgoing::length)));
        }
        // For https:// it goes into the CONNECT request.
        if let Some(authorization) = self.0.connector.proxy.as_ref().and_then(Proxy::authorization)
            && uri.scheme_str() == Some("http")
        {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        Ok(headers)
    }
}

/// One attempt: a request and its reply.
struct Exchange {
    transport: Transport,
    uri: Uri,
    /// Scheme, host and port of the store.
    store: String,
    watchdog: Watchdog,
}

impl Exchange {
    /// Sends the request over an idle connection, or over a new one.
    async fn send(
        &self,
        mut request: hyper::Request<Sending>,
    ) -> Result<(Connection, Response<Incoming>), TransportFailure> {
        let (inner, activity) = (&self.transport.0, &self.watchdog.activity);
        loop {
            let mut connection = match inner.idle.take(&self.store).await {
                Some(connection) => connection,
                None => inner.connector.connect(&self.uri, activity).await?,
            };
            if let Some(address) = connection.address {
                activity.connected_to(address);
            }
            match connection.request(request).await {
                Ok(response) => return Ok((connection, response)),
                Err(RequestError::NotSent(unsent)) => request = *unsent,
                Err(RequestError::Failed(e)) => return Err(self.lost(&e)),
            }
        }
    }

    /// Runs a step that reads from the body.
    async fn step<T, E: std::error::Error + 'static>(
        &self,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, TransportFailure> {
        // The caller used the time since the last step.
        self.watchdog.activity.touch();
        let moved = self.watchdog.guard(step).await.map_err(|failure| self.timed_out(failure))?;
        self.watchdog.activity.touch();
        moved.map_err(|e| self.lost(&e))
    }

    /// The failure of a connection that broke.
    fn lost(&self, error: &(dyn std::error::Error + 'static)) -> TransportFailure {
        let mut peer = Peer::of(&self.uri, self.transport.0.connector.proxy.as_ref());
        peer.addresses.extend(self.watchdog.activity.address());
        peer.lost(error)
    }

    /// Adds the address to the failure of an attempt that the watchdog ended. A machine that hangs accepts connections and then
    /// is silent, so the next attempt dials another address.
    fn timed_out(&self, mut failure: TransportFailure) -> TransportFailure {
        if let Some(address) = self.watchdog.activity.address() {
            failure.detail.push_str(&format!(", dialled at {address}"));
            if self.watchdog.is_silent() || self.watchdog.is_stalled() {
                self.transport.0.connector.names.failed(connect::host(&self.uri), address);
            }
        }
        failure
    }
}

/// Parses the URL, if it will be sent exactly as it was signed.
fn exact_uri(text: &str) -> Result<Uri, TransportFailure> {
    let uri: Uri = text.parse().map_err(|e| unsendable(&format!("the URL {text} is not valid: {e}")))?;
    let after_scheme = text.find("://").map_or(0, |at| at + 3);
    let path = text[after_scheme..].find(['/', '?']).map_or("", |at| &text[after_scheme + at..]);
    if !text.is_ascii() || uri.path_and_query().is_none_or(|sent| sent.as_str() != path) {
        return Err(unsendable(&format!("the URL {text} would be sent as {uri}, which was not signed")));
    }
    Ok(uri)
}

fn unsendable(detail: &str) -> TransportFailure {
    TransportFailure { code: Code::Internal, maybe_sent: false, detail: detail.to_owned() }
}

fn method(method: Method) -> hyper::Method {
    match method {
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
        Method::Put => hyper::Method::PUT,
        Method::Post => hyper::Method::POST,
        Method::Delete => hyper::Method::DELETE,
    }
}

fn text(value: &HeaderValue) -> Option<String> {
    std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned)
}
