//! The signing key: derived from the secret key for a day, a region and a service. It is kept as the keyed state of HMAC,
//! which saves two compressions per signature, and the crates zeroize it on drop.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Keyed HMAC-SHA256, which may have processed the start of a text.
pub(super) type Mac = Hmac<Sha256>;

fn keyed(key: &[u8]) -> Mac {
    // HMAC accepts keys of every length, so the empty key is never used.
    Mac::new_from_slice(key).unwrap_or_else(|_| Mac::new(&hmac::digest::Key::<Mac>::default()))
}

/// The key for `day` (`yyyymmdd`).
pub(super) fn derive(secret: &str, day: &str, region: &str, service: &str) -> Mac {
    let secret = Zeroizing::new(format!("AWS4{secret}"));
    let mut key = keyed(secret.as_bytes());
    for step in [day, region, service, "aws4_request"] {
        key.update(step.as_bytes());
        let next = Zeroizing::new(<[u8; 32]>::from(key.finalize().into_bytes()));
        key = keyed(&*next);
    }
    key
}

/// The tag of the text that `mac` has processed, followed by `rest`.
pub(super) fn tag(mac: &Mac, rest: &[u8]) -> [u8; 32] {
    let mut mac = mac.clone();
    mac.update(rest);
    mac.finalize().into_bytes().into()
}

/// The key after it has processed `parts`.
pub(super) fn after(key: &Mac, parts: &[&str]) -> Mac {
    let mut mac = key.clone();
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac
}
