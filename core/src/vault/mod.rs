//! The vault: names, the objects that it keeps beside the data, and the protocols that write and read them.

pub mod adopt;
pub mod adopted;
pub mod chain;
pub mod closed;
pub mod delete;
pub(crate) mod encryption;
pub mod find;
mod identify;
pub mod immutable;
pub mod init;
pub mod job;
pub mod labels;
mod layout;
pub mod list;
pub mod locator;
pub mod manifest;
pub mod marker;
pub mod names;
mod needed;
pub mod objects;
mod offline;
pub mod open;
mod proof;
pub mod put;
pub mod read;
pub mod retention;
pub mod retire;
pub mod signed;
mod standing;
mod stored;
pub mod uploads;
pub mod verify;
pub mod vid;
mod walk;

use std::sync::Arc;

pub use adopt::{Adopt, AdoptRequest, CustomerKeys};
pub use adopted::Adopted;
pub use chain::Chain;
pub use delete::{DeleteVersion, Remove, Undelete};
pub use find::{Find, Found, Selector};
pub use init::{Init, Initialized};
pub use job::{Job, JobRequest, RekeyRequest, Report};
pub use labels::Labels;
pub use list::{Cursor, ListPage, Query, Scope};
pub use manifest::Manifest;
pub use names::Name;
pub use objects::{Kind, RowKey};
pub use offline::OfflineVersion;
pub use open::Open;
pub use put::{Put, PutRequest};
pub use read::{Locate, Located, Read};
pub use retire::{Retire, Retired};
pub use uploads::{UploadCursor, UploadsPage};
pub use verify::{Sample, Verdict, Verified, Verify};
pub use vid::{Vid, VidPrefix};

use crate::account::{Account, Bucket};
use crate::crypto::keyring::{Keyring, SigningKey, VerifyKeys};
use crate::error::{Code, Error, Result};
use crate::journal::JournalKey;
use crate::settings::Settings;
use crate::text::{presentable, presentable_key};
use encryption::Encryption;
use immutable::Immutable;
use layout::Layout;
use manifest::Opened;

/// A version, as a listing or a manifest shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Full, incremental, or deleted; `None` in a listing of containers or uploads.
    pub kind: Option<Kind>,
    /// The container.
    pub container: String,
    /// The path; empty in a listing of containers.
    pub path: String,
    /// The version id; empty in a listing of containers.
    pub vid: String,
    /// The version that an incremental builds on.
    pub parent: Option<String>,
    /// Start of the put, in Unix milliseconds of the store's clock: the version id's time, which may run ahead, or the
    /// recorded time, which never does, whichever is earlier. The manifest has the exact instant.
    pub initiated_ms: i64,
    /// The instant that identifies the version for people: start or end of the put, as the vault is configured.
    pub recorded_ms: i64,
    /// Size in plaintext bytes.
    pub bytes: u64,
    /// BLAKE3 of the signed manifest, in hex; `None` in a listing.
    pub manifest_hash: Option<String>,
    /// Id of the trusted key that signed the manifest; `None` in a listing, and where the vault has no trusted key, so
    /// that no signature was checked.
    pub signed_by: Option<String>,
    /// Id of the multipart upload, in a listing of uploads; `None` in any other. Such a row has no kind.
    pub upload_id: Option<String>,
    /// The labels that the put chose; `None` in a listing.
    pub labels: Option<Labels>,
}

/// Maximum size in bytes of the vault's own objects that are read. A manifest of 10,000 parts has about 1.5 MB, that of
/// a stream of 49 TiB in parts of 64 MiB about 100 MB.
const OBJECT_LIMIT: usize = 256 << 20;

/// Whether a text has the form of a vault's id.
fn is_vault_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The id of the vault that these settings describe.
pub fn vault_id(settings: &Settings) -> Result<String> {
    match settings.text("vault_id") {
        "" if settings.text("mode") == "bucket-per-vm" => Ok(layout::vault_id_of(settings.required("bucket_prefix")?)),
        "" => Ok(layout::vault_id_of(settings.required("bucket")?)),
        id if is_vault_id(id) => Ok(id.to_owned()),
        id => {
            let why = format!("vault_id = '{id}': 32 lower-case hex digits expected");
            Err(Error::new(Code::InvalidOption, why))
        }
    }
}

/// A vault, as its configuration describes it; shared by all machines that work on it.
#[derive(Debug)]
pub struct Vault {
    layout: Layout,
    id: String,
    record_after_store: bool,
    parallel_download: bool,
    storage_class: Option<String>,
    encryption: Encryption,
    /// How long what a put stores cannot be deleted.
    immutable: Option<Immutable>,
    keyring: Option<Arc<Keyring>>,
    verify_keys: VerifyKeys,
    vid_clock: vid::Clock,
    /// What was verified of that which hides versions.
    proven: marker::Proven,
    /// Without a trusted key nothing is read.
    requires_trust: bool,
}

