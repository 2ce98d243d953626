//! Operations on objects.

use s3vault::Code;
use s3vault::op::{
    CRC64NVME, Condition, Content, CopyObject, CopySource, CustomerKey, DeleteObject, DeleteObjectVersion,
    DeleteObjectVersions, DeleteObjects, Encryption, GetObject, HeadObject, ListObjectsV2, PutObject,
};
use s3vault_core::checksum::{content_md5, crc_text, digest};

use crate::bytes::GetBytes;
use crate::{Bucket, ODD_KEYS, assert_has_not, assert_refused, bare, world};

fn head(key: &str) -> HeadObject {
    HeadObject { key: key.into(), ..HeadObject::default() }
}

fn version(key: &str, version_id: &str) -> GetObject {
    GetObject { version_id: Some(version_id.into()), ..GetObject::new(key, 100) }
}

fn put(key: &str, bytes: &[u8], headers: &[(&str, &str)]) -> PutObject {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    PutObject::new(key, Content::Bytes(bytes.to_vec().into()), headers)
}

#[test]
fn a_stored_object_is_read_back() {
    let bucket = Bucket::fresh("objects");
    for (n, key) in ODD_KEYS.iter().enumerate() {
        bucket.put(key, format!("content {n}").as_bytes());
    }
    for (n, key) in ODD_KEYS.iter().enumerate() {
        assert_eq!(bucket.get(key), format!("content {n}").as_bytes(), "{key}");
    }
    bucket.put("empty", b"");
    assert_eq!(bucket.get("empty"), b"");
    assert_eq!(bucket.must(GetBytes::new("empty", 0, 0)), b"");
    bucket.must(put("k", b"0123456789", &[("x-amz-meta-of", "two words"), ("content-type", "text/plain")]));
    assert_eq!(bucket.must(GetBytes::new("k", 3, 4)), b"3456");

    let found = bucket.must(head("k"));
    // A body that is signed by its hash has its MD5 as ETag, with quotes.
    assert_eq!(found.etag, "\"781e5e245d69b566979b86e28d23f2c7\"");
    assert_eq!((found.size, found.meta("of")), (Some(10), Some("two words")));
    assert!(found.last_modified_ms.is_some());
}

#[test]
fn a_missing_object_is_not_found() {
    let (bucket, absent) = (Bucket::fresh("missing"), Bucket::absent("missing-bucket"));
    assert_eq!(bucket.refused(GetObject::new("k", 100)).code(), Code::NotFound);
    assert_eq!(bucket.refused(GetObject::new("k", 100)).s3_code(), "NoSuchKey");
    assert_eq!(bucket.refused(head("k")).code(), Code::NotFound);
    assert_eq!(absent.refused(GetObject::new("k", 100)).code(), Code::NoSuchBucket);
    assert_eq!(absent.refused(put("k", b"x", &[])).code(), Code::NoSuchBucket);
    assert_eq!(absent.refused(head("k")).code(), Code::NotFound);
    bucket.put("k", b"0123456789");
    assert_refused(&bucket.refused(GetBytes::new("k", 100, 10)), 416, "InvalidRange");
    bucket.must(DeleteObject { key: "k".into() });
    assert_eq!(bucket.refused(GetObject::new("k", 100)).code(), Code::NotFound);
    assert_eq!(bucket.refused(head("k")).code(), Code::NotFound);
    bucket.must(DeleteObject { key: "k".into() });
}

#[test]
fn conditions_protect_an_existing_object() {
    let (bucket, profile) = (Bucket::versioned("conditions"), &world().profile);
    let put = |content: &str, condition: Condition| {
        let mut op = put("k", content.as_bytes(), &[]);
        op.condition = Some(condition);
        bucket.call(op)
    };
    // Whether it was stored; either way the object is what the answer says.
    let stored = |content: &str, condition: Condition| match put(content, condition) {
        Ok(_) => {
            assert_eq!(bucket.get("k"), content.as_bytes());
            true
        }
        Err(e) => {
            assert_refused(&e, 412, "PreconditionFailed");
            assert_ne!(bucket.get("k"), content.as_bytes());
            false
        }
    };
    put("first", Condition::Absent).unwrap();
    assert_eq!(!stored("second", Condition::Absent), profile.conditional_put);
    let other = Condition::Is("\"00000000000000000000000000000000\"".into());
    let (wrong, right) = (stored("third", other), stored("fourth", Condition::Is(bucket.must(head("k")).etag)));
    assert_eq!(!wrong && right, profile.matching_put, "{wrong} {right}");
}

