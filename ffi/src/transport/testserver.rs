//! A server for tests: a thread for each connection, and full control over every byte.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Both directions of a connection.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// A request as it stood on the wire.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// For example `GET /bucket/key HTTP/1.1`.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// Bytes of the body that follows.
    pub(crate) fn length(&self) -> usize {
        self.header("content-length").map_or(0, |length| length.parse().unwrap())
    }
}

/// Stops listening when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Hands each connection over as it is.
    pub(crate) fn raw(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        Server::listen("127.0.0.1:0", handle)
    }

    /// The same at every address of this machine.
    pub(crate) fn everywhere(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        Server::listen("0.0.0.0:0", handle)
    }

    fn listen(address: &str, handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let server =
            Server { address: listener.local_addr().unwrap(), connections: Arc::default(), stop: Arc::default() };
        let (connections, stop, handle) = (server.connections.clone(), server.stop.clone(), Arc::new(handle));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                connections.fetch_add(1, Ordering::Relaxed);
                let handle = handle.clone();
                std::thread::spawn(move || handle(stream));
            }
        });
        server
    }

    /// Reads each request whole; `answer` writes the reply. `false` from it closes the connection.
    pub(crate) fn http(answer: impl Fn(&Seen, &mut dyn Wire) -> bool + Send + Sync + 'static) -> Server {
        Server::raw(move |mut stream| serve(&mut stream, &answer))
    }

    /// The same over TLS.
    pub(crate) fn https(
        config: Arc<ServerConfig>,
        answer: impl Fn(&Seen, &mut dyn Wire) -> bool + Send + Sync + 'static,
    ) -> Server {
        Server::raw(move |stream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            serve(&mut StreamOwned::new(connection, stream), &answer);
        })
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers request after request.
pub(crate) fn serve(wire: &mut dyn Wire, answer: &dyn Fn(&Seen, &mut dyn Wire) -> bool) {
    while let Some(mut seen) = read_head(wire) {
        let mut body = vec![0; seen.length()];
        if wire.read_exact(&mut body).is_err() {
            return;
        }
        seen.body = body;
        if !answer(&seen, wire) {
            return;
        }
    }
}

/// The head of the next request; `None` when the client closed.
pub(crate) fn read_head(wire: &mut dyn Wire) -> Option<Seen> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match wire.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Some(Seen { line, headers, body: Vec::new() })
}

/// Writes a whole reply; `false` when the client has gone.
pub(crate) fn reply(wire: &mut dyn Wire, status: u16, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n", body.len());
    wire.write_all(&[head.as_bytes(), body].concat()).is_ok() && wire.flush().is_ok()
}

/// Waits until something is so. The test's own time-out is the only bound.
pub(crate) fn until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A collection that handlers fill.
pub(crate) type Shared<T> = Arc<Mutex<T>>;
