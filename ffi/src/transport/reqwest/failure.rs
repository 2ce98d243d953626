//! The failure to connect, as far as reqwest tells what failed. Its errors about proxies have no public type, so they are
//! recognized by their text; the tests hold the texts.

use std::net::IpAddr;

use s3vault_core::Code;
use s3vault_core::http::TransportFailure;

use crate::transport::attempt::{Attempt, is_http};
use crate::transport::failure::{Role, chain};

/// The failure of a connection that was not made.
pub(super) fn not_connected(attempt: &Attempt, addresses: Vec<IpAddr>, error: &::reqwest::Error) -> TransportFailure {
    let mut peer = attempt.peer();
    peer.addresses = addresses;
    let chain = chain(error);
    let texts: Vec<String> = chain.iter().map(|e| e.to_string()).collect();
    let found = |text: &str| texts.iter().any(|found| found.contains(text));
    let role = match &attempt.proxy {
        None => Role::Store,
        Some(proxy) if proxy.is_socks() => {
            if found("error resolving for socks proxy") {
                Role::Store
            } else {
                Role::Proxy
            }
        }
        // After the tunnel, TLS with the store follows.
        Some(_) if is_http(&attempt.uri) || found("tunnel error: ") || error.is_dns() => Role::Proxy,
        Some(_) => Role::Store,
    };
    if error.is_timeout() {
        return peer.too_slow(role);
    }
    if error.is_dns() {
        let cause = texts.last().map_or("", String::as_str);
        return peer.unsent(role, Code::Resolve, &format!("dns error: {cause}"));
    }
    let Some(proxy) = &attempt.proxy else { return peer.not_connected(role, error) };
    if found("tunnel error: proxy authorization required") {
        return proxy.unauthorized();
    }
    if found("tunnel error: unsuccessful") {
        let why =
            "it refused a tunnel to the store, or did not answer with HTTP; transport = direct reports its answer";
        return peer.unsent(role, Code::Connect, why);
    }
    if found("tunnel error: unexpected end of file") {
        return peer.unsent(role, Code::Connect, "unexpected end of file instead of an answer to CONNECT");
    }
    let socks = texts.iter().find_map(|text| text.strip_prefix("SOCKS error: "));
    match socks {
        Some(why @ ("credentials not accepted" | "server does not support user/pass authentication")) => {
            peer.unsent(role, Code::Proxy, &format!("it refused the user and password in its URL: {why}"))
        }
        Some(why) => peer.unsent(role, Code::Connect, why),
        None => peer.not_connected(role, error),
    }
}
