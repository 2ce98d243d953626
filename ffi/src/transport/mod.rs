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
//! | `body`, `frames` | bodies of requests, and the pooled memory that they lie in |
//! | `activity` | when an attempt must end: no byte moves, or its date has passed |
//! | `failure` | from errors to codes |
//! | `clock` | the clocks that core is given |

pub(crate) mod activity;
pub(crate) mod body;
pub(crate) mod clock;
mod connecting;
pub(crate) mod failure;
pub(crate) mod frames;
pub(crate) mod runtime;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod testserver;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url, redirect};
use s3vault_core::http::{Method, ReplyHead, Request, TransportFailure};
use s3vault_core::{Code, Error, Result};

use activity::{Activity, Watch};
use body::Outgoing;
use frames::Pool;

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
}

/// The way to a store. Clones share connections and memory.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Inner>);

struct Inner {
    /// Empty only while it is dropped.
    client: Option<Client>,
    idle_timeout: Duration,
    pool: Arc<Pool>,
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
        let _guard = runtime::handle()?;
        let client = Client::builder()
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
            .connector_layer(connecting::Noticing)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_CONNECTION_TIME)
            // What a dropped connection still holds must not arrive much later.
            .tcp_user_timeout(settings.idle_timeout)
            .build()
            .map_err(|e| Error::new(Code::Internal, format!("making the HTTP client: {e:?}")))?;
        Ok(Transport(Arc::new(Inner {
            client: Some(client),
            idle_timeout: settings.idle_timeout,
            pool: Arc::new(Pool::default()),
        })))
    }

    /// Frames for payload.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// Sends a request once, and waits for the head of the reply.
    pub(crate) async fn send(
        &self,
        request: &Request,
        body: Option<Outgoing>,
        activity: Arc<Activity>,
    ) -> Result<Reply, TransportFailure> {
        let url = exact_url(&request.url)?;
        let peer = url.origin().ascii_serialization();
        let watch = Watch {
            what: format!("{} to {peer}", request.operation),
            activity: activity.clone(),
            idle: self.0.idle_timeout,
            drop_at: request.drop_at,
        };
        let mut out = reqwest::Request::new(method(request.method), url);
        *out.headers_mut() = headers(request, body.as_ref())?;
        *out.body_mut() = body.map(|body| body.into_body(activity.clone()));
        let Some(client) = &self.0.client else { return Err(unsendable("the client is gone")) };
        let sending = connecting::noticed_by(activity.clone(), client.execute(out));
        let response = watch.over(sending).await?.map_err(|e| failure::classify(&peer, &e))?;
        activity.touch();
        let head = ReplyHead {
            status: response.status().as_u16(),
            headers: response
                .headers()
                .iter()
                .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
                .collect(),
        };
        Ok(Reply { head, response, peer, watch })
    }
}

/// A reply whose head came.
pub(crate) struct Reply {
    pub(crate) head: ReplyHead,
    response: reqwest::Response,
    peer: String,
    watch: Watch,
}

impl Reply {
    /// The next bytes of the body; `None` at its end. A body that is cut short is a failure.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportFailure> {
        // The time since the last call was the caller's own.
        self.watch.activity.touch();
        let chunk = self.watch.over(self.response.chunk()).await?;
        self.watch.activity.touch();
        chunk.map_err(|e| failure::classify(&self.peer, &e))
    }

    /// Where it came from, for messages.
    pub(crate) fn what(&self) -> &str {
        &self.watch.what
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
