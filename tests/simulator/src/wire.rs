//! A request as a server reads it, and a reply as it writes it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::strtime;
use s3vault_core::http::{Method, Request};
use s3vault_core::uri;

use crate::content::Content;

/// Where the store is; the path behind it is the key.
pub const URL: &str = "http://127.0.0.1:9000/bkt";

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Wire {
    /// S3's name of the operation.
    pub operation: &'static str,
    /// The method.
    pub method: Method,
    /// Decoded; empty for the bucket.
    pub key: String,
    /// Decoded.
    pub query: BTreeMap<String, String>,
    /// As they were signed.
    pub headers: Vec<(String, String)>,
    /// The body as it arrives.
    pub body: Content,
    /// CRC64NVME in the trailer, of the bytes that were sent.
    pub trailer: Option<u64>,
    /// A small body is not the one that was signed.
    pub is_damaged: bool,
}

impl Wire {
    /// Of a request with this body.
    pub fn new(request: &Request, body: Content) -> Wire {
        let rest = request.url.strip_prefix(URL).unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let decode = |text: &str| uri::decode(text).unwrap_or_default();
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (decode(name), decode(value)));
        Wire {
            operation: request.operation,
            method: request.method,
            key: decode(path.strip_prefix('/').unwrap_or(path)),
            query: query.split('&').filter_map(pair).collect(),
            headers: request.headers.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
            body,
            trailer: None,
            is_damaged: false,
        }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A parameter's value; empty where it is not there.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The date that it was signed with, in Unix milliseconds.
    pub fn date_ms(&self) -> i64 {
        let text = self.header("x-amz-date").unwrap_or_default();
        let Ok(at) = strtime::parse("%Y%m%dT%H%M%SZ", text).and_then(|parsed| parsed.to_datetime()) else { return 0 };
        jiff::tz::TimeZone::UTC.to_timestamp(at).map_or(0, Timestamp::as_millisecond)
    }

    /// The access key in its signature.
    pub fn access_key(&self) -> &str {
        let credential = self.header("authorization").and_then(|text| text.split_once("Credential="));
        credential.and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default()
    }

    /// For the story: the operation and what it is about, short.
    pub fn short(&self) -> String {
        let part = match self.parameter("partNumber") {
            "" => String::new(),
            number => format!(" part {number}"),
        };
        let upload = match self.parameter("uploadId") {
            "" => String::new(),
            id => format!(" of {id}"),
        };
        let key = match self.parameter("prefix") {
            "" => &*self.key,
            prefix => prefix,
        };
        format!("{} {key}{part}{upload}", self.operation)
    }
}

/// A reply.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What follows them.
    pub body: Content,
}

impl Answer {
    /// Without a body.
    pub fn empty(status: u16) -> Answer {
        Answer { status, ..Answer::default() }
    }

    /// With a document.
    pub fn xml(text: &str) -> Answer {
        Answer { status: 200, headers: Vec::new(), body: Content::bytes(text.as_bytes()) }
    }

    /// A refusal.
    pub fn error(status: u16, code: &str) -> Answer {
        let text = format!("<Error><Code>{code}</Code><Message>so it is</Message></Error>");
        Answer { status, ..Answer::xml(&text) }
    }

    /// With another header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// `Fri, 24 May 2013 00:00:00 GMT`
pub fn http_date(unix_ms: i64) -> String {
    format("%a, %d %b %Y %H:%M:%S GMT", unix_ms)
}

/// `2013-05-24T00:00:00.000Z`
pub fn xml_date(unix_ms: i64) -> String {
    format("%Y-%m-%dT%H:%M:%S.000Z", unix_ms)
}

fn format(pattern: &str, unix_ms: i64) -> String {
    let at = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    strtime::format(pattern, at).unwrap_or_default()
}
