//! Proxies: what arrives at the proxy and at the store, and the errors when the proxy refuses.

use std::io;
use std::net::{SocketAddr, TcpStream};

use rustls::{ServerConnection, StreamOwned};
use s3vault_core::settings::Settings;

use super::super::Proxy;
use super::super::testserver::Wire;
use super::*;

const NAME: &str = "store.example";

/// A proxy that forwards everything to one store, whatever its name, and records the heads that it saw.
struct TestProxy {
    server: Server,
    seen: Shared<Vec<ReceivedRequest>>,
    scheme: &'static str,
}

impl TestProxy {
    fn new(store: SocketAddr, tls: Option<Arc<ServerConfig>>) -> TestProxy {
        let seen: Shared<Vec<ReceivedRequest>> = Shared::default();
        let into = seen.clone();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = Server::raw(move |stream| {
            let quick = Some(Duration::from_millis(1));
            match &tls {
                None => forward(stream.try_clone().unwrap(), || stream.set_read_timeout(quick).unwrap(), store, &into),
                Some(config) => {
                    let tcp = stream.try_clone().unwrap();
                    let connection = ServerConnection::new(config.clone()).unwrap();
                    let wire = StreamOwned::new(connection, stream);
                    forward(wire, || tcp.set_read_timeout(quick).unwrap(), store, &into);
                }
            }
        });
        TestProxy { server, seen, scheme }
    }

    fn setting(&self, user: &str) -> String {
        format!("{}://{user}127.0.0.1:{}", self.scheme, self.server.address.port())
    }
}

fn forward(mut client: impl Wire, be_quick: impl Fn(), store: SocketAddr, seen: &Shared<Vec<ReceivedRequest>>) {
    let mut upstream = TcpStream::connect(store).unwrap();
    while let Some(head) = read_head(&mut client) {
        seen.lock().unwrap().push(head.clone());
        if head.line.starts_with("CONNECT ") {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            client.flush().unwrap();
            be_quick();
            upstream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            while copy_available(&mut client, &mut upstream) && copy_available(&mut upstream, &mut client) {}
            return;
        }
        // From the absolute form to the origin form; nothing else is changed.
        let (scheme_and_host, _) = head.target().split_at(head.target().match_indices('/').nth(2).unwrap().0);
        let mut sent = head.clone();
        sent.line = head.line.replacen(scheme_and_host, "", 1);
        sent.headers.retain(|(name, _)| name != "proxy-authorization");
        pass_on(&sent, &mut client, &mut upstream);
        let answer = read_head(&mut upstream).unwrap();
        pass_on(&answer, &mut upstream, &mut client);
    }
}

/// Writes a head, and copies its body.
fn pass_on(head: &ReceivedRequest, from: &mut impl Wire, to: &mut impl Wire) {
    let headers: String = head.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut bytes = format!("{}\r\n{headers}\r\n", head.line).into_bytes();
    let start = bytes.len();
    bytes.resize(start + head.length(), 0);
    from.read_exact(&mut bytes[start..]).unwrap();
    to.write_all(&bytes).unwrap();
    to.flush().unwrap();
}

/// Copies what is available; returns `false` at the end.
fn copy_available(from: &mut impl Wire, to: &mut impl Wire) -> bool {
    let mut buffer = [0; 16384];
    match from.read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_ok(),
        Err(e) => matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted),
    }
}

fn through(proxy: &str, settings: TransportSettings) -> TransportSettings {
    TransportSettings { proxy: Some(Proxy::parse(proxy).unwrap()), ..settings }
}

/// A proxy that answers everything with the same reply.
fn answering(answer: &'static str) -> (Server, String) {
    let server = Server::http(move |_, wire| {
        let _ = wire.write_all(answer.as_bytes());
        false
    });
    let proxy = format!("http://{}", server.address);
    (server, proxy)
}

