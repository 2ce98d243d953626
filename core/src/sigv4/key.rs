//! The signing key: derived from the secret for a day, a region and a service, and kept as HMAC's keyed state, which
//! costs two compressions less a signature than the key itself. The crates wipe it when it is dropped.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// HMAC-SHA256 that was keyed, and may have taken a text's first bytes.
pub(super) type Mac = Hmac<Sha256>;

fn keyed(key: &[u8]) -> Mac {
    // HMAC takes keys of every length, so the empty one is never used.
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

/// The tag of what `mac` has taken, and `rest`.
pub(super) fn tag(mac: &Mac, rest: &[u8]) -> [u8; 32] {
    let mut mac = mac.clone();
    mac.update(rest);
    mac.finalize().into_bytes().into()
}

/// A key that has taken `parts`.
pub(super) fn after(key: &Mac, parts: &[&str]) -> Mac {
    let mut mac = key.clone();
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac
}
