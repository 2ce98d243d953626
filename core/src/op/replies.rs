//! All operations whose reply is XML refuse replies that are not complete documents.

use super::testing::refused;
use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The code with which an operation refuses a body.
type Refuse = Box<dyn Fn(&str) -> Option<Code>>;

/// An operation, a complete reply, and its result for another reply.
struct Case {
    name: &'static str,
    whole: String,
    refuse: Refuse,
}

fn case<O: Operation + 'static>(op: O, root: &str, inner: &str) -> Case {
    let whole = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{NAMESPACE}\">{inner}</{root}>");
    Case { name: O::NAME, whole, refuse: Box::new(move |body| refused(&op, &[("etag", "\"e\"")], body)) }
}

fn cases() -> Vec<Case> {
    let name = || "k".to_owned();
    let copied = "<ETag>\"e\"</ETag><LastModified>2011-04-11T20:34:56.000Z</LastModified>";
    let upload =
        CreateMultipartUpload { key: name(), headers: vec![], encryption: Encryption::default(), checksum: true };
    let complete = CompleteMultipartUpload {
        key: name(),
        upload_id: name(),
        parts: vec![],
        crc64nvme: None,
        size: 0,
        encryption: Encryption::default(),
    };
    let deleted = "<Deleted><Key>k</Key></Deleted>";
    let retention = "<Mode>GOVERNANCE</Mode><RetainUntilDate>2018-10-05T00:00:00.000Z</RetainUntilDate>";
    let lock = "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>";
    let encryption = "<Rule><BucketKeyEnabled>true</BucketKeyEnabled></Rule>";
    let bucket = "<Buckets><Bucket><Name>b</Name></Bucket></Buckets>";
    let version = "<Version><Key>k</Key><VersionId>v</VersionId><Size>1</Size></Version>";
    vec![
        case(GetBucketLocation, "LocationConstraint", "eu-west-1"),
        case(ListBuckets::default(), "ListAllMyBucketsResult", bucket),
        case(GetBucketVersioning, "VersioningConfiguration", "<Status>Enabled</Status>"),
        case(GetBucketEncryption, "ServerSideEncryptionConfiguration", encryption),
        case(GetObjectLockConfiguration, "ObjectLockConfiguration", lock),
        case(CopyObject::default(), "CopyObjectResult", copied),
        case(DeleteObjects::new(vec![name()], false).unwrap(), "DeleteResult", deleted),
        case(DeleteObjectVersions::new(vec![(name(), name())], false).unwrap(), "DeleteResult", deleted),
        case(GetObjectRetention { key: name(), version_id: None }, "Retention", retention),
        case(upload, "InitiateMultipartUploadResult", "<UploadId>u</UploadId>"),
        case(UploadPartCopy::default(), "CopyPartResult", copied),
        case(complete, "CompleteMultipartUploadResult", "<ETag>\"e\"</ETag>"),
        case(ListObjectsV2::default(), "ListBucketResult", "<Contents><Key>k</Key><Size>1</Size></Contents>"),
        case(ListObjectVersions::default(), "ListVersionsResult", version),
        case(
            ListMultipartUploads::default(),
            "ListMultipartUploadsResult",
            "<Upload><Key>k</Key><UploadId>u</UploadId></Upload>",
        ),
        case(
            ListParts::default(),
            "ListPartsResult",
            "<Part><PartNumber>1</PartNumber><ETag>e</ETag><Size>1</Size></Part>",
        ),
    ]
}

#[test]
fn a_truncated_document_is_refused() {
    for Case { name, whole, refuse } in cases() {
        assert_eq!(refuse(&whole), None, "{name}: {whole}");
        for end in 0..whole.len() {
            assert_eq!(refuse(&whole[..end]), Some(Code::BadReply), "{name}: {}", &whole[..end]);
        }
    }
}

#[test]
fn another_document_is_refused() {
    let deep = "<a>".repeat(100_000);
    for Case { name, whole, refuse } in cases() {
        let twice = format!("{whole}{whole}");
        for other in [
            " \n",
            "{}",
            "<!DOCTYPE html><html><body>Log in</body></html>",
            "<html/>",
            "<Result/>",
            "<Error><Code>InternalError</Code><Message>Why</Message></Error>",
            &twice,
            &deep,
            &whole.replacen('>', &format!(">{deep}"), 2),
            &whole.replace("</", "&bomb;</"),
        ] {
            assert_eq!(refuse(other), Some(Code::BadReply), "{name}: {:.200}", other);
        }
    }
}
