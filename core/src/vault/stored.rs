//! An object in a bucket, as a list of versions or of objects shows it.

use crate::op::{ListedObject, ListedVersion};

/// An object in the bucket, or a delete marker.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) key: String,
    /// Its version id, in a bucket whose objects have versions.
    pub(super) version_id: Option<String>,
    pub(super) size: u64,
    /// When it was written, by the store's clock, if the store says that.
    pub(super) modified_ms: Option<i64>,
    /// ETag without its quotes.
    pub(super) etag: String,
    pub(super) is_delete_marker: bool,
}

impl From<ListedVersion> for Stored {
    fn from(version: ListedVersion) -> Stored {
        Stored {
            key: version.key,
            version_id: Some(version.version_id),
            size: version.size,
            modified_ms: version.last_modified_ms,
            etag: version.etag.trim_matches('"').to_owned(),
            is_delete_marker: version.is_delete_marker,
        }
    }
}

impl From<ListedObject> for Stored {
    fn from(object: ListedObject) -> Stored {
        Stored {
            key: object.key,
            version_id: None,
            size: object.size,
            modified_ms: object.last_modified_ms,
            etag: object.etag.trim_matches('"').to_owned(),
            is_delete_marker: false,
        }
    }
}

impl Stored {
    /// Whether it was written in this time.
    pub(super) fn is_of(&self, start_ms: i64, end_ms: i64) -> bool {
        self.modified_ms.is_some_and(|at| (start_ms..=end_ms).contains(&at))
    }
}
