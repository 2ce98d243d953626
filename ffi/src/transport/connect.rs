//! Makes connections: which address of which name, TCP, a proxy's tunnel, TLS; and says what it was where one is not made.
//!
//! The client does not say whether a request waits for a connection or for its reply; but the connector runs inside the
//! attempt's own future, so a task-local value finds the way. Where another connection becomes free first, this one goes on by
//! itself, and the attempt counts as connecting until it is done: a time-out that comes a little later, never too early.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use s3vault_core::Code;
use s3vault_core::http::TransportFailure;
use tokio::io::BufReader;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::activity::Activity;
use super::failure::{Peer, Role};
use super::proxy::{Proxy, Tunnel};
use super::resolve::Names;
use super::stream::{BENEATH_TLS, Kind, Stream, Wire};

/// A connection on which nothing moves is asked so often whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

tokio::task_local! {
    static ATTEMPT: Arc<Activity>;
}

/// Runs this future; connections that it makes are noticed by `activity`.
pub(super) fn noticed_by<F: Future>(activity: Arc<Activity>, future: F) -> impl Future<Output = F::Output> {
    ATTEMPT.scope(activity, future)
}

/// No connection: what was tried, and what came of it.
#[derive(Debug)]
pub(super) struct ConnectFailure(pub(super) TransportFailure);

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl StdError for ConnectFailure {}

/// The client's way to a new connection.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) names: Names,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) proxy: Option<Proxy>,
    /// The longest that name resolution, TCP, tunnel and TLS may take together.
    pub(super) connect_timeout: Duration,
    /// How long what was sent may stay unacknowledged.
    pub(super) idle_timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, ConnectFailure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, store: Uri) -> Self::Future {
        let connector = self.clone();
        let connecting = Connecting::begin();
        Box::pin(async move {
            let stream = connector.connect(&store, &connecting).await?;
            Ok(TokioIo::new(stream))
        })
    }
}

impl Connector {
    async fn connect(&self, store: &Uri, connecting: &Connecting) -> Result<Stream, ConnectFailure> {
        let (target, role) = match &self.proxy {
            Some(proxy) => (proxy.uri(), Role::Proxy),
            None => (store, Role::Store),
        };
        let mut way =
            Way { connector: self, connecting, peer: Peer::of(store, self.proxy.as_ref()), role, dialled: None };
        let made = tokio::time::timeout(self.connect_timeout, way.to(target, store)).await;
        let made = made.unwrap_or_else(|_| Err(way.too_slow()));
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
    connecting: &'a Connecting,
    peer: Peer,
    /// To whom the next step leads.
    role: Role,
    /// The name, and the address of it that took the connection.
    dialled: Option<(String, IpAddr)>,
}

impl Way<'_> {
    async fn to(&mut self, target: &Uri, store: &Uri) -> Result<Stream, ConnectFailure> {
        let tcp = self.tcp(target).await?;
        let kind = match is_https(target) {
            true => self.tls(target, Box::new(tcp)).await?,
            false => Kind::Plain(tcp),
        };
        let Some(proxy) = &self.connector.proxy else {
            let dialled = self.dialled.as_ref().map(|(_, ip)| *ip);
            return Ok(Stream { kind, to_proxy: false, dialled });
        };
        let to_proxy = Stream { kind, to_proxy: true, dialled: None };
        if !is_https(store) {
            return Ok(to_proxy);
        }
        let tunnel = match proxy.tunnel(to_proxy, store).await {
            Tunnel::Open(tunnel) => tunnel,
            Tunnel::Refused(failure) => return Err(ConnectFailure(failure)),
            Tunnel::Broken(why) => return Err(self.failure(Code::Connect, &why)),
        };
        self.role = Role::Store;
        let kind = self.tls(store, tunnel).await?;
        Ok(Stream { kind, to_proxy: false, dialled: None })
    }

    async fn tcp(&mut self, target: &Uri) -> Result<tokio::net::TcpStream, ConnectFailure> {
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
                return Err(ConnectFailure(self.peer.not_connected(self.role, &e)));
            }
        };
        if let (false, Ok(peer)) = (addresses.is_empty(), tcp.peer_addr()) {
            self.connector.names.connected(name, &addresses, peer.ip());
            self.dialled = Some((name.to_owned(), peer.ip()));
            self.peer.addresses = vec![peer.ip()];
            self.connecting.dialled(peer.ip());
        }
        Ok(tcp)
    }

    async fn tls(&self, target: &Uri, wire: Box<dyn Wire>) -> Result<Kind, ConnectFailure> {
        let name = ServerName::try_from(host(target).to_owned())
            .map_err(|e| self.failure(Code::Connect, &format!("no certificate can name this host: {e}")))?;
        let connector = TlsConnector::from(self.connector.tls.clone());
        let tls = connector.connect(name, BufReader::with_capacity(BENEATH_TLS, wire)).await;
        Ok(Kind::Tls(Box::new(tls.map_err(|e| ConnectFailure(self.peer.not_connected(self.role, &e)))?)))
    }

    fn too_slow(&self) -> ConnectFailure {
        self.failure(Code::TimedOut, "no connection in time (connect_timeout_ms)")
    }

    fn failure(&self, code: Code, why: &str) -> ConnectFailure {
        let detail = format!("{}: {why}", self.peer.named(self.role));
        ConnectFailure(TransportFailure { code, maybe_sent: false, detail })
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

/// As long as it lives, the attempt is connecting. Nothing where the connection is not an attempt's.
struct Connecting(Option<Arc<Activity>>);

impl Connecting {
    fn begin() -> Connecting {
        let attempt = ATTEMPT.try_with(Arc::clone).ok();
        if let Some(attempt) = &attempt {
            attempt.connecting(true);
        }
        Connecting(attempt)
    }

    fn dialled(&self, address: IpAddr) {
        if let Some(attempt) = &self.0 {
            attempt.dialled(address);
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(attempt) = &self.0 {
            attempt.connecting(false);
        }
    }
}
