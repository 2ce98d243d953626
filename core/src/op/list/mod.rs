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

use crate::http::ReplyBody;
use crate::op::Unsigned;

/// Largest page: 1,000 rows with keys of 1,024 bytes, each byte encoded, and what stands around them.
const PAGE_LIMIT: usize = 8 << 20;

impl Unsigned {
    /// Asks for keys URL-encoded: else one that XML cannot hold would break the whole page.
    fn encoded(self) -> Unsigned {
        self.query("encoding-type", "url")
    }

    /// Asks for the keys with this prefix.
    fn keys(self, prefix: &str, delimiter: Option<&'static str>) -> Unsigned {
        let request = self.query("prefix", prefix);
        match delimiter {
            Some(delimiter) => request.query("delimiter", delimiter),
            None => request,
        }
    }

    /// Asks for a page of at most `most` rows; `name` is what the operation calls that.
    fn page(self, name: &'static str, most: Option<u32>) -> Unsigned {
        let mut request = match most {
            Some(count) => self.query(name, count.to_string()),
            None => self,
        };
        request.reply = ReplyBody::Collect { limit: PAGE_LIMIT };
        request
    }
}
