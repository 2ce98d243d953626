//! Encryption by the store: the headers of SSE-C, SSE-S3 and SSE-KMS, and the encryption configuration of a bucket.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html>, and for the codes of
//! refusals: AWS's own and MinIO's, which follow it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};

use super::{Reply, Request};
use crate::{Encryption, Payload, Refusal, SseC, Store};

const CUSTOMER: &str = "x-amz-server-side-encryption-customer-";
/// The same of the object that a copy reads.
const SOURCE: &str = "x-amz-copy-source-server-side-encryption-customer-";
const ALGORITHM: &str = "x-amz-server-side-encryption";
const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

/// Whether the model knows this header.
pub(super) fn is_known(name: &str) -> bool {
    let customer = name
        .strip_prefix(CUSTOMER)
        .or_else(|| name.strip_prefix(SOURCE))
        .is_some_and(|rest| matches!(rest, "algorithm" | "key" | "key-md5"));
    customer || matches!(name, ALGORITHM | KMS_KEY)
}

/// MD5 of the customer key that a request carries.
fn customer_key<C>(request: &Request<C>) -> Result<Option<String>, Refusal> {
    key_in(request, CUSTOMER)
}

/// MD5 of the customer key in the headers with this prefix.
fn key_in<C>(request: &Request<C>, prefix: &str) -> Result<Option<String>, Refusal> {
    let [algorithm, key, md5] = ["algorithm", "key", "key-md5"].map(|name| request.header(&format!("{prefix}{name}")));
    let invalid = |what: &str| {
        Err(Refusal::invalid_argument(format!(
            "Requests specifying Server Side Encryption with Customer provided keys must provide {what}."
        )))
    };
    match (algorithm, key, md5) {
        (None, None, None) => Ok(None),
        (Some("AES256"), Some(key), Some(md5)) => match BASE64.decode(key) {
            Ok(key) if key.len() == 32 && BASE64.encode(Md5::digest(&key)) == md5 => Ok(Some(md5.to_owned())),
            Ok(key) if key.len() == 32 => Err(Refusal::invalid_argument(
                "The calculated MD5 hash of the key did not match the hash that was provided.",
            )),
            _ => invalid("an appropriate secret key"),
        },
        (Some("AES256"), ..) => invalid("an appropriate secret key and its MD5"),
        _ => invalid("a valid encryption algorithm"),
    }
}

impl<C> Reply<C> {
    /// Says how the object is encrypted.
    pub(super) fn with_encryption(mut self, encryption: &Encryption) -> Self {
        let mut add = |name: &str, value: &str| self.headers.push((name.to_owned(), value.to_owned()));
        match encryption {
            Encryption::None => {}
            Encryption::Store { algorithm, kms_key } => {
                add(ALGORITHM, algorithm);
                if let Some(id) = kms_key {
                    add(KMS_KEY, id);
                }
            }
            Encryption::Customer { key_md5 } => {
                add(&format!("{CUSTOMER}algorithm"), "AES256");
                add(&format!("{CUSTOMER}key-md5"), key_md5);
            }
        }
        self
    }
}

impl<C: Payload> Store<C> {
    /// How the object of a write is encrypted, and what the reply says of it.
    pub(super) fn encryption(&self, request: &Request<C>) -> Result<(Encryption, Encryption), Refusal> {
        if let Some(key_md5) = customer_key(request)? {
            let customer = Encryption::Customer { key_md5 };
            return match self.rules.sse_c {
                SseC::Kept => Ok((customer.clone(), customer)),
                SseC::Feigned => Ok((Encryption::None, customer)),
                SseC::Ignored => Ok((Encryption::None, Encryption::None)),
                SseC::Blocked => Err(Refusal::access_denied("Access Denied")),
                SseC::Unknown => Err(Refusal::not_implemented("SSE-C")),
            };
        }
        let encryption = match request.header(ALGORITHM) {
            None => Encryption::None,
            Some(algorithm @ ("AES256" | "aws:kms")) => {
                let kms_key = request.header(KMS_KEY).map(str::to_owned);
                Encryption::Store { algorithm: algorithm.to_owned(), kms_key }
            }
            Some(_) => return Err(Refusal::invalid_argument("The encryption method specified is not supported")),
        };
        Ok((encryption.clone(), encryption))
    }

    /// Refuses to read an object without its key, or with another one. Returns what the reply says of the encryption.
    pub(super) fn check_key(&self, request: &Request<C>, stored: &Encryption) -> Result<Encryption, Refusal> {
        self.check_read(customer_key(request)?, stored)
    }

    /// The same for the object that a copy reads.
    pub(super) fn check_source_key(&self, request: &Request<C>, stored: &Encryption) -> Result<Encryption, Refusal> {
        self.check_read(key_in(request, SOURCE)?, stored)
    }

    fn check_read(&self, sent: Option<String>, stored: &Encryption) -> Result<Encryption, Refusal> {
        match (sent, stored, self.rules.sse_c) {
            (Some(_), Encryption::Customer { .. }, SseC::Unknown) => Err(Refusal::not_implemented("SSE-C")),
            (Some(sent), Encryption::Customer { key_md5 }, _) if sent == *key_md5 => Ok(stored.clone()),
            (Some(_), Encryption::Customer { .. }, _) => Err(Refusal::access_denied("Access Denied")),
            (None, Encryption::Customer { .. }, _) => Err(Refusal::invalid_request(
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
            )),
            (Some(key_md5), _, SseC::Feigned) => Ok(Encryption::Customer { key_md5 }),
            (Some(_), _, SseC::Kept | SseC::Blocked) => {
                Err(Refusal::invalid_request("The encryption parameters are not applicable to this object."))
            }
            _ => Ok(stored.clone()),
        }
    }

    /// Refuses a request for an upload without its key, or with another one; `is_needed`: the request needs the key.
    pub(super) fn check_upload_key(
        &self,
        request: &Request<C>,
        stored: &Encryption,
        is_needed: bool,
    ) -> Result<Encryption, Refusal> {
        match (customer_key(request)?, stored) {
            (Some(sent), Encryption::Customer { key_md5 }) if sent == *key_md5 => Ok(stored.clone()),
            (Some(_), Encryption::Customer { .. }) => Err(Refusal::invalid_request(
                "The provided encryption parameters did not match the ones used originally.",
            )),
            (None, Encryption::Customer { .. }) if is_needed => Err(Refusal::invalid_request(
                "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.",
            )),
            (Some(_), _) if self.rules.sse_c == SseC::Kept => Err(Refusal::invalid_request(
                "The multipart upload initiate did not request encryption. Subsequent part requests must not include encryption parameters.",
            )),
            (Some(key_md5), _) if self.rules.sse_c == SseC::Feigned => Ok(Encryption::Customer { key_md5 }),
            // S3's replies to parts name the encryption of SSE-S3 and SSE-KMS, and not that of SSE-C without a key.
            (None, Encryption::Store { .. }) => Ok(stored.clone()),
            _ => Ok(Encryption::None),
        }
    }

    pub(super) fn answer_encryption(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        self.bucket(&request.bucket)?;
        let blocked = if self.rules.sse_c == SseC::Blocked { "SSE-C" } else { "NONE" };
        Ok(Reply::xml(format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
             </SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled>\
             <BlockedEncryptionTypes><EncryptionType>{blocked}</EncryptionType></BlockedEncryptionTypes></Rule>\
             </ServerSideEncryptionConfiguration>"
        )))
    }
}
