//! MD5 for the header `Content-MD5` (RFC 1864) and for SSE-C keys. It guards against damage on the way, not against people.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

/// The MD5 of these bytes in base64.
pub(super) fn content_md5(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// RFC 1321 §A.5, in base64.
    #[test]
    fn known_values() {
        assert_eq!(content_md5(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
        assert_eq!(content_md5(b"message digest"), "+WtpfXy3k41SWi8xqvFh0A==");
    }
}
