//! The `Authorization` header.
//!
//! A signer caches everything that does not depend on the request: the date's text for one second, scope and key for one
//! day, and its buffers. So once it is warm it allocates nothing, and costs little more than its hashes.

use sha2::{Digest as _, Sha256};

use super::canonical::{self, Query, Rule};
use super::chunked::ChunkSigner;
use super::headers::Headers;
use super::{ALGORITHM, key};
use crate::credentials::Credentials;
use crate::http::Method;
use crate::time::amz_date;

/// How the body of a request is signed: the value of `x-amz-content-sha256`.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// With the SHA-256 of these bytes, which the signer computes.
    Bytes(&'a [u8]),
    /// With this SHA-256.
    Hash([u8; 32]),
    /// The body is not signed (`UNSIGNED-PAYLOAD`), but a checksum in a header is.
    Unsigned,
    /// In signed chunks: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    Chunks,
    /// In signed chunks with a signed trailer: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`.
    ChunksTrailer,
    /// In unsigned chunks with an unsigned trailer: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

impl Payload<'_> {
    /// The word that replaces the body's hash; `None` if the body is signed with its hash.
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

/// A request to sign.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'a> {
    /// The method.
    pub method: Method,
    /// Host, with its port unless it is the scheme's default.
    pub host: &'a str,
    /// The path, encoded, as it is sent.
    pub path: &'a str,
    /// The query without `?`, encoded, as it is sent. Parameters may be in any order, repeat, and have no value.
    pub query: &'a str,
    /// All headers to sign, except `host` and those that the signer returns. Names may be in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body. It is ignored for a presigned URL for S3, which does not sign the body.
    pub payload: Payload<'a>,
}

/// Signs with one set of credentials for one region.
#[derive(Clone)]
pub struct Signer {
    pub(super) credentials: Credentials,
    region: String,
    service: String,
    pub(super) rule: Rule,
    /// The second for which `date` and `dated` are valid.
    second: Option<i64>,
    /// `20130524T000000Z`
    pub(super) date: String,
    /// `20130524/us-east-1/s3/aws4_request`
    pub(super) scope: String,
    key: key::Mac,
    /// `key` after the first lines of a string to sign.
    dated: key::Mac,
    /// Method, path and query of the last request, one per line: the canonical request up to its headers.
    pub(super) head: Vec<u8>,
    pub(super) headers: Headers,
    pub(super) query: Query,
    /// The payload's hash, if it is signed with one.
    pub(super) hash: String,
    /// The canonical request's hash in hex.
    hashed: [u8; 64],
    authorization: String,
    /// Length of `authorization` without the signature while its scope and names are valid; otherwise 0.
    pub(super) unsigned_length: usize,
    /// Whether the chunks of the last request are signed.
    signed_chunks: bool,
}

/// The signature of a request, and the headers to send with it. It is valid until the signer signs again.
#[derive(Clone, Copy)]
pub struct Signed<'s> {
    /// Value of `x-amz-date`.
    pub date: &'s str,
    /// Value of `x-amz-content-sha256`, which only S3 needs as a header.
    pub content_sha256: &'s str,
    /// Value of `authorization`.
    pub authorization: &'s str,
    /// The signature alone, in hex: the seed of the chunks' signatures.
    pub signature: &'s str,
    /// Value of `x-amz-security-token`, for temporary credentials.
    pub token: Option<&'s str>,
    rule: Rule,
}

impl<'s> Signed<'s> {
    /// The headers to send in addition to those of the request.
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
    /// A signer for S3, with its rule for paths.
    pub fn new(credentials: Credentials, region: &str) -> Signer {
        Signer::by_rule(credentials, region, "s3", Rule::S3)
    }

    /// A signer for another service, with the general rule: the path is normalised and encoded twice, and there is no
    /// header for the body's hash. Services whose names start with `s3` (`s3-outposts`, `s3express`) follow S3's rule.
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

    /// Zeroizes the cached headers of the last request, for a request with a secret header.
    pub(crate) fn forget(&mut self) {
        self.headers.forget();
        self.unsigned_length = 0;
    }

    /// Signs a request in its headers. Send it with [`Signed::headers`] in addition to its own.
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

    /// Signs the chunks of the last request's body.
    pub fn chunks(&self) -> ChunkSigner {
        let seed = self.authorization.len().checked_sub(64).map_or("", |at| &self.authorization[at..]);
        ChunkSigner::new(self.signed_chunks.then(|| self.key.clone()), &self.date, &self.scope, seed)
    }

    /// The canonical request of the last signature. It may contain secrets: a session token or a customer key.
    pub fn canonical_request(&self) -> &str {
        str::from_utf8(self.headers.last(self.head.len())).unwrap_or_default()
    }

    /// The string to sign of the last signature.
    pub fn string_to_sign(&self) -> String {
        let hash = str::from_utf8(&self.hashed).unwrap_or_default();
        [ALGORITHM, &self.date, &self.scope, hash].join("\n")
    }

    /// Computes everything that depends only on the time, unless it is cached.
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

    /// Computes the hash of a body, if it is signed with one.
    pub(super) fn set_payload(&mut self, payload: &Payload<'_>) {
        self.hash.clear();
        match payload {
            Payload::Bytes(bytes) => canonical::push_hex(&mut self.hash, &Sha256::digest(bytes).into()),
            Payload::Hash(hash) => canonical::push_hex(&mut self.hash, hash),
            _ => {}
        }
    }

    /// Hashes the canonical request and signs the hash.
    pub(super) fn signature(&mut self) -> [u8; 64] {
        self.hashed = canonical::hex(&Sha256::digest(self.headers.after(&self.head)).into());
        canonical::hex(&key::tag(&self.dated, &self.hashed))
    }
}
