//! The checksums that a request carries, and the reading of a body against them.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>.

use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::Stream as _;
use hyper::HeaderMap;
use s3_model::{Algorithm, Checksum, Received, Refusal, crc64_text};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::StreamingBlob;
use s3s::{StdError, TrailingHeaders};

use crate::payload::{Budget, Payload, Writer};
use crate::refusal::storage_full;

const CHECKSUM: &str = "x-amz-checksum-";

/// The algorithm of `x-amz-checksum-crc32` and its like.
fn of_header(header: &str) -> Option<Algorithm> {
    Algorithm::from_name(header.strip_prefix(CHECKSUM)?)
}

/// What the headers announce of the body that follows.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    length: Option<u64>,
    md5: Option<[u8; 16]>,
    header: Option<Checksum>,
    trailer: Option<Algorithm>,
}

impl Announced {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let number = |name: &str| text(name).and_then(|value| value.parse().ok());
        let md5 =
            text("content-md5")
                .map(|value| {
                    BASE64.decode(value).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
                        Refusal::new(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
                    })
                })
                .transpose()?;

        let mut header = None;
        for (name, value) in headers {
            let name = name.as_str();
            if !name.starts_with(CHECKSUM) || matches!(&name[CHECKSUM.len()..], "algorithm" | "type" | "mode") {
                continue;
            }
            let (Some(algorithm), Ok(value)) = (of_header(name), value.to_str()) else {
                return Err(Refusal::not_implemented(&format!("the header {name}")));
            };
            if header.is_some() {
                return Err(Refusal::invalid_request(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
            header = Some(Checksum { algorithm, value: value.to_owned() });
        }

        let trailer = text("x-amz-trailer")
            .map(|name| {
                of_header(name).ok_or_else(|| Refusal::not_implemented(&format!("the trailer {name} of x-amz-trailer")))
            })
            .transpose()?;
        let sent = header.as_ref().map(|given| given.algorithm).or(trailer);
        if let Some(name) = text("x-amz-sdk-checksum-algorithm")
            && Algorithm::from_name(name) != sent
        {
            return Err(Refusal::invalid_request(format!(
                "x-amz-sdk-checksum-algorithm specified {name}, but no corresponding x-amz-checksum-* or x-amz-trailer \
                 headers were found."
            )));
        }
        let length = number("x-amz-decoded-content-length").or_else(|| number("content-length"));
        Ok(Self { length, md5, header, trailer })
    }

    /// The algorithm that the client uses for this body.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.header.as_ref().map(|given| given.algorithm).or(self.trailer)
    }

    /// Whether the client sends a checksum of this body.
    pub(crate) fn has_digest(&self) -> bool {
        self.md5.is_some() || self.algorithm().is_some()
    }

    /// The length of the payload, where the headers tell it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Reads the whole body. Nothing is kept of one that is not what its headers said.
    pub(crate) async fn receive(
        self,
        body: Option<StreamingBlob>,
        trailing: Option<TrailingHeaders>,
        budget: &Arc<Budget>,
    ) -> Result<Received<Payload>, Refusal> {
        let mut writer = Writer::new(Arc::clone(budget), self.length.unwrap_or(0));
        let mut hashes = Hashes::new(self.algorithm());
        if let Some(mut body) = body {
            while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
                let frame = frame.map_err(|error| broken_body(&error))?;
                hashes.update(&frame);
                writer.push(&frame).map_err(|full| storage_full(full.max))?;
            }
        }
        if let Some(length) = self.length
            && length != writer.len()
        {
            return Err(incomplete(&format!("{length} bytes were announced, {} came", writer.len())));
        }
        let checksum = match (self.header, self.trailer) {
            (header, None) => header,
            (_, Some(algorithm)) => Some(trailer(algorithm, trailing)?),
        };
        let (etag, crc64nvme) = hashes.verify(self.md5, checksum.as_ref())?;
        Ok(Received { content: writer.finish(), etag, crc64nvme, checksum })
    }

    /// Checks a small body that is already whole: the XML of a request.
    pub(crate) fn verify(self, body: &[u8]) -> Result<(), Refusal> {
        let mut hashes = Hashes::new(self.algorithm());
        hashes.update(body);
        hashes.verify(self.md5, self.header.as_ref()).map(|_| ())
    }
}

fn trailer(algorithm: Algorithm, trailing: Option<TrailingHeaders>) -> Result<Checksum, Refusal> {
    let name = format!("{CHECKSUM}{}", algorithm.name().to_lowercase());
    trailing
        .and_then(|trailing| trailing.take())
        .and_then(|map| map.get(&name).and_then(|value| value.to_str().ok()).map(str::to_owned))
        .map(|value| Checksum { algorithm, value })
        .ok_or_else(|| {
            Refusal::new(
                400,
                "MalformedTrailerError",
                format!("x-amz-trailer announced {name}, but the body ended without it."),
            )
        })
}