#[test]
fn checksums_are_compared() {
    let (bucket, checksums) = (Bucket::fresh("checksums"), world().profile.checksums);
    let (right, wrong) = (crc_text(digest(b"x").crc64nvme), crc_text(digest(b"y").crc64nvme));
    bucket.must(put("k", b"x", &[(CRC64NVME, &right)]));
    assert_eq!(bucket.must(head("k")).checksum("crc64nvme"), checksums.then_some(&*right));
    match bucket.call(put("k", b"x", &[(CRC64NVME, &wrong)])) {
        Ok(_) => assert!(!checksums),
        Err(e) => assert!(checksums && e.code() == Code::Store && e.status() == 400, "{e:?}"),
    }
    // Content-MD5 is compared by all.
    let e = bucket.refused(put("k", b"x", &[("content-md5", &content_md5(b"y"))]));
    assert_eq!((e.status(), e.s3_code()), (400, "BadDigest"), "{e:?}");
}

#[test]
fn versions_are_kept() {
    let bucket = Bucket::versioned("versions");
    let (first, second) = (bucket.put("k", b"first").version_id, bucket.put("k", b"second").version_id);
    assert_eq!(bucket.get("k"), b"second");
    if !world().profile.versioning {
        let deleted = bucket.must(DeleteObject { key: "k".into() });
        return assert!(!deleted.delete_marker, "{deleted:?}");
    }
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(bucket.must(version("k", &first)), b"first");
    let found = bucket.must(HeadObject { version_id: Some(first.clone()), ..head("k") });
    assert_eq!((found.size, found.version_id), (Some(5), Some(first.clone())));

    let marker = bucket.must(DeleteObject { key: "k".into() });
    assert!(marker.delete_marker, "{marker:?}");
    assert_eq!(bucket.refused(head("k")).code(), Code::NotFound);
    assert_eq!(bucket.must(version("k", &second)), b"second");
    let delete = |version_id: String| DeleteObjectVersion { key: "k".into(), version_id, bypass_governance: false };
    let undone = bucket.must(delete(marker.version_id.unwrap()));
    assert!(undone.delete_marker, "{undone:?}");
    assert_eq!(bucket.get("k"), b"second");
    bucket.must(delete(second.clone()));
    assert_eq!(bucket.get("k"), b"first");
    assert_eq!(bucket.refused(version("k", &second)).code(), Code::NotFound);
}

#[test]
fn objects_are_copied() {
    let (bucket, other) = (Bucket::versioned("copies"), Bucket::fresh("copy-sources"));
    let copy = |from: &Bucket, key: &str| CopyObject {
        key: "copy".into(),
        source: CopySource { bucket: from.name.clone(), key: key.into(), ..CopySource::default() },
        ..CopyObject::default()
    };
    for (n, key) in ODD_KEYS.iter().enumerate() {
        other.put(key, format!("content {n}").as_bytes());
        let copied = bucket.must(copy(&other, key));
        assert_eq!(bucket.get("copy"), format!("content {n}").as_bytes(), "{key}");
        assert_eq!(copied.etag, bucket.must(head("copy")).etag, "{key}");
    }
    assert_eq!(bucket.refused(copy(&other, "no-such-key")).code(), Code::NotFound);
    let e = bucket.refused(copy(&Bucket::absent("no-source"), "k"));
    assert_eq!(e.code(), Code::NoSuchBucket, "{e:?}");

    let first = bucket.put("k", b"first").version_id;
    bucket.put("k", b"second");
    if world().profile.versioning {
        let mut of_first = copy(&bucket, "k");
        of_first.source.version_id = first.clone();
        let copied = bucket.must(of_first);
        assert_eq!(bucket.get("copy"), b"first");
        assert!(copied.source_version_id.is_none() || copied.source_version_id == first, "{copied:?}");
    }

    let mut conditional = copy(&bucket, "k");
    conditional.source.if_match = Some("\"00000000000000000000000000000000\"".into());
    match bucket.call(conditional.clone()) {
        Ok(_) => assert!(!world().profile.conditional_copy),
        Err(e) => {
            assert_refused(&e, 412, "PreconditionFailed");
            assert!(world().profile.conditional_copy);
        }
    }
    conditional.source.if_match = Some(bucket.must(head("k")).etag);
    bucket.must(conditional);
    assert_eq!(bucket.get("copy"), b"second");
}

