//! S3's operations, one a file: how a request is built and how its reply is read.

mod abort_multipart_upload;
mod call;
mod complete_multipart_upload;
mod create_multipart_upload;
mod get_bucket_versioning;
mod get_object;
mod head_object;
mod list_objects_v2;
mod put_object;
mod refusal;
mod upload_part;

pub(crate) use abort_multipart_upload::AbortMultipartUpload;
pub(crate) use call::{Call, Calling, Next, Session};
pub(crate) use complete_multipart_upload::{CompleteMultipartUpload, CompletedPart};
pub(crate) use create_multipart_upload::CreateMultipartUpload;
pub(crate) use get_bucket_versioning::{BucketVersioning, GetBucketVersioning};
pub(crate) use get_object::{GetObject, GetRange};
pub(crate) use head_object::{HeadObject, HeadReply};
pub(crate) use list_objects_v2::{ListObjectsV2, Listing};
pub(crate) use put_object::{Content, PutObject, PutReply};
pub(crate) use upload_part::UploadPart;

use crate::error::{Code, Error, Result};
use crate::http::{Body, Method, ReplyBody, ReplyHead};

/// Largest reply of an operation that answers with a short document, in bytes.
const SHORT_REPLY: usize = 64 * 1024;

/// A request before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct Unsigned {
    pub(crate) method: Method,
    /// The object's key; `None` for an operation on the bucket.
    pub(crate) key: Option<String>,
    pub(crate) query: Vec<(&'static str, String)>,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    pub(crate) reply: ReplyBody,
}

impl Unsigned {
    fn new(method: Method, key: Option<&str>) -> Unsigned {
        Unsigned {
            method,
            key: key.map(str::to_owned),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            reply: ReplyBody::Collect { limit: SHORT_REPLY },
        }
    }

    fn query(mut self, name: &'static str, value: impl Into<String>) -> Unsigned {
        self.query.push((name, value.into()));
        self
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Unsigned {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A reply with status 2xx, whole.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) head: &'a ReplyHead,
    /// Empty where the body was a range.
    pub(crate) body: &'a [u8],
    /// What came of a range.
    pub(crate) range: Option<(u64, crate::checksum::Digest)>,
}

impl Reply<'_> {
    /// A header that S3 always sends with this reply. A proxy that answers in the store's place does not.
    fn required(&self, name: &str) -> Result<&str> {
        let missing = || Error::new(Code::BadReply, format!("the reply has no {name} header, which S3 always sends"));
        self.head.header(name).ok_or_else(missing)
    }
}

/// An operation of S3 with its arguments.
pub(crate) trait Operation {
    /// What its reply says.
    type Reply;
    /// Its name in the S3 API reference.
    const NAME: &'static str;

    /// The request, the same at each attempt.
    fn request(&self) -> Unsigned;

    /// Looks at the head of a 2xx reply before its body comes, so that no wrong bytes are taken.
    fn admit(&self, _head: &ReplyHead) -> Result<()> {
        Ok(())
    }

    /// Reads a whole 2xx reply.
    fn parse(&self, reply: &Reply<'_>) -> Result<Self::Reply>;
}
