//! Operations on buckets and their configuration.

mod get_bucket_versioning;

pub use get_bucket_versioning::{BucketVersioning, GetBucketVersioning};
