//! HeadObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>

use super::Retention;
use crate::checksum::parse_crc;
use crate::error::{Error, Result};
use crate::http::{Method, ReplyHead};
use crate::op::{Encryption, Operation, Reply, Unsigned};
use crate::time::parse_http_date;

/// Reads the metadata of an object. With a version id, it needs `s3:GetObjectVersion`.
///
/// An error reply has no body, only a status; for a wrong customer key (SSE-C) it is 400 or 403.
#[derive(Clone, Debug, Default)]
pub struct HeadObject {
    /// The object's key.
    pub key: String,
    /// Version of the object; `None`: the newest.
    pub version_id: Option<String>,
    /// How the object is encrypted: only the key of SSE-C is sent.
    pub encryption: Encryption,
    /// Does not ask for the object's checksums.
    pub without_checksums: bool,
}

impl HeadObject {
    /// The same request without asking for checksums, if the refusal may be about that. The reply to a HEAD has no code.
    pub(crate) fn less(&self, refusal: &Error) -> Option<HeadObject> {
        let may_help = !self.without_checksums && matches!(refusal.status(), 400 | 501);
        may_help.then(|| HeadObject { without_checksums: true, ..self.clone() })
    }
}

/// The reply to a HEAD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadReply {
    /// ETag with its quotes.
    pub etag: String,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Modification time in Unix milliseconds; it has whole seconds.
    pub last_modified_ms: Option<i64>,
    /// Version id; `None` in a bucket without versioning.
    pub version_id: Option<String>,
    /// How the store encrypts the object: `AES256`, `aws:kms`, `aws:kms:dsse`; `None` if it does not say.
    pub server_side_encryption: Option<String>,
    /// Storage class; `None`: the store's default, `STANDARD` on AWS.
    pub storage_class: Option<String>,
    /// State of a restore from an archive.
    pub restore: Option<Restore>,
    /// Object lock; `None` also without the permission `s3:GetObjectRetention`.
    pub lock: Option<Retention>,
    /// Checksums, by the names in their headers (`crc64nvme`, `sha256`).
    pub checksums: Vec<(String, String)>,
    /// `FULL_OBJECT`, or `COMPOSITE` for a checksum of the parts' checksums.
    pub checksum_type: Option<String>,
    /// User metadata, by name in lower case without `x-amz-meta-`. S3 leaves out what HTTP cannot carry.
    pub metadata: Vec<(String, String)>,
}

/// The state of a restore from an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// The restore is in progress.
    Ongoing,
    /// The restored copy can be read.
    Done {
        /// When the copy expires, in Unix milliseconds.
        expires_ms: Option<i64>,
    },
}

impl HeadReply {
    /// The checksum with this name in base64, for example `crc64nvme`.
    pub fn checksum(&self, name: &str) -> Option<&str> {
        self.checksums.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// CRC64NVME of the whole object. A composite value (`...-4`), which is one of the parts' checksums, is not one.
    pub fn whole_crc64nvme(&self) -> Option<u64> {
        let crc = self.checksum("crc64nvme").filter(|_| self.checksum_type.as_deref() != Some("COMPOSITE"));
        crc.and_then(parse_crc)
    }

    /// The user metadata with this name in lower case, without `x-amz-meta-`.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Restore {
    /// Parses, for example, `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`.
    fn parse(text: &str) -> Option<Restore> {
        let value = |name: &str| text.split_once(name)?.1.strip_prefix("=\"")?.split('"').next();
        match value("ongoing-request")? {
            "true" => Some(Restore::Ongoing),
            "false" => Some(Restore::Done { expires_ms: value("expiry-date").and_then(parse_http_date) }),
            _ => None,
        }
    }
}

impl Operation for HeadObject {
    type Reply = HeadReply;
    const NAME: &'static str = "HeadObject";
    const ACTION: &'static str = "s3:GetObject";

