//! S3's operations, one a file: how a request is built and how its reply is read.
//!
//! An operation is a value with its arguments. [`Single`] runs one to its end, [`Pages`] goes through a listing; both are
//! machines. The engine's own machines hold a [`call::Call`] for each operation that is under way.
//!
//! Operations lie by what they are about: `bucket`, `object`, `multipart`, `list`. What comes with the stores has its
//! place there too: lifecycle in `bucket`; tags, legal hold, attributes and restore in `object`;
//! AssumeRoleWithWebIdentity, which is another service's, in a folder of its own.

mod bucket;
mod call;
pub(crate) mod first_byte;
mod list;
mod multipart;
mod object;
mod refusal;
#[cfg(test)]
mod replies;
mod run;
mod sequence;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use bucket::{
    BucketEncryption, BucketEntry, BucketList, BucketVersioning, CreateBucket, DefaultRetention, DeleteBucket,
    EncryptionRule, GetBucketEncryption, GetBucketLocation, GetBucketVersioning, GetObjectLockConfiguration,
    HeadBucket, HeadBucketReply, ListBuckets, LockPeriod, ObjectLock, PutBucketEncryption, PutBucketVersioning,
    PutObjectLockConfiguration,
};
pub(crate) use call::{Call, Calling, Next, Session};
pub use list::{
    ListMultipartUploads, ListObjectVersions, ListObjectsV2, ListParts, ListedObject, ListedPart, ListedUpload,
    ListedVersion, Listing, ObjectRow, PartListing, PartRow, Row, UploadListing, UploadMarker, UploadRow,
    VersionListing, VersionMarker, VersionRow,
};
pub use multipart::{
    AbortMultipartUpload, CompleteMultipartUpload, CompletedPart, CreateMultipartUpload, UploadPart, UploadPartCopy,
    UploadedPart,
};
pub use object::{
    Condition, Content, CopyObject, CopyReply, CopySource, CustomerKey, DeleteManyReply, DeleteObject,
    DeleteObjectVersion, DeleteObjectVersions, DeleteObjects, DeleteReply, Deleted, GetObject, GetObjectRetention,
    GetRange, HeadObject, HeadReply, LockMode, NotDeleted, PutObject, PutObjectRetention, PutReply, Restore, Retention,
};
pub use run::{Pages, Single};
pub(crate) use sequence::Step;
pub use sequence::{Sequence, Steps};

use std::fmt;

use crate::checksum::{content_md5, crc_text};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Method, Part, ReplyBody, ReplyHead};

/// Of S3's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Largest reply of an operation that answers with a short document, in bytes.
const SHORT_REPLY: usize = 64 * 1024;

/// The header, or trailer, with a CRC64NVME.
pub const CRC64NVME: &str = "x-amz-checksum-crc64nvme";

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All buckets of these credentials.
    Service,
    /// The store's bucket.
    Bucket,
    /// The object with this key in it.
    Object(String),
}

impl Place {
    /// The object's key; empty where it is about no object.
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
    /// What it is about.
    pub place: Place,
    /// Parameters, not encoded, in any order.
    pub query: Vec<(&'static str, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
    /// What is done with the body of a 2xx reply.
    pub reply: ReplyBody,
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

    fn header(mut self, name: &str, value: impl Into<String>) -> Unsigned {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// A part as the body, with its checksum: in a header where it is known, else in a trailer.
    fn part(self, part: &Part) -> Unsigned {
        let mut request = match part.digest {
            Some(digest) => self.header(CRC64NVME, crc_text(digest.crc64nvme)),
            None => self
                .header("content-encoding", "aws-chunked")
                .header("x-amz-decoded-content-length", part.length.to_string())
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

    fn customer_key(mut self, key: Option<&CustomerKey>) -> Unsigned {
        self.headers.extend(key.into_iter().flat_map(CustomerKey::headers));
        self
    }

    /// A body of XML. Stores demand the MD5 of some, and take it of all.
    fn xml(mut self, root: &str, inner: &str) -> Unsigned {
        let body = format!("<{root} xmlns=\"{NAMESPACE}\">{inner}</{root}>").into_bytes();
        let md5 = content_md5(&body);
        self.body = Body::Bytes(body.into());
        self.header("content-md5", md5).header("content-type", "application/xml")
    }
}

impl fmt::Debug for Unsigned {
    /// Headers' values are left out: one of them may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let Unsigned { method, place, query, reply, .. } = self;
        write!(f, "{} {place:?} {query:?} {names:?} {reply:?}", method.as_str())
    }
}

/// A reply with status 2xx, whole.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Status and headers.
    pub head: &'a ReplyHead,
    /// Empty where the body was a range.
    pub body: &'a [u8],
    /// What came of a range: its length in bytes, and its digest.
    pub range: Option<(u64, crate::checksum::Digest)>,
}

impl Reply<'_> {
    /// A header that S3 always sends with this reply. A proxy that answers in the store's place does not.
    fn required(&self, name: &str) -> Result<&str> {
        let missing = || Error::new(Code::BadReply, format!("the reply has no {name} header, which S3 always sends"));
        self.head.header(name).ok_or_else(missing)
    }

    /// A header as text of its own.
    fn text(&self, name: &str) -> Option<String> {
        self.head.header(name).map(str::to_owned)
    }
}

/// An operation of S3 with its arguments.
pub trait Operation {
    /// What its reply says.
    type Reply;
    /// Its name in the S3 API reference.
    const NAME: &'static str;
    /// The permission that it needs, as IAM names it ("Actions, resources, and condition keys for Amazon S3", service
    /// authorization reference).
    const ACTION: &'static str;
    /// Whether it may be sent again after an attempt that may have taken effect: the second time changes nothing that
    /// anybody could notice.
    const REPEATABLE: bool = true;
    /// Whether it moves a part's bytes, is one of many, and may be under way twice: a late reply is not waited for.
    const PAYLOAD: bool = false;

    /// [`Operation::ACTION`], or the one that these arguments need.
    fn action(&self) -> &'static str {
        Self::ACTION
    }

    /// The request, the same at each attempt.
    fn request(&self) -> Unsigned;

    /// Looks at the head of a 2xx reply before its body comes, so that no wrong bytes are taken.
    fn admit(&self, _head: &ReplyHead) -> Result<()> {
        Ok(())
    }

    /// Reads a whole 2xx reply.
    fn parse(&self, reply: &Reply<'_>) -> Result<Self::Reply>;
}

/// An operation that answers page by page.
pub trait Paged: Operation + Sized {
    /// The operation that asks for the page after this one; `None` after the last.
    fn next(&self, page: &Self::Reply) -> Option<Self>;
}
