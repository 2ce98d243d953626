//! The operations of S3 over the model, in the types of s3s. Each operation stands in the file of its kind.

mod buckets;
mod convert;
mod copy;
mod listing;
mod lock;
mod multipart;
mod objects;

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::refusal::s3_error;
use crate::shared::Shared;

/// The region of a bucket that names none.
const REGION: &str = "us-east-1";

/// What s3s calls.
pub(crate) struct Operations {
    shared: Arc<Shared>,
}

impl Operations {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// One method of the trait for each operation: its name in Rust, its input and output, the function that does it.
macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident = $function:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Operations {
            $(
                async fn $name(&self, req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    $function(&self.shared, req).await.map_err(s3_error)
                }
            )*
        }
    };
}

operations! {
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = multipart::abort;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = multipart::complete;
    copy_object(CopyObjectInput) -> CopyObjectOutput = copy::copy;
    create_bucket(CreateBucketInput) -> CreateBucketOutput = buckets::create;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = multipart::create;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = buckets::delete;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = objects::delete;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = objects::delete_many;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = buckets::location;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = buckets::versioning;
    get_object(GetObjectInput) -> GetObjectOutput = objects::get;
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput = lock::get;
    get_object_retention(GetObjectRetentionInput) -> GetObjectRetentionOutput = lock::retention;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = buckets::head;
    head_object(HeadObjectInput) -> HeadObjectOutput = objects::head;
    list_buckets(ListBucketsInput) -> ListBucketsOutput = buckets::list;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = listing::uploads;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = listing::versions;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = listing::objects;
    list_parts(ListPartsInput) -> ListPartsOutput = multipart::list_parts;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = buckets::set_versioning;
    put_object(PutObjectInput) -> PutObjectOutput = objects::put;
    put_object_lock_configuration(PutObjectLockConfigurationInput) -> PutObjectLockConfigurationOutput = lock::set;
    put_object_retention(PutObjectRetentionInput) -> PutObjectRetentionOutput = lock::set_retention;
    upload_part(UploadPartInput) -> UploadPartOutput = multipart::upload_part;
}
