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
pub use rows::{EmptyPages, Row};

use crate::http::ReplyBody;
use crate::op::Unsigned;

/// Size limit of a page, in bytes: 1,000 rows with keys of 1,024 bytes, each byte encoded, and their markup.
const PAGE_LIMIT: usize = 8 << 20;

impl Unsigned {
    /// Requests URL-encoded keys: a key that XML cannot represent would break the whole page.
    fn encoded(self) -> Unsigned {
        self.query("encoding-type", "url")
    }

    /// Requests only keys with this prefix.
    fn keys(self, prefix: &str, delimiter: Option<&'static str>) -> Unsigned {
        let request = self.query("prefix", prefix);
        match delimiter {
            Some(delimiter) => request.query("delimiter", delimiter),
            None => request,
        }
    }

    /// Requests a page of at most `most` rows; `name` is the operation's parameter for it.
    fn page(self, name: &'static str, most: Option<u32>) -> Unsigned {
        let mut request = match most {
            Some(count) => self.query(name, count.to_string()),
            None => self,
        };
        request.reply = ReplyBody::Collect { limit: PAGE_LIMIT };
        request
    }
}
