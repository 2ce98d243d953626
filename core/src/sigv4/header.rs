//! The `Authorization` header.
//!
//! Whatever a signature needs beside its request is kept: the date's text for its second, scope and key for their day,
//! the buffers for ever. So a signer that is warm allocates nothing, and costs little more than its hashes.

use sha2::{Digest as _, Sha256};

use super::canonical::{self, Query, Rule};
use super::chunked::ChunkSigner;
use super::headers::Headers;
use super::{ALGORITHM, key};
use crate::credentials::Credentials;
use crate::http::Method;
use crate::time::amz_date;

/// How a request's body is signed: what `x-amz-content-sha256` says.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// By the SHA-256 of these bytes, which is made here.
    Bytes(&'a [u8]),
    /// By this SHA-256.
    Hash([u8; 32]),
    /// Not at all: `UNSIGNED-PAYLOAD`. A checksum among the headers is signed.
    Unsigned,
    /// In chunks, each signed: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    Chunks,
    /// In signed chunks with a signed trailer: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`.
    ChunksTrailer,
    /// In chunks with a trailer, unsigned: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

impl Payload<'_> {
    /// The word that stands for the body's hash; none where it is a hash.
    pub fn word(&self) -> Option<&'static str> {
        match self {
            Payload::Bytes(_) | Payload::Hash(_) => None,
            Payload::Unsigned => Some("UNSIGNED-PAYLOAD"),
            Payload::Chunks => Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            Payload::ChunksTrailer => Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            Payload::UnsignedTrailer => Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        }
    }
}

/// A request that is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'a> {
    /// The method.
    pub method: Method,
    /// Host, with its port where it is not the scheme's own.
    pub host: &'a str,
    /// The path, encoded, as it is sent.
    pub path: &'a str,
    /// The query without `?`, encoded, as it is sent: in any order, parameters may repeat and have no value.
    pub query: &'a str,
    /// All headers that are to be signed, but `host` and those that the signer gives back. Names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body. A presigned URL for S3 ignores it: it signs no body.
    pub payload: Payload<'a>,
}

/// Signs for one pair of keys in one region.
#[derive(Clone)]
pub struct Signer {
    pub(super) credentials: Credentials,
    region: String,
    service: String,
    pub(super) rule: Rule,
    /// The second that `date` and `dated` are for.
    second: Option<i64>,
    /// `20130524T000000Z`
    pub(super) date: String,
    /// `20130524/us-east-1/s3/aws4_request`
    pub(super) scope: String,
    key: key::Mac,
    /// `key`, after the first lines of a string to sign.
    dated: key::Mac,
    /// Method, path and query of the last request, a line each: the canonical request up to its headers.
    pub(super) head: Vec<u8>,
    pub(super) headers: Headers,
    pub(super) query: Query,
    /// The payload's hash, where it is signed by one.
    pub(super) hash: String,
    /// The canonical request's, in hex.
    hashed: [u8; 64],
    authorization: String,
    /// How long that is without the signature, while scope and names are what it says; else 0.
    pub(super) unsigned_length: usize,
    /// Whether the chunks of the last request are signed.
    signed_chunks: bool,
}

/// What a signed request needs; valid until the signer signs again.
#[derive(Clone, Copy)]
pub struct Signed<'s> {
    /// `x-amz-date`
    pub date: &'s str,
    /// `x-amz-content-sha256`. Only S3 wants it as a header.
    pub content_sha256: &'s str,
    /// `authorization`
    pub authorization: &'s str,
    /// The signature alone, in hex: the seed of chunks.
    pub signature: &'s str,
    /// `x-amz-security-token`, where the keys are temporary.
    pub token: Option<&'s str>,
    rule: Rule,
}

impl<'s> Signed<'s> {
    /// The headers to send beside those that were signed.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &'s str)> + use<'s> {
        let content = (self.rule == Rule::S3).then_some(("x-amz-content-sha256", self.content_sha256));
        let token = self.token.map(|token| ("x-amz-security-token", token));
        content
            .into_iter()
            .chain([("x-amz-date", self.date)])
            .chain(token)
            .chain([("authorization", self.authorization)])
    }
}

impl Signer {
    /// Signs for S3, by its own rule for paths.
    pub fn new(credentials: Credentials, region: &str) -> Signer {
        Signer::by_rule(credentials, region, "s3", Rule::S3)
    }

    /// Signs for a service by the general rule: the path is normalised and encoded twice, and no header says how the
    /// body is signed. Services whose names begin with `s3` (`s3-outposts`, `s3express`) follow S3's rule.
    pub fn for_service(credentials: Credentials, region: &str, service: &str) -> Signer {
        Signer::by_rule(credentials, region, service, Rule::of(service))
    }

