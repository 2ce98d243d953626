//! What the engine alone holds of a stream as large as S3 takes it, and how long it takes: a store that keeps nothing
//! answers at once. A process of its own, since the peak is the process's.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Instant;

use s3vault_core::account::Account;
use s3vault_core::checksum::Digest;
use s3vault_core::credentials::Credentials;
use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::http::{ReplyHead, Request};
use s3vault_core::settings::Settings;
use s3vault_core::time::Now;
use s3vault_core::vault::{Found, Labels, Name, Put, PutRequest, Vault};
use s3vault_core::{Input, Machine as _, Output, PartRequest};
use simulator::content::mix;

const LENGTH: u64 = 49 << 40;
const NOW: Now = Now { unix_ms: 1_764_000_000_000, mono_ms: 0 };
/// What is held of a part at most, in bytes: 48 of hashes, and 118 of text in the manifest, which is there once.
const OF_A_PART: u64 = 185;
/// What else: the parts of one extent with their ETags, the Complete that names them, the program itself.
const REST: u64 = 24 << 20;

/// Most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

fn put() -> Put {
    let mut settings = Settings::new();
    let own = [("api_url", "http://127.0.0.1:9000"), ("bucket", "bkt"), ("access_key", "A"), ("secret_key", "S")];
    own.iter().for_each(|(key, value)| settings.set(key, value).unwrap());
    let account = Account::from_settings(&settings, Credentials::from_settings(&settings).unwrap()).unwrap();
    let vault = Vault::new(&settings, &Arc::new(account), Some(Arc::new(Keyring::generate([1; 32])))).unwrap();
    let (name, memory) = (Name::new("vm", "disk").unwrap(), 256 << 20);
    let (parent, length, source, checkpoint) = (None, None, None, None);
    let request = PutRequest {
        name,
        parent,
        length,
        source,
        live: false,
        labels: Labels::default(),
        checkpoint,
        memory,
        entropy: [1; 10],
        data_key: DataKey::new([3; 32]),
        seed: 1,
    };
    Put::new(Arc::new(vault), request).unwrap()
}

fn answer(put: &mut Put, request: &Request) {
    let body = match request.operation {
        "GetBucketVersioning" => "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        "ListObjectsV2" => "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        "CreateMultipartUpload" => {
            "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        }
        "CompleteMultipartUpload" => {
            let sent = request.headers.iter().find(|(name, _)| name == "x-amz-checksum-crc64nvme");
            let crc = sent.map_or("", |(_, crc)| crc);
            let inner = format!("<ETag>\"e-2\"</ETag><ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME>");
            &format!("<CompleteMultipartUploadResult>{inner}</CompleteMultipartUploadResult>")
        }
        _ => "",
    };
    let headers = [("etag", "\"b54357faf0632cce46e942fa68356b38\""), ("x-amz-version-id", "v1")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let id = request.id;
    put.handle(NOW, Input::Head { id, head: ReplyHead { status: 200, headers } });
    put.handle(NOW, Input::Body { id, bytes: body.as_bytes() });
    put.handle(NOW, Input::End { id });
}

fn store(put: &mut Put) -> Found {
    loop {
        match put.poll(NOW) {
            Output::Send(request) => answer(put, &request),
            Output::NeedPart(PartRequest { number, offset, length, .. }) => {
                let length = length.min(LENGTH - offset);
                let name = mix(1, offset);
                let blake3 = std::array::from_fn(|n| (name >> (n % 8 * 8)) as u8);
                let (digest, last) = (Some(Digest { crc64nvme: name, blake3 }), offset + length == LENGTH);
                put.handle(NOW, Input::PartReady { number, length, digest, last, salt: None });
            }
            Output::Done(result) => return result.unwrap(),
            Output::Start(_) | Output::ReleasePart(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_stream_of_49_tib_takes_memory_for_its_manifest_only() {
    let (started, before) = (Instant::now(), peak());
    let found = store(&mut put());
    let (grown, parts) = (peak() - before, found.manifest.parts().count() as u64);
    assert_eq!((found.manifest.size, parts > 800_000), (LENGTH, true));
    println!(
        "{parts} parts in {:.1} s, {} MiB at most, {} bytes a part; the manifest has {} MiB",
        started.elapsed().as_secs_f64(),
        grown >> 20,
        grown / parts,
        found.object.len() >> 20
    );
    assert!(grown <= parts * OF_A_PART + REST, "{grown} bytes for {parts} parts");
}
