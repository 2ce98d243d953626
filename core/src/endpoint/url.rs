//! `api_url`: a scheme, a host, a port where it is not the scheme's own, and for some stores a path (RFC 3986, §3).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::invalid;
use crate::error::Result;
use crate::uri;

/// Plain or over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A host: by name (in lower case), or by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// The parts of an `api_url`.
pub(super) struct Url {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: Option<u16>,
    /// The path in front of all buckets, encoded as it is sent, without a slash at its end; empty for most stores.
    pub(super) path: String,
}

pub(super) fn parse(text: &str) -> Result<Url> {
    parts(text).map_err(|(why, helps)| {
        let hint = if helps.is_empty() {
            "Use http:// or https://, a host and, unless it is 80 or 443, a port; then a path, if the store is below one."
        } else {
            helps
        };
        invalid(format!("api_url = '{}': {why}", without_secrets(text))).with_hint(hint)
    })
}

fn parts(text: &str) -> Result<Url, (&'static str, &'static str)> {
    let plain = |why| (why, "");
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
        _ => return Err(plain("it does not start with http:// or https://")),
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err(("it must not contain a user", "Set the keys in access_key and secret_key."));
    }
    if path.contains(['?', '#']) {
        return Err(plain("it must not contain a query"));
    }
    let path = parse_path(path)?;
    let (host, port) = match authority.rsplit_once(':') {
        // The last ':' of an IPv6 address without a port.
        Some((_, tail)) if tail.ends_with(']') => (authority, None),
        Some((host, port)) => match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(number)),
            _ if host.contains(':') && !host.starts_with('[') => {
                return Err(("its host is invalid", "Put an IPv6 address in brackets: http://[::1]:9000."));
            }
            _ => return Err(plain("its port is invalid")),
        },
        None => (authority, None),
    };
    let host = parse_host(host)?;
    Ok(Url { scheme, host, port: port.filter(|port| *port != scheme.port()), path })
}

/// The path of a store that is below one, encoded as it is sent and signed. Slashes at its end do not count.
fn parse_path(path: &str) -> Result<String, (&'static str, &'static str)> {
    let refused = ("its path is invalid", "Write the path as in /storage/v1/s3, without empty segments, '.' and '..'.");
    let path = path.trim_end_matches('/');
    let mut encoded = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        // A '+' in a path is no space.
        let decoded = uri::decode(&segment.replace('+', "%2B")).ok_or(refused)?;
        if matches!(decoded.as_str(), "" | "." | "..")
            || decoded.contains(['/', '\\'])
            || decoded.contains(char::is_control)
        {
            return Err(refused);
        }
        encoded.push('/');
        uri::encode_into(&mut encoded, &decoded, false);
    }
    if path.starts_with('/') == encoded.is_empty() { Err(refused) } else { Ok(encoded) }
}

fn parse_host(host: &str) -> Result<Host, (&'static str, &'static str)> {
    let refused = ("its host is invalid", "");
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse().ok());
        return address
            .map(Host::V6)
            .ok_or(("its IPv6 address is invalid", "Put an IPv6 address in brackets, without a zone."));
    }
    if host.contains(':') {
        return Err((refused.0, "Put an IPv6 address in brackets: http://[::1]:9000."));
    }
    if let Ok(address) = host.parse() {
        return Ok(Host::V4(address));
    }
    if !host.is_ascii() {
        return Err((refused.0, "Use the xn-- form of a name with letters other than a-z."));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(valid);
    if host.len() > 253 || !host.split('.').all(label) {
        return Err(refused);
    }
    // HTTP clients parse such a host as an old form of an IPv4 address, and send another Host than was signed.
    let last = host.rsplit('.').next().unwrap_or("");
    let hexadecimal = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    if last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(refused);
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

/// Replaces the user by `***`: it may include a password, which no message may show.
/// The URL without what may be secret: a user with a password, and a query, which may be that of a presigned URL.
fn without_secrets(text: &str) -> String {
    let text = match text.find(['?', '#']) {
        Some(at) => format!("{}***", &text[..=at]),
        None => text.to_owned(),
    };
    let start = text.find("://").map_or(0, |at| at + 3);
    match text.rfind('@') {
        Some(at) if at >= start => format!("{}***{}", &text[..start], &text[at..]),
        _ => text,
    }
}
