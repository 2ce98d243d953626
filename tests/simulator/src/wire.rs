//! A request as a server reads it, and a reply as it writes it.

use std::time::SystemTime;

use s3_model::Refusal;
use s3_model::http::{Body, Reply};
use s3vault_core::http::Request;

use crate::content::Content;

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Wire {
    /// S3's name of the operation.
    pub operation: &'static str,
    /// The request as it arrives.
    pub request: s3_model::http::Request<Content>,
}

impl Wire {
    /// A request with this body, and with this CRC64NVME in its trailer.
    pub fn new(request: &Request, body: Content, trailer: Option<u64>) -> Wire {
        let headers = request.headers.iter();
        let mut headers: Vec<_> = headers.map(|(name, value)| (name.clone(), value.to_string())).collect();
        headers.extend(trailer.map(|crc| ("x-amz-checksum-crc64nvme".to_owned(), s3_model::crc64_text(crc))));
        let method = request.method.as_str();
        let arriving = s3_model::http::Request::new(method, &request.url, headers, body);
        Wire { operation: request.operation, request: arriving }
    }

    /// Whether it stores an object under a key that starts like this.
    pub fn puts(&self, prefix: &str) -> bool {
        self.request.method == "PUT" && self.request.key.starts_with(prefix)
    }

    /// A parameter's value. It is empty if the parameter is missing.
    pub fn parameter(&self, name: &str) -> &str {
        self.request.parameter(name).unwrap_or_default()
    }

    /// The date that the request was signed with, in Unix milliseconds.
    pub fn date_ms(&self) -> i64 {
        let since = self.request.date().and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_millis() as i64)
    }

    /// The region that the request is signed for.
    pub fn region(&self) -> &str {
        let scope =
            self.request.header("authorization").and_then(|text| text.split_once("Credential=")?.1.split(',').next());
        scope.and_then(|scope| scope.split('/').nth(2)).unwrap_or_default()
    }

    /// Short text for the story: the operation and its object.
    pub fn short(&self) -> String {
        let part = match self.parameter("partNumber") {
            "" => String::new(),
            number => format!(" part {number}"),
        };
        let upload = match self.parameter("uploadId") {
            "" => String::new(),
            id => format!(" of {}", &id[..id.len().min(6)]),
        };
        let key = match self.parameter("prefix") {
            "" => &*self.request.key,
            prefix => prefix,
        };
        format!("{} {key}{part}{upload}", self.operation)
    }
}

/// A reply.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers. Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Content,
}

impl Answer {
    /// An injected refusal.
    pub fn error(status: u16, code: &'static str) -> Answer {
        Reply::refused(&Refusal::new(status, code, "an injected fault")).into()
    }

    /// A proxy's page.
    pub fn page(status: u16) -> Answer {
        let headers = vec![("content-type".to_owned(), "text/html".to_owned())];
        let body = Content::bytes(b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body></body></html>\n");
        Answer { status, headers, body }
    }

    /// The refusal of a request that is signed for another region than the bucket's: stores name the right one in the
    /// body, or in a header.
    pub fn wrong_region(form: usize, region: &str) -> Answer {
        if form.is_multiple_of(2) {
            return Answer::error(301, "PermanentRedirect").with("x-amz-bucket-region", region);
        }
        let code = "AuthorizationHeaderMalformed";
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Region>{region}</Region></Error>"
        );
        Answer { status: 400, headers: Vec::new(), body: Content::bytes(text.as_bytes()) }
    }

    /// The reply with another header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The code of an error reply.
    pub fn code(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.body.as_bytes()).ok().filter(|text| text.starts_with("<?xml"))?;
        text.split_once("<Error><Code>")?.1.split('<').next()
    }
}

impl From<Reply<Content>> for Answer {
    fn from(reply: Reply<Content>) -> Answer {
        let body = match reply.body {
            Body::Xml(text) => Content::Bytes(text.into()),
            Body::Content(content) => content,
        };
        Answer { status: reply.status, headers: reply.headers, body }
    }
}
