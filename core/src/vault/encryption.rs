//! How the data of versions is encrypted: the setting `encryption`, and what a locator and a manifest say of it.

use super::immutable::Lock;
use super::locator::Locator;
use super::names::Name;
use super::vid::Vid;
use super::{Manifest, Vault};
use crate::crypto::data_key::{Belonging, DataKey, WrappedKey, unknown_kek};
use crate::crypto::keyring::Kek;
use crate::error::{Code, Error, Result};
use crate::op;
use crate::settings::Settings;
use crate::text::presentable;
use crate::transfer::stored_form::StoredForm;

/// How the data of a version is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// As the store does by default.
    #[default]
    None,
    /// By the store, with the version's data key.
    SseC,
    /// Here, with the version's data key.
    Envelope,
    /// By the store, with keys that it manages.
    SseS3,
    /// By the store, with a key of the key management service.
    SseKms { key_id: Option<String> },
}

impl Encryption {
    /// What new versions get.
    pub(crate) fn from_settings(settings: &Settings) -> Result<Encryption> {
        let key_id = settings.text("sse_kms_key");
        let encryption = Encryption::parse(settings.text("encryption")).unwrap_or_default();
        match (encryption, key_id) {
            (Encryption::SseKms { .. }, id) => {
                Ok(Encryption::SseKms { key_id: (!id.is_empty()).then(|| id.to_owned()) })
            }
            (encryption, "") => Ok(encryption),
            (encryption, _) => {
                let why = format!("sse_kms_key is set, but encryption = {}", encryption.name());
                Err(Error::new(Code::InvalidOption, why).with_hint("Set encryption = sse-kms, or remove sse_kms_key."))
            }
        }
    }

    /// The encryption with this name.
    pub(crate) fn parse(name: &str) -> Option<Encryption> {
        Some(match name {
            "none" => Encryption::None,
            "sse-c" => Encryption::SseC,
            "envelope" => Encryption::Envelope,
            "sse-s3" => Encryption::SseS3,
            "sse-kms" => Encryption::SseKms { key_id: None },
            _ => return None,
        })
    }

    /// Its name, in settings and on the store.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Encryption::None => "none",
            Encryption::SseC => "sse-c",
            Encryption::Envelope => "envelope",
            Encryption::SseS3 => "sse-s3",
            Encryption::SseKms { .. } => "sse-kms",
        }
    }

    /// Whether each version has a data key, which its locator holds wrapped.
    pub(crate) fn has_data_key(&self) -> bool {
        matches!(self, Encryption::SseC | Encryption::Envelope)
    }

    /// The form in which the data is stored.
    pub(crate) fn form(&self) -> StoredForm {
        StoredForm::of_encryption(self.name())
    }

    /// What requests for data objects say of it.
    pub(crate) fn of_data(&self, key: Option<&DataKey>) -> op::Encryption {
        match (self, key) {
            (Encryption::SseC, Some(key)) => op::Encryption::SseC(op::CustomerKey::new(*key.bytes())),
            _ => self.of_objects(),
        }
    }

    /// What requests for the vault's other objects say of it: the store needs no key to read them.
    pub(crate) fn of_objects(&self) -> op::Encryption {
        match self {
            Encryption::SseS3 => op::Encryption::SseS3,
            Encryption::SseKms { key_id } => op::Encryption::SseKms { key_id: key_id.clone() },
            Encryption::None | Encryption::SseC | Encryption::Envelope => op::Encryption::BucketDefault,
        }
    }

    /// The encryption that an object of the vault names. It must have a wrapped key exactly if it has a data key.
    pub(crate) fn named(name: &str, wrapped: Option<&WrappedKey>) -> Result<Encryption> {
        let Some(encryption) = Encryption::parse(name) else {
            let why = format!("the data is encrypted with '{}', which this version cannot read", presentable(name));
            return Err(Error::new(Code::Unsupported, why));
        };
        let why = match (encryption.has_data_key(), wrapped) {
            (true, None) => format!("its encryption is {name}, but it has no wrapped key"),
            (false, Some(_)) => format!("its encryption is {name}, but it has a wrapped key"),
            _ => return Ok(encryption),
        };
        Err(Error::new(Code::Format, format!("the object is not valid: {why}")))
    }
}

impl Vault {
    /// How the data of new versions is encrypted.
    pub(crate) fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// The key-encryption key that wraps data keys from now on.
    pub(crate) fn current_kek(&self) -> Result<&Kek> {
        self.keyring.as_deref().and_then(|keyring| keyring.current_kek()).ok_or_else(|| {
            let why = match &self.keyring {
                Some(keyring) if !keyring.keks().is_empty() => {
                    return Error::new(Code::Keyring, "no key-encryption key of the keyring is current").with_hint(
                        "If the vault's key is in a KMS or an HSM, open the vault with the keyring that s3v_keyring_custom makes. Otherwise make a key current: s3vault keys activate FILE ID",
                    );
                }
                Some(_) => "the keyring has no key-encryption key",
                None => "the vault was opened without a keyring, so it has no key-encryption key",
            };
            Error::new(Code::Keyring, why).with_hint(
                "Open the vault with a keyring, which 's3vault keys new FILE' creates. A keyring from before encryption gets its first key with 's3vault keys rotate FILE'.",
            )
        })
    }

