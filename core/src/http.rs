//! HTTP messages: the heads of requests and replies, and descriptions of the payload, which stays with the driver.

use std::fmt;

use std::ops::Deref;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::checksum::{Digest, SliceHash};
use crate::crypto::segment::Salt;
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
    /// The method as it is sent.
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

/// Identifies a request of a machine. A machine never uses an id twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A signed request, to be sent once.
#[derive(Clone)]
pub struct Request {
    /// The id of the request; inputs about its reply have the same id.
    pub id: RequestId,
    /// The S3 operation, for logs and statistics.
    pub operation: &'static str,
    /// The method.
    pub method: Method,
    /// Scheme, host, port, path and query, percent-encoded as they were signed. They must be sent unchanged.
    pub url: String,
    /// All headers except `content-length`, which follows from the body. Names are in lower case.
    pub headers: Vec<(String, HeaderValue)>,
    /// The body to send.
    pub body: Body,
    /// What to do with the body of a reply whose status is 2xx. The body of any other reply is collected, up to
    /// [`ERROR_LIMIT`] bytes.
    pub reply: ReplyBody,
    /// The bytes that it sends or collects are data of a backup, which the driver counts and limits as it does those of parts
    /// and ranges.
    pub is_data: bool,
    /// For a dated request, the monotonic time at which its connection must be dropped: a later attempt could take
    /// effect after the machine has stopped counting on it.
    pub drop_at: Option<u64>,
}

/// The value of a request header. It derefs to its text.
#[derive(Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// A value that may be shown.
    Plain(String),
    /// A secret, such as a key or a token. It is zeroized on drop, and never shown.
    Secret(Zeroizing<String>),
}

impl HeaderValue {
    /// A secret value.
    pub fn secret(value: impl Into<String>) -> HeaderValue {
        HeaderValue::Secret(Zeroizing::new(value.into()))
    }

    /// Whether the value is a secret.
    pub fn is_secret(&self) -> bool {
        matches!(self, HeaderValue::Secret(_))
    }
}

impl Deref for HeaderValue {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            HeaderValue::Plain(value) => value,
            HeaderValue::Secret(value) => value,
        }
    }
}

impl From<String> for HeaderValue {
    fn from(value: String) -> HeaderValue {
        HeaderValue::Plain(value)
    }
}

impl From<&str> for HeaderValue {
    fn from(value: &str) -> HeaderValue {
        HeaderValue::Plain(value.to_owned())
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderValue::Plain(value) => write!(f, "{value:?}"),
            HeaderValue::Secret(_) => f.write_str("***"),
        }
    }
}

/// How much of the body of an error reply is read, in bytes.
pub const ERROR_LIMIT: usize = 64 * 1024;

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// No body.
    Empty,
    /// These bytes. There may be many of them; a clone shares them.
    Bytes(Bytes),
    /// A part that the driver holds in memory (of a stream) or can read again (of a file).
    Part(Part),
}

/// A part of an upload. Its length in the backup and its stored length differ if it is stored in another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of the part, from 1.
    pub number: u32,
    /// Offset of the part in the backup (the stream or file), in bytes.
    pub offset: u64,
    /// Length of the part in bytes of the backup.
    pub length: u64,
    /// Length of the part in bytes as stored, which is what is sent.
    pub stored: u64,
    /// The hashes of the stored bytes when they were first read; a driver that reads them again compares. `None`: the driver
    /// hashes the bytes while it sends them, in aws-chunked encoding with the CRC64NVME in the trailer, and reports the
    /// digest in [`Input::PartSent`](crate::Input::PartSent) once the last byte is sent.
    pub digest: Option<Digest>,
    /// MD5 of the stored bytes, for a store that accepts no checksums. A part that has one has a digest too.
    pub md5: Option<[u8; 16]>,
    /// The salt that its segments are encrypted with; `None` if the backup is stored in another form.
    pub salt: Option<Salt>,
}

/// The body of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// The driver passes the body to the machine, each piece as [`Input::Body`](crate::Input::Body). A body of more than
    /// `limit` bytes is a failure.
    Collect {
        /// The largest size in bytes.
        limit: usize,
    },
    /// The body is a range of the backup: the driver hashes it and writes it to its destination, and then reports
    /// [`Input::RangeEnd`](crate::Input::RangeEnd).
    Range(Range),
}

/// A range of a download: a slice of one part of the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Index of the slice, from 0, in the order of the bytes, which is the order in which slices are requested.
    pub index: u32,
    /// Index of the part that the slice belongs to, from 0.
    pub part: u32,
    /// Offset of the slice in the backup, in bytes.
    pub offset: u64,
    /// Length of the slice in bytes of the backup.
    pub length: u64,
    /// Length of the slice in bytes as stored, which is what arrives.
    pub stored: u64,
    /// Offset of the slice in its object, in stored bytes. A reply with status 200 is the whole object: the driver drops
    /// the bytes before the first that the slice still needs, and may read the slices that follow from the same reply.
    pub start: u64,
    /// Length of the object in stored bytes, if it is known.
    pub object: Option<u64>,
    /// How many stored bytes of the slice arrived in earlier attempts; the request is for the bytes after them.
    pub done: u64,
    /// How often the part was read from its start before. Bytes from an earlier reading are not counted.
    pub reading: u32,
    /// How the slice's stored bytes are hashed.
    pub hash: SliceHash,
}

impl Range {
    /// A slice that is a whole part of a backup that is stored as it is, in one object, of which nothing has arrived.
    pub fn of_part(part: u32, offset: u64, length: u64) -> Range {
        let (index, start, stored, hash) = (part, offset, length, SliceHash::Whole);
        Range { index, part, offset, length, stored, start, object: None, done: 0, reading: 0, hash }
    }

    /// Whether the slice is the whole object.
    pub fn is_object(&self) -> bool {
        self.object == Some(self.stored)
    }
}

/// The status and headers of a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyHead {
    /// HTTP status, for example 200.
    pub status: u16,
    /// The headers in the order in which they arrived, names in lower case. A value that is not UTF-8 is left out.
    pub headers: Vec<(String, String)>,
}

impl ReplyHead {
    /// The first value of the header with this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why no complete reply arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportFailure {
    /// A code of the transport family, [`Code::BadReply`] for a body that is longer than its limit, or
    /// [`Code::SourceChanged`] or [`Code::Io`] for a part that could not be read again.
    pub code: Code,
    /// Whether the request may have reached the store.
    pub maybe_sent: bool,
    /// What happened, for the error message.
    pub detail: String,
}

impl fmt::Debug for Request {
    /// Leaves the headers out: one of them is the signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.operation, self.method.as_str(), self.url)
    }
}
