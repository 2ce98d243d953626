//! An escrow file before it is opened.

use s3vault_core::crypto::escrow::{self, Protection};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::to_js;

/// An escrow file, which is not opened yet.
#[wasm_bindgen]
pub struct EscrowFile {
    pub(crate) bytes: Vec<u8>,
    protection: Protection,
}

#[wasm_bindgen]
impl EscrowFile {
    /// Reads how an escrow file is protected.
    ///
    /// Throws an `Error`, with `S3V_E_KEYRING` as `name` and with a `hint`, if it is not an age file, or needs more memory
    /// than is accepted here.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: Vec<u8>) -> Result<EscrowFile, JsValue> {
        let protection = escrow::protection(&bytes).map_err(|e| to_js(&e))?;
        Ok(EscrowFile { bytes, protection })
    }

    /// What opens it: a `passphrase`, or an `identity` of age, as age-keygen writes it.
    #[wasm_bindgen(getter, unchecked_return_type = r#""passphrase" | "identity""#)]
    pub fn secret(&self) -> String {
        match self.protection {
            Protection::Passphrase { .. } => "passphrase",
            Protection::Recipients => "identity",
        }
        .into()
    }

    /// Number of bytes of memory that opening it takes: scrypt, which makes keys of passphrases, needs it. It is at most 1
    /// GiB.
    #[wasm_bindgen(getter)]
    pub fn memory(&self) -> u64 {
        match self.protection {
            Protection::Passphrase { memory } => memory,
            Protection::Recipients => 0,
        }
    }
}
