//! Verification of a signed manifest without a store.

use s3vault_core::crypto::keyring::VerifyKeys;
use s3vault_core::vault::Manifest;
use s3vault_core::{Code, Result};
use serde_json::json;

/// Returns the verdict on a signed object, as JSON: `verdict` is `good`, `unsigned` or `bad`; unless it is bad, the
/// contents of the manifest are included. `public_keys`: lines `ed25519 <id> <base64>`.
pub fn verify_manifest(object: &[u8], public_keys: &str) -> Result<String> {
    let keys = VerifyKeys::parse(public_keys)?;
    let opened = match Manifest::open(object, &keys) {
        Ok(opened) => opened,
        Err(e) if matches!(e.code(), Code::Untrusted | Code::Format) => {
            return Ok(json!({"verdict": "bad", "reason": e.message(), "code": e.code().info().name}).to_string());
        }
        Err(e) => return Err(e),
    };
    let (verdict, reason) = match &opened.signed_by {
        Some(key_id) => ("good", format!("signed by key {key_id}")),
        None => ("unsigned", "the manifest has no signature".into()),
    };
    let key_id = opened.signed_by.as_deref().unwrap_or_default();
    let manifest = &opened.manifest;
    let report = json!({
        "verdict": verdict, "reason": reason, "key_id": key_id, "hash": opened.hash,
        "container": manifest.container, "path": manifest.path, "vid": manifest.vid, "kind": manifest.kind.as_str(),
        "parent": manifest.parent, "size": manifest.size, "initiated": manifest.initiated,
        "recorded": manifest.recorded, "parts": manifest.parts().count(),
        "labels": manifest.labels,
    });
    Ok(report.to_string())
}
