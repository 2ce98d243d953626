//! CopyObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>

use crate::error::{Code, Error, Result};
use crate::http::{Method, ReplyHead};
use crate::op::{CustomerKey, Encryption, Operation, Reply, Unsigned};
use crate::time::parse_rfc3339;
use crate::uri;
use crate::xml::{self, Item};

/// The source of a copy.
#[derive(Clone, Debug, Default)]
pub struct CopySource {
    /// Bucket of the source.
    pub bucket: String,
    /// Key of the source.
    pub key: String,
    /// Version of the source; `None`: the newest.
    pub version_id: Option<String>,
    /// The key that the source is encrypted with, for SSE-C.
    pub customer_key: Option<CustomerKey>,
    /// If set, the source is copied only if its ETag is this one.
    pub if_match: Option<String>,
}

impl CopySource {
    /// Adds the headers that name the source.
    pub(in crate::op) fn add_to(&self, mut request: Unsigned) -> Unsigned {
        let mut source = uri::encode_path(&self.bucket);
        source.push('/');
        uri::encode_into(&mut source, &self.key, true);
        if let Some(version_id) = &self.version_id {
            source.push_str("?versionId=");
            uri::encode_into(&mut source, version_id, false);
        }
        request = request.header("x-amz-copy-source", source);
        if let Some(etag) = &self.if_match {
            request = request.header("x-amz-copy-source-if-match", &**etag);
        }
        match &self.customer_key {
            Some(key) => key.copy_source(request),
            None => request,
        }
    }
}

/// Copies an object of up to 5 GiB within the store. It also needs `s3:GetObject` (with a version id,
/// `s3:GetObjectVersion`) on the source.
#[derive(Clone, Debug, Default)]
pub struct CopyObject {
    /// The new object's key.
    pub key: String,
    /// The source of the copy.
    pub source: CopySource,
    /// Other headers of the new object: `x-amz-metadata-directive`, metadata, storage class, lock. Names in lower case.
    pub headers: Vec<(String, String)>,
    /// How the store encrypts the new object.
    pub encryption: Encryption,
}

/// The reply to a copy of an object or a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReply {
    /// ETag of the copy, with its quotes.
    pub etag: String,
    /// Modification time of the copy, in Unix milliseconds.
    pub last_modified_ms: Option<i64>,
    /// CRC64NVME of the copy in base64, if the store names it.
    pub crc64nvme: Option<String>,
    /// Version id of the new version; `None` in a bucket without versioning.
    pub version_id: Option<String>,
    /// Version id of the source, if the store names it.
    pub source_version_id: Option<String>,
}

impl CopyReply {
    /// Parses a document `<CopyObjectResult>` or `<CopyPartResult>`.
    pub(in crate::op) fn read(reply: &Reply<'_>, root: &str) -> Result<CopyReply> {
        let mut copied = CopyReply {
            version_id: reply.text("x-amz-version-id"),
            source_version_id: reply.text("x-amz-copy-source-version-id"),
            ..CopyReply::default()
        };
        xml::read(&reply.body, root, |item| {
            match item {
                // Ceph leaves the quotes out.
                Item::Value(_, "ETag", text) if !text.is_empty() => {
                    copied.etag = format!("\"{}\"", text.trim_matches('"'))
                }
                Item::Value(_, "LastModified", text) => copied.last_modified_ms = parse_rfc3339(text),
                Item::Value(_, "ChecksumCRC64NVME", text) => copied.crc64nvme = Some(text.to_owned()),
                _ => {}
            }
            Ok(())
        })?;
        if copied.etag.is_empty() {
            return Err(Error::new(Code::BadReply, "the reply has no ETag"));
        }
        Ok(copied)
    }
}

impl Operation for CopyObject {
    type Reply = CopyReply;
    const NAME: &'static str = "CopyObject";
    const ACTION: &'static str = "s3:PutObject";

    fn request(&self) -> Unsigned {
        let request = Unsigned::object(Method::Put, &self.key).headers(&self.headers);
        self.encryption.create(self.source.add_to(request))
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        self.encryption.check_if_named(head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<CopyReply> {
        CopyReply::read(reply, "CopyObjectResult")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_example() {
        let source = CopySource {
            bucket: "amzn-s3-demo-source-bucket".into(),
            key: "my-image.jpg".into(),
            version_id: Some("3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo".into()),
            ..CopySource::default()
        };
        let op = CopyObject { key: "my-second-image.jpg".into(), source, ..CopyObject::default() };
        assert_eq!(
            sent(&op),
            "PUT /my-second-image.jpg\nx-amz-copy-source: amzn-s3-demo-source-bucket/my-image.jpg\
             ?versionId=3%2FL4kqtJlcpXroDTDmJ%2BrmSpXd3dIbrHY%2BMTRCxf3vjVBH40Nr8X8gdRQBpUMLUo\n"
        );
        let xml = "<CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                   <LastModified>2009-10-28T22:32:00</LastModified><ETag>\"9b2cf535f27731c974343645a3985328\"</ETag>\
                   </CopyObjectResult>";
        let headers =
            [("x-amz-version-id", "QUpfdndhfd8438MNFDN93jdnJFkdmqnh893"), ("x-amz-copy-source-version-id", "3/L4")];
        let expected = CopyReply {
            etag: "\"9b2cf535f27731c974343645a3985328\"".into(),
            // The example's time has no zone; S3's own replies have one.
            last_modified_ms: None,
            crc64nvme: None,
            version_id: Some("QUpfdndhfd8438MNFDN93jdnJFkdmqnh893".into()),
            source_version_id: Some("3/L4".into()),
        };
        assert_eq!(answer(&op, &headers, xml), Ok(expected.clone()));
        assert_eq!(answer(&op, &headers, &xml.replace(">\"", ">").replace("\"<", "<")), Ok(expected), "Ceph");
        assert_eq!(refused(&op, &[], "<CopyObjectResult/>"), Some(Code::BadReply));
    }

    #[test]
    fn every_byte_of_the_source_is_encoded_and_both_keys_are_sent() {
        let source = CopySource {
            bucket: "b".into(),
            key: "/a//b c+?ü%".into(),
            version_id: None,
            customer_key: Some(CustomerKey::new([1; 32])),
            if_match: Some("\"e\"".into()),
        };
        let headers = vec![("x-amz-storage-class".to_owned(), "GLACIER".to_owned())];
        let encryption = Encryption::SseC(CustomerKey::new([2; 32]));
        let op = CopyObject { key: "k".into(), source, headers, encryption };
        let request = op.request();
        let value = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_string());
        assert_eq!(value("x-amz-copy-source").as_deref(), Some("b//a//b%20c%2B%3F%C3%BC%25"));
        assert_eq!(value("x-amz-copy-source-if-match").as_deref(), Some("\"e\""));
        assert_eq!(value("x-amz-storage-class").as_deref(), Some("GLACIER"));
        let (source, own) =
            ("x-amz-copy-source-server-side-encryption-customer-key", "x-amz-server-side-encryption-customer-key");
        assert_eq!(value(source).as_deref(), Some("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="));
        assert_eq!(value(own).as_deref(), Some("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="));
    }
}
