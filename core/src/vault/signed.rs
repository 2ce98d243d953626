//! Signed objects: catalogue rows and locators.
//!
//! ```text
//! {"format":1,"key":"_s3vault/1/cat/…",…}
//! ed25519 <key id> <base64 of the signature>
//! ```
//! The JSON is on one line. The signature covers `s3vault/1\0` and the JSON's bytes as they are, without the line end.
//! A vault without a keyring writes no second line. The JSON contains its own `key`, so that an object can be verified
//! alone, and one that was moved is recognized.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::crypto::ed25519::SIGNATURE_LENGTH;
use crate::crypto::keyring::{SigningKey, VerifyKeys};
use crate::error::{Code, Error, Result};
use crate::text::{presentable, presentable_key};

const CONTEXT: &[u8] = b"s3vault/1\0";

/// The format that this library writes and reads.
pub const FORMAT: u32 = 1;

/// The hint for an object that was changed after it was signed. Adding a key never helps.
const CHANGED: &str =
    "Do not trust this object: restore another version, or from a replica, and look who can write to the bucket.";

/// The hint for an object that was signed with a key that this vault does not know. An attacker's key looks like this.
const UNKNOWN_KEY: &str = "Treat this object as forged, unless you know that the key is yours: compare its id with those that the owner of the backups has (s3vault keys public). Only then open the vault with its keyring.";

/// The hint for an object without a signature.
const UNSIGNED: &str = "Do not trust this object: anyone who can write to the bucket can remove a signature. Restore a version that is signed, or from a replica. Backups are signed if the program that stores them opens a keyring.";

/// Encodes an object from its JSON. The JSON's buffer is signed in place and becomes the object: a manifest may have
/// millions of parts.
pub fn encode(mut json: Vec<u8>, key: Option<&SigningKey>) -> Vec<u8> {
    let line = key.map(|key| {
        json.splice(..0, CONTEXT.iter().copied());
        let signature = STANDARD.encode(key.sign(&json));
        json.drain(..CONTEXT.len());
        format!("ed25519 {} {signature}\n", key.public().id())
    });
    json.push(b'\n');
    json.extend(line.unwrap_or_default().bytes());
    json
}

fn message(json: &[u8]) -> Vec<u8> {
    [CONTEXT, json].concat()
}

/// Returns the JSON of an object and the id of the key that signed it, after checking the signature. A signature that
/// is wrong, or by a key that is not among `keys`, is [`Code::Untrusted`]; an object without one has no key id, and the
/// caller decides whether to accept it.
pub fn open<'a>(object: &'a [u8], keys: &VerifyKeys) -> Result<(&'a [u8], Option<&'a str>)> {
    let (json, line) = split(object)?;
    let Some((key_id, signature)) = line else {
        return Ok((json, None));
    };
    let untrusted = |why: String, hint: &str| Err(Error::new(Code::Untrusted, why).with_hint(hint));
    match keys.get(key_id) {
        None => {
            untrusted(format!("the object is signed by key {}, which is not trusted", presentable(key_id)), UNKNOWN_KEY)
        }
        Some(key) if !key.verifies(&message(json), &signature) => {
            untrusted(format!("the signature by key {key_id} does not match: the object's bytes were changed"), CHANGED)
        }
        Some(_) => Ok((json, Some(key_id))),
    }
}

/// As [`open`], for those who accept signed objects only.
pub(crate) fn open_signed<'a>(object: &'a [u8], keys: &VerifyKeys) -> Result<(&'a [u8], &'a str)> {
    match open(object, keys)? {
        (json, Some(key_id)) => Ok((json, key_id)),
        (_, None) => {
            let why = "it is not signed, and only signed objects are accepted here";
            Err(Error::new(Code::Untrusted, why).with_hint(UNSIGNED))
        }
    }
}

/// The JSON of an object; its signature is not checked.
pub(crate) fn json(object: &[u8]) -> Result<&[u8]> {
    Ok(split(object)?.0)
}

