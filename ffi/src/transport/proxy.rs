//! Proxies: option `proxy`, and the variables `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` of the environment, which are read only
//! if `proxy = system`.
//!
//! For an https:// store an HTTP proxy opens a tunnel (CONNECT, RFC 9110 §9.3.6), and TLS runs through it to the store. For an
//! http:// store it forwards requests in absolute form (RFC 9112 §3.2.2). A SOCKS5 proxy (RFC 1928) relays the connection; with
//! `socks5` this machine resolves the store's name, with `socks5h` the proxy does. Path, query and `Host` are the signed ones
//! in all cases.

use std::fmt;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use s3vault_core::http::TransportFailure;
use s3vault_core::{Code, Error, Result};
#[cfg(feature = "reqwest")]
use zeroize::Zeroizing;

/// A proxy. Its user and password are never shown.
pub(crate) struct Proxy {
    /// Scheme, host and port.
    uri: Uri,
    /// Value of `Proxy-Authorization`, if the URL of an HTTP proxy has a user and password.
    authorization: Option<HeaderValue>,
    /// The URL with user and password.
    #[cfg(feature = "reqwest")]
    url: Zeroizing<String>,
    /// Scheme, host and port, and where the proxy is configured; for messages.
    shown: String,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.shown)
    }
}

impl Proxy {
    /// Parses the URL that an option or a variable of the environment holds.
    fn parse(text: &str, source: Source) -> Result<Proxy> {
        let refused = |why: &str| {
            let hint = "Write the proxy as http://[USER:PASSWORD@]HOST:PORT, with the scheme http, https, socks5 or socks5h. \
                        Percent-encode '@', ':', '/' and '%' in user and password.";
            Error::new(Code::InvalidOption, format!("{}: {why}", source.name())).with_hint(hint)
        };
        let Some((scheme, _)) = text.split_once("://") else {
            return Err(refused("the URL does not start with http://, https://, socks5:// or socks5h://"));
        };
        if !matches!(scheme, "http" | "https" | "socks5" | "socks5h") {
            return Err(refused(&format!("{scheme}:// proxies are not supported")));
        }
        let uri: Uri = text.parse().map_err(|e| refused(&format!("not a valid URL: {e}")))?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
            return Err(refused("the URL must not have a path or a query"));
        }
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let host = host.rsplit('@').next().unwrap_or(host);
        if uri.host() != Some(host) && uri.port().is_none() {
            return Err(refused("not a valid URL: the port is not a number"));
        }
        // The matcher decodes user and password.
        let any: Uri = Uri::from_static("http://any");
        let found = Matcher::builder().all(text).build().intercept(&any).ok_or_else(|| refused("not a valid URL"))?;
        let mut authorization = found.basic_auth().cloned();
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Proxy {
            uri: found.uri().clone(),
            authorization,
            #[cfg(feature = "reqwest")]
            url: Zeroizing::new(text.to_owned()),
            shown: format!("{scheme}://{host} ({source})"),
        })
    }

    /// Scheme, host and port.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URL with user and password.
    #[cfg(feature = "reqwest")]
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Value of `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Whether it is a SOCKS5 proxy.
    pub(super) fn is_socks(&self) -> bool {
        self.uri.scheme_str().is_some_and(|scheme| scheme.starts_with("socks5"))
    }

    /// The failure for a proxy that requires a user and password, or refuses those that it got.
    pub(super) fn unauthorized(&self) -> TransportFailure {
        let given = self.authorization.is_some();
        let why =
            if given { "refused the user and password in its URL" } else { "requires a user and password in its URL" };
        let detail = format!("the proxy {self} {why}: 407 Proxy Authentication Required");
        TransportFailure { code: Code::Proxy, maybe_sent: false, detail }
    }
}

/// Where a proxy is configured.
#[derive(Clone, Copy)]
enum Source {
    Option,
    Variable(&'static str),
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Source::Option => "proxy",
            Source::Variable(name) => name,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Option => f.write_str("option proxy"),
            Source::Variable(name) => write!(f, "variable {name}"),
        }
    }
}

/// The proxies that stores are reached through. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Arc<Proxy>>,
    https: Option<Arc<Proxy>>,
    exceptions: Arc<[Exception]>,
}

impl Proxies {
    /// Reads option `proxy`, and the environment's variables if it is `system`.
    pub(crate) fn parse(option: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Proxies> {
        match option {
            "" => Ok(Proxies::default()),
            "system" => Proxies::from_environment(variable),
            url => {
                let proxy = Some(Arc::new(Proxy::parse(url, Source::Option)?));
                Ok(Proxies { http: proxy.clone(), https: proxy, ..Proxies::default() })
            }
        }
    }

    /// Reads the variables that curl reads, lower case first as curl does. A proxy without a scheme is an http:// proxy.
    fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Proxies> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|&name| {
                let value = variable(name)?.trim().to_owned();
                (!value.is_empty()).then_some((name, value))
            })
        };
        let proxy = |names: &[&'static str]| match first(names) {
            None => Ok(None),
            Some((name, value)) => {
                let url = if value.contains("://") { value } else { format!("http://{value}") };
                Proxy::parse(&url, Source::Variable(name)).map(|proxy| Some(Arc::new(proxy)))
            }
        };
        let exceptions = first(&["no_proxy", "NO_PROXY"]).map_or(String::new(), |(_, list)| list);
        let exceptions = exceptions.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).map(Exception::new);
        Ok(Proxies {
            http: proxy(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            https: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            exceptions: exceptions.collect(),
        })
    }

    /// The proxy that this store is reached through; `None` if it is reached directly.
    pub(super) fn for_store(&self, store: &Uri) -> Option<&Arc<Proxy>> {
        let proxy = if store.scheme_str() == Some("https") { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.exceptions.iter().any(|exception| exception.matches(store)))
    }

    /// Any of the proxies.
    pub(super) fn any(&self) -> Option<&Proxy> {
        self.https.as_deref().or(self.http.as_deref())
    }

    /// Any SOCKS5 proxy.
    pub(super) fn socks(&self) -> Option<&Proxy> {
        [&self.https, &self.http].into_iter().flatten().map(Arc::as_ref).find(|proxy| proxy.is_socks())
    }
}

/// An entry of `NO_PROXY`: `*`, a host, a domain with its subdomains, an address or a network (CIDR); each of them may have a
/// port.
#[derive(Debug)]
struct Exception {
    /// `None` means every host.
    host: Option<Matcher>,
    /// `None` means every port.
    port: Option<u16>,
}

impl Exception {
    fn new(entry: &str) -> Exception {
        let (host, port) = match entry.rsplit_once(':') {
            // More than one colon without brackets is an IPv6 address.
            Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, port.parse().ok()),
            _ => (entry, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let matcher = || Matcher::builder().all("http://any").no(host).build();
        Exception { host: (host != "*").then(matcher), port }
    }

    fn matches(&self, store: &Uri) -> bool {
        let default = if store.scheme_str() == Some("https") { 443 } else { 80 };
        self.port.is_none_or(|port| port == store.port_u16().unwrap_or(default))
            && self.host.as_ref().is_none_or(|matcher| matcher.intercept(store).is_none())
    }
}
