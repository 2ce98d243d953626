//! Verifies the manifest and its signature.

use std::rc::Rc;

use s3vault_core::crypto::keyring::VerifyKeys;
use s3vault_core::vault::manifest::{self, PartHash};
use s3vault_core::vault::signed;
use s3vault_core::vault::{Kind, Manifest};
use s3vault_core::{Code, Error};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::to_js;

/// A manifest that was read and verified. `PartsCheck` verifies the data.
#[wasm_bindgen]
pub struct Verification {
    outcome: Outcome,
    signer: Option<String>,
    hash: String,
    parts: Rc<[PartHash]>,
}

enum Outcome {
    Good(Manifest),
    Unsigned(Manifest),
    Bad(Error),
}

/// How a manifest describes its backup.
#[wasm_bindgen(getter_with_clone)]
#[derive(Clone)]
pub struct Summary {
    /// The container, for example the name of a VM.
    #[wasm_bindgen(readonly)]
    pub container: String,
    /// The path in the container.
    #[wasm_bindgen(readonly)]
    pub path: String,
    /// The version id.
    #[wasm_bindgen(readonly)]
    pub vid: String,
    /// `full` or `inc` (incremental).
    #[wasm_bindgen(readonly)]
    pub kind: String,
    /// The version that an incremental builds on.
    #[wasm_bindgen(readonly)]
    pub parent: Option<String>,
    /// The time of the backup by the store's clock, in Unix milliseconds.
    #[wasm_bindgen(readonly)]
    pub recorded: i64,
    /// Size of the backup in bytes.
    #[wasm_bindgen(readonly)]
    pub size: u64,
    /// Number of objects that hold the data, one after the other.
    #[wasm_bindgen(readonly)]
    pub extents: u32,
    /// Number of parts.
    #[wasm_bindgen(readonly)]
    pub parts: u32,
}

#[wasm_bindgen]
impl Verification {
    /// Reads a manifest and verifies its signature with the trusted public keys: lines `ed25519 <id> <base64>`, as
    /// `s3vault keys public` prints them.
    ///
    /// Throws an `Error`, with the code as `name` and with a `hint`, if `public_keys` has a line that is not a public
    /// key (`S3V_E_INVALID_OPTION`), or if `object` is not a manifest (`S3V_E_FORMAT`).
    #[wasm_bindgen(constructor)]
    pub fn new(object: &[u8], public_keys: &str) -> Result<Verification, JsValue> {
        verify(object, public_keys).map_err(|e| to_js(&e))
    }

    /// `good`: a trusted key signed this manifest. `unsigned`: it has no signature, so anyone could have written it.
    /// `bad`: its signature is wrong or by a key that is not trusted, or the manifest is inconsistent.
    #[wasm_bindgen(getter, unchecked_return_type = r#""good" | "unsigned" | "bad""#)]
    pub fn verdict(&self) -> String {
        match self.outcome {
            Outcome::Good(_) => "good",
            Outcome::Unsigned(_) => "unsigned",
            Outcome::Bad(_) => "bad",
        }
        .into()
    }

    /// Why the verdict is `bad`; otherwise empty.
    #[wasm_bindgen(getter)]
    pub fn reason(&self) -> String {
        self.error().map_or_else(String::new, |e| e.message().to_owned())
    }

    /// The code of the reason: `S3V_E_UNTRUSTED` or `S3V_E_FORMAT`; empty unless the verdict is `bad`.
    #[wasm_bindgen(getter)]
    pub fn code(&self) -> String {
        self.error().map_or_else(String::new, |e| e.code().info().name.to_owned())
    }

    /// The id of the key that the signature names, whether or not it is valid; undefined without a signature.
    #[wasm_bindgen(getter, js_name = keyId)]
    pub fn key_id(&self) -> Option<String> {
        self.signer.clone()
    }

    /// BLAKE3 of the manifest as it is stored, in hex: the pin of this version.
    #[wasm_bindgen(getter)]
    pub fn hash(&self) -> String {
        self.hash.clone()
    }

