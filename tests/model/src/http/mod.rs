//! Requests and replies as HTTP has them, path style: `http://HOST/BUCKET/KEY?QUERY`.
//!
//! The date, the expiry of the access key, and the checksums are verified, as far as the rules have them; the signature
//! is not. What is not known is answered with NotImplemented.

mod bucket;
mod copy;
mod delete;
mod encryption;
mod listing;
mod lock;
#[cfg(test)]
mod tests;
mod upload;
mod xml;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::{
    Accepts, Algorithm, Attributes, Checksum, Encryption, Object, Payload, Received, Refusal, Store, Whole,
    WriteCondition, crc64_text, is_unsupported_header,
};

/// A request.
#[derive(Clone, Debug)]
pub struct Request<C> {
    /// The method in upper case.
    pub method: &'static str,
    /// The bucket.
    pub bucket: String,
    /// The key, or nothing for the bucket itself.
    pub key: String,
    /// The parameters of the query. One without a value is empty.
    pub query: BTreeMap<String, String>,
    /// Headers, and trailers after them. Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without the framing of aws-chunked.
    pub body: C,
}

impl<C> Request<C> {
    /// A request to this URL.
    pub fn new(method: &'static str, url: &str, headers: Vec<(String, String)>, body: C) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let rest = rest.split_once('/').map_or("", |(_, path)| path);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query = pairs.map(|(name, value)| (decode(name), decode(value))).collect();
        Self { method, bucket: decode(bucket), key: decode(key), query, headers, body }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, if it is there and not empty.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The time of signing, from `x-amz-date`.
    pub fn date(&self) -> Option<SystemTime> {
        let at = strtime::parse("%Y%m%dT%H%M%SZ", self.header("x-amz-date")?).ok()?.to_datetime().ok()?;
        let at = TimeZone::UTC.to_timestamp(at).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millisecond()).ok()?))
    }

    /// The access key in the signature.
    pub fn access_key(&self) -> Option<&str> {
        self.header("authorization")?.split_once("Credential=")?.1.split('/').next()
    }

    /// The operation, as S3 names it.
    pub fn operation(&self) -> Option<&'static str> {
        let has = |name: &str| self.query.contains_key(name);
        let of_upload = self.parameter("uploadId").is_some();
        let copies = self.header("x-amz-copy-source").is_some();
        Some(match (self.method, self.bucket.is_empty(), self.key.is_empty()) {
            ("GET", true, true) => "ListBuckets",
            ("GET", false, true) if has("encryption") => "GetBucketEncryption",
            ("GET", false, true) if has("location") => "GetBucketLocation",
            ("GET", false, true) if has("object-lock") => "GetObjectLockConfiguration",
            ("GET", false, true) if has("uploads") => "ListMultipartUploads",
            ("GET", false, true) if has("versioning") => "GetBucketVersioning",
            ("GET", false, true) if has("versions") => "ListObjectVersions",
            ("GET", false, true) if self.parameter("list-type") == Some("2") => "ListObjectsV2",
            ("PUT", false, true) if has("object-lock") => "PutObjectLockConfiguration",
            ("PUT", false, true) if has("versioning") => "PutBucketVersioning",
            ("PUT", false, true) if self.query.is_empty() => "CreateBucket",
            ("DELETE", false, true) if self.query.is_empty() => "DeleteBucket",
            ("HEAD", false, true) => "HeadBucket",
            ("POST", false, true) if has("delete") => "DeleteObjects",
            ("POST", false, false) if has("uploads") => "CreateMultipartUpload",
            ("POST", false, false) if of_upload => "CompleteMultipartUpload",
            ("PUT", false, false) if of_upload && copies => "UploadPartCopy",
            ("PUT", false, false) if of_upload => "UploadPart",
            ("PUT", false, false) if has("retention") => "PutObjectRetention",
            ("PUT", false, false) if !has("uploads") && copies => "CopyObject",
            ("PUT", false, false) if !has("uploads") => "PutObject",
            ("GET", false, false) if of_upload => "ListParts",
            ("GET", false, false) if has("retention") => "GetObjectRetention",
            ("GET", false, false) => "GetObject",
            ("HEAD", false, false) => "HeadObject",
            ("DELETE", false, false) if of_upload => "AbortMultipartUpload",
            ("DELETE", false, false) => "DeleteObject",
            _ => return None,
        })
    }

    /// Whether the headers have a checksum of the body, or announce one.
    fn has_digest(&self) -> bool {
        let is_digest = |name: &str| {
            let checksum = name.strip_prefix("x-amz-checksum-");
            checksum.and_then(Algorithm::from_name).is_some() || matches!(name, "content-md5" | "x-amz-trailer")
        };
        self.headers.iter().any(|(name, _)| is_digest(name))
    }

    /// Whether locks in governance mode are ignored.
    fn bypasses_governance(&self) -> bool {
        self.header("x-amz-bypass-governance-retention").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let invalid = |text| Refusal::invalid_argument(format!("The parameter {name} is not valid: {text:?}"));
        self.parameter(name).map(|text| text.parse().map_err(|_| invalid(text))).transpose()
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<C> {
    /// The HTTP status.
    pub status: u16,
    /// Headers. Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body<C>,
}

/// The body of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<C> {
    /// A document.
    Xml(String),
    /// Bytes of an object.
    Content(C),
}

