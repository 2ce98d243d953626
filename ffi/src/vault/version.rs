//! A version that was found or just stored.

use std::path::Path;
use std::sync::Arc;

use s3vault_core::Result;
use s3vault_core::settings::Settings;
use s3vault_core::vault::{Found, Manifest, Read, Row};

use super::{Get, Vault, restore};
use crate::control::Control;
use crate::entropy;

/// A version, its manifest verified. Clones are the same version; it keeps its vault alive.
#[derive(Clone)]
pub struct Version(Arc<Inner>);

struct Inner {
    vault: Vault,
    manifest: Arc<Manifest>,
    row: Row,
    object: Vec<u8>,
}

impl Version {
    pub(super) fn new(vault: &Vault, found: Found) -> Version {
        let Found { manifest, row, object } = found;
        Version(Arc::new(Inner { vault: vault.clone(), manifest: Arc::new(manifest), row, object }))
    }

    /// As a listing shows it, with the manifest's hash.
    pub fn row(&self) -> &Row {
        &self.0.row
    }

    /// The signed manifest as it is stored.
    pub fn object(&self) -> &[u8] {
        &self.0.object
    }

    /// Begins to read it, from its begin to its end.
    pub fn open(&self, options: &Settings, control: &mut Control<'_>) -> Result<Get> {
        options.only_keys(&[])?;
        Get::open(&self.0.vault, self.machine()?, control)
    }

    /// Restores it into a file: written beside its name, and renamed when all of it was verified. A block device is
    /// written in place.
    pub fn restore(&self, file: &Path, options: &Settings, control: &mut Control<'_>) -> Result<()> {
        options.only_keys(&[])?;
        restore::restore(self, file, control)
    }

    pub(super) fn machine(&self) -> Result<Read> {
        Read::new(self.0.vault.0.vault.clone(), self.0.manifest.clone(), entropy::seed()?)
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.0.vault
    }
}
