//! The keyring: the file in which the owner of a vault keeps its signing key and its key-encryption keys (KEKs).
//!
//! It is JSON: `{"format":1,"signing":{"id":"<16 hex>","seed":"<base64 of 32 bytes>"},"keks":[{"id":"<16 hex>",
//! "key":"<base64 of 32 bytes>","created":<Unix ms>,"escrowed":false}],"current":"<id of a KEK>","retired":["<id of a
//! KEK>"]}`; `keks`, `current` and `retired` are missing where there are none. A keyring with unknown fields is refused:
//! writing it back without them could lose a key. A KEK that is kept elsewhere, behind an [`ExternalKek`], is in no file.
//!
//! The keyring keeps the id of a KEK that was retired: so the KEK does not come back from a process that still has it in
//! memory, or from an older escrow.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::aead::{Aead, KEY_LENGTH};
use super::ed25519;
use super::external::ExternalKek;
use crate::error::{Code, Error, Result};
use crate::journal::JournalKey;
use crate::text::presentable;

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

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
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

/// A key-encryption key (KEK): it wraps the data keys of versions.
#[derive(Clone)]
pub struct Kek {
    id: String,
    material: Material,
    created_ms: i64,
    escrowed: bool,
}

/// Where a KEK is.
#[derive(Clone)]
pub(super) enum Material {
    /// In the keyring.
    Inside(Arc<Inside>),
    /// Elsewhere: the caller's functions use it.
    External(Arc<dyn ExternalKek>),
}

/// A KEK that is in the keyring.
pub(super) struct Inside {
    key: Zeroizing<[u8; KEY_LENGTH]>,
    pub(super) aead: Aead,
}

impl Inside {
    /// The key's bytes, which are secret.
    pub(super) fn key(&self) -> &[u8; KEY_LENGTH] {
        &self.key
    }
}

impl Kek {
    /// A KEK with this key, which must come from the operating system's entropy, made at this time.
    pub fn new(key: [u8; KEY_LENGTH], created_ms: i64) -> Kek {
        let id = hex::encode(&Sha256::new().chain_update(b"s3vault/1 kek\0").chain_update(key).finalize()[..8]);
        let inside = Inside { aead: Aead::new(&key), key: Zeroizing::new(key) };
        Kek { id, material: Material::Inside(Arc::new(inside)), created_ms, escrowed: false }
    }

    /// 16 lower-case hex digits: the first 8 bytes of the SHA-256 of `s3vault/1 kek`, NUL and the key; or, if it is
    /// external, what the caller named it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it was made, or when this process learned of it if it is external, in Unix milliseconds.
    pub fn created_ms(&self) -> i64 {
        self.created_ms
    }

    /// Whether a copy of it was exported for an emergency, or it is external, so that it needs none.
    pub fn is_escrowed(&self) -> bool {
        self.escrowed
    }

    /// Whether it is kept elsewhere, behind the caller's functions.
    pub fn is_external(&self) -> bool {
        matches!(self.material, Material::External(_))
    }

    pub(super) fn material(&self) -> &Material {
        &self.material
    }

    /// As a keyring file has it; `None` if it is external.
    fn stored(&self) -> Option<StoredKek> {
        let Kek { id, created_ms: created, escrowed, .. } = self;
        let Material::Inside(inside) = &self.material else { return None };
        let key = Zeroizing::new(STANDARD.encode(*inside.key));
        Some(StoredKek { id: id.clone(), key, created: *created, escrowed: *escrowed })
    }
}

/// Whether a text has the form of a KEK's id.
pub(crate) fn is_kek_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({})", self.id)
    }
}

/// The keys of a vault's owner.
#[derive(Debug)]
pub struct Keyring {
    signing: SigningKey,
    /// Public keys of the signing keys before, oldest first: older backups are signed with them.
    earlier: Vec<PublicKey>,
    keks: Vec<Kek>,
    /// Index of the KEK that wraps the data keys of new versions.
    current: Option<usize>,
    /// Ids of the KEKs that were retired. None of them is in `keks`.
    retired: Vec<String>,
}

/// What [`Keyring::merge`] did with the KEKs that were missing: their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// They are in the keyring now.
    pub added: Vec<String>,
    /// They were retired before, and were left out.
    pub left_out: Vec<String>,
}

