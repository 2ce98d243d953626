//! The vault: names, the objects that it keeps beside the data, and the protocols that put them there.

pub mod manifest;
pub mod names;
pub mod objects;
pub mod signed;
pub mod vid;

pub use manifest::Manifest;
pub use names::Name;
pub use objects::{Kind, RowKey};
pub use vid::Vid;

/// A version, as a listing or a manifest shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is; `None` where a listing names a container only.
    pub kind: Option<Kind>,
    /// The container.
    pub container: String,
    /// The path; empty where a listing names a container only.
    pub path: String,
    /// The version id; empty where a listing names a container only.
    pub vid: String,
    /// The version that an incremental builds on.
    pub parent: Option<String>,
    /// When its put began, in Unix milliseconds of the store's clock.
    pub initiated_ms: i64,
    /// The instant that identifies it for people: begin or end of the put, as the vault is set.
    pub recorded_ms: i64,
    /// Plaintext bytes.
    pub bytes: u64,
    /// BLAKE3 of the signed manifest, in hex; `None` where it was only listed.
    pub manifest_hash: Option<String>,
}
