//! Server-side encryption of objects: SSE-S3, SSE-KMS and SSE-C.
//!
//! Source: "Protecting data with server-side encryption", S3 user guide,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html>. The same [`Encryption`] is passed to
//! every operation on an object or an upload, and each operation sends the headers that S3 accepts for it: the algorithm
//! where an object is created, and the customer key wherever its data or its metadata is read or written.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Unsigned;
use crate::checksum::content_md5;
use crate::error::{Code, Error, Result};
use crate::http::{HeaderValue, ReplyHead};

const ALGORITHM: &str = "x-amz-server-side-encryption";
const KMS_KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CUSTOMER_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
const CUSTOMER_KEY_MD5: &str = "x-amz-server-side-encryption-customer-key-md5";

/// How the store encrypts an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// With the bucket's default encryption.
    #[default]
    BucketDefault,
    /// SSE-S3: with keys that the store manages.
    SseS3,
    /// SSE-KMS: with a key of the key management service.
    SseKms {
        /// Id, ARN or alias of the key; `None`: the default key of the account.
        key_id: Option<String>,
    },
    /// SSE-C: with the caller's key, which the store does not keep. S3 requires TLS.
    SseC(CustomerKey),
}

impl Encryption {
    /// The value of `x-amz-server-side-encryption`.
    fn algorithm(&self) -> Option<&'static str> {
        match self {
            Encryption::SseS3 => Some("AES256"),
            Encryption::SseKms { .. } => Some("aws:kms"),
            Encryption::BucketDefault | Encryption::SseC(_) => None,
        }
    }

    /// The customer key, for SSE-C.
    pub fn customer_key(&self) -> Option<&CustomerKey> {
        match self {
            Encryption::SseC(key) => Some(key),
            _ => None,
        }
    }

    /// Adds the headers of a request that creates an object or an upload.
    pub(super) fn create(&self, mut request: Unsigned) -> Unsigned {
        if let Some(algorithm) = self.algorithm() {
            request = request.header(ALGORITHM, algorithm);
        }
        if let Encryption::SseKms { key_id: Some(id) } = self {
            request = request.header(KMS_KEY_ID, id.as_str());
        }
        self.access(request)
    }

    /// Adds the headers of a request that reads an object, or reads or writes a part of an upload.
    pub(super) fn access(&self, request: Unsigned) -> Unsigned {
        match self.customer_key() {
            Some(key) => key.add_to(request, "x-amz-server-side-encryption-customer"),
            None => request,
        }
    }

    /// Checks that the reply to a PUT of an object confirms the encryption.
    pub(super) fn check_created(&self, head: &ReplyHead) -> Result<()> {
        self.check(head, true)
    }

    /// Checks that the reply to a request that reads an object, or writes a part, confirms the customer key.
    pub(super) fn check_accessed(&self, head: &ReplyHead) -> Result<()> {
        self.customer_key().map_or(Ok(()), |_| self.check(head, true))
    }

    /// The same for a request that reads an object: a store that does not confirm the key has ignored it.
    pub(super) fn check_read(&self, head: &ReplyHead) -> Result<()> {
        self.check_accessed(head).map_err(|e| {
            e.recode(Code::WrongKey)
                .append("; so the object is not encrypted with the customer key (SSE-C) that was sent")
                .with_hint(super::customer_key::HINT)
        })
    }

    /// Checks that a reply does not name another encryption. MinIO's replies to CreateMultipartUpload and to copies name
    /// none; then the replies to the parts confirm it, and that to a HEAD of the copy.
    pub(super) fn check_if_named(&self, head: &ReplyHead) -> Result<()> {
        self.check(head, false)
    }

    fn check(&self, head: &ReplyHead, is_required: bool) -> Result<()> {
        if let Some(algorithm) = self.algorithm() {
            confirmed(head, ALGORITHM, algorithm, is_required)?;
        }
        if let Some(key) = self.customer_key() {
            confirmed(head, CUSTOMER_ALGORITHM, "AES256", is_required)?;
            confirmed(head, CUSTOMER_KEY_MD5, &key.md5(), is_required)?;
        }
        Ok(())
    }
}

/// A store that ignores the headers of a request for encryption stores the data in the clear, and does not repeat them in
/// its reply.
fn confirmed(head: &ReplyHead, name: &str, sent: &str, is_required: bool) -> Result<()> {
    let why = match head.header(name) {
        Some(value) if value == sent => return Ok(()),
        None if !is_required => return Ok(()),
        Some(_) => format!("the store used another encryption than the requested one: its reply has another {name}"),
        None => format!("the store does not confirm the requested encryption: its reply has no {name}"),
    };
    Err(Error::new(Code::BadReply, why).with_hint(
        "Check whether the store supports this kind of server-side encryption: it may have stored the data without it.",
    ))
}