const TARGETS: [&str; 8] = [
    "/",
    "/bucket/a//b",
    "/bucket//lead/",
    "/bucket/a%2Fb+c%20d%2B",
    "/bucket/%C3%A9%F0%9F%98%80",
    "/bucket/a=b@c,d:e;f!g$h&i'j(k)*",
    "/bucket?list-type=2&prefix=a%20b%2F&delimiter=",
    "/bucket/k?uploads=",
];

/// `us er` and `p@ss:w/rd%`.
const USER: &str = "us%20er:p%40ss%3Aw%2Frd%25@";
const BASIC: &str = "Basic dXMgZXI6cEBzczp3L3JkJQ==";

#[test]
fn an_http_request_is_forwarded_as_it_was_signed() {
    let (store, at_store) = recorder();
    let authority = Authority::new("proxy-plain");
    for tls in [None, Some(authority.config("127.0.0.1", |_| {}))] {
        let proxy = TestProxy::new(store.address, tls);
        let transport = Transport::new(&through(&proxy.setting(USER), authority.trusted())).unwrap();
        let host = format!("{NAME}:9000");
        for target in TARGETS {
            let mut request = request(Method::Put, &format!("http://{host}{target}"));
            request.headers =
                vec![("host".into(), host.clone().into()), ("x-amz-date".into(), "20261124T000000Z".into())];
            let (head, body) = attempt(&transport, &request, Some(b"payload".to_vec())).unwrap();
            assert_eq!((head.status, body.as_slice()), (200, &b"ok"[..]));
            let seen = at_store.lock().unwrap().pop().unwrap();
            assert_eq!(seen.line, format!("PUT {target} HTTP/1.1"));
            assert_eq!((seen.header("host"), seen.body.as_slice()), (Some(host.as_str()), &b"payload"[..]));
            assert_eq!(seen.header("x-amz-date"), Some("20261124T000000Z"));
            assert_eq!(seen.header("proxy-authorization"), None);
        }
        let heads = proxy.seen.lock().unwrap();
        assert_eq!(heads.len(), TARGETS.len());
        for (head, target) in heads.iter().zip(TARGETS) {
            assert_eq!(head.line, format!("PUT http://{host}{target} HTTP/1.1"));
            assert_eq!((head.header("host"), head.header("proxy-authorization")), (Some(host.as_str()), Some(BASIC)));
        }
    }
}

#[test]
fn an_https_request_goes_through_a_tunnel() {
    let authority = Authority::new("proxy-tunnel");
    let seen: Shared<Vec<(Option<String>, ReceivedRequest)>> = Shared::default();
    let (into, config) = (seen.clone(), authority.config(NAME, |_| {}));
    let store = Server::raw(move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        while let Some(head) = read_head(&mut tls) {
            into.lock().unwrap().push((tls.conn.server_name().map(str::to_owned), head));
            reply(&mut tls, 200, b"over TLS");
        }
    });
    for tls in [None, Some(authority.config("127.0.0.1", |_| {}))] {
        for (port, shown) in [("", "443"), (":9000", "9000")] {
            let proxy = TestProxy::new(store.address, tls.clone());
            let transport = Transport::new(&through(&proxy.setting(USER), authority.trusted())).unwrap();
            for target in TARGETS {
                let host = format!("{NAME}{port}");
                let mut request = request(Method::Get, &format!("https://{host}{target}"));
                request.headers = vec![("host".into(), host.clone().into())];
                assert_eq!(attempt(&transport, &request, None).unwrap().1, b"over TLS");
                let (sni, head) = seen.lock().unwrap().pop().unwrap();
                assert_eq!((sni.as_deref(), head.line.clone()), (Some(NAME), format!("GET {target} HTTP/1.1")));
                assert_eq!((head.header("host"), head.header("proxy-authorization")), (Some(host.as_str()), None));
            }
            let heads = proxy.seen.lock().unwrap();
            for head in heads.iter() {
                assert_eq!(head.line, format!("CONNECT {NAME}:{shown} HTTP/1.1"));
                assert_eq!(head.header("proxy-authorization"), Some(BASIC));
            }
            assert!(!heads.is_empty() && heads.len() < TARGETS.len(), "a tunnel is reused: {}", heads.len());
        }
    }
}

