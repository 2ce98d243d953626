//! Which address of a name is dialled, and where the name itself is still used.

use std::collections::BTreeMap;
use std::future::ready;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{ServerConnection, StreamOwned};

use super::super::resolve::Names;
use super::super::testserver::{Wire, serve, until};
use super::*;

const NAME: &str = "store.example";

fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// A resolver that returns these addresses, rotated by one each time, as round-robin DNS does; and how often it was asked.
fn round_robin(once: bool, fresh: Duration, lasts: &'static [u8]) -> (Names, Arc<AtomicUsize>) {
    let asked: Arc<AtomicUsize> = Arc::default();
    let count = asked.clone();
    let names = Names::with(once, fresh, move |name| {
        assert_eq!(name, NAME);
        let turn = count.fetch_add(1, Ordering::SeqCst);
        let mut addresses: Vec<IpAddr> = lasts.iter().map(|last| loopback(*last)).collect();
        addresses.rotate_left(turn % lasts.len());
        ready(Ok(addresses))
    });
    (names, asked)
}

fn one_address(lasts: &'static [u8]) -> (Names, Arc<AtomicUsize>) {
    round_robin(true, PATIENCE, lasts)
}

fn transport(settings: TransportSettings, names: &Names) -> Transport {
    Transport::with(&settings, names.clone(), crate::budget::process().clone()).unwrap()
}

/// The address that is dialled with `resolve_once`.
fn chosen(names: &Names) -> Option<IpAddr> {
    names.cached(NAME).map(|addresses| addresses[0])
}

/// A reply that announces that the connection is closed, so that each request needs a new one.
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

each_client!(one_address_is_dialled_and_host_and_sni_stay_the_name);

fn one_address_is_dialled_and_host_and_sni_stay_the_name(client: ClientKind) {
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
    request.headers = vec![("host".to_owned(), host.clone().into())];

    let (names, asked) = one_address(&[1, 2, 3]);
    let transport = transport(authority.trusted(client), &names);
    for _ in 0..4 {
        assert_eq!(attempt(&transport, &request, None).unwrap().1, b"ok");
    }
    assert_eq!(*seen.lock().unwrap(), vec![(Some(NAME.to_owned()), Some(host)); 4]);
    assert_eq!((server.connections(), asked.load(Ordering::SeqCst)), (4, 1));
}

each_client!(connections_that_start_together_dial_the_same_address);

fn connections_that_start_together_dial_the_same_address(client: ClientKind) {
    let server = closing();
    let turn: Arc<AtomicUsize> = Arc::default();
    let count = turn.clone();
    let names = Names::with(true, PATIENCE, move |_| {
        let count = count.clone();
        async move {
            // Long enough for all connections to be waiting.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let turn = count.fetch_add(1, Ordering::SeqCst);
            Ok(vec![loopback(1 + turn as u8), loopback(9)])
        }
    });
    let transport = transport(settings(client), &names);
    let request = request(Method::Get, &url(&server));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| attempt(&transport, &request, None))).collect();
        for one in all {
            assert_eq!(one.join().unwrap().unwrap().1, b"ok");
        }
    });
    assert_eq!(turn.load(Ordering::SeqCst), 1);
}

each_client!(a_failed_address_is_left_and_the_name_is_resolved_again_when_all_have_failed);

fn a_failed_address_is_left_and_the_name_is_resolved_again_when_all_have_failed(client: ClientKind) {
    let server = closing();
    // Nothing listens at 127.0.0.2.
    let (names, asked) = one_address(&[2, 1]);
    let transport = transport(settings(client), &names);
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
    assert_eq!((chosen(&names), asked.load(Ordering::SeqCst)), (None, 1));
    // The second answer starts with 127.0.0.1.
    let failure = attempt(&transport, &request, None).unwrap_err();
    assert!(failure.detail.contains("at 127.0.0.1"), "{}", failure.detail);
    assert_eq!((chosen(&names), asked.load(Ordering::SeqCst)), (Some(loopback(2)), 2));
}

