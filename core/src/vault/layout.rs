//! The layout of a vault, by its setting `mode`: which bucket holds a container, which keys its data has, what versioning
//! a bucket needs, what a reply must carry, and what `vault.json` says of it. Nothing outside of this file asks for the
//! mode.
//!
//! Built today: `single-bucket`, one bucket whose own versions are the vault's.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::locator::DataKeys;
use super::names::Name;
use super::objects::{data_key, extent_prefix};
use super::vid::Vid;
use crate::account::{Account, Bucket};
use crate::error::{Code, Error, Result};
use crate::op::BucketVersioning;
use crate::settings::Settings;

/// Where a vault keeps its objects.
#[derive(Debug)]
pub(crate) struct Layout {
    bucket: Arc<Bucket>,
    leading_slash: bool,
}

impl Layout {
    /// The layout that the settings describe.
    pub(crate) fn from_settings(settings: &Settings, account: &Arc<Account>) -> Result<Layout> {
        let leading_slash = settings.flag("leading_slash");
        if leading_slash && !account.profile().leading_slash {
            let why = format!("leading_slash = true: {} drops a '/' at the start of a key", account.profile().name);
            return Err(Error::new(Code::InvalidOption, why).with_hint("Remove leading_slash."));
        }
        let bucket = Arc::new(Bucket::new(account, settings.required("bucket")?)?);
        Ok(Layout { bucket, leading_slash })
    }

    /// What `vault.json` says.
    pub(crate) fn name(&self) -> &'static str {
        "single-bucket"
    }

    /// The vault's id where none is set.
    pub(crate) fn default_vault_id(&self) -> String {
        hex::encode(&Sha256::digest(format!("s3vault/1\0{}", self.bucket.name()))[..16])
    }

    /// The bucket that holds everything of a container.
    pub(crate) fn bucket(&self, _container: &str) -> &Arc<Bucket> {
        &self.bucket
    }

    /// The bucket that a vault is opened with, and that lists its containers.
    pub(crate) fn home(&self) -> &Arc<Bucket> {
        &self.bucket
    }

    /// The keys of a version's data objects.
    pub(crate) fn data_keys(&self, name: &Name, vid: Vid) -> DataKeys {
        DataKeys { first: data_key(name, self.leading_slash), next: extent_prefix(name, vid, self.leading_slash) }
    }

    /// Refuses a bucket whose versioning does not fit.
    pub(crate) fn check_versioning(&self, bucket: &Bucket, status: BucketVersioning) -> Result<()> {
        let what = match status {
            BucketVersioning::Enabled => return Ok(()),
            BucketVersioning::Off => "has no versioning",
            BucketVersioning::Suspended => "has versioning suspended",
        };
        let why =
            format!("bucket {} {what}, but mode {} keeps versions as the bucket's own", bucket.name(), self.name());
        Err(Error::new(Code::Versioning, why).on("GetBucketVersioning", bucket.name(), ""))
    }

    /// Refuses a reply to the request that stored an object, where it lacks what this layout needs.
    pub(crate) fn check_stored(&self, bucket: &Bucket, key: &str, version_id: Option<&str>) -> Result<()> {
        match version_id {
            Some(id) if id != "null" => Ok(()),
            _ => {
                let why = format!("the store accepted s3://{}/{key} but returned no version id", bucket.name());
                Err(Error::new(Code::Versioning, why))
            }
        }
    }
}
