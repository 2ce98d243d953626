#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bodies;
#[cfg(feature = "reqwest")]
mod differential;
mod interim;
mod proxies;
mod resolving;
#[cfg(feature = "reqwest")]
mod socks;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3vault_core::Code;
use s3vault_core::http::{Body, Method, ReplyBody, ReplyHead, Request, RequestId, TransportFailure};

use super::body::Outgoing;
use super::testserver::{ReceivedRequest, Server, Shared, read_head, reply};
use super::{ClientKind, Proxies, Transport, TransportSettings, clock, runtime};

/// Runs a test with each client.
macro_rules! each_client {
    ($test:ident) => {
        mod $test {
            #[test]
            fn direct() {
                super::$test(super::ClientKind::Direct);
            }

            #[cfg(feature = "reqwest")]
            #[test]
            fn reqwest() {
                super::$test(super::ClientKind::Reqwest);
            }
        }
    };
}
use each_client;

const PATIENCE: Duration = Duration::from_secs(60);

fn settings(client: ClientKind) -> TransportSettings {
    TransportSettings {
        client,
        ca_file: None,
        connect_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        resolve_once: false,
        proxies: Proxies::default(),
    }
}

/// A time-out of attempts that must end by it.
const SHORT: Duration = Duration::from_millis(400);

/// Longer than a busy machine pauses a thread: a time-out of attempts that move bytes, with shorter pauses.
const BRIEF: Duration = Duration::from_secs(4);

fn impatient(client: ClientKind) -> TransportSettings {
    TransportSettings { idle_timeout: SHORT, ..settings(client) }
}

fn request(method: Method, url: &str) -> Request {
    Request {
        id: RequestId(1),
        operation: "Test",
        method,
        url: url.to_owned(),
        headers: Vec::new(),
        body: Body::Empty,
        reply: ReplyBody::Collect { limit: 1 << 20 },
        is_data: false,
        drop_at: None,
    }
}

/// Sends one request and reads the whole reply.
fn attempt(
    transport: &Transport,
    request: &Request,
    body: Option<Vec<u8>>,
) -> Result<(ReplyHead, Vec<u8>), TransportFailure> {
    runtime::handle().unwrap().block_on(async {
        let mut reply = transport.send(request, body.map(Outgoing::bytes), transport.activity()).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = reply.chunk().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok((std::mem::take(&mut reply.head), bytes))
    })
}

fn get(settings: &TransportSettings, url: &str) -> Result<(ReplyHead, Vec<u8>), TransportFailure> {
    attempt(&Transport::new(settings).unwrap(), &request(Method::Get, url), None)
}

/// Records requests, and answers 200.
fn recorder() -> (Server, Shared<Vec<ReceivedRequest>>) {
    let seen: Shared<Vec<ReceivedRequest>> = Shared::default();
    let into = seen.clone();
    let server = Server::http(move |request, wire| {
        into.lock().unwrap().push(request.clone());
        reply(wire, 200, if request.line.starts_with("HEAD") { b"" } else { b"ok" })
    });
    (server, seen)
}

each_client!(a_url_is_sent_as_it_was_signed);

fn a_url_is_sent_as_it_was_signed(client: ClientKind) {
    let (server, seen) = recorder();
    let transport = Transport::new(&settings(client)).unwrap();
    let targets = [
        "/",
        "/bucket/a//b",
        "/bucket//lead",
        "/bucket/trailing/",
        "/bucket/a%2Fb",
        "/bucket/a%2fb",
        "/bucket/~tilde",
        "/bucket/a+b",
        "/bucket/a%20b%2Bc",
        "/bucket/%C3%A9%E2%82%AC%F0%9F%98%80",
        "/bucket/%25",
        "/bucket/a=b@c,d:e;f!g$h&i'j(k)*",
        "/bucket/%0A%00%7F",
        "/bucket/...",
        "/bucket/k?versionId=a%2Bb%2F%3D",
        "/bucket?list-type=2&prefix=a%20b%2F&delimiter=",
        "/bucket?uploads",
        "/bucket?uploads=",
        "/bucket/%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D",
    ];
    for target in targets {
        attempt(&transport, &request(Method::Get, &server.url(target)), None).unwrap();
    }
    let sent: Vec<String> = seen.lock().unwrap().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(sent, targets);
    // A connection becomes free a moment after its reply was read, so the exact count varies.
    assert!(server.connections() < targets.len(), "connections are reused");
}

