//! The modes of a vault: what each is configured with, and the buckets that it needs.

use std::sync::Arc;

use s3_model::Versioning;
use s3vault_core::Result;
use s3vault_core::account::Account;
use s3vault_core::credentials::Credentials;
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::profile::Profile;
use s3vault_core::settings::Settings;
use s3vault_core::vault::Vault;

use crate::store::{BUCKET, URL};

/// How a vault keeps its backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One bucket with versioning.
    #[default]
    Native,
    /// One bucket without versioning.
    Emulated,
    /// A bucket with versioning for each container.
    PerVmNative,
    /// A bucket without versioning for each container.
    PerVmEmulated,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 4] = [Mode::Native, Mode::Emulated, Mode::PerVmNative, Mode::PerVmEmulated];

    /// Whether each container has a bucket of its own.
    pub fn is_per_vm(self) -> bool {
        matches!(self, Mode::PerVmNative | Mode::PerVmEmulated)
    }

    /// The versioning of its buckets.
    pub fn versioning(self) -> Versioning {
        match self {
            Mode::Native | Mode::PerVmNative => Versioning::Enabled,
            Mode::Emulated | Mode::PerVmEmulated => Versioning::Off,
        }
    }

    /// The mode with the same buckets and the other kind of versions.
    #[must_use]
    pub fn other_versions(self) -> Mode {
        match self {
            Mode::Native => Mode::Emulated,
            Mode::Emulated => Mode::Native,
            Mode::PerVmNative => Mode::PerVmEmulated,
            Mode::PerVmEmulated => Mode::PerVmNative,
        }
    }

    /// What a vault of this mode is configured with.
    pub fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Mode::Native => &[("bucket", BUCKET)],
            Mode::Emulated => &[("bucket", BUCKET), ("mode", "single-bucket-no-versioning")],
            Mode::PerVmNative => &[("bucket_prefix", "vms-"), ("mode", "bucket-per-vm")],
            Mode::PerVmEmulated => {
                &[("bucket_prefix", "vms-"), ("mode", "bucket-per-vm"), ("per_vm_versioning", "emulated")]
            }
        }
    }

    /// A vault of this mode, as a new process opens it.
    pub fn vault<'a>(
        self,
        profile: Profile,
        keyring: &Arc<Keyring>,
        changes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Arc<Vault>> {
        let mut settings = Settings::new();
        let own = [("api_url", URL), ("access_key", "A0"), ("secret_key", "S")];
        for (key, value) in own.into_iter().chain(self.settings().iter().copied()).chain(changes) {
            settings.set(key, value)?;
        }
        let account = Account::from_settings(&settings, Credentials::from_settings(&settings)?)?;
        let account = Arc::new(account.with_profile(profile));
        Ok(Arc::new(Vault::new(&settings, &account, Some(keyring.clone()))?))
    }
}
