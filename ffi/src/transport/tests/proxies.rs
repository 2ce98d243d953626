//! Proxies: what arrives at the proxy and at the store, and the errors when the proxy refuses.

use std::io;
use std::net::{SocketAddr, TcpStream};

use rustls::{ServerConnection, StreamOwned};
use s3vault_core::settings::Settings;

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

pub(super) fn through(proxy: &str, settings: TransportSettings) -> TransportSettings {
    TransportSettings { proxies: Proxies::parse(proxy, |_| None).unwrap(), ..settings }
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

each_client!(an_http_request_is_forwarded_as_it_was_signed);

fn an_http_request_is_forwarded_as_it_was_signed(client: ClientKind) {
    let (store, at_store) = recorder();
    let authority = Authority::new("proxy-plain");
    for tls in [None, Some(authority.config("127.0.0.1", |_| {}))] {
        let proxy = TestProxy::new(store.address, tls);
        let transport = Transport::new(&through(&proxy.setting(USER), authority.trusted(client))).unwrap();
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

each_client!(an_https_request_goes_through_a_tunnel);

fn an_https_request_goes_through_a_tunnel(client: ClientKind) {
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
            let transport = Transport::new(&through(&proxy.setting(USER), authority.trusted(client))).unwrap();
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

each_client!(the_refusal_of_a_proxy_is_reported_with_its_answer);

fn the_refusal_of_a_proxy_is_reported_with_its_answer(client: ClientKind) {
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
        let failure = get(&through(&proxy, settings(client)), &url).unwrap_err();
        // reqwest does not tell how a tunnel was refused, except by 407.
        let refused = client != ClientKind::Direct && code == Code::Proxy && !line.starts_with("407");
        let code = if refused { Code::Connect } else { code };
        let says = if client != ClientKind::Direct && !line.starts_with("407") { "refused a tunnel" } else { says };
        assert_eq!((failure.code, failure.maybe_sent), (code, false), "{}", failure.detail);
        assert!(failure.detail.contains(says), "{line}: {}", failure.detail);
        assert!(failure.detail.contains(&format!("the proxy {proxy} (option proxy)")), "{}", failure.detail);
    }
}

each_client!(credentials_that_the_proxy_refused_are_not_shown);

fn credentials_that_the_proxy_refused_are_not_shown(client: ClientKind) {
    for scheme in ["http", "https"] {
        let (server, _) = answering("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
        let settings = through(&format!("http://me:hush@{}", server.address), settings(client));
        let failure = get(&settings, &format!("{scheme}://{NAME}/b")).unwrap_err();
        assert_eq!(failure.code, Code::Proxy);
        assert!(failure.detail.contains("refused the user and password"), "{}", failure.detail);
        for text in [failure.detail, format!("{settings:?}")] {
            assert!(text.contains(&server.address.to_string()), "{text}");
            assert!(!text.contains("hush") && !text.contains("me:"), "{text}");
        }
    }
}

each_client!(an_unreachable_proxy_is_distinguished_from_an_unreachable_store);

fn an_unreachable_proxy_is_distinguished_from_an_unreachable_store(client: ClientKind) {
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
        (at("http", nonsense.address), "https", Code::Connect, "HTTP"),
    ] {
        let failure = get(&through(&proxy, authority.trusted(client)), &format!("{store}://{NAME}/b")).unwrap_err();
        assert_eq!((failure.code, failure.maybe_sent), (code, false), "{proxy} {store}: {}", failure.detail);
        assert!(failure.detail.starts_with(&format!("the proxy {proxy} (option proxy)")), "{}", failure.detail);
        assert!(failure.detail.contains(says), "{proxy} {store}: {}", failure.detail);
    }
    // Beyond the proxy the error is the store's, and the message also names the proxy.
    let store = Authority::new("proxy-store").server(NAME, |_| {});
    let proxy = TestProxy::new(store.address, None);
    let failure =
        get(&through(&proxy.setting(""), authority.trusted(client)), &format!("https://{NAME}/b")).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Certificate, false), "{}", failure.detail);
    let start = format!("https://{NAME} through the proxy {} (option proxy): the store's", proxy.setting(""));
    assert!(failure.detail.starts_with(&start), "{}", failure.detail);
}

each_client!(a_store_may_be_an_address_of_ipv6);

fn a_store_may_be_an_address_of_ipv6(client: ClientKind) {
    let authority = Authority::new("proxy-ipv6");
    let store = authority.server("::1", |_| {});
    let proxy = TestProxy::new(store.address, None);
    let tunnelled = through(&proxy.setting(""), authority.trusted(client));
    match client {
        ClientKind::Direct => assert_eq!(get(&tunnelled, "https://[::1]:9000/b").unwrap().1, b"over TLS"),
        // reqwest opens the tunnel, and then takes the brackets for a part of the name.
        #[cfg(feature = "reqwest")]
        ClientKind::Reqwest => {
            let failure = get(&tunnelled, "https://[::1]:9000/b").unwrap_err();
            assert_eq!((failure.code, failure.maybe_sent), (Code::Connect, false), "{}", failure.detail);
            assert!(failure.detail.contains("Invalid Server Name"), "{}", failure.detail);
        }
    }
    assert_eq!(proxy.seen.lock().unwrap()[0].line, "CONNECT [::1]:9000 HTTP/1.1");

    let (store, seen) = recorder();
    let proxy = TestProxy::new(store.address, None);
    get(&through(&proxy.setting(""), settings(client)), "http://[::1]:9000/b").unwrap();
    assert_eq!(seen.lock().unwrap()[0].header("host"), Some("[::1]:9000"));
}

each_client!(a_broken_connection_is_reported_with_the_proxy);

fn a_broken_connection_is_reported_with_the_proxy(client: ClientKind) {
    let (_server, proxy) = answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
    let failure = get(&through(&proxy, settings(client)), &format!("http://{NAME}/b")).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::ConnectionLost, true), "{}", failure.detail);
    assert!(failure.detail.contains("(option proxy)"), "{}", failure.detail);
}

