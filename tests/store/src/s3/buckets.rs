//! Operations on buckets.

use s3s::S3Request;
use s3s::dto::*;

use super::REGION;
use super::convert::{Answer, answer, owner, timestamp};
use crate::shared::Shared;
use s3_model::{Refusal, Versioning};

pub(super) async fn create(shared: &Shared, req: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
    if req.input.object_lock_enabled_for_bucket == Some(true) {
        return Err(Refusal::not_implemented("object lock"));
    }
    shared.store().create_bucket(&req.input.bucket, Versioning::Off, shared.clock.now())?;
    answer(CreateBucketOutput { location: Some(format!("/{}", req.input.bucket)) })
}

pub(super) async fn delete(shared: &Shared, req: S3Request<DeleteBucketInput>) -> Answer<DeleteBucketOutput> {
    shared.store().delete_bucket(&req.input.bucket)?;
    Ok(s3s::S3Response::with_status(DeleteBucketOutput::default(), hyper::StatusCode::NO_CONTENT))
}

pub(super) async fn head(shared: &Shared, req: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
    shared.store().bucket(&req.input.bucket)?;
    answer(HeadBucketOutput { bucket_region: Some(REGION.to_owned()), ..Default::default() })
}

pub(super) async fn list(shared: &Shared, req: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
    if req.input.max_buckets.is_some() || req.input.continuation_token.is_some() {
        return Err(Refusal::not_implemented("a ListBuckets in pages"));
    }
    let prefix = req.input.prefix.unwrap_or_default();
    let store = shared.store();
    let buckets = store.buckets().filter(|(name, _)| name.starts_with(&prefix)).map(|(name, bucket)| Bucket {
        bucket_region: None,
        creation_date: timestamp(bucket.created),
        name: Some(name.clone()),
    });
    let buckets = Some(buckets.collect());
    answer(ListBucketsOutput { buckets, owner: owner(), ..Default::default() })
}

/// us-east-1 is the region that has no name here.
pub(super) async fn location(
    shared: &Shared,
    req: S3Request<GetBucketLocationInput>,
) -> Answer<GetBucketLocationOutput> {
    shared.store().bucket(&req.input.bucket)?;
    answer(GetBucketLocationOutput { location_constraint: None })
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
