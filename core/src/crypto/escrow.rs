//! The escrow: what the owner of a vault keeps for an emergency. It has the keyring, and what is needed to find and to
//! verify the backups: the vault's id, the public keys that the owner trusts, and the settings without secrets.
//!
//! It is JSON: `{"format":1,"escrow":"s3vault","created":<Unix ms>,"keyring":<the JSON of the keyring file>,
//! "external":["<id of a KEK>"],"verify_keys":["ed25519 <id> <base64>"],"vault_id":"<32 hex>",
//! "settings":{"bucket":"backups"}}`; `external`, which names the KEKs that are kept elsewhere, is missing where there are
//! none, and `vault_id` and `settings` where they were not known. It is secret: it is kept encrypted, as an age file.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::age::{self, Failure, Identities, MOST_WORK, Opener, Passphrase};
use super::keyring::{Keyring, PublicKey, Stored as StoredKeyring};
use crate::error::{Code, Error, Result};

/// Larger than any escrow file, in bytes; a larger file is something else.
const LARGEST: usize = 16 << 20;

/// What `escrow` says, so that another JSON file is told apart.
const KIND: &str = "s3vault";

/// What an escrow has.
pub struct Escrow {
    /// When it was made, in Unix milliseconds.
    pub created_ms: i64,
    /// The keys. All KEKs are escrowed.
    pub keyring: Keyring,
    /// Ids of the KEKs that are kept elsewhere: backups that they wrap the keys of need more than this escrow.
    pub external: Vec<String>,
    /// The public keys that the owner trusts; that of the keyring is among them.
    pub verify_keys: Vec<PublicKey>,
    /// The vault's id.
    pub vault_id: Option<String>,
    /// The vault's settings, without secrets.
    pub settings: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    escrow: String,
    created: i64,
    keyring: StoredKeyring,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    external: Vec<String>,
    #[serde(default)]
    verify_keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vault_id: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<String, String>,
}

/// How an escrow file is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// By a passphrase; opening it takes this many bytes of memory.
    Passphrase {
        /// The number of bytes.
        memory: u64,
    },
    /// It is for recipients, whose identities open it.
    Recipients,
}

/// How an escrow file, armored or binary, is protected. Fails with `KEYRING` if it is not an age file, or is one that cannot
/// be opened here.
pub fn protection(file: &[u8]) -> Result<Protection> {
    if file.len() > LARGEST {
        return Err(refused("it is too large for an escrow"));
    }
    let memory = age::passphrase_memory(file).map_err(|failure| explain(failure, false))?;
    Ok(memory.map_or(Protection::Recipients, |memory| Protection::Passphrase { memory }))
}

fn explain(failure: Failure, with_passphrase: bool) -> Error {
    match failure {
        Failure::Version => refused("its version of age is unknown"),
        Failure::Armor | Failure::Header => refused("it is not an age file, or is damaged")
            .with_hint("Name a file that 's3vault keys export' or an age tool made."),
        Failure::Mac | Failure::Payload => refused("it is damaged, or was changed"),
        Failure::NoMatch if with_passphrase => refused("the passphrase is wrong"),
        Failure::NoMatch => refused("none of the identities is one of its recipients"),
        Failure::Work(required) => {
            refused(&format!("its passphrase needs too much work: 2^{required}, and at most 2^{MOST_WORK} is accepted"))
                .with_hint("Decrypt it with an age tool, and encrypt it again with less.")
        }
        Failure::Memory(bytes) => refused(&format!("its passphrase needs {} MiB of memory", bytes >> 20))
            .with_hint("Close other programs, or open it on a machine with more memory."),
    }
}

fn refused(why: &str) -> Error {
    Error::new(Code::Keyring, format!("cannot open the escrow file: {why}"))
}

/// Whether it has a line of an age identity.
fn is_identity(secret: &[u8]) -> bool {
    secret.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"AGE-SECRET-KEY-"))
}

impl Escrow {
    /// Opens an escrow file, armored or binary: the secret is its passphrase, or the lines of a file of age identities.
    pub fn open(file: &[u8], secret: &[u8]) -> Result<Escrow> {
        let with_passphrase = protection(file)? != Protection::Recipients;
        let opener = if with_passphrase {
            if is_identity(secret) {
                return Err(refused("it is protected by a passphrase, and an identity was given"));
            }
            Opener::Passphrase(Passphrase::new(secret)?)
        } else {
            Opener::Identities(Identities::parse(secret).ok_or_else(|| {
                refused("it is for recipients, and what was given are not age identities")
                    .with_hint("Give the file that age-keygen made, with lines AGE-SECRET-KEY-1...")
            })?)
        };
        let content = age::decrypt(file, &opener).map_err(|failure| explain(failure, with_passphrase))?;
        Escrow::from_bytes(&content).map_err(|e| e.context("escrow file"))
    }