#[test]
fn invalid_proxy_urls_are_refused() {
    for (text, says) in [
        ("proxy.example:3128", "http://, https://"),
        ("socks4://h:1080", "socks4"),
        ("http://", "not a valid URL"),
        ("http://h:port", "not a valid URL"),
        ("http://h:3128/path", "path"),
        ("http://h:3128?q", "path"),
        ("http://me:hush@h:3128#f", "path"),
        ("http://me:hush@h:port", "not a valid URL"),
        ("socks5://me:hush@h:port", "not a valid URL"),
    ] {
        let error = Proxies::parse(text, |_| None).unwrap_err();
        assert_eq!(error.code(), Code::InvalidOption, "{text}");
        assert!(error.message().starts_with("proxy: ") && error.message().contains(says), "{error}");
        assert!(error.hint().contains("HOST:PORT") && !error.message().contains("hush"), "{error}");
    }
}

/// `proxy = system` with these variables.
fn system(variables: &'static [(&'static str, &'static str)]) -> Result<Proxies, s3vault_core::Error> {
    Proxies::parse("system", |name| Some(variables.iter().find(|(n, _)| *n == name)?.1.to_owned()))
}

#[test]
fn system_takes_the_proxies_that_the_environment_names() {
    let (http, https) = ("http://store.example/b", "https://store.example/b");
    for (variables, for_http, for_https) in [
        (&[][..], None, None),
        (&[("HTTPS_PROXY", "http://one:1")], None, Some("http://one:1 (variable HTTPS_PROXY)")),
        (&[("HTTP_PROXY", "http://one:1")], Some("http://one:1 (variable HTTP_PROXY)"), None),
        // Lower case first, as curl reads them.
        (
            &[("https_proxy", "http://low:1"), ("HTTPS_PROXY", "http://up:1")],
            None,
            Some("http://low:1 (variable https_proxy)"),
        ),
        (
            &[("all_proxy", "socks5h://one:1"), ("http_proxy", "http://two:2")],
            Some("http://two:2 (variable http_proxy)"),
            Some("socks5h://one:1 (variable all_proxy)"),
        ),
        // Without a scheme, and empty.
        (&[("http_proxy", ""), ("HTTP_PROXY", "one:1")], Some("http://one:1 (variable HTTP_PROXY)"), None),
        (&[("ALL_PROXY", "http://one:1"), ("NO_PROXY", "store.example")], None, None),
    ] {
        let proxies = system(variables).unwrap();
        let shown = |url: &str| proxies.for_store(&url.parse().unwrap()).map(|proxy| proxy.to_string());
        assert_eq!((shown(http).as_deref(), shown(https).as_deref()), (for_http, for_https), "{variables:?}");
    }
    let error = system(&[("HTTPS_PROXY", "http://me:hush@h:port")]).unwrap_err();
    assert_eq!(error.code(), Code::InvalidOption);
    assert!(error.message().starts_with("HTTPS_PROXY: ") && !error.message().contains("hush"), "{error}");
    let proxies = system(&[("HTTPS_PROXY", "http://me:hush@h:1")]).unwrap();
    assert!(!format!("{proxies:?}").contains("hush"));
}