#[test]
fn the_refusal_of_a_proxy_is_reported_with_its_answer() {
    const HTML: &str = "Content-Length: 6\r\n\r\n<html>";
    for (line, https, code, says) in [
        ("407 Proxy Authentication Required", true, Code::Proxy, "requires a user and password in its URL: 407"),
        ("407 Proxy Authentication Required", false, Code::Proxy, "requires a user and password in its URL: 407"),
        ("403 Forbidden", true, Code::Proxy, "refused a tunnel to store.example:9000: 403 Forbidden"),
        ("405 Method Not Allowed", true, Code::Proxy, "refused a tunnel to store.example:9000: 405"),
        ("502 Bad Gateway", true, Code::Connect, "refused a tunnel to store.example:9000: 502 Bad Gateway"),
        ("503 Service Unavailable", true, Code::Connect, "refused a tunnel to store.example:9000: 503"),
        ("302 Found", true, Code::Connect, "refused a tunnel to store.example:9000"),
    ] {
        let answer: &'static str = Box::leak(format!("HTTP/1.1 {line}\r\n{HTML}").into_boxed_str());
        let (_server, proxy) = answering(answer);
        let url = format!("{}://{NAME}:9000/b/k", if https { "https" } else { "http" });
        let failure = get(&through(&proxy, settings()), &url).unwrap_err();
        assert_eq!((failure.code, failure.maybe_sent), (code, false), "{}", failure.detail);
        assert!(failure.detail.contains(says), "{line}: {}", failure.detail);
        assert!(failure.detail.contains(&format!("the proxy {proxy} (option proxy)")), "{}", failure.detail);
    }
}

#[test]
fn credentials_that_the_proxy_refused_are_not_shown() {
    for scheme in ["http", "https"] {
        let (server, _) = answering("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
        let settings = through(&format!("http://me:hush@{}", server.address), settings());
        let failure = get(&settings, &format!("{scheme}://{NAME}/b")).unwrap_err();
        assert_eq!(failure.code, Code::Proxy);
        assert!(failure.detail.contains("refused the user and password"), "{}", failure.detail);
        for text in [failure.detail, format!("{settings:?}")] {
            assert!(text.contains(&server.address.to_string()), "{text}");
            assert!(!text.contains("hush") && !text.contains("me:"), "{text}");
        }
    }
}

#[test]
fn an_unreachable_proxy_is_distinguished_from_an_unreachable_store() {
    let authority = Authority::new("proxy-unreachable");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = Server::raw(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let closes = Server::raw(|mut stream| drop(read_head(&mut stream)));
    let nonsense = Server::http(|_, wire| {
        let _ = wire.write_all(b"SSH-2.0-OpenSSH\r\n\r\n");
        false
    });
    let untrusted = Authority::new("proxy-untrusted").server("127.0.0.1", |_| {});
    let misnamed = authority.server("other.example", |_| {});
    let at = |scheme: &str, address: SocketAddr| format!("{scheme}://{address}");
    for (proxy, store, code, says) in [
        (at("http", gone), "http", Code::Connect, "refused"),
        (at("http", gone), "https", Code::Connect, "refused"),
        ("http://proxy.invalid:3128".to_owned(), "http", Code::Resolve, "dns"),
        ("http://proxy.invalid:3128".to_owned(), "https", Code::Resolve, "dns"),
        (at("https", plain.address), "https", Code::Connect, "did not answer with TLS"),
        (at("https", plain.address), "http", Code::Connect, "did not answer with TLS"),
        (at("https", untrusted.address), "https", Code::Certificate, "the proxy's certificate is refused"),
        (at("https", untrusted.address), "http", Code::Certificate, "the proxy's certificate is refused"),
        (at("https", misnamed.address), "https", Code::Certificate, "use that name in proxy"),
        (at("http", closes.address), "https", Code::Connect, "end of file"),
        (at("http", nonsense.address), "https", Code::Connect, "not HTTP"),
    ] {
        let failure = get(&through(&proxy, authority.trusted()), &format!("{store}://{NAME}/b")).unwrap_err();
        assert_eq!((failure.code, failure.maybe_sent), (code, false), "{proxy} {store}: {}", failure.detail);
        assert!(failure.detail.starts_with(&format!("the proxy {proxy} (option proxy)")), "{}", failure.detail);
        assert!(failure.detail.contains(says), "{proxy} {store}: {}", failure.detail);
    }
    // Beyond the proxy the error is the store's, and the message also names the proxy.
    let store = Authority::new("proxy-store").server(NAME, |_| {});
    let proxy = TestProxy::new(store.address, None);
    let failure = get(&through(&proxy.setting(""), authority.trusted()), &format!("https://{NAME}/b")).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Certificate, false), "{}", failure.detail);
    let start = format!("https://{NAME} through the proxy {} (option proxy): the store's", proxy.setting(""));
    assert!(failure.detail.starts_with(&start), "{}", failure.detail);
}

