//! Why a request is refused: code, status and words as S3 gives them.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use s3s::{S3Error, S3ErrorCode};

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// A refusal, before it becomes an XML error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Headers of the reply, such as `x-amz-delete-marker`.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Further elements of the XML error, such as `ServerTime`.
    pub(crate) elements: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new(), elements: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn element(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.elements.push((name, value.into()));
        self
    }

    pub(crate) fn access_denied(message: impl Into<String>) -> Self {
        Self::new(403, "AccessDenied", message)
    }

    pub(crate) fn bad_digest(what: &str, given: &str, computed: &str) -> Self {
        Self::new(
            400,
            "BadDigest",
            format!("The {what} you specified, {given}, did not match what we received, {computed}."),
        )
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    pub(crate) fn no_such_bucket(bucket: &str) -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist").element("BucketName", bucket)
    }

    pub(crate) fn no_such_key(key: &str) -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.").element("Key", key)
    }

    pub(crate) fn no_such_version(key: &str, version: &str) -> Self {
        Self::new(404, "NoSuchVersion", "The specified version does not exist.")
            .element("Key", key)
            .element("VersionId", version)
    }

    pub(crate) fn no_such_upload(upload_id: &str) -> Self {
        Self::new(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or \
             completed.",
        )
        .element("UploadId", upload_id)
    }

    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("The embedded store does not implement {what}."))
    }

    pub(crate) fn precondition_failed(header: &'static str) -> Self {
        Self::new(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
            .element("Condition", header)
    }

    pub(crate) fn storage_full(max: u64) -> Self {
        Self::new(
            507,
            "InsufficientStorage",
            format!("The embedded store holds as much as it may: {max} bytes. Start it with a larger --max-bytes."),
        )
    }
}

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        let code = S3ErrorCode::from_bytes(refusal.code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
        let mut error = Self::with_message(code, refusal.message);
        if let Ok(status) = StatusCode::from_u16(refusal.status) {
            error.set_status_code(status);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in refusal.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if !headers.is_empty() {
            headers.insert("content-type", HeaderValue::from_static("application/xml"));
            error.set_headers(headers);
        }
        error
    }
}
