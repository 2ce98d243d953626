//! What s3s asks once it knows who sends a request and what for.

use std::sync::{Arc, Mutex, PoisonError};

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3Result};

use crate::body::Cut;
use crate::fault::{Answer, Effect, When};
use crate::refusal::s3_error;
use crate::shared::Shared;
use s3_model::{Refusal, is_unsupported_header};

/// Every request acts as this owner.
pub(crate) const OWNER: &str = "embedded-store";

/// The operations that the store implements, as S3 names them.
pub const OPERATIONS: [&str; 25] = [
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteObject",
    "DeleteObjects",
    "GetBucketLocation",
    "GetBucketVersioning",
    "GetObject",
    "GetObjectLockConfiguration",
    "GetObjectRetention",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjectVersions",
    "ListObjectsV2",
    "ListParts",
    "PutBucketVersioning",
    "PutObject",
    "PutObjectLockConfiguration",
    "PutObjectRetention",
    "UploadPart",
];

/// What a fault wants done with the reply. A request carries it through s3s as an extension.
#[derive(Clone, Default)]
pub(crate) struct Orders(Arc<Mutex<OrdersInner>>);

#[derive(Default)]
struct OrdersInner {
    reached: bool,
    whole: bool,
    ending: Option<Ending>,
}

/// How a request ends when a fault hit it.
pub(crate) enum Ending {
    Answer(Answer),
    Drop,
    Cut(u64, Cut),
}

impl Orders {
    /// Whether an operation was found for the request, and how a fault ends it.
    pub(crate) fn take(&self) -> (bool, Option<Ending>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.reached, inner.ending.take())
    }

    /// Whether the request's range is ignored.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).whole
    }

    fn set_reached(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reached = true;
    }

    fn set(&self, ending: Ending) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ending = Some(ending);
    }
}

pub(crate) struct Keys(pub(crate) Arc<Shared>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if let Some(secret) = self.0.secret_of(access_key) {
            return Ok(SecretKey::from(secret));
        }
        Err(s3_error(Refusal::new(
            403,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        )))
    }
}

pub(crate) struct Gate(pub(crate) Arc<Shared>);

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(s3_error(Refusal::access_denied("Access Denied")));
        }
        let operation = cx.s3_op().name().to_owned();
        let target = cx.uri().to_string();
        let orders = cx.extensions_mut().get::<Orders>().cloned().unwrap_or_default();
        orders.set_reached();
        self.0.stats.count(&operation);
        unsupported(cx)?;
        self.0.store().check_known(&operation).map_err(s3_error)?;

        let ending = match self.0.faults.take(&operation, &target, cx.headers()) {
            None => return Ok(()),
            Some(Effect::Delay(time)) => {
                tokio::time::sleep(time).await;
                return Ok(());
            }
            Some(Effect::Whole) => {
                orders.0.lock().unwrap_or_else(PoisonError::into_inner).whole = true;
                return Ok(());
            }
            Some(Effect::Answer(answer)) => (answer.when, Ending::Answer(answer)),
            Some(Effect::Drop(when)) => (when, Ending::Drop),
            Some(Effect::Truncate(bytes)) => (When::After, Ending::Cut(bytes, Cut::Close)),
            Some(Effect::Flip(offset)) => (When::After, Ending::Cut(offset, Cut::Flip)),
            Some(Effect::Stall(bytes)) => (When::After, Ending::Cut(bytes, Cut::Stall)),
        };
        let (when, ending) = ending;
        orders.set(ending);
        match when {
            When::After => Ok(()),
            // The reply that s3s makes of this error is thrown away for the ordered one.
            When::Before => Err(s3_error(Refusal::access_denied("an ordered fault"))),
        }
    }
}

/// What would be lost without a word is refused aloud.
fn unsupported(cx: &S3AccessContext<'_>) -> Result<(), S3Error> {
    for (name, value) in cx.headers() {
        let name = name.as_str();
        if is_unsupported_header(name) {
            return Err(s3_error(Refusal::not_implemented(&format!("the header {name}"))));
        }
        if name == "x-amz-acl" && value != "private" && value != "bucket-owner-full-control" {
            return Err(s3_error(Refusal::not_implemented(&format!("the ACL {value:?}"))));
        }
        if name == "x-amz-expected-bucket-owner" && value != OWNER {
            let message = format!("Access Denied: the bucket owner is {OWNER}, not {value:?}.");
            return Err(s3_error(Refusal::access_denied(message)));
        }
    }
    Ok(())
}
