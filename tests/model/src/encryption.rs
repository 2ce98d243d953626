//! How objects are encrypted by the store.

/// The encryption of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// None that the client asked for.
    #[default]
    None,
    /// SSE-S3 or SSE-KMS.
    Store {
        /// `AES256` or `aws:kms`.
        algorithm: String,
        /// The key that was named.
        kms_key: Option<String>,
    },
    /// SSE-C: the store keeps the MD5 of the key, in base64.
    Customer {
        /// The MD5.
        key_md5: String,
    },
}

/// What a store does with the keys of SSE-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SseC {
    /// It encrypts, and reads only with the same key.
    Kept,
    /// The bucket's configuration refuses writes with a key.
    Blocked,
    /// It ignores them: the data is in the clear, and replies do not confirm a key.
    Ignored,
    /// It ignores them, and replies confirm the key, as versitygw's do for parts.
    Feigned,
    /// It answers with NotImplemented.
    Unknown,
}