each_client!(a_url_with_dot_segments_is_sent_as_it_was_signed_or_refused);

fn a_url_with_dot_segments_is_sent_as_it_was_signed_or_refused(client: ClientKind) {
    let (server, seen) = recorder();
    for target in ["/bucket/a/../b", "/bucket/./a", "/bucket/%2e%2E/a", "/bucket/%2E", "/bucket/a/.."] {
        let outcome = get(&settings(client), &server.url(target));
        if client == ClientKind::Direct {
            outcome.unwrap();
            assert_eq!(seen.lock().unwrap().pop().unwrap().target(), target);
        } else {
            let failure = outcome.unwrap_err();
            assert_eq!((failure.code, failure.maybe_sent), (Code::InvalidOption, false), "{target}");
            assert!(
                failure.detail.contains(target) && failure.detail.contains("transport = direct"),
                "{}",
                failure.detail
            );
            assert!(seen.lock().unwrap().is_empty());
        }
    }
}

/// Returns when the runtime knows what happened to its sockets before this call: the kernel reports events in their order.
/// On a busy machine that may be long after they happened. The second time lets the tasks run that the first one woke.
fn let_the_runtime_see_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..2 {
        runtime::handle().unwrap().block_on(tokio::net::TcpStream::connect(address)).unwrap();
    }
}

each_client!(an_idle_connection_that_was_closed_costs_no_attempt);

fn an_idle_connection_that_was_closed_costs_no_attempt(client: ClientKind) {
    let closed: Arc<AtomicUsize> = Arc::default();
    let count = closed.clone();
    let server = Server::raw(move |mut stream| {
        let head = read_head(&mut stream).unwrap();
        stream.read_exact(&mut vec![0; head.length()]).unwrap();
        reply(&mut stream, 200, b"ok");
        drop(stream);
        count.fetch_add(1, Ordering::SeqCst);
    });
    let transport = Transport::new(&settings(client)).unwrap();
    for n in 1..=4 {
        // A PUT is not retried by HTTP clients, so only a new connection helps.
        let put = request(Method::Put, &server.url("/b/k"));
        assert_eq!(attempt(&transport, &put, Some(vec![7; 100_000])).unwrap().1, b"ok");
        super::testserver::until(|| closed.load(Ordering::SeqCst) == n);
        let_the_runtime_see_it();
    }
    assert_eq!(server.connections(), 4);
}

each_client!(a_url_that_would_be_sent_differently_is_refused);

fn a_url_that_would_be_sent_differently_is_refused(client: ClientKind) {
    let (server, seen) = recorder();
    for target in ["/bucket/a b", "/bucket/é", "/bucket/a#b", "/bucket/a\nb"] {
        let failure = get(&settings(client), &server.url(target)).unwrap_err();
        assert_eq!((failure.code, failure.maybe_sent), (Code::Internal, false), "{target}: {}", failure.detail);
    }
    assert!(seen.lock().unwrap().is_empty());
}

each_client!(requests_are_sent_as_core_built_them);

fn requests_are_sent_as_core_built_them(client: ClientKind) {
    let (server, seen) = recorder();
    let transport = Transport::new(&settings(client)).unwrap();
    for (method, body, length) in [
        (Method::Get, None, None),
        (Method::Head, None, None),
        (Method::Delete, None, None),
        (Method::Put, None, Some("0")),
        (Method::Put, Some(vec![]), Some("0")),
        (Method::Post, Some(b"body".to_vec()), Some("4")),
    ] {
        let mut request = request(method, &server.url("/b/k"));
        request.headers =
            vec![("host".to_owned(), "bucket.example:9000".into()), ("x-amz-meta-name".to_owned(), "one".into())];
        attempt(&transport, &request, body.clone()).unwrap();
        let seen = seen.lock().unwrap().pop().unwrap();
        assert_eq!(seen.line, format!("{} /b/k HTTP/1.1", method.as_str()));
        assert_eq!(seen.header("host"), Some("bucket.example:9000"));
        assert_eq!(seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")).count(), 1);
        assert_eq!(seen.header("x-amz-meta-name"), Some("one"));
        assert_eq!(seen.header("content-length"), length, "{method:?}");
        assert_eq!(seen.header("transfer-encoding"), None);
        assert_eq!(seen.body, body.unwrap_or_default());
    }
}

each_client!(a_reply_is_passed_on_unchanged);

fn a_reply_is_passed_on_unchanged(client: ClientKind) {
    let server = Server::http(|_, wire| {
        // A redirect, a compressed body, and a header that is not text: the transport interprets none of them.
        wire.write_all(b"HTTP/1.1 307 Temporary\r\nLocation: http://127.0.0.1:1/\r\nContent-Encoding: gzip\r\n")
            .unwrap();
        wire.write_all(b"X-Raw: \xff\r\nETag: \"e\"\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00").is_ok()
    });
    let (head, body) = get(&settings(client), &server.url("/")).unwrap();
    assert_eq!((head.status, body.as_slice()), (307, &b"\x1f\x8b\x08\x00"[..]));
    assert_eq!(head.header("etag"), Some("\"e\""));
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    assert_eq!(head.header("x-raw"), None);
}

each_client!(a_failure_to_connect_sent_nothing);

fn a_failure_to_connect_sent_nothing(client: ClientKind) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = get(&settings(client), &format!("http://{address}/b")).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Connect, false), "{}", failure.detail);
    assert!(failure.detail.contains(&address.to_string()) && failure.detail.contains("refused"), "{}", failure.detail);

    let failure = get(&settings(client), "http://store.invalid/b").unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Resolve, false), "{}", failure.detail);
    assert!(failure.detail.contains("store.invalid"), "{}", failure.detail);
}

