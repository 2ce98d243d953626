//! Deletions that somebody asks for: *rm*, *undelete* and *delete a version* of docs/protocol.md. Each of them only writes
//! one small object; `prune` and `sweep` free the space later (`job`).

pub(super) mod newest;
pub mod rm;
pub mod undelete;
pub mod version;

pub use rm::Remove;
pub use undelete::Undelete;
pub use version::DeleteVersion;

use super::objects::{CatalogueKey, Entry, catalogue_prefix};
use super::proof::Claim;
use super::{Name, Vault};
use crate::error::{Code, Error, Result};
use crate::op::Listing;

/// An object of the catalogue, as a page lists it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) entry: Entry,
}

impl Seen {
    /// The object, to be proven.
    pub(super) fn claim(&self) -> Claim {
        Claim { key: self.key.clone(), size: self.size }
    }
}

/// The objects of a page that belong to the catalogue.
pub(crate) fn seen(page: Listing) -> impl Iterator<Item = Seen> {
    page.objects.into_iter().filter_map(|object| {
        let entry = CatalogueKey::parse(&object.key)?.entry;
        Some(Seen { entry, key: object.key, size: object.size })
    })
}

/// Refuses to write in a vault that trusts keys and has none to sign with: what it wrote would be ignored.
pub(crate) fn check_may_sign(vault: &Vault) -> Result<()> {
    if vault.verify_keys.is_empty() || vault.signing_key().is_some() {
        return Ok(());
    }
    let why = "this vault trusts public keys (verify_keys), but has no keyring to sign a deletion with";
    Err(Error::new(Code::Keyring, why).with_hint("Open the vault with the keyring of those who store the backups."))
}

/// What a newest entry says of a backup.
pub(crate) fn not_found(vault: &Vault, name: &Name, why: &str) -> Error {
    let bucket = vault.bucket(name.container());
    let why = format!("{why} {} {} in bucket {}", name.container(), name.path(), bucket.name());
    Error::new(Code::NotFound, why).on("ListObjectsV2", bucket.name(), &catalogue_prefix(name))
}
