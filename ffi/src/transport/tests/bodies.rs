//! How reply bodies end, in both ways of reading them, and whether their connection is reused.

use s3vault_core::Code;
use s3vault_core::http::{Method, TransportFailure};

use super::super::testserver::{ReceivedRequest, Server, Wire};
use super::super::{Transport, runtime};
use super::{Authority, ClientKind, each_client, https, request, settings};

const LENGTH: usize = 300_000;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 251 + n) as u8).collect()
}

/// A reply with this head and a body of `length` bytes that `body` changes.
struct Case {
    name: &'static str,
    version: &'static str,
    headers: &'static str,
    length: usize,
    body: fn(&[u8]) -> Vec<u8>,
    /// Whether the server closes the connection after it.
    closes: bool,
    /// Whether the client gets the whole body.
    whole: bool,
    /// Whether the connection is reused.
    reused: bool,
}

const WHOLE: Case = Case {
    name: "a length",
    version: "1.1",
    headers: "content-length: 300000\r\n",
    length: LENGTH,
    body: |body| body.to_vec(),
    closes: false,
    whole: true,
    reused: true,
};

const CASES: [Case; 10] = [
    WHOLE,
    Case { name: "chunked", headers: "transfer-encoding: chunked\r\n", body: chunked, ..WHOLE },
    Case {
        name: "the last of its connection",
        headers: "content-length: 300000\r\nconnection: close\r\n",
        reused: false,
        ..WHOLE
    },
    Case { name: "HTTP/1.0", version: "1.0", reused: false, ..WHOLE },
    Case {
        name: "HTTP/1.0, kept",
        version: "1.0",
        headers: "content-length: 300000\r\nconnection: Keep-Alive\r\n",
        ..WHOLE
    },
    Case { name: "until it closes", headers: "", closes: true, reused: false, ..WHOLE },
    Case {
        name: "more than its length",
        body: |body| [body, b"HTTP/1.1 200 Smuggled\r\n"].concat(),
        reused: false,
        ..WHOLE
    },
    Case {
        name: "more than its length, with the head",
        headers: "content-length: 5\r\n",
        length: 5,
        body: |body| [body, b"HTTP/1.1 200 Smuggled\r\n"].concat(),
        reused: false,
        ..WHOLE
    },
    Case {
        name: "less than its length",
        body: |body| body[1..].to_vec(),
        closes: true,
        whole: false,
        reused: false,
        ..WHOLE
    },
    Case {
        name: "a chunk that is cut",
        headers: "transfer-encoding: chunked\r\n",
        body: |body| chunked(body)[..LENGTH / 2].to_vec(),
        closes: true,
        whole: false,
        reused: false,
        ..WHOLE
    },
];

fn chunked(body: &[u8]) -> Vec<u8> {
    let pieces = body
        .chunks(70_000)
        .flat_map(|piece| [format!("{:x}\r\n", piece.len()).into_bytes(), piece.to_vec(), b"\r\n".to_vec()]);
    [pieces.flatten().collect(), b"0\r\n\r\n".to_vec()].concat()
}

fn answer(case: &Case, wire: &mut dyn Wire) -> bool {
    let head = format!("HTTP/{} 206 Partial\r\n{}\r\n", case.version, case.headers);
    let body = (case.body)(&pattern(case.length));
    // In one write, so that the start of the body arrives together with the head.
    wire.write_all(&[head.as_bytes(), &body].concat()).is_ok() && wire.flush().is_ok() && !case.closes
}

/// Reads the body in chunks, or into a buffer of this size.
pub(super) fn body_of(transport: &Transport, url: &str, into: Option<usize>) -> Result<Vec<u8>, TransportFailure> {
    runtime::handle().unwrap().block_on(async {
        let mut reply = transport.send(&request(Method::Get, url), None, transport.activity()).await?;
        let mut got = Vec::new();
        match into {
            None => {
                while let Some(piece) = reply.chunk().await? {
                    got.extend_from_slice(&piece);
                }
            }
            Some(most) => loop {
                let mut room = vec![0; most];
                let count = reply.read(&mut room).await?;
                if count == 0 {
                    break;
                }
                got.extend_from_slice(&room[..count]);
            },
        }
        Ok(got)
    })
}

each_client!(a_body_is_complete_or_an_error_and_its_connection_is_reused_if_possible);

fn a_body_is_complete_or_an_error_and_its_connection_is_reused_if_possible(client: ClientKind) {
    for tls in [false, true] {
        // Over TLS a connection that is closed without notice is not the end of a body.
        for case in CASES.iter().filter(|case| !tls || !case.headers.is_empty()) {
            for into in [None, Some(100), Some(100_000), Some(1 << 20)] {
                let answer = move |_: &ReceivedRequest, wire: &mut dyn Wire| answer(case, wire);
                let authority = Authority::new("bodies");
                let (server, transport) = if tls {
                    let config = authority.config("127.0.0.1", |_| ());
                    (Server::https(config, answer), Transport::new(&authority.trusted(client)).unwrap())
                } else {
                    (Server::http(answer), Transport::new(&settings(client)).unwrap())
                };
                let url = if tls { https(&server) } else { server.url("/b/k") };
                let what = format!("{}, {into:?}, TLS {tls}", case.name);
                for _ in 0..2 {
                    match body_of(&transport, &url, into) {
                        Ok(body) => {
                            assert!(
                                case.whole && body == pattern(case.length),
                                "{what}: {} bytes were read",
                                body.len()
                            )
                        }
                        Err(failure) => {
                            assert!(!case.whole, "{what}: {}", failure.detail);
                            assert_eq!((failure.code, failure.maybe_sent), (Code::ConnectionLost, true), "{what}");
                            assert!(failure.detail.contains(&server.address.to_string()), "{what}: {}", failure.detail);
                        }
                    }
                }
                // reqwest's pool gets a connection back a moment after its body was read, maybe too late for the second request.
                let most = if case.reused && client == ClientKind::Direct { 1 } else { 2 };
                let least = if case.reused { 1 } else { 2 };
                assert!((least..=most).contains(&server.connections()), "{what}: {} connections", server.connections());
            }
        }
    }
}
