//! Keys of SSE-C: "Using server-side encryption with customer-provided keys", S3 user guide,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html>

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::checksum::content_md5;

/// The key with which the store encrypts an object, and which it does not keep. The same one is sent with each request for
/// the object's data or head.
#[derive(Clone)]
pub struct CustomerKey(Arc<Zeroizing<[u8; 32]>>);

impl CustomerKey {
    /// Of these 256 bits.
    pub fn new(key: [u8; 32]) -> CustomerKey {
        CustomerKey(Arc::new(Zeroizing::new(key)))
    }

    /// The headers that carry it, for [`PutObject`](crate::op::PutObject) and
    /// [`CreateMultipartUpload`](crate::op::CreateMultipartUpload) too, whose headers are the caller's.
    pub fn headers(&self) -> [(String, String); 3] {
        self.named("x-amz-server-side-encryption-customer")
    }

    /// The same for the object that is copied from.
    pub fn copy_source_headers(&self) -> [(String, String); 3] {
        self.named("x-amz-copy-source-server-side-encryption-customer")
    }

    fn named(&self, name: &str) -> [(String, String); 3] {
        [
            (format!("{name}-algorithm"), "AES256".into()),
            (format!("{name}-key"), STANDARD.encode(**self.0)),
            (format!("{name}-key-md5"), content_md5(&**self.0)),
        ]
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{HeadObject, Operation as _};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn three_headers_carry_the_key_and_none_is_shown() {
        let key = CustomerKey::new([7; 32]);
        let text = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        let [algorithm, own, md5] = key.headers();
        assert_eq!(algorithm, ("x-amz-server-side-encryption-customer-algorithm".into(), "AES256".into()));
        assert_eq!(own, ("x-amz-server-side-encryption-customer-key".into(), text.into()));
        assert_eq!(md5, ("x-amz-server-side-encryption-customer-key-md5".into(), content_md5(&[7; 32])));
        let [_, source, _] = key.copy_source_headers();
        assert_eq!(source, ("x-amz-copy-source-server-side-encryption-customer-key".into(), text.into()));
        let op = HeadObject { key: "k".into(), customer_key: Some(key), ..HeadObject::default() };
        for shown in [format!("{op:?}"), format!("{:?}", op.request())] {
            assert!(shown.contains("\"k\"") && !shown.contains(text) && !shown.contains("7, 7"), "{shown}");
        }
    }
}
