//! What went wrong on the way, from the chain of causes that reqwest, hyper, rustls and the system give.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::IpAddr;

use rustls::CertificateError;
use s3vault_core::Code;
use s3vault_core::http::TransportFailure;

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

/// Whom an attempt talks to, for messages.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The store's scheme, host and port.
    pub(super) store: String,
    /// The proxy's.
    pub(super) proxy: Option<String>,
    /// The address of the store that was dialled, where its name is resolved once.
    pub(super) address: Option<IpAddr>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.store)?;
        if let Some(address) = &self.address {
            write!(f, " at {address}")?;
        }
        match &self.proxy {
            Some(proxy) => write!(f, " through the proxy {proxy} (option proxy)"),
            None => Ok(()),
        }
    }
}

/// How the texts of a tunnel's failures begin. Their type is not public.
const TUNNEL: &str = "tunnel error: ";

/// Whether the proxy answered a CONNECT, but not with 200 or 407.
pub(super) fn is_refused_tunnel(error: &reqwest::Error) -> bool {
    chain(error).iter().any(|e| e.to_string().strip_prefix(TUNNEL) == Some("unsuccessful"))
}

/// Whether the proxy answered a CONNECT with 407.
pub(super) fn is_proxy_asking_for_user(error: &reqwest::Error) -> bool {
    chain(error).iter().any(|e| e.to_string().strip_prefix(TUNNEL) == Some("proxy authorization required"))
}

/// The failure of an attempt.
pub(super) fn classify(peer: &Peer, error: &reqwest::Error) -> TransportFailure {
    let chain = chain(error);
    // To the store itself only a tunnel leads; before it stands, and for http://, the connection is the proxy's.
    let at_proxy = match &peer.proxy {
        Some(proxy) if error.is_connect() => {
            let plain = peer.store.starts_with("http://");
            (plain || chain.iter().any(|e| e.to_string().starts_with(TUNNEL))).then_some(proxy)
        }
        _ => None,
    };
    let (peer, role) = match at_proxy {
        Some(proxy) => (format!("the proxy {proxy} (option proxy)"), Role::Proxy),
        None => (peer.to_string(), Role::Store),
    };
    let failure = |code, maybe_sent, detail: String| TransportFailure { code, maybe_sent, detail };
    if let Some(source) = find::<SourceFailure>(&chain) {
        return failure(source.code, true, source.detail.clone());
    }
    if error.is_builder() {
        return failure(Code::Internal, false, format!("{peer}: the request cannot be sent: {}", causes(&chain)));
    }
    if let Some(tls) = find::<rustls::Error>(&chain)
        && error.is_connect()
    {
        return match tls {
            rustls::Error::InvalidCertificate(why) => {
                failure(Code::Certificate, false, format!("{peer}: {}", certificate(role, why)))
            }
            rustls::Error::InvalidMessage(_) => failure(
                Code::Connect,
                false,
                format!("{peer}: the answer is not TLS ({tls}): is this a port for http://?"),
            ),
            _ => failure(Code::Connect, false, format!("{peer}: TLS: {tls}")),
        };
    }
    if error.is_dns() || chain.iter().any(|e| e.to_string() == "dns error") {
        return failure(Code::Resolve, false, format!("{peer}: {}", causes(&chain)));
    }
    if error.is_connect() {
        if error.is_timeout() {
            return failure(Code::TimedOut, false, format!("{peer}: no connection in time (connect_timeout_ms)"));
        }
        return failure(Code::Connect, false, format!("{peer}: {}", causes(&chain)));
    }
    let code = if error.is_timeout() { Code::TimedOut } else { Code::ConnectionLost };
    failure(code, true, format!("{peer}: {}", causes(&chain)))
}

/// Whose connection it is.
#[derive(Clone, Copy)]
enum Role {
    Store,
    Proxy,
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

/// The causes in words, from the outermost that says more than "error sending request".
fn causes(chain: &[&(dyn StdError + 'static)]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in chain.iter().filter(|e| !e.is::<reqwest::Error>()) {
        let text = error.to_string();
        // Some repeat the text of their cause.
        let repeats = texts.last().is_some_and(|last| last.contains(&text));
        if !repeats && text != "client error (SendRequest)" && text != "client error (Connect)" {
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
