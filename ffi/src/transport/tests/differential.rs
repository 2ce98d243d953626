//! Both clients send the same bytes: random requests, compared as a server received them.
//!
//! The one difference is the header `accept: */*`, which reqwest adds to every request and which cannot be turned off. It is
//! the last header, and not signed. All else is compared exactly: the order and the case of the headers too.

use std::fs::File;
use std::io::Write;

use fastrand::Rng;
use s3vault_core::checksum::digest;
use s3vault_core::http::Part;

use super::*;
use crate::source_file::SourceFile;
use crate::transport::frames::{FRAME, Frame};

/// Everything that arrives, head and body, byte by byte.
fn recording() -> (Server, Shared<Vec<Vec<u8>>>) {
    let received: Shared<Vec<Vec<u8>>> = Shared::default();
    let into = received.clone();
    let server = Server::raw(move |mut stream| {
        loop {
            let (mut bytes, mut byte) = (Vec::new(), [0]);
            while !bytes.ends_with(b"\r\n\r\n") {
                match stream.read(&mut byte) {
                    Ok(1) => bytes.push(byte[0]),
                    _ => return,
                }
            }
            let head = String::from_utf8(bytes.clone()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            let start = bytes.len();
            bytes.resize(start + length, 0);
            stream.read_exact(&mut bytes[start..]).unwrap();
            into.lock().unwrap().push(bytes);
            let body: &[u8] = if head.starts_with("HEAD ") { b"" } else { b"ok" };
            if !reply(&mut stream, 200, body) {
                return;
            }
        }
    });
    (server, received)
}

/// What is sent as a body.
#[derive(Clone, Debug)]
enum Payload {
    None,
    Bytes(Vec<u8>),
    Frames(Vec<u8>),
    /// A part of a file whose digest is known.
    File(Vec<u8>),
    /// A part of a file with its checksum in a trailer.
    Trailer(Vec<u8>),
}

impl Payload {
    fn random(rng: &mut Rng) -> Payload {
        let length = match rng.u8(0..4) {
            0 => 0,
            1 => rng.usize(1..100),
            2 => rng.usize(FRAME - 2..FRAME + 3),
            _ => rng.usize(1..4 * FRAME),
        };
        let bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        match rng.u8(0..5) {
            0 => Payload::None,
            1 => Payload::Bytes(bytes),
            2 => Payload::Frames(bytes),
            _ if length == 0 => Payload::None,
            3 => Payload::File(bytes),
            _ => Payload::Trailer(bytes),
        }
    }

    fn body(&self, transport: &Transport) -> Option<Outgoing> {
        let file = |bytes: &[u8], known: bool| {
            let mut file: File = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            let digest = known.then(|| digest(bytes));
            let part = Part {
                number: 1,
                offset: 0,
                length: bytes.len() as u64,
                stored: bytes.len() as u64,
                digest,
                md5: None,
                salt: None,
            };
            Outgoing::file(Arc::new(SourceFile::new(file).unwrap()), transport.pool().clone(), part)
        };
        match self {
            Payload::None => None,
            Payload::Bytes(bytes) => Some(Outgoing::bytes(bytes.clone())),
            Payload::Frames(bytes) => {
                let frames: Vec<Arc<Frame>> = bytes
                    .chunks(FRAME)
                    .map(|piece| {
                        let mut frame = transport.pool().try_take().unwrap();
                        frame.fill(piece);
                        Arc::new(frame)
                    })
                    .collect();
                Some(Outgoing::frames(&frames))
            }
            Payload::File(bytes) => Some(file(bytes, true)),
            Payload::Trailer(bytes) => {
                let mut body = file(bytes, false);
                body.with_trailer(Box::new(|_| {})).unwrap();
                Some(body)
            }
        }
    }
}

/// A path with a key of any bytes, as core encodes it.
fn random_path(rng: &mut Rng) -> String {
    let mut path = String::from("/bucket");
    for _ in 0..rng.usize(0..4) {
        path.push('/');
        for _ in 0..rng.usize(0..8) {
            let byte = if rng.bool() { rng.u8(..) } else { *rng.choice(b"-_.~abcXYZ019").unwrap() };
            let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
            path.push_str(&if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") });
        }
        // reqwest refuses these segments; an encoded dot is a dot for its parser.
        if path.rsplit('/').next().is_some_and(|segment| matches!(&*segment.replace("%2E", "."), "." | "..")) {
            path.push('x');
        }
    }
    path
}

fn random_query(rng: &mut Rng) -> String {
    let names = ["uploads", "versionId", "partNumber", "prefix", "list-type", "x"];
    let pairs: Vec<String> = (0..rng.usize(0..4))
        .map(|_| {
            let name = *rng.choice(&names).unwrap();
            let value: String = (0..rng.usize(0..6)).map(|_| format!("%{:02X}", rng.u8(..))).collect();
            if rng.u8(0..4) == 0 { name.to_owned() } else { format!("{name}={value}") }
        })
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn random_headers(rng: &mut Rng) -> Vec<(String, String)> {
    let mut headers = vec![("host".to_owned(), "bucket.store.example:9000".to_owned())];
    let names = ["x-amz-date", "x-amz-meta-a", "range", "if-match", "content-type", "content-md5", "authorization"];
    for _ in 0..rng.usize(0..8) {
        let value: String = (0..rng.usize(1..30)).map(|_| rng.u8(0x21..0x7F) as char).collect();
        // The same name more than once, too.
        headers.push((rng.choice(&names).unwrap().to_string(), value));
    }
    if rng.u8(0..8) == 0 {
        headers.remove(0);
    }
    headers
}

#[test]
fn both_clients_send_the_same_bytes() {
    let seed = std::env::var("S3VAULT_TEST_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("S3VAULT_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let (server, received) = recording();
    let transports = [ClientKind::Direct, ClientKind::Reqwest].map(|client| Transport::new(&settings(client)).unwrap());
    for n in 0..400 {
        let methods = [Method::Get, Method::Head, Method::Put, Method::Post, Method::Delete];
        let method = *rng.choice(&methods).unwrap();
        let payload =
            if matches!(method, Method::Put | Method::Post) { Payload::random(&mut rng) } else { Payload::None };
        let mut request = request(method, &server.url(&(random_path(&mut rng) + &random_query(&mut rng))));
        request.headers = random_headers(&mut rng).into_iter().map(|(name, value)| (name, value.into())).collect();
        let [direct, reqwest] = [&transports[0], &transports[1]].map(|transport| {
            runtime::handle().unwrap().block_on(async {
                let mut reply = transport.send(&request, payload.body(transport), transport.activity()).await.unwrap();
                while reply.chunk().await.unwrap().is_some() {}
            });
            received.lock().unwrap().pop().unwrap()
        });
        let reqwest = without_accept(reqwest);
        assert!(
            direct == reqwest,
            "request {n}, seed {seed}:\n{}\n{}",
            String::from_utf8_lossy(&direct[..direct.len().min(2000)]),
            String::from_utf8_lossy(&reqwest[..reqwest.len().min(2000)])
        );
    }
}

/// Removes the header that reqwest adds; it must be the last one.
fn without_accept(mut bytes: Vec<u8>) -> Vec<u8> {
    let added = b"\r\naccept: */*\r\n\r\n";
    let at = bytes.windows(added.len()).position(|window| window == added).expect("reqwest adds accept");
    bytes.drain(at..at + added.len() - 4);
    bytes
}
