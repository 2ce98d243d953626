//! The operations of S3, one per file: how a request is built and how its reply is parsed.
//!
//! An operation is a value that holds its arguments. [`Single`] is a machine that runs one operation, and [`Pages`] makes
//! such a machine for each page of a listing. The engine's machines hold a [`call::Call`] for each operation in progress.
//!
//! The folders group operations by what they act on: `bucket`, `object`, `multipart` and `list`. Operations that are
//! added later belong there too: lifecycle in `bucket`; tags, legal hold, attributes and restore in `object`.
//! AssumeRoleWithWebIdentity belongs to another service, and needs a folder of its own.

mod bucket;
mod call;
mod customer_key;
mod encryption;
mod list;
mod multipart;
mod object;
mod refusal;
#[cfg(test)]
mod replies;
mod run;
mod sequence;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use bucket::{
    BucketEncryption, BucketEntry, BucketList, BucketVersioning, CreateBucket, DefaultRetention, DeleteBucket,
    EncryptionRule, GetBucketEncryption, GetBucketLocation, GetBucketVersioning, GetObjectLockConfiguration,
    HeadBucket, HeadBucketReply, ListBuckets, LockPeriod, ObjectLock, PutBucketEncryption, PutBucketVersioning,
    PutObjectLockConfiguration,
};
pub(crate) use call::{Asking, Call, Calling, Next, Session, answer_of};
pub use encryption::{CustomerKey, Encryption};
pub use list::{
    EmptyPages, ListMultipartUploads, ListObjectVersions, ListObjectsV2, ListParts, ListedObject, ListedPart,
    ListedUpload, ListedVersion, Listing, ObjectRow, PartListing, PartRow, Row, UploadListing, UploadMarker, UploadRow,
    VersionListing, VersionMarker, VersionRow,
};
pub use multipart::{
    AbortMultipartUpload, CompleteMultipartUpload, CompletedPart, CompletedUpload, CreateMultipartUpload, UploadPart,
    UploadPartBytes, UploadPartCopy, UploadedPart,
};
pub(crate) use object::MAX_KEYS;
pub use object::{
    Condition, Content, CopyObject, CopyReply, CopySource, DeleteManyReply, DeleteObject, DeleteObjectVersion,
    DeleteObjectVersions, DeleteObjects, DeleteReply, Deleted, GetObject, GetObjectRetention, GetRange, HeadObject,
    HeadReply, LockMode, NotDeleted, PutObject, PutObjectRetention, PutReply, Restore, Retention,
};
pub(crate) use refusal::is_about_checksum;
pub use run::{Pages, Single};
pub(crate) use sequence::{Context, Step, Strand};
pub use sequence::{Sequence, Steps};

use std::fmt;

use crate::account::integrity::Integrity;
use crate::checksum::{content_md5, crc_text, md5_text};
use crate::error::{Code, Error, Result};
use crate::http::{Body, HeaderValue, Method, Part, ReplyBody, ReplyHead};

/// XML namespace of S3's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Size limit of a reply that is a short document, in bytes.
const SHORT_REPLY: usize = 64 * 1024;

/// Name of the header, or trailer, with a CRC64NVME.
pub const CRC64NVME: &str = "x-amz-checksum-crc64nvme";

/// The resource that a request acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The service: all buckets of these credentials.
    Service,
    /// The bucket.
    Bucket,
    /// The object with this key in the bucket.
    Object(String),
}

impl Place {
    /// The object's key; empty for the service and the bucket.
    pub fn key(&self) -> &str {
        match self {
            Place::Object(key) => key,
            Place::Service | Place::Bucket => "",
        }
    }
}

/// A request before it is signed.
#[derive(Clone)]
pub struct Unsigned {
    /// The method.
    pub method: Method,
    /// The resource that it acts on.
    pub place: Place,
    /// Query parameters, not yet encoded, in any order.
    pub query: Vec<(&'static str, String)>,
    /// Headers, with names in lower case.
    pub headers: Vec<(String, HeaderValue)>,
    /// The body to send.
    pub body: Body,
    /// What to do with the body of a 2xx reply.
    pub reply: ReplyBody,
    /// See [`Request::is_data`](crate::http::Request::is_data).
    pub is_data: bool,
}

impl Unsigned {
    fn new(method: Method, place: Place) -> Unsigned {
        Unsigned {
            method,
            place,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            reply: ReplyBody::Collect { limit: SHORT_REPLY },
            is_data: false,
        }
    }

    fn bucket(method: Method) -> Unsigned {
        Unsigned::new(method, Place::Bucket)
    }

    fn object(method: Method, key: &str) -> Unsigned {
        Unsigned::new(method, Place::Object(key.to_owned()))
    }