/// The key of SSE-C, 256 bits. It is zeroized on drop, and never shown.
///
/// Source: "Using server-side encryption with customer-provided keys (SSE-C)", S3 user guide,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html>.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerKey(Arc<Zeroizing<[u8; 32]>>);

impl CustomerKey {
    /// The key with these bytes.
    pub fn new(key: [u8; 32]) -> CustomerKey {
        CustomerKey(Arc::new(Zeroizing::new(key)))
    }

    /// Adds the headers for the source of a copy.
    pub(super) fn copy_source(&self, request: Unsigned) -> Unsigned {
        self.add_to(request, "x-amz-copy-source-server-side-encryption-customer")
    }

    fn add_to(&self, request: Unsigned, name: &str) -> Unsigned {
        request
            .header(&format!("{name}-algorithm"), "AES256")
            .header(&format!("{name}-key"), self.base64())
            .header(&format!("{name}-key-md5"), self.md5())
    }

    fn base64(&self) -> HeaderValue {
        // The text has its capacity from the start: growing it would leave a copy of the key in memory.
        let mut text = Zeroizing::new(String::with_capacity(44));
        STANDARD.encode_string(**self.0, &mut text);
        HeaderValue::Secret(text)
    }

    /// The MD5 of the key in base64, with which the store checks that it arrived intact.
    fn md5(&self) -> String {
        content_md5(&**self.0)
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::account::bucket::tests::bucket;
    use crate::checksum::digest;
    use crate::http::{Part, Range};
    use crate::machine::{Machine, Output};
    use crate::op::testing::{answer, sent};
    use crate::op::{
        CompleteMultipartUpload, Content, CopyObject, CopySource, CreateMultipartUpload, GetObject, GetRange,
        HeadObject, ListParts, Operation, PutObject, Single, UploadPart, UploadPartCopy,
    };
    use crate::time::Now;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// ASCII, so that its bytes would also show as text.
    const KEY: [u8; 32] = *b"0fO4mvmUxHTMzWmBUu1WkPb8uYmhKx3Z";
    const BASE64: &str = "MGZPNG12bVV4SFRNeldtQlV1MVdrUGI4dVltaEt4M1o=";

    fn sse_c() -> Encryption {
        Encryption::SseC(CustomerKey::new(KEY))
    }

    fn put(encryption: Encryption) -> PutObject {
        PutObject { encryption, ..PutObject::new("k", Content::Bytes("x".into()), vec![]) }
    }

    fn create(encryption: Encryption) -> CreateMultipartUpload {
        CreateMultipartUpload { key: "k".into(), headers: vec![], encryption, checksum: false }
    }

    fn copy(encryption: Encryption) -> CopyObject {
        CopyObject { key: "k".into(), encryption, ..CopyObject::default() }
    }

    fn upload_part(encryption: Encryption) -> UploadPart {
        let part =
            Part { number: 1, offset: 0, length: 1, stored: 1, digest: Some(digest(b"x")), md5: None, salt: None };
        UploadPart { key: "k".into(), upload_id: "u".into(), number: 1, part, encryption }
    }

    fn get_range(encryption: Encryption) -> GetRange {
        GetRange {
            key: "k".into(),
            version_id: None,
            etag: None,
            encryption,
            sequential: false,
            range: Range::of_part(0, 0, 1),
        }
    }

    fn complete(encryption: Encryption) -> CompleteMultipartUpload {
        let (key, upload_id) = ("k".into(), "u".into());
        CompleteMultipartUpload { key, upload_id, parts: vec![], crc64nvme: None, size: 0, encryption }
    }

    fn get(encryption: Encryption) -> GetObject {
        GetObject { encryption, ..GetObject::new("k", 9) }
    }

    fn head(encryption: Encryption) -> HeadObject {
        HeadObject { key: "k".into(), encryption, ..HeadObject::default() }
    }

    fn list(encryption: Encryption) -> ListParts {
        ListParts { key: "k".into(), encryption, ..ListParts::default() }
    }

    fn copy_part(encryption: Encryption) -> UploadPartCopy {
        UploadPartCopy { key: "k".into(), encryption, ..UploadPartCopy::default() }
    }

    /// The headers for encryption, one per line.
    fn headers(op: &impl Operation) -> String {
        let sent = sent(op);
        let lines = sent.lines().filter(|line| line.contains("server-side-encryption"));
        lines.flat_map(|line| [line.trim_start_matches("x-amz-server-side-encryption"), "\n"]).collect()
    }

    /// As in the examples of PutObject and CreateMultipartUpload in the S3 API reference.
    #[test]
    fn each_encryption_has_the_documented_headers() {
        let kms = |id: Option<&str>| Encryption::SseKms { key_id: id.map(str::to_owned) };
        let customer = format!("-customer-algorithm: AES256\n-customer-key: {BASE64}\n-customer-key-md5: {}\n", md5());
        for (encryption, created, accessed) in [
            (Encryption::BucketDefault, "", ""),
            (Encryption::SseS3, ": AES256\n", ""),
            (kms(None), ": aws:kms\n", ""),
            (kms(Some("alias/backup")), ": aws:kms\n-aws-kms-key-id: alias/backup\n", ""),
            (sse_c(), &*customer, &*customer),
        ] {
            let of = || encryption.clone();
            for found in [headers(&put(of())), headers(&create(of())), headers(&copy(of()))] {
                assert_eq!(found, created, "{encryption:?}");
            }
            for found in [
                headers(&upload_part(of())),
                headers(&copy_part(of())),
                headers(&complete(of())),
                headers(&list(of())),
                headers(&get(of())),
                headers(&get_range(of())),
                headers(&head(of())),
            ] {
                assert_eq!(found, accessed, "{encryption:?}");
            }
        }
    }

    fn md5() -> String {
        content_md5(&KEY)
    }

    #[test]
    fn the_source_of_a_copy_has_a_key_of_its_own() {
        let source = CopySource { customer_key: Some(CustomerKey::new(KEY)), ..CopySource::default() };
        let lines = format!(
            "x-amz-copy-source-server-side-encryption-customer-algorithm: AES256\n\
             x-amz-copy-source-server-side-encryption-customer-key: {BASE64}\n\
             x-amz-copy-source-server-side-encryption-customer-key-md5: {}\n",
            md5()
        );
        assert!(sent(&CopyObject { source: source.clone(), ..CopyObject::default() }).ends_with(&lines));
        assert!(sent(&UploadPartCopy { source, ..UploadPartCopy::default() }).ends_with(&lines));
    }

    /// Checks the head of a reply to the operation.
    fn check(op: &impl Operation, headers: &[(&str, &str)]) -> Option<Error> {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        op.check_head(&ReplyHead { status: if op_is_range(op) { 206 } else { 200 }, headers }).err()
    }

    fn op_is_range<O: Operation>(_: &O) -> bool {
        O::PAYLOAD && O::NAME == "GetObject"
    }

    #[test]
    fn a_reply_must_confirm_the_customer_key() {
        let md5 = md5();
        let (algorithm, confirmed) = ((CUSTOMER_ALGORITHM, "AES256"), (CUSTOMER_KEY_MD5, md5.as_str()));
        let other = (CUSTOMER_KEY_MD5, "AAAAAAAAAAAAAAAAAAAAAA==");
        for (headers, expected) in [
            (vec![algorithm, confirmed], None),
            (vec![], Some("does not confirm the requested encryption: its reply has no x-amz-server")),
            (vec![algorithm], Some("does not confirm the requested encryption: its reply has no x-amz-server")),
            (vec![confirmed], Some("does not confirm the requested encryption: its reply has no x-amz-server")),
            (vec![algorithm, other], Some("its reply has another x-amz-server-side-encryption-customer-key-md5")),
            (vec![(CUSTOMER_ALGORITHM, "aws:kms"), confirmed], Some("used another encryption")),
        ] {
            let written = [check(&put(sse_c()), &headers), check(&upload_part(sse_c()), &headers)];
            let read =
                [check(&get(sse_c()), &headers), check(&get_range(sse_c()), &headers), check(&head(sse_c()), &headers)];
            let optional = [
                check(&create(sse_c()), &headers),
                check(&copy(sse_c()), &headers),
                check(&copy_part(sse_c()), &headers),
            ];
            let optional_expected = expected.filter(|why| !why.contains("has no"));
            let written = written.into_iter().map(|e| (expected, Code::BadReply, e));
            let read = read.into_iter().map(|e| (expected, Code::WrongKey, e));
            let optional = optional.into_iter().map(|e| (optional_expected, Code::BadReply, e));
            for (expected, code, e) in written.chain(read).chain(optional) {
                match (expected, e) {
                    (None, None) => {}
                    (Some(expected), Some(e)) => {
                        assert!(e.code() == code && e.message().contains(expected), "{e}");
                    }
                    (_, e) => panic!("{headers:?}: {e:?}"),
                }
            }
        }
        assert!(check(&complete(sse_c()), &[]).is_none() && check(&list(sse_c()), &[]).is_none(), "S3 sends none");
    }

    #[test]
    fn a_reply_must_confirm_the_algorithm_of_a_new_object() {
        let kms = || Encryption::SseKms { key_id: Some("id".into()) };
        for (encryption, confirmed, other) in
            [(Encryption::SseS3, "AES256", "aws:kms"), (kms(), "aws:kms", "aws:kms:dsse")]
        {
            let of = || encryption.clone();
            for (headers, is_confirmed) in
                [(&[(ALGORITHM, confirmed)][..], true), (&[(ALGORITHM, other)], false), (&[], false)]
            {
                assert_eq!(check(&put(of()), headers).is_none(), is_confirmed);
                let optional = [check(&create(of()), headers), check(&copy(of()), headers)];
                assert!(optional.iter().all(|e| e.is_none() == (is_confirmed || headers.is_empty())), "{optional:?}");
                assert!(check(&get(of()), headers).is_none() && check(&upload_part(of()), headers).is_none());
            }
        }
        let etag = ("etag", "\"e\"");
        assert_eq!(answer(&get(Encryption::BucketDefault), &[etag, (ALGORITHM, "aws:kms")], "x").unwrap(), b"x");
    }

    /// What `{:?}` and `{}` show of an operation, of its requests before and after the signature, and of its errors.
    fn shown<O: Operation + Send + 'static + Clone + fmt::Debug>(op: &O) -> String
    where
        O::Reply: fmt::Debug,
    {
        let bucket = Arc::new(bucket(&[("api_url", "https://127.0.0.1:9000")]).unwrap());
        let mut machine = Single::new(&bucket, op.clone(), 1);
        let Output::Send(request) = machine.poll(Now { unix_ms: 0, mono_ms: 0 }) else { panic!("no request") };
        let secrets = request.headers.iter().filter(|(_, value)| value.is_secret()).count();
        assert!(secrets > 0 && request.headers.iter().any(|(_, value)| &**value == BASE64), "{op:?}");
        let e = check(op, &[(CUSTOMER_KEY_MD5, "x")]);
        let (unsigned, headers) = (op.request(), &request.headers);
        format!("{op:?} {op:#?} {unsigned:?} {request:?} {headers:?} {headers:#?} {e:?} {bucket:?}")
    }

    #[test]
    fn no_format_shows_a_customer_key() {
        let source = || CopySource { customer_key: Some(CustomerKey::new(KEY)), ..CopySource::default() };
        let key = CustomerKey::new(KEY);
        let all = [
            shown(&put(sse_c())),
            shown(&create(sse_c())),
            shown(&copy(sse_c())),
            shown(&CopyObject { source: source(), ..CopyObject::default() }),
            shown(&upload_part(sse_c())),
            shown(&copy_part(sse_c())),
            shown(&UploadPartCopy { source: source(), ..UploadPartCopy::default() }),
            shown(&complete(sse_c())),
            shown(&list(sse_c())),
            shown(&get(sse_c())),
            shown(&get_range(sse_c())),
            shown(&head(sse_c())),
            format!("{key:?} {key:#?} {:?} {:?}", key.base64(), sse_c()),
        ];
        let hex = hex::encode(KEY);
        let decimal = format!("{:?}", &KEY[..4]);
        let secrets = [std::str::from_utf8(&KEY).unwrap(), BASE64, &BASE64[..20], &hex, &hex.to_uppercase()];
        for text in all {
            assert!(text.contains("***"), "{text}");
            for secret in secrets.iter().copied().chain([decimal.trim_matches(['[', ']'])]) {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }

    #[test]
    fn nothing_of_a_request_with_a_customer_key_stays_in_the_signer() {
        let bucket = Arc::new(bucket(&[("api_url", "https://127.0.0.1:9000")]).unwrap());
        let sent = |op: PutObject| {
            let Output::Send(request) = Single::new(&bucket, op, 1).poll(Now { unix_ms: 0, mono_ms: 0 }) else {
                panic!()
            };
            request.headers
        };
        let (first, plain, second) = (sent(put(sse_c())), sent(put(Encryption::default())), sent(put(sse_c())));
        assert_eq!(first, second, "the signature is the same without what was kept");
        assert!(plain.iter().all(|(_, value)| !value.is_secret()));
        let signed = |headers: &[(String, HeaderValue)]| {
            let authorization = headers.iter().find(|(name, _)| name == "authorization").unwrap();
            authorization.1.contains("x-amz-server-side-encryption-customer-key;")
        };
        assert!(signed(&first) && !signed(&plain));
    }
}
