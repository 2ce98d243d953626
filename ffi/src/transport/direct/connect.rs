//! Makes connections: address, TCP, proxy tunnel, TLS; and reports which step failed.

use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use s3vault_core::Code;
use s3vault_core::http::TransportFailure;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::connection::Connection;
use super::record_reader::RecordReader;
use super::stream::{ReadWrite, Stream};
use super::tunnel::{self, Tunnel};
use crate::transport::attempt::{Attempt, host, is_http};
use crate::transport::failure::{Peer, Role};
use crate::transport::watchdog::Connecting;

/// TCP keep-alive interval of an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Makes connections to a store, directly or through a proxy.
pub(super) struct Connector {
    pub(super) tls: Arc<ClientConfig>,
    /// Limit for name resolution, TCP, tunnel and TLS together.
    pub(super) connect_timeout: Duration,
    /// How long sent data may stay unacknowledged.
    pub(super) idle_timeout: Duration,
}

impl Connector {
    /// Makes a connection to the store of this attempt.
    pub(super) async fn connect(&self, attempt: &Attempt) -> Result<Connection, TransportFailure> {
        let _connecting = Connecting::start(attempt.activity().clone());
        let (target, role) = match &attempt.proxy {
            Some(proxy) => (proxy.uri(), Role::Proxy),
            None => (&attempt.uri, Role::Store),
        };
        let mut handshake = Handshake { connector: self, attempt, peer: attempt.peer(), role, connected: None };
        let made = tokio::time::timeout(self.connect_timeout, handshake.run(target)).await;
        let made = made.unwrap_or_else(|_| Err(handshake.peer.too_slow(handshake.role)));
        if made.is_err()
            && let Some((name, ip)) = &handshake.connected
        {
            attempt.names.failed(name, *ip);
        }
        made
    }
}

/// A connection that is being made.
struct Handshake<'a> {
    connector: &'a Connector,
    attempt: &'a Attempt,
    peer: Peer,
    /// The peer of the current step.
    role: Role,
    /// The name, and its address that accepted the TCP connection.
    connected: Option<(String, IpAddr)>,
}

impl Handshake<'_> {
    async fn run(&mut self, target: &Uri) -> Result<Connection, TransportFailure> {
        let stream = self.stream(target).await?;
        // The address of a proxy is not an address of the store's name.
        let address = self.connected.as_ref().filter(|_| self.attempt.proxy.is_none()).map(|(_, ip)| *ip);
        Connection::start(stream, address).await.map_err(|e| self.peer.not_connected(self.role, &e))
    }

    async fn stream(&mut self, target: &Uri) -> Result<Stream, TransportFailure> {
        let tcp = self.tcp(target).await?;
        let stream = match is_http(target) {
            true => Stream::plain(tcp),
            false => self.tls(target, Box::new(tcp)).await?,
        };
        let store = &self.attempt.uri;
        let (Some(proxy), false) = (&self.attempt.proxy, is_http(store)) else { return Ok(stream) };
        let tunnel = match tunnel::open(proxy, stream, store).await {
            Tunnel::Open(tunnel) => tunnel,
            Tunnel::Refused(failure) => return Err(failure),
            Tunnel::Broken(why) => return Err(self.failure(Code::Connect, &why)),
        };
        self.role = Role::Store;
        self.tls(store, tunnel).await
    }

    async fn tcp(&mut self, target: &Uri) -> Result<tokio::net::TcpStream, TransportFailure> {
        let name = host(target);
        let mut addresses = Vec::new();
        if name.parse::<IpAddr>().is_err() {
            let found = self.attempt.names.addresses(name).await;
            addresses = found.map_err(|e| self.failure(Code::Resolve, &format!("dns error: {e}")))?;
            self.peer.addresses = addresses.clone();
        }
        let mut connector = HttpConnector::new_with_resolver(Resolved(addresses.clone()));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(self.connector.connect_timeout));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE));
        connector.set_keepalive_retries(Some(3));
        // Data in the socket buffer of a dropped connection must not arrive much later.
        connector.set_tcp_user_timeout(Some(self.connector.idle_timeout));
        let tcp = match connector.call(target.clone()).await {
            Ok(tcp) => tcp.into_inner(),
            Err(e) => {
                for ip in &addresses {
                    self.attempt.names.failed(name, *ip);
                }
                return Err(self.peer.not_connected(self.role, &e));
            }
        };
        if let (false, Ok(peer)) = (addresses.is_empty(), tcp.peer_addr()) {
            self.attempt.names.connected(name, &addresses, peer.ip());
            self.connected = Some((name.to_owned(), peer.ip()));
            self.peer.addresses = vec![peer.ip()];
            self.attempt.activity().connected_to(peer.ip());
        }
        Ok(tcp)
    }

    async fn tls(&self, target: &Uri, stream: Box<dyn ReadWrite>) -> Result<Stream, TransportFailure> {
        let name = ServerName::try_from(host(target).to_owned()).map_err(|e| {
            self.failure(Code::Connect, &format!("the host is not a valid name for a certificate: {e}"))
        })?;
        let connector = TlsConnector::from(self.connector.tls.clone());
        let tls = connector.connect(name, RecordReader::new(stream)).await;
        Ok(Stream::tls(tls.map_err(|e| self.peer.not_connected(self.role, &e))?))
    }

    fn failure(&self, code: Code, why: &str) -> TransportFailure {
        self.peer.unsent(self.role, code, why)
    }
}

/// A resolver that returns these addresses.
#[derive(Clone)]
struct Resolved(Vec<IpAddr>);

impl Service<Name> for Resolved {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        // The connector replaces port 0 by the URL's port.
        let addresses: Vec<SocketAddr> = self.0.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        ready(Ok(addresses.into_iter()))
    }
}
