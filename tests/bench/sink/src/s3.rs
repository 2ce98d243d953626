//! The store: what it remembers, and how it answers.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::connection::Request;
use crate::stats::Stats;

/// Length of the pattern in bytes: a part of the usual size.
const PATTERN: usize = 8 << 20;
/// What is written at once.
const WRITE: u64 = 1 << 20;
/// Like the ETag of a multipart object, so that no client takes it for an MD5.
const ETAG: &str = "\"00000000000000000000000000000000-1\"";
/// Keys of which the body is kept.
const KEPT: &str = "_s3vault/";

/// Fixed bytes that do not compress (xorshift64).
pub(crate) fn pattern() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(PATTERN);
    while bytes.len() < PATTERN {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

struct Object {
    size: u64,
    version: u64,
    body: Option<Vec<u8>>,
}

pub(crate) enum Body {
    /// None, or in the head already.
    None,
    Pattern {
        offset: u64,
        length: u64,
    },
}

pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: Body,
}

pub(crate) struct Store {
    pub(crate) stats: Stats,
    latency: Duration,
    pattern: Vec<u8>,
    objects: Mutex<BTreeMap<String, Object>>,
    /// The sizes of parts, by upload.
    uploads: Mutex<HashMap<String, HashMap<String, u64>>>,
    counter: AtomicU64,
}

impl Store {
    pub(crate) fn new(latency: Duration) -> Store {
        Store {
            stats: Stats::default(),
            latency,
            pattern: pattern(),
            objects: Mutex::default(),
            uploads: Mutex::default(),
            counter: AtomicU64::new(1),
        }
    }

    /// The bytes of an object from there on, as many as are written at once.
    pub(crate) fn slice(&self, offset: u64, length: u64) -> &[u8] {
        let start = (offset % PATTERN as u64) as usize;
        let count = length.min(WRITE).min((PATTERN - start) as u64) as usize;
        &self.pattern[start..start + count]
    }

    /// Whether the body of this request is kept.
    pub(crate) fn keeps(&self, request: &Request) -> bool {
        request.method == "PUT" && key_of(request).starts_with(KEPT)
    }

    /// Answers a request whose body had `count` bytes.
    pub(crate) fn answer(&self, request: &Request, count: u64, kept: Option<Vec<u8>>) -> Reply {
        if request.path == "/_sink/stats" {
            return whole(200, "", &self.stats.json(), false);
        }
        let key = key_of(request);
        let (operation, reply) = self.operation(request, &key, count, kept);
        self.stats.request(operation, count);
        if let Body::Pattern { length, .. } = reply.body {
            self.stats.sent(length);
        }
        if !self.latency.is_zero() {
            std::thread::sleep(self.latency);
        }
        reply
    }

    fn operation(&self, request: &Request, key: &str, count: u64, kept: Option<Vec<u8>>) -> (&'static str, Reply) {
        let parameter = |name| request.parameter(name);
        match (request.method.as_str(), key) {
            ("GET", "") if parameter("versioning").is_some() => (
                "GetBucketVersioning",
                xml("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
            ),
            ("GET", "") if parameter("location").is_some() => ("GetBucketLocation", xml("<LocationConstraint/>")),
            ("GET", "") => ("ListObjectsV2", self.list(&unescape(parameter("prefix").unwrap_or("")))),
            (_, "") => ("bucket", whole(200, "", "", false)),
            ("GET", _) if parameter("uploadId").is_some() => ("ListParts", self.list_parts(request)),
            ("GET" | "HEAD", _) => self.get(request, key),
            ("PUT", _) => {
                self.stats.payload(&payload(request));
                let decoded = request.header("x-amz-decoded-content-length").and_then(|text| text.parse().ok());
                let size = decoded.unwrap_or(count);
                match (parameter("uploadId"), parameter("partNumber")) {
                    (Some(upload), Some(number)) => {
                        if let Ok(mut uploads) = self.uploads.lock() {
                            uploads.entry(upload.to_owned()).or_default().insert(number.to_owned(), size);
                        }
                        ("UploadPart", whole(200, &format!("ETag: {ETAG}\r\n"), "", false))
                    }
                    _ => {
                        let headers = format!("ETag: {ETAG}\r\nx-amz-version-id: {}\r\n", self.put(key, size, kept));
                        ("PutObject", whole(200, &headers, "", false))
                    }
                }
            }
            ("POST", _) if parameter("uploads").is_some() => {
                let upload = self.counter.fetch_add(1, Ordering::Relaxed);
                let tag = "InitiateMultipartUploadResult";
                let names = format!("<Bucket>{}</Bucket><Key>{}</Key>", bucket_of(request), escape(key));
                ("CreateMultipartUpload", xml(&format!("<{tag}>{names}<UploadId>u{upload}</UploadId></{tag}>")))
            }
            ("POST", _) => {
                let parts =
                    self.uploads.lock().ok().and_then(|mut map| map.remove(parameter("uploadId").unwrap_or("")));
                let version = self.put(key, parts.unwrap_or_default().values().sum(), None);
                let tag = "CompleteMultipartUploadResult";
                let names = format!("<Bucket>{}</Bucket><Key>{}</Key>", bucket_of(request), escape(key));
                // It is not computed, and believed: a client that sends the checksum of the whole compares it with the reply.
                let checksum = request.header("x-amz-checksum-crc64nvme").map_or_else(String::new, |sum| {
                    format!("<ChecksumCRC64NVME>{sum}</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType>")
                });
                let body = format!("<{tag}>{names}<ETag>{ETAG}</ETag>{checksum}</{tag}>");
                let headers = format!("Content-Type: application/xml\r\nx-amz-version-id: {version}\r\n");
                ("CompleteMultipartUpload", whole(200, &headers, &body, false))
            }
            ("DELETE", _) => ("delete", whole(204, "", "", false)),
            _ => ("unknown", error(405, "MethodNotAllowed", false)),
        }
    }

    fn put(&self, key: &str, size: u64, body: Option<Vec<u8>>) -> u64 {
        let version = self.counter.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut objects) = self.objects.lock() {
            objects.insert(key.to_owned(), Object { size, version, body });
        }
        version
    }

