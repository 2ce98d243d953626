//! The HTTP proxy from option `proxy`. The environment is never consulted.
//!
//! For an https:// store the proxy opens a tunnel (CONNECT, RFC 9110 §9.3.6), and TLS runs through it to the store. For an
//! http:// store the proxy forwards requests in absolute form (RFC 9112 §3.2.2). Path, query and `Host` are the signed ones
//! in both cases.

use std::fmt;

use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use s3vault_core::http::TransportFailure;
use s3vault_core::{Code, Error, Result};

use super::stream::{ReadWrite, Stream};

/// A proxy. Its user and password are never shown.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// Scheme, host and port.
    uri: Uri,
    /// Value of `Proxy-Authorization`, if the URL has a user and password.
    authorization: Option<HeaderValue>,
    /// Scheme, host and port for messages.
    shown: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.shown)
    }
}

/// The outcome of a CONNECT request.
pub(super) enum Tunnel {
    Open(Box<dyn ReadWrite>),
    /// The proxy refused.
    Refused(TransportFailure),
    /// There was no answer, or it is not HTTP.
    Broken(String),
}

impl Proxy {
    /// Parses `http://[USER:PASSWORD@]HOST:PORT`, or https://.
    pub(crate) fn parse(text: &str) -> Result<Proxy> {
        let refused = |why: &str| {
            Error::new(Code::InvalidOption, format!("proxy: {why}")).with_hint(
                "Write proxy as http://[USER:PASSWORD@]HOST:PORT, or https://. Percent-encode '@', ':', '/' and '%' in \
                 user and password.",
            )
        };
        let Some((scheme, _)) = text.split_once("://") else {
            return Err(refused("the URL does not start with http:// or https://"));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(refused(&format!("{scheme}:// proxies are not supported")));
        }
        let uri: Uri = text.parse().map_err(|e| refused(&format!("not a valid URL: {e}")))?;
        if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
            return Err(refused("the URL must not have a path or a query"));
        }
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let host = host.rsplit('@').next().unwrap_or(host);
        if uri.host() != Some(host) && uri.port().is_none() {
            return Err(refused("not a valid URL: the port is not a number"));
        }
        let shown = format!("{scheme}://{host}");
        let matcher = Matcher::builder().all(text).build();
        let found = matcher.intercept(&uri).ok_or_else(|| refused("not a valid URL"))?;
        let (uri, mut authorization) = (found.uri().clone(), found.basic_auth().cloned());
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Proxy { uri, authorization, shown })
    }

    /// Scheme, host and port.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Value of `Proxy-Authorization` for requests that the proxy forwards.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Scheme, host and port for messages.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The failure for a proxy that requires a user and password, or refuses those that it got.
    pub(super) fn unauthorized(&self) -> TransportFailure {
        let given = self.authorization.is_some();
        let why =
            if given { "refused the user and password in its URL" } else { "requires a user and password in its URL" };
        let detail = format!("the proxy {} (option proxy) {why}: 407 Proxy Authentication Required", self.shown);
        TransportFailure { code: Code::Proxy, maybe_sent: false, detail }
    }

    /// Opens a tunnel to the store over a connection to the proxy.
    pub(super) async fn tunnel(&self, connection: Stream, store: &Uri) -> Tunnel {
        let port = store.port_u16().unwrap_or(443);
        let target = format!("{}:{port}", store.host().unwrap_or(""));
        let mut request = Request::new(String::new());
        *request.method_mut() = Method::CONNECT;
        let (Ok(uri), Ok(host)) = (target.parse(), HeaderValue::from_str(&target)) else {
            return Tunnel::Broken(format!("{target} is not a valid target of a tunnel"));
        };
        *request.uri_mut() = uri;
        request.headers_mut().insert(HOST, host);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let (mut sender, connection) = match http1::handshake(TokioIo::new(connection)).await {
            Ok(both) => both,
            Err(e) => return Tunnel::Broken(e.to_string()),
        };
        // The task ends with the tunnel, or when the reply is no longer awaited.
        tokio::spawn(connection.with_upgrades());
        let reply = match sender.send_request(request).await {
            Ok(reply) => reply,
            Err(e) if e.is_parse() => return Tunnel::Broken(format!("its answer to CONNECT is not HTTP: {e}")),
            Err(e) if e.is_incomplete_message() || e.is_canceled() => {
                return Tunnel::Broken("unexpected end of file instead of an answer to CONNECT".to_owned());
            }
            Err(e) => return Tunnel::Broken(format!("opening a tunnel: {e}")),
        };
        let refused = |code| {
            let what = format!("the proxy {} (option proxy) refused a tunnel to {target}", self.shown);
            let detail = format!("{what}: {}", reply.status());
            Tunnel::Refused(TransportFailure { code, maybe_sent: false, detail })
        };
        match reply.status() {
            status if status.is_success() => match hyper::upgrade::on(reply).await {
                Ok(tunnel) => Tunnel::Open(Box::new(TokioIo::new(tunnel))),
                Err(e) => Tunnel::Broken(format!("the tunnel was closed at once: {e}")),
            },
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Tunnel::Refused(self.unauthorized()),
            // The proxy cannot reach the store, or is overloaded, so another attempt may help.
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => refused(Code::Connect),
            status if status.is_client_error() => refused(Code::Proxy),
            _ => refused(Code::Connect),
        }
    }
}
