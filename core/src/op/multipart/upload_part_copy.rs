//! UploadPartCopy: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>

use crate::error::Result;
use crate::http::{Method, ReplyHead};
use crate::op::{CopyReply, CopySource, Encryption, Operation, Reply, Unsigned};

/// Copies a part of an upload from an object of the store. It also needs `s3:GetObject` (with a version id,
/// `s3:GetObjectVersion`) on the source.
#[derive(Clone, Debug, Default)]
pub struct UploadPartCopy {
    /// The new object's key.
    pub key: String,
    /// Upload id, as CreateMultipartUpload returned it.
    pub upload_id: String,
    /// Number of the part, from 1.
    pub number: u32,
    /// The source of the copy.
    pub source: CopySource,
    /// Offset in the source and length, in bytes; `None`: the whole source. S3 has no form for an empty range.
    pub range: Option<(u64, u64)>,
    /// How the upload is encrypted: only the key of SSE-C is sent.
    pub encryption: Encryption,
}

impl Operation for UploadPartCopy {
    type Reply = CopyReply;
    const NAME: &'static str = "UploadPartCopy";
    const ACTION: &'static str = "s3:PutObject";

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::object(Method::Put, &self.key)
            .query("partNumber", self.number.to_string())
            .query("uploadId", &*self.upload_id);
        if let Some((start, length)) = self.range {
            let last = start.saturating_add(length).saturating_sub(1);
            request = request.header("x-amz-copy-source-range", format!("bytes={start}-{last}"));
        }
        self.encryption.access(self.source.add_to(request))
    }

    fn check_head(&self, head: &ReplyHead) -> Result<()> {
        self.encryption.check_if_named(head)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<CopyReply> {
        CopyReply::read(reply, "CopyPartResult")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::op::testing::{answer, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_documented_examples() {
        let id = "VCVsb2FkIElEIGZvciBlbZZpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZR";
        let mut op = UploadPartCopy {
            key: "newobject".into(),
            upload_id: id.into(),
            number: 2,
            source: CopySource {
                bucket: "amzn-s3-demo-source-bucket".into(),
                key: "sourceobject".into(),
                ..Default::default()
            },
            range: Some((500, 5_242_880)),
            encryption: Encryption::default(),
        };
        assert_eq!(
            sent(&op),
            format!(
                "PUT /newobject?partNumber=2&uploadId={id}\nx-amz-copy-source-range: bytes=500-5243379\n\
                 x-amz-copy-source: amzn-s3-demo-source-bucket/sourceobject\n"
            )
        );
        op.source.version_id = Some("3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo".into());
        op.range = None;
        assert!(sent(&op).ends_with(
            "/sourceobject?versionId=3%2FL4kqtJlcpXroDTDmJ%2BrmSpXd3dIbrHY%2BMTRCxf3vjVBH40Nr8X8gdRQBpUMLUo\n"
        ));
        let xml = "<CopyPartResult><LastModified>2011-04-11T20:34:56.000Z</LastModified>\
                   <ETag>&quot;9b2cf535f27731c974343645a3985328&quot;</ETag></CopyPartResult>";
        let expected = CopyReply {
            etag: "\"9b2cf535f27731c974343645a3985328\"".into(),
            last_modified_ms: Some(1_302_554_096_000),
            source_version_id: Some("3/L4".into()),
            ..CopyReply::default()
        };
        assert_eq!(answer(&op, &[("x-amz-copy-source-version-id", "3/L4")], xml), Ok(expected));
        assert_eq!(refused(&op, &[], "<CopyObjectResult><ETag>e</ETag></CopyObjectResult>"), Some(Code::BadReply));
    }
}
