//! A version that was found or just stored.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use s3vault_core::Result;
use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::settings::{Call, Settings};
use s3vault_core::transfer::{Delivery, ReadRequest};
use s3vault_core::vault::read::Locate;
use s3vault_core::vault::{Chain, Found, Kind, Manifest, Read, Row};

use super::{Get, List, Vault, restore};
use crate::control::Control;
use crate::driver::{self, Host};
use crate::entropy;

/// Memory of all transfers; a reader that verifies whole parts may use a quarter of it.
const MEMORY: u64 = 256 << 20;

/// A version whose manifest was verified. Clones share the same version; it keeps its vault alive.
#[derive(Clone)]
pub struct Version(Arc<Inner>);

struct Inner {
    vault: Vault,
    manifest: Arc<Manifest>,
    row: Row,
    object: Bytes,
}

impl Version {
    pub(super) fn new(vault: &Vault, found: Found) -> Version {
        let Found { manifest, row, object } = found;
        Version(Arc::new(Inner { vault: vault.clone(), manifest: Arc::new(manifest), row, object }))
    }

    /// Its description, as in a listing, with the manifest's hash.
    pub fn row(&self) -> &Row {
        &self.0.row
    }

    /// The signed manifest as it is stored.
    pub fn object(&self) -> &[u8] {
        &self.0.object
    }

    /// Lists what has to be restored for this version, in order: the full backup, then each incremental up to this one.
    /// Each manifest is verified. A version that is deleted but still needed is part of it; one that is missing is an error
    /// that names it ([`Code::DataMissing`](s3vault_core::Code::DataMissing)).
    ///
    /// A full backup needs no request, an incremental one LIST and a GET for each of its ancestors.
    pub fn chain(&self, control: &mut Control<'_>) -> Result<List> {
        let chain = Chain::new(self.core(), &self.0.manifest, self.0.row.clone(), entropy::seed()?)?;
        Ok(List::of_rows(&self.0.vault, driver::run(self.host(), chain, control)?))
    }

    /// Says that an incremental needs others.
    fn log_parent(&self, control: &mut Control<'_>) -> Result<()> {
        let Row { kind: Some(Kind::Inc), vid, parent: Some(parent), .. } = &self.0.row else { return Ok(()) };
        control.log(&format!(
            "version {vid} is incremental: it needs version {parent}, and all that this one builds on. Its chain lists them in the order to restore them in"
        ))
    }

    /// Its data key, which is secret: with it anyone who can read the data can decrypt it. `None`: it has none. It
    /// sends a LIST and a GET.
    pub fn data_key(&self, control: &mut Control<'_>) -> Result<Option<DataKey>> {
        let locate = Locate::new(self.core(), self.0.manifest.clone(), entropy::seed()?)?;
        Ok(driver::run(self.host(), locate, control)?.data_key().cloned())
    }

    /// Opens it for reading, as a stream or at any position. Options: `verify`. An incremental logs which
    /// parent it needs.
    pub fn open(&self, options: &Settings, control: &mut Control<'_>) -> Result<Get> {
        options.only_for(Call::Get)?;
        self.log_parent(control)?;
        let delivery = match options.text("verify") {
            "part" => Delivery::WholeParts { memory: MEMORY / 4 },
            _ => Delivery::InOrder,
        };
        Ok(Get::new(self, delivery))
    }

    /// Restores it into a file, which is written under another name and renamed when all of it was verified. A block
    /// device is written in place, a pipe in order. Options: `verify` (for a pipe), `holes`.
    pub fn restore(&self, file: &Path, options: &Settings, control: &mut Control<'_>) -> Result<()> {
        options.only_for(Call::Restore)?;
        self.log_parent(control)?;
        control.one_call(|control| restore::restore(self, file, options, control))
    }

    /// Restores it into an open file, from its start, or into a pipe, in order. Options: `verify` (for a pipe),
    /// `holes`.
    pub fn restore_fd(&self, fd: BorrowedFd<'_>, options: &Settings, control: &mut Control<'_>) -> Result<()> {
        options.only_for(Call::Restore)?;
        self.log_parent(control)?;
        control.one_call(|control| restore::restore_fd(self, fd, options, control))
    }

    pub(super) fn machine(&self, request: ReadRequest) -> Result<Read> {
        Read::new(self.core(), self.0.manifest.clone(), request, entropy::seed()?)
    }

    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        &self.0.manifest
    }

    /// What machines need to know of its vault.
    pub(super) fn core(&self) -> Arc<s3vault_core::vault::Vault> {
        self.0.vault.0.vault.clone()
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.0.vault
    }

    pub(super) fn host(&self) -> &Host {
        &self.0.vault.0.client.host
    }
}
