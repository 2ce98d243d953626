//! The signing key: derived from the secret for a day, a region and a service, and kept as long as these stay.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

pub(super) type Key = Zeroizing<[u8; 32]>;

/// HMAC-SHA256.
pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length, so this is always a machine that was keyed.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The key for `day` (`yyyymmdd`).
pub(super) fn derive(secret: &str, day: &str, region: &str) -> Key {
    let secret = Zeroizing::new(format!("AWS4{secret}"));
    let mut key = Zeroizing::new(hmac(secret.as_bytes(), day.as_bytes()));
    for step in [region, "s3", "aws4_request"] {
        key = Zeroizing::new(hmac(&*key, step.as_bytes()));
    }
    key
}