    fn by_rule(credentials: Credentials, region: &str, service: &str, rule: Rule) -> Signer {
        let key = key::derive("", "", "", "");
        Signer {
            credentials,
            region: region.to_owned(),
            service: service.to_owned(),
            rule,
            second: None,
            date: String::new(),
            scope: String::new(),
            dated: key.clone(),
            key,
            head: Vec::new(),
            headers: Headers::default(),
            query: Query::default(),
            hash: String::new(),
            hashed: [b'0'; 64],
            authorization: String::new(),
            unsigned_length: 0,
            signed_chunks: true,
        }
    }

    /// Signs a request in its headers. It is sent with [`Signed::headers`] beside its own.
    pub fn sign(&mut self, request: &ToSign<'_>, unix_ms: i64) -> Signed<'_> {
        self.set_time(unix_ms);
        self.signed_chunks = !matches!(request.payload, Payload::UnsignedTrailer);
        self.set_payload(&request.payload);
        let token = self.credentials.session_token.as_ref().map(|token| token.as_str());
        let content_sha256 = request.payload.word().unwrap_or(&self.hash);

        let mut own = [("host", request.host), ("x-amz-date", self.date.as_str()), ("", ""), ("", "")];
        let mut count = 2;
        let content = (self.rule == Rule::S3).then_some(("x-amz-content-sha256", content_sha256));
        for header in content.into_iter().chain(token.map(|token| ("x-amz-security-token", token))) {
            own[count] = header;
            count += 1;
        }

        let text = &mut self.head;
        text.clear();
        text.extend_from_slice(request.method.as_str().as_bytes());
        text.push(b'\n');
        canonical::push_path(text, request.path, self.rule);
        text.push(b'\n');
        self.query.push(text, request.query, &[]);
        text.push(b'\n');
        if !self.headers.set(request.headers, &own[..count], content_sha256) {
            self.unsigned_length = 0;
        }

        let signature = self.signature();
        let line = &mut self.authorization;
        line.truncate(self.unsigned_length);
        if line.is_empty() {
            let (access_key, names) = (self.credentials.access_key.as_str(), self.headers.names());
            for part in [ALGORITHM, " Credential=", access_key, "/", &self.scope, ", SignedHeaders=", names] {
                line.push_str(part);
            }
            line.push_str(", Signature=");
            self.unsigned_length = line.len();
        }
        line.push_str(str::from_utf8(&signature).unwrap_or_default());
        Signed {
            date: &self.date,
            content_sha256: request.payload.word().unwrap_or(&self.hash),
            authorization: line,
            signature: &line[line.len() - 64..],
            token: self.credentials.session_token.as_ref().map(|token| token.as_str()),
            rule: self.rule,
        }
    }

    /// The chunks of the body that the last request was signed for.
    pub fn chunks(&self) -> ChunkSigner {
        let seed = self.authorization.len().checked_sub(64).map_or("", |at| &self.authorization[at..]);
        ChunkSigner::new(self.signed_chunks.then(|| self.key.clone()), &self.date, &self.scope, seed)
    }

    /// What the last request was signed as. It may hold secrets: a session token, a customer's key.
    pub fn canonical_request(&self) -> &str {
        str::from_utf8(self.headers.last(self.head.len())).unwrap_or_default()
    }

    /// The text that the last signature is the tag of.
    pub fn string_to_sign(&self) -> String {
        let hash = str::from_utf8(&self.hashed).unwrap_or_default();
        [ALGORITHM, &self.date, &self.scope, hash].join("\n")
    }

    /// Makes what depends on the time alone, unless it is there.
    pub(super) fn set_time(&mut self, unix_ms: i64) {
        let second = unix_ms.div_euclid(1000);
        if self.second == Some(second) {
            return;
        }
        self.date = amz_date(unix_ms);
        let day = &self.date[..8];
        if !self.scope.starts_with(day) {
            self.scope = [day, &self.region, &self.service, "aws4_request"].join("/");
            self.unsigned_length = 0;
            self.key = key::derive(&self.credentials.secret_key, day, &self.region, &self.service);
        }
        self.dated = key::after(&self.key, &[ALGORITHM, "\n", &self.date, "\n", &self.scope, "\n"]);
        self.second = Some(second);
    }

    /// Makes the hash of a body, where it is signed by one.
    pub(super) fn set_payload(&mut self, payload: &Payload<'_>) {
        self.hash.clear();
        match payload {
            Payload::Bytes(bytes) => canonical::push_hex(&mut self.hash, &Sha256::digest(bytes).into()),
            Payload::Hash(hash) => canonical::push_hex(&mut self.hash, hash),
            _ => {}
        }
    }

    /// Hashes the canonical request, and signs it.
    pub(super) fn signature(&mut self) -> [u8; 64] {
        self.hashed = canonical::hex(&Sha256::digest(self.headers.after(&self.head)).into());
        canonical::hex(&key::tag(&self.dated, &self.hashed))
    }
}
