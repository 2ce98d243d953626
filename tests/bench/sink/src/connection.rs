//! One connection: HTTP/1.1 requests, one after the other (RFC 9112).

use std::io;

use crate::s3::{Body, Store};
use crate::wire::Wire;

/// Heads are smaller by far.
const HEAD: usize = 64 * 1024;

/// A request's head.
pub(crate) struct Request {
    pub(crate) method: String,
    /// As it was sent, without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn parse(head: &[u8]) -> io::Result<Request> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or("").split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(bad("a request line")) };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Ok(Request { method: method.into(), path: path.into(), query: query.into(), headers: headers.collect() })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A parameter's value as it was sent; empty where it has none.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let parameters = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        parameters.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} cannot be read"))
}

/// Serves until the client closes the connection.
pub(crate) fn run(store: &Store, wire: Wire) -> io::Result<()> {
    let mut input = Input { wire, buffer: vec![0; HEAD], start: 0, end: 0 };
    while let Some(head) = input.line(b"\r\n\r\n")? {
        let request = Request::parse(&head)?;
        if request.header("expect").is_some() {
            input.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut kept = store.keeps(&request).then(Vec::new);
        let count = input.body(&request, kept.as_mut())?;
        let reply = store.answer(&request, count, kept);
        input.wire.write(reply.head.as_bytes())?;
        match reply.body {
            Body::None => {}
            Body::Pattern { mut offset, mut length } => {
                while length > 0 {
                    let slice = store.slice(offset, length);
                    input.wire.write(slice)?;
                    offset += slice.len() as u64;
                    length -= slice.len() as u64;
                }
            }
        }
    }
    Ok(())
}

struct Input {
    wire: Wire,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// Up to and without this end; `None` when the client is gone.
    fn line(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut searched = self.start;
        loop {
            let found = self.buffer[searched..self.end].windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                let line = self.buffer[self.start..searched + at].to_vec();
                self.start = searched + at + end.len();
                return Ok(Some(line));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            searched = self.end.saturating_sub(end.len() - 1);
            if self.end == HEAD {
                return Err(bad("a head"));
            }
            match self.wire.read(&mut self.buffer[self.end..])? {
                0 => return Ok(None),
                count => self.end += count,
            }
        }
    }

    /// Reads the body, keeps it where it is wanted, and says how long it was.
    fn body(&mut self, request: &Request, mut kept: Option<&mut Vec<u8>>) -> io::Result<u64> {
        if request.header("transfer-encoding").is_none() {
            let length = request.header("content-length").map_or(Ok(0), str::parse).map_err(|_| bad("a length"))?;
            self.take(length, kept)?;
            return Ok(length);
        }
        let mut sum = 0;
        loop {
            let line = self.line(b"\r\n")?.ok_or_else(|| bad("a chunk"))?;
            let digits = std::str::from_utf8(&line).map_err(|_| bad("a chunk"))?.split(';').next().unwrap_or("");
            let length = u64::from_str_radix(digits.trim(), 16).map_err(|_| bad("a chunk"))?;
            self.take(length, kept.as_deref_mut())?;
            sum += length;
            // A trailer ends with an empty line, as a chunk does.
            while self.line(b"\r\n")?.is_some_and(|line| length == 0 && !line.is_empty()) {}
            if length == 0 {
                return Ok(sum);
            }
        }
    }

    fn take(&mut self, mut length: u64, kept: Option<&mut Vec<u8>>) -> io::Result<()> {
        let here = length.min((self.end - self.start) as u64) as usize;
        let start = self.start;
        self.start += here;
        length -= here as u64;
        match kept {
            Some(kept) => {
                kept.extend_from_slice(&self.buffer[start..start + here]);
                while length > 0 {
                    let most = length.min(HEAD as u64) as usize;
                    let count = self.wire.read(&mut self.buffer[..most])?;
                    if count == 0 {
                        return Err(bad("a body"));
                    }
                    kept.extend_from_slice(&self.buffer[..count]);
                    length -= count as u64;
                    (self.start, self.end) = (0, 0);
                }
            }
            None => {
                while length > 0 {
                    match self.wire.discard(length)? {
                        0 => return Err(bad("a body")),
                        count => length -= count as u64,
                    }
                }
            }
        }
        Ok(())
    }
}