struct Hashes {
    md5: Md5,
    sums: ChecksumHasher,
}

impl Hashes {
    fn new(algorithm: Option<Algorithm>) -> Self {
        let wants = |wanted| algorithm == Some(wanted);
        let sums = ChecksumHasher {
            crc32: wants(Algorithm::Crc32).then(Crc32::new),
            crc32c: wants(Algorithm::Crc32c).then(Crc32c::new),
            sha1: wants(Algorithm::Sha1).then(Sha1::new),
            sha256: wants(Algorithm::Sha256).then(Sha256::new),
            // Always: S3 adds it where the client sends none.
            crc64nvme: Some(Crc64Nvme::new()),
        };
        Self { md5: Md5::new(), sums }
    }

    fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        self.sums.update(data);
    }

    fn verify(mut self, md5: Option<[u8; 16]>, given: Option<&Checksum>) -> Result<([u8; 16], u64), Refusal> {
        let computed: [u8; 16] = self.md5.finalize();
        if let Some(md5) = md5
            && md5 != computed
        {
            return Err(Refusal::bad_digest("Content-MD5", &BASE64.encode(md5), &BASE64.encode(computed)));
        }
        let crc64 = self.sums.crc64nvme.take().map_or(0, |crc| u64::from_be_bytes(crc.finalize()));
        if let Some(given) = given {
            let sums = self.sums.finalize();
            let value = match given.algorithm {
                Algorithm::Crc32 => sums.checksum_crc32,
                Algorithm::Crc32c => sums.checksum_crc32c,
                Algorithm::Sha1 => sums.checksum_sha1,
                Algorithm::Sha256 => sums.checksum_sha256,
                Algorithm::Crc64Nvme => Some(crc64_text(crc64)),
            };
            let value = value.unwrap_or_default();
            if value != given.value {
                return Err(Refusal::bad_digest(given.algorithm.name(), &given.value, &value));
            }
        }
        Ok((computed, crc64))
    }
}

/// s3s keeps the types of these errors to itself, so their text has to tell them apart.
fn broken_body(error: &StdError) -> Refusal {
    let text = error.to_string();
    if text.ends_with("Sha256Mismatch") {
        return content_sha256_mismatch();
    }
    if text.ends_with("SignatureMismatch") {
        return Refusal::new(
            403,
            "SignatureDoesNotMatch",
            "The signature of a chunk, or of the trailer, does not match.",
        );
    }
    if text.contains("AwsChunkedStreamError") && !text.contains("Underlying") && !text.ends_with("Incomplete") {
        return Refusal::invalid_request(format!("The body is not well-formed aws-chunked: {text}"));
    }
    incomplete(&text)
}

pub(crate) fn content_sha256_mismatch() -> Refusal {
    Refusal::new(
        400,
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
}

fn incomplete(detail: &str) -> Refusal {
    Refusal::new(
        400,
        "IncompleteBody",
        format!("You did not provide the number of bytes specified by the Content-Length HTTP header: {detail}."),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_algorithm_accepts_its_value_and_no_other() {
        // Computed with Python's zlib and hashlib, and with awscrt, over "123456789".
        let good = [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
            (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (Algorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ];
        for (algorithm, value) in good {
            let verify = |value: &str| {
                let mut hashes = Hashes::new(Some(algorithm));
                hashes.update(b"123456789");
                hashes.verify(None, Some(&Checksum { algorithm, value: value.to_owned() }))
            };
            assert!(verify(value).is_ok(), "{algorithm:?}");
            assert_eq!(verify("AAAAAA==").unwrap_err().code, "BadDigest", "{algorithm:?}");
        }
    }

    #[test]
    fn headers_that_contradict_each_other_are_refused() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
            Announced::of(&headers).map_err(|refusal| refusal.code)
        };
        let two = [("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-sha1", "x")];
        assert_eq!(of(&two).unwrap_err(), "InvalidRequest");
        assert_eq!(of(&[("x-amz-sdk-checksum-algorithm", "CRC32")]).unwrap_err(), "InvalidRequest");
        assert_eq!(of(&[("x-amz-checksum-sha512", "x")]).unwrap_err(), "NotImplemented");
        assert_eq!(of(&[("content-md5", "short")]).unwrap_err(), "InvalidDigest");
        let good = [("x-amz-sdk-checksum-algorithm", "CRC64NVME"), ("x-amz-trailer", "x-amz-checksum-crc64nvme")];
        assert_eq!(of(&good).unwrap().algorithm(), Some(Algorithm::Crc64Nvme));
    }
}
