//! Listings, page by page.

mod list_multipart_uploads;
mod list_object_versions;
mod list_objects_v2;
mod list_parts;
mod rows;

pub use list_multipart_uploads::{ListMultipartUploads, ListedUpload, UploadListing, UploadMarker, UploadRow};
pub use list_object_versions::{ListObjectVersions, ListedVersion, VersionListing, VersionMarker, VersionRow};
pub use list_objects_v2::{ListObjectsV2, ListedObject, Listing, ObjectRow};
pub use list_parts::{ListParts, ListedPart, PartListing, PartRow};
pub use rows::Row;

/// Largest page: 1,000 rows with keys of 1,024 bytes, each byte encoded, and what stands around them.
const PAGE_LIMIT: usize = 8 << 20;
