//! Core's operations whose payload a driver holds, with the payload in memory: request and reply are core's.

use s3vault::op::{Encryption, GetRange, Operation, Reply, Unsigned, UploadPart, UploadedPart};
use s3vault::{Error, Result};
use s3vault_core::checksum::{Digest, digest};
use s3vault_core::http::{Body, Part, Range, ReplyBody, ReplyHead};

/// UploadPart of these bytes.
#[derive(Clone)]
pub(crate) struct UploadBytes {
    pub op: UploadPart,
    pub bytes: Vec<u8>,
}

impl UploadBytes {
    pub(crate) fn new(key: &str, upload_id: &str, number: u32, bytes: &[u8]) -> UploadBytes {
        UploadBytes::with_digest(key, upload_id, number, bytes, digest(bytes))
    }

    /// Bytes that may have another digest.
    pub(crate) fn with_digest(key: &str, upload_id: &str, number: u32, bytes: &[u8], digest: Digest) -> UploadBytes {
        let length = bytes.len() as u64;
        let part = Part { number, offset: 0, length, stored: length, digest: Some(digest), md5: None, salt: None };
        UploadBytes {
            op: UploadPart {
                key: key.into(),
                upload_id: upload_id.into(),
                number: part.number,
                part,
                encryption: Encryption::default(),
            },
            bytes: bytes.into(),
        }
    }
}

impl Operation for UploadBytes {
    type Reply = UploadedPart;
    const NAME: &'static str = UploadPart::NAME;
    const ACTION: &'static str = UploadPart::ACTION;

    fn request(&self) -> Unsigned {
        Unsigned { body: Body::Bytes(self.bytes.clone().into()), ..self.op.request() }
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<UploadedPart, Error> {
        self.op.parse(reply)
    }
}

/// GetRange that returns the bytes.
#[derive(Clone)]
pub(crate) struct GetBytes(GetRange);

impl GetBytes {
    pub(crate) fn new(key: &str, start: u64, length: u64) -> GetBytes {
        let (range, encryption) = (Range::of_part(0, start, length), Encryption::default());
        GetBytes(GetRange { key: key.into(), version_id: None, etag: None, encryption, sequential: false, range })
    }
}

impl Operation for GetBytes {
    type Reply = Vec<u8>;
    const NAME: &'static str = GetRange::NAME;
    const ACTION: &'static str = GetRange::ACTION;

    fn request(&self) -> Unsigned {
        Unsigned { reply: ReplyBody::Collect { limit: 64 << 20 }, ..self.0.request() }
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        self.0.check_head(head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<Vec<u8>> {
        reply.range = Some((reply.body.len() as u64, digest(&reply.body)));
        self.0.parse(reply)?;
        Ok(std::mem::take(&mut reply.body))
    }
}
