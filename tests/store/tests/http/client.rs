//! A raw HTTP client and a signer of its own, which lets a test get every byte wrong that it wants to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use embedded_store::{Options, Server};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub(crate) const ACCESS: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A server with the bucket `bucket`.
pub(crate) fn server() -> Server {
    Server::start(Options::new(ACCESS, SECRET).bucket("bucket")).unwrap()
}

/// A request whose parts can each be spoilt before or after it is signed.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// Escaped, sorted, each with its `=`.
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) secret: String,
    pub(crate) access: String,
    /// Headers that are sent and not signed.
    pub(crate) unsigned: Vec<&'static str>,
    /// The time it is dated with, in seconds from now.
    pub(crate) offset: i64,
}

pub(crate) fn request(method: &'static str, path: &str) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        secret: SECRET.to_owned(),
        access: ACCESS.to_owned(),
        unsigned: Vec::new(),
        offset: 0,
    }
}

impl Request {
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A document with its checksum, which S3 demands of some.
    pub(crate) fn document(self, xml: &str) -> Self {
        self.header("x-amz-checksum-sha256", BASE64.encode(Sha256::digest(xml))).body(xml)
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The request as signed, and the signature with the key, for chunks that build on it.
    pub(crate) fn sign(&self, server: &Server) -> Signed {
        let mut headers = self.headers.clone();
        let date = date(self.offset);
        headers.push(("host".to_owned(), authority(server)));
        headers.push(("x-amz-date".to_owned(), date.clone()));
        if !headers.iter().any(|(name, _)| name == "x-amz-content-sha256") {
            headers.push(("x-amz-content-sha256".to_owned(), hex(&Sha256::digest(&self.body))));
        }
        headers.sort();
        let signed: Vec<_> = headers.iter().filter(|(name, _)| !self.unsigned.contains(&name.as_str())).collect();
        let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let hash = &headers.iter().find(|(name, _)| name == "x-amz-content-sha256").unwrap().1;
        let canonical = format!("{}\n{}\n{}\n{lines}\n{names}\n{hash}", self.method, self.path, self.query);

        let scope = format!("{}/us-east-1/s3/aws4_request", &date[..8]);
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in scope.split('/') {
            key = hmac(&key, part);
        }
        let signature = hex(&hmac(&key, &to_sign));
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}", self.access);
        headers.push(("authorization".to_owned(), authorization));
        Signed { request: self.clone(), headers, key, signature, date, scope }
    }

    /// Signs, sends and reads the answer.
    pub(crate) fn send(&self, server: &Server) -> Reply {
        self.sign(server).send(server)
    }
}

pub(crate) struct Signed {
    pub(crate) request: Request,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) key: Vec<u8>,
    pub(crate) signature: String,
    pub(crate) date: String,
    pub(crate) scope: String,
}

impl Signed {
    /// A chunk of a signed, chunked body, which continues the chain of signatures.
    pub(crate) fn chunk(&mut self, data: &[u8]) -> Vec<u8> {
        let empty = hex(&Sha256::digest(b""));
        let to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{empty}\n{}",
            self.date,
            self.scope,
            self.signature,
            hex(&Sha256::digest(data))
        );
        self.signature = hex(&hmac(&self.key, &to_sign));
        let head = format!("{:x};chunk-signature={}\r\n", data.len(), self.signature);
        [head.as_bytes(), data, b"\r\n"].concat()
    }

    pub(crate) fn text(&self) -> Vec<u8> {
        let Request { method, path, query, body, .. } = &self.request;
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let mut text = format!("{method} {path}{query} HTTP/1.1\r\nconnection: close\r\n");
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(*method, "PUT" | "POST") {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        [text.as_bytes(), b"\r\n", body.as_slice()].concat()
    }

    pub(crate) fn send(&self, server: &Server) -> Reply {
        exchange(server, &self.text()).expect("the server dropped the connection")
    }
}

pub(crate) fn authority(server: &Server) -> String {
    server.url().split_once("://").unwrap().1.to_owned()
}

pub(crate) fn epoch_seconds() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

pub(crate) fn date(offset: i64) -> String {
    let time = jiff::Timestamp::from_second(epoch_seconds() + offset).unwrap();
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of an element of the XML body.
    pub(crate) fn element(&self, name: &str) -> String {
        let text = self.text();
        let inner = text.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
        inner.unwrap_or_else(|| panic!("no {name} in {text}")).0.to_owned()
    }

    /// Status and code of an error.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status, self.element("Code"))
    }
}

/// Sends bytes and reads the whole answer; `None` when the connection ends without one.
pub(crate) fn exchange(server: &Server, bytes: &[u8]) -> Option<Reply> {
    let mut stream = TcpStream::connect(authority(server)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A connection that is dropped may end with an error or without.
    let _ = stream.read_to_end(&mut answer);
    parse(&answer)
}

pub(crate) fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    Some(Reply { status, headers, body: answer[end + 4..].to_vec() })
}

/// Calls a hook.
pub(crate) fn hook(server: &Server, method: &str, path: &str, json: &str) -> Reply {
    let host = authority(server);
    let length = json.len();
    let text = format!(
        "{method} /_embedded/{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{json}"
    );
    exchange(server, text.as_bytes()).unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
