//! HTTP to the store: hyper's connections on one private runtime, one attempt per request.
//!
//! Nothing here decides: no retry, no redirect, no decompression, no proxy from the environment. Each attempt
//! ends in a reply or in a [`TransportFailure`] that says whether the store may have seen it. (A connection that the store
//! closed while it waited is not an attempt: another one is taken, as long as no byte of the request was written.)
//!
//! HTTP/1.1 only. Transfers are many large bodies at once, and a connection for each gives every one its own
//! window, its own TLS state (so all cores encrypt) and its own loss recovery. HTTP/2 would put them all into
//! one TCP connection behind one flow-control window, and AWS S3 and most other stores do not offer it.
//!
//! | file | holds |
//! |---|---|
//! | `runtime` | the threads, signals, fork, shutdown |
//! | `tls` | rustls with ring, and whom it trusts |
//! | `body`, `frames` | bodies of requests, and the frames that they lie in |
//! | `cached` | reads of files that wait for no disk |
//! | `activity` | when an attempt must end: no byte moves, or its date has passed |
//! | `failure` | from errors to codes |
//! | `connect`, `stream`, `beneath` | how a connection is made, and what it is |
//! | `connection` | its requests, and where it waits for the next one |
//! | `reply` | what comes back, and how its body is read |
//! | `resolve`, `proxy` | the ways there: the addresses of a name, an HTTP proxy |
//! | `clock` | the clocks that core is given |

pub(crate) mod activity;
mod beneath;
pub(crate) mod body;
mod cached;
pub(crate) mod clock;
mod connect;
mod connection;
pub(crate) mod failure;
pub(crate) mod frames;
mod proxy;
mod reply;
mod resolve;
pub(crate) mod runtime;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod testserver;
mod tls;

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

use activity::{Activity, Pulse, Watch};
use body::{Outgoing, Sending};
use connect::Connector;
use connection::{Connection, Idle, Lost};
use failure::Peer;
pub(crate) use proxy::Proxy;
pub(crate) use reply::Reply;
pub(crate) use resolve::Names;

/// An attempt in the midst of its payload ends when no byte moved for this part of the idle time-out while others moved.
const STALLS: u32 = 6;

/// What can be set.
#[derive(Clone, Debug)]
pub(crate) struct TransportSettings {
    /// PEM file with the only authorities that are trusted; the system's where there is none.
    pub(crate) ca_file: Option<PathBuf>,
    /// The longest that name resolution, TCP and TLS may take together.
    pub(crate) connect_timeout: Duration,
    /// An attempt ends when no byte moved for so long, in either direction.
    pub(crate) idle_timeout: Duration,
    /// One address of a name is dialled until it fails.
    pub(crate) resolve_once: bool,
    /// The proxy that all connections go through.
    pub(crate) proxy: Option<Proxy>,
}

impl TransportSettings {
    /// The part of a vault's settings that is the transport's.
    pub(crate) fn from_settings(settings: &Settings) -> Result<TransportSettings> {
        let given = |key| Some(settings.text(key)).filter(|text| !text.is_empty());
        let proxy = given("proxy").map(Proxy::parse).transpose()?;
        let resolve_once = settings.flag("resolve_once");
        if resolve_once && proxy.is_some() {
            return Err(Error::new(Code::InvalidOption, "resolve_once = true, but with a proxy it resolves the names")
                .with_hint("Leave out resolve_once, or proxy."));
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

/// The way to a store. Clones share connections and memory.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Inner>);

struct Inner {
    connector: Connector,
    idle: Arc<Idle>,
    budget: Arc<Budget>,
    pulse: Arc<Pulse>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if runtime::guard_fork().is_err() {
            // Its locks may belong to threads that do not exist in this process.
            std::mem::forget(std::mem::take(&mut self.idle));
        }
    }
}

impl Transport {
    /// Makes a client; connects to nothing yet.
    pub(crate) fn new(settings: &TransportSettings) -> Result<Transport> {
        Transport::with(settings, Names::new(settings.resolve_once), budget::process().clone())
    }

    /// The same with another resolver and another budget, for tests.
    pub(crate) fn with(settings: &TransportSettings, names: Names, budget: Arc<Budget>) -> Result<Transport> {
        let _guard = runtime::handle()?;
        let connector = Connector {
            names,
            tls: Arc::new(tls::client_config(settings.ca_file.as_deref())?),
            proxy: settings.proxy.clone(),
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
        };
        Ok(Transport(Arc::new(Inner { connector, idle: Arc::default(), budget, pulse: Arc::default() })))
    }

    /// For one attempt.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        Activity::new(self.0.pulse.clone())
    }

    /// Frames for payload.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0.budget.memory
    }