#[test]
fn no_proxy_names_hosts_domains_addresses_networks_and_ports() {
    for (list, reached_directly, through_the_proxy) in [
        (
            "store.example",
            &["http://store.example/", "https://b.store.example:9000/"][..],
            &["http://astore.example/"][..],
        ),
        (".store.example", &["http://b.store.example/", "http://store.example/"], &["http://example/"]),
        ("STORE.example", &["http://store.EXAMPLE/"], &[]),
        (
            "a.example, b.example c.example",
            &["http://a.example/", "http://b.example/", "http://c.example/"],
            &["http://d/"],
        ),
        (
            "store.example:9000",
            &["https://store.example:9000/"],
            &["https://store.example/", "http://store.example:9001/"],
        ),
        ("store.example:443", &["https://store.example/"], &["http://store.example/"]),
        ("store.example:80", &["http://store.example/"], &["https://store.example/"]),
        ("127.0.0.1", &["http://127.0.0.1:9000/"], &["http://127.0.0.2/", "http://localhost/"]),
        ("10.0.0.0/8,192.168.7.0/24", &["http://10.9.8.7/", "http://192.168.7.9/"], &["http://192.168.8.9/"]),
        ("10.0.0.0/8:9000", &["http://10.9.8.7:9000/"], &["http://10.9.8.7/"]),
        ("::1", &["http://[::1]:9000/"], &["http://[::2]/"]),
        ("[::1]:9000", &["http://[::1]:9000/"], &["http://[::1]/"]),
        ("fd00::/8", &["http://[fd12::1]/"], &["http://[fe80::1]/"]),
        ("*", &["http://store.example/", "https://127.0.0.1/", "http://[::1]/"], &[]),
        ("*:9000", &["http://store.example:9000/"], &["http://store.example/"]),
        ("", &[], &["http://store.example/"]),
    ] {
        let variable = |name: &str| match name {
            "ALL_PROXY" => Some("http://proxy:3128".to_owned()),
            "NO_PROXY" => Some(list.to_owned()),
            _ => None,
        };
        let proxies = Proxies::parse("system", variable).unwrap();
        let is_direct = |url: &&str| proxies.for_store(&url.parse().unwrap()).is_none();
        assert!(reached_directly.iter().all(is_direct), "{list}");
        assert!(!through_the_proxy.iter().any(is_direct), "{list}");
    }
}

each_client!(the_environments_proxy_is_used_except_for_no_proxy);