impl Vault {
    /// A vault from settings, the store that was made from them, and a keyring. Without a keyring nothing is signed.
    pub fn new(settings: &Settings, account: &Arc<Account>, keyring: Option<Arc<Keyring>>) -> Result<Vault> {
        settings.only(crate::settings::Scope::Vault)?;
        let layout = Layout::from_settings(settings, account)?;
        let id = vault_id(settings)?;
        let mut verify_keys = VerifyKeys::parse(settings.text("verify_keys"))?;
        if let Some(keyring) = &keyring {
            verify_keys.add(keyring.signing_key().public().clone());
            keyring.earlier().iter().for_each(|key| verify_keys.add(key.clone()));
        }
        let storage_class = settings.text("storage_class");
        if !storage_class.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = format!("storage_class = '{storage_class}' is not the name of a storage class");
            return Err(Error::new(Code::InvalidOption, why)
                .with_hint("Use a name of the store, for example STANDARD_IA, or leave storage_class empty."));
        }
        Ok(Vault {
            id,
            record_after_store: settings.flag("record_after_store"),
            parallel_download: settings.flag("parallel_download"),
            storage_class: (!storage_class.is_empty()).then(|| storage_class.to_owned()),
            encryption: Encryption::from_settings(settings)?,
            immutable: Immutable::from_settings(settings, &layout)?,
            layout,
            keyring,
            verify_keys,
            vid_clock: vid::Clock::default(),
            proven: marker::Proven::default(),
            requires_trust: settings.text("trust") == "required",
        })
    }

    /// Its id: 32 lower-case hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of the bucket that holds everything of a container.
    pub fn bucket_name(&self, container: &str) -> String {
        self.bucket(container).name().to_owned()
    }

    /// The account that its buckets are accessed with.
    pub fn account(&self) -> &Arc<Account> {
        self.layout.home().account()
    }

    /// The bucket that the vault was opened with; if each container has its own, the account without a bucket.
    pub fn home(&self) -> &Arc<Bucket> {
        self.layout.home()
    }

    /// Whether each container has a bucket of its own.
    pub fn has_bucket_per_container(&self) -> bool {
        self.layout.single().is_none()
    }

    /// The bucket that holds everything of a container.
    pub(crate) fn bucket(&self, container: &str) -> Arc<Bucket> {
        self.layout.place(container).bucket.clone()
    }

    /// The key of the vault's checkpoints: other processes of its owner have it too. A vault without a keyring has no
    /// secret that lasts, since access keys are rotated and expire.
    pub fn checkpoint_key(&self) -> JournalKey {
        self.signing_key().map_or_else(|| JournalKey::derive(b""), SigningKey::checkpoint_key)
    }

    fn signing_key(&self) -> Option<&SigningKey> {
        self.keyring.as_deref().map(Keyring::signing_key)
    }

    /// Returns the JSON of a signed object that was found at `key`, and the id of the key that signed it. A vault without
    /// trusted keys accepts every object and verifies nothing, unless `trust = required`; one with trusted keys accepts
    /// only objects that one of them signed.
    fn open_signed<'a>(&self, bucket: &Bucket, object: &'a [u8], key: &str) -> Result<(&'a [u8], Option<&'a str>)> {
        let on = |e: Error| {
            e.context(format_args!("s3://{}/{}", bucket.name(), presentable_key(key))).on(
                "GetObject",
                bucket.name(),
                key,
            )
        };
        if self.verify_keys.is_empty() {
            self.check_trust()?;
            return signed::json(object).map(|json| (json, None)).map_err(on);
        }
        let (json, key_id) = signed::open_signed(object, &self.verify_keys).map_err(on)?;
        Ok((json, Some(key_id)))
    }

    /// Refuses to read in a vault that must know a trusted key and has none.
    fn check_trust(&self) -> Result<()> {
        if !self.requires_trust || !self.verify_keys.is_empty() {
            return Ok(());
        }
        let why = "trust = required, but this vault knows no public key, so no signature can be verified";
        Err(Error::new(Code::InvalidOption, why).with_hint(
            "Open the vault with the keyring of those who store the backups, or set verify_keys to its public key, which 's3vault keys public FILE' prints there.",
        ))
    }

    /// Refuses an object of another vault.
    fn check_vault(&self, bucket: &Bucket, key: &str, vault: &str) -> Result<()> {
        if vault == self.id {
            return Ok(());
        }
        let why = format!(
            "s3://{}/{} belongs to vault {}, but this is vault {}",
            bucket.name(),
            presentable_key(key),
            presentable(vault),
            self.id
        );
        Err(Error::new(Code::Untrusted, why)
            .with_hint("If you renamed or copied the bucket yourself, set vault_id; otherwise do not trust this object, and look who can write to the bucket."))
    }

    fn open_manifest(&self, bucket: &Bucket, object: &[u8], key: &str) -> Result<Opened> {
        let (json, signed_by) = self.open_signed(bucket, object, key)?;
        let manifest = Manifest::parse(json, Some(key))?;
        self.check_vault(bucket, key, &manifest.vault)?;
        Ok(Opened { manifest, hash: manifest::hash(object), signed_by: signed_by.map(str::to_owned) })
    }
}

#[cfg(test)]
pub(crate) mod tests;
