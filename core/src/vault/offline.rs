//! A version that is decrypted without its vault: from its manifest, its locator if that is needed, and an escrow file. The
//! stored bytes come from anywhere.

use super::encryption::Encryption;
use super::locator::Locator;
use super::manifest::{Manifest, Opened};
use super::names::Name;
use super::objects::{LocatorKey, locator_prefix};
use super::signed;
use super::vid::Vid;
use crate::crypto::data_key::{Belonging, WrappedKey};
use crate::crypto::escrow::Escrow;
use crate::crypto::keyring::VerifyKeys;
use crate::crypto::segment::Segments;
use crate::error::{Code, Error, Result};
use crate::text::presentable;

/// A version of envelope mode, as its manifest and locator describe it.
#[derive(Debug)]
pub struct OfflineVersion {
    manifest: Manifest,
    locator: Option<Locator>,
    /// What the keys of its locators start with.
    prefix: String,
}

impl OfflineVersion {
    /// Reads the objects of a version, and verifies them with the keys that are trusted. A manifest without a signature is
    /// accepted, and then a locator without one is, too: the caller decides what that is worth.
    ///
    /// Fails with `INVALID_ARGUMENT` if the version is not one of envelope mode, and with `UNTRUSTED` if an object was
    /// changed, or the locator belongs to another version.
    pub fn open(manifest: &[u8], locator: Option<&[u8]>, keys: &VerifyKeys) -> Result<OfflineVersion> {
        let Opened { manifest, signed_by, .. } = Manifest::open(manifest, keys)?;
        let encryption = manifest.encryption()?;
        if encryption != Encryption::Envelope {
            let why = format!(
                "the data of this version is not encrypted by s3vault (its encryption is {}), so there is nothing to decrypt",
                encryption.name()
            );
            let hint =
                "Use the stored file as it is: what the store encrypted, it decrypts when the file is downloaded.";
            return Err(Error::new(Code::InvalidArgument, why).with_hint(hint));
        }
        let prefix = locator_prefix(&Name::new(&manifest.container, &manifest.path)?, Vid::parse(&manifest.vid)?);
        let mut version = OfflineVersion { manifest, locator: None, prefix };
        if let Some(object) = locator {
            let json = match signed_by {
                Some(_) => signed::open_signed(object, keys).map(|(json, _)| json),
                None => signed::open(object, keys).map(|(json, _)| json),
            };
            let locator = json.and_then(|json| version.locator(json)).map_err(|e| e.context("locator"))?;
            version.locator = Some(locator);
        }
        Ok(version)
    }

    fn locator(&self, json: &[u8]) -> Result<Locator> {
        let locator = Locator::read(json, None)?;
        let (own, manifest) = (LocatorKey::of(&locator.key), &self.manifest);
        let is_ours = (&locator.vault, &locator.container, &locator.path, &locator.vid)
            == (&manifest.vault, &manifest.container, &manifest.path, &manifest.vid);
        if !is_ours || own.is_none() || !locator.key.starts_with(&self.prefix) {
            return Err(Error::new(Code::Untrusted, "it belongs to another version").with_hint(self.where_it_is()));
        }
        if locator.encryption()? != Encryption::Envelope {
            let why = format!("it says that the data is encrypted with {}", presentable(&locator.encryption));
            return Err(Error::new(Code::Untrusted, why).with_hint(self.where_it_is()));
        }
        Ok(locator)
    }

