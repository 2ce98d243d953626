//! The server: a listener on the loopback interface, with a runtime and a thread of its own.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::access::{Gate, Keys};
use crate::fault::Fault;
use crate::s3::Operations;
use crate::shared::{Shared, Stats};
use crate::{admin, front};
use s3_model::{ObjectLock, Rules, Store, Versioning};

/// How to start a server.
#[derive(Clone)]
pub struct Options {
    /// The port on 127.0.0.1; 0: one that is free.
    pub port: u16,
    /// The buckets there are from the start.
    pub buckets: Vec<(String, Versioning)>,
    /// Buckets with object lock, and so with versioning, that are there from the start.
    pub locked_buckets: Vec<String>,
    /// How the store behaves where stores differ. A Complete that is sent again finds its upload unknown in any case.
    pub rules: Rules,
    /// The access key that is known.
    pub access_key: String,
    /// Its secret key.
    pub secret_key: String,
    /// The server stops by itself after so long without a request.
    pub idle_exit: Option<Duration>,
    /// The most payload bytes that are held; what goes beyond is refused with status 507.
    pub max_bytes: u64,
    /// Certificate chain and private key, both PEM: the server speaks TLS.
    pub tls: Option<Tls>,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

/// 16 GiB.
pub(crate) const MAX_BYTES: u64 = 16 << 30;

impl Options {
    /// A free port, no bucket, no TLS, no end, at most 16 GiB.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            port: 0,
            buckets: Vec::new(),
            locked_buckets: Vec::new(),
            rules: Rules::default(),
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            idle_exit: None,
            max_bytes: MAX_BYTES,
            tls: None,
        }
    }

    /// Adds a bucket with versioning.
    #[must_use]
    pub fn bucket(mut self, name: impl Into<String>) -> Self {
        self.buckets.push((name.into(), Versioning::Enabled));
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("port", &self.port)
            .field("buckets", &self.buckets)
            .field("access_key", &self.access_key)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// A running server. It stops, and forgets everything, when this is dropped.
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server; it accepts connections when this returns.
    ///
    /// # Errors
    /// The port cannot be bound, a bucket's name is not one, or certificate and key do not belong together.
    pub fn start(options: Options) -> io::Result<Self> {
        let acceptor = options.tls.as_ref().map(acceptor).transpose()?;
        // A memory of every upload that was completed would grow for as long as the store runs.
        let mut store = Store::new(Rules { completes_again: false, ..options.rules }, seed());
        let shared = {
            let locked = options.locked_buckets.iter().map(|name| (name, Versioning::Enabled, true));
            let others = options.buckets.iter().map(|(name, versioning)| (name, *versioning, false));
            for (name, versioning, is_locked) in others.chain(locked) {
                if !s3s::path::check_bucket_name(name) {
                    return Err(io::Error::other(format!("{name:?} cannot be the name of a bucket")));
                }
                store
                    .create_bucket(name, versioning, SystemTime::now())
                    .and_then(|()| if is_locked { store.set_lock(name, ObjectLock::default()) } else { Ok(()) })
                    .map_err(|refusal| io::Error::other(format!("bucket {name:?}: {}", refusal.message)))?;
            }
            Shared::new(store, options.max_bytes, options.access_key, options.secret_key)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .map_err(|error| io::Error::new(error.kind(), format!("127.0.0.1:{}: {error}", options.port)))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };

        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("embedded-store").build()?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("embedded-store".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, acceptor, &served) => {}
                    () = idle(&served, options.idle_exit) => {}
                    _ = stopped => {}
                }
            });
            // Connections that are still open end here.
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self { address, scheme, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The endpoint, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What the server has done so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Other keys are known from now on, and these only.
    pub fn set_keys(&self, access_key: impl Into<String>, secret_key: impl Into<String>) {
        self.shared.set_keys(access_key.into(), secret_key.into());
    }

    /// Orders a fault.
    ///
    /// # Errors
    /// The fault could never happen; the text says why.
    pub fn fault(&self, fault: Fault) -> Result<(), String> {
        admin::add_fault(&self.shared, fault).map_err(|refusal| refusal.message)
    }

    /// Faults that have not happened yet.
    pub fn pending_faults(&self) -> Vec<Fault> {
        self.shared.faults.pending()
    }

    /// Forgets the faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Gives the newest version of a key another id: the one that it had in the store that it was copied from.
    ///
    /// # Errors
    /// There is no such bucket or key; the text says which.
    pub fn set_version_id(&self, bucket: &str, key: &str, id: &str) -> Result<(), String> {
        self.shared.store().set_version_id(bucket, key, id).map_err(|refusal| refusal.message)
    }

    /// Refuses every deletion of this key with AccessDenied, or no longer.
    ///
    /// # Errors
    /// There is no such bucket; the text says so.
    pub fn set_undeletable(&self, bucket: &str, key: &str, is_denied: bool) -> Result<(), String> {
        admin::set_undeletable(&self.shared, bucket, key, is_denied).map_err(|refusal| refusal.message)
    }

    /// Makes the objects of a bucket older whose key contains `part`.
    pub fn age(&self, bucket: &str, part: &str, by: Duration) -> Result<(), String> {
        self.shared.store().age(bucket, part, by).map_err(|refusal| refusal.message)
    }

    /// Moves the store's clock this many seconds away from the machine's.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.shared.clock.set_offset(seconds);
    }

    /// Waits until the server stops by itself.
    pub fn wait(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            // The panic has been reported by its hook.
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.join();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url()).finish_non_exhaustive()
    }
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32)
}

/// TLS as S3 offers it: HTTP/1.1 only.
fn acceptor(tls: &Tls) -> io::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(&tls.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| io::Error::other(format!("the certificate: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key)
        .map_err(|error| io::Error::other(format!("the private key: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| io::Error::other(format!("certificate and private key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn service(shared: &Arc<Shared>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Operations::new(Arc::clone(shared)));
    builder.set_auth(Keys(Arc::clone(shared)));
    builder.set_access(Gate(Arc::clone(shared)));
    let mut config = S3Config::default();
    // s3s knows only the machine's clock; the strict check judges by the store's.
    config.presigned_url_max_skew_time_secs = u32::MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: &Arc<Shared>) {
    let service = service(shared);
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("embedded-store: the listener cannot be used: {error}"),
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: some will come back.
                eprintln!("embedded-store: accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // A socket that cannot be tuned still works.
        let _ = stream.set_nodelay(true);
        let (acceptor, service, shared) = (acceptor.clone(), service.clone(), Arc::clone(shared));
        tokio::spawn(async move {
            match acceptor {
                None => connection(stream, service, shared).await,
                // A client that distrusts the certificate ends the handshake: nothing to report.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection(stream, service, shared).await;
                    }
                }
            }
        });
    }
}

async fn connection<S>(stream: S, service: S3Service, shared: Arc<Shared>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let handler = service_fn(move |request| front::handle(Arc::clone(&shared), service.clone(), request));
    let served = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), handler).await;
    // Clients may go away at any time, and faults end connections on purpose.
    let _: Result<(), hyper::Error> = served;
}

/// Ends when no request has been under way for so long.
async fn idle(shared: &Shared, limit: Option<Duration>) {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    loop {
        let left = limit.saturating_sub(shared.idle());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}