/// How many bytes of framing are kept as data, where the rules have it.
const FRAMING: u64 = 87;

impl Accepts {
    fn header(self, name: &str) -> bool {
        match self {
            Self::Trailers => true,
            Self::Headers => name != "x-amz-trailer",
            Self::Md5 => {
                let is_checksum = name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode";
                !is_checksum && !matches!(name, "x-amz-trailer" | "x-amz-mp-object-size")
            }
        }
    }
}

impl Whole {
    /// The checksum of a multipart object as the store shows it.
    pub(super) fn shown(self, crc64nvme: u64) -> String {
        match self {
            Self::Right | Self::Refused => crc64_text(crc64nvme),
            Self::Composite => format!("{}-2", crc64_text(!crc64nvme)),
            Self::Wrong => crc64_text(!crc64nvme),
        }
    }
}

impl<C: Payload> Reply<C> {
    /// A reply without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Content(C::default()) }
    }

    /// A 200 with a document.
    pub fn xml(document: String) -> Self {
        Self { status: 200, headers: Vec::new(), body: Body::Xml(document) }
    }

    /// An error reply.
    pub fn refused(refusal: &Refusal) -> Self {
        let headers = refusal.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Self { status: refusal.status, headers: headers.collect(), body: Body::Xml(refusal.xml()) }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn with_version(self, version: Option<String>) -> Self {
        match version {
            Some(version) => self.with("x-amz-version-id", version),
            None => self,
        }
    }

    fn with_etag(self, etag: &str) -> Self {
        self.with("etag", format!("\"{etag}\""))
    }
}

impl<C: Payload> Store<C> {
    /// Answers a request that arrives at this time.
    pub fn answer(&mut self, request: &Request<C>, now: SystemTime) -> Reply<C> {
        let reply = self.check(request, now).and_then(|()| self.route(request, now));
        let reply = reply.unwrap_or_else(|refusal| Reply::refused(&refusal));
        let reply = if request.method == "HEAD" { Reply { body: Body::Content(C::default()), ..reply } } else { reply };
        reply.with("date", http_date(now))
    }

