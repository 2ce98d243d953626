//! Makes connections: which address of which name, TCP, a proxy's tunnel, TLS; and says what it was where one is not made.

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

use super::activity::Activity;
use super::beneath::Beneath;
use super::connection::Connection;
use super::failure::{Peer, Role};
use super::proxy::{Proxy, Tunnel};
use super::resolve::Names;
use super::stream::{Stream, Wire};

/// A connection on which nothing moves is asked so often whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The way to a new connection.
pub(super) struct Connector {
    pub(super) names: Names,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) proxy: Option<Proxy>,
    /// The longest that name resolution, TCP, tunnel and TLS may take together.
    pub(super) connect_timeout: Duration,
    /// How long what was sent may stay unacknowledged.
    pub(super) idle_timeout: Duration,
}

impl Connector {
    /// A connection to this store, for this attempt.
    pub(super) async fn connect(&self, store: &Uri, attempt: &Activity) -> Result<Connection, TransportFailure> {
        let _connecting = Connecting::begin(attempt);
        let (target, role) = match &self.proxy {
            Some(proxy) => (proxy.uri(), Role::Proxy),
            None => (store, Role::Store),
        };
        let mut way = Way { connector: self, attempt, peer: Peer::of(store, self.proxy.as_ref()), role, dialled: None };
        let made = tokio::time::timeout(self.connect_timeout, way.to(target, store)).await;
        let made = made.unwrap_or_else(|_| Err(way.peer.too_slow(way.role)));
        if made.is_err()
            && let Some((name, ip)) = &way.dialled
        {
            self.names.failed(name, *ip);
        }
        made
    }
}

/// One connection in the making.
struct Way<'a> {
    connector: &'a Connector,
    attempt: &'a Activity,
    peer: Peer,
    /// To whom the next step leads.
    role: Role,
    /// The name, and the address of it that took the connection.
    dialled: Option<(String, IpAddr)>,
}

impl Way<'_> {
    async fn to(&mut self, target: &Uri, store: &Uri) -> Result<Connection, TransportFailure> {
        let stream = self.stream(target, store).await?;
        // Of a proxy's address the store's name knows nothing.
        let dialled = self.dialled.as_ref().filter(|_| self.connector.proxy.is_none()).map(|(_, ip)| *ip);
        Connection::begin(stream, dialled).await.map_err(|e| self.peer.not_connected(self.role, &e))
    }

    async fn stream(&mut self, target: &Uri, store: &Uri) -> Result<Stream, TransportFailure> {
        let tcp = self.tcp(target).await?;
        let stream = match is_https(target) {
            true => self.tls(target, Box::new(tcp)).await?,
            false => Stream::Plain(tcp),
        };
        let (Some(proxy), true) = (&self.connector.proxy, is_https(store)) else { return Ok(stream) };
        let tunnel = match proxy.tunnel(stream, store).await {
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
            let found = self.connector.names.addresses(name).await;
            addresses = found.map_err(|e| self.failure(Code::Resolve, &format!("dns error: {e}")))?;
            self.peer.addresses = addresses.clone();
        }
        let mut connector = HttpConnector::new_with_resolver(Fixed(addresses.clone()));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(self.connector.connect_timeout));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE));
        connector.set_keepalive_retries(Some(3));
        // What a dropped connection still holds must not arrive much later.
        connector.set_tcp_user_timeout(Some(self.connector.idle_timeout));
        let tcp = match connector.call(target.clone()).await {
            Ok(tcp) => tcp.into_inner(),
            Err(e) => {
                for ip in &addresses {
                    self.connector.names.failed(name, *ip);
                }
                return Err(self.peer.not_connected(self.role, &e));
            }
        };
        if let (false, Ok(peer)) = (addresses.is_empty(), tcp.peer_addr()) {
            self.connector.names.connected(name, &addresses, peer.ip());
            self.dialled = Some((name.to_owned(), peer.ip()));
            self.peer.addresses = vec![peer.ip()];
            self.attempt.dialled(peer.ip());
        }
        Ok(tcp)
    }

    async fn tls(&self, target: &Uri, wire: Box<dyn Wire>) -> Result<Stream, TransportFailure> {
        let name = ServerName::try_from(host(target).to_owned())
            .map_err(|e| self.failure(Code::Connect, &format!("no certificate can name this host: {e}")))?;
        let connector = TlsConnector::from(self.connector.tls.clone());
        let tls = connector.connect(name, Beneath::new(wire)).await;
        Ok(Stream::Tls(Box::new(tls.map_err(|e| self.peer.not_connected(self.role, &e))?)))
    }

    fn failure(&self, code: Code, why: &str) -> TransportFailure {
        self.peer.unsent(self.role, code, why)
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// Without the brackets of IPv6.
pub(super) fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or("");
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// A name that was resolved already.
#[derive(Clone)]
struct Fixed(Vec<IpAddr>);

impl Service<Name> for Fixed {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        // Port 0: the URL's own.
        let addresses: Vec<SocketAddr> = self.0.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        ready(Ok(addresses.into_iter()))
    }
}

/// As long as it lives, the attempt is connecting.
struct Connecting<'a>(&'a Activity);

impl Connecting<'_> {
    fn begin(attempt: &Activity) -> Connecting<'_> {
        attempt.connecting(true);
        Connecting(attempt)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting(false);
    }
}
