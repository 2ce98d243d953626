//! Operations on buckets and their configuration.

mod create_bucket;
mod delete_bucket;
mod get_bucket_encryption;
mod get_bucket_location;
mod get_bucket_versioning;
mod get_object_lock_configuration;
mod head_bucket;
mod list_buckets;
mod put_bucket_encryption;
mod put_bucket_versioning;
mod put_object_lock_configuration;

pub use create_bucket::CreateBucket;
pub use delete_bucket::DeleteBucket;
pub use get_bucket_encryption::{BucketEncryption, EncryptionRule, GetBucketEncryption};
pub use get_bucket_location::GetBucketLocation;
pub use get_bucket_versioning::{BucketVersioning, GetBucketVersioning};
pub use get_object_lock_configuration::{DefaultRetention, GetObjectLockConfiguration, LockPeriod, ObjectLock};
pub use head_bucket::{HeadBucket, HeadBucketReply};
pub use list_buckets::{BucketEntry, BucketList, ListBuckets};
pub use put_bucket_encryption::PutBucketEncryption;
pub use put_bucket_versioning::PutBucketVersioning;
pub use put_object_lock_configuration::PutObjectLockConfiguration;
