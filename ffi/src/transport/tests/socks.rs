//! SOCKS5 proxies: who resolves names, user and password, and the errors when the proxy refuses.

use std::net::{IpAddr, TcpStream};

use super::super::resolve::Names;
use super::*;

const NAME: &str = "store.example";

/// A SOCKS5 proxy (RFC 1928, RFC 1929) that connects everything to one store, and records the targets.
struct SocksProxy {
    server: Server,
    targets: Shared<Vec<String>>,
}

impl SocksProxy {
    /// `user` is what clients must authenticate with; `answer` is the reply code of CONNECT, 0 for success.
    fn new(store: std::net::SocketAddr, user: Option<(&'static str, &'static str)>, answer: u8) -> SocksProxy {
        let targets: Shared<Vec<String>> = Shared::default();
        let into = targets.clone();
        let server = Server::raw(move |mut client| {
            let _ = serve(&mut client, store, user, answer, &into);
        });
        SocksProxy { server, targets }
    }

    fn setting(&self, scheme: &str, user: &str) -> String {
        format!("{scheme}://{user}{}", self.server.address)
    }

    fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }
}

fn serve(
    client: &mut TcpStream,
    store: std::net::SocketAddr,
    user: Option<(&str, &str)>,
    answer: u8,
    targets: &Shared<Vec<String>>,
) -> std::io::Result<()> {
    let [_version, count] = take(client)?;
    let mut methods = vec![0; usize::from(count)];
    client.read_exact(&mut methods)?;
    let method = if user.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return client.write_all(&[5, 0xFF]);
    }
    client.write_all(&[5, method])?;
    if let Some(expected) = user {
        let [_version] = take(client)?;
        let (name, password) = (text(client)?, text(client)?);
        let accepted = expected == (name.as_str(), password.as_str());
        client.write_all(&[1, u8::from(!accepted)])?;
        if !accepted {
            return Ok(());
        }
    }
    let [_version, _connect, _reserved, kind] = take(client)?;
    let host = match kind {
        1 => IpAddr::from(take::<4>(client)?).to_string(),
        4 => IpAddr::from(take::<16>(client)?).to_string(),
        _ => text(client)?,
    };
    let port = u16::from_be_bytes(take(client)?);
    targets.lock().unwrap().push(format!("{host}:{port}"));
    client.write_all(&[5, answer, 0, 1, 0, 0, 0, 0, 0, 0])?;
    if answer != 0 {
        return Ok(());
    }
    let upstream = TcpStream::connect(store)?;
    let (mut from, mut to) = (client.try_clone()?, upstream.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut to).and_then(|_| to.shutdown(std::net::Shutdown::Write)));
    std::io::copy(&mut &upstream, client)?;
    client.shutdown(std::net::Shutdown::Both)
}

fn take<const N: usize>(client: &mut TcpStream) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A text with its length before it.
fn text(client: &mut TcpStream) -> std::io::Result<String> {
    let [length] = take(client)?;
    let mut bytes = vec![0; usize::from(length)];
    client.read_exact(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap())
}

fn through(proxy: &str, settings: TransportSettings) -> TransportSettings {
    TransportSettings { proxies: Proxies::parse(proxy, |_| None).unwrap(), ..settings }
}

/// A transport for which the store's name has one address.
fn transport(proxy: &str, settings: TransportSettings) -> Transport {
    let names = Names::with(false, PATIENCE, |name| {
        assert_eq!(name, NAME);
        std::future::ready(Ok(vec!["127.0.0.9".parse().unwrap()]))
    });
    Transport::with(&through(proxy, settings), names, crate::budget::process().clone()).unwrap()
}

#[test]
fn with_socks5_names_are_resolved_here_and_with_socks5h_by_the_proxy() {
    let authority = Authority::new("socks");
    let (plain, seen) = recorder();
    let secure = authority.server(NAME, |_| {});
    for user in [None, Some(("us er", "p@ss:w/rd%"))] {
        let given = if user.is_some() { "us%20er:p%40ss%3Aw%2Frd%25@" } else { "" };
        for (scheme, host) in [("socks5", "127.0.0.9"), ("socks5h", NAME)] {
            let trusted = || authority.trusted(ClientKind::Reqwest);
            let proxy = SocksProxy::new(plain.address, user, 0);
            let http = request(Method::Get, &format!("http://{NAME}:9000/b/k?a=b%2Fc"));
            let setting = proxy.setting(scheme, given);
            assert_eq!(attempt(&transport(&setting, trusted()), &http, None).unwrap().1, b"ok", "{setting}");
            let received = seen.lock().unwrap().pop().unwrap();
            assert_eq!((received.target(), received.header("host")), ("/b/k?a=b%2Fc", Some("store.example:9000")));
            assert_eq!(received.header("proxy-authorization"), None);
            assert_eq!(proxy.targets(), [format!("{host}:9000")]);

            let proxy = SocksProxy::new(secure.address, user, 0);
            let https = request(Method::Get, &format!("https://{NAME}/b"));
            let setting = proxy.setting(scheme, given);
            assert_eq!(attempt(&transport(&setting, trusted()), &https, None).unwrap().1, b"over TLS", "{setting}");
            assert_eq!(proxy.targets(), [format!("{host}:443")]);
        }
    }
}

#[test]
fn the_refusal_of_a_socks_proxy_is_reported() {
    let (store, seen) = recorder();
    let settings = || settings(ClientKind::Reqwest);
    let url = store.url("/b/k");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let locked = SocksProxy::new(store.address, Some(("me", "right")), 0);
    let forbids = SocksProxy::new(store.address, None, 2);
    let unreachable = SocksProxy::new(store.address, None, 4);
    for (proxy, code, says) in [
        (locked.setting("socks5h", "me:hush@"), Code::Proxy, "credentials not accepted"),
        (forbids.setting("socks5h", ""), Code::Connect, "connection not allowed"),
        (unreachable.setting("socks5h", ""), Code::Connect, "host unreachable"),
        (format!("socks5h://{gone}"), Code::Connect, "failed to create underlying connection"),
        ("socks5h://proxy.invalid:1080".to_owned(), Code::Connect, "failed to create underlying connection"),
    ] {
        let settings = through(&proxy, settings());
        let failure = get(&settings, &url).unwrap_err();
        assert_eq!((failure.code, failure.maybe_sent), (code, false), "{proxy}: {}", failure.detail);
        assert!(failure.detail.starts_with("the proxy socks5h://"), "{}", failure.detail);
        assert!(failure.detail.contains("(option proxy)") && failure.detail.contains(says), "{}", failure.detail);
        assert!(!failure.detail.contains("hush") && !format!("{settings:?}").contains("hush"), "{}", failure.detail);
    }
    // With socks5 the store's name is resolved here, so this failure is the store's.
    let open = SocksProxy::new(store.address, None, 0);
    let failure = get(&through(&open.setting("socks5", ""), settings()), "http://store.invalid/b").unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Resolve, false), "{}", failure.detail);
    assert!(failure.detail.starts_with("http://store.invalid through the proxy socks5://"), "{}", failure.detail);
    assert!(seen.lock().unwrap().is_empty() && open.targets().is_empty());
}
