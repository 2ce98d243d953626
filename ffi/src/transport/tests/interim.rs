//! How many interim replies (1xx) a server may send before its reply.

use s3vault_core::Code;
use s3vault_core::http::Method;

use super::super::Transport;
use super::super::testserver::{Server, Wire, reply};
use super::bodies::body_of;
use super::proxies::through;
use super::{Authority, ClientKind, attempt, each_client, get, https, request, settings};

/// Interim replies of at least this many bytes.
fn interims(least: usize) -> Vec<u8> {
    let some = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".as_slice();
    some.repeat(least.div_ceil(some.len()))
}

#[test]
fn too_many_interim_replies_end_an_attempt() {
    let authority = Authority::new("interim");
    let answer = |wire: &mut dyn Wire| {
        let _ = wire.write_all(&interims(2 << 20));
        reply(wire, 200, b"too late")
    };
    let plain = Server::http(move |_, wire| answer(wire));
    let tls = Server::https(authority.config("127.0.0.1", |_| ()), move |_, wire| answer(wire));
    let transport = Transport::new(&authority.trusted(ClientKind::Direct)).unwrap();
    for url in [plain.url("/b/k"), https(&tls)] {
        for (method, body) in [(Method::Get, None), (Method::Put, Some(vec![0; 100_000]))] {
            let failure = attempt(&transport, &request(method, &url), body).unwrap_err();
            assert_eq!((failure.code, failure.maybe_sent), (Code::ConnectionLost, true), "{}", failure.detail);
            assert!(failure.detail.contains("1 MiB of interim replies (1xx)"), "{}", failure.detail);
        }
    }
}

#[test]
fn too_many_interim_replies_of_a_proxy_end_an_attempt() {
    let proxy = Server::http(|_, wire| {
        let _ = wire.write_all(&interims(2 << 20));
        reply(wire, 403, b"too late")
    });
    let settings = through(&proxy.url(""), settings(ClientKind::Direct));
    let failure = get(&settings, "https://store.example/b").unwrap_err();
    assert_eq!((failure.code, failure.maybe_sent), (Code::Connect, false), "{}", failure.detail);
    assert!(failure.detail.contains("1 MiB of interim replies (1xx)"), "{}", failure.detail);
}

each_client!(each_reply_may_follow_many_interim_replies);

fn each_reply_may_follow_many_interim_replies(client: ClientKind) {
    let body = vec![7; 3 << 20];
    // In one write, so that the start of the body arrives together with the head.
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = [interims(1_000_000), head.into_bytes(), body.clone()].concat();
    let server = Server::http(move |_, wire| wire.write_all(&answer).is_ok());
    let transport = Transport::new(&settings(client)).unwrap();
    for into in [None, Some(1 << 20), None] {
        assert!(body_of(&transport, &server.url("/b/k"), into).unwrap() == body, "{into:?}");
    }
    if client == ClientKind::Direct {
        assert_eq!(server.connections(), 1, "a connection is kept");
    }
}
