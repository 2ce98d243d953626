//! Faults of the store and of the network, end to end: exact bytes or a clean error, and no incomplete version is listed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;

use embedded_store::{Options, Server};
use s3vault::{Code, Control, Error, Event, EventKind, Settings, Vault, Version};
use support::bytes;

struct Rig {
    store: Server,
    vault: Vault,
}

fn rig(changes: &[(&str, &str)]) -> Rig {
    let store = Server::start(Options::new("access", "secret").bucket("faults")).unwrap();
    let mut settings = support::reaching(&store.url(), "faults");
    for (key, value) in [("idle_timeout_ms", "1500")].iter().chain(changes) {
        settings.set(key, value).unwrap();
    }
    let keyring = Arc::new(s3vault::keyring::generate().unwrap());
    let vault = Vault::open(&settings, Some(keyring), &mut Control::none()).unwrap();
    Rig { store, vault }
}

impl Rig {
    fn fault(&self, json: &str) {
        self.store.fault(serde_json::from_str(json).unwrap()).unwrap();
    }

    fn put_stream(&self, bytes: &[u8]) -> Result<Version, Error> {
        let none = &mut Control::none();
        let mut put = self.vault.put("vm", "disk", &Settings::new(), none)?;
        put.write(bytes, none)?;
        put.commit(none)
    }

    fn put_file(&self, bytes: &[u8]) -> Result<Version, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        self.vault.put_file("vm", "disk", file.path(), &Settings::new(), &mut Control::none())
    }

    fn get_stream(&self) -> Result<Vec<u8>, Error> {
        let none = &mut Control::none();
        let mut get = self.vault.find("vm", "disk", &Settings::new(), none)?.open(&Settings::new(), none)?;
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            match get.read(&mut buffer, none)? {
                0 => return Ok(all),
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn get_file(&self) -> Result<Vec<u8>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("restored");
        let version = self.vault.find("vm", "disk", &Settings::new(), &mut Control::none())?;
        let outcome = version.restore(&file, &Settings::new(), &mut Control::none());
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        match outcome {
            Ok(()) => {
                assert_eq!(left, ["restored"]);
                Ok(std::fs::read(file).unwrap())
            }
            Err(e) => {
                assert!(left.is_empty(), "a restore that failed left {left:?}");
                Err(e)
            }
        }
    }

    fn listed(&self) -> usize {
        let mut list = self.vault.versions(Some("vm"), Some("disk"), &Settings::new()).unwrap();
        let mut count = 0;
        while list.next(&mut Control::none()).unwrap().is_some() {
            count += 1;
        }
        count
    }
}

#[test]
fn an_upload_survives_temporary_faults() {
    for fault in [
        r#"{"operation": "UploadPart", "times": 3, "drop": "before"}"#,
        r#"{"operation": "UploadPart", "times": 2, "drop": "after"}"#,
        r#"{"operation": "UploadPart", "times": 4, "answer": {"status": 503, "code": "SlowDown"}}"#,
        r#"{"operation": "UploadPart", "answer": {"status": 502, "body": "<html>Bad Gateway</html>", "content_type": "text/html"}}"#,
        r#"{"operation": "CreateMultipartUpload", "drop": "after"}"#,
        r#"{"operation": "CompleteMultipartUpload", "drop": "after"}"#,
        r#"{"operation": "CompleteMultipartUpload", "answer": {"status": 200, "code": "InternalError"}}"#,
        r#"{"operation": "CompleteMultipartUpload", "answer": {"status": 200, "code": "InternalError", "when": "after"}}"#,
        r#"{"operation": "CompleteMultipartUpload", "answer": {"status": 504, "code": "ServiceUnavailable", "when": "after"}}"#,
        r#"{"operation": "PutObject", "drop": "after"}"#,
        r#"{"operation": "ListObjectsV2", "truncate": 20}"#,
    ] {
        let rig = rig(&[]);
        let data = bytes(20 << 20);
        rig.fault(fault);
        rig.put_stream(&data).unwrap_or_else(|e| panic!("stream, {fault}: {e:?}"));
        assert!(rig.store.pending_faults().is_empty(), "{fault} was never met");
        rig.fault(fault);
        rig.put_file(&data).unwrap_or_else(|e| panic!("file, {fault}: {e:?}"));
        assert_eq!(rig.listed(), 2, "{fault}");
        assert!(rig.get_stream().unwrap() == data, "{fault}");
    }
}

