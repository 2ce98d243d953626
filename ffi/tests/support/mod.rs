//! Shared code of the tests of the Rust API: a vault on an embedded store, and bytes to store.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use s3vault::{Control, Settings, Vault};

pub fn settings(pairs: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::new();
    for (key, value) in pairs {
        settings.set(key, value).unwrap();
    }
    settings
}

/// Settings for a bucket of an embedded store, whose keys are `access` and `secret`, with the transport that
/// S3VAULT_TRANSPORT names. A call fails after some seconds of a fault that never ends.
pub fn reaching(url: &str, bucket: &str) -> Settings {
    let transport = std::env::var("S3VAULT_TRANSPORT").unwrap_or_default();
    settings(&[
        ("api_url", url),
        ("access_key", "access"),
        ("secret_key", "secret"),
        ("bucket", bucket),
        ("transport", &transport),
        ("retry_time", "4"),
    ])
}

/// A vault on such a bucket, without a keyring.
pub fn vault(url: &str, bucket: &str) -> Vault {
    Vault::open(&reaching(url, bucket), None, &mut Control::none()).unwrap()
}

/// Bytes without a pattern that a shifted part would repeat.
pub fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
