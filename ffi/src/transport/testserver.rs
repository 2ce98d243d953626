//! A server for tests, with one thread per connection and control over every byte.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A stream that is read and written.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// A request as it was received.
#[derive(Clone, Default)]
pub(crate) struct ReceivedRequest {
    /// For example `GET /bucket/key HTTP/1.1`.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The request target: path and query.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// Length of the body in bytes.
    pub(crate) fn length(&self) -> usize {
        self.header("content-length").map_or(0, |length| length.parse().unwrap())
    }
}

/// A server that stops listening when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Passes each connection to `handle`.
    pub(crate) fn raw(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        Server::listen("127.0.0.1:0", handle)
    }

    /// Like [`raw`](Server::raw), on every address of this machine.
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

    /// Reads each request with its body; `answer` writes the reply, and returns `false` to close the connection.
    pub(crate) fn http(answer: impl Fn(&ReceivedRequest, &mut dyn Wire) -> bool + Send + Sync + 'static) -> Server {
        Server::raw(move |mut stream| serve(&mut stream, &answer))
    }

    /// Like [`http`](Server::http), over TLS.
    pub(crate) fn https(
        config: Arc<ServerConfig>,
        answer: impl Fn(&ReceivedRequest, &mut dyn Wire) -> bool + Send + Sync + 'static,
    ) -> Server {
        Server::raw(move |stream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            serve(&mut StreamOwned::new(connection, stream), &answer);
        })
    }

    /// Number of connections that were accepted.
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

/// Answers requests until the connection ends.
pub(crate) fn serve(wire: &mut dyn Wire, answer: &dyn Fn(&ReceivedRequest, &mut dyn Wire) -> bool) {
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

/// Reads the head of the next request; `None` if the client closed the connection.
pub(crate) fn read_head(wire: &mut dyn Wire) -> Option<ReceivedRequest> {
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
    Some(ReceivedRequest { line, headers, body: Vec::new() })
}

/// Writes a reply; returns `false` if the client has closed the connection.
pub(crate) fn reply(wire: &mut dyn Wire, status: u16, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n", body.len());
    wire.write_all(&[head.as_bytes(), body].concat()).is_ok() && wire.flush().is_ok()
}

/// Waits until the condition is true; only the test's own time-out limits the wait.
pub(crate) fn until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A value that handlers change.
pub(crate) type Shared<T> = Arc<Mutex<T>>;
