//! HTTP to the store: reqwest's asynchronous client on one private runtime, one attempt per request.
//!
//! Nothing here decides: no retry, no redirect, no decompression, no proxy from the environment. Each attempt
//! ends in a reply or in a [`TransportFailure`] that says whether the store may have seen it.
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
//! | `connecting` | when a connection is being made, and to which address |
//! | `resolve`, `proxy` | the ways there: one address of a name, an HTTP proxy |
//! | `clock` | the clocks that core is given |

pub(crate) mod activity;
pub(crate) mod body;
mod cached;
pub(crate) mod clock;
mod connecting;
pub(crate) mod failure;
pub(crate) mod frames;
mod proxy;
mod resolve;
pub(crate) mod runtime;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod testserver;
mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url, redirect};
use s3vault_core::http::{Method, ReplyHead, Request, TransportFailure};
use s3vault_core::settings::Settings;
use s3vault_core::{Code, Error, Result};

use crate::budget::{self, Budget, Pool};

use activity::{Activity, Watch};
use body::Outgoing;
use failure::Peer;
pub(crate) use proxy::Proxy;
use resolve::OneAddress;

/// At most so many connections are kept open without a request.
const IDLE_CONNECTIONS: usize = 32;

/// A connection without a request is closed after this time; stores close theirs after 5 to 60 s.
const IDLE_CONNECTION_TIME: Duration = Duration::from_secs(20);

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
    /// Empty only while it is dropped.
    client: Option<Client>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    resolver: Option<OneAddress>,
    proxy: Option<Proxy>,
    budget: Arc<Budget>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if runtime::guard_fork().is_err() {
            // Its locks may belong to threads that do not exist in this process.
            std::mem::forget(self.client.take());
        }
    }
}

impl Transport {
    /// Makes a client; connects to nothing yet.
    pub(crate) fn new(settings: &TransportSettings) -> Result<Transport> {
        Transport::with(settings, settings.resolve_once.then(OneAddress::new), budget::process().clone())
    }

    /// The same with another resolver and another budget, for tests.
    pub(crate) fn with(
        settings: &TransportSettings,
        resolver: Option<OneAddress>,
        budget: Arc<Budget>,
    ) -> Result<Transport> {
        let _guard = runtime::handle()?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls::client_config(settings.ca_file.as_deref())?)
            .http1_only()
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(settings.connect_timeout)
            .connector_layer(connecting::Noticing {
                resolver: resolver.clone(),
                connect_timeout: settings.connect_timeout,
            })
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_CONNECTION_TIME)
            // What a dropped connection still holds must not arrive much later.
            .tcp_user_timeout(settings.idle_timeout);
        if let Some(resolver) = &resolver {
            builder = builder.dns_resolver(resolver.clone());
        }
        if let Some(proxy) = &settings.proxy {
            builder = builder.proxy(proxy.for_client()?);
        }
        let client =
            builder.build().map_err(|e| Error::new(Code::Internal, format!("making the HTTP client: {e:?}")))?;
        Ok(Transport(Arc::new(Inner {
            client: Some(client),
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
            resolver,
            proxy: settings.proxy.clone(),
            budget,
        })))
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
        let url = exact_url(&request.url)?;
        if let Some(proxy) = &self.0.proxy {
            proxy.check(&url)?;
        }
        let host = url.host_str().unwrap_or("").to_owned();
        let store = url.origin().ascii_serialization();
        let watch = Watch {
            what: format!("{} to {store}", request.operation),
            activity: activity.clone(),
            idle: self.0.idle_timeout,
            drop_at: request.drop_at,
        };
        let way = Way { transport: self.clone(), store, host, activity: activity.clone() };
        let mut out = reqwest::Request::new(method(request.method), url.clone());
        *out.headers_mut() = headers(request, body.as_ref())?;
        *out.body_mut() = body.map(|body| body.into_body(activity.clone(), self.0.budget.clone()));
        let Some(client) = &self.0.client else { return Err(unsendable("the client is gone")) };
        let sending = connecting::noticed_by(activity.clone(), client.execute(out));
        let response = match watch.over(sending).await.map_err(|failure| way.ended(&watch, failure))? {
            Ok(response) => response,
            Err(e) => return Err(way.refused(client, &url, &e).await),
        };
        if let Some(proxy) = &self.0.proxy
            && url.scheme() == "http"
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
        Ok(Reply { head, response, way, watch })
    }
}

