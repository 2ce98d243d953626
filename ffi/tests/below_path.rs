//! A store below a path, such as Supabase's at `/storage/v1/s3`: a gateway verifies signatures that cover the path,
//! removes it, and signs again for the store behind it.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use embedded_store::{Options, Server};
use s3vault::{Code, Control, Settings, Vault};
use support::{bytes, reaching, settings};

const PATH: &str = "/storage/v1/s3";

/// The gateway's address, and the number of requests that it refused.
fn gateway(store: &str) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, store) = (listener.local_addr().unwrap().to_string(), store.replace("http://", ""));
    let refused = Arc::new(AtomicU32::new(0));
    let count = refused.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (store, count) = (store.clone(), count.clone());
            std::thread::spawn(move || pass(stream.unwrap(), &store, &count));
        }
    });
    (address, refused)
}

/// Passes one request on.
fn pass(client: TcpStream, store: &str, refused: &AtomicU32) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let first = lines.remove(0);
    let (method, target) = first.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
    let headers: Vec<(&str, &str)> = lines.iter().filter_map(|line| line.split_once(": ")).collect();
    let header = |name: &str| headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map_or("", |own| own.1);
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;

    let authorization = header("authorization");
    let names = authorization.split_once("SignedHeaders=")?.1.split(',').next()?;
    let own = ["host", "x-amz-date", "x-amz-content-sha256"];
    let signed: Vec<String> =
        names.split(';').filter(|name| !own.contains(name)).map(|name| format!("{name}: {}\n", header(name))).collect();
    let keys = settings(&[("access_key", "access"), ("secret_key", "secret"), ("region", "us-east-1")]);
    let date = header("x-amz-date");
    let at =
        format!("{}-{}-{}T{}:{}:{}Z", &date[..4], &date[4..6], &date[6..8], &date[9..11], &date[11..13], &date[13..15]);
    let at_ms = s3vault_core::time::parse_rfc3339(&at)?;
    let sign = |host: &str, target: &str| {
        let (url, hash) = (format!("http://{host}{target}"), header("x-amz-content-sha256"));
        let lines = s3vault::sign::sign(&keys, at_ms, method, &url, &signed.concat(), hash).unwrap();
        lines.lines().find_map(|line| line.strip_prefix("authorization: ").map(str::to_owned)).unwrap()
    };
    let inner = target.strip_prefix(PATH).filter(|_| sign(header("host"), target) == authorization);
    let Some(inner) = inner else {
        refused.fetch_add(1, Ordering::Relaxed);
        let body = "<Error><Code>SignatureDoesNotMatch</Code></Error>";
        let head = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        return (&client).write_all(format!("{head}{body}").as_bytes()).ok();
    };
    let mut request = format!("{method} {inner} HTTP/1.1\r\nhost: {store}\r\nconnection: close\r\n");
    request.push_str(&format!("authorization: {}\r\n", sign(store, inner)));
    for (name, value) in headers.iter().filter(|(name, _)| !matches!(*name, "host" | "authorization" | "connection")) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut behind = TcpStream::connect(store).ok()?;
    behind.write_all(request.as_bytes()).ok()?;
    behind.write_all(b"\r\n").ok()?;
    behind.write_all(&body).ok()?;
    std::io::copy(&mut behind, &mut &client).ok().map(|_| ())
}

#[test]
fn a_backup_is_stored_and_restored_below_a_path() {
    let store = Server::start(Options::new("access", "secret").bucket("backups")).unwrap();
    let (address, refused) = gateway(&store.url());
    let none = &mut Control::none();
    let data = bytes(17 << 20);
    for slashes in ["", "/", "//"] {
        let settings = reaching(&format!("http://{address}{PATH}{slashes}"), "backups");
        let vault = Vault::open(&settings, None, none).unwrap();
        let mut put = vault.put("vm", "größe 1+1", &Settings::new(), none).unwrap();
        put.write(&data, none).unwrap();
        let version = put.commit(none).unwrap();
        let (mut get, mut all) = (version.open(&Settings::new(), none).unwrap(), Vec::new());
        let mut buffer = vec![0; 1 << 20];
        loop {
            match get.read(&mut buffer, none).unwrap() {
                0 => break,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
        assert!(all == data);
    }
    assert_eq!(refused.load(Ordering::Relaxed), 0);
    // Without the path, or with another one, nothing is accepted, and the hint says where to look.
    for (path, says) in [("", "Check secret_key"), ("/storage/v2", "the path /storage/v2 of api_url")] {
        let settings = reaching(&format!("http://{address}{path}"), "backups");
        let opened = Vault::open(&settings, None, none)
            .and_then(|vault| vault.put("vm", "disk", &Settings::new(), none).map(|_| ()));
        let e = opened.unwrap_err();
        assert!(e.code() == Code::SignatureRefused && e.hint().contains(says), "{path}: {e:?}");
    }
}