fn the_environments_proxy_is_used_except_for_no_proxy(client: ClientKind) {
    let (store, at_store) = recorder();
    let authority = Authority::new("proxy-system");
    let over_tls = authority.server("127.0.0.1", |_| {});
    let secure = authority.server(NAME, |_| {});
    let (plain_proxy, tls_proxy) = (TestProxy::new(store.address, None), TestProxy::new(secure.address, None));
    let variable = |name: &str| match name {
        "http_proxy" => Some(plain_proxy.setting(USER)),
        "HTTPS_PROXY" => Some(tls_proxy.setting(USER)),
        "NO_PROXY" => Some("127.0.0.1".to_owned()),
        _ => None,
    };
    let proxies = Proxies::parse("system", variable).unwrap();
    let transport = Transport::new(&TransportSettings { proxies, ..authority.trusted(client) }).unwrap();
    let get = |url: &str| attempt(&transport, &request(Method::Get, url), None).unwrap().1;

    assert_eq!(get(&format!("http://{NAME}/through")), b"ok");
    assert_eq!(get(&format!("https://{NAME}/through")), b"over TLS");
    assert_eq!(get(&store.url("/directly")), b"ok");
    assert_eq!(get(&https(&over_tls)), b"over TLS");

    let lines = |seen: &Shared<Vec<ReceivedRequest>>| {
        let heads: Vec<_> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|head| (head.line.clone(), head.header("proxy-authorization").map(str::to_owned)))
            .collect();
        heads
    };
    let basic = || Some(BASIC.to_owned());
    assert_eq!(lines(&plain_proxy.seen), [(format!("GET http://{NAME}/through HTTP/1.1"), basic())]);
    assert_eq!(lines(&tls_proxy.seen), [(format!("CONNECT {NAME}:443 HTTP/1.1"), basic())]);
    let at_store: Vec<String> = lines(&at_store).into_iter().map(|(line, _)| line).collect();
    assert_eq!(at_store, ["GET /through HTTP/1.1", "GET /directly HTTP/1.1"]);
}

#[test]
fn transport_settings_are_read_from_a_vaults_settings() {
    let mut settings = Settings::new();
    let own = TransportSettings::from_settings(&settings).unwrap();
    assert!(own.proxies.any().is_none() && !own.resolve_once && own.ca_file.is_none());
    assert_eq!(own.client, ClientKind::Direct);
    settings.set("proxy", "http://me:hush@h:3128").unwrap();
    settings.set("connect_timeout_ms", "7").unwrap();
    let own = TransportSettings::from_settings(&settings).unwrap();
    assert_eq!(own.proxies.any().unwrap().to_string(), "http://h:3128 (option proxy)");
    assert_eq!(own.connect_timeout.as_millis(), 7);
    assert!(!format!("{settings:?}").contains("hush") && !format!("{own:?}").contains("hush"));
    settings.set("resolve_once", "true").unwrap();
    let error = TransportSettings::from_settings(&settings).unwrap_err();
    assert!(error.message().contains("resolve_once") && error.message().contains("proxy"), "{error}");
    settings.set("proxy", "").unwrap();
    assert!(TransportSettings::from_settings(&settings).unwrap().resolve_once);
}

#[test]
fn socks_proxies_need_the_reqwest_transport() {
    for scheme in ["socks5", "socks5h"] {
        let mut settings = Settings::new();
        settings.set("proxy", &format!("{scheme}://me:hush@h:1080")).unwrap();
        let error = TransportSettings::from_settings(&settings).unwrap_err();
        assert_eq!((error.code(), error.hint()), (Code::InvalidOption, "Set transport = reqwest."));
        assert!(
            error.message().contains(&format!("{scheme}://h:1080")) && !error.message().contains("hush"),
            "{error}"
        );
        settings.set("transport", "reqwest").unwrap();
        let own = TransportSettings::from_settings(&settings);
        #[cfg(feature = "reqwest")]
        assert_eq!(own.unwrap().client, ClientKind::Reqwest);
        #[cfg(not(feature = "reqwest"))]
        assert!(own.unwrap_err().hint().contains("feature 'reqwest'"));
    }
}
