//! Resolve once: which address is dialled, and what stays the name's.

use std::future::ready;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{ServerConnection, StreamOwned};

use super::super::resolve::OneAddress;
use super::super::testserver::until;
use super::*;

const NAME: &str = "store.example";

fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// A resolver that gives these addresses, turned by one each time, as DNS round robin does; and how often it was
/// asked.
fn round_robin(lasts: &'static [u8]) -> (OneAddress, Arc<AtomicUsize>) {
    let asked: Arc<AtomicUsize> = Arc::default();
    let count = asked.clone();
    let resolver = OneAddress::with(move |name| {
        assert_eq!(name, NAME);
        let turn = count.fetch_add(1, Ordering::SeqCst);
        let mut addresses: Vec<IpAddr> = lasts.iter().map(|last| loopback(*last)).collect();
        addresses.rotate_left(turn % lasts.len());
        ready(Ok(addresses))
    });
    (resolver, asked)
}

fn once(settings: TransportSettings, resolver: &OneAddress) -> Transport {
    let budget = crate::budget::process().clone();
    Transport::with(&TransportSettings { resolve_once: true, ..settings }, Some(resolver.clone()), budget).unwrap()
}

/// An answer after which the connection is closed, and said to be: each request needs one of its own.
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

fn closing() -> Server {
    Server::http(|_, wire| {
        let _ = wire.write_all(LAST);
        false
    })
}

fn url(server: &Server) -> String {
    format!("http://{NAME}:{}/b/k", server.address.port())
}

#[test]
fn one_address_is_dialled_and_the_rest_stays_the_names() {
    let authority = Authority::new("once");
    let config = authority.config(NAME, |_| {});
    let seen: Shared<Vec<(Option<String>, Option<String>)>> = Shared::default();
    let into = seen.clone();
    let server = Server::raw(move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        if let Some(head) = read_head(&mut tls) {
            let sni = tls.conn.server_name().map(str::to_owned);
            into.lock().unwrap().push((sni, head.header("host").map(str::to_owned)));
            tls.write_all(LAST).unwrap();
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    let host = format!("{NAME}:{}", server.address.port());
    let mut request = request(Method::Get, &format!("https://{host}/b/k"));
    request.headers = vec![("host".to_owned(), host.clone())];

    let (resolver, asked) = round_robin(&[1, 2, 3]);
    let transport = once(authority.trusted(), &resolver);
    for _ in 0..4 {
        assert_eq!(attempt(&transport, &request, None).unwrap().1, b"ok");
    }
    assert_eq!(*seen.lock().unwrap(), vec![(Some(NAME.to_owned()), Some(host)); 4]);
    assert_eq!((server.connections(), asked.load(Ordering::SeqCst)), (4, 1));
}

#[test]
fn connections_that_begin_at_once_dial_the_same_address() {
    let server = closing();
    let turn: Arc<AtomicUsize> = Arc::default();
    let count = turn.clone();
    let resolver = OneAddress::with(move |_| {
        let count = count.clone();
        async move {
            // Long enough for all to be waiting.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let turn = count.fetch_add(1, Ordering::SeqCst);
            Ok(vec![loopback(1 + turn as u8), loopback(9)])
        }
    });
    let transport = once(settings(), &resolver);
    let request = request(Method::Get, &url(&server));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| attempt(&transport, &request, None))).collect();
        for one in all {
            assert_eq!(one.join().unwrap().unwrap().1, b"ok");
        }
    });
    assert_eq!(turn.load(Ordering::SeqCst), 1);
}

#[test]
fn an_address_that_fails_is_left_and_the_name_is_resolved_again_when_all_have() {
    let server = closing();
    // Nothing listens at 127.0.0.2.
    let (resolver, asked) = round_robin(&[2, 1]);
    let transport = once(settings(), &resolver);
    let request = request(Method::Get, &url(&server));
    let failure = attempt(&transport, &request, None).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Connect, false), "{}", failure.detail);
    assert!(failure.detail.contains(NAME) && failure.detail.contains("at 127.0.0.2"), "{}", failure.detail);
    for _ in 0..3 {
        assert_eq!(attempt(&transport, &request, None).unwrap().1, b"ok");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    let address = server.address;
    drop(server);
    until(|| TcpStream::connect(address).is_err());
    let failure = attempt(&transport, &request, None).unwrap_err();
    assert!(failure.detail.contains("at 127.0.0.1"), "{}", failure.detail);
    assert_eq!((resolver.chosen(NAME), asked.load(Ordering::SeqCst)), (None, 1));
    // The second answer begins with 127.0.0.1.
    let failure = attempt(&transport, &request, None).unwrap_err();
    assert!(failure.detail.contains("at 127.0.0.1"), "{}", failure.detail);
    assert_eq!((resolver.chosen(NAME), asked.load(Ordering::SeqCst)), (Some(loopback(2)), 2));
}

#[test]
fn an_address_that_takes_connections_and_is_silent_is_left_too() {
    let silent = Server::raw(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    // By the time-out of the connection (TLS is never answered), and by that of the attempt.
    for (scheme, setting) in [("https", "connect_timeout_ms"), ("http", "idle_timeout_ms")] {
        let (resolver, _) = round_robin(&[1, 2]);
        let transport = once(impatient(), &resolver);
        let url = format!("{scheme}://{NAME}:{}/b/k", silent.address.port());
        let failure = attempt(&transport, &request(Method::Get, &url), None).unwrap_err();
        assert_eq!(failure.code, Code::TimedOut);
        assert!(failure.detail.contains(setting) && failure.detail.contains("127.0.0.1"), "{}", failure.detail);
        assert_eq!(resolver.chosen(NAME), Some(loopback(2)), "{scheme}");
    }
}

#[test]
fn a_cancel_says_nothing_about_the_address() {
    let silent = Server::raw(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (resolver, _) = round_robin(&[1, 2]);
    let transport = once(settings(), &resolver);
    let request = request(Method::Get, &format!("https://{NAME}:{}/b/k", silent.address.port()));
    runtime::handle().unwrap().block_on(async {
        let sending = transport.send(&request, None, Activity::new());
        assert!(tokio::time::timeout(Duration::from_millis(300), sending).await.is_err());
    });
    assert_eq!((silent.connections(), resolver.chosen(NAME)), (1, Some(loopback(1))));
}

#[test]
fn the_systems_resolver_is_asked() {
    let server = closing();
    let transport = Transport::new(&TransportSettings { resolve_once: true, ..settings() }).unwrap();
    let request = request(Method::Get, &format!("http://localhost:{}/b/k", server.address.port()));
    // The server listens on IPv4 only, and localhost may begin with an address of IPv6.
    let replies: Vec<_> = (0..3).map(|_| attempt(&transport, &request, None)).collect();
    assert_eq!(replies[2].as_ref().unwrap().1, b"ok");
    let failure = attempt(&transport, &self::request(Method::Get, "http://store.invalid/b"), None).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Resolve, false), "{}", failure.detail);
    assert!(failure.detail.contains("store.invalid"), "{}", failure.detail);
}

#[test]
fn a_name_without_an_address_does_not_resolve() {
    let resolver = OneAddress::with(|_| ready(Ok(Vec::new())));
    let failure = attempt(&once(settings(), &resolver), &request(Method::Get, "http://store.example/"), None);
    let failure = failure.unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Resolve, false), "{}", failure.detail);
}
