//! How a server starts, where it listens, what it holds, and how it stops.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::client::{ACCESS, SECRET, authority, hook, request, server};
use embedded_store::{Options, Server, Tls, Versioning};

fn program(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_embedded-store"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

#[test]
fn the_program_says_where_it_listens_and_ends_with_its_input() {
    let mut child = program(&["--access-key", ACCESS, "--secret-key", SECRET, "--bucket", "one", "--exit-with-stdin"]);
    let line = first_line(&mut child);
    let address = line.strip_prefix("listening on http://").unwrap().trim_end().to_owned();
    assert!(address.starts_with("127.0.0.1:"));
    TcpStream::connect(&address).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn the_program_ends_when_nothing_is_asked_of_it() {
    let mut child = program(&["--access-key", ACCESS, "--secret-key", SECRET, "--idle-exit", "1"]);
    assert!(first_line(&mut child).starts_with("listening on "));
    assert!(child.wait().unwrap().success());
}

#[test]
fn wrong_arguments_are_named() {
    for (arguments, named) in [
        (vec!["--access-key", "a"], "--secret-key"),
        (vec!["--access-key", "a", "--secret-key", "b", "--bucket", "No"], "\"No\""),
        (vec!["--access-key", "a", "--secret-key", "b", "--bucket", "one:two"], "\"two\""),
        (vec!["--access-key", "a", "--secret-key", "b", "--tls-key", "/dev/null"], "--tls-cert"),
        (vec!["--access-key", "a", "--secret-key", "b", "--without", "PutNothing"], "PutNothing"),
        (vec!["--nonsense"], "--nonsense"),
    ] {
        let output = program(&arguments).wait_with_output().unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(named), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_dropped_server_is_gone_and_its_port_free() {
    let server = server();
    let address = authority(&server);
    let mut open = TcpStream::connect(&address).unwrap();
    drop(server);
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest);
    assert!(rest.is_empty());
    TcpListener::bind(&address).unwrap();
}

#[test]
fn a_taken_port_is_an_error() {
    let server = server();
    let port = authority(&server).rsplit_once(':').unwrap().1.parse().unwrap();
    let error = Server::start(Options { port, ..Options::new("a", "b") }).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn what_goes_beyond_the_limit_is_refused_and_the_store_lives_on() {
    let options = Options { max_bytes: 1000, ..Options::new(ACCESS, SECRET).bucket("bucket") };
    let server = Server::start(options).unwrap();
    assert_eq!(request("PUT", "/bucket/k").body(vec![0; 900]).send(&server).status, 200);
    let reply = request("PUT", "/bucket/l").body(vec![0; 101]).send(&server);
    assert_eq!(reply.error(), (507, "InsufficientStorage".to_owned()));
    assert!(reply.element("Message").contains("--max-bytes"));
    assert_eq!(server.stats().stored_bytes, 900);
    assert_eq!(request("PUT", "/bucket/l").body(vec![0; 100]).send(&server).status, 200);
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let server = server();
    let text = request("PUT", "/bucket/k").body(vec![7; 1_000_000]).sign(&server).text();
    let mut stream = TcpStream::connect(authority(&server)).unwrap();
    stream.write_all(&text[..text.len() / 2]).unwrap();
    while server.stats().stored_bytes == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    drop(stream);
    while server.stats().stored_bytes > 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(request("GET", "/bucket/k").send(&server).status, 404);
}

#[test]
fn buckets_are_as_they_were_asked_for() {
    let mut options = Options::new(ACCESS, SECRET).bucket("with");
    options.buckets.push(("without".to_owned(), Versioning::Off));
    let server = Server::start(options).unwrap();
    assert!(request("GET", "/with?versioning=").send(&server).text().contains("<Status>Enabled</Status>"));
    assert!(!request("GET", "/without?versioning=").send(&server).text().contains("Status"));
}

#[test]
fn tls_is_spoken_with_the_given_certificate() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let tls = Tls { certificate: made.cert.pem().into_bytes(), key: made.signing_key.serialize_pem().into_bytes() };
    let server = Server::start(Options { tls: Some(tls), ..Options::new(ACCESS, SECRET).bucket("bucket") }).unwrap();
    assert!(server.url().starts_with("https://127.0.0.1:"));

    let connect = |roots: rustls::RootCertStore| {
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "127.0.0.1".try_into().unwrap();
        let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(client, TcpStream::connect(authority(&server)).unwrap());
        stream.write_all(&request("PUT", "/bucket/k").body("x").sign(&server).text())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok::<_, std::io::Error>(crate::client::parse(&answer).unwrap().status)
    };
    let mut roots = rustls::RootCertStore::empty();
    assert!(connect(roots.clone()).is_err());
    roots.add(made.cert.der().clone()).unwrap();
    assert_eq!(connect(roots).unwrap(), 200);
}

#[test]
fn certificate_and_key_must_be_pem_and_belong_together() {
    let one = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    for (certificate, key) in [
        (one.cert.pem(), other.signing_key.serialize_pem()),
        (one.cert.pem(), "none".to_owned()),
        (String::new(), one.signing_key.serialize_pem()),
    ] {
        let tls = Some(Tls { certificate: certificate.into_bytes(), key: key.into_bytes() });
        assert!(Server::start(Options { tls, ..Options::new("a", "b") }).is_err());
    }
}

#[test]
fn a_hook_needs_no_signature_and_no_bucket() {
    let server = Server::start(Options::new(ACCESS, SECRET)).unwrap();
    assert_eq!(hook(&server, "GET", "stats", "").status, 200);
}
