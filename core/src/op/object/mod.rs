//! Operations on objects.

mod copy_object;
mod delete_object;
mod delete_objects;
mod get_object;
mod get_object_retention;
mod head_object;
mod put_object;
mod put_object_retention;
mod retention;

pub use copy_object::{CopyObject, CopyReply, CopySource};
pub use delete_object::{DeleteObject, DeleteObjectVersion, DeleteReply};
pub(crate) use delete_objects::MAX_KEYS;
pub use delete_objects::{DeleteManyReply, DeleteObjectVersions, DeleteObjects, Deleted, NotDeleted};
pub use get_object::{GetObject, GetRange};
pub use get_object_retention::GetObjectRetention;
pub use head_object::{HeadObject, HeadReply, Restore};
pub use put_object::{Condition, Content, PutObject, PutReply};
pub use put_object_retention::PutObjectRetention;
pub use retention::{LockMode, Retention};