each_client!(an_address_that_accepts_connections_and_is_silent_is_left_too);

fn an_address_that_accepts_connections_and_is_silent_is_left_too(client: ClientKind) {
    let silent = Server::raw(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    // By the connect time-out (the TLS handshake is not answered), and by the idle time-out.
    for (scheme, setting, settings) in [
        ("https", "connect_timeout_ms", TransportSettings { connect_timeout: SHORT, ..settings(client) }),
        ("http", "idle_timeout_ms", impatient(client)),
    ] {
        let (names, _) = one_address(&[1, 2]);
        let transport = transport(settings, &names);
        let url = format!("{scheme}://{NAME}:{}/b/k", silent.address.port());
        let failure = attempt(&transport, &request(Method::Get, &url), None).unwrap_err();
        assert_eq!(failure.code, Code::TimedOut);
        assert!(failure.detail.contains(setting) && failure.detail.contains("127.0.0.1"), "{}", failure.detail);
        assert_eq!(chosen(&names), Some(loopback(2)), "{scheme}");
    }
}

each_client!(a_cancelled_attempt_does_not_mark_its_address_as_failed);

fn a_cancelled_attempt_does_not_mark_its_address_as_failed(client: ClientKind) {
    let silent = Server::raw(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (names, _) = one_address(&[1, 2]);
    let transport = transport(settings(client), &names);
    let request = request(Method::Get, &format!("https://{NAME}:{}/b/k", silent.address.port()));
    runtime::handle().unwrap().block_on(async {
        let connected = async {
            while silent.connections() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = transport.send(&request, None, transport.activity()) => panic!("the handshake is never answered"),
            () = connected => {}
        }
    });
    assert_eq!((silent.connections(), chosen(&names)), (1, Some(loopback(1))));
}

each_client!(the_systems_resolver_is_asked);

fn the_systems_resolver_is_asked(client: ClientKind) {
    let server = closing();
    let transport = Transport::new(&TransportSettings { resolve_once: true, ..settings(client) }).unwrap();
    let request = request(Method::Get, &format!("http://localhost:{}/b/k", server.address.port()));
    // The server listens on IPv4 only, and localhost may resolve to an IPv6 address first.
    let replies: Vec<_> = (0..3).map(|_| attempt(&transport, &request, None)).collect();
    assert_eq!(replies[2].as_ref().unwrap().1, b"ok");
    let failure = attempt(&transport, &self::request(Method::Get, "http://store.invalid/b"), None).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Resolve, false), "{}", failure.detail);
    assert!(failure.detail.contains("store.invalid"), "{}", failure.detail);
}

each_client!(a_name_without_an_address_does_not_resolve);

fn a_name_without_an_address_does_not_resolve(client: ClientKind) {
    let names = Names::with(false, PATIENCE, |_| ready(Ok(Vec::new())));
    let failure = attempt(&transport(settings(client), &names), &request(Method::Get, "http://store.example/"), None);
    let failure = failure.unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Resolve, false), "{}", failure.detail);
}

/// A server on all addresses, and its number of connections by address.
fn everywhere(
    answer: impl Fn(IpAddr, &ReceivedRequest, &mut dyn Wire) -> bool + Send + Sync + 'static,
) -> (Server, Counts) {
    let counts = Counts::default();
    let into = counts.clone();
    let server = Server::everywhere(move |mut stream| {
        let address = stream.local_addr().unwrap().ip();
        *into.lock().unwrap().entry(address).or_insert(0) += 1;
        serve(&mut stream, &|seen, wire| answer(address, seen, wire));
    });
    (server, counts)
}

type Counts = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

each_client!(connections_are_spread_over_all_addresses);