/// A CA that issues server certificates.
struct Authority {
    file: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("s3vault-ca-{name}-{}-{count}.pem", std::process::id()));
        std::fs::write(&file, issuer.pem()).unwrap();
        Authority { file, issuer }
    }

    fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Server {
        Server::https(self.config(name, change), |_, wire| reply(wire, 200, b"over TLS"))
    }

    fn config(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        tls_server(certificate.der(), &key)
    }

    fn trusted(&self, client: ClientKind) -> TransportSettings {
        TransportSettings { ca_file: Some(self.file.clone()), ..settings(client) }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn tls_server(certificate: &CertificateDer<'static>, key: &KeyPair) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    Arc::new(config)
}

fn https(server: &Server) -> String {
    format!("https://{}/b/k", server.address)
}

each_client!(a_ca_file_replaces_the_systems_root_certificates);

fn a_ca_file_replaces_the_systems_root_certificates(client: ClientKind) {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = ours.server("127.0.0.1", |_| {});
    assert_eq!(get(&ours.trusted(client), &https(&server)).unwrap().1, b"over TLS");
    for settings in [settings(client), other.trusted(client)] {
        let failure = get(&settings, &https(&server)).unwrap_err();
        assert_eq!((failure.code, failure.maybe_sent), (Code::Certificate, false), "{}", failure.detail);
        assert!(failure.detail.contains("ca_file"), "{}", failure.detail);
    }
}

each_client!(the_reason_why_a_certificate_is_refused_is_reported);

fn the_reason_why_a_certificate_is_refused_is_reported(client: ClientKind) {
    let authority = Authority::new("wrong");
    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change, &str); 5] = [
        ("another.example", |_| {}, "for another name"),
        ("127.0.0.1", |params| params.subject_alt_names.clear(), "-addext subjectAltName=DNS:NAME"),
        ("127.0.0.1", |params| params.not_after = date_time_ymd(2001, 1, 1), "has expired"),
        ("127.0.0.1", |params| params.not_before = date_time_ymd(2999, 1, 1), "not valid yet"),
        ("127.0.0.1", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "a CA certificate"),
    ];
    for (name, change, says) in cases {
        let server = authority.server(name, change);
        let failure = get(&authority.trusted(client), &https(&server)).unwrap_err();
        assert_eq!((failure.code, failure.maybe_sent), (Code::Certificate, false), "{}", failure.detail);
        assert!(failure.detail.contains(says), "{says}: {}", failure.detail);
        assert!(!failure.detail.contains("Other(") && !failure.detail.contains(" {"), "{}", failure.detail);
    }
}

// What `openssl req -x509` makes, and many servers start with: a CA certificate that is the server's too.
each_client!(a_servers_own_certificate_is_trusted_if_ca_file_has_it);

