//! What the tests of the Rust API share: a vault on an embedded store, and bytes to put there.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use s3vault::{Control, Settings, Vault};

pub fn settings(pairs: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::new();
    for (key, value) in pairs {
        settings.set(key, value).unwrap();
    }
    settings
}

/// Of an embedded store's bucket: its keys are `access` and `secret`.
pub fn reaching(url: &str, bucket: &str) -> Settings {
    settings(&[("api_url", url), ("access_key", "access"), ("secret_key", "secret"), ("bucket", bucket)])
}

/// On such a bucket, without a keyring.
pub fn vault(url: &str, bucket: &str) -> Vault {
    Vault::open(&reaching(url, bucket), None, &mut Control::none()).unwrap()
}

/// Without a pattern that a shifted part would repeat.
pub fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