#[test]
fn a_store_may_be_an_address_of_ipv6() {
    let authority = Authority::new("proxy-ipv6");
    let store = authority.server("::1", |_| {});
    let proxy = TestProxy::new(store.address, None);
    let tunnelled = through(&proxy.setting(""), authority.trusted());
    assert_eq!(get(&tunnelled, "https://[::1]:9000/b").unwrap().1, b"over TLS");
    assert_eq!(proxy.seen.lock().unwrap()[0].line, "CONNECT [::1]:9000 HTTP/1.1");

    let (store, seen) = recorder();
    let proxy = TestProxy::new(store.address, None);
    get(&through(&proxy.setting(""), settings()), "http://[::1]:9000/b").unwrap();
    assert_eq!(seen.lock().unwrap()[0].header("host"), Some("[::1]:9000"));
}

#[test]
fn a_broken_connection_is_reported_with_the_proxy() {
    let (_server, proxy) = answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
    let failure = get(&through(&proxy, settings()), &format!("http://{NAME}/b")).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::ConnectionLost, true), "{}", failure.detail);
    assert!(failure.detail.contains("(option proxy)"), "{}", failure.detail);
}

#[test]
fn invalid_proxy_urls_are_refused() {
    for (text, says) in [
        ("proxy.example:3128", "http:// or https://"),
        ("socks5://h:1080", "socks5"),
        ("http://", "not a valid URL"),
        ("http://h:port", "not a valid URL"),
        ("http://h:3128/path", "path"),
        ("http://h:3128?q", "path"),
        ("http://me:hush@h:3128#f", "path"),
        ("http://me:hush@h:port", "not a valid URL"),
    ] {
        let error = Proxy::parse(text).unwrap_err();
        assert_eq!(error.code(), Code::InvalidOption, "{text}");
        assert!(error.message().starts_with("proxy: ") && error.message().contains(says), "{error}");
        assert!(error.hint().contains("HOST:PORT") && !error.message().contains("hush"), "{error}");
    }
}

#[test]
fn transport_settings_are_read_from_a_vaults_settings() {
    let mut settings = Settings::new();
    let own = TransportSettings::from_settings(&settings).unwrap();
    assert!(own.proxy.is_none() && !own.resolve_once && own.ca_file.is_none());
    settings.set("proxy", "http://me:hush@h:3128").unwrap();
    settings.set("connect_timeout_ms", "7").unwrap();
    let own = TransportSettings::from_settings(&settings).unwrap();
    assert_eq!((format!("{:?}", own.proxy), own.connect_timeout.as_millis()), ("Some(Proxy(http://h:3128))".into(), 7));
    assert!(!format!("{settings:?}").contains("hush"));
    settings.set("resolve_once", "true").unwrap();
    let error = TransportSettings::from_settings(&settings).unwrap_err();
    assert!(error.message().contains("resolve_once") && error.message().contains("proxy"), "{error}");
    settings.set("proxy", "").unwrap();
    assert!(TransportSettings::from_settings(&settings).unwrap().resolve_once);
}
