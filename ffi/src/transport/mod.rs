//! HTTP requests to the store, each sent once, on the library's private runtime.
//!
//! Two clients carry them, and option `transport` chooses: [`direct`], the default, and [`reqwest`](self::reqwest), which is
//! also the client for SOCKS5 proxies. Both send the same bytes, except that reqwest adds `accept: */*`, and both report the
//! same errors, as far as reqwest tells them apart. What they share is in this folder, what differs is in theirs.
//!
//! The transport makes no decisions: it does not retry, follow redirects or decompress. Each attempt ends with a reply or with a [`TransportFailure`] that says whether the store may have received the request.
//! (An idle connection that the store has closed does not cost an attempt: the request is sent on another connection, as long
//! as no byte of it was written.)
//!
//! HTTP/1.1 only. A transfer is many large bodies at the same time, and with a connection for each, every body has its own
//! TCP window, its own TLS state (so all cores encrypt) and its own loss recovery. HTTP/2 would put all of them into one TCP
//! connection behind one flow-control window, and AWS S3 and most other stores do not offer it.
//!
//! | file | content |
//! |---|---|
//! | `settings`, `proxy` | which client, which proxy |
//! | `attempt`, `watchdog` | one attempt; idle time-out, stalled connections, deadlines |
//! | `body`, `frames`, `page_cache` | request bodies, the buffers they are read into, file reads that do not wait for a disk |
//! | `direct`, `reqwest` | the clients |
//! | `reply` | replies and their bodies |
//! | `failure` | error codes and messages |
//! | `resolve`, `tls` | name resolution; TLS configuration, trusted CA certificates |
//! | `runtime`, `clock` | threads, signals, fork, shutdown; the clocks that are passed to core |

mod attempt;
pub(crate) mod body;
pub(crate) mod clock;
mod direct;
pub(crate) mod failure;
pub(crate) mod frames;
mod page_cache;
mod proxy;
mod reply;
#[cfg(feature = "reqwest")]
mod reqwest;
mod resolve;
pub(crate) mod runtime;
mod settings;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod testserver;
mod tls;
pub(crate) mod watchdog;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, Uri};
use s3vault_core::http::{Method, ReplyHead, Request, TransportFailure};
use s3vault_core::{Code, Result};

use crate::budget::{self, Budget, Pool};

use attempt::Attempt;
use body::Outgoing;
pub(crate) use proxy::Proxies;
pub(crate) use reply::Reply;
pub(crate) use resolve::Names;
pub(crate) use settings::{ClientKind, TransportSettings};
use tls::Tls;
use watchdog::{Activity, LastPayload, Watchdog};

/// While other attempts make progress, an attempt that transfers payload ends after the idle time-out divided by this.
const STALL_DIVISOR: u32 = 6;

/// Sends requests. Clones share connections and memory.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Inner>);

struct Inner {
    client: Client,
    proxies: Proxies,
    names: Names,
    idle_timeout: Duration,
    warnings: Vec<String>,
    budget: Arc<Budget>,
    last_payload: Arc<LastPayload>,
}

/// What carries requests.
enum Client {
    Direct(direct::Client),
    #[cfg(feature = "reqwest")]
    Reqwest(reqwest::Client),
}

impl Transport {
    /// Makes a transport. Does not connect yet.
    pub(crate) fn new(settings: &TransportSettings) -> Result<Transport> {
        Transport::with(settings, Names::new(settings.resolve_once), budget::process().clone())
    }

    /// Makes a transport with another resolver and another budget. For tests.
    pub(crate) fn with(settings: &TransportSettings, names: Names, budget: Arc<Budget>) -> Result<Transport> {
        let _guard = runtime::handle()?;
        let Tls { config, warnings } = tls::client_config(settings.ca_file.as_deref())?;
        let client = match settings.client {
            ClientKind::Direct => Client::Direct(direct::Client::new(settings, config)),
            #[cfg(feature = "reqwest")]
            ClientKind::Reqwest => Client::Reqwest(reqwest::Client::new(settings, config, &names)?),
        };
        Ok(Transport(Arc::new(Inner {
            client,
            proxies: settings.proxies.clone(),
            names,
            idle_timeout: settings.idle_timeout,
            warnings,
            budget,
            last_payload: Arc::default(),
        })))
    }

    /// Makes the activity record of one attempt.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        Activity::new(self.0.last_payload.clone())
    }

    /// Warnings about its settings.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// The idle time-out of each attempt.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.0.idle_timeout
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
        let store = attempt::origin(&uri);
        let watchdog = Watchdog {
            what: format!("{} to {store}", request.operation),
            activity: activity.clone(),
            idle: self.0.idle_timeout,
            stall: self.0.idle_timeout / STALL_DIVISOR,
            drop_at: request.drop_at,
        };
        let headers = headers(&uri, request, body.as_ref())?;
        let body = body.unwrap_or_else(|| Outgoing::bytes(Vec::new()));
        let mut out = hyper::Request::new(body.into_body(activity, self.0.budget.clone()));
        *out.method_mut() = method(request.method);
        *out.uri_mut() = uri.clone();
        *out.headers_mut() = headers;
        let proxy = self.0.proxies.for_store(&uri).cloned();
        let attempt = Attempt { uri, store, proxy, watchdog, names: self.0.names.clone() };
        match &self.0.client {
            Client::Direct(client) => {
                // Pinned here: a future that is passed by value is stored once more in each function that awaits it.
                let (head, body) = attempt.guard(pin!(client.send(out, &attempt))).await?;
                finish(head, reply::Body::Direct(body), attempt)
            }
            #[cfg(feature = "reqwest")]
            Client::Reqwest(client) => {
                // In a box, so that a request of the other client needs no memory for this future.
                let (head, body) = attempt.guard(Box::pin(client.send(out, &attempt))).await?;
                finish(head, reply::Body::Reqwest(body), attempt)
            }
        }
    }
}

/// The head of a reply as the HTTP clients return it.
type Head = hyper::Response<()>;

/// Makes the reply from what a client returned.
fn finish(head: Head, body: reply::Body, attempt: Attempt) -> Result<Reply, TransportFailure> {
    if head.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        && attempt.is_forwarded()
        && let Some(proxy) = &attempt.proxy
    {
        return Err(proxy.unauthorized());
    }
    attempt.activity().touch();
    let text = |value: &HeaderValue| std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned);
    let headers = head.headers().iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)));
    let head = ReplyHead { status: head.status().as_u16(), headers: headers.collect() };
    Ok(Reply::new(head, body, attempt))
}

fn headers(uri: &Uri, request: &Request, body: Option<&Outgoing>) -> Result<HeaderMap, TransportFailure> {
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
    Ok(headers)
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
