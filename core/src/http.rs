//! HTTP as core sees it: heads of requests and replies, and names for the payload that stays with the driver.

use std::fmt;

use bytes::Bytes;

use crate::checksum::{Digest, SliceHash};
use crate::error::Code;

/// The methods that S3 uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `PUT`
    Put,
    /// `POST`
    Post,
    /// `DELETE`
    Delete,
}

impl Method {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

/// Names one request of one machine; never used twice by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A signed request, ready to be sent once.
#[derive(Clone)]
pub struct Request {
    /// Which one; the replies to it carry the same id.
    pub id: RequestId,
    /// The S3 operation, for logs and counts.
    pub operation: &'static str,
    /// The method.
    pub method: Method,
    /// Scheme, authority, path and query, escaped as they were signed: send them as they stand.
    pub url: String,
    /// All headers but `content-length`, which follows from the body. Names are lower-case.
    pub headers: Vec<(String, String)>,
    /// What to send.
    pub body: Body,
    /// What to do with the body of a reply whose status is 2xx. Any other reply's body is collected,
    /// up to [`ERROR_LIMIT`] bytes.
    pub reply: ReplyBody,
    /// The monotonic time at which the connection must be dropped, for a dated request: an attempt that
    /// lives longer could take effect when nobody counts on it any more.
    pub drop_at: Option<u64>,
}

/// How much of a refusal's body is read, in bytes.
pub const ERROR_LIMIT: usize = 64 * 1024;

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// None.
    Empty,
    /// These bytes, which may be many: whoever sends them shares them.
    Bytes(Bytes),
    /// A part that the driver holds (a stream's) or can read again (a file's).
    Part(Part),
}

/// A part of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: u32,
    /// Where it begins in the stream or file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// What the bytes were when they were first read: a driver that reads them again compares. `None`: they are hashed
    /// while they are sent, in aws-chunked framing whose trailer says the CRC64NVME; when the last of them is on its way,
    /// the driver says [`Input::PartSent`](crate::Input::PartSent).
    pub digest: Option<Digest>,
}

/// The body of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// Collected: [`Input::Body`](crate::Input::Body) for each piece. More than `limit` bytes is a failure.
    Collect {
        /// In bytes.
        limit: usize,
    },
    /// A range of the backup: the driver hashes it and puts it where it belongs, then says
    /// [`Input::RangeEnd`](crate::Input::RangeEnd).
    Range(Range),
}

/// A range of a download: a slice of one part of the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// From 0, in the order in which the download takes its slices, which is that of the bytes.
    pub index: u32,
    /// The part that it is of, from 0.
    pub part: u32,
    /// Where its first byte belongs in the backup, in bytes.
    pub offset: u64,
    /// How many bytes belong to it.
    pub length: u64,
    /// How many of them arrived before, so that the request brings those behind them.
    pub done: u64,
    /// How often its part was read before, from its begin: what such a reading has left is not counted on.
    pub reading: u32,
    /// How it is hashed.
    pub hash: SliceHash,
}

impl Range {
    /// A part whole, of which nothing has arrived.
    pub fn of_part(part: u32, offset: u64, length: u64) -> Range {
        Range { index: part, part, offset, length, done: 0, reading: 0, hash: SliceHash::Whole }
    }
}

/// Status and headers of a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyHead {
    /// For example 200.
    pub status: u16,
    /// As they came, names in lower case; a value that is not UTF-8 is left out.
    pub headers: Vec<(String, String)>,
}

impl ReplyHead {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why no whole reply came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportFailure {
    /// A code of the transport family, or [`Code::SourceChanged`] and [`Code::Io`] for a part that could
    /// not be read again.
    pub code: Code,
    /// Whether the request may have reached the store.
    pub maybe_sent: bool,
    /// What happened, for people.
    pub detail: String,
}

impl fmt::Debug for Request {
    /// Headers are left out: one of them holds the signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.operation, self.method.as_str(), self.url)
    }
}