    fn get(&self, request: &Request, key: &str) -> (&'static str, Reply) {
        let head_only = request.method == "HEAD";
        let operation = if head_only { "HeadObject" } else { "GetObject" };
        let Ok(objects) = self.objects.lock() else { return (operation, error(500, "InternalError", head_only)) };
        let Some(object) = objects.get(key) else { return (operation, error(404, "NoSuchKey", head_only)) };
        let mut headers = format!("ETag: {ETAG}\r\nx-amz-version-id: {}\r\nAccept-Ranges: bytes\r\n", object.version);
        headers.push_str("Last-Modified: Tue, 24 Nov 2026 00:00:00 GMT\r\n");
        if let Some(body) = &object.body {
            return (operation, whole(200, &headers, &String::from_utf8_lossy(body), head_only));
        }
        let range = request.header("range").and_then(|text| range(text, object.size));
        let (offset, length) = range.unwrap_or((0, object.size));
        if range.is_some() {
            let _ = write!(headers, "Content-Range: bytes {offset}-{}/{}\r\n", offset + length - 1, object.size);
        }
        let head = head(if range.is_some() { 206 } else { 200 }, &headers, length);
        (operation, Reply { head, body: if head_only { Body::None } else { Body::Pattern { offset, length } } })
    }

    /// All parts of an upload that follow the marker, in one page.
    fn list_parts(&self, request: &Request) -> Reply {
        let after: u32 = request.parameter("part-number-marker").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut parts: Vec<(u32, u64)> = Vec::new();
        if let (Ok(uploads), Some(id)) = (self.uploads.lock(), request.parameter("uploadId")) {
            let own = uploads.get(id).into_iter().flatten();
            parts = own.filter_map(|(number, size)| Some((number.parse().ok()?, *size))).collect();
        }
        parts.retain(|(number, _)| *number > after);
        parts.sort_unstable();
        let mut rows = String::new();
        for (number, size) in parts {
            let _ =
                write!(rows, "<Part><PartNumber>{number}</PartNumber><ETag>{ETAG}</ETag><Size>{size}</Size></Part>");
        }
        xml(&format!("<ListPartsResult><IsTruncated>false</IsTruncated>{rows}</ListPartsResult>"))
    }

    /// All keys with this prefix, in one page: s3vault asks for few.
    fn list(&self, prefix: &str) -> Reply {
        let mut rows = String::new();
        let mut count = 0;
        if let Ok(objects) = self.objects.lock() {
            for (key, object) in objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix)) {
                let _ = write!(
                    rows,
                    "<Contents><Key>{}</Key><LastModified>2026-11-24T00:00:00.000Z</LastModified><ETag>{ETAG}</ETag>\
                     <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                    escape(key),
                    object.size
                );
                count += 1;
            }
        }
        xml(&format!(
            "<ListBucketResult><EncodingType>url</EncodingType><KeyCount>{count}</KeyCount>\
             <IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        ))
    }
}

fn payload(request: &Request) -> String {
    match request.header("x-amz-content-sha256") {
        Some(hash) if hash.len() == 64 => "signed (SHA-256)".into(),
        Some(kind) => kind.to_owned(),
        None if request.parameter("X-Amz-Signature").is_some() => "UNSIGNED-PAYLOAD".into(),
        None => "none".into(),
    }
}

fn bucket_of(request: &Request) -> &str {
    request.path.trim_start_matches('/').split('/').next().unwrap_or("")
}

fn key_of(request: &Request) -> String {
    let path = request.path.strip_prefix('/').unwrap_or(&request.path);
    unescape(path.split_once('/').map_or("", |(_, key)| key))
}

/// First byte and length of a range, where it is one.
fn range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first, last) {
        ("", count) => (size.checked_sub(count.parse().ok()?)?, size - 1),
        (first, "") => (first.parse().ok()?, size.checked_sub(1)?),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.min(size.checked_sub(1)?)),
    };
    (first <= last).then(|| (first, last - first + 1))
}

fn head(status: u16, headers: &str, length: u64) -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let reason = if status < 300 { "OK" } else { "Refused" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nDate: {date}\r\nx-amz-request-id: sink\r\n{headers}Content-Length: {length}\r\n\r\n"
    )
}

fn whole(status: u16, headers: &str, body: &str, head_only: bool) -> Reply {
    let mut head = head(status, headers, body.len() as u64);
    if !head_only {
        head.push_str(body);
    }
    Reply { head, body: Body::None }
}

fn xml(body: &str) -> Reply {
    whole(200, "Content-Type: application/xml\r\n", body, false)
}

fn error(status: u16, code: &str, head_only: bool) -> Reply {
    let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    whole(status, "Content-Type: application/xml\r\n", &body, head_only)
}

fn escape(key: &str) -> String {
    key.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(byte.into()),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    })
}

fn unescape(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}
