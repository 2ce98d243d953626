//! Escrow files: a copy of the keyring for an emergency, as an age file (<https://age-encryption.org/v1>) in ASCII
//! armor, which any age tool opens, with a passphrase or with the identity of a recipient. What is inside is the JSON
//! of [`s3vault_core::crypto::escrow`].

use s3vault_core::crypto::age;
use s3vault_core::crypto::escrow::Escrow;
use s3vault_core::crypto::keyring::{Kek, Keyring, Merged, VerifyKeys};
use s3vault_core::settings::{self, Settings};
use s3vault_core::{Result, vault};

use crate::entropy;

pub use age::Reader;

/// The escrow of a keyring, whose KEKs must be marked as escrowed, with what the settings tell of the vault. In it, the
/// newest KEK is current: a KEK is exported before it becomes current, and who restores the keyring must not get the one
/// that it replaced. It names external KEKs, but cannot have them; if one is current, no KEK is current in it.
pub(super) fn describe(keyring: &Keyring, settings: Option<&Settings>, created_ms: i64) -> Result<Escrow> {
    let own = std::iter::once(keyring.signing_key().public()).chain(keyring.earlier());
    let mut copy = Keyring::from_bytes(&keyring.to_bytes())?;
    let is_external = keyring.current_kek().is_some_and(Kek::is_external);
    let newest = copy.keks().iter().max_by_key(|kek| kek.created_ms()).map(|kek| kek.id().to_owned());
    if let Some(newest) = newest.filter(|_| !is_external) {
        copy.activate(&newest)?;
    }
    let external = keyring.keks().iter().filter(|kek| kek.is_external());
    let mut escrow = Escrow {
        created_ms,
        keyring: copy,
        external: external.map(|kek| kek.id().to_owned()).collect(),
        verify_keys: own.cloned().collect(),
        vault_id: None,
        settings: Default::default(),
    };
    if let Some(settings) = settings {
        let trusted = VerifyKeys::parse(settings.text("verify_keys"))?;
        let own = escrow.verify_keys.clone();
        escrow.verify_keys.extend(trusted.iter().filter(|key| !own.contains(key)).cloned());
        escrow.vault_id = Some(vault::vault_id(settings)?);
        let is_public = |key: &str| settings::option(key).is_ok_and(|option| !option.secret);
        let public = settings.shown().filter(|(key, _)| is_public(key));
        escrow.settings = public.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    }
    Ok(escrow)
}

/// The escrow as an age file in ASCII armor.
pub(super) fn lock(escrow: &Escrow, reader: &Reader) -> Result<Vec<u8>> {
    age::encrypt(&escrow.to_bytes()?, reader, &mut entropy::fill)
}

/// What an import found, as JSON.
pub(super) fn report_json(escrow: &Escrow, merged: &Merged) -> String {
    let verify_keys: Vec<String> = escrow.verify_keys.iter().map(ToString::to_string).collect();
    serde_json::json!({
        "added": merged.added, "left_out": merged.left_out, "external": escrow.external, "vault_id": escrow.vault_id,
        "verify_keys": verify_keys, "settings": escrow.settings,
    })
    .to_string()
}
