//! Why a request is refused: status, code and message as S3 gives them.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

/// An error reply, before it is XML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error code.
    pub code: &'static str,
    /// The message for people.
    pub message: String,
    /// Headers of the reply, such as `x-amz-delete-marker`.
    pub headers: Vec<(&'static str, String)>,
    /// Further elements of the XML error, such as `ServerTime`.
    pub elements: Vec<(&'static str, String)>,
}

impl Refusal {
    /// The XML of the reply.
    pub fn xml(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error>");
        let elements = self.elements.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in [("Code", self.code), ("Message", &self.message)].into_iter().chain(elements) {
            xml += &format!("<{name}>{}</{name}>", quick_xml::escape::escape(value));
        }
        xml + "</Error>"
    }

    /// A refusal with this status, code and message.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new(), elements: Vec::new() }
    }

    /// Adds a header to the reply.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds an element to the XML.
    #[must_use]
    pub fn element(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.elements.push((name, value.into()));
        self
    }

    /// AccessDenied.
    pub fn access_denied(message: impl Into<String>) -> Self {
        Self::new(403, "AccessDenied", message)
    }

    /// BadDigest: `what` has the value `given`, and the bytes have `computed`.
    pub fn bad_digest(what: &str, given: &str, computed: &str) -> Self {
        Self::new(
            400,
            "BadDigest",
            format!("The {what} you specified, {given}, did not match what we received, {computed}."),
        )
    }

    /// InvalidArgument.
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    /// InvalidRequest.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    /// NoSuchBucket.
    pub fn no_such_bucket(bucket: &str) -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist").element("BucketName", bucket)
    }

    /// NoSuchKey.
    pub fn no_such_key(key: &str) -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.").element("Key", key)
    }

    /// NoSuchVersion.
    pub fn no_such_version(key: &str, version: &str) -> Self {
        Self::new(404, "NoSuchVersion", "The specified version does not exist.")
            .element("Key", key)
            .element("VersionId", version)
    }

    /// NoSuchUpload.
    pub fn no_such_upload(upload_id: &str) -> Self {
        Self::new(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or \
             completed.",
        )
        .element("UploadId", upload_id)
    }

    /// NotImplemented.
    pub fn not_implemented(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("This store does not implement {what}."))
    }

    /// PreconditionFailed: the condition of this header does not hold.
    pub fn precondition_failed(header: &'static str) -> Self {
        Self::new(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
            .element("Condition", header)
    }
}