    /// How the manifest describes its backup; undefined if the verdict is `bad`.
    #[wasm_bindgen(getter)]
    pub fn summary(&self) -> Option<Summary> {
        let (Outcome::Good(manifest) | Outcome::Unsigned(manifest)) = &self.outcome else {
            return None;
        };
        Some(Summary {
            container: manifest.container.clone(),
            path: manifest.path.clone(),
            vid: manifest.vid.clone(),
            kind: manifest.kind.as_str().to_owned(),
            parent: manifest.parent.clone(),
            recorded: manifest.recorded,
            size: manifest.size,
            extents: manifest.extents.len() as u32,
            parts: self.parts.len() as u32,
        })
    }

    /// Length of each part in bytes, in order; empty if the verdict is `bad`.
    #[wasm_bindgen(js_name = partLengths)]
    pub fn part_lengths(&self) -> Vec<u64> {
        self.parts.iter().map(|part| part.length).collect()
    }
}

impl Verification {
    pub(crate) fn parts(&self) -> Rc<[PartHash]> {
        Rc::clone(&self.parts)
    }

    fn error(&self) -> Option<&Error> {
        match &self.outcome {
            Outcome::Bad(error) => Some(error),
            _ => None,
        }
    }
}

fn verify(object: &[u8], public_keys: &str) -> Result<Verification, Error> {
    let keys = VerifyKeys::parse(public_keys)?;
    let outcome = match signed::open(object, &keys) {
        Err(error) if error.code() == Code::Untrusted => Outcome::Bad(error),
        _ if !claims_to_be_manifest(object) => {
            return Err(Error::new(Code::Format, "this is not a manifest of a backup")
                .with_hint("Choose the file that 's3vault manifest CONTAINER PATH FILE' writes."));
        }
        // What is in the place of the signature is not one.
        Err(error) => Outcome::Bad(error),
        Ok(_) => read(object, &keys)?,
    };
    let parts = match &outcome {
        Outcome::Good(manifest) | Outcome::Unsigned(manifest) => manifest.parts().map(|part| *part.hash).collect(),
        Outcome::Bad(_) => Rc::default(),
    };
    Ok(Verification { outcome, signer: signer(object), hash: manifest::hash(object), parts })
}

/// Tells an object that is not a manifest, which is an error, from a manifest that is wrong, whose verdict is bad.
fn claims_to_be_manifest(object: &[u8]) -> bool {
    let json = object.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let key = value["key"].as_str().unwrap_or_default();
    key.starts_with("_s3vault/") && key.split('/').nth(2) == Some("cat")
}

fn read(object: &[u8], keys: &VerifyKeys) -> Result<Outcome, Error> {
    Ok(match Manifest::open(object, keys) {
        Ok(opened) if opened.manifest.kind == Kind::Del => {
            return Err(Error::new(
                Code::Format,
                "this manifest records that a backup was deleted, so there is no data to verify",
            )
            .with_hint("Choose the manifest of a version that has data."));
        }
        // Nothing of its data would be compared, and a page must not say that it is right.
        Ok(opened) if opened.manifest.has_no_hashes() => {
            return Err(Error::new(
                Code::Format,
                "this manifest is of data that was adopted without hashes, so the data cannot be verified",
            )
            .with_hint("Adopt it again with 's3vault adopt --hash', and choose the manifest of that version."));
        }
        Ok(opened) if opened.signed_by.is_some() => Outcome::Good(opened.manifest),
        Ok(opened) => Outcome::Unsigned(opened.manifest),
        Err(error) => Outcome::Bad(error),
    })
}

/// The id of the key that signed: the second word of the second line.
fn signer(object: &[u8]) -> Option<String> {
    let line = object.split(|byte| *byte == b'\n').nth(1)?;
    std::str::from_utf8(line).ok()?.split(' ').nth(1).map(str::to_owned)
}
