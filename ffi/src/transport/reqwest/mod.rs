//! The client of the crate `reqwest`, which also knows SOCKS5 proxies.
//!
//! reqwest decides less than it could: redirects, retries, proxies from the environment and HTTP/2 are off, and names and TLS
//! are the transport's own. Its parser writes some URLs differently from how they were signed; such a request is refused before
//! it is sent.

mod connect;
mod failure;

use std::sync::Arc;
use std::time::Duration;

use ::reqwest::{Proxy, Request, Response, Url, redirect, retry};
use bytes::Bytes;
use http_body::Body as _;
use hyper::Uri;
use rustls::ClientConfig;
use s3vault_core::http::TransportFailure;
use s3vault_core::{Code, Error, Result};

use super::attempt::Attempt;
use super::body::Sending;
use super::reply::take_into;
use super::resolve::Names;
use super::settings::TransportSettings;
use super::{Head, runtime};
use connect::{ConnectorLayer, Progress, Resolved, Resolver};

/// The most idle connections that are kept per store.
const MAX_IDLE: usize = 32;

/// An idle connection is closed after this time. Stores close theirs after 5 to 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Sends requests with reqwest.
pub(super) struct Client {
    /// `None` only while the client is dropped.
    reqwest: Option<::reqwest::Client>,
}

impl Drop for Client {
    fn drop(&mut self) {
        if runtime::guard_fork().is_err() {
            // Its locks may be held by threads that do not exist in this process.
            std::mem::forget(self.reqwest.take());
        }
    }
}

impl Client {
    pub(super) fn new(settings: &TransportSettings, tls: ClientConfig, names: &Names) -> Result<Client> {
        let proxies = settings.proxies.clone();
        let proxy = Proxy::custom(move |url: &Url| {
            let store: Uri = url.as_str().parse().ok()?;
            proxies.for_store(&store).map(|proxy| proxy.url().to_owned())
        });
        let builder = ::reqwest::Client::builder()
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .proxy(proxy)
            .tls_backend_preconfigured(tls)
            .dns_resolver(Resolver(names.clone()))
            .connector_layer(ConnectorLayer)
            .connect_timeout(settings.connect_timeout)
            // Data in the socket buffer of a dropped connection must not arrive much later.
            .tcp_user_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_idle_timeout(IDLE_TIMEOUT);
        let reqwest =
            builder.build().map_err(|e| Error::new(Code::Internal, format!("making the HTTP client: {e}")))?;
        Ok(Client { reqwest: Some(reqwest) })
    }

    /// Sends the request and waits for the head of the reply.
    pub(super) async fn send(
        &self,
        request: hyper::Request<Sending>,
        attempt: &Attempt,
    ) -> Result<(Head, Body), TransportFailure> {
        let Some(reqwest) = &self.reqwest else { return Err(super::unsendable("the HTTP client has ended")) };
        let (head, body) = request.into_parts();
        let mut request = Request::new(head.method, exact_url(&head.uri)?);
        *request.headers_mut() = head.headers;
        if !body.is_end_stream() {
            *request.body_mut() = Some(::reqwest::Body::wrap(body));
        }
        let progress = Arc::new(Progress::new(attempt.activity().clone()));
        let response = progress.watch(reqwest.execute(request)).await;
        let resolved = progress.resolved();
        match response {
            Ok(response) => {
                // Behind a proxy the address may be the proxy's, and the name the store's.
                if let (Some(Resolved { name, addresses }), Some(peer)) = (&resolved, response.remote_addr())
                    && progress.is_connected()
                    && addresses.contains(&peer.ip())
                {
                    attempt.names.connected(name, addresses, peer.ip());
                }
                Ok(split(response))
            }
            Err(e) if e.is_connect() => {
                if let Some(Resolved { name, addresses }) = &resolved {
                    addresses.iter().for_each(|ip| attempt.names.failed(name, *ip));
                }
                Err(failure::not_connected(attempt, resolved.map_or(Vec::new(), |resolved| resolved.addresses), &e))
            }
            Err(e) => Err(attempt.lost(&e)),
        }
    }
}

/// The head, and the body to read.
fn split(response: Response) -> (Head, Body) {
    let mut head = Head::new(());
    *head.status_mut() = response.status();
    *head.headers_mut() = response.headers().clone();
    (head, Body { response, rest: Bytes::new() })
}

/// Parses the URL, if reqwest's parser sends it exactly as it was signed: it resolves `.` and `..`, encoded ones too, and
/// encodes some characters.
fn exact_url(uri: &Uri) -> Result<Url, TransportFailure> {
    let text = uri.to_string();
    let url = Url::parse(&text).map_err(|e| super::unsendable(&format!("the URL {text} is not valid: {e}")))?;
    if url.path() == uri.path() && url.query() == uri.query() {
        return Ok(url);
    }
    let detail =
        format!("transport = reqwest would send the URL {text} as {url}, which was not signed; use transport = direct");
    Err(TransportFailure { code: Code::InvalidOption, maybe_sent: false, detail })
}

/// The body of a reply.
pub(super) struct Body {
    response: Response,
    /// Bytes that have been received and not been read.
    rest: Bytes,
}

impl Body {
    pub(super) async fn chunk(&mut self, attempt: &Attempt) -> Result<Option<Bytes>, TransportFailure> {
        attempt.read(self.response.chunk()).await
    }

    pub(super) async fn read(&mut self, into: &mut [u8], attempt: &Attempt) -> Result<usize, TransportFailure> {
        while self.rest.is_empty() {
            let Some(next) = self.chunk(attempt).await? else { return Ok(0) };
            self.rest = next;
        }
        Ok(take_into(&mut self.rest, into))
    }
}
