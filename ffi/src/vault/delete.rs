//! Deletions: of a backup, which can be taken back, and of a version. Nothing is freed before a later prune or sweep.

use s3vault_core::Result;
use s3vault_core::settings::{Call, Settings};
use s3vault_core::vault::{DeleteVersion, Init, Initialized, Name, Remove, Row, Undelete};

use super::{Vault, Version};
use crate::control::Control;
use crate::transport::clock;
use crate::{driver, entropy};

impl Vault {
    /// Makes the vault: checks the bucket's versioning, and writes the vault's description unless it is there. The first
    /// put does the same. A vault with a bucket for each container has nothing to make yet.
    pub fn init(&self, control: &mut Control<'_>) -> Result<Initialized> {
        driver::run(&self.0.client.host, Init::new(self.0.vault.clone(), entropy::seed()?), control)
    }

    /// Hides a backup: it has no newest version any more, and its versions are no longer listed as current. Nothing is
    /// freed, older versions can be found by their id or by time, and [`undelete`](Vault::undelete) takes it back.
    /// Returns the version of kind [`Del`](super::Kind::Del) that records the deletion.
    pub fn delete(&self, container: &str, path: &str, control: &mut Control<'_>) -> Result<Version> {
        let name = Name::new(container, path)?;
        let remove = Remove::new(self.0.vault.clone(), name, entropy::bytes()?, entropy::seed()?);
        Ok(Version::new(self, driver::run(&self.0.client.host, remove, control)?))
    }

    /// Takes the newest deletion of a backup back. Returns the version that is the newest now.
    pub fn undelete(&self, container: &str, path: &str, control: &mut Control<'_>) -> Result<Version> {
        control.one_call(|control| {
            let undelete = Undelete::new(self.0.vault.clone(), Name::new(container, path)?, entropy::seed()?);
            driver::run(&self.0.client.host, undelete, control)?;
            self.find(container, path, &Settings::new(), control)
        })
    }
}

impl Version {
    /// Deletes this version: it is hidden at once, and its space is freed by a prune or a sweep once its marker is half
    /// an hour old. A version on which another depends is refused
    /// ([`Code::HasDependents`](s3vault_core::Code::HasDependents)), as is one with the label `hold` or under a lock
    /// ([`Code::Held`](s3vault_core::Code::Held)).
    pub fn delete(&self, options: &Settings, control: &mut Control<'_>) -> Result<()> {
        options.only_for(Call::Delete)?;
        let delete = DeleteVersion::new(self.core(), self.manifest(), clock::now().unix_ms, entropy::seed()?)?;
        driver::run(self.host(), delete, control)?;
        let Row { container, path, vid, .. } = self.row().clone();
        self.vault().note_deleted(vec![(container, path, vid)], control);
        Ok(())
    }
}
