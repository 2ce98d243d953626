//! What went wrong on the way, from the chain of causes that hyper, rustls and the system give.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::IpAddr;

use hyper::Uri;
use rustls::CertificateError;
use s3vault_core::Code;
use s3vault_core::http::TransportFailure;

use super::proxy::Proxy;

/// The source of a request's body failed: this ends the attempt, and says why.
#[derive(Debug)]
pub(crate) struct SourceFailure {
    pub(crate) code: Code,
    pub(crate) detail: String,
}

impl fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl StdError for SourceFailure {}

/// Whose connection it is.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Store,
    Proxy,
}

/// Whom an attempt talks to, for messages.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The store's scheme, host and port.
    store: String,
    /// The proxy's.
    proxy: Option<String>,
    /// The addresses of the name that were dialled, where it is one.
    pub(super) addresses: Vec<IpAddr>,
}

impl Peer {
    pub(super) fn of(store: &Uri, proxy: Option<&Proxy>) -> Peer {
        Peer { store: origin(store), proxy: proxy.map(|proxy| proxy.shown().to_owned()), addresses: Vec::new() }
    }

    /// In the role that matters.
    pub(super) fn named(&self, role: Role) -> String {
        match (role, &self.proxy) {
            (Role::Proxy, Some(proxy)) => format!("the proxy {proxy} (option proxy){}", self.at()),
            (Role::Store, Some(proxy)) => format!("{} through the proxy {proxy} (option proxy)", self.store),
            (_, None) => format!("{}{}", self.store, self.at()),
        }
    }

    fn at(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        if addresses.is_empty() { String::new() } else { format!(" at {}", addresses.join(", ")) }
    }

    /// There is no connection, so nothing was sent.
    pub(super) fn unsent(&self, role: Role, code: Code, why: &str) -> TransportFailure {
        TransportFailure { code, maybe_sent: false, detail: format!("{}: {why}", self.named(role)) }
    }

    pub(super) fn too_slow(&self, role: Role) -> TransportFailure {
        self.unsent(role, Code::TimedOut, "no connection in time (connect_timeout_ms)")
    }

    /// Why there is no TCP, or no TLS.
    pub(super) fn not_connected(&self, role: Role, error: &(dyn StdError + 'static)) -> TransportFailure {
        let chain = chain(error);
        let failure = |code, why: String| self.unsent(role, code, &why);
        match find::<rustls::Error>(&chain) {
            Some(rustls::Error::InvalidCertificate(why)) => failure(Code::Certificate, certificate(role, why)),
            Some(tls @ rustls::Error::InvalidMessage(_)) => {
                failure(Code::Connect, format!("the answer is not TLS ({tls}): is this a port for http://?"))
            }
            Some(tls) => failure(Code::Connect, format!("TLS: {tls}")),
            None if chain.iter().any(|e| is_timeout(*e)) => self.too_slow(role),
            None => failure(Code::Connect, causes(&chain)),
        }
    }

    /// The failure of an attempt that had a connection.
    pub(super) fn lost(&self, error: &(dyn StdError + 'static)) -> TransportFailure {
        let chain = chain(error);
        if let Some(source) = find::<SourceFailure>(&chain) {
            return TransportFailure { code: source.code, maybe_sent: true, detail: source.detail.clone() };
        }
        let code = if chain.iter().any(|e| is_timeout(*e)) { Code::TimedOut } else { Code::ConnectionLost };
        TransportFailure { code, maybe_sent: true, detail: format!("{}: {}", self.named(Role::Store), causes(&chain)) }
    }
}

/// Scheme, host and port.
pub(super) fn origin(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", uri.scheme_str().unwrap_or("http"))
}

fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut)
}

/// What is wrong with a certificate, and what helps.
fn certificate(role: Role, why: &CertificateError) -> String {
    let (whose, option) = match role {
        Role::Store => ("store", "api_url"),
        Role::Proxy => ("proxy", "proxy"),
    };
    let text = why.to_string();
    let advice = match why {
        CertificateError::UnknownIssuer => {
            "no authority that is trusted here signed it: set ca_file to the one that did".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("it expired: renew it on the {whose}; or this machine's clock is wrong")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: this machine's clock may be wrong".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it was made for another name: use that name in {option}, or put this one into the certificate")
        }
        CertificateError::BadSignature => {
            "an authority of this name is trusted here, but with another key: the one in ca_file may be an old one"
                .to_owned()
        }
        _ if text.contains("CaUsedAsEndEntity") => {
            "it is an authority's own certificate: give the server one of its own, signed by that authority".to_owned()
        }
        _ => "it cannot be verified".to_owned(),
    };
    format!("the {whose}'s certificate is refused: {advice} ({text})")
}

/// The causes in words, from the outermost that says more than that there was one.
fn causes(chain: &[&(dyn StdError + 'static)]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in chain {
        let text = error.to_string();
        // Some repeat the text of their cause.
        let repeats = texts.last().is_some_and(|last| last.contains(&text));
        if !repeats && !text.starts_with("client error (") {
            texts.push(text);
        }
    }
    if texts.is_empty() { "the connection failed".to_owned() } else { texts.join(": ") }
}

/// An error and its causes. An [`io::Error`] hides what it wraps from `source`.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut chain: Vec<&'a (dyn StdError + 'static)> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        chain.push(error);
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    chain
}

fn find<'a, T: StdError + 'static>(chain: &[&'a (dyn StdError + 'static)]) -> Option<&'a T> {
    chain.iter().find_map(|e| e.downcast_ref::<T>())
}