fn a_servers_own_certificate_is_trusted_if_ca_file_has_it(client: ClientKind) {
    let folder = std::env::temp_dir().join(format!("s3vault-own-{}-{client:?}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ca_file = folder.join("own.pem");
    let trusted = || TransportSettings { ca_file: Some(ca_file.clone()), ..settings(client) };
    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change, Result<(), &str>); 6] = [
        ("127.0.0.1", |_| {}, Ok(())),
        ("127.0.0.1", |params| params.is_ca = IsCa::NoCa, Ok(())),
        ("another.example", |_| {}, Err("for another name")),
        ("127.0.0.1", |params| params.subject_alt_names.clear(), Err("subjectAltName")),
        ("127.0.0.1", |params| params.not_after = date_time_ymd(2001, 1, 1), Err("has expired")),
        ("127.0.0.1", |params| params.not_before = date_time_ymd(2999, 1, 1), Err("not valid yet")),
    ];
    for (name, change, expected) in cases {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let server = Server::https(tls_server(own.der(), &key), |_, wire| reply(wire, 200, b"over TLS"));
        std::fs::write(&ca_file, own.pem()).unwrap();
        match (get(&trusted(), &https(&server)), expected) {
            (Ok((_, body)), Ok(())) => assert_eq!(body, b"over TLS"),
            (Err(failure), Err(says)) => {
                assert_eq!((failure.code, failure.maybe_sent), (Code::Certificate, false), "{}", failure.detail);
                assert!(failure.detail.contains(says), "{says}: {}", failure.detail);
            }
            (got, _) => panic!("{name}, {expected:?}: {got:?}"),
        }
        // Another certificate with the same contents is not that one.
        let other = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        std::fs::write(&ca_file, other.pem()).unwrap();
        assert_eq!(get(&trusted(), &https(&server)).unwrap_err().code, Code::Certificate);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

each_client!(ca_files_come_in_several_forms);

fn ca_files_come_in_several_forms(client: ClientKind) {
    let authority = Authority::new("forms");
    let server = authority.server("127.0.0.1", |_| {});
    let (pem, der) = (authority.issuer.pem(), authority.issuer.der().to_vec());
    // OpenSSL writes its trust settings after the certificate: here, an empty sequence.
    let trusted = STANDARD.encode([&der[..], &[0x30, 0]].concat());
    let trusted = format!("-----BEGIN TRUSTED CERTIFICATE-----\n{trusted}\n-----END TRUSTED CERTIFICATE-----\n");
    let unusable = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let forms: [(Vec<u8>, usize); 6] = [
        (pem.clone().into(), 0),
        (der, 0),
        (format!("\u{feff}{pem}").into(), 0),
        (format!("A comment.\r\n{}", pem.replace('\n', "\r\n")).into(), 0),
        (trusted.into(), 0),
        (format!("{unusable}{pem}{unusable}").into(), 2),
    ];
    for (number, (bytes, skipped)) in forms.into_iter().enumerate() {
        std::fs::write(&authority.file, bytes).unwrap();
        let (_, body) = get(&authority.trusted(client), &https(&server)).unwrap();
        assert_eq!(body, b"over TLS", "form {number}");
        let transport = Transport::new(&authority.trusted(client)).unwrap();
        assert_eq!(transport.warnings().len(), skipped, "{:?}", transport.warnings());
        for (warning, name) in transport.warnings().iter().zip(["certificate 1", "certificate 3"]) {
            assert!(warning.contains(name) && warning.contains("s3vault-ca-forms"), "{warning}");
        }
    }
}

each_client!(https_to_an_http_port_is_reported_as_such);

fn https_to_an_http_port_is_reported_as_such(client: ClientKind) {
    let (server, seen) = recorder();
    // The recorder cannot parse a TLS handshake, so another server answers it.
    let answering = Server::raw(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let failure = get(&settings(client), &https(&answering)).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Connect, false), "{}", failure.detail);
    assert!(failure.detail.contains("http://"), "{}", failure.detail);
    drop(server);
    assert!(seen.lock().unwrap().is_empty());
}

each_client!(a_connection_that_is_not_made_in_time_fails);

fn a_connection_that_is_not_made_in_time_fails(client: ClientKind) {
    // Accepts connections and never answers the TLS handshake.
    let server = Server::raw(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let settings = TransportSettings { connect_timeout: SHORT, ..settings(client) };
    let failure = get(&settings, &https(&server)).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::TimedOut, false), "{}", failure.detail);
    assert!(failure.detail.contains("connect_timeout_ms"), "{}", failure.detail);
    // The idle time-out does not run while connecting.
    let settings = TransportSettings { idle_timeout: Duration::from_millis(1), ..settings };
    let failure = get(&settings, &https(&server)).unwrap_err();
    assert!(failure.detail.contains("connect_timeout_ms"), "{}", failure.detail);
}