    /// Parses the JSON.
    pub fn from_bytes(bytes: &[u8]) -> Result<Escrow> {
        let refuse = |why: &str| Error::new(Code::Keyring, format!("this is not a valid escrow: {why}"));
        // serde's own message could show a key.
        let stored: Stored = serde_json::from_slice(bytes)
            .map_err(|e| refuse(&format!("its JSON is invalid at line {}, column {}", e.line(), e.column())))?;
        if stored.escrow != KIND {
            return Err(refuse("its field escrow is not 's3vault'"));
        }
        if stored.format != 1 {
            return Err(refuse("its format is newer than this library"));
        }
        let mut keyring = Keyring::from_stored(&stored.keyring)?;
        keyring.mark_escrowed();
        let verify_keys = stored.verify_keys.iter().map(|line| PublicKey::parse(line)).collect::<Result<_>>()?;
        let Stored { created, external, vault_id, settings, .. } = stored;
        Ok(Escrow { created_ms: created, keyring, external, verify_keys, vault_id, settings })
    }

    /// The JSON, which is secret.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>> {
        let stored = Stored {
            format: 1,
            escrow: KIND.to_owned(),
            created: self.created_ms,
            keyring: self.keyring.stored(),
            external: self.external.clone(),
            verify_keys: self.verify_keys.iter().map(PublicKey::to_string).collect(),
            vault_id: self.vault_id.clone(),
            settings: self.settings.clone(),
        };
        let written = serde_json::to_vec(&stored);
        let mut bytes =
            Zeroizing::new(written.map_err(|_| Error::new(Code::Internal, "the escrow could not be written as JSON"))?);
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl fmt::Debug for Escrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Escrow({:?})", self.keyring)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::crypto::keyring::Kek;

    fn escrow() -> Escrow {
        let mut keyring = Keyring::generate([7; 32]);
        keyring.add_kek(Kek::new([1; 32], 5));
        Escrow {
            created_ms: 9,
            verify_keys: vec![keyring.signing_key().public().clone()],
            keyring,
            external: vec!["0123456789abcdef".into()],
            vault_id: Some("0".repeat(32)),
            settings: [("bucket".to_owned(), "backups".to_owned())].into(),
        }
    }

    #[test]
    fn an_escrow_survives_a_round_trip_and_its_keks_are_escrowed() {
        let made = escrow();
        let again = Escrow::from_bytes(&made.to_bytes().unwrap()).unwrap();
        assert_eq!(again.keyring.keks()[0].id(), made.keyring.keks()[0].id());
        assert!(again.keyring.keks()[0].is_escrowed());
        assert_eq!(again.keyring.signing_key().public(), made.keyring.signing_key().public());
        assert_eq!((again.external, again.vault_id, again.settings), (made.external, made.vault_id, made.settings));
        assert_eq!((again.created_ms, again.verify_keys), (9, made.verify_keys));
    }

    #[test]
    fn the_keyring_inside_is_the_content_of_a_keyring_file() {
        let json: serde_json::Value = serde_json::from_slice(&escrow().to_bytes().unwrap()).unwrap();
        let keyring = serde_json::to_vec(&json["keyring"]).unwrap();
        assert_eq!(Keyring::from_bytes(&keyring).unwrap().keks().len(), 1);
    }

    #[test]
    fn an_invalid_escrow_is_refused_and_its_keys_are_not_shown() {
        let good = String::from_utf8(escrow().to_bytes().unwrap().to_vec()).unwrap();
        let secrets = [STANDARD.encode([7; 32]), STANDARD.encode([1; 32])];
        for bad in [
            String::new(),
            "{}".into(),
            good.replace("{\"format\":1,\"escrow\"", "{\"format\":2,\"escrow\""),
            good.replace("\"escrow\":\"s3vault\"", "\"escrow\":\"other\""),
            good.replace("\"seed\":\"", "\"seed\":"),
            good.replace("\"key\":\"", "\"key\":\"A"),
            good.replace("\"keyring\":", "\"keys\":"),
        ] {
            let e = Escrow::from_bytes(bad.as_bytes()).unwrap_err();
            assert_eq!(e.code(), Code::Keyring, "{bad}");
            assert!(secrets.iter().all(|secret| !format!("{e:?}{e}").contains(secret)), "{e:?}");
        }
        assert!(secrets.iter().all(|secret| !format!("{:?}", escrow()).contains(secret)));
    }

    #[test]
    fn unknown_fields_of_a_later_version_are_ignored() {
        let text = String::from_utf8(escrow().to_bytes().unwrap().to_vec()).unwrap();
        assert!(Escrow::from_bytes(text.replacen("{\"format\"", "{\"later\":[1],\"format\"", 1).as_bytes()).is_ok());
    }
}