type Parts<'a> = (&'a [u8], Option<(&'a str, [u8; SIGNATURE_LENGTH])>);

fn split(object: &[u8]) -> Result<Parts<'_>> {
    let refuse = |why: &str| Error::new(Code::Format, format!("this is not an object of a vault: {why}"));
    let end = object.iter().position(|b| *b == b'\n').ok_or_else(|| refuse("its first line is not complete"))?;
    let (json, rest) = (&object[..end], &object[end + 1..]);
    if rest.is_empty() {
        return Ok((json, None));
    }
    let bad = || refuse("its second line is not a signature");
    let line = std::str::from_utf8(rest).ok().and_then(|r| r.strip_suffix('\n')).ok_or_else(bad)?;
    let mut words = line.split(' ');
    let (Some("ed25519"), Some(key_id), Some(text), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let signature = STANDARD.decode(text).ok().and_then(|s| s.try_into().ok()).ok_or_else(bad)?;
    Ok((json, Some((key_id, signature))))
}

#[derive(Deserialize)]
struct Envelope {
    format: u32,
    #[serde(default)]
    requires: Vec<String>,
    key: String,
}

/// Parses an object's JSON: checks its format first, then what it requires, then parses its fields. `found_at` is the
/// key that it was read from, if it came from a store.
pub fn parse<T: DeserializeOwned>(json: &[u8], found_at: Option<&str>) -> Result<T> {
    let malformed = |e: serde_json::Error| {
        Error::new(Code::Format, format!("the object's JSON cannot be read: {}", presentable(e)))
    };
    let envelope: Envelope = serde_json::from_slice(json).map_err(malformed)?;
    if envelope.format != FORMAT {
        let why = format!("the object has format {}, but this library reads format {FORMAT}", envelope.format);
        return Err(Error::new(Code::Format, why));
    }
    if let Some(name) = envelope.requires.first() {
        let why = format!("the object requires '{}', which this library does not support", presentable(name));
        return Err(Error::new(Code::Format, why));
    }
    if let Some(key) = found_at.filter(|key| *key != envelope.key) {
        let why = format!(
            "the object at {} says that it belongs at {}: it was moved",
            presentable_key(key),
            presentable_key(envelope.key)
        );
        return Err(Error::new(Code::Untrusted, why).with_hint(
            "Do not trust this object: somebody copied objects inside the bucket. Look who can write to it.",
        ));
    }
    serde_json::from_slice(json).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keyring::Keyring;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const JSON: &[u8] = br#"{"format":1,"key":"k"}"#;

    fn keys(ring: &Keyring) -> VerifyKeys {
        VerifyKeys::one(ring.signing_key().public())
    }

    #[test]
    fn a_signature_verifies_and_any_changed_byte_breaks_it() {
        let ring = Keyring::generate([1; 32]);
        let object = encode(JSON.to_vec(), Some(ring.signing_key()));
        assert_eq!(open(&object, &keys(&ring)).unwrap(), (JSON, Some(ring.signing_key().public().id())));
        for n in 0..object.len() {
            let mut changed = object.clone();
            changed[n] ^= 1;
            // A changed line end can hide the signature; then the object counts as unsigned, never as signed.
            assert!(!matches!(open(&changed, &keys(&ring)), Ok((_, Some(_)))), "byte {n}");
        }
        let more = [&object[..object.len() - 1], b" more\n"].concat();
        assert_eq!(open(&more, &keys(&ring)).unwrap_err().code(), Code::Format);
        let other = open(&object, &keys(&Keyring::generate([2; 32]))).unwrap_err();
        assert_eq!(other.code(), Code::Untrusted);
        assert_eq!(open(&object, &VerifyKeys::default()).unwrap_err().code(), Code::Untrusted);
    }

    #[test]
    fn without_a_keyring_there_is_no_second_line() {
        let object = encode(JSON.to_vec(), None);
        assert_eq!(object, b"{\"format\":1,\"key\":\"k\"}\n");
        assert_eq!(open(&object, &VerifyKeys::default()).unwrap(), (JSON, None));
        let cut = open(JSON, &VerifyKeys::default()).unwrap_err();
        assert_eq!(cut.code(), Code::Format);
    }

    #[test]
    fn format_requirements_and_key_are_checked_first() {
        let read = |json: &str, at| parse::<serde_json::Value>(json.as_bytes(), at).map_err(|e| e.code());
        assert!(read(r#"{"format":1,"key":"k","new":[1]}"#, Some("k")).is_ok());
        assert!(read(r#"{"format":1,"key":"k"}"#, None).is_ok());
        for other in [0, 2] {
            assert_eq!(read(&format!(r#"{{"format":{other},"key":"k"}}"#), None), Err(Code::Format));
        }
        assert_eq!(read(r#"{"format":1,"key":"k","requires":["tiers"]}"#, None), Err(Code::Format));
        assert_eq!(read(r#"{"format":1,"key":"k"}"#, Some("other")), Err(Code::Untrusted));
        assert_eq!(read("{", None), Err(Code::Format));
    }
}
