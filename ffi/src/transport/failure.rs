//! Error codes and messages of failed attempts, from the chain of errors that the HTTP client, rustls and the system report.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::IpAddr;

use hyper::Uri;
use rustls::CertificateError;
use s3vault_core::Code;
use s3vault_core::http::TransportFailure;

use super::attempt::origin;
use super::proxy::Proxy;
use super::tls::is_ca_as_server;

/// The error of a request body whose source failed. It ends the attempt.
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

/// The peer of a connection.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Store,
    Proxy,
}

/// The peers of an attempt, for messages.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Scheme, host and port of the store.
    store: String,
    /// Scheme, host and port of the proxy, and where it is configured.
    proxy: Option<String>,
    /// The addresses that were dialled, if the host is a name.
    pub(super) addresses: Vec<IpAddr>,
}

impl Peer {
    pub(super) fn of(store: &Uri, proxy: Option<&Proxy>) -> Peer {
        Peer { store: origin(store), proxy: proxy.map(Proxy::to_string), addresses: Vec::new() }
    }

    /// Describes the peer that the error is about.
    pub(super) fn named(&self, role: Role) -> String {
        match (role, &self.proxy) {
            (Role::Proxy, Some(proxy)) => format!("the proxy {proxy}{}", self.at()),
            (Role::Store, Some(proxy)) => format!("{} through the proxy {proxy}", self.store),
            (_, None) => format!("{}{}", self.store, self.at()),
        }
    }

    fn at(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        if addresses.is_empty() { String::new() } else { format!(" at {}", addresses.join(", ")) }
    }

    /// A failure to connect: nothing was sent.
    pub(super) fn unsent(&self, role: Role, code: Code, why: &str) -> TransportFailure {
        TransportFailure { code, maybe_sent: false, detail: format!("{}: {why}", self.named(role)) }
    }

    pub(super) fn too_slow(&self, role: Role) -> TransportFailure {
        self.unsent(role, Code::TimedOut, "no connection was made in time (connect_timeout_ms)")
    }

    /// The failure of a TCP connection or a TLS handshake.
    pub(super) fn not_connected(&self, role: Role, error: &(dyn StdError + 'static)) -> TransportFailure {
        let chain = chain(error);
        let failure = |code, why: String| self.unsent(role, code, &why);
        match find::<rustls::Error>(&chain) {
            Some(rustls::Error::InvalidCertificate(why)) => failure(Code::Certificate, certificate(role, why)),
            Some(tls @ rustls::Error::InvalidMessage(_)) => {
                failure(Code::Connect, format!("the server did not answer with TLS ({tls}): is this an http:// port?"))
            }
            Some(tls) => failure(Code::Connect, format!("TLS: {tls}")),
            None if chain.iter().any(|e| is_timeout(*e)) => self.too_slow(role),
            None => failure(Code::Connect, causes(&chain)),
        }
    }

    /// The failure of an attempt after it was connected.
    pub(super) fn lost(&self, error: &(dyn StdError + 'static)) -> TransportFailure {
        let chain = chain(error);
        if let Some(source) = find::<SourceFailure>(&chain) {
            return TransportFailure { code: source.code, maybe_sent: true, detail: source.detail.clone() };
        }
        let code = if chain.iter().any(|e| is_timeout(*e)) { Code::TimedOut } else { Code::ConnectionLost };
        TransportFailure { code, maybe_sent: true, detail: format!("{}: {}", self.named(Role::Store), causes(&chain)) }
    }
}

fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut)
}

/// Describes why a certificate is refused, and what helps.
fn certificate(role: Role, why: &CertificateError) -> String {
    let (whose, option) = match role {
        Role::Store => ("store", "api_url"),
        Role::Proxy => ("proxy", "proxy"),
    };
    let advice = match why {
        CertificateError::UnknownIssuer => {
            "no trusted CA signed it; set ca_file to the certificate of the CA that did".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("it has expired; renew it on the {whose}, or correct this machine's clock")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; check this machine's clock".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "it has no subjectAltName, and a common name (CN) alone does not count; issue one that has the name of the server there (openssl req -x509 … -addext subjectAltName=DNS:NAME, or IP:ADDRESS)".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is for another name; use that name in {option}, or add this one to the certificate")
        }
        CertificateError::BadSignature => {
            "a CA of this name is trusted, but with another key; the certificate in ca_file may be outdated".to_owned()
        }
        _ if is_ca_as_server(why) => {
            "it is a CA certificate; set ca_file to this very certificate, or give the server one of its own, signed by that CA".to_owned()
        }
        _ => "it cannot be verified".to_owned(),
    };
    format!("the {whose}'s certificate is refused: {advice} ({})", reason(why))
}

/// The reason in few words: of some, rustls shows all fields as Rust's debugging output.
fn reason(why: &CertificateError) -> String {
    let text = match why {
        CertificateError::Other(inner) => inner.to_string(),
        _ => why.to_string(),
    };
    text.split_once(" {").map_or(text.as_str(), |(name, _)| name).to_owned()
}

/// Joins the messages of the errors, except those that repeat their cause or say nothing.
pub(super) fn causes(chain: &[&(dyn StdError + 'static)]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in chain {
        let text = error.to_string();
        // Some errors repeat the text of their cause.
        let repeats = texts.last().is_some_and(|last| last.contains(&text));
        if !repeats && !says_nothing(*error, &text) {
            texts.push(text);
        }
    }
    if texts.is_empty() { "the connection failed".to_owned() } else { texts.join(": ") }
}

/// Whether the error says only that its cause ended the request.
fn says_nothing(error: &(dyn StdError + 'static), text: &str) -> bool {
    #[cfg(feature = "reqwest")]
    if error.is::<::reqwest::Error>() {
        return true;
    }
    #[cfg(not(feature = "reqwest"))]
    let _ = error;
    text.starts_with("client error (")
}

/// An error and its causes. `source` of an [`io::Error`] skips the error that it wraps.
pub(super) fn chain<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
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