    /// How to get the locator that counts.
    fn where_it_is(&self) -> String {
        format!(
            "Download the version's locator with any S3 client: the last object of a listing with the prefix '{}'.",
            presentable(&self.prefix)
        )
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How the data is decrypted, with the keys of the escrow. The data key of the locator counts; the manifest has it as it
    /// was wrapped first.
    ///
    /// Fails with `WRONG_KEY` if the escrow does not have the key-encryption key, and with `UNTRUSTED` if the wrapped key was
    /// changed or belongs to another version.
    pub fn segments(&self, escrow: &Escrow) -> Result<Segments> {
        let wrapped = self.locator.iter().map(|locator| &locator.wrapped).chain([&self.manifest.wrapped]);
        let wrapped: Vec<&WrappedKey> = wrapped.flatten().collect();
        let manifest = &self.manifest;
        for wrapped in &wrapped {
            let Some(kek) = escrow.keyring.kek(&wrapped.kek) else { continue };
            let of = Belonging {
                vault: &manifest.vault,
                container: &manifest.container,
                path: &manifest.path,
                vid: &manifest.vid,
                encryption: Encryption::Envelope.name(),
            };
            return Ok(manifest.segments(wrapped.unwrap(kek, &of)?));
        }
        Err(self.no_key(&wrapped, escrow))
    }

    /// None of the key-encryption keys is in the escrow.
    fn no_key(&self, wrapped: &[&WrappedKey], escrow: &Escrow) -> Error {
        let kek = wrapped.first().map_or_else(String::new, |wrapped| presentable(&wrapped.kek));
        let why = |text: String| Error::new(Code::WrongKey, text);
        if let Some(other) = escrow.vault_id.as_ref().filter(|id| **id != self.manifest.vault) {
            let (other, own) = (presentable(other), presentable(&self.manifest.vault));
            return why(format!("the escrow file is of vault {other}, and the backup is of vault {own}"))
                .with_hint("Use the escrow file of the vault that stored the backup.");
        }
        if wrapped.iter().any(|wrapped| escrow.external.contains(&wrapped.kek)) {
            return why(format!(
                "the data key is wrapped with key {kek}, which is not in the escrow file: it is in a KMS or an HSM"
            ))
            .with_hint("Restore the backup with a program that can use that key.");
        }
        let why = why(format!("the data key is wrapped with key {kek}, which the escrow file does not have"));
        if self.locator.is_some() {
            return why.with_hint("Use an escrow file that was exported when the vault had this key.");
        }
        why.with_hint(format!(
            "If the keys were rotated since, choose the locator, too. {} Otherwise use an escrow file that was exported when the vault had this key.",
            self.where_it_is()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::data_key::DataKey;
    use crate::crypto::keyring::{Kek, Keyring};
    use crate::crypto::segment::{Salt, SegmentKey};
    use crate::vault::locator::DataKeys;
    use crate::vault::manifest::tests::sample;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const PLAIN: &[u8] = b"a backup of a virtual machine";
    const SALT: Salt = Salt([9; 16]);

    /// A version of one segment, with a locator for each of two keys, as a rotation leaves the last of them.
    struct Version {
        ring: Keyring,
        stored: Vec<u8>,
        manifest: Vec<u8>,
        rotated: Vec<u8>,
    }

    fn keks() -> [Kek; 2] {
        [Kek::new([1; 32], 1), Kek::new([2; 32], 2)]
    }

    fn key() -> DataKey {
        DataKey::new([7; 32])
    }

    fn version() -> Version {
        let ring = Keyring::generate([3; 32]);
        let mut stored = PLAIN.to_vec();
        let tag = SegmentKey::derive(&key(), &SALT).seal(0, true, &mut stored);
        stored.extend_from_slice(&tag);
        let mut manifest = sample(&[&stored]);
        let (name, vid) = (Name::new("vm", "disk.img").unwrap(), Vid::parse(&manifest.vid).unwrap());
        manifest.key = manifest.key.replace(&format!(".{}.", manifest.size), &format!(".{}.", PLAIN.len()));
        manifest.size = PLAIN.len() as u64;
        manifest.extents[0].salts = vec![SALT];
        manifest.set_encryption(&Encryption::Envelope, Some(wrapped(&keks()[0], &manifest)));
        let data = DataKeys { first: "vm/disk.img".into(), next: "vm/disk.img@V.".into(), version_ids: Vec::new() };
        let first = Locator::first(&manifest.vault, &name, vid, None, 0, data);
        let first = first.encrypted(&name, &Encryption::Envelope, manifest.wrapped.clone());
        let rotated = first.rewrapped(&name, 1, wrapped(&keks()[1], &manifest)).unwrap();
        Version {
            stored,
            manifest: manifest.to_object(Some(ring.signing_key())),
            rotated: rotated.to_object(Some(ring.signing_key())),
            ring,
        }
    }

    fn wrapped(kek: &Kek, manifest: &Manifest) -> WrappedKey {
        let Manifest { vault, container, path, vid, .. } = manifest;
        WrappedKey::wrap(&key(), kek, &Belonging { vault, container, path, vid, encryption: "envelope" }).unwrap()
    }

    /// The escrow of a keyring that has these of the two keys.
    fn escrow(which: &[usize]) -> Escrow {
        let mut keyring = Keyring::generate([3; 32]);
        for (n, kek) in keks().into_iter().enumerate() {
            if which.contains(&n) {
                keyring.add_kek(kek);
            }
        }
        let (verify_keys, vault_id) = (Vec::new(), Some("00112233445566778899aabbccddeeff".into()));
        Escrow { created_ms: 0, keyring, external: Vec::new(), verify_keys, vault_id, settings: Default::default() }
    }

    impl Version {
        fn keys(&self) -> VerifyKeys {
            VerifyKeys::one(self.ring.signing_key().public())
        }

        fn open(&self, locator: Option<&[u8]>) -> Result<OfflineVersion> {
            OfflineVersion::open(&self.manifest, locator, &self.keys())
        }

        fn decrypt(&self, locator: Option<&[u8]>, escrow: &Escrow) -> Result<Vec<u8>> {
            let segments = self.open(locator)?.segments(escrow)?;
            let mut stored = self.stored.clone();
            Ok(segments.of_part(0).unwrap().open(0, &mut stored).unwrap().to_vec())
        }

        /// The locator with a text in its JSON replaced, signed again.
        fn changed(&self, from: &str, to: &str) -> Vec<u8> {
            let json = String::from_utf8(signed::json(&self.rotated).unwrap().to_vec()).unwrap();
            assert!(json.contains(from), "{json}");
            signed::encode(json.replace(from, to).into_bytes(), Some(self.ring.signing_key()))
        }
    }

    #[test]
    fn the_key_comes_from_the_locator_or_from_the_manifest() {
        let version = version();
        for (locator, which) in
            [(None, &[0][..]), (None, &[0, 1]), (Some(&*version.rotated), &[1]), (Some(&version.rotated), &[0])]
        {
            assert_eq!(version.decrypt(locator, &escrow(which)).unwrap(), PLAIN, "{which:?}");
        }
    }

    #[test]
    fn a_key_that_the_escrow_does_not_have_is_named_and_so_is_what_helps() {
        let version = version();
        let e = version.decrypt(None, &escrow(&[1])).unwrap_err();
        assert_eq!(e.code(), Code::WrongKey);
        assert!(e.message().contains(keks()[0].id()), "{e}");
        assert!(e.hint().contains("_s3vault/1/loc/vm/disk.img/"), "{}", e.hint());
        let e = version.decrypt(Some(&version.rotated), &escrow(&[])).unwrap_err();
        assert!(e.code() == Code::WrongKey && e.message().contains(keks()[1].id()), "{e}");
        assert!(!e.hint().contains("_s3vault"), "{}", e.hint());
        let other = Escrow { vault_id: Some("0".repeat(32)), ..escrow(&[]) };
        let e = version.decrypt(None, &other).unwrap_err();
        assert!(e.code() == Code::WrongKey && e.message().contains("is of vault 0000"), "{e}");
        let external = Escrow { external: vec![keks()[0].id().to_owned()], ..escrow(&[]) };
        assert!(version.decrypt(None, &external).unwrap_err().message().contains("KMS"));
    }

    #[test]
    fn a_locator_that_was_changed_or_belongs_elsewhere_is_refused() {
        let version = version();
        let mut flipped = version.rotated.clone();
        flipped[40] ^= 1;
        let unsigned = signed::encode(signed::json(&version.rotated).unwrap().to_vec(), None);
        let manifest = version.open(None).unwrap().manifest;
        let refused = [
            flipped,
            unsigned.clone(),
            signed::encode(unsigned[..unsigned.len() - 1].to_vec(), Some(Keyring::generate([4; 32]).signing_key())),
            version.changed(&manifest.vault, &"0".repeat(32)),
            version.changed("\"path\":\"disk.img\"", "\"path\":\"other.img\""),
            version.changed("/loc/vm/disk.img/", "/loc/vm/other.img/"),
            version.changed("\"envelope\"", "\"sse-c\""),
        ];
        for locator in refused {
            let e = version.open(Some(&locator)).unwrap_err();
            assert_eq!(e.code(), Code::Untrusted, "{e} {}", String::from_utf8_lossy(&locator));
            assert!(e.message().starts_with("locator: "), "{e}");
        }
        assert_eq!(version.open(Some(&version.manifest)).unwrap_err().code(), Code::Format);
    }

    #[test]
    fn a_wrapped_key_of_another_version_does_not_open() {
        let mut version = version();
        let manifest = version.open(None).unwrap().manifest;
        let mut of_other = manifest.clone();
        of_other.vid = "0".repeat(26);
        let other = wrapped(&keks()[1], &of_other);
        version.rotated = version.changed(&wrapped(&keks()[1], &manifest).key, &other.key);
        assert_eq!(version.decrypt(Some(&version.rotated), &escrow(&[0, 1])).unwrap_err().code(), Code::Untrusted);
    }

    #[test]
    fn a_version_that_is_not_encrypted_here_has_nothing_to_decrypt() {
        let object = sample(&[PLAIN]).to_object(None);
        let e = OfflineVersion::open(&object, None, &VerifyKeys::default()).unwrap_err();
        assert!(e.code() == Code::InvalidArgument && e.message().contains("nothing to decrypt"), "{e}");
    }

    #[test]
    fn without_signatures_the_locator_needs_none() {
        let version = version();
        let unsigned = |object: &[u8]| signed::encode(signed::json(object).unwrap().to_vec(), None);
        let (manifest, locator) = (unsigned(&version.manifest), unsigned(&version.rotated));
        let opened = OfflineVersion::open(&manifest, Some(&locator), &VerifyKeys::default()).unwrap();
        assert!(opened.segments(&escrow(&[1])).is_ok());
    }
}
