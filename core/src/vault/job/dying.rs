//! A version that is being removed: what is known of it, which keys are its own, and when its objects were written.

use super::report::Action;
use crate::mutation::{Mutation, is_active};
use crate::op::Encryption;
use crate::vault::locator::{Locator, parse_rekeyed};
use crate::vault::stored::Stored;
use crate::vault::{self, Adopted, Manifest, Vault, Vid};

/// `Last-Modified` and `Date` have whole seconds.
pub(super) const SECOND_MS: i64 = 1_000;

/// A version that is being removed.
pub(super) struct Dying {
    pub(super) vid: Vid,
    /// When its newest marker was written, by the store's clock.
    pub(super) marked_ms: i64,
    /// It has a row.
    pub(super) has_row: bool,
    pub(super) manifest: Option<Manifest>,
    pub(super) locator: Option<Locator>,
    /// Why it stays for now.
    pub(super) stays: Option<(Action, String)>,
    /// Its objects in the store.
    pub(super) objects: Vec<Stored>,
    /// Its uploads: key and upload id.
    pub(super) uploads: Vec<(String, String)>,
    pub(super) freed_bytes: u64,
}

impl Dying {
    pub(super) fn set_manifest(&mut self, manifest: Manifest) {
        self.manifest.get_or_insert(manifest);
    }

    /// Leaves the version as it is, for now.
    pub(super) fn stay(&mut self, action: Action, why: impl Into<String>) {
        self.stays.get_or_insert((action, why.into()));
    }

    pub(super) fn goes(&self) -> bool {
        self.stays.is_none()
    }

    /// What another program wrote: only the one object goes that its row names.
    pub(super) fn adopted(&self) -> Option<&Adopted> {
        let of_row = self.manifest.as_ref().and_then(|manifest| manifest.adopted.as_ref());
        of_row.or_else(|| self.locator.as_ref()?.adopted.as_ref())
    }

    /// What requests for its data say of its encryption.
    pub(super) fn access(&self, vault: &Vault) -> Encryption {
        match (&self.manifest, &self.locator) {
            (Some(manifest), None) => vault.access_by_manifest(manifest),
            (Some(_), Some(locator)) if self.is_locked_out(vault) => vault.access_by_locator(locator),
            (Some(manifest), Some(_)) => vault.access_by_manifest(manifest),
            (None, Some(locator)) => vault.access_by_locator(locator),
            (None, None) => Encryption::BucketDefault,
        }
    }

    /// Whether its row has the data key under a key-encryption key that is retired: then its locator has it, too.
    pub(super) fn is_locked_out(&self, vault: &Vault) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| {
            manifest.encryption().is_ok_and(|encryption| encryption == vault::encryption::Encryption::SseC)
                && vault.access_by_manifest(manifest).customer_key().is_none()
        })
    }

    /// Whether the store shows its data only with a key that the keyring does not have.
    pub(super) fn lacks_key(&self, vault: &Vault) -> bool {
        let encryption = match (&self.manifest, &self.locator) {
            (Some(manifest), _) => manifest.encryption(),
            (None, Some(locator)) => locator.encryption(),
            (None, None) => return false,
        };
        encryption == Ok(vault::encryption::Encryption::SseC) && self.access(vault).customer_key().is_none()
    }

    /// The key of its first data object when it was written; `None` if it has no data.
    pub(super) fn first_key(&self) -> Option<&str> {
        match (&self.manifest, &self.locator) {
            (Some(manifest), _) => manifest.extents.first().map(|extent| extent.key.as_str()),
            (None, Some(locator)) => Some(&locator.data.first),
            (None, None) => None,
        }
    }

    /// The key of its backup without the version, and whether its first object has that key.
    pub(super) fn plain_key(&self) -> Option<(&str, bool)> {
        let first = self.first_key()?;
        match (first.strip_suffix(&format!("@{}", self.vid)), parse_rekeyed(first, self.vid)) {
            (Some(plain), _) => Some((plain, false)),
            // Where its row is gone, nothing says any more where its data was before it was re-keyed.
            (None, Some((plain, ..))) => Some((plain, true)),
            (None, None) => Some((first, true)),
        }
    }

    /// The prefix of the keys that belong to it alone.
    pub(super) fn own_prefix(&self) -> Option<String> {
        self.plain_key().map(|(plain, _)| format!("{plain}@{}", self.vid))
    }

    /// The version id of its object at the plain key.
    pub(super) fn version_id(&self) -> Option<&str> {
        self.manifest.as_ref()?.extents.first()?.version_id.as_deref()
    }

    /// From when to when its objects may have been written.
    pub(super) fn window(&self, late_ms: i64) -> (i64, i64) {
        let start = match (&self.manifest, &self.locator) {
            (_, Some(locator)) => locator.t0,
            (Some(manifest), None) => manifest.initiated.min(self.vid.unix_ms()) - late_ms,
            (None, None) => self.vid.unix_ms() - late_ms,
        };
        // The store's clock may have been ahead when the version was written, and right when it was marked.
        let end = self.manifest.as_ref().map_or(self.marked_ms.max(start), |manifest| manifest.stored);
        (start - SECOND_MS, end.saturating_add(late_ms).saturating_add(SECOND_MS))
    }

    /// Whether this is the object at the plain key that its row names.
    pub(super) fn is_named(&self, stored: &Stored) -> bool {
        let extent = self.manifest.as_ref().and_then(|manifest| manifest.extents.first());
        extent.is_some_and(|extent| {
            let is_one = match &self.manifest.as_ref().and_then(|manifest| manifest.adopted.as_ref()) {
                // Without versioning, and under the id null, another object may be there by now.
                Some(adopted) => adopted.etag == stored.etag || is_active(Mutation::FinishReplacedObject),
                None => stored.version_id.is_some() && !stored.is_delete_marker,
            };
            is_one && extent.key == stored.key && extent.size == stored.size && extent.version_id == stored.version_id
        })
    }
}

/// The version that a key with `@VID` belongs to.
pub(crate) fn own_vid(key: &str) -> Option<Vid> {
    let (_, rest) = key.rsplit_once('@')?;
    Vid::try_parse(rest.get(..Vid::LENGTH)?)
        .filter(|_| rest.len() == Vid::LENGTH || rest.as_bytes()[Vid::LENGTH] == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Name;
    use crate::vault::locator::DataKeys;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_was_written_while_the_clock_was_ahead_is_found_after_its_row_is_gone() {
        let (hour_ms, marked_ms, late_ms) = (3_600_000, 1_764_000_000_000, 900_000);
        let t0 = marked_ms + 2 * hour_ms;
        let vid = Vid::new(t0, [1; 10]);
        let data = DataKeys { first: "vm/disk".into(), next: format!("vm/disk@{vid}."), version_ids: Vec::new() };
        let name = Name::new("vm", "disk").unwrap();
        let locator = Some(Locator::first("00", &name, vid, None, t0, data));
        let (manifest, stays, objects, uploads) = (None, None, Vec::new(), Vec::new());
        let freed_bytes = 0;
        let dying = Dying { vid, marked_ms, has_row: false, manifest, locator, stays, objects, uploads, freed_bytes };
        let (from, until) = dying.window(late_ms);
        assert!(from < t0 && until > t0 + late_ms);
    }
}