    fn query(mut self, name: &'static str, value: impl Into<String>) -> Unsigned {
        self.query.push((name, value.into()));
        self
    }

    fn header(mut self, name: &str, value: impl Into<HeaderValue>) -> Unsigned {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn headers(mut self, headers: &[(String, String)]) -> Unsigned {
        self.headers.extend(headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
        self
    }

    /// Makes a part the body. Its MD5 is sent if it is there, and otherwise its checksum: in a header if it is known, or else
    /// in a trailer.
    fn part(self, part: &Part) -> Unsigned {
        let mut request = match (part.md5, part.digest) {
            (Some(md5), _) => self.header("content-md5", md5_text(md5)),
            (None, Some(digest)) => self.header(CRC64NVME, crc_text(digest.crc64nvme)),
            (None, None) => self
                .header("content-encoding", "aws-chunked")
                .header("x-amz-decoded-content-length", part.stored.to_string())
                .header("x-amz-trailer", CRC64NVME),
        };
        request.body = Body::Part(*part);
        request
    }

    fn version(self, version_id: Option<&str>) -> Unsigned {
        match version_id {
            Some(version_id) => self.query("versionId", version_id),
            None => self,
        }
    }

    /// Makes an XML document the body, with its MD5: stores require it for some documents, and accept it for all.
    fn xml(mut self, root: &str, inner: &str) -> Unsigned {
        let body = format!("<{root} xmlns=\"{NAMESPACE}\">{inner}</{root}>").into_bytes();
        let md5 = content_md5(&body);
        self.body = Body::Bytes(body.into());
        self.header("content-md5", md5).header("content-type", "application/xml")
    }
}

impl fmt::Debug for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unsigned { method, place, query, headers, reply, .. } = self;
        write!(f, "{} {place:?} {query:?} {headers:?} {reply:?}", method.as_str())
    }
}

/// A complete reply with status 2xx.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Status and headers.
    pub head: &'a ReplyHead,
    /// The body; empty if it was a range.
    pub body: Vec<u8>,
    /// For a range, the length that arrived in bytes, and its digest.
    pub range: Option<(u64, crate::checksum::Digest)>,
}

impl Reply<'_> {
    /// A header that S3 always sends with this reply. The reply of a proxy in the store's place does not have it.
    fn required(&self, name: &str) -> Result<&str> {
        let missing = || Error::new(Code::BadReply, format!("the reply has no {name} header, which S3 always sends"));
        self.head.header(name).ok_or_else(missing)
    }

    /// A copy of a header's value.
    fn text(&self, name: &str) -> Option<String> {
        self.head.header(name).map(str::to_owned)
    }
}

/// An S3 operation with its arguments.
pub trait Operation {
    /// The parsed reply.
    type Reply;
    /// Name of the operation in the S3 API reference.
    const NAME: &'static str;
    /// IAM action (permission) that the operation needs ("Actions, resources, and condition keys for Amazon S3", service
    /// authorization reference).
    const ACTION: &'static str;
    /// Whether the operation is idempotent: it may be retried after an attempt that may have taken effect.
    const REPEATABLE: bool = true;
    /// Whether the operation transfers a part's bytes. It is one of many and may be in progress twice, so an attempt whose
    /// reply is late is hedged.
    const PAYLOAD: bool = false;

    /// How the payload is checked, or the object that it becomes a part of; `None` if that is the same for every store.
    #[doc(hidden)]
    fn integrity(&self) -> Option<Integrity> {
        None
    }

    /// Whether the operation is idempotent with these arguments.
    fn is_repeatable(&self) -> bool {
        Self::REPEATABLE
    }

    /// The IAM action that the operation needs with these arguments.
    fn action(&self) -> &'static str {
        Self::ACTION
    }

    /// Builds the request, the same for every attempt.
    fn request(&self) -> Unsigned;

    /// Checks the head of a 2xx reply before its body arrives, so that wrong bytes are never accepted.
    fn check_head(&self, _head: &ReplyHead) -> Result<()> {
        Ok(())
    }

    /// The connection of a range broke after this many of its bytes were put in place: the next attempt requests the rest.
    /// Returns whether that is so much that the attempts before no longer count.
    #[doc(hidden)]
    fn progressed(&mut self, _length: u64) -> bool {
        false
    }

    /// Parses a complete 2xx reply. It may take the body out, but only if it succeeds.
    fn parse(&self, reply: &mut Reply<'_>) -> Result<Self::Reply>;
}

/// An operation whose reply is one page of a listing.
pub trait Paged: Operation + Sized {
    /// The operation that requests the page after this one; `None` after the last page.
    fn next(&self, page: &Self::Reply) -> Option<Self>;
}
