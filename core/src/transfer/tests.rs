//! A customer key goes with every request of an upload and of a download that S3 needs it for.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::download::{Download, Piece};
use super::extent::PartHash;
use super::plan::Plan;
use super::upload::{Object, Ready, Stored, Upload};
use super::*;
use crate::account::bucket::tests::bucket;
use crate::checksum::{Digest, content_md5, crc_text, digest};
use crate::http::{Part, ReplyHead, Request};
use crate::machine::{Input, Output};
use crate::op::{CRC64NVME, CustomerKey, Encryption, Session};
use crate::profile::S3;
use crate::time::Now;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: Now = Now { unix_ms: 1_800_000_000_000, mono_ms: 0 };
const KEY: [u8; 32] = [7; 32];
const LENGTHS: [u64; 2] = [8 << 20, 1];

fn digest_of(part: u32) -> Digest {
    digest(&part.to_le_bytes())
}

/// Status, headers and body of the replies to each operation, which make the upload list its parts and look for its object.
fn reply(request: &Request, completes: &mut Vec<String>) -> (u16, Vec<(String, String)>, String) {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let etag = || header("etag", "\"e\"");
    let body = match request.operation {
        "CreateMultipartUpload" => {
            "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>".to_owned()
        }
        "ListParts" => {
            let part = |number: u32| {
                let (size, crc) = (LENGTHS[number as usize - 1], crc_text(digest_of(number).crc64nvme));
                format!(
                    "<Part><PartNumber>{number}</PartNumber><ETag>\"other\"</ETag><Size>{size}</Size>\
                     <ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME></Part>"
                )
            };
            format!("<ListPartsResult>{}{}<IsTruncated>false</IsTruncated></ListPartsResult>", part(1), part(2))
        }
        "CompleteMultipartUpload" => {
            let sent = request.headers.iter().find(|(name, _)| name == CRC64NVME);
            completes.extend(sent.map(|(_, crc)| crc.to_string()));
            let (status, code) = if completes.len() == 1 { (400, "InvalidPart") } else { (404, "NoSuchUpload") };
            return (status, vec![], format!("<Error><Code>{code}</Code></Error>"));
        }
        _ => String::new(),
    };
    let size = LENGTHS.iter().sum::<u64>().to_string();
    let echo = [
        header("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        header("x-amz-server-side-encryption-customer-key-md5", &content_md5(&KEY)),
    ];
    let head = [etag(), header("content-length", &size), header("x-amz-meta-s3vault-vid", "v")];
    let crc = completes.first().map(|crc| header(CRC64NVME, crc));
    (200, head.into_iter().chain(echo).chain(crc).collect(), body)
}

fn carries_key(request: &Request) -> bool {
    request.headers.iter().any(|(name, value)| name.ends_with("customer-key") && value.is_secret())
}

fn upload(encryption: &Encryption, last: bool) -> (Upload, Session) {
    let session = Session::new(&Arc::new(bucket(&[("api_url", "https://127.0.0.1:9000")]).unwrap()), 1);
    let object = Object { key: "k".into(), headers: vec![], encryption: encryption.clone(), vid: "v".into() };
    let length = if last { LENGTHS[0] } else { LENGTHS.iter().sum() };
    let part = Part {
        number: 1,
        offset: 0,
        length: LENGTHS[0],
        stored: LENGTHS[0],
        digest: Some(digest_of(1)),
        md5: None,
        salt: None,
    };
    (
        Upload::new(
            &session,
            object,
            Plan::new(Some(length), &S3, 64 << 20, StoredForm::PLAIN),
            Ready { part, last },
            NOW.unix_ms,
        ),
        session,
    )
}

/// Runs an upload to its end. Returns the operations of its requests, and whether each carries the key.
fn run(mut upload: Upload, mut session: Session) -> (BTreeSet<(&'static str, bool)>, crate::Result<Stored>) {
    let (mut requests, mut completes, mut waiting) = (BTreeSet::new(), Vec::new(), VecDeque::new());
    let mut now = NOW;
    for _ in 0..100 {
        match upload.poll(&mut session, now) {
            Output::Send(request) => waiting.push_back(request),
            Output::NeedPart(part) => {
                let (number, digest) = (part.number, Some(digest_of(part.number)));
                let input = Input::PartReady { number, length: LENGTHS[1], digest, last: true, salt: None };
                upload.handle(&mut session, now, &input);
            }
            Output::Wait(at) => {
                let Some(request) = waiting.pop_front() else {
                    now.mono_ms = at.expect("a time to wait for");
                    continue;
                };
                requests.insert((request.operation, carries_key(&request)));
                let (id, (status, headers, body)) = (request.id, reply(&request, &mut completes));
                upload.handle(&mut session, now, &Input::Head { id, head: ReplyHead { status, headers } });
                upload.handle(&mut session, now, &Input::Body { id, bytes: body.as_bytes() });
                upload.handle(&mut session, now, &Input::End { id });
            }
            Output::Done(result) => return (requests, result),
            _ => {}
        }
    }
    panic!("the upload does not end: {requests:?}");
}

#[test]
fn each_request_of_an_upload_carries_the_customer_key() {
    for encryption in [Encryption::SseC(CustomerKey::new(KEY)), Encryption::BucketDefault] {
        let is_sse_c = encryption.customer_key().is_some();
        let expected = |operations: &[&'static str]| operations.iter().map(|name| (*name, is_sse_c)).collect();
        let (single, session) = upload(&encryption, true);
        let (requests, result) = run(single, session);
        assert_eq!(requests, expected(&["PutObject"]));
        result.unwrap();
        let (parts, session) = upload(&encryption, false);
        let (requests, result) = run(parts, session);
        let all = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListParts", "HeadObject"];
        assert_eq!(requests, expected(&all));
        assert_eq!(result.unwrap().extent.parts.len(), 2);
    }
}

#[test]
fn each_range_of_a_download_carries_the_customer_key() {
    let hash = PartHash::new(LENGTHS[0], &digest_of(1));
    let (key, encryption) = ("k".to_owned(), Encryption::SseC(CustomerKey::new(KEY)));
    let (length, form) = (LENGTHS[0], StoredForm::PLAIN);
    let (number, version_id, start, offset, verified) = (0, None, 0, 0, true);
    let piece = Piece {
        number,
        key,
        version_id,
        etag: None,
        encryption,
        start,
        object: length,
        offset,
        length,
        hash,
        form,
        verified,
    };
    let mut session = Session::new(&Arc::new(bucket(&[("api_url", "https://127.0.0.1:9000")]).unwrap()), 1);
    let mut download = Download::new(&[piece], &ReadRequest::default(), true);
    let Output::Send(request) = download.poll(&mut session, NOW) else { panic!("no request") };
    assert!(request.operation == "GetObject" && carries_key(&request));
}
