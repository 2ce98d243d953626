//! Core's side of oracle.py and altered.py: reads jobs from standard input, one JSON object a line, and answers each with one.
//!
//! `{"op": "sign" | "chunks" | "presign" | "checksum" | "combine" | "composite" | "profile" | "wrap" | "unwrap" | "seal" |
//! "open" | "certify" | "verify" | "decrypt", ...}`; the fields are those of the structs below, bytes are base64. Nothing is computed
//! here that core does not compute.

use std::error::Error;
use std::io::{BufRead, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3vault_core::checksum::{self, Algorithm, Checksum, ContentMd5, Hasher};
use s3vault_core::credentials::Credentials;
use s3vault_core::crypto::age::{self, Identities, Opener, Passphrase};
use s3vault_core::crypto::data_key::{Belonging, DataKey, WrappedKey};
use s3vault_core::crypto::ed25519;
use s3vault_core::crypto::keyring::Kek;
use s3vault_core::crypto::segment::{Salt, SegmentKey};
use s3vault_core::http::Method;
use s3vault_core::profile;
use s3vault_core::sigv4::{Payload, Signer, ToSign};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Job {
    /// A request signed in its headers.
    Sign(Request),
    /// The same, and the chunks of its body.
    Chunks {
        #[serde(flatten)]
        request: Request,
        chunks: Vec<String>,
        /// By their hash and not by their bytes.
        hashed: bool,
        trailers: Vec<(String, String)>,
    },
    /// A URL that is signed.
    Presign {
        #[serde(flatten)]
        request: Request,
        expires_s: u32,
    },
    /// All checksums of bytes, taken in these pieces.
    Checksum { pieces: Vec<String> },
    /// One checksum from two.
    Combine { algorithm: String, first: String, second: String, second_length: u64 },
    /// The checksum of checksums.
    Composite { algorithm: String, parts: Vec<String> },
    /// What is known of a provider.
    Profile { name: String },
    /// A data key that is wrapped for a version.
    Wrap { key: String, kek: String, of: Version },
    /// The data key that is wrapped for a version.
    Unwrap { wrapped: String, kek: String, of: Version },
    /// A segment that is encrypted: the ciphertext, then the tag.
    Seal { segment: Segment, data: String },
    /// A stored segment that is decrypted.
    Open { segment: Segment, data: String },
    /// The public key of a seed, and the signature of a message.
    Certify { seed: String, message: String },
    /// Whether this key made the signature of this message.
    Verify { public: String, message: String, signature: String },
    /// The content of an age file, or why it does not open.
    Decrypt { file: String, passphrase: Option<String>, identities: String },
}

/// What a data key belongs to.
#[derive(Deserialize)]
struct Version {
    vault: String,
    container: String,
    path: String,
    vid: String,
    encryption: String,
}

impl Version {
    fn belonging(&self) -> Belonging<'_> {
        let Version { vault, container, path, vid, encryption } = self;
        Belonging { vault, container, path, vid, encryption }
    }
}

/// A segment of a version.
#[derive(Deserialize)]
struct Segment {
    /// The version's data key.
    key: String,
    /// The salt of the segment's part.
    salt: String,
    index: u32,
    last: bool,
}

impl Segment {
    fn key(&self) -> Result<SegmentKey> {
        Ok(SegmentKey::derive(&DataKey::new(fixed(&self.key)?), &Salt(fixed(&self.salt)?)))
    }
}

#[derive(Deserialize)]
struct Request {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    region: String,
    service: String,
    unix_ms: i64,
    method: String,
    host: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    /// `bytes`, `hash`, or a word of `x-amz-content-sha256`.
    payload: String,
    /// For `bytes` and `hash`.
    body: String,
}

impl Request {
    fn signer(&self) -> Signer {
        let credentials = Credentials {
            access_key: self.access_key.clone(),
            secret_key: Zeroizing::new(self.secret_key.clone()),
            session_token: self.session_token.clone().map(Zeroizing::new),
            expires_ms: None,
        };
        match &*self.service {
            "s3" => Signer::new(credentials, &self.region),
            service => Signer::for_service(credentials, &self.region, service),
        }
    }