#[test]
fn customer_keys_encrypt() {
    let (bucket, profile) = (Bucket::fresh("sse-c"), &world().profile);
    let sse_c = |byte: u8| Encryption::SseC(CustomerKey::new([byte; 32]));
    let (right, wrong) = (sse_c(7), sse_c(8));
    let put = PutObject::new("k", Content::Bytes("hidden".into()), Vec::new());
    let stored = bucket.call(PutObject { encryption: right.clone(), ..put });
    if !profile.sse_c {
        // The store refuses the key, or ignores it, which its reply shows.
        let e = stored.unwrap_err();
        return if e.code() == Code::BadReply {
            assert!(e.message().contains("does not confirm the requested encryption"), "{e:?}");
            assert_eq!(bucket.get("k"), b"hidden");
        } else {
            assert_has_not(&e);
        };
    }
    stored.unwrap();
    let get = |key: &str, encryption| GetObject { encryption, ..GetObject::new(key, 100) };
    for encryption in [Encryption::default(), wrong] {
        let e = bucket.refused(get("k", encryption.clone()));
        assert_eq!(e.code(), Code::WrongKey, "{encryption:?} {e:?}");
        let has_key = encryption.customer_key().is_some();
        let e = bucket.refused(HeadObject { encryption, ..head("k") });
        // The reply to a HEAD without a key has only a status, except on MinIO.
        assert!(e.code() == Code::WrongKey || !has_key && e.status() == 400, "{e:?}");
    }
    bucket.put("plain", b"shown");
    assert_eq!(bucket.refused(get("plain", right.clone())).code(), Code::WrongKey);
    let e = bucket.refused(HeadObject { encryption: right.clone(), ..head("plain") });
    assert_eq!(e.code(), Code::WrongKey, "{e:?}");
    assert_eq!(bucket.refused(get("absent", right.clone())).code(), Code::NotFound);
    let found = bucket.must(HeadObject { encryption: right.clone(), ..head("k") });
    assert_eq!(found.size, Some(6));
    assert_eq!(bucket.must(get("k", right.clone())), b"hidden");

    let customer_key = right.customer_key().cloned();
    let source = CopySource { bucket: bucket.name.clone(), key: "k".into(), customer_key, ..CopySource::default() };
    for encryption in [Encryption::default(), sse_c(9)] {
        let key = "copy";
        let op = CopyObject { key: key.into(), source: source.clone(), encryption, ..CopyObject::default() };
        if profile.sse_c_copy {
            bucket.must(op.clone());
            assert_eq!(bucket.must(get(key, op.encryption)), b"hidden");
        } else {
            assert_has_not(&bucket.refused(op));
        }
    }
}

#[test]
fn many_objects_are_deleted_at_once() {
    let bucket = Bucket::versioned("many");
    let left =
        |bucket: &Bucket| -> Vec<String> { bucket.must(ListObjectsV2::default()).keys().map(str::to_owned).collect() };
    for key in ODD_KEYS {
        bucket.put(key, b"x");
    }
    bucket.put("stays", b"x");
    let keys: Vec<String> = ODD_KEYS.iter().map(|key| key.to_string()).chain(["not-there".into()]).collect();
    let reply = bucket.must(DeleteObjects::new(keys.clone(), false).unwrap());
    let mut deleted: Vec<String> = reply.deleted.iter().map(|found| found.key.clone()).collect();
    let mut all = keys;
    deleted.sort();
    all.sort();
    assert_eq!((deleted, reply.errors), (all, vec![]));
    assert_eq!(left(&bucket), ["stays"]);

    let version_id = bucket.put("versions", b"first").version_id;
    bucket.put("versions", b"second");
    if world().profile.versioning {
        let version_id = version_id.unwrap();
        let versions = vec![("versions".to_owned(), version_id.clone())];
        let reply = bucket.must(DeleteObjectVersions::new(versions, false).unwrap());
        assert_eq!(reply.deleted[0].version_id.as_ref(), Some(&version_id), "{reply:?}");
        assert_eq!(bucket.refused(version("versions", &version_id)).code(), Code::NotFound);
        assert_eq!(bucket.get("versions"), b"second");
    }
    let reply = bucket.must(DeleteObjects::new(vec!["stays".into(), "versions".into()], true).unwrap());
    assert_eq!(reply.errors, []);
    assert_eq!(left(&bucket), [""; 0]);
}

#[test]
fn a_leading_slash_is_kept_or_dropped() {
    let bucket = Bucket::fresh("slash");
    bucket.put("/a", b"x");
    assert_eq!(bucket.get("/a"), b"x");
    let listed = bucket.must(ListObjectsV2::default());
    let expected = if world().profile.leading_slash { "/a" } else { "a" };
    assert_eq!(listed.keys().collect::<Vec<_>>(), [expected]);
    assert_eq!(bare(&listed.objects[0].etag), bare(&bucket.must(head("/a")).etag));
}