each_client!(the_idle_timeout_ends_an_attempt);

fn the_idle_timeout_ends_an_attempt(client: ClientKind) {
    let silent = Server::http(|_, wire| wire.read(&mut [0]).is_ok_and(|count| count > 0));
    let stuck = Server::http(|_, wire| {
        let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
        wire.read(&mut [0]).is_ok_and(|count| count > 0)
    });
    for server in [silent, stuck] {
        let failure = get(&impatient(client), &server.url("/b/k")).unwrap_err();
        assert_eq!((failure.code, failure.maybe_sent), (Code::TimedOut, true), "{}", failure.detail);
        assert!(failure.detail.contains("idle_timeout_ms"), "{}", failure.detail);
    }
}

/// A store that reads 1 MiB of the body of `/stuck` and then stops. Other bodies are read slowly.
fn sticking() -> Server {
    Server::raw(|mut stream| {
        let Some(head) = read_head(&mut stream) else { return };
        let mut buffer = vec![0; 1 << 20];
        if head.target() == "/stuck" {
            let _ = stream.read_exact(&mut buffer);
            std::thread::sleep(PATIENCE);
        }
        while stream.read(&mut buffer[..65536]).is_ok_and(|count| count > 0) {
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

each_client!(a_stalled_connection_is_abandoned_while_others_make_progress);

fn a_stalled_connection_is_abandoned_while_others_make_progress(client: ClientKind) {
    let server = sticking();
    let put = async |transport: &Transport, target, length| {
        let mut body = Outgoing::bytes(vec![0; length]);
        body.when_sent(Box::new(|| {}));
        let put = request(Method::Put, &server.url(target));
        transport.send(&put, Some(body), transport.activity()).await.err()
    };
    let stuck = async |idle_timeout, others: bool| {
        let transport = Transport::new(&TransportSettings { idle_timeout, ..settings(client) }).unwrap();
        tokio::select! {
            failure = put(&transport, "/stuck", 64 << 20) => failure,
            failure = put(&transport, "/other", 1 << 30), if others => panic!("{failure:?}"),
        }
    };
    // It stalls after a sixth of the idle time-out, which is long enough for a busy machine to move some of the other body.
    // The kernel's own time-out ends it too, at its next probe of the closed window: 2 s after the watchdog, but first on a
    // machine so busy that the watchdog is late. What the watchdog decides is tested beside it.
    for (idle_timeout, others, says) in
        [(PATIENCE / 2, true, "the connection stalled"), (BRIEF, false, "(idle_timeout_ms)")]
    {
        let failure = runtime::handle().unwrap().block_on(stuck(idle_timeout, others));
        let failure = failure.expect("no reply ever comes");
        assert_eq!((failure.code, failure.maybe_sent), (Code::TimedOut, true));
        let by_kernel = failure.detail.contains("os error 110");
        assert!(failure.detail.contains(says) || by_kernel, "{}", failure.detail);
    }
}

each_client!(a_slow_reply_does_not_time_out);

fn a_slow_reply_does_not_time_out(client: ClientKind) {
    // The reply takes longer than the idle time-out, with much shorter pauses.
    let settings = TransportSettings { idle_timeout: BRIEF, ..settings(client) };
    let server = Server::http(|_, wire| {
        let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        (0..10).all(|_| {
            std::thread::sleep(BRIEF / 8);
            wire.write_all(b"x").is_ok()
        })
    });
    assert_eq!(get(&settings, &server.url("/b/k")).unwrap().1, b"xxxxxxxxxx");
}

each_client!(a_slow_upload_does_not_time_out);

fn a_slow_upload_does_not_time_out(client: ClientKind) {
    let settings = TransportSettings { idle_timeout: BRIEF, ..settings(client) };
    let length = 64 << 20;
    let server = Server::raw(move |mut stream| {
        read_head(&mut stream).unwrap();
        let mut left = length;
        let mut buffer = vec![0; 1 << 20];
        while left > 0 {
            let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
            left -= count;
            std::thread::sleep(BRIEF / 50);
        }
        reply(&mut stream, 200, b"all");
    });
    let put = request(Method::Put, &server.url("/b/k"));
    let (_, body) = attempt(&Transport::new(&settings).unwrap(), &put, Some(vec![0; length])).unwrap();
    assert_eq!(body, b"all");
}

each_client!(a_body_that_is_cut_short_is_a_failure);

fn a_body_that_is_cut_short_is_a_failure(client: ClientKind) {
    for cut in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
    ] {
        let server = Server::http(move |_, wire| {
            let _ = wire.write_all(cut.as_bytes());
            false
        });
        let failure = get(&settings(client), &server.url("/b/k")).unwrap_err();
        assert_eq!((failure.code, failure.maybe_sent), (Code::ConnectionLost, true), "{cut}: {}", failure.detail);
        assert!(failure.detail.contains(&server.address.to_string()), "{}", failure.detail);
    }
}

each_client!(interim_replies_are_skipped_and_wrong_lengths_are_failures);

fn interim_replies_are_skipped_and_wrong_lengths_are_failures(client: ClientKind) {
    for (wire, body) in [
        // RFC 9110 §15.2: a client accepts interim replies that it did not ask for.
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Some("ok")),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Some("ok"),
        ),
        // Without a length the body ends with the connection.
        ("HTTP/1.1 200 OK\r\n\r\nok", Some("ok")),
        // Bytes after the announced length are ignored.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok, and more", Some("ok")),
        ("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok", None),
        ("SSH-2.0-OpenSSH_9.2\r\n", None),
    ] {
        let server = Server::http(move |_, to| {
            let _ = to.write_all(wire.as_bytes());
            false
        });
        let answer = get(&settings(client), &server.url("/b/k"));
        match (answer, body) {
            (Ok((head, got)), Some(body)) => {
                assert_eq!((head.status, got.as_slice()), (200, body.as_bytes()), "{wire}")
            }
            (Err(failure), None) => {
                assert_eq!((failure.code, failure.maybe_sent), (Code::ConnectionLost, true), "{wire}")
            }
            (answer, _) => panic!("{wire}: {answer:?}"),
        }
    }
}

each_client!(an_early_refusal_is_read_before_the_body_is_sent);

fn an_early_refusal_is_read_before_the_body_is_sent(client: ClientKind) {
    let server = Server::raw(|mut stream| {
        read_head(&mut stream).unwrap();
        reply(&mut stream, 403, b"no");
        // Keeps reading until the client closes, as a server must for its answer to arrive (RFC 9112 §9.6).
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let transport = Transport::new(&settings(client)).unwrap();
    let put = request(Method::Put, &server.url("/b/k"));
    let (head, body) = attempt(&transport, &put, Some(vec![0; 64 << 20])).unwrap();
    assert_eq!((head.status, body.as_slice()), (403, &b"no"[..]));
}

each_client!(a_dated_request_is_abandoned_when_its_date_has_expired);

fn a_dated_request_is_abandoned_when_its_date_has_expired(client: ClientKind) {
    let closed: Shared<bool> = Shared::default();
    let into = closed.clone();
    let server = Server::http(move |_, wire| {
        *into.lock().unwrap() = wire.read(&mut [0]).is_ok_and(|count| count == 0);
        false
    });
    let mut request = request(Method::Put, &server.url("/b/k"));
    request.drop_at = Some(clock::mono_ms() + 300);
    let failure = attempt(&Transport::new(&settings(client)).unwrap(), &request, None).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::TimedOut, true));
    assert!(failure.detail.contains("date"), "{}", failure.detail);
    super::testserver::until(|| *closed.lock().unwrap());
}

#[test]
fn the_librarys_threads_block_signals() {
    let own_mask = || blocked("/proc/thread-self/status");
    let before = own_mask();
    let (server, _seen) = recorder();
    // This starts a resolver thread too.
    let url = format!("http://localhost:{}/", server.address.port());
    let _ = get(&settings(ClientKind::Direct), &url);
    assert_eq!(own_mask(), before, "the caller's mask is unchanged");
    let mut found = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        // A thread may have ended.
        let Ok(name) = std::fs::read_to_string(task.join("comm")) else { continue };
        if name.trim() == "s3vault" {
            found += 1;
            let mask = blocked(task.join("status").to_str().unwrap());
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGPIPE, libc::SIGCHLD, libc::SIGALRM, libc::SIGUSR1] {
                assert!(mask & (1 << (signal - 1)) != 0, "signal {signal} is not blocked");
            }
        }
    }
    assert!(found >= 2, "{found} threads");
}

fn blocked(status: &str) -> u64 {
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}
