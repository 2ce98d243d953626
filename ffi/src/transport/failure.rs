//! What went wrong on the way, from the chain of causes that reqwest, hyper, rustls and the system give.

use std::error::Error as StdError;
use std::fmt;
use std::io;

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

/// The failure of an attempt. `peer` is the store's scheme, host and port.
pub(crate) fn classify(peer: &str, error: &reqwest::Error) -> TransportFailure {
    let chain = chain(error);
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
                failure(Code::Certificate, false, format!("{peer}: {}", certificate(why)))
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

/// What is wrong with a certificate, and what helps.
fn certificate(why: &CertificateError) -> String {
    let text = why.to_string();
    let advice = match why {
        CertificateError::UnknownIssuer => {
            "no authority that is trusted here signed it: set ca_file to the one that did"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it expired: renew it on the store; or this machine's clock is wrong"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: this machine's clock may be wrong"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it was made for another name: use that name in api_url, or put this one into the certificate"
        }
        CertificateError::BadSignature => {
            "an authority of this name is trusted here, but with another key: the one in ca_file may be an old one"
        }
        _ if text.contains("CaUsedAsEndEntity") => {
            "it is an authority's own certificate: give the server one of its own, signed by that authority"
        }
        _ => "it cannot be verified",
    };
    format!("the store's certificate is refused: {advice} ({text})")
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