fn connections_are_spread_over_all_addresses(client: ClientKind) {
    let (server, counts) = everywhere(|_, _, wire| wire.write_all(LAST).is_err());
    let (names, asked) = round_robin(false, PATIENCE, &[1, 2, 3]);
    let transport = transport(settings(client), &names);
    let request = request(Method::Get, &url(&server));
    for _ in 0..9 {
        assert_eq!(attempt(&transport, &request, None).unwrap().1, b"ok");
    }
    assert_eq!(*counts.lock().unwrap(), [1, 2, 3].map(|last| (loopback(last), 3)).into());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

each_client!(an_address_that_refuses_connections_costs_no_attempt_and_is_dialled_last);

fn an_address_that_refuses_connections_costs_no_attempt_and_is_dialled_last(client: ClientKind) {
    let server = closing();
    // Nothing listens at 127.0.0.2 and 127.0.0.3.
    let (names, asked) = round_robin(false, PATIENCE, &[2, 3, 1]);
    let transport = transport(settings(client), &names);
    let request = request(Method::Get, &url(&server));
    for _ in 0..4 {
        assert_eq!(attempt(&transport, &request, None).unwrap().1, b"ok");
        assert_eq!(names.cached(NAME).unwrap()[0], loopback(1));
    }
    // When none is left, the name is resolved again.
    let address = server.address;
    drop(server);
    until(|| TcpStream::connect(address).is_err());
    let failure = attempt(&transport, &request, None).unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Connect, false), "{}", failure.detail);
    assert!(failure.detail.contains("at 127.0.0.1, 127.0.0."), "{}", failure.detail);
    assert_eq!((names.cached(NAME), asked.load(Ordering::SeqCst)), (None, 1));
    attempt(&transport, &request, None).unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

each_client!(an_address_that_is_silent_is_dialled_last);

fn an_address_that_is_silent_is_dialled_last(client: ClientKind) {
    let (server, counts) = everywhere(|address, _, wire| match address == loopback(1) {
        true => wire.read(&mut [0]).is_ok_and(|count| count > 0),
        false => wire.write_all(LAST).is_err(),
    });
    let (names, _) = round_robin(false, PATIENCE, &[1, 2]);
    let transport = transport(TransportSettings { idle_timeout: BRIEF, ..settings(client) }, &names);
    let request = request(Method::Get, &url(&server));
    let failure = attempt(&transport, &request, None).unwrap_err();
    assert_eq!(failure.code, Code::TimedOut);
    assert!(failure.detail.contains("dialled at 127.0.0.1"), "{}", failure.detail);
    for _ in 0..4 {
        assert_eq!(attempt(&transport, &request, None).unwrap().1, b"ok");
    }
    assert_eq!(*counts.lock().unwrap(), [(loopback(1), 1), (loopback(2), 4)].into());
}

each_client!(a_name_is_resolved_again_when_its_answer_expires_and_an_expired_answer_is_better_than_none);

fn a_name_is_resolved_again_when_its_answer_expires_and_an_expired_answer_is_better_than_none(client: ClientKind) {
    let server = closing();
    let asked: Arc<AtomicUsize> = Arc::default();
    let count = asked.clone();
    let names = Names::with(false, Duration::ZERO, move |_| {
        ready(match count.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(vec![loopback(1)]),
            1 => Ok(vec![loopback(1), loopback(2)]),
            2 => Err(std::io::Error::other("the resolver is gone")),
            _ => Ok(Vec::new()),
        })
    });
    let transport = transport(settings(client), &names);
    let request = request(Method::Get, &url(&server));
    for _ in 0..4 {
        assert_eq!(attempt(&transport, &request, None).unwrap().1, b"ok");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[test]
fn addresses_of_the_other_family_come_last() {
    let names = Names::with(false, PATIENCE, |_| {
        ready(Ok(["::1", "127.0.0.1", "::2", "127.0.0.2"].map(|ip| ip.parse().unwrap()).to_vec()))
    });
    runtime::handle().unwrap().block_on(async {
        for order in [["::1", "::2", "127.0.0.1", "127.0.0.2"], ["127.0.0.1", "127.0.0.2", "::2", "::1"]] {
            assert_eq!(names.addresses(NAME).await.unwrap(), order.map(|ip| ip.parse::<IpAddr>().unwrap()));
        }
    });
}