/// The JSON of a keyring file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    format: u32,
    signing: StoredKey,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keks: Vec<StoredKek>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKek {
    id: String,
    key: Zeroizing<String>,
    created: i64,
    escrowed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    id: String,
    seed: Zeroizing<String>,
}

/// The error of retiring the KEK that is current.
pub(crate) fn current_is_not_retired(id: &str) -> Error {
    let why = format!("key {id} cannot be retired: it is current, and wraps the data keys of new versions");
    Error::new(Code::Keyring, why).with_hint(
        "Make another key current and rotate the vault: s3vault keys rotate FILE --out OUT, then s3vault rotate.",
    )
}

fn refused(why: &str) -> Error {
    Error::new(Code::Keyring, format!("this is not a valid keyring: {why}"))
}

impl Keyring {
    /// A new keyring whose signing key has this seed, which must come from the operating system's entropy.
    pub fn generate(seed: [u8; ed25519::KEY_LENGTH]) -> Keyring {
        let (signing, earlier) = (SigningKey::from_seed(seed), Vec::new());
        Keyring { signing, earlier, keks: Vec::new(), current: None, retired: Vec::new() }
    }

    /// Parses the bytes of a keyring file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Keyring> {
        // serde's own message could show the seed.
        let invalid =
            |e: serde_json::Error| refused(&format!("its JSON is invalid at line {}, column {}", e.line(), e.column()));
        Keyring::from_stored(&serde_json::from_slice(bytes).map_err(invalid)?)
    }

    pub(super) fn from_stored(stored: &Stored) -> Result<Keyring> {
        if stored.format != 1 {
            return Err(refused("its format is newer than this library"));
        }
        let seed: Zeroizing<Vec<u8>> = STANDARD.decode(stored.signing.seed.as_bytes()).unwrap_or_default().into();
        let seed: [u8; ed25519::KEY_LENGTH] =
            seed.as_slice().try_into().map_err(|_| refused("its seed is not 32 bytes in base64"))?;
        let mut keyring = Keyring::generate(seed);
        if keyring.signing.public.id != stored.signing.id {
            return Err(refused("the id of its signing key is wrong"));
        }
        for line in &stored.earlier {
            let key = PublicKey::parse(line).map_err(|_| refused("one of its earlier public keys is not valid"))?;
            if keyring.trusts(&key) {
                return Err(refused("one of its earlier public keys is there twice"));
            }
            keyring.earlier.push(key);
        }
        for stored in &stored.keks {
            let key: Zeroizing<Vec<u8>> = STANDARD.decode(stored.key.as_bytes()).unwrap_or_default().into();
            let key = key.as_slice().try_into().map_err(|_| refused("one of its keks is not 32 bytes in base64"))?;
            let kek = Kek { escrowed: stored.escrowed, ..Kek::new(key, stored.created) };
            if kek.id != stored.id || keyring.kek(&kek.id).is_some() {
                return Err(refused("the id of one of its keks is wrong, or is there twice"));
            }
            keyring.keks.push(kek);
        }
        for id in &stored.retired {
            if !is_kek_id(id) || keyring.kek(id).is_some() || keyring.is_retired(id) {
                return Err(refused(
                    "the id of a kek that was retired is wrong, is there twice, or is that of one of its keks",
                ));
            }
            keyring.retired.push(id.clone());
        }
        keyring.current = match &stored.current {
            None => None,
            Some(id) => Some(
                keyring
                    .keks
                    .iter()
                    .position(|kek| kek.id == *id)
                    .ok_or_else(|| refused("it has no kek that is current"))?,
            ),
        };
        Ok(keyring)
    }

    /// This keyring with an external KEK, which is current. `id` is 16 lower-case hex digits that name it, always the
    /// same ones: locators have it. It needs no escrow. The keyring file of the new keyring has the other KEKs only.
    pub fn with_external(&self, id: &str, functions: Arc<dyn ExternalKek>, now_ms: i64) -> Result<Keyring> {
        if !is_kek_id(id) {
            let why =
                format!("'{}' is no id of a key-encryption key: 16 lower-case hex digits expected", presentable(id));
            return Err(Error::new(Code::InvalidArgument, why).with_hint(
                "Name the key by the first 8 bytes of the SHA-256 of its name in the KMS or HSM, in hexadecimal.",
            ));
        }
        if self.kek(id).is_some() {
            let why = format!("the keyring has a key-encryption key {id} already");
            return Err(Error::new(Code::InvalidArgument, why));
        }
        if self.is_retired(id) {
            let why = format!("the key-encryption key {id} was retired");
            return Err(Error::new(Code::InvalidArgument, why).with_hint("Make another key in the KMS or HSM."));
        }
        let mut keyring = self.copy();
        keyring.current = Some(keyring.keks.len());
        let material = Material::External(functions);
        keyring.keks.push(Kek { id: id.to_owned(), material, created_ms: now_ms, escrowed: true });
        Ok(keyring)
    }

    /// A copy, with its external KEKs.
    pub fn copy(&self) -> Keyring {
        let Keyring { signing, earlier, keks, current, retired } = self;
        let (signing, earlier) = (SigningKey::from_seed(*signing.seed), earlier.clone());
        Keyring { signing, earlier, keks: keks.clone(), current: *current, retired: retired.clone() }
    }

    pub(super) fn stored(&self) -> Stored {
        Stored {
            format: 1,
            signing: StoredKey {
                id: self.signing.public.id.clone(),
                seed: Zeroizing::new(STANDARD.encode(*self.signing.seed)),
            },
            earlier: self.earlier.iter().map(PublicKey::to_string).collect(),
            keks: self.keks.iter().filter_map(Kek::stored).collect(),
            current: self.current_kek().filter(|kek| !kek.is_external()).map(|kek| kek.id.clone()),
            retired: self.retired.clone(),
        }
    }

    /// The bytes of a keyring file, which are secret. External KEKs are not in it; if one is current, no KEK is current
    /// in the file.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(serde_json::to_vec(&self.stored()).unwrap_or_default());
        bytes.push(b'\n');
        bytes
    }

    /// Replaces the signing key by the one with this seed, which must come from the operating system's entropy. The public
    /// key of the old one stays, and verifies what it has signed.
    pub fn new_signing_key(&mut self, seed: [u8; ed25519::KEY_LENGTH]) {
        let old = std::mem::replace(&mut self.signing, SigningKey::from_seed(seed));
        self.earlier.push(old.public.clone());
    }

    /// Public keys of the signing keys before, oldest first.
    pub fn earlier(&self) -> &[PublicKey] {
        &self.earlier
    }

    /// Drops the public key of an earlier signing key: nothing that it has signed is trusted any more.
    pub fn distrust(&mut self, id: &str) -> Result<()> {
        if let Some(index) = self.earlier.iter().position(|key| key.id == id) {
            self.earlier.remove(index);
            return Ok(());
        }
        if self.signing.public.id == id {
            let message = format!("the key {id} cannot be distrusted: it signs new backups");
            return Err(Error::new(Code::Keyring, message)
                .with_hint("Make a new signing key first: s3vault keys new-signing-key FILE"));
        }
        let ids: Vec<&str> = self.earlier.iter().map(PublicKey::id).collect();
        let known = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
        Err(Error::new(Code::Keyring, format!("the keyring has no earlier signing key '{}'", presentable(id)))
            .with_hint(format!("The keyring's earlier signing keys: {known}.")))
    }

    /// Whether this is the public key of the signing key, or of an earlier one.
    fn trusts(&self, key: &PublicKey) -> bool {
        self.signing.public == *key || self.earlier.contains(key)
    }

    /// Adds a KEK. The first one is current at once: it wraps the data keys of new versions.
    pub fn add_kek(&mut self, kek: Kek) {
        self.current.get_or_insert(self.keks.len());
        self.keks.push(kek);
    }

    /// Makes the KEK with this id current. It is refused until a copy of it was exported: data whose only key is in one
    /// file is lost with that file.
    pub fn activate(&mut self, id: &str) -> Result<()> {
        let Some(index) = self.keks.iter().position(|kek| kek.id == id) else { return Err(self.unknown(id)) };
        if !self.keks[index].escrowed && self.current != Some(index) {
            let message = format!("the key-encryption key {id} cannot become current: no copy of it was exported");
            return Err(Error::new(Code::Keyring, message)
                .with_hint("Export the keyring first and keep the copy elsewhere: s3vault keys export FILE OUT"));
        }
        self.current = Some(index);
        Ok(())
    }

    /// The error of naming a KEK that the keyring does not have.
    fn unknown(&self, id: &str) -> Error {
        let ids: Vec<&str> = self.keks.iter().map(Kek::id).collect();
        let hint = if ids.is_empty() {
            "Add one first: s3vault keys rotate".to_owned()
        } else {
            format!("The keyring has: {}.", ids.join(", "))
        };
        Error::new(Code::Keyring, format!("the keyring has no key-encryption key '{}'", presentable(id)))
            .with_hint(hint)
    }

    /// Refuses to retire the current KEK, and one that the keyring never had.
    pub fn check_may_retire(&self, id: &str) -> Result<()> {
        match self.kek(id) {
            Some(_) if self.current_kek().map(Kek::id) == Some(id) => Err(current_is_not_retired(id)),
            None if !self.is_retired(id) => Err(self.unknown(id)),
            _ => Ok(()),
        }
    }

    /// Drops the KEK with this id, which nothing needs any more, and keeps the id: [`merge`](Keyring::merge) does not add
    /// the KEK again. The current KEK is refused. Retiring it again changes nothing.
    pub fn retire(&mut self, id: &str) -> Result<()> {
        self.check_may_retire(id)?;
        let current = self.current_kek().map(|kek| kek.id.clone());
        self.keks.retain(|kek| kek.id != id);
        self.current = self.keks.iter().position(|kek| Some(&kek.id) == current.as_ref());
        if !self.is_retired(id) {
            self.retired.push(id.to_owned());
        }
        Ok(())
    }

    /// Whether a KEK with this id was retired.
    pub fn is_retired(&self, id: &str) -> bool {
        self.retired.iter().any(|retired| retired == id)
    }

    /// Ids of the KEKs that were retired, in the order in which they were.
    pub fn retired(&self) -> &[String] {
        &self.retired
    }

    /// Notes that all KEKs were exported for an emergency.
    pub fn mark_escrowed(&mut self) {
        self.keks.iter_mut().for_each(|kek| kek.escrowed = true);
    }

    /// Adds the KEKs of another copy of this keyring that are missing here, except those that were retired here. A KEK that
    /// is escrowed in either is escrowed. The current KEK stays, unless there is none. What was retired in the other copy is
    /// retired here, unless this one has the KEK: a merge drops no KEK. A keyring with another signing key is refused, unless
    /// it is an earlier one of this keyring: the other copy is from before then.
    pub fn merge(&mut self, other: &Keyring) -> Result<Merged> {
        let (own, its) = (self.signing.public.id(), other.signing.public.id());
        if !self.trusts(&other.signing.public) {
            let message = format!("the keyrings are not the same: the signing key of one is {own}, of the other {its}");
            return Err(Error::new(Code::Keyring, message));
        }
        let mut merged = Merged::default();
        for kek in &other.keks {
            let is_retired = self.is_retired(&kek.id);
            match self.keks.iter_mut().find(|known| known.id == kek.id) {
                Some(known) => known.escrowed |= kek.escrowed,
                None if is_retired => merged.left_out.push(kek.id.clone()),
                None => {
                    merged.added.push(kek.id.clone());
                    self.keks.push(kek.clone());
                }
            }
        }
        for id in &other.retired {
            if !self.is_retired(id) && self.kek(id).is_none() {
                self.retired.push(id.clone());
            }
        }
        if let (None, Some(current)) = (self.current, other.current_kek()) {
            self.current = self.keks.iter().position(|kek| kek.id == current.id);
        }
        Ok(merged)
    }

    /// The KEKs, in the order in which they were added.
    pub fn keks(&self) -> &[Kek] {
        &self.keks
    }

    /// The KEK that wraps the data keys of new versions.
    pub fn current_kek(&self) -> Option<&Kek> {
        self.keks.get(self.current?)
    }

    /// The KEK with this id.
    pub fn kek(&self, id: &str) -> Option<&Kek> {
        self.keks.iter().find(|kek| kek.id == id)
    }

    /// The signing key.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// The public information as JSON: `{"signing":{"id":…,"public":"ed25519 <id> <base64>"},"earlier":["ed25519 <id>
    /// <base64>"],"keks":[{"id":…,"created":<Unix ms>,"escrowed":false,"external":false,"current":true}],"retired":["<id of
    /// a KEK>"]}`.
    pub fn info_json(&self) -> String {
        let public = self.signing.public();
        let current = self.current_kek().map(Kek::id);
        let keks: Vec<_> = self
            .keks
            .iter()
            .map(|kek| {
                serde_json::json!({
                    "id": kek.id, "created": kek.created_ms, "escrowed": kek.escrowed, "external": kek.is_external(),
                    "current": Some(kek.id()) == current,
                })
            })
            .collect();
        let signing = serde_json::json!({"id": public.id(), "public": public.to_string()});
        let earlier: Vec<String> = self.earlier.iter().map(PublicKey::to_string).collect();
        serde_json::json!({"signing": signing, "earlier": earlier, "keks": keks, "retired": self.retired}).to_string()
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
            good.replace("\"format\":1", "\"format\":1,\"other\":[]"),
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

    fn with_keks(keys: &[u8]) -> Keyring {
        let mut keyring = Keyring::generate([7; 32]);
        keys.iter().for_each(|key| keyring.add_kek(Kek::new([*key; 32], 5)));
        keyring
    }

    fn current(keyring: &Keyring) -> &str {
        keyring.current_kek().unwrap().id()
    }

    #[test]
    fn the_first_kek_is_current_at_once_and_a_later_one_after_its_escrow() {
        let mut keyring = with_keks(&[1, 2]);
        let (first, second) = (keyring.keks()[0].id().to_owned(), keyring.keks()[1].id().to_owned());
        assert_eq!(current(&keyring), first);
        let e = keyring.activate(&second).unwrap_err();
        assert!(
            e.code() == Code::Keyring && e.message().contains(&second) && e.hint().contains("keys export"),
            "{e:?}"
        );
        assert_eq!(current(&keyring), first);
        keyring.mark_escrowed();
        keyring.activate(&second).unwrap();
        let mut again = Keyring::from_bytes(&keyring.to_bytes()).unwrap();
        assert_eq!(current(&again), second);
        let e = again.activate("0123456789abcdef").unwrap_err();
        assert!(e.code() == Code::Keyring && e.hint().contains(&first), "{e:?}");
    }

    #[test]
    fn a_merge_adds_what_is_missing_and_refuses_another_keyring() {
        let mut one = with_keks(&[1, 2]);
        let mut other = with_keks(&[1, 3]);
        other.mark_escrowed();
        let (second, third) = (one.keks()[1].id().to_owned(), other.keks()[1].id().to_owned());
        assert_eq!(one.merge(&other).unwrap(), Merged { added: vec![third], left_out: vec![] });
        assert_eq!(one.merge(&other).unwrap(), Merged::default());
        let escrowed: Vec<bool> = one.keks().iter().map(Kek::is_escrowed).collect();
        assert_eq!(escrowed, [true, false, true], "{second} was in no export");
        let mut old = with_keks(&[]);
        old.merge(&one).unwrap();
        assert_eq!(current(&old), current(&one));
        assert_eq!(one.merge(&Keyring::generate([8; 32])).unwrap_err().code(), Code::Keyring);
    }

    #[test]
    fn a_new_signing_key_keeps_the_public_key_of_the_one_before_until_that_is_distrusted() {
        let mut keyring = with_keks(&[1]);
        let before = keyring.copy();
        let old = keyring.signing_key().public().clone();
        keyring.new_signing_key([8; 32]);
        assert_ne!(keyring.signing_key().public(), &old);
        assert_eq!((keyring.earlier(), keyring.keks().len()), (&[old.clone()][..], 1));
        assert!(
            !String::from_utf8_lossy(&keyring.to_bytes()).contains(&STANDARD.encode([7; 32])),
            "the old key is gone"
        );
        let again = Keyring::from_bytes(&keyring.to_bytes()).unwrap();
        assert_eq!((again.info_json(), again.copy().info_json()), (keyring.info_json(), keyring.info_json()));
        // A copy from before has KEKs for this keyring, but not this one for it, and does not change the signing key.
        let mut older = before.copy();
        older.add_kek(Kek::new([2; 32], 6));
        assert_eq!(keyring.merge(&older).unwrap().added.len(), 1);
        assert_eq!(keyring.signing_key().public(), again.signing_key().public());
        assert_eq!(older.merge(&keyring).unwrap_err().code(), Code::Keyring);
        let own = keyring.signing_key().public().id().to_owned();
        let e = keyring.distrust(&own).unwrap_err();
        assert!(e.code() == Code::Keyring && e.hint().contains("new-signing-key"), "{e:?}");
        let e = keyring.distrust("0123456789abcdef").unwrap_err();
        assert!(e.code() == Code::Keyring && e.hint().contains(old.id()), "{e:?}");
        keyring.distrust(old.id()).unwrap();
        assert!(
            keyring.earlier().is_empty() && keyring.merge(&before).is_err(),
            "what was distrusted does not come back"
        );
    }

    #[test]
    fn earlier_public_keys_that_cannot_be_are_refused() {
        let mut keyring = with_keks(&[1]);
        keyring.new_signing_key([8; 32]);
        let good = String::from_utf8(keyring.to_bytes().to_vec()).unwrap();
        let (own, old) = (keyring.signing_key().public().to_string(), keyring.earlier()[0].to_string());
        let list = format!("\"earlier\":[\"{old}\"]");
        assert!(good.contains(&list), "{good}");
        for bad in [format!("[\"{own}\"]"), format!("[\"{old}\",\"{old}\"]"), "[\"ed25519 x y\"]".into(), "[7]".into()]
        {
            let e = Keyring::from_bytes(good.replace(&list, &format!("\"earlier\":{bad}")).as_bytes()).unwrap_err();
            assert_eq!(e.code(), Code::Keyring, "{bad}");
        }
    }

    /// A keyring whose first KEK of three was retired, and the id of that.
    fn with_retired() -> (Keyring, String) {
        let mut keyring = with_keks(&[1, 2, 3]);
        let (first, second) = (keyring.keks()[0].id().to_owned(), keyring.keks()[1].id().to_owned());
        keyring.mark_escrowed();
        keyring.activate(&second).unwrap();
        keyring.retire(&first).unwrap();
        (keyring, first)
    }

    #[test]
    fn a_retired_kek_is_dropped_and_its_id_is_kept() {
        let (mut keyring, first) = with_retired();
        keyring.retire(&first).unwrap();
        let again = Keyring::from_bytes(&keyring.to_bytes()).unwrap();
        assert_eq!(again.info_json(), keyring.info_json());
        assert_eq!((again.retired(), again.keks().len(), again.kek(&first).is_none()), (&[first.clone()][..], 2, true));
        assert_eq!(current(&again), with_keks(&[2]).keks()[0].id());
        assert!(!String::from_utf8_lossy(&keyring.to_bytes()).contains(&STANDARD.encode([1; 32])));
        assert_eq!(keyring.activate(&first).unwrap_err().code(), Code::Keyring);
    }

    #[test]
    fn the_current_kek_and_an_unknown_one_are_not_retired() {
        let mut keyring = with_keks(&[1, 2]);
        let before = keyring.to_bytes();
        let (first, second) = (keyring.keks()[0].id().to_owned(), keyring.keks()[1].id().to_owned());
        let e = keyring.retire(&first).unwrap_err();
        assert!(
            e.code() == Code::Keyring && e.message().contains("is current") && e.hint().contains("rotate"),
            "{e:?}"
        );
        for unknown in ["0123456789abcdef", "", "../\u{1b}[31m"] {
            let e = keyring.retire(unknown).unwrap_err();
            assert!(e.code() == Code::Keyring && [&first, &second].iter().all(|id| e.hint().contains(*id)), "{e:?}");
            assert!(!e.message().contains('\u{1b}'), "{e:?}");
        }
        assert_eq!(keyring.to_bytes(), before);
        // One that is in no escrow may be: nothing needs it.
        keyring.retire(&second).unwrap();
    }

    #[test]
    fn a_merge_does_not_bring_a_retired_kek_back_and_drops_none() {
        let (mut keyring, first) = with_retired();
        let mut older = with_keks(&[1, 2, 3, 4]);
        let fourth = older.keks()[3].id().to_owned();
        let merged = keyring.merge(&older).unwrap();
        assert_eq!(merged, Merged { added: vec![fourth], left_out: vec![first.clone()] });
        assert!(keyring.kek(&first).is_none());
        // A copy from before the retirement keeps the KEK, which is current in it.
        assert_eq!(older.merge(&keyring).unwrap(), Merged::default());
        assert_eq!((current(&older), older.retired()), (&*first, &[][..]));
        let mut without = with_keks(&[2]);
        without.merge(&keyring).unwrap();
        assert_eq!(without.merge(&with_keks(&[1])).unwrap().left_out, [first], "what was retired is learned");
    }

    #[test]
    fn ids_of_retired_keks_that_cannot_be_are_refused() {
        let (keyring, first) = with_retired();
        let good = String::from_utf8(keyring.to_bytes().to_vec()).unwrap();
        let (own, retired) = (current(&keyring), format!("\"retired\":[\"{first}\"]"));
        assert!(good.contains(&retired), "{good}");
        for bad in [format!("[\"{own}\"]"), format!("[\"{first}\",\"{first}\"]"), "[\"../x\"]".into(), "[7]".into()] {
            let e = Keyring::from_bytes(good.replace(&retired, &format!("\"retired\":{bad}")).as_bytes()).unwrap_err();
            assert_eq!(e.code(), Code::Keyring, "{bad}");
        }
    }

    #[test]
    fn an_external_kek_is_current_needs_no_escrow_and_is_in_no_file() {
        use crate::crypto::external::token::Token;
        let inside = with_keks(&[1]);
        let id = "0123456789abcdef";
        let keyring = inside.with_external(id, Arc::new(Token::new(1)), 9).unwrap();
        assert_eq!((current(&keyring), current(&inside)), (id, inside.keks()[0].id()));
        assert!(keyring.kek(id).unwrap().is_external() && keyring.kek(id).unwrap().is_escrowed());
        let info: serde_json::Value = serde_json::from_str(&keyring.info_json()).unwrap();
        let external: Vec<_> = info["keks"].as_array().unwrap().iter().map(|kek| kek["external"].clone()).collect();
        assert_eq!(external, [false, true]);
        let file = Keyring::from_bytes(&keyring.to_bytes()).unwrap();
        assert!(file.kek(id).is_none() && file.current_kek().is_none() && file.keks().len() == 1);
        let mut copy = keyring.copy();
        copy.mark_escrowed();
        let other = copy.keks()[0].id().to_owned();
        copy.activate(&other).unwrap();
        assert_eq!(current(&Keyring::from_bytes(&copy.to_bytes()).unwrap()), other);
        copy.activate(id).unwrap();
        assert_eq!(current(&copy), id);
        for (bad, says) in [(id, "already"), (&id[1..], "16 lower-case"), ("0123456789ABCDEF", "16 lower-case")] {
            let e = keyring.with_external(bad, Arc::new(Token::new(2)), 9).unwrap_err();
            assert!(e.code() == Code::InvalidArgument && e.message().contains(says), "{e:?}");
        }
    }

    #[test]
    fn the_public_information_has_no_key() {
        let keyring = with_keks(&[1, 2]);
        let info: serde_json::Value = serde_json::from_str(&keyring.info_json()).unwrap();
        assert_eq!(info["keks"][0]["current"], true);
        assert_eq!(info["keks"][1]["current"], false);
        assert_eq!((&info["keks"][1]["created"], &info["keks"][1]["escrowed"]), (&5.into(), &false.into()));
        for shown in [keyring.info_json(), format!("{keyring:?}")] {
            for secret in [[7; 32], [1; 32], [2; 32]] {
                assert!(!shown.contains(&STANDARD.encode(secret)) && !shown.contains(&hex::encode(secret)), "{shown}");
            }
        }
    }
}