/// What happened, as the log has it, beside the result.
fn logged<T>(call: impl FnOnce(&mut Control<'_>) -> Result<T, Error>) -> (T, Vec<String>) {
    let mut texts = Vec::new();
    let mut on_event = |event: &Event<'_>| {
        if event.kind == EventKind::Log {
            texts.extend(event.text.map(str::to_owned));
        }
        true
    };
    let mut control = Control { on_event: Some(&mut on_event), ..Control::none() };
    let result = call(&mut control).unwrap();
    (result, texts)
}

#[test]
fn what_a_store_refuses_is_left_out_and_said_once() {
    for (headers, status, code, says) in [
        (&["x-amz-trailer"][..], 400, "XAmzContentSHA256Mismatch", "refuses checksums in trailers"),
        (&["x-amz-trailer"], 501, "NotImplemented", "refuses checksums in trailers"),
        (
            &["x-amz-trailer", "x-amz-checksum-crc64nvme", "x-amz-checksum-algorithm"],
            501,
            "NotImplemented",
            "refuses the checksum CRC64NVME",
        ),
        (
            &["x-amz-trailer", "x-amz-checksum-crc64nvme", "x-amz-checksum-algorithm"],
            400,
            "InvalidArgument",
            "refuses the checksum CRC64NVME",
        ),
    ] {
        let rig = rig(&[]);
        for header in headers {
            rig.fault(&format!(
                r#"{{"operation": "*", "header": "{header}", "times": 100000, "answer": {{"status": {status}, "code": "{code}"}}}}"#
            ));
        }
        let data = bytes(20 << 20);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &data).unwrap();
        let (_, texts) = logged(|control| rig.vault.put_file("vm", "disk", file.path(), &Settings::new(), control));
        assert!(texts.len() == 1 && texts[0].contains(says) && texts[0].contains(code), "{headers:?}: {texts:?}");
        assert!(rig.get_file().unwrap() == data, "{headers:?} {code}");
        let (_, texts) = logged(|control| {
            let mut put = rig.vault.put("vm", "disk", &Settings::new(), control)?;
            put.write(&data, control)?;
            put.commit(control)
        });
        assert_eq!(texts, Vec::<String>::new(), "{headers:?}: the second time");
        assert!(rig.get_stream().unwrap() == data, "{headers:?} {code}");
        for length in [0, 1000] {
            rig.put_file(&data[..length]).unwrap();
            assert!(rig.get_stream().unwrap() == data[..length], "{headers:?} {code}");
            rig.put_stream(&data[..length]).unwrap();
            assert!(rig.get_stream().unwrap() == data[..length], "{headers:?} {code}");
        }
    }
}

#[test]
fn a_small_stream_is_the_first_to_find_out_what_a_store_refuses() {
    let rig = rig(&[]);
    rig.fault(
        r#"{"operation": "*", "header": "x-amz-checksum-crc64nvme", "times": 100000, "answer": {"status": 501, "code": "NotImplemented"}}"#,
    );
    rig.put_stream(b"small").unwrap();
    assert_eq!(rig.get_stream().unwrap(), b"small");
}

#[test]
fn a_download_survives_temporary_faults() {
    for fault in [
        r#"{"operation": "GetObject", "target": "vm/disk?", "times": 3, "drop": "before"}"#,
        r#"{"operation": "GetObject", "target": "vm/disk?", "truncate": 100000}"#,
        r#"{"operation": "GetObject", "target": "vm/disk?", "stall": 5000000}"#,
        r#"{"operation": "GetObject", "target": "vm/disk?", "answer": {"status": 503, "code": "SlowDown"}}"#,
    ] {
        let rig = rig(&[]);
        let data = bytes(20 << 20);
        rig.put_stream(&data).unwrap();
        rig.fault(fault);
        assert!(rig.get_stream().unwrap_or_else(|e| panic!("{fault}: {e:?}")) == data, "{fault}");
        assert!(rig.store.pending_faults().is_empty(), "{fault} was never met");
        rig.fault(fault);
        assert!(rig.get_file().unwrap_or_else(|e| panic!("{fault}: {e:?}")) == data, "{fault}");
    }
}

