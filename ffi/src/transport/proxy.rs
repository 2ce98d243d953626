//! The HTTP proxy that `proxy` names. The environment is never asked for one.
//!
//! For a store with https:// the proxy makes a tunnel (CONNECT, RFC 9110 §9.3.6), and TLS goes through it to the
//! store. For one with http:// the proxy forwards requests in absolute form (RFC 9112 §3.2.2): path, query and
//! `Host` are the signed ones in both.

use std::fmt;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode, Url};
use s3vault_core::http::TransportFailure;
use s3vault_core::{Code, Error, Result};
use zeroize::Zeroizing;

/// A proxy. Neither its user nor its password is ever shown.
#[derive(Clone)]
pub(crate) struct Proxy {
    url: Zeroizing<String>,
    shown: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.shown)
    }
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
        if !text.contains("://") {
            return Err(refused("it does not begin with http:// or https://"));
        }
        let url = Url::parse(text).map_err(|e| refused(&format!("it is no URL: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused(&format!("a proxy of the kind {}:// is not supported", url.scheme())));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(refused("a path and a query cannot stand in it"));
        }
        let shown = url.origin().ascii_serialization();
        Ok(Proxy { url: Zeroizing::new(String::from(url)), shown })
    }

    /// For the client.
    pub(super) fn for_client(&self) -> Result<reqwest::Proxy> {
        reqwest::Proxy::all(self.url.as_str())
            .map_err(|_| Error::new(Code::InvalidOption, format!("proxy: {} cannot be used", self.shown)))
    }

    /// What the client cannot do: in a tunnel it takes an IPv6 address with its brackets for the certificate's name,
    /// and refuses that (reqwest 0.13.5, `connect_via_proxy`).
    pub(super) fn check(&self, store: &Url) -> Result<(), TransportFailure> {
        if store.scheme() == "http" || !store.host_str().is_some_and(|host| host.starts_with('[')) {
            return Ok(());
        }
        let detail = format!(
            "api_url is {}, an IPv6 address, to which no TLS goes through the proxy {} (option proxy): give api_url a \
             host name",
            store.origin().ascii_serialization(),
            self.shown
        );
        Err(TransportFailure { code: Code::InvalidOption, maybe_sent: false, detail })
    }

    /// Its scheme, host and port.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The proxy wants to know who asks, or does not take the user that it got.
    pub(super) fn wants_user(&self) -> TransportFailure {
        let given = Url::parse(&self.url).is_ok_and(|url| !url.username().is_empty());
        let why = if given { "does not take the user and password in it" } else { "wants a user and a password in it" };
        let detail = format!("the proxy {} (option proxy) {why}: 407 Proxy Authentication Required", self.shown);
        TransportFailure { code: Code::Proxy, maybe_sent: false, detail }
    }

    /// Why the proxy refuses a tunnel to the store. The client only says that it does, so it is asked once more.
    pub(super) async fn refused_tunnel(&self, client: &Client, store: &Url, patience: Duration) -> TransportFailure {
        let target = format!("{}:{}", store.host_str().unwrap_or(""), store.port_or_known_default().unwrap_or(443));
        let what = format!("the proxy {} (option proxy) refuses a tunnel to {target}", self.shown);
        let failure = |code, detail| TransportFailure { code, maybe_sent: false, detail };
        let unknown = || failure(Code::Connect, format!("{what}, or its answer is not HTTP"));
        // Towards a plain proxy, CONNECT to http://HOST:PORT is sent as the tunnel's own request is.
        let Ok(url) = Url::parse(&format!("http://{target}/")) else { return unknown() };
        let mut request = reqwest::Request::new(Method::CONNECT, url);
        *request.timeout_mut() = Some(patience);
        match client.execute(request).await.map(|reply| reply.status()) {
            Ok(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => self.wants_user(),
            // It cannot reach the store, or is overloaded: another attempt may help.
            Ok(status) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                failure(Code::Connect, format!("{what}: {status}"))
            }
            Ok(status) if status.is_client_error() => failure(Code::Proxy, format!("{what}: {status}")),
            _ => unknown(),
        }
    }
}
