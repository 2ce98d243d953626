//! The HTTP proxy that `proxy` names. The environment is never asked for one.
//!
//! For a store with https:// the proxy makes a tunnel (CONNECT, RFC 9110 §9.3.6), and TLS goes through it to the
//! store. For one with http:// the proxy forwards requests in absolute form (RFC 9112 §3.2.2): path, query and
//! `Host` are the signed ones in both.

use std::fmt;

use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use s3vault_core::http::TransportFailure;
use s3vault_core::{Code, Error, Result};

use super::stream::{Stream, Wire};

/// A proxy. Neither its user nor its password is ever shown.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// Scheme, host and port.
    uri: Uri,
    /// From user and password, where they are given.
    authorization: Option<HeaderValue>,
    shown: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.shown)
    }
}

/// What came of a CONNECT.
pub(super) enum Tunnel {
    Open(Box<dyn Wire>),
    /// The proxy says no.
    Refused(TransportFailure),
    /// There was no answer, or it is none.
    Broken(String),
}

impl Proxy {
    /// `http://[USER:PASSWORD@]HOST:PORT`, or https://.
    pub(crate) fn parse(text: &str) -> Result<Proxy> {
        let refused = |why: &str| {
            Error::new(Code::InvalidOption, format!("proxy: {why}")).with_hint(
                "proxy is http://[USER:PASSWORD@]HOST:PORT, or https://; '@', ':', '/' and '%' in user and password \
                 are percent-encoded.",
            )
        };
        let Some((scheme, _)) = text.split_once("://") else {
            return Err(refused("it does not begin with http:// or https://"));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(refused(&format!("a proxy of the kind {scheme}:// is not supported")));
        }
        let uri: Uri = text.parse().map_err(|e| refused(&format!("it is no URL: {e}")))?;
        if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
            return Err(refused("a path and a query cannot stand in it"));
        }
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let host = host.rsplit('@').next().unwrap_or(host);
        if uri.host() != Some(host) && uri.port().is_none() {
            return Err(refused("it is no URL: the port is no number"));
        }
        let shown = format!("{scheme}://{host}");
        let matcher = Matcher::builder().all(text).build();
        let found = matcher.intercept(&uri).ok_or_else(|| refused("it is no URL"))?;
        let (uri, mut authorization) = (found.uri().clone(), found.basic_auth().cloned());
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Proxy { uri, authorization, shown })
    }

    /// Where it is.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What requests that it forwards say of who asks.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Its scheme, host and port.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The proxy wants to know who asks, or does not take the user that it got.
    pub(super) fn wants_user(&self) -> TransportFailure {
        let given = self.authorization.is_some();
        let why = if given { "does not take the user and password in it" } else { "wants a user and a password in it" };
        let detail = format!("the proxy {} (option proxy) {why}: 407 Proxy Authentication Required", self.shown);
        TransportFailure { code: Code::Proxy, maybe_sent: false, detail }
    }

    /// Asks for a tunnel to the store, over a connection to the proxy.
    pub(super) async fn tunnel(&self, connection: Stream, store: &Uri) -> Tunnel {
        let port = store.port_u16().unwrap_or(443);
        let target = format!("{}:{port}", store.host().unwrap_or(""));
        let mut request = Request::new(String::new());
        *request.method_mut() = Method::CONNECT;
        let (Ok(uri), Ok(host)) = (target.parse(), HeaderValue::from_str(&target)) else {
            return Tunnel::Broken(format!("no tunnel can lead to {target}"));
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
        // It ends with the tunnel, or when nobody waits for one any more.
        tokio::spawn(connection.with_upgrades());
        let reply = match sender.send_request(request).await {
            Ok(reply) => reply,
            Err(e) if e.is_parse() => return Tunnel::Broken(format!("its answer to CONNECT is not HTTP: {e}")),
            Err(e) if e.is_incomplete_message() || e.is_canceled() => {
                return Tunnel::Broken("unexpected end of file in place of an answer to CONNECT".to_owned());
            }
            Err(e) => return Tunnel::Broken(format!("asking for a tunnel: {e}")),
        };
        let refused = |code| {
            let what = format!("the proxy {} (option proxy) refuses a tunnel to {target}", self.shown);
            let detail = format!("{what}: {}", reply.status());
            Tunnel::Refused(TransportFailure { code, maybe_sent: false, detail })
        };
        match reply.status() {
            status if status.is_success() => match hyper::upgrade::on(reply).await {
                Ok(tunnel) => Tunnel::Open(Box::new(TokioIo::new(tunnel))),
                Err(e) => Tunnel::Broken(format!("the tunnel closed at once: {e}")),
            },
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Tunnel::Refused(self.wants_user()),
            // It cannot reach the store, or is overloaded: another attempt may help.
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => refused(Code::Connect),
            status if status.is_client_error() => refused(Code::Proxy),
            _ => refused(Code::Connect),
        }
    }
}
