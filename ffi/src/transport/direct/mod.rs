//! The direct client: hyper's connections, polled by the attempts that use them.
//!
//! | file | content |
//! |---|---|
//! | `connect`, `tunnel` | making connections: address, TCP, proxy tunnel, TLS |
//! | `stream`, `record_reader`, `head_limit` | the byte stream of a connection |
//! | `connection` | requests on a connection; idle connections |
//! | `body` | bodies of replies, which bypass hyper where possible |

mod body;
mod connect;
mod connection;
mod head_limit;
mod record_reader;
mod stream;
mod tunnel;

use std::sync::Arc;

use hyper::Uri;
use hyper::header::PROXY_AUTHORIZATION;
use rustls::ClientConfig;
use s3vault_core::http::TransportFailure;

use super::Head;
use super::attempt::Attempt;
use super::body::Sending;
use super::runtime;
use super::settings::TransportSettings;
pub(super) use body::Body;
use connect::Connector;
use connection::{Idle, RequestError};

/// Sends requests over its own connections.
pub(super) struct Client {
    connector: Connector,
    idle: Arc<Idle>,
}

impl Drop for Client {
    fn drop(&mut self) {
        if runtime::guard_fork().is_err() {
            // Its locks may be held by threads that do not exist in this process.
            std::mem::forget(std::mem::take(&mut self.idle));
        }
    }
}

impl Client {
    pub(super) fn new(settings: &TransportSettings, tls: ClientConfig) -> Client {
        let connector = Connector {
            tls: Arc::new(tls),
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
        };
        Client { connector, idle: Arc::default() }
    }

    /// Sends the request over an idle connection, or over a new one, and waits for the head of the reply.
    pub(super) async fn send(
        &self,
        mut request: hyper::Request<Sending>,
        attempt: &Attempt,
    ) -> Result<(Head, Body), TransportFailure> {
        if attempt.is_forwarded() {
            // The target stays the whole URL (RFC 9112 §3.2.2). For https:// the CONNECT request has the authorization.
            if let Some(authorization) = attempt.proxy.as_ref().and_then(|proxy| proxy.authorization()) {
                request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
            }
        } else if let Some(path) = attempt.uri.path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        loop {
            let mut connection = match self.idle.take(&attempt.store).await {
                Some(connection) => connection,
                None => self.connector.connect(attempt).await?,
            };
            if let Some(address) = connection.address {
                attempt.activity().connected_to(address);
            }
            match connection.request(request).await {
                Ok(response) => {
                    let (head, incoming) = response.into_parts();
                    return Ok((Head::from_parts(head, ()), Body::new(connection, incoming, self.idle.clone())));
                }
                Err(RequestError::NotSent(unsent)) => request = *unsent,
                Err(RequestError::Failed(e)) => return Err(attempt.lost(&e)),
            }
        }
    }
}