    fn check(&self, request: &Request<C>, now: SystemTime) -> Result<(), Refusal> {
        let date = request.date().ok_or_else(|| Refusal::access_denied("The request has no x-amz-date."))?;
        let apart = now.duration_since(date).unwrap_or_else(|early| early.duration());
        if apart > self.rules.date_tolerance {
            return Err(Refusal::new(
                403,
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
            ));
        }
        if request.access_key().is_some_and(|key| self.expired_keys.iter().any(|expired| expired == key)) {
            return Err(Refusal::new(400, "ExpiredToken", "The provided token has expired."));
        }
        if let Some((name, _)) = request.headers.iter().find(|(name, _)| is_unsupported(name)) {
            return Err(Refusal::not_implemented(&format!("the header {name}")));
        }
        if let Some((name, _)) = request.headers.iter().find(|(name, _)| !self.rules.accepts.header(name)) {
            return Err(Refusal::not_implemented(&format!("the header {name}")));
        }
        if let Some(bytes) = request.body.bytes()
            && let Some(sha256) = request.header("x-amz-content-sha256").filter(|text| text.len() == 64)
            && sha256 != hex::encode(Sha256::digest(bytes))
        {
            return Err(Refusal::new(
                400,
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        Ok(())
    }

    fn route(&mut self, request: &Request<C>, now: SystemTime) -> Result<Reply<C>, Refusal> {
        let unknown = || {
            let target = format!("{} /{}/{}?{:?}", request.method, request.bucket, request.key, request.query);
            Refusal::not_implemented(&target)
        };
        let operation = request.operation().ok_or_else(unknown)?;
        self.check_known(operation)?;
        let id = request.parameter("uploadId").unwrap_or_default();
        match operation {
            "AbortMultipartUpload" => {
                self.abort(&request.bucket, &request.key, id)?;
                Ok(Reply::empty(204))
            }
            "CompleteMultipartUpload" => self.answer_complete(request, id),
            "CopyObject" => self.answer_copy(request, now),
            "CreateBucket" => self.answer_create_bucket(request, now),
            "CreateMultipartUpload" => self.answer_create(request, now),
            "DeleteBucket" => {
                self.delete_bucket(&request.bucket)?;
                Ok(Reply::empty(204))
            }
            "DeleteObject" => self.answer_delete(request, now),
            "DeleteObjects" => self.answer_delete_many(request, now),
            "GetBucketEncryption" => self.answer_encryption(request),
            "GetBucketLocation" => self.answer_location(request),
            "GetBucketVersioning" => self.answer_versioning(request),
            "GetObject" | "HeadObject" => self.answer_get(request),
            "GetObjectLockConfiguration" => self.answer_lock(request),
            "GetObjectRetention" => self.answer_retention(request),
            "HeadBucket" => self.answer_head_bucket(request),
            "ListBuckets" => self.answer_list_buckets(request),
            "ListMultipartUploads" => self.answer_list_uploads(request),
            "ListObjectVersions" => self.answer_list_versions(request),
            "ListObjectsV2" => self.answer_list_objects(request),
            "ListParts" => self.answer_list_parts(request, id),
            "PutBucketVersioning" => self.answer_set_versioning(request),
            "PutObject" => self.answer_put(request, now),
            "PutObjectLockConfiguration" => self.answer_set_lock(request),
            "PutObjectRetention" => self.answer_set_retention(request, now),
            "UploadPart" => self.answer_upload_part(request, id, now),
            "UploadPartCopy" => self.answer_copy_part(request, id, now),
            _ => Err(unknown()),
        }
    }

    fn answer_put(&mut self, request: &Request<C>, now: SystemTime) -> Result<Reply<C>, Refusal> {
        let (encryption, said) = self.encryption(request)?;
        let attributes = Attributes { encryption, ..attributes(request)? };
        self.check_digest(&request.bucket, attributes.retention.as_ref(), request.has_digest())?;
        let received = self.receive(request)?;
        let crc = crc64_text(received.crc64nvme);
        let object = Object::whole(received, attributes);
        let stored = self.put(&request.bucket, &request.key, object, &write_condition(request)?, now)?;
        let reply = Reply::empty(200).with_etag(&stored.etag).with_version(stored.version).with_encryption(&said);
        Ok(if self.rules.checksums { reply.with("x-amz-checksum-crc64nvme", crc) } else { reply })
    }

    /// Compares the body with the checksum that came with it.
    fn receive(&self, request: &Request<C>) -> Result<Received<C>, Refusal> {
        let mut content = request.body.clone();
        if self.rules.keeps_framing && request.header("x-amz-trailer").is_some() {
            content.append(&request.body.slice(0, content.length().min(FRAMING)));
        }
        let (etag, crc64nvme) = (content.etag(), content.crc64nvme());
        let mut received = Received { content, etag, crc64nvme, checksum: None };
        if let Some(given) = request.header("content-md5") {
            let computed = BASE64.encode(received.etag);
            if given != computed {
                return Err(Refusal::bad_digest("Content-MD5", given, &computed));
            }
        }
        if !self.rules.checksums {
            return Ok(received);
        }
        for (name, value) in &request.headers {
            let Some(name) = name.strip_prefix("x-amz-checksum-") else { continue };
            match Algorithm::from_name(name) {
                Some(algorithm @ Algorithm::Crc64Nvme) => {
                    let computed = crc64_text(received.crc64nvme);
                    if *value != computed {
                        return Err(Refusal::bad_digest("CRC64NVME", value, &computed));
                    }
                    received.checksum = Some(Checksum { algorithm, value: computed });
                }
                Some(_) => return Err(Refusal::not_implemented(&format!("x-amz-checksum-{name}"))),
                None => {}
            }
        }
        Ok(received)
    }

    fn answer_get(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let (version, object) = self.get(&request.bucket, &request.key, request.parameter("versionId"))?;
        let said = self.check_key(request, &object.attributes.encryption)?;
        let mut reply = Reply::empty(200)
            .with_encryption(&said)
            .with_etag(&object.etag)
            .with_version(self.bucket(&request.bucket)?.shown(&version.id))
            .with("last-modified", http_date(version.modified))
            .with("accept-ranges", "bytes");
        for (name, value) in &object.attributes.headers {
            reply = reply.with(name, value.as_str());
        }
        for (name, value) in &object.attributes.metadata {
            reply = reply.with(&format!("x-amz-meta-{name}"), value.as_str());
        }
        if let Some(class) = &object.attributes.storage_class {
            reply = reply.with("x-amz-storage-class", class.as_str());
        }
        if let Some(retention) = object.attributes.retention {
            reply = reply.with("x-amz-object-lock-mode", retention.mode.name());
            reply = reply.with("x-amz-object-lock-retain-until-date", xml_date(retention.until));
        }
        let length = object.content.length();
        let Some(range) = request.header("range") else {
            // A checksum of the whole says nothing about a range.
            let is_multipart = object.etag.contains('-');
            if self.rules.checksums && request.header("x-amz-checksum-mode") == Some("ENABLED") {
                let whole = if is_multipart { self.rules.whole } else { Whole::Right };
                let is_full = whole != Whole::Composite;
                reply = reply.with("x-amz-checksum-crc64nvme", whole.shown(object.crc64nvme));
                reply = reply.with("x-amz-checksum-type", if is_full { "FULL_OBJECT" } else { "COMPOSITE" });
            }
            reply.body = Body::Content(object.content.clone());
            return Ok(reply.with("content-length", length.to_string()));
        };
        let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
        let bounds = bounds.and_then(|(first, last)| {
            let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
            Some((first.parse::<u64>().ok()?, last))
        });
        let (first, last) = bounds.ok_or_else(|| Refusal::not_implemented(&format!("the range {range:?}")))?;
        if first >= length || first > last {
            return Err(Refusal::new(416, "InvalidRange", "The requested range is not satisfiable")
                .header("content-range", format!("bytes */{length}")));
        }
        let last = last.min(length - 1);
        reply.status = 206;
        reply.body = Body::Content(object.content.slice(first, last + 1));
        Ok(reply
            .with("content-length", (last + 1 - first).to_string())
            .with("content-range", format!("bytes {first}-{last}/{length}")))
    }
}

/// The embedded store's wire protocol does not pass the headers of encryption on; here they are known.
fn is_unsupported(name: &str) -> bool {
    is_unsupported_header(name) && !encryption::is_known(name)
}

fn attributes<C>(request: &Request<C>) -> Result<Attributes, Refusal> {
    let header = |name: &str| request.header(name).map(str::to_owned);
    let headers = Attributes::HEADERS.into_iter().filter_map(|name| Some((name, header(name)?)));
    let metadata = request.headers.iter();
    let metadata =
        metadata.filter_map(|(name, value)| Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.clone())));
    Ok(Attributes {
        headers: headers.collect(),
        metadata: metadata.collect(),
        storage_class: header("x-amz-storage-class"),
        retention: lock::of_headers(request)?,
        encryption: Encryption::None,
    })
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn write_condition<C>(request: &Request<C>) -> Result<WriteCondition, Refusal> {
    match (request.header("if-match"), request.header("if-none-match")) {
        (None, None) => Ok(WriteCondition::None),
        (None, Some("*")) => Ok(WriteCondition::Absent),
        (Some(etag), None) if etag != "*" => Ok(WriteCondition::Matches(etag.trim_matches('"').to_owned())),
        _ => Err(Refusal::not_implemented("these conditions on a write")),
    }
}

/// `Fri, 24 May 2013 00:00:00 GMT`
pub fn http_date(time: SystemTime) -> String {
    format("%a, %d %b %Y %H:%M:%S GMT", time)
}

/// `2013-05-24T00:00:00.000Z`
fn xml_date(time: SystemTime) -> String {
    format("%Y-%m-%dT%H:%M:%S.000Z", time)
}

/// The time of `2013-05-24T00:00:00.000Z`.
fn parse_xml_date(text: &str) -> Option<SystemTime> {
    let at: Timestamp = text.parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millisecond()).ok()?))
}

fn format(pattern: &str, time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = i64::try_from(since.as_millis()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    strtime::format(pattern, at.unwrap_or(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}