    /// Refuses to store what cannot be encrypted as the settings say.
    pub(crate) fn check_may_encrypt(&self) -> Result<()> {
        if !self.encryption.has_data_key() {
            return Ok(());
        }
        let what = format!("encryption = {}", self.encryption.name());
        self.current_kek().map(|_| ()).map_err(|e| e.context(what))
    }

    /// Whether backups that are stored have data keys, which the current key-encryption key wraps.
    pub fn wraps_data_keys(&self) -> bool {
        self.encryption.has_data_key()
    }

    /// What a caller should know before data keys are wrapped: the key for that is nowhere but in the keyring.
    pub fn escrow_warning(&self) -> Option<String> {
        let kek = self.current_kek().ok().filter(|kek| !kek.is_escrowed())?;
        Some(format!(
            "the key-encryption key {} was never exported: if the keyring is lost, nobody can read the backups whose keys it wraps. Export it to an escrow file, and keep that elsewhere: s3vault keys export FILE OUT",
            kek.id()
        ))
    }

    /// Wraps the data key of a version with the current key-encryption key.
    pub(crate) fn wrap(&self, name: &Name, vid: Vid, encryption: &Encryption, key: &DataKey) -> Result<WrappedKey> {
        let (kek, vid) = (self.current_kek()?, vid.to_string());
        WrappedKey::wrap(key, kek, &self.belonging(name.container(), name.path(), &vid, encryption))
    }

    /// The data key of a version (SSE-C) that is re-keyed under this key-encryption key.
    pub(crate) fn rekeyed_key(&self, kek: &Kek, name: &Name, vid: Vid, generation: u32) -> Result<DataKey> {
        let vid = vid.to_string();
        DataKey::rekeyed(kek, &self.belonging(name.container(), name.path(), &vid, &Encryption::SseC), generation)
    }

    /// The data key that a locator has, if it has one.
    pub(crate) fn data_key(&self, locator: &Locator) -> Result<Option<DataKey>> {
        let Some(wrapped) = &locator.wrapped else { return Ok(None) };
        let name = (&*locator.container, &*locator.path, &*locator.vid);
        self.unwrap(name, &locator.encryption()?, wrapped).map(Some)
    }

    /// What requests for the data of a version say of its encryption: its key, if it is one of SSE-C that the keyring opens.
    pub(crate) fn access(
        &self,
        name: (&str, &str, &str),
        encryption: Result<Encryption>,
        wrapped: Option<&WrappedKey>,
    ) -> op::Encryption {
        match (encryption, wrapped) {
            (Ok(encryption @ Encryption::SseC), Some(wrapped)) => {
                let key = self.unwrap(name, &encryption, wrapped).ok();
                encryption.of_data(key.as_ref())
            }
            _ => op::Encryption::BucketDefault,
        }
    }

    /// The same, by its locator.
    pub(crate) fn access_by_locator(&self, locator: &Locator) -> op::Encryption {
        let name = (&*locator.container, &*locator.path, &*locator.vid);
        self.access(name, locator.encryption(), locator.wrapped.as_ref())
    }

    /// The same, by its manifest, which has the data key as it was wrapped first.
    pub(crate) fn access_by_manifest(&self, manifest: &Manifest) -> op::Encryption {
        let name = (&*manifest.container, &*manifest.path, &*manifest.vid);
        self.access(name, manifest.encryption(), manifest.wrapped.as_ref())
    }

    /// Whether what is stored from now on is locked.
    pub(crate) fn locks(&self) -> bool {
        self.immutable.is_some()
    }

    /// The headers that lock an object until this time.
    pub(crate) fn lock_headers(&self, until: i64) -> Vec<(String, String)> {
        let lock = self.immutable.map(|immutable| Lock { until, ..immutable.from(until) });
        lock.iter().flat_map(|lock| lock.headers()).collect()
    }

    /// Unwraps the data key of a version.
    pub(crate) fn unwrap(
        &self,
        (container, path, vid): (&str, &str, &str),
        encryption: &Encryption,
        wrapped: &WrappedKey,
    ) -> Result<DataKey> {
        let Some(keyring) = &self.keyring else {
            let why =
                format!("version {vid} of {container} {path} is encrypted, and the vault was opened without a keyring");
            return Err(Error::new(Code::WrongKey, why));
        };
        let kek =
            keyring.kek(&wrapped.kek).ok_or_else(|| unknown_kek(&wrapped.kek, keyring.is_retired(&wrapped.kek)))?;
        wrapped.unwrap(kek, &self.belonging(container, path, vid, encryption))
    }

    fn belonging<'a>(
        &'a self,
        container: &'a str,
        path: &'a str,
        vid: &'a str,
        encryption: &Encryption,
    ) -> Belonging<'a> {
        Belonging { vault: &self.id, container, path, vid, encryption: encryption.name() }
    }
}
