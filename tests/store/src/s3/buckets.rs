//! Operations on buckets.

use s3s::S3Request;
use s3s::dto::*;

use super::REGION;
use super::convert::{Answer, answer, owner, timestamp};
use crate::shared::Shared;
use s3_model::{ObjectLock, Position, Refusal, Versioning};

pub(super) async fn create(shared: &Shared, req: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
    let input = req.input;
    let is_locked = input.object_lock_enabled_for_bucket == Some(true);
    let region = input.create_bucket_configuration.and_then(|configuration| configuration.location_constraint);
    let versioning = if is_locked { Versioning::Enabled } else { Versioning::Off };
    let mut store = shared.store();
    store.create_bucket(&input.bucket, versioning, shared.clock.now())?;
    let bucket = store.bucket_mut(&input.bucket)?;
    bucket.lock = is_locked.then(ObjectLock::default);
    bucket.region = region.map(|region| region.as_str().to_owned());
    answer(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })
}

pub(super) async fn delete(shared: &Shared, req: S3Request<DeleteBucketInput>) -> Answer<DeleteBucketOutput> {
    shared.store().delete_bucket(&req.input.bucket)?;
    Ok(s3s::S3Response::with_status(DeleteBucketOutput::default(), hyper::StatusCode::NO_CONTENT))
}

pub(super) async fn head(shared: &Shared, req: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
    let store = shared.store();
    let region = store.bucket(&req.input.bucket)?.region.as_deref().unwrap_or(REGION);
    answer(HeadBucketOutput { bucket_region: Some(region.to_owned()), ..Default::default() })
}

pub(super) async fn list(shared: &Shared, req: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
    let store = shared.store();
    let prefix = req.input.prefix.unwrap_or_default();
    let max = req.input.max_buckets.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    let after = req.input.continuation_token.as_deref().map(Position::of_token).transpose()?;
    let page = store.list_buckets(&prefix, &after.unwrap_or(Position::Start), max);
    let continuation_token = page.next.as_ref().map(Position::token);
    let buckets = page.entries.into_iter().map(|(name, bucket)| Bucket {
        bucket_region: None,
        creation_date: timestamp(bucket.created),
        name: Some(name.to_owned()),
    });
    let buckets = Some(buckets.collect());
    answer(ListBucketsOutput { buckets, continuation_token, owner: owner(), ..Default::default() })
}

/// us-east-1 is the region that has no name here.
pub(super) async fn location(
    shared: &Shared,
    req: S3Request<GetBucketLocationInput>,
) -> Answer<GetBucketLocationOutput> {
    let region = shared.store().bucket(&req.input.bucket)?.region.clone();
    answer(GetBucketLocationOutput { location_constraint: region.map(BucketLocationConstraint::from) })
}

pub(super) async fn versioning(
    shared: &Shared,
    req: S3Request<GetBucketVersioningInput>,
) -> Answer<GetBucketVersioningOutput> {
    let status = match shared.store().bucket(&req.input.bucket)?.versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED)),
        Versioning::Suspended => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::SUSPENDED)),
    };
    answer(GetBucketVersioningOutput { mfa_delete: None, status })
}

pub(super) async fn set_versioning(
    shared: &Shared,
    req: S3Request<PutBucketVersioningInput>,
) -> Answer<PutBucketVersioningOutput> {
    let configuration = req.input.versioning_configuration;
    if configuration.mfa_delete.is_some_and(|mfa| mfa.as_str() != MFADelete::DISABLED) {
        return Err(Refusal::not_implemented("MFA delete"));
    }
    let enabled = match configuration.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => true,
        Some(BucketVersioningStatus::SUSPENDED) => false,
        other => {
            let message = format!("The versioning status must be Enabled or Suspended, not {other:?}.");
            return Err(Refusal::new(400, "IllegalVersioningConfigurationException", message));
        }
    };
    shared.store().set_versioning(&req.input.bucket, enabled)?;
    answer(PutBucketVersioningOutput::default())
}