    /// Calls `with` with the request as core takes it.
    fn to_sign<T>(&self, with: impl FnOnce(&ToSign<'_>) -> T) -> Result<T> {
        let body = STANDARD.decode(&self.body)?;
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let methods = [Method::Get, Method::Head, Method::Put, Method::Post, Method::Delete];
        let method = methods.into_iter().find(|method| method.as_str() == self.method).ok_or("unknown method")?;
        let payload = match &*self.payload {
            "bytes" => Payload::Bytes(&body),
            "hash" => Payload::Hash(body.as_slice().try_into()?),
            "UNSIGNED-PAYLOAD" => Payload::Unsigned,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Payload::Chunks,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Payload::ChunksTrailer,
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Payload::UnsignedTrailer,
            other => return Err(format!("unknown payload {other}").into()),
        };
        let Request { host, path, query, .. } = self;
        Ok(with(&ToSign { method, host, path, query, headers: &headers, payload }))
    }

    fn sign(&self, signer: &mut Signer) -> Result<Value> {
        self.to_sign(|request| {
            let signed = signer.sign(request, self.unix_ms);
            let headers: Vec<(&str, &str)> = signed.headers().collect();
            let signature = signed.signature;
            json!({ "signature": signature, "headers": headers })
        })
    }
}

impl Job {
    fn answer(&self) -> Result<Value> {
        match self {
            Job::Sign(request) => {
                let mut signer = request.signer();
                let mut answer = request.sign(&mut signer)?;
                answer["canonical"] = signer.canonical_request().into();
                Ok(answer)
            }
            Job::Chunks { request, chunks, hashed, trailers } => {
                let mut signer = request.signer();
                let mut answer = request.sign(&mut signer)?;
                let mut chunk_signer = signer.chunks();
                let mut lines = Vec::new();
                for chunk in chunks {
                    let bytes = STANDARD.decode(chunk)?;
                    let sha256 = checksum::checksum(Algorithm::Sha256, &bytes);
                    lines.push(match hashed {
                        true => chunk_signer.chunk_hash(bytes.len() as u64, sha256.bytes().try_into()?),
                        false => chunk_signer.chunk(&bytes),
                    });
                }
                answer["lines"] = lines.into();
                if !trailers.is_empty() {
                    let trailers: Vec<(&str, &str)> = trailers.iter().map(|(n, v)| (&**n, &**v)).collect();
                    answer["trailer"] = chunk_signer.trailer(&trailers).into();
                }
                answer["canonical"] = signer.canonical_request().into();
                Ok(answer)
            }
            Job::Presign { request, expires_s } => {
                let mut signer = request.signer();
                let query = request.to_sign(|to_sign| signer.presign(to_sign, *expires_s, request.unix_ms))??;
                Ok(json!({ "query": query, "canonical": signer.canonical_request() }))
            }
            Job::Checksum { pieces } => {
                let pieces = pieces.iter().map(|piece| STANDARD.decode(piece)).collect::<Result<Vec<_>, _>>()?;
                let mut answer = json!({});
                for algorithm in Algorithm::ALL {
                    let mut hasher = Hasher::new(algorithm);
                    pieces.iter().for_each(|piece| hasher.update(piece));
                    answer[algorithm.name()] = hasher.finish().text().into();
                }
                let (mut md5, mut digester) = (ContentMd5::default(), checksum::Digester::new());
                for piece in &pieces {
                    md5.update(piece);
                    digester.update(piece);
                }
                answer["MD5"] = checksum::md5_text(md5.finish()).into();
                answer["vault"] = checksum::crc_text(digester.finish().crc64nvme).into();
                Ok(answer)
            }
            Job::Combine { algorithm, first, second, second_length } => {
                let algorithm = named(algorithm)?;
                let whole = parsed(algorithm, first)?.combine(&parsed(algorithm, second)?, *second_length);
                Ok(json!({ "value": whole.ok_or("does not combine")?.text() }))
            }
            Job::Composite { algorithm, parts } => {
                let algorithm = named(algorithm)?;
                let parts = parts.iter().map(|part| parsed(algorithm, part)).collect::<Result<Vec<_>>>()?;
                Ok(json!({ "value": checksum::composite(algorithm, &parts) }))
            }
            Job::Profile { name } => Ok(serde_json::to_value(profile::named(name)?)?),
            Job::Wrap { key, kek, of } => {
                let wrapped = WrappedKey::wrap(&DataKey::new(fixed(key)?), &Kek::new(fixed(kek)?, 0), &of.belonging())?;
                Ok(serde_json::to_value(wrapped)?)
            }
            Job::Unwrap { wrapped, kek, of } => {
                let kek = Kek::new(fixed(kek)?, 0);
                let wrapped = WrappedKey { kek: kek.id().to_owned(), key: wrapped.clone() };
                Ok(json!({ "key": STANDARD.encode(wrapped.unwrap(&kek, &of.belonging())?.bytes()) }))
            }
            Job::Seal { segment, data } => {
                let mut data = STANDARD.decode(data)?;
                let tag = segment.key()?.seal(segment.index, segment.last, &mut data);
                Ok(json!({ "data": STANDARD.encode([&*data, &tag].concat()) }))
            }
            Job::Open { segment, data } => {
                let mut data = STANDARD.decode(data)?;
                let opened = segment.key()?.open(segment.index, segment.last, &mut data).ok_or("it does not open")?;
                Ok(json!({ "data": STANDARD.encode(opened) }))
            }
            Job::Certify { seed, message } => {
                let (seed, message) = (fixed(seed)?, STANDARD.decode(message)?);
                let signature = STANDARD.encode(ed25519::sign(&seed, &message));
                Ok(json!({ "public": STANDARD.encode(ed25519::public_key(&seed)), "signature": signature }))
            }
            Job::Verify { public, message, signature } => {
                let (message, signature) = (STANDARD.decode(message)?, STANDARD.decode(signature)?);
                Ok(json!({ "valid": ed25519::verify(&fixed(public)?, &message, &signature) }))
            }
            Job::Decrypt { file, passphrase, identities } => {
                let opener = match passphrase {
                    Some(passphrase) => Opener::Passphrase(Passphrase::new(passphrase.as_bytes())?),
                    None => Opener::Identities(Identities::parse(identities.as_bytes()).ok_or("no identities")?),
                };
                Ok(match age::decrypt(&STANDARD.decode(file)?, &opener) {
                    Ok(content) => json!({ "content": STANDARD.encode(&*content) }),
                    Err(failure) => json!({ "failure": format!("{failure:?}") }),
                })
            }
        }
    }
}

/// Bytes of a fixed length.
fn fixed<const N: usize>(text: &str) -> Result<[u8; N]> {
    Ok(STANDARD.decode(text)?.as_slice().try_into()?)
}

fn named(name: &str) -> Result<Algorithm> {
    Ok(Algorithm::from_name(name).ok_or_else(|| format!("unknown algorithm {name}"))?)
}

fn parsed(algorithm: Algorithm, text: &str) -> Result<Checksum> {
    Ok(Checksum::parse(algorithm, text).ok_or_else(|| format!("no {} is {text}", algorithm.name()))?)
}

fn main() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let job: Job = serde_json::from_str(&line?)?;
        let answer = job.answer().unwrap_or_else(|e| json!({ "error": e.to_string() }));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
