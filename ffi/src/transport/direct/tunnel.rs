//! Tunnels through an HTTP proxy (CONNECT, RFC 9110 §9.3.6).

use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use s3vault_core::Code;
use s3vault_core::http::TransportFailure;

use super::stream::{ReadWrite, Stream};
use crate::transport::failure::{causes, chain};
use crate::transport::proxy::Proxy;

/// The outcome of a CONNECT request.
pub(super) enum Tunnel {
    Open(Box<dyn ReadWrite>),
    /// The proxy refused.
    Refused(TransportFailure),
    /// There was no answer, or it is not HTTP.
    Broken(String),
}

/// Opens a tunnel to the store over a connection to the proxy.
pub(super) async fn open(proxy: &Proxy, connection: Stream, store: &Uri) -> Tunnel {
    let port = store.port_u16().unwrap_or(443);
    let target = format!("{}:{port}", store.host().unwrap_or(""));
    let mut request = Request::new(String::new());
    *request.method_mut() = Method::CONNECT;
    let (Ok(uri), Ok(host)) = (target.parse(), HeaderValue::from_str(&target)) else {
        return Tunnel::Broken(format!("{target} is not a valid target of a tunnel"));
    };
    *request.uri_mut() = uri;
    request.headers_mut().insert(HOST, host);
    if let Some(authorization) = proxy.authorization() {
        request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    let head_limit = connection.head_limit();
    let (mut sender, connection) = match http1::handshake(TokioIo::new(connection)).await {
        Ok(both) => both,
        Err(e) => return Tunnel::Broken(e.to_string()),
    };
    // The task ends with the tunnel, or when the reply is no longer awaited.
    tokio::spawn(connection.with_upgrades());
    head_limit.start();
    let reply = sender.send_request(request).await;
    head_limit.lift();
    let reply = match reply {
        Ok(reply) => reply,
        Err(e) if e.is_parse() => return Tunnel::Broken(format!("its answer to CONNECT is not HTTP: {e}")),
        Err(e) if e.is_incomplete_message() || e.is_canceled() => {
            return Tunnel::Broken("unexpected end of file instead of an answer to CONNECT".to_owned());
        }
        Err(e) => return Tunnel::Broken(format!("opening a tunnel: {}", causes(&chain(&e)))),
    };
    let refused = |code| {
        let what = format!("the proxy {proxy} refused a tunnel to {target}");
        let detail = format!("{what}: {}", reply.status());
        Tunnel::Refused(TransportFailure { code, maybe_sent: false, detail })
    };
    match reply.status() {
        status if status.is_success() => match hyper::upgrade::on(reply).await {
            Ok(tunnel) => Tunnel::Open(Box::new(TokioIo::new(tunnel))),
            Err(e) => Tunnel::Broken(format!("the tunnel was closed at once: {e}")),
        },
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Tunnel::Refused(proxy.unauthorized()),
        // The proxy cannot reach the store, or is overloaded, so another attempt may help.
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => refused(Code::Connect),
        status if status.is_client_error() => refused(Code::Proxy),
        _ => refused(Code::Connect),
    }
}