    /// What its transfers share with all others.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.0.budget
    }

    /// Sends a request once, and waits for the head of the reply.
    pub(crate) async fn send(
        &self,
        request: &Request,
        body: Option<Outgoing>,
        activity: Arc<Activity>,
    ) -> Result<Reply, TransportFailure> {
        let uri = exact_uri(&request.url)?;
        let (connector, store) = (&self.0.connector, failure::origin(&uri));
        let watch = Watch {
            what: format!("{} to {store}", request.operation),
            activity: activity.clone(),
            idle: connector.idle_timeout,
            stall: connector.idle_timeout / STALLS,
            drop_at: request.drop_at,
        };
        let headers = self.headers(&uri, request, body.as_ref())?;
        let body = body.unwrap_or_else(|| Outgoing::bytes(Vec::new()));
        let mut out = hyper::Request::new(body.into_body(activity.clone(), self.0.budget.clone()));
        *out.method_mut() = method(request.method);
        *out.uri_mut() = self.target(&uri);
        *out.headers_mut() = headers;
        let way = Way { transport: self.clone(), uri, store, watch };
        let exchange = way.watch.over(way.exchange(out)).await;
        let (connection, response) = exchange.unwrap_or_else(|failure| Err(way.ended(failure)))?;
        if let Some(proxy) = &connector.proxy
            && request.url.starts_with("http://")
            && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            return Err(proxy.wants_user());
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
        Ok(Reply::new(head, connection, response.into_body(), way))
    }

    /// As it stands in the request: whole for a proxy that forwards it (RFC 9112 §3.2.2), else path and query alone.
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
            let bad = |_| unsendable(&format!("the header {name} cannot be sent"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(e.to_string()))?;
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|e| bad(e.to_string()))?);
        }
        if !headers.contains_key(HOST)
            && let Some(authority) = uri.authority()
        {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|e| unsendable(&e.to_string()))?;
            headers.insert(HOST, host);
        }
        // Stores refuse a PUT or POST without one, and an empty body would bring none along.
        if matches!(request.method, Method::Put | Method::Post) || body.is_some() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.map_or(0, Outgoing::length)));
        }
        // A tunnel was asked for with it.
        if let Some(authorization) = self.0.connector.proxy.as_ref().and_then(Proxy::authorization)
            && uri.scheme_str() == Some("http")
        {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        Ok(headers)
    }
}

/// How an attempt gets to the store.
struct Way {
    transport: Transport,
    uri: Uri,
    /// The store's scheme, host and port.
    store: String,
    watch: Watch,
}

impl Way {
    /// The request over a connection that waited for one, or over a new one.
    async fn exchange(
        &self,
        mut request: hyper::Request<Sending>,
    ) -> Result<(Connection, Response<Incoming>), TransportFailure> {
        let (inner, activity) = (&self.transport.0, &self.watch.activity);
        loop {
            let mut connection = match inner.idle.take(&self.store).await {
                Some(connection) => connection,
                None => inner.connector.connect(&self.uri, activity).await?,
            };
            if let Some(address) = connection.dialled {
                activity.dialled(address);
            }
            match connection.request(request).await {
                Ok(response) => return Ok((connection, response)),
                Err(Lost::Unsent(unsent)) => request = *unsent,
                Err(Lost::Failed(e)) => return Err(self.lost(&e)),
            }
        }
    }

    /// Some of the body, by this step.
    async fn moving<T, E: std::error::Error + 'static>(
        &self,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, TransportFailure> {
        // The time since the last step was the caller's own.
        self.watch.activity.touch();
        let moved = self.watch.over(step).await.map_err(|failure| self.ended(failure))?;
        self.watch.activity.touch();
        moved.map_err(|e| self.lost(&e))
    }

    /// The connection broke.
    fn lost(&self, error: &(dyn std::error::Error + 'static)) -> TransportFailure {
        let mut peer = Peer::of(&self.uri, self.transport.0.connector.proxy.as_ref());
        peer.addresses.extend(self.watch.activity.address());
        peer.lost(error)
    }

    /// The watch ended the attempt. A machine that hangs takes connections and is silent on them: the next attempt
    /// dials another address.
    fn ended(&self, mut failure: TransportFailure) -> TransportFailure {
        if let Some(address) = self.watch.activity.address() {
            failure.detail.push_str(&format!(", dialled at {address}"));
            if self.watch.is_silent() || self.watch.is_stalled() {
                self.transport.0.connector.names.failed(connect::host(&self.uri), address);
            }
        }
        failure
    }
}

/// The URL, if the client sends it as it was signed.
fn exact_uri(text: &str) -> Result<Uri, TransportFailure> {
    let uri: Uri = text.parse().map_err(|e| unsendable(&format!("the URL {text} is none: {e}")))?;
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
