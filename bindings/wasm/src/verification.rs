//! The manifest and its signature, judged.

use std::rc::Rc;

use s3vault_core::crypto::keyring::VerifyKeys;
use s3vault_core::vault::manifest::{self, PartHash};
use s3vault_core::vault::signed::{self, Trust};
use s3vault_core::vault::{Kind, Manifest};
use s3vault_core::{Code, Error};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::to_js;

/// A manifest that was read and judged. The data is judged apart, by `PartsCheck`.
#[wasm_bindgen]
pub struct Verification {
    judgement: Judgement,
    signer: Option<String>,
    hash: String,
    parts: Rc<[PartHash]>,
}

enum Judgement {
    Good(Manifest),
    Unsigned(Manifest),
    Bad(Error),
}

/// What a manifest says of its backup.
#[wasm_bindgen(getter_with_clone)]
#[derive(Clone)]
pub struct Summary {
    /// The container: a VM's name with an identifier.
    #[wasm_bindgen(readonly)]
    pub container: String,
    /// The path in the container.
    #[wasm_bindgen(readonly)]
    pub path: String,
    /// The version id.
    #[wasm_bindgen(readonly)]
    pub vid: String,
    /// `full` or `inc` (an incremental, which needs its parent).
    #[wasm_bindgen(readonly)]
    pub kind: String,
    /// The version that an incremental builds on.
    #[wasm_bindgen(readonly)]
    pub parent: Option<String>,
    /// The instant of the backup, in Unix milliseconds of the store's clock.
    #[wasm_bindgen(readonly)]
    pub recorded: i64,
    /// Bytes of the backup.
    #[wasm_bindgen(readonly)]
    pub size: u64,
    /// Objects that its data is stored in; their bytes, one after the other, are the backup.
    #[wasm_bindgen(readonly)]
    pub extents: u32,
    /// Parts that it is verified in.
    #[wasm_bindgen(readonly)]
    pub parts: u32,
}

#[wasm_bindgen]
impl Verification {
    /// Reads a manifest and checks its signature with these public keys: lines `ed25519 <id> <base64>`, as
    /// `s3vault keys public` prints them.
    ///
    /// Throws an `Error` with the code as `name` and with a `hint` where there is nothing to judge: a public key that
    /// is none (`S3V_E_INVALID_OPTION`), or bytes that are no manifest (`S3V_E_FORMAT`).
    #[wasm_bindgen(constructor)]
    pub fn new(object: &[u8], public_keys: &str) -> Result<Verification, JsValue> {
        judge(object, public_keys).map_err(|e| to_js(&e))
    }

    /// `good`: a trusted key signed this manifest. `unsigned`: it carries no signature, so anybody may have written
    /// it. `bad`: its signature is wrong or by a key that is not trusted, or it contradicts itself.
    #[wasm_bindgen(getter, unchecked_return_type = r#""good" | "unsigned" | "bad""#)]
    pub fn verdict(&self) -> String {
        match self.judgement {
            Judgement::Good(_) => "good",
            Judgement::Unsigned(_) => "unsigned",
            Judgement::Bad(_) => "bad",
        }
        .into()
    }

    /// Why the verdict is `bad`; else empty.
    #[wasm_bindgen(getter)]
    pub fn reason(&self) -> String {
        self.error().map_or_else(String::new, |e| e.message().to_owned())
    }

    /// The code of the reason: `S3V_E_UNTRUSTED` or `S3V_E_FORMAT`; empty where the verdict is not `bad`.
    #[wasm_bindgen(getter)]
    pub fn code(&self) -> String {
        self.error().map_or_else(String::new, |e| e.code().info().name.to_owned())
    }

    /// The id of the key that the signature claims to be by, right or not; undefined where there is none.
    #[wasm_bindgen(getter, js_name = keyId)]
    pub fn key_id(&self) -> Option<String> {
        self.signer.clone()
    }

    /// BLAKE3 of the object as it is stored, in hex: what a pin holds.
    #[wasm_bindgen(getter)]
    pub fn hash(&self) -> String {
        self.hash.clone()
    }

    /// What the manifest says; undefined where the verdict is `bad`.
    #[wasm_bindgen(getter)]
    pub fn summary(&self) -> Option<Summary> {
        let (Judgement::Good(manifest) | Judgement::Unsigned(manifest)) = &self.judgement else {
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

    /// Bytes of each part, in order; empty where the verdict is `bad`.
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
        match &self.judgement {
            Judgement::Bad(error) => Some(error),
            _ => None,
        }
    }
}

fn judge(object: &[u8], public_keys: &str) -> Result<Verification, Error> {
    let keys = VerifyKeys::parse(public_keys)?;
    let judgement = match signed::open(object, &keys) {
        Err(error) if error.code() == Code::Untrusted => Judgement::Bad(error),
        _ if !claims_to_be_manifest(object) => {
            return Err(Error::new(Code::Format, "this is no manifest of a backup")
                .with_hint("Choose the file that 's3vault manifest CONTAINER PATH FILE' writes."));
        }
        // Something stands where the signature belongs, and is none.
        Err(error) => Judgement::Bad(error),
        Ok(_) => read(object, &keys)?,
    };
    let parts = match &judgement {
        Judgement::Good(manifest) | Judgement::Unsigned(manifest) => manifest.parts().map(|p| *p.2).collect(),
        Judgement::Bad(_) => Rc::default(),
    };
    Ok(Verification { judgement, signer: signer(object), hash: manifest::hash(object), parts })
}

/// What does not even say that it is a manifest is an error; what says so and is wrong is bad.
fn claims_to_be_manifest(object: &[u8]) -> bool {
    let json = object.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let key = value["key"].as_str().unwrap_or_default();
    key.starts_with("_s3vault/") && key.split('/').nth(2) == Some("cat")
}

fn read(object: &[u8], keys: &VerifyKeys) -> Result<Judgement, Error> {
    Ok(match Manifest::open(object, keys) {
        Ok((opened, _)) if opened.manifest.kind == Kind::Del => {
            return Err(Error::new(Code::Format, "this says that a backup was deleted: there is no data to verify")
                .with_hint("Choose the manifest of a version that holds data."));
        }
        Ok((opened, Trust::Signed { .. })) => Judgement::Good(opened.manifest),
        Ok((opened, Trust::Unsigned)) => Judgement::Unsigned(opened.manifest),
        Err(error) => Judgement::Bad(error),
    })
}

/// The second word of the second line.
fn signer(object: &[u8]) -> Option<String> {
    let line = object.split(|byte| *byte == b'\n').nth(1)?;
    std::str::from_utf8(line).ok()?.split(' ').nth(1).map(str::to_owned)
}