#[test]
fn a_permanent_fault_is_a_clean_error_and_nothing_is_listed() {
    for (fault, code) in [
        (
            r#"{"operation": "UploadPart", "times": 100, "answer": {"status": 503, "code": "SlowDown", "headers": {"retry-after": "100"}}}"#,
            Code::Unavailable,
        ),
        (r#"{"operation": "UploadPart", "answer": {"status": 403, "code": "AccessDenied"}}"#, Code::AccessDenied),
        (
            r#"{"operation": "UploadPart", "answer": {"status": 200, "body": "<html>proxy</html>", "content_type": "text/html"}}"#,
            Code::BadReply,
        ),
        (
            r#"{"operation": "CreateMultipartUpload", "answer": {"status": 200, "body": "<html>proxy</html>"}}"#,
            Code::BadReply,
        ),
        (
            r#"{"operation": "CreateMultipartUpload", "times": 100, "answer": {"status": 200, "body": ""}}"#,
            Code::BadReply,
        ),
        (r#"{"operation": "ListObjectsV2", "times": 100, "answer": {"status": 200, "body": "{}"}}"#, Code::BadReply),
        (
            r#"{"operation": "ListObjectsV2", "answer": {"status": 301, "code": "PermanentRedirect"}}"#,
            Code::WrongRegion,
        ),
    ] {
        for from_file in [false, true] {
            let rig = rig(&[]);
            rig.fault(fault);
            let data = bytes(20 << 20);
            let e = if from_file { rig.put_file(&data) } else { rig.put_stream(&data) }.err().expect(fault);
            assert_eq!(e.code(), code, "{fault}: {e:?}");
            rig.store.clear_faults();
            assert_eq!(rig.listed(), 0, "{fault}");
        }
    }
}

#[test]
fn damage_in_the_store_is_named_and_restores_nothing() {
    let rig = rig(&[]);
    let data = bytes(20 << 20);
    let version = rig.put_stream(&data).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(version.object().split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(manifest["extents"][0]["key"], "vm/disk");
    damage(&rig.store, r#"{"bucket": "faults", "key": "vm/disk", "offset": 12345678}"#);
    for e in [rig.get_file().unwrap_err(), rig.get_stream().unwrap_err()] {
        assert_eq!(e.code(), Code::Damaged);
        assert!(e.message().contains("part 2 of 3"), "{e}");
    }
    damage(&rig.store, r#"{"bucket": "faults", "key": "vm/disk", "cut": 18000000}"#);
    for e in [rig.get_file().unwrap_err(), rig.get_stream().unwrap_err()] {
        assert!(matches!(e.code(), Code::Damaged | Code::BadReply), "{e:?}");
    }
}

fn damage(store: &Server, json: &str) {
    use std::io::{Read, Write};
    let address = store.url().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /_embedded/damage HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        json.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(json.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_clock_of_the_store_is_learned() {
    let rig = rig(&[]);
    rig.store.set_clock_offset(-3 * 3600);
    let version = rig.put_stream(b"x").unwrap();
    let ahead = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!((ahead - version.row().recorded_ms - 3 * 3_600_000).abs() < 60_000, "the time is that of the store");
}

#[test]
fn a_bucket_without_versioning_is_refused() {
    let store = Server::start(Options {
        buckets: vec![("plain".into(), embedded_store::Versioning::Off)],
        ..Options::new("a", "s")
    })
    .unwrap();
    let mut settings = Settings::new();
    for (key, value) in [("api_url", &*store.url()), ("access_key", "a"), ("secret_key", "s"), ("bucket", "plain")] {
        settings.set(key, value).unwrap();
    }
    let vault = Vault::open(&settings, None, &mut Control::none()).unwrap();
    let e = vault.put("vm", "d", &Settings::new(), &mut Control::none()).err().unwrap();
    assert_eq!(e.code(), Code::Versioning);
}

#[test]
fn a_commit_whose_outcome_is_unknown_may_be_called_again() {
    for operation in ["CompleteMultipartUpload", "PutObject"] {
        let rig = rig(&[]);
        let none = &mut Control::none();
        let data = bytes(20 << 20);
        let mut put = rig.vault.put("vm", "disk", &Settings::new(), none).unwrap();
        put.write(&data, none).unwrap();
        rig.fault(&format!(r#"{{"operation": "{operation}", "times": 1000, "drop": "after"}}"#));
        if operation == "CompleteMultipartUpload" {
            rig.fault(r#"{"operation": "HeadObject", "times": 1000, "answer": {"status": 503, "code": "SlowDown", "headers": {"retry-after": "100"}}}"#);
        }
        let e = put.commit(none).err().unwrap();
        assert_eq!(e.code(), Code::OutcomeUnknown, "{e:?}");
        assert_eq!(put.abort(none).unwrap_err().code(), Code::WrongState);
        rig.store.clear_faults();
        put.commit(none).unwrap();
        assert_eq!(put.commit(none).err().unwrap().code(), Code::WrongState);
        assert_eq!(rig.listed(), 1);
        assert!(rig.get_stream().unwrap() == data);
    }
}

fn keys(access_key: &str, secret_key: &str) -> Settings {
    let mut settings = Settings::new();
    settings.set("access_key", access_key).unwrap();
    settings.set("secret_key", secret_key).unwrap();
    settings
}

/// Rotates the store's keys while an upload is in progress; `answer` is called for each event about credentials.
fn put_while_keys_are_rotated(rig: &Rig, mut answer: impl FnMut(&Event<'_>) -> bool) -> Result<Version, Error> {
    let data = bytes(40 << 20);
    let mut put = rig.vault.put("vm", "disk", &Settings::new(), &mut Control::none())?;
    put.write(&data[..20 << 20], &mut Control::none())?;
    rig.store.set_keys("access-2", "secret-2");
    let mut on_event = |event: &Event<'_>| event.kind != EventKind::Credentials || answer(event);
    let mut control = Control { on_event: Some(&mut on_event), ..Control::none() };
    put.write(&data[20 << 20..], &mut control)?;
    put.commit(&mut control)
}

#[test]
fn an_upload_whose_keys_were_rotated_continues_with_the_new_ones() {
    let rig = rig(&[]);
    let mut asked = 0;
    put_while_keys_are_rotated(&rig, |event| {
        asked += 1;
        assert!(event.text.is_some_and(|text| text.contains("access key access")), "{event:?}");
        rig.vault.update(&keys("access-2", "secret-2"), &mut Control::none()).unwrap();
        true
    })
    .unwrap();
    assert_eq!(asked, 1, "one answer is enough for all parts in progress");
    assert!(rig.get_stream().unwrap() == bytes(40 << 20));
}

#[test]
fn without_new_keys_the_upload_ends_with_the_error_of_the_store() {
    for continues in [true, false] {
        let rig = rig(&[]);
        let e = put_while_keys_are_rotated(&rig, |_| continues).err().unwrap();
        assert_eq!(e.code(), if continues { Code::UnknownAccessKey } else { Code::Stopped });
        rig.vault.update(&keys("access-2", "secret-2"), &mut Control::none()).unwrap();
        assert_eq!(rig.listed(), 0);
    }
}

#[test]
fn new_keys_that_do_not_work_are_not_used() {
    let rig = rig(&[]);
    rig.put_stream(b"x").unwrap();
    let update = |access: &str, secret: &str| rig.vault.update(&keys(access, secret), &mut Control::none());
    assert_eq!(update("access", "wrong").unwrap_err().code(), Code::SignatureRefused);
    assert_eq!(update("nobody", "secret").unwrap_err().code(), Code::UnknownAccessKey);
    assert_eq!(rig.get_stream().unwrap(), b"x", "the old ones stay");
    let mut settings = keys("access", "secret");
    settings.set("bucket", "other").unwrap();
    assert_eq!(rig.vault.update(&settings, &mut Control::none()).unwrap_err().code(), Code::InvalidOption);
}

#[test]
fn an_upload_that_cannot_be_aborted_is_reported_as_an_orphan() {
    let rig = rig(&[]);
    rig.fault(r#"{"operation": "UploadPart", "times": 100, "answer": {"status": 403, "code": "AccessDenied"}}"#);
    rig.fault(
        r#"{"operation": "AbortMultipartUpload", "times": 100, "answer": {"status": 403, "code": "AccessDenied"}}"#,
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes(20 << 20)).unwrap();
    let orphans = |store: &dyn Fn(&mut Control<'_>) -> Error| {
        let mut orphans = Vec::new();
        let mut on_event = |event: &Event<'_>| {
            if event.kind == EventKind::Orphan {
                orphans.push(event.text.unwrap_or_default().to_owned());
            }
            true
        };
        let e = store(&mut Control { on_event: Some(&mut on_event), ..Control::none() });
        assert_eq!(e.code(), Code::AccessDenied);
        orphans
    };
    let of_file =
        orphans(&|control| rig.vault.put_file("vm", "disk", file.path(), &Settings::new(), control).err().unwrap());
    let of_stream = orphans(&|control| {
        let mut put = rig.vault.put("vm", "disk", &Settings::new(), control).unwrap();
        put.write(&bytes(20 << 20), control).and_then(|()| put.commit(control).map(drop)).unwrap_err()
    });
    for orphans in [of_file, of_stream] {
        let [orphan] = orphans.as_slice() else { panic!("{orphans:?}") };
        assert!(orphan.contains("s3://faults/vm/disk stays on the store"), "{orphan}");
        assert!(orphan.contains("permission s3:AbortMultipartUpload on arn:aws:s3:::faults/*"), "{orphan}");
    }
}

#[test]
fn a_put_that_its_caller_ends_says_how_to_resume_and_what_is_left() {
    let rig = rig(&[]);
    rig.fault(r#"{"operation": "UploadPart", "times": 100, "drop": "before"}"#);
    let folder = tempfile::tempdir().unwrap();
    let (file, checkpoint) = (folder.path().join("disk"), folder.path().join("checkpoint"));
    std::fs::write(&file, bytes(20 << 20)).unwrap();
    for saved in [true, false] {
        let mut options = Settings::new();
        options.set("checkpoint", if saved { checkpoint.to_str().unwrap() } else { "" }).unwrap();
        let mut stop = |_: &Event<'_>| false;
        let control = &mut Control { on_event: Some(&mut stop), ..Control::none() };
        let e = rig.vault.put_file("vm", "disk", &file, &options, control).err().unwrap();
        assert_eq!(e.code(), Code::Stopped);
        let said = if saved { checkpoint.to_str().unwrap() } else { "s3v_shutdown" };
        assert!(e.hint().contains(said), "{}", e.hint());
    }
}

#[test]
fn an_abort_that_the_store_refuses_is_reported_as_an_orphan() {
    let rig = rig(&[]);
    rig.fault(
        r#"{"operation": "AbortMultipartUpload", "times": 100, "answer": {"status": 403, "code": "AccessDenied"}}"#,
    );
    let mut orphans = 0;
    let mut on_event = |event: &Event<'_>| {
        orphans += usize::from(event.kind == EventKind::Orphan);
        true
    };
    let control = &mut Control { on_event: Some(&mut on_event), ..Control::none() };
    let mut put = rig.vault.put("vm", "disk", &Settings::new(), control).unwrap();
    put.write(&bytes(20 << 20), control).unwrap();
    put.abort(control).unwrap();
    assert_eq!(orphans, 1);
}
