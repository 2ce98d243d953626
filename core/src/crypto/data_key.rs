//! The data key of a version, and how it is wrapped with a key-encryption key (KEK).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::aead::{Aead, KEY_LENGTH, NONCE_LENGTH, TAG_LENGTH};
use super::external::{self, LONGEST};
use super::hkdf::hkdf;
use super::keyring::{Kek, Material};
use crate::error::{Code, Error, Result};

/// What derives data keys of versions that are re-keyed.
const REKEY: &str = "s3vault/1 rekey";

/// A version's data key, 256 bits from the operating system's entropy. It is zeroized on drop, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey(Arc<Zeroizing<[u8; KEY_LENGTH]>>);

impl DataKey {
    /// The key with these bytes.
    pub fn new(bytes: [u8; KEY_LENGTH]) -> DataKey {
        DataKey(Arc::new(Zeroizing::new(bytes)))
    }

    /// The data key of a version that is re-keyed, derived from a key-encryption key (KEK): all who re-key the version
    /// under it in this generation get the same. An external KEK gives nothing to derive it from.
    pub fn rekeyed(kek: &Kek, of: &Belonging<'_>, generation: u32) -> Result<DataKey> {
        let Material::Inside(inside) = kek.material() else {
            let why = format!(
                "key {} is in a KMS or an HSM, which does not show it, so no data key can be derived from it for re-keying",
                kek.id()
            );
            return Err(Error::new(Code::Unsupported, why).with_hint(
                "Make a key of the keyring current and run rekey again; after that, rotate can move the versions to the external key. Or store the backups again.",
            ));
        };
        let generation = generation.to_string();
        let fields = [REKEY, of.vault, of.container, of.path, of.vid, &generation];
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        hkdf(inside.key(), &[], &fields.iter().flat_map(|field| with_length(field)).collect::<Vec<u8>>(), &mut *key);
        Ok(DataKey::new(*key))
    }

    /// The key's bytes, which are secret.
    pub fn bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(***)")
    }
}

/// What a data key belongs to. A wrapped key that was put in another place does not open. The bucket and the endpoint are
/// not part of it, so that replicas can be read.
#[derive(Clone, Copy, Debug)]
pub struct Belonging<'a> {
    /// The vault's id.
    pub vault: &'a str,
    /// Name of the container.
    pub container: &'a str,
    /// The path in the container.
    pub path: &'a str,
    /// The version's id.
    pub vid: &'a str,
    /// How the data is encrypted: `sse-c` or `envelope`.
    pub encryption: &'a str,
}

impl Belonging<'_> {
    /// Each field behind its length (u32, big-endian).
    fn associated(&self, kek: &str) -> Vec<u8> {
        let Belonging { vault, container, path, vid, encryption } = self;
        let fields = [vault, container, path, vid, kek, encryption];
        fields.iter().flat_map(|field| with_length(field)).collect()
    }
}

/// A field behind its length.
fn with_length(field: &str) -> Vec<u8> {
    [&(field.len() as u32).to_be_bytes(), field.as_bytes()].concat()
}

/// A wrapped data key, as a locator and a manifest have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Id of the key-encryption key.
    pub kek: String,
    /// The nonce (12 bytes), the encrypted data key, and the tag, in base64; or, if the KEK is external, what its owner's
    /// function made of the data key.
    pub key: String,
}

impl WrappedKey {
    /// Wraps a data key. The nonce is derived from the key and from all that it belongs to, so no nonce serves two keys, and
    /// all who wrap the same key for the same place write the same bytes. An external KEK may give other bytes each time;
    /// what it gives is unwrapped once, so that nothing is stored under a key that does not open.
    pub fn wrap(key: &DataKey, kek: &Kek, of: &Belonging<'_>) -> Result<WrappedKey> {
        let associated = of.associated(kek.id());
        let wrapped = match kek.material() {
            Material::Inside(inside) => WrappedKey::seal(key, &inside.aead, &associated).to_vec(),
            Material::External(functions) => external::wrap(&**functions, kek.id(), key, &associated)?,
        };
        Ok(WrappedKey { kek: kek.id().to_owned(), key: STANDARD.encode(wrapped) })
    }

    fn seal(key: &DataKey, aead: &Aead, associated: &[u8]) -> [u8; NONCE_LENGTH + KEY_LENGTH + TAG_LENGTH] {
        let nonce = nonce(key, associated);
        let mut wrapped = [0; NONCE_LENGTH + KEY_LENGTH + TAG_LENGTH];
        wrapped[..NONCE_LENGTH].copy_from_slice(&nonce);
        wrapped[NONCE_LENGTH..][..KEY_LENGTH].copy_from_slice(key.bytes());
        let tag = aead.seal(nonce, associated, &mut wrapped[NONCE_LENGTH..][..KEY_LENGTH]);
        wrapped[NONCE_LENGTH + KEY_LENGTH..].copy_from_slice(&tag);
        wrapped
    }