/// A reply whose head came.
pub(crate) struct Reply {
    pub(crate) head: ReplyHead,
    response: reqwest::Response,
    way: Way,
    watch: Watch,
}

impl Reply {
    /// The next bytes of the body; `None` at its end. A body that is cut short is a failure.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportFailure> {
        // The time since the last call was the caller's own.
        self.watch.activity.touch();
        let chunk = self.watch.over(self.response.chunk()).await;
        let chunk = chunk.map_err(|failure| self.way.ended(&self.watch, failure))?;
        self.watch.activity.touch();
        chunk.map_err(|e| failure::classify(&self.way.peer(), &e))
    }

    /// Where it came from, for messages.
    pub(crate) fn what(&self) -> &str {
        &self.watch.what
    }
}

/// How an attempt gets to the store.
struct Way {
    transport: Transport,
    store: String,
    host: String,
    activity: Arc<Activity>,
}

impl Way {
    fn peer(&self) -> Peer {
        Peer {
            store: self.store.clone(),
            proxy: self.transport.0.proxy.as_ref().map(|proxy| proxy.shown().to_owned()),
            address: self.address(),
        }
    }

    /// The one address, where names are resolved once.
    fn address(&self) -> Option<IpAddr> {
        let resolver = self.transport.0.resolver.as_ref()?;
        self.activity.address().or_else(|| resolver.chosen(&self.host))
    }

    /// The client could not bring the request to an answer.
    async fn refused(&self, client: &Client, url: &Url, error: &reqwest::Error) -> TransportFailure {
        match &self.transport.0.proxy {
            Some(proxy) if failure::is_proxy_asking_for_user(error) => proxy.wants_user(),
            Some(proxy) if failure::is_refused_tunnel(error) => {
                proxy.refused_tunnel(client, url, self.transport.0.connect_timeout).await
            }
            _ => failure::classify(&self.peer(), error),
        }
    }

    /// The watch ended the attempt. A machine that hangs takes connections and is silent on them: the next attempt
    /// dials another address.
    fn ended(&self, watch: &Watch, mut failure: TransportFailure) -> TransportFailure {
        if let (Some(resolver), Some(address)) = (&self.transport.0.resolver, self.address()) {
            failure.detail.push_str(&format!(", dialled at {address}"));
            if watch.is_silent() {
                resolver.failed(&self.host, address);
            }
        }
        failure
    }
}

/// The URL, if the URL parser leaves it as it was signed. It would resolve `.` and `..`, for example.
fn exact_url(text: &str) -> Result<Url, TransportFailure> {
    let url = Url::parse(text).map_err(|e| unsendable(&format!("the URL {text} is none: {e}")))?;
    let path_and_query = |text: &str| {
        let after_scheme = text.find("://").map_or(0, |at| at + 3);
        text[after_scheme..].find('/').map(|at| text[after_scheme + at..].to_owned())
    };
    if path_and_query(url.as_str()) != path_and_query(text) {
        return Err(unsendable(&format!("the URL {text} would be sent as {url}, which was not signed")));
    }
    Ok(url)
}

fn headers(request: &Request, body: Option<&Outgoing>) -> Result<HeaderMap, TransportFailure> {
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 1);
    for (name, value) in &request.headers {
        let bad = |_| unsendable(&format!("the header {name} cannot be sent"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(e.to_string()))?;
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|e| bad(e.to_string()))?);
    }
    // Stores refuse a PUT or POST without one, and an empty body would bring none along.
    if matches!(request.method, Method::Put | Method::Post) || body.is_some() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.map_or(0, Outgoing::length)));
    }
    Ok(headers)
}

fn unsendable(detail: &str) -> TransportFailure {
    TransportFailure { code: Code::Internal, maybe_sent: false, detail: detail.to_owned() }
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Head => reqwest::Method::HEAD,
        Method::Put => reqwest::Method::PUT,
        Method::Post => reqwest::Method::POST,
        Method::Delete => reqwest::Method::DELETE,
    }
}

fn text(value: &HeaderValue) -> Option<String> {
    std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned)
}
