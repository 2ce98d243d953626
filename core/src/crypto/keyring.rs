//! The keyring: the file in which the owner of a vault keeps its signing key.
//!
//! It is JSON: `{"format":1,"signing":{"id":"<16 hex>","seed":"<base64 of 32 bytes>"}}`. A keyring with unknown fields is
//! refused: writing it back without them could lose a key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::ed25519;
use crate::error::{Code, Error, Result};
use crate::journal::JournalKey;

/// A public key, which verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: String,
    bytes: [u8; ed25519::KEY_LENGTH],
}

impl PublicKey {
    fn new(bytes: [u8; ed25519::KEY_LENGTH]) -> PublicKey {
        PublicKey { id: hex::encode(&Sha256::digest(bytes)[..8]), bytes }
    }

    /// The first 8 bytes of the key's SHA-256, in hex.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether this key made the signature of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519::verify(&self.bytes, message, signature)
    }

    /// Parses a line `ed25519 <id> <base64>`.
    pub fn parse(line: &str) -> Result<PublicKey> {
        let refuse = |why: &str| {
            Err(Error::new(Code::InvalidOption, format!("'{line}' is not a public key: {why}"))
                .with_hint("Use a line 'ed25519 <id> <base64>', as 's3vault keys public' prints it."))
        };
        let mut words = line.split_ascii_whitespace();
        let (Some("ed25519"), Some(id), Some(text), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return refuse("it does not have three words, of which the first is 'ed25519'");
        };
        let Some(bytes) = STANDARD.decode(text).ok().and_then(|b| b.try_into().ok()) else {
            return refuse("its third word is not 32 bytes in base64");
        };
        let key = PublicKey::new(bytes);
        if key.id != id {
            return refuse("its id belongs to another key; one of them may be mistyped");
        }
        Ok(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519 {} {}", self.id, STANDARD.encode(self.bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The public keys that a vault trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyKeys(Vec<PublicKey>);

impl VerifyKeys {
    /// Parses lines `ed25519 <id> <base64>`. Empty lines and lines that start with `#` are skipped.
    pub fn parse(text: &str) -> Result<VerifyKeys> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(VerifyKeys(lines.map(PublicKey::parse).collect::<Result<_>>()?))
    }

    /// This key alone.
    pub fn one(key: &PublicKey) -> VerifyKeys {
        VerifyKeys(vec![key.clone()])
    }

    /// Adds a key.
    pub fn add(&mut self, key: PublicKey) {
        self.0.push(key);
    }

    /// The key with this id.
    pub fn get(&self, id: &str) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// Whether there are no keys, so that nothing can be verified.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The key that signs catalogue rows and locators.
pub struct SigningKey {
    seed: Zeroizing<[u8; ed25519::KEY_LENGTH]>,
    public: PublicKey,
}

impl SigningKey {
    /// The key with this seed, which must come from the operating system's entropy.
    pub fn from_seed(seed: [u8; ed25519::KEY_LENGTH]) -> SigningKey {
        SigningKey { public: PublicKey::new(ed25519::public_key(&seed)), seed: Zeroizing::new(seed) }
    }

    /// The public key that verifies the signatures.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key of checkpoints that are written with this key.
    pub(crate) fn checkpoint_key(&self) -> JournalKey {
        JournalKey::derive(&*self.seed)
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; ed25519::SIGNATURE_LENGTH] {
        ed25519::sign(&self.seed, message)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.id)
    }
}

/// The keys of a vault's owner.
#[derive(Debug)]
pub struct Keyring {
    signing: SigningKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    signing: StoredKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    id: String,
    seed: Zeroizing<String>,
}

impl Keyring {
    /// A new keyring whose signing key has this seed, which must come from the operating system's entropy.
    pub fn generate(seed: [u8; ed25519::KEY_LENGTH]) -> Keyring {
        Keyring { signing: SigningKey::from_seed(seed) }
    }

    /// Parses the bytes of a keyring file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Keyring> {
        let refuse = |why: &str| Error::new(Code::Keyring, format!("this is not a valid keyring: {why}"));
        // serde's own message could show the seed.
        let stored: Stored = serde_json::from_slice(bytes)
            .map_err(|e| refuse(&format!("its JSON is invalid at line {}, column {}", e.line(), e.column())))?;
        if stored.format != 1 {
            return Err(refuse("its format is newer than this library"));
        }
        let seed: Zeroizing<Vec<u8>> = STANDARD.decode(stored.signing.seed.as_bytes()).unwrap_or_default().into();
        let seed: [u8; ed25519::KEY_LENGTH] =
            seed.as_slice().try_into().map_err(|_| refuse("its seed is not 32 bytes in base64"))?;
        let keyring = Keyring::generate(seed);
        if keyring.signing.public.id != stored.signing.id {
            return Err(refuse("the id of its signing key is wrong"));
        }
        Ok(keyring)
    }

    /// The bytes of a keyring file, which are secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let stored = Stored {
            format: 1,
            signing: StoredKey {
                id: self.signing.public.id.clone(),
                seed: Zeroizing::new(STANDARD.encode(*self.signing.seed)),
            },
        };
        let mut bytes = Zeroizing::new(serde_json::to_vec(&stored).unwrap_or_default());
        bytes.push(b'\n');
        bytes
    }

    /// The signing key.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// The public information as JSON: `{"signing":{"id":…,"public":"ed25519 <id> <base64>"}}`.
    pub fn info_json(&self) -> String {
        let public = self.signing.public();
        serde_json::json!({"signing": {"id": public.id(), "public": public.to_string()}}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_keyring_survives_a_round_trip() {
        let keyring = Keyring::generate([7; 32]);
        let again = Keyring::from_bytes(&keyring.to_bytes()).unwrap();
        assert_eq!(again.signing_key().public(), keyring.signing_key().public());
        assert_eq!(again.signing_key().sign(b"x"), keyring.signing_key().sign(b"x"));
    }

    #[test]
    fn an_invalid_keyring_is_refused_and_its_secret_is_not_shown() {
        let good = String::from_utf8(Keyring::generate([7; 32]).to_bytes().to_vec()).unwrap();
        let seed = STANDARD.encode([7; 32]);
        for bad in [
            String::new(),
            "{}".into(),
            good.replace("\"format\":1", "\"format\":2"),
            good.replace("\"format\":1", "\"format\":1,\"keks\":[]"),
            good.replace(&seed, "c2hvcnQ="),
            good.replace(&seed, &STANDARD.encode([8; 32])),
            good.replace("\"seed\":\"", "\"seed\":"),
        ] {
            let e = Keyring::from_bytes(bad.as_bytes()).unwrap_err();
            assert_eq!(e.code(), Code::Keyring, "{bad}");
            assert!(!e.to_string().contains(&seed));
        }
        assert!(!format!("{:?}", Keyring::generate([7; 32])).contains(&seed));
    }

    #[test]
    fn public_keys_survive_a_round_trip_and_typos_are_refused() {
        let line = Keyring::generate([9; 32]).signing_key().public().to_string();
        let keys = VerifyKeys::parse(&format!("# owner\n\n  {line}  \n")).unwrap();
        assert_eq!(keys.0[0].to_string(), line);
        assert!(keys.get(keys.0[0].id()).is_some() && keys.get("0000000000000000").is_none());
        let mut typo = line.clone().into_bytes();
        typo[30] ^= 1;
        for bad in [String::from_utf8(typo).unwrap(), line.replace("ed25519", "rsa"), format!("{line} x"), "x".into()] {
            assert_eq!(VerifyKeys::parse(&bad).unwrap_err().code(), Code::InvalidOption, "{bad}");
        }
        assert!(VerifyKeys::parse("\n#\n").unwrap().is_empty());
    }
}