    /// Unwraps the data key. Fails with `UNTRUSTED` if it was changed, or belongs to another version.
    pub fn unwrap(&self, kek: &Kek, of: &Belonging<'_>) -> Result<DataKey> {
        let refuse = |why: &str| {
            Err(Error::new(Code::Untrusted, format!("the wrapped data key does not open: {why}"))
                .with_hint("Do not trust this object: it was changed, or copied from another version. Restore another version, or from a replica, and look who can write to the bucket."))
        };
        let associated = of.associated(kek.id());
        let inside = match kek.material() {
            Material::Inside(inside) => inside,
            Material::External(functions) => {
                // Base64 makes four characters of three bytes.
                let stored = if self.key.len() <= LONGEST.div_ceil(3) * 4 { &*self.key } else { "" };
                return match STANDARD.decode(stored).unwrap_or_default() {
                    wrapped if wrapped.is_empty() => refuse("it is not 1 to 4096 bytes in base64"),
                    wrapped => external::unwrap(&**functions, kek.id(), &wrapped, &associated)
                        .map_err(|e| e.context(format!("version {} of {} {}", of.vid, of.container, of.path))),
                };
            }
        };
        let stored = STANDARD.decode(&self.key).unwrap_or_default();
        let Ok(stored) = <[u8; NONCE_LENGTH + KEY_LENGTH + TAG_LENGTH]>::try_from(stored) else {
            return refuse("it is not 60 bytes in base64");
        };
        let (nonce, rest) = stored.split_at(NONCE_LENGTH);
        let (key, tag) = rest.split_at(KEY_LENGTH);
        let (Ok(nonce), Ok(key), Ok(tag)) = (nonce.try_into(), <[u8; KEY_LENGTH]>::try_from(key), tag.try_into())
        else {
            return refuse("it is not 60 bytes in base64");
        };
        let mut key = Zeroizing::new(key);
        if !inside.aead.open(nonce, &associated, &mut *key, tag) {
            return refuse("it was changed, or it belongs to another version");
        }
        Ok(DataKey::new(*key))
    }
}

/// HMAC-SHA256 with the data key, a secret that nobody else uses with it: nobody can tell it from a random one.
fn nonce(key: &DataKey, associated: &[u8]) -> [u8; NONCE_LENGTH] {
    let mut nonce = [0; NONCE_LENGTH];
    // HMAC takes keys of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.bytes()) {
        mac.update(b"s3vault/1 wrap\0");
        mac.update(associated);
        nonce.copy_from_slice(&mac.finalize().into_bytes()[..NONCE_LENGTH]);
    }
    nonce
}

/// The KEK of a wrapped key is not in the keyring.
pub(crate) fn unknown_kek(kek: &str, is_retired: bool) -> Error {
    let kek = crate::text::presentable(kek);
    let (why, hint) = if is_retired {
        (
            "which was retired",
            "Import the key from an escrow file that was made before: s3vault keys import, into a new keyring file.",
        )
    } else {
        (
            "which the keyring does not have",
            "Open the vault with the keyring that has this key (s3vault keys list), or import it from an escrow file. If the key is in a KMS or an HSM, open the vault with the keyring that s3v_keyring_custom makes.",
        )
    };
    Error::new(Code::WrongKey, format!("the data key is wrapped with key {kek}, {why}")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const OF: Belonging<'_> =
        Belonging { vault: "00ff", container: "vm", path: "disk", vid: "V", encryption: "envelope" };

    /// The value was computed with Python's `cryptography`, by what `docs/format.md` says.
    #[test]
    fn the_key_of_a_rekeyed_version_is_derived_from_what_it_belongs_to() {
        let kek = Kek::new([1; 32], 0);
        let key = DataKey::rekeyed(&kek, &OF, 65_536).unwrap();
        assert_eq!(hex::encode(key.bytes()), "416eb98c998b7e7c0050d11254da0210e0c1a62c66dd594cd8ad95de460527e7");
        assert_ne!(key, DataKey::rekeyed(&Kek::new([2; 32], 0), &OF, 65_536).unwrap());
        assert_ne!(key, DataKey::rekeyed(&kek, &OF, 131_072).unwrap());
        for other in [
            Belonging { vault: "00fe", ..OF },
            Belonging { container: "vmd", path: "isk", ..OF },
            Belonging { path: "disk2", ..OF },
            Belonging { vid: "W", ..OF },
        ] {
            assert_ne!(key, DataKey::rekeyed(&kek, &other, 65_536).unwrap(), "{other:?}");
        }
    }

    #[test]
    fn a_wrapped_key_opens_only_where_it_belongs() {
        let (key, kek) = (DataKey::new([7; 32]), Kek::new([1; 32], 0));
        let wrapped = WrappedKey::wrap(&key, &kek, &OF).unwrap();
        assert_eq!(wrapped, WrappedKey::wrap(&key, &kek, &OF).unwrap(), "the same bytes, no matter who writes them");
        let other = WrappedKey::wrap(&key, &kek, &Belonging { vid: "W", ..OF }).unwrap();
        assert_ne!(wrapped.key[..16], other.key[..16], "another nonce");
        assert_eq!(wrapped.unwrap(&kek, &OF), Ok(key.clone()));
        for other in [
            Belonging { vault: "00fe", ..OF },
            Belonging { container: "vmd", path: "isk", ..OF },
            Belonging { path: "disk2", ..OF },
            Belonging { vid: "W", ..OF },
            Belonging { encryption: "sse-c", ..OF },
        ] {
            assert_eq!(wrapped.unwrap(&kek, &other).unwrap_err().code(), Code::Untrusted, "{other:?}");
        }
        assert_eq!(wrapped.unwrap(&Kek::new([2; 32], 0), &OF).unwrap_err().code(), Code::Untrusted);
        let bytes = STANDARD.decode(&wrapped.key).unwrap();
        for n in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[n] ^= 1;
            let changed = WrappedKey { key: STANDARD.encode(changed), ..wrapped.clone() };
            assert_eq!(changed.unwrap(&kek, &OF).unwrap_err().code(), Code::Untrusted, "byte {n}");
        }
        for text in ["", "%", "AAAA"] {
            let short = WrappedKey { key: text.into(), ..wrapped.clone() };
            assert_eq!(short.unwrap(&kek, &OF).unwrap_err().code(), Code::Untrusted);
        }
        assert!(!format!("{key:?}").contains('7'));
    }
}
