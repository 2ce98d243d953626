//! A store's answer to each operation.

use std::sync::{Arc, LazyLock};

use s3vault_core::account::Bucket;
use s3vault_core::credentials::Credentials;
use s3vault_core::http::ReplyHead;
use s3vault_core::op::{
    AbortMultipartUpload, CompleteMultipartUpload, CompletedPart, CopyObject, CopySource, CreateBucket,
    CreateMultipartUpload, DeleteBucket, DeleteObject, DeleteObjects, Encryption, GetBucketEncryption,
    GetBucketLocation, GetBucketVersioning, GetObject, GetObjectLockConfiguration, GetObjectRetention, HeadBucket,
    HeadObject, ListBuckets, ListMultipartUploads, ListObjectVersions, ListObjectsV2, ListParts, Operation, Single,
    UploadPartCopy,
};
use s3vault_core::settings::Settings;
use s3vault_core::time::Now;
use s3vault_core::{Input, Machine, Output};

static BUCKET: LazyLock<Arc<Bucket>> = LazyLock::new(|| {
    let mut settings = Settings::new();
    for (key, value) in [("api_url", "http://127.0.0.1:9"), ("bucket", "bkt"), ("access_key", "A"), ("secret_key", "S")]
    {
        settings.set(key, value).expect("an option");
    }
    let credentials = Credentials::from_settings(&settings).expect("keys");
    Arc::new(Bucket::from_settings(&settings, credentials).expect("a bucket"))
});

const STATUS: [u16; 16] = [200, 200, 200, 200, 204, 206, 301, 307, 400, 401, 403, 404, 409, 412, 500, 503];

/// The first byte chooses the operation, the second one the status; then lines of headers up to an empty one, then the
/// body. The same reply comes to every attempt.
pub fn reply(data: &[u8]) {
    let [which, status, rest @ ..] = data else { return };
    let cut = rest.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = cut.map_or((&b""[..], rest), |at| (&rest[..at], &rest[at + 2..]));
    let text = String::from_utf8_lossy(head);
    let headers = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let head = ReplyHead { status: STATUS[usize::from(status % 16)], headers };
    let (key, upload_id) = (|| "k".to_owned(), || "u".to_owned());
    match which % 23 {
        0 => run(ListObjectVersions::default(), &head, body),
        1 => run(ListObjectsV2::default(), &head, body),
        2 => run(ListParts { key: key(), upload_id: upload_id(), ..Default::default() }, &head, body),
        3 => run(ListMultipartUploads::default(), &head, body),
        4 => run(ListBuckets::default(), &head, body),
        5 => run(GetBucketLocation, &head, body),
        6 => run(GetBucketVersioning, &head, body),
        7 => run(GetBucketEncryption, &head, body),
        8 => run(GetObjectLockConfiguration, &head, body),
        9 => run(GetObjectRetention { key: key(), version_id: None }, &head, body),
        10 => run(HeadObject { key: key(), ..Default::default() }, &head, body),
        11 => run(HeadBucket, &head, body),
        12 => run(CreateBucket::default(), &head, body),
        13 => run(DeleteBucket, &head, body),
        14 => run(
            CreateMultipartUpload {
                key: key(),
                headers: Vec::new(),
                encryption: Encryption::default(),
                checksum: true,
            },
            &head,
            body,
        ),
        15 => run(AbortMultipartUpload { key: key(), upload_id: upload_id() }, &head, body),
        16 => run(GetObject::new(key(), 1 << 20), &head, body),
        17 => run(DeleteObject { key: key() }, &head, body),
        18 => {
            if let Ok(op) = DeleteObjects::new(vec![key()], false) {
                run(op, &head, body);
            }
        }
        19 => run(CopyObject { key: key(), source: source(), ..Default::default() }, &head, body),
        20 => {
            let op = UploadPartCopy {
                key: key(),
                upload_id: upload_id(),
                number: 1,
                source: source(),
                range: None,
                encryption: Encryption::default(),
            };
            run(op, &head, body);
        }
        _ => {
            let parts = vec![CompletedPart { number: 1, etag: "e".into(), crc64nvme: Some(1) }];
            let op = CompleteMultipartUpload {
                key: key(),
                upload_id: upload_id(),
                parts,
                crc64nvme: Some(1),
                size: 1,
                encryption: Encryption::default(),
            };
            run(op, &head, body);
        }
    }
}

fn source() -> CopySource {
    CopySource { bucket: "bkt".into(), key: "s".into(), version_id: None, customer_key: None, if_match: None }
}

fn run<O: Operation + Send + 'static>(op: O, head: &ReplyHead, body: &[u8]) {
    let mut machine = Single::new(&BUCKET, op, 1);
    let mut mono_ms = 0;
    for _ in 0..200 {
        let now = Now { unix_ms: 1_764_000_000_000, mono_ms };
        match machine.poll(now) {
            Output::Send(request) => {
                let id = request.id;
                machine.handle(now, Input::Head { id, head: head.clone() });
                // In two pieces, as the network may bring it.
                let (first, second) = body.split_at(body.len() / 2);
                for bytes in [first, second] {
                    machine.handle(now, Input::Body { id, bytes });
                }
                machine.handle(now, Input::End { id });
            }
            Output::NeedCredentials { .. } => machine.handle(now, Input::CredentialsKept(None)),
            Output::Wait(at) => mono_ms = at.map_or(mono_ms + 1, |at| at.max(mono_ms + 1)),
            Output::Done(Ok(_)) => return,
            Output::Done(Err(e)) => return super::readable(&e),
            _ => {}
        }
    }
    panic!("{} is asked without an end", O::NAME);
}
