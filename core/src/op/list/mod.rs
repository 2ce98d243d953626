//! Listings, page by page.

mod list_objects_v2;

pub use list_objects_v2::{ListObjectsV2, Listing};
