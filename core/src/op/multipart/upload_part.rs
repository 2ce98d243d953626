//! UploadPart: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html>

use bytes::Bytes;

use crate::account::integrity::Integrity;
use crate::checksum::{content_md5, parse_crc};
use crate::error::Result;
use crate::http::{Body, Method, Part, ReplyHead};
use crate::op::{CRC64NVME, Encryption, Operation, Reply, Unsigned};

/// Uploads a part.
#[derive(Clone, Debug)]
pub struct UploadPart {
    /// The object's key.
    pub key: String,
    /// Upload id, as CreateMultipartUpload returned it.
    pub upload_id: String,
    /// Number of the part in this upload, from 1.
    pub number: u32,
    /// The part to send. Its own number is the number in the backup.
    pub part: Part,
    /// How the upload is encrypted: only the key of SSE-C is sent.
    pub encryption: Encryption,
}

/// The reply to an upload of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedPart {
    /// ETag of the part, for CompleteMultipartUpload.
    pub etag: String,
    /// CRC64NVME that the store computed, if it names it.
    pub crc64nvme: Option<u64>,
}

impl Operation for UploadPart {
    type Reply = UploadedPart;
    const NAME: &'static str = "UploadPart";
    const ACTION: &'static str = "s3:PutObject";
    const PAYLOAD: bool = true;

    fn integrity(&self) -> Option<Integrity> {
        Some((&self.part).into())
    }

    fn request(&self) -> Unsigned {
        self.encryption.access(unsigned(&self.key, &self.upload_id, self.number).part(&self.part))
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        self.encryption.check_accessed(head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<UploadedPart> {
        uploaded(reply)
    }
}

/// Uploads a part that is in core's memory, with its MD5 and signed by its SHA-256.
#[derive(Clone, Debug)]
pub struct UploadPartBytes {
    /// The object's key.
    pub key: String,
    /// Upload id, as CreateMultipartUpload returned it.
    pub upload_id: String,
    /// Number of the part, from 1.
    pub number: u32,
    /// The part.
    pub bytes: Bytes,
    /// How the upload is encrypted: only the key of SSE-C is sent.
    pub encryption: Encryption,
}

impl Operation for UploadPartBytes {
    type Reply = UploadedPart;
    const NAME: &'static str = UploadPart::NAME;
    const ACTION: &'static str = UploadPart::ACTION;
    const PAYLOAD: bool = true;

    fn request(&self) -> Unsigned {
        let request = unsigned(&self.key, &self.upload_id, self.number).header("content-md5", content_md5(&self.bytes));
        Unsigned { body: Body::Bytes(self.bytes.clone()), is_data: true, ..self.encryption.access(request) }
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        self.encryption.check_accessed(head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<UploadedPart> {
        uploaded(reply)
    }
}

fn unsigned(key: &str, upload_id: &str, number: u32) -> Unsigned {
    Unsigned::object(Method::Put, key).query("partNumber", number.to_string()).query("uploadId", upload_id)
}

fn uploaded(reply: &Reply<'_>) -> Result<UploadedPart> {
    Ok(UploadedPart {
        etag: reply.required("etag")?.to_owned(),
        crc64nvme: reply.head.header(CRC64NVME).and_then(parse_crc),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::digest;
    use crate::error::Code;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_example_with_this_checksum() {
        let id = "VCVsb2FkIElEIGZvciBlbZZpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZR";
        let part = Part {
            number: 1,
            offset: 0,
            length: 1,
            stored: 9,
            digest: Some(digest(b"123456789")),
            md5: None,
            salt: None,
        };
        let mut op = UploadPart {
            key: "my-movie.m2ts".into(),
            upload_id: id.into(),
            number: part.number,
            part,
            encryption: Encryption::default(),
        };
        let target = format!("PUT /my-movie.m2ts?partNumber=1&uploadId={id}\n");
        assert_eq!(sent(&op), format!("{target}x-amz-checksum-crc64nvme: rosUhgp5mIg=\n\n(a part)"));
        op.part.digest = None;
        assert_eq!(
            sent(&op),
            format!(
                "{target}content-encoding: aws-chunked\nx-amz-decoded-content-length: 9\n\
                 x-amz-trailer: x-amz-checksum-crc64nvme\n\n(a part)"
            )
        );
        let etag = ("etag", "\"b54357faf0632cce46e942fa68356b38\"");
        let headers = [etag, ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")];
        let expected = UploadedPart { etag: etag.1.into(), crc64nvme: Some(0xAE8B_1486_0A79_9888) };
        assert_eq!(answer(&op, &headers, ""), Ok(expected));
        assert_eq!(answer(&op, &[etag], "").unwrap().crc64nvme, None);
        assert_eq!(refused(&op, &[], ""), Some(Code::BadReply));
    }

    #[test]
    fn bytes_are_sent_with_their_md5() {
        let (key, upload_id, bytes) = ("k".into(), "u".into(), Bytes::from_static(b"message digest"));
        let op = UploadPartBytes { key, upload_id, number: 2, bytes, encryption: Encryption::default() };
        let target = "PUT /k?partNumber=2&uploadId=u\n";
        assert_eq!(sent(&op), format!("{target}content-md5: +WtpfXy3k41SWi8xqvFh0A==\n\nmessage digest"));
        let etag = ("etag", "\"e\"");
        assert_eq!(answer(&op, &[etag], "").unwrap().etag, etag.1);
        assert_eq!(refused(&op, &[], ""), Some(Code::BadReply));
    }
}