    fn action(&self) -> &'static str {
        if self.version_id.is_some() { "s3:GetObjectVersion" } else { Self::ACTION }
    }

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::object(Method::Head, &self.key).version(self.version_id.as_deref());
        if !self.without_checksums {
            request = request.header("x-amz-checksum-mode", "ENABLED");
        }
        self.encryption.access(request)
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        self.encryption.check_read(head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<HeadReply> {
        let mut found = HeadReply {
            etag: reply.required("etag")?.to_owned(),
            size: reply.head.header("content-length").and_then(|length| length.parse().ok()),
            last_modified_ms: reply.head.header("last-modified").and_then(parse_http_date),
            version_id: reply.text("x-amz-version-id"),
            server_side_encryption: reply.text("x-amz-server-side-encryption"),
            storage_class: reply.text("x-amz-storage-class"),
            restore: reply.head.header("x-amz-restore").and_then(Restore::parse),
            lock: Retention::from_head(reply.head),
            checksum_type: reply.text("x-amz-checksum-type"),
            ..HeadReply::default()
        };
        for (name, value) in &reply.head.headers {
            if let Some(name) = name.strip_prefix("x-amz-meta-") {
                found.metadata.push((name.to_owned(), value.clone()));
            } else if let Some(name) = name.strip_prefix("x-amz-checksum-")
                && !matches!(name, "type" | "algorithm")
            {
                found.checksums.push((name.to_owned(), value.clone()));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::op::LockMode;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_example() {
        let id = "3HL4kqCxf3vjVBH40Nrjfkd";
        let op = HeadObject { key: "my-image.jpg".into(), version_id: Some(id.into()), ..HeadObject::default() };
        assert_eq!(sent(&op), format!("HEAD /my-image.jpg?versionId={id}\nx-amz-checksum-mode: ENABLED\n"));
        let headers = [
            ("x-amz-request-id", "318BC8BC143432E5"),
            ("x-amz-version-id", id),
            ("last-modified", "Wed, 12 Oct 2022 17:50:00 GMT"),
            ("etag", "\"fba9dede5f27731c9771645a39863328\""),
            ("content-length", "434234"),
            ("content-type", "text/plain"),
        ];
        let expected = HeadReply {
            etag: "\"fba9dede5f27731c9771645a39863328\"".into(),
            size: Some(434_234),
            last_modified_ms: Some(1_665_597_000_000),
            version_id: Some(id.into()),
            ..HeadReply::default()
        };
        assert_eq!(answer(&op, &headers, ""), Ok(expected));
        assert_eq!(refused(&op, &headers[..2], ""), Some(Code::BadReply), "no ETag");
    }

    #[test]
    fn class_restore_lock_checksums_and_metadata_are_read() {
        let op = HeadObject { key: "k".into(), ..HeadObject::default() };
        let restore = "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"";
        let headers = [
            ("etag", "\"e\""),
            ("x-amz-storage-class", "GLACIER"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-restore", restore),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-retain-until-date", "2018-10-05T00:00:00.000Z"),
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-meta-vid", "1"),
            ("x-amz-meta-x-amz-meta-a", "2"),
        ];
        let found = answer(&op, &headers, "").unwrap();
        assert_eq!(found.storage_class.as_deref(), Some("GLACIER"));
        assert_eq!(found.server_side_encryption.as_deref(), Some("aws:kms"));
        assert_eq!(found.restore, Some(Restore::Done { expires_ms: Some(1_356_048_000_000) }));
        assert_eq!(found.lock, Some(Retention { mode: LockMode::Governance, until_ms: 1_538_697_600_000 }));
        assert_eq!((found.checksum("crc64nvme"), found.checksum("type")), (Some("rosUhgp5mIg="), None));
        assert_eq!(found.checksum_type.as_deref(), Some("FULL_OBJECT"));
        assert_eq!(found.whole_crc64nvme(), Some(0xAE8B_1486_0A79_9888));
        for (value, kind) in [("rosUhgp5mIg=-4", "FULL_OBJECT"), ("rosUhgp5mIg=", "COMPOSITE"), ("?", "FULL_OBJECT")] {
            let headers = [headers[0], ("x-amz-checksum-crc64nvme", value), ("x-amz-checksum-type", kind)];
            assert_eq!(answer(&op, &headers, "").unwrap().whole_crc64nvme(), None, "{value} {kind}");
        }
        assert_eq!((found.meta("vid"), found.meta("x-amz-meta-a"), found.meta("a")), (Some("1"), Some("2"), None));
        for (text, expected) in [
            ("ongoing-request=\"true\"", Some(Restore::Ongoing)),
            ("ongoing-request=\"false\"", Some(Restore::Done { expires_ms: None })),
            ("soon", None),
        ] {
            assert_eq!(Restore::parse(text), expected, "{text}");
        }
    }
}
