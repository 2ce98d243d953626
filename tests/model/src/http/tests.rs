#![allow(clippy::unwrap_used)]
use super::*;
use crate::{Missing, Rules, Versioning};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn store(rules: Rules) -> Store<Vec<u8>> {
    let mut store = Store::new(rules, 1);
    store.create_bucket("b", Versioning::Enabled, NOW).unwrap();
    store
}

/// Sends a request to the bucket `b` and returns the reply; `headers` are lines of `name: value`.
fn send(
    store: &mut Store<Vec<u8>>,
    method: &'static str,
    target: &str,
    headers: &[&str],
    body: &[u8],
) -> Reply<Vec<u8>> {
    send_to(store, method, &format!("/b{target}"), headers, body)
}

fn send_to(
    store: &mut Store<Vec<u8>>,
    method: &'static str,
    target: &str,
    headers: &[&str],
    body: &[u8],
) -> Reply<Vec<u8>> {
    let headers = headers.iter().map(|line| line.split_once(": ").unwrap());
    let mut headers: Vec<(String, String)> = headers.map(|(name, value)| (name.into(), value.into())).collect();
    headers.push(("x-amz-date".into(), "19700101T000000Z".into()));
    store.answer(&Request::new(method, &format!("http://host:9{target}"), headers, body.to_vec()), NOW)
}

fn text(reply: &Reply<Vec<u8>>) -> &str {
    match &reply.body {
        Body::Xml(xml) => xml,
        Body::Content(bytes) => std::str::from_utf8(bytes).unwrap(),
    }
}

fn header<'a>(reply: &'a Reply<Vec<u8>>, name: &str) -> &'a str {
    reply.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
}

/// Status and code of an error reply.
fn code(reply: &Reply<Vec<u8>>) -> (u16, &str) {
    let code = text(reply).split_once("<Code>").and_then(|(_, rest)| rest.split_once('<'));
    (reply.status, code.map_or("", |(code, _)| code))
}

#[test]
fn an_object_comes_back_with_what_was_said_about_it() {
    let mut store = store(Rules::default());
    let sent = ["x-amz-meta-vid: 7", "content-type: text/plain", "x-amz-checksum-crc64nvme: rosUhgp5mIg="];
    let put = send(&mut store, "PUT", "/a%2Fb%20c", &sent, b"123456789");
    assert_eq!((put.status, header(&put, "etag")), (200, "\"25f9e794323b453885f5181f1b624d0b\""));
    let get = send(&mut store, "GET", "/a/b%20c", &["x-amz-checksum-mode: ENABLED"], b"");
    assert_eq!((get.status, text(&get)), (200, "123456789"));
    for (name, value) in [
        ("x-amz-meta-vid", "7"),
        ("content-type", "text/plain"),
        ("content-length", "9"),
        ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
        ("x-amz-version-id", header(&put, "x-amz-version-id")),
        ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ] {
        assert_eq!(header(&get, name), value, "{name}");
    }
    let part = send(&mut store, "GET", "/a/b%20c", &["range: bytes=3-4"], b"");
    assert_eq!((part.status, text(&part), header(&part, "content-range")), (206, "45", "bytes 3-4/9"));
    assert_eq!(text(&send(&mut store, "GET", "/a/b%20c", &["range: bytes=7-99"], b"")), "89");
    assert_eq!(code(&send(&mut store, "GET", "/a/b%20c", &["range: bytes=9-"], b"")), (416, "InvalidRange"));
    let head = send(&mut store, "HEAD", "/a/b%20c", &[], b"");
    assert_eq!((text(&head), header(&head, "content-length")), ("", "9"));
    assert_eq!(code(&send(&mut store, "GET", "/a/b%20c?versionId=x", &[], b"")), (400, "InvalidArgument"));
    let deleted = send(&mut store, "DELETE", "/a/b%20c", &[], b"");
    assert_eq!((deleted.status, header(&deleted, "x-amz-delete-marker")), (204, "true"));
    assert_eq!(code(&send(&mut store, "GET", "/a/b%20c", &[], b"")), (404, "NoSuchKey"));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_stored() {
    let mut store = store(Rules::default());
    let mut refused = |headers: &[&str]| {
        let reply = send(&mut store, "PUT", "/k", headers, b"x");
        let (status, code) = code(&reply);
        (status, code.to_owned())
    };
    let is = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(refused(&["x-amz-checksum-crc64nvme: rosUhgp5mIg="]), is(400, "BadDigest"));
    let sha256 = format!("x-amz-content-sha256: {}", "0".repeat(64));
    assert_eq!(refused(&[&sha256]), is(400, "XAmzContentSHA256Mismatch"));
    assert_eq!(refused(&["x-amz-tagging: a=b"]), is(501, "NotImplemented"));
    assert_eq!(refused(&["if-match: \"x\""]), is(404, "NoSuchKey"));
    assert_eq!(refused(&["if-match: \"x\"", "if-none-match: *"]), is(501, "NotImplemented"));
    let long = format!("x-amz-meta-long: {}", "x".repeat(2048));
    assert_eq!(refused(&[&long]), is(400, "MetadataTooLarge"));
    assert!(store.bucket("b").unwrap().objects.is_empty());
    assert_eq!(code(&send(&mut store, "GET", "?acl", &[], b"")), (501, "NotImplemented"));
}

#[test]
fn dates_and_expired_keys_are_refused() {
    let mut store = store(Rules::default());
    store.expired_keys.push("A1".into());
    let mut at = |seconds: u64, key: &str| {
        let headers = [("x-amz-date", "19700101T000000Z"), ("authorization", key)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let request = Request::new("GET", "http://h/b?versioning", headers, Vec::new());
        store.answer(&request, NOW + Duration::from_secs(seconds)).status
    };
    assert_eq!(
        [at(0, "AWS4 Credential=A2/x"), at(900, ""), at(901, ""), at(0, "AWS4 Credential=A1/x")],
        [200, 200, 403, 400]
    );
}

#[test]
fn a_multipart_upload_becomes_one_object() {
    let mut store = store(Rules { min_part: 2, max_page: 1, ..Rules::default() });
    let crc64 = ["x-amz-checksum-algorithm: CRC64NVME"];
    let created = send(&mut store, "POST", "/k?uploads=", &crc64, b"");
    let id = text(&created).split_once("<UploadId>").unwrap().1.split_once('<').unwrap().0.to_owned();
    let mut parts = String::new();
    for (number, body) in [(1, "1234"), (2, "56789")] {
        let reply = send(&mut store, "PUT", &format!("/k?partNumber={number}&uploadId={id}"), &[], body.as_bytes());
        let (etag, crc) = (header(&reply, "etag").replace('"', "&quot;"), header(&reply, "x-amz-checksum-crc64nvme"));
        parts += &format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME></Part>"
        );
    }
    let first = send(&mut store, "GET", &format!("/k?uploadId={id}"), &[], b"");
    assert!(text(&first).contains("<NextPartNumberMarker>1</NextPartNumberMarker><IsTruncated>true</IsTruncated>"));
    let second = send(&mut store, "GET", &format!("/k?uploadId={id}&part-number-marker=1"), &[], b"");
    assert!(text(&second).contains("<PartNumber>2</PartNumber>") && text(&second).contains(">false<"));
    let uploads = send(&mut store, "GET", "?uploads&encoding-type=url", &[], b"");
    assert!(text(&uploads).contains(&format!("<Key>k</Key><UploadId>{id}</UploadId>")));
    let target = format!("/k?uploadId={id}");
    for (document, expected) in [
        ("<CompleteMultipartUpload></CompleteMultipartUpload>", (400, "MalformedXML")),
        ("<CompleteMultipartUpload><Part>", (400, "MalformedXML")),
        ("<Other><Part></Part></Other>", (400, "MalformedXML")),
    ] {
        assert_eq!(code(&send(&mut store, "POST", &target, &[], document.as_bytes())), expected);
    }
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let headers = ["x-amz-checksum-crc64nvme: rosUhgp5mIg=", "x-amz-mp-object-size: 9"];
    let completed = send(&mut store, "POST", &target, &headers, document.as_bytes());
    assert_eq!((completed.status, code(&completed).1), (200, ""));
    assert_eq!(text(&send(&mut store, "GET", "/k", &[], b"")), "123456789");
    let again = send(&mut store, "POST", &target, &headers, document.as_bytes());
    assert_eq!(header(&again, "x-amz-version-id"), header(&completed, "x-amz-version-id"));
    assert_eq!(code(&send(&mut store, "DELETE", &target, &[], b"")), (404, "NoSuchUpload"));
}

#[test]
fn listings_go_in_pages_and_encode_keys() {
    let mut store = store(Rules { max_page: 2, ..Rules::default() });
    for key in ["/a%20b", "/a/1", "/a/2", "/c"] {
        send(&mut store, "PUT", key, &[], b"x");
        send(&mut store, "PUT", key, &[], b"xy");
    }
    send(&mut store, "DELETE", "/c", &[], b"");
    let first = send(&mut store, "GET", "?list-type=2&encoding-type=url&delimiter=/", &[], b"");
    assert!(text(&first).contains("<Key>a+b</Key>") && text(&first).contains("<Prefix>a/</Prefix>"));
    assert!(text(&first).contains("<IsTruncated>false</IsTruncated>"), "the newest of c is a delete marker");
    let (mut versions, mut markers, mut more) = (0, 0, String::new());
    for page in 0.. {
        let reply = send(&mut store, "GET", &format!("?versions{more}"), &[], b"");
        versions += text(&reply).matches("<Version>").count();
        markers += text(&reply).matches("<DeleteMarker>").count();
        let element = |name: &str| Some(text(&reply).split_once(&format!("<{name}>"))?.1.split_once('<')?.0.to_owned());
        let Some(key) = element("NextKeyMarker") else {
            assert_eq!(page, 4);
            break;
        };
        let id = element("NextVersionIdMarker").unwrap();
        more = format!("&key-marker={}&version-id-marker={id}", key.replace(' ', "%20"));
    }
    assert_eq!((versions, markers), (8, 1));
}

/// A document with its `Content-MD5`.
fn send_document(
    store: &mut Store<Vec<u8>>,
    method: &'static str,
    target: &str,
    more: &[&str],
    document: &str,
) -> Reply<Vec<u8>> {
    let md5 = format!("content-md5: {}", BASE64.encode(Payload::etag(&document.as_bytes().to_vec())));
    let headers: Vec<&str> = [md5.as_str()].into_iter().chain(more.iter().copied()).collect();
    send(store, method, target, &headers, document.as_bytes())
}

#[test]
fn buckets_are_created_described_listed_in_pages_and_deleted() {
    let mut store = store(Rules { max_buckets: 5, ..Rules::default() });
    let region =
        b"<CreateBucketConfiguration><LocationConstraint>eu-x-1</LocationConstraint></CreateBucketConfiguration>";
    assert_eq!(send_to(&mut store, "PUT", "/p-one", &[], region).status, 200);
    for name in ["/p-two", "/p-three"] {
        assert_eq!(send_to(&mut store, "PUT", name, &[], b"").status, 200);
    }
    let mut refused = |target: &str| code(&send_to(&mut store, "PUT", target, &[], b"")).1.to_owned();
    assert_eq!(refused("/p-one"), "BucketAlreadyOwnedByYou");
    for bad in ["/ab", "/Abc", "/-abc", "/abc.", "/a..b", &format!("/{}", "a".repeat(64))] {
        assert_eq!(refused(bad), "InvalidBucketName", "{bad}");
    }
    assert_eq!(refused("/p-four"), "");
    assert_eq!(refused("/p-five"), "TooManyBuckets");
    let head = send_to(&mut store, "HEAD", "/p-one", &[], b"");
    assert_eq!((head.status, header(&head, "x-amz-bucket-region")), (200, "eu-x-1"));
    assert_eq!(header(&send_to(&mut store, "HEAD", "/p-two", &[], b""), "x-amz-bucket-region"), "us-east-1");
    assert!(text(&send_to(&mut store, "GET", "/p-one?location", &[], b"")).contains(">eu-x-1<"));
    let first = send_to(&mut store, "GET", "/?prefix=p-&max-buckets=2", &[], b"");
    let token = text(&first).split_once("<ContinuationToken>").unwrap().1.split_once('<').unwrap().0;
    let rest = send_to(&mut store, "GET", &format!("/?prefix=p-&continuation-token={token}"), &[], b"");
    let names = |reply: &Reply<Vec<u8>>| {
        let names = text(reply).split("<Name>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    assert_eq!(
        (names(&first), names(&rest)),
        (vec!["p-four".into(), "p-one".into()], vec!["p-three".into(), "p-two".into()])
    );
    assert!(!text(&rest).contains("ContinuationToken"));
    assert_eq!(send_to(&mut store, "DELETE", "/p-one", &[], b"").status, 204);
    assert_eq!(send_to(&mut store, "HEAD", "/p-one", &[], b"").status, 404);
}

#[test]
fn versioning_is_switched_on_and_suspended() {
    let mut store = store(Rules::default());
    send_to(&mut store, "PUT", "/new", &[], b"");
    let status = |store: &mut Store<Vec<u8>>| text(&send_to(store, "GET", "/new?versioning", &[], b"")).to_owned();
    assert!(!status(&mut store).contains("Status"));
    for word in ["Enabled", "Suspended"] {
        let document = format!("<VersioningConfiguration><Status>{word}</Status></VersioningConfiguration>");
        assert_eq!(send_to(&mut store, "PUT", "/new?versioning", &[], document.as_bytes()).status, 200);
        assert!(status(&mut store).contains(word));
    }
    let refused = send_to(&mut store, "PUT", "/new?versioning", &[], b"<VersioningConfiguration/>");
    assert_eq!(code(&refused), (400, "IllegalVersioningConfigurationException"));
}

#[test]
fn a_batch_names_what_was_deleted_and_what_was_not() {
    let mut store = store(Rules::default());
    let put = |store: &mut Store<Vec<u8>>, key: &str| {
        let reply = send(store, "PUT", key, &[], b"x");
        header(&reply, "x-amz-version-id").to_owned()
    };
    let (one, two) = (put(&mut store, "/a&b"), put(&mut store, "/a&b"));
    put(&mut store, "/kept");
    let refusal = Refusal::new(500, "InternalError", "We encountered an internal error.");
    store.bucket_mut("b").unwrap().undeletable.insert("kept".into(), refusal);
    let batch = |quiet: &str| {
        format!(
            "<Delete>{quiet}<Object><Key>a&amp;b</Key><VersionId>{one}</VersionId></Object><Object><Key>kept</Key></Object>\
             <Object><Key>new</Key></Object></Delete>"
        )
    };
    assert_eq!(code(&send(&mut store, "POST", "?delete", &[], batch("").as_bytes())), (400, "InvalidRequest"));
    assert_eq!(code(&send_document(&mut store, "POST", "?delete", &[], "<Delete></Delete>")), (400, "MalformedXML"));
    let reply = send_document(&mut store, "POST", "?delete", &[], &batch(""));
    let marker = store.bucket("b").unwrap().versions("new")[0].id.clone();
    let error =
        "<Error><Key>kept</Key><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>";
    assert!(text(&reply).contains(&format!(
        "<Deleted><Key>a&amp;b</Key><VersionId>{one}</VersionId></Deleted>{error}<Deleted><Key>new</Key>\
         <DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{marker}</DeleteMarkerVersionId></Deleted>"
    )));
    let quiet = send_document(&mut store, "POST", "?delete", &[], &batch("<Quiet>true</Quiet>"));
    assert!(text(&quiet).ends_with(&format!("<DeleteResult>{error}</DeleteResult>")), "{}", text(&quiet));
    assert_eq!(store.bucket("b").unwrap().versions("a&b")[0].id, two);
    assert_eq!(code(&send(&mut store, "DELETE", "/kept", &[], b"")), (500, "InternalError"));
}

#[test]
fn a_store_may_lack_operations() {
    let missing = [("DeleteObjects", Missing::NotImplemented), ("ListObjectVersions", Missing::NotAllowed)];
    let mut store = store(Rules { missing: missing.into(), ..Rules::default() });
    let batch = "<Delete><Object><Key>k</Key></Object></Delete>";
    assert_eq!(code(&send_document(&mut store, "POST", "?delete", &[], batch)), (501, "NotImplemented"));
    assert_eq!(code(&send(&mut store, "GET", "?versions", &[], b"")), (405, "MethodNotAllowed"));
    assert_eq!(send(&mut store, "GET", "?list-type=2", &[], b"").status, 200);
}

#[test]
fn a_version_is_found_by_its_id_with_its_metadata_and_a_marker_is_not_an_object() {
    let mut store = store(Rules::default());
    let old = send(&mut store, "PUT", "/k", &["x-amz-meta-vid: old"], b"1");
    send(&mut store, "PUT", "/k", &["x-amz-meta-vid: new"], b"22");
    let marker = send(&mut store, "DELETE", "/k", &[], b"");
    let head = |store: &mut Store<Vec<u8>>, id: &str| send(store, "HEAD", &format!("/k?versionId={id}"), &[], b"");
    let found = head(&mut store, header(&old, "x-amz-version-id"));
    assert_eq!((found.status, header(&found, "x-amz-meta-vid"), header(&found, "content-length")), (200, "old", "1"));
    let found = head(&mut store, header(&marker, "x-amz-version-id"));
    assert_eq!((found.status, header(&found, "x-amz-delete-marker")), (405, "true"));
    assert_eq!(head(&mut store, "replica-1").status, 400);
    assert_eq!(head(&mut store, &"0".repeat(32)).status, 404);
    assert_eq!(send(&mut store, "HEAD", "/k", &[], b"").status, 404);
}

#[test]
fn uploads_are_listed_by_prefix() {
    let mut store = store(Rules::default());
    for key in ["/a/1", "/a/1", "/a/2", "/b"] {
        send(&mut store, "POST", &format!("{key}?uploads"), &[], b"");
    }
    let list = |store: &mut Store<Vec<u8>>, query: &str| {
        text(&send(store, "GET", &format!("?uploads&{query}"), &[], b"")).matches("<Upload>").count()
    };
    assert_eq!(list(&mut store, "prefix=a/"), 3);
    assert_eq!(list(&mut store, "prefix=a/1"), 2);
    assert_eq!(list(&mut store, "prefix=a/&max-uploads=1"), 1);
    assert_eq!(list(&mut store, "key-marker=a/1"), 2);
}

#[test]
fn locks_are_set_by_headers_by_default_and_afterwards() {
    let mut store = store(Rules::default());
    let (mode, until) =
        ("x-amz-object-lock-mode: GOVERNANCE", "x-amz-object-lock-retain-until-date: 1970-01-03T00:00:00.000Z");
    let crc = "x-amz-checksum-crc64nvme: rosUhgp5mIg=";
    assert_eq!(code(&send(&mut store, "PUT", "/k", &[mode, until, crc], b"123456789")), (400, "InvalidRequest"));
    let default = "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>3</Days></DefaultRetention></Rule>";
    let document = |rule: &str| {
        format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        )
    };
    assert_eq!(code(&send(&mut store, "GET", "?object-lock", &[], b"")).0, 404);
    assert_eq!(code(&send(&mut store, "PUT", "?object-lock", &[], document("").as_bytes())), (400, "InvalidRequest"));
    assert_eq!(send_document(&mut store, "PUT", "?object-lock", &[], &document("")).status, 200);
    assert_eq!(code(&send(&mut store, "PUT", "/k", &[mode, crc], b"123456789")), (400, "InvalidArgument"));
    assert_eq!(code(&send(&mut store, "PUT", "/k", &[mode, until], b"123456789")), (400, "InvalidRequest"));
    let put = send(&mut store, "PUT", "/k", &[mode, until, crc], b"123456789");
    let version = format!("/k?versionId={}", header(&put, "x-amz-version-id"));
    let head = send(&mut store, "HEAD", &version, &[], b"");
    assert_eq!(header(&head, "x-amz-object-lock-mode"), "GOVERNANCE");
    assert_eq!(header(&head, "x-amz-object-lock-retain-until-date"), "1970-01-03T00:00:00.000Z");

    assert_eq!(code(&send(&mut store, "DELETE", &version, &[], b"")), (403, "AccessDenied"));
    assert_eq!(send(&mut store, "DELETE", "/k", &[], b"").status, 204, "a delete marker");
    let longer =
        "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>1970-01-04T00:00:00Z</RetainUntilDate></Retention>";
    let retention = version.replace('?', "?retention&");
    assert_eq!(send_document(&mut store, "PUT", &retention, &[], longer).status, 200);
    assert!(text(&send(&mut store, "GET", &retention, &[], b"")).contains("1970-01-04T00:00:00.000Z"));
    let shorter = longer.replace("-04T", "-02T");
    assert_eq!(code(&send_document(&mut store, "PUT", &retention, &[], &shorter)), (403, "AccessDenied"));
    let bypass = "x-amz-bypass-governance-retention: true";
    assert_eq!(send_document(&mut store, "PUT", &retention, &[bypass], &shorter).status, 200);
    assert_eq!(send(&mut store, "DELETE", &version, &[bypass], b"").status, 204);

    assert_eq!(send_document(&mut store, "PUT", "?object-lock", &[], &document(default)).status, 200);
    assert!(text(&send(&mut store, "GET", "?object-lock", &[], b"")).contains("<Mode>COMPLIANCE</Mode><Days>3</Days>"));
    assert_eq!(code(&send(&mut store, "PUT", "/k", &[], b"123456789")), (400, "InvalidRequest"), "no checksum");
    let put = send(&mut store, "PUT", "/k", &[crc], b"123456789");
    let version = format!("/k?versionId={}", header(&put, "x-amz-version-id"));
    let head = send(&mut store, "HEAD", &version, &[], b"");
    assert_eq!(header(&head, "x-amz-object-lock-retain-until-date"), "1970-01-04T00:00:00.000Z");
    assert_eq!(code(&send(&mut store, "DELETE", &version, &[bypass], b"")), (403, "AccessDenied"));
    let batch = format!("<Delete><Object><Key>k</Key><VersionId>{}</VersionId></Object></Delete>", &version[13..]);
    let reply = send_document(&mut store, "POST", "?delete", &[bypass], &batch);
    assert!(text(&reply).contains("<Code>AccessDenied</Code>"));
}

#[test]
fn a_multipart_upload_is_locked_from_its_initiation_and_its_parts_have_checksums() {
    let mut store = store(Rules::default());
    send_to(&mut store, "PUT", "/locked", &["x-amz-bucket-object-lock-enabled: true"], b"");
    let lock = [
        "x-amz-checksum-algorithm: CRC64NVME",
        "x-amz-object-lock-mode: COMPLIANCE",
        "x-amz-object-lock-retain-until-date: 1970-01-03T00:00:00Z",
    ];
    let created = send_to(&mut store, "POST", "/locked/k?uploads", &lock, b"");
    let id = text(&created).split_once("<UploadId>").unwrap().1.split_once('<').unwrap().0.to_owned();
    let part = format!("/locked/k?partNumber=1&uploadId={id}");
    assert_eq!(code(&send_to(&mut store, "PUT", &part, &[], b"123456789")), (400, "InvalidRequest"));
    let crc = "x-amz-checksum-crc64nvme: rosUhgp5mIg=";
    let reply = send_to(&mut store, "PUT", &part, &[crc], b"123456789");
    let etag = header(&reply, "etag").replace('"', "&quot;");
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let completed = send_to(&mut store, "POST", &format!("/locked/k?uploadId={id}"), &[], document.as_bytes());
    let version = format!("/locked/k?versionId={}", header(&completed, "x-amz-version-id"));
    assert_eq!(code(&send_to(&mut store, "DELETE", &version, &[], b"")), (403, "AccessDenied"));
}

#[test]
fn a_page_of_delete_markers_is_empty_and_another_one_follows() {
    let mut store = store(Rules { max_passed: 2, ..Rules::default() });
    for key in ["/a", "/b", "/c", "/d"] {
        send(&mut store, "PUT", key, &[], b"x");
    }
    for key in ["/a", "/b", "/c"] {
        send(&mut store, "DELETE", key, &[], b"");
    }
    let first = send(&mut store, "GET", "?list-type=2", &[], b"");
    assert!(!text(&first).contains("<Contents>") && text(&first).contains("<IsTruncated>true</IsTruncated>"));
    let token = text(&first).split_once("<NextContinuationToken>").unwrap().1.split_once('<').unwrap().0.to_owned();
    let second = send(&mut store, "GET", &format!("?list-type=2&continuation-token={token}"), &[], b"");
    assert!(text(&second).contains("<Key>d</Key>"));
}

/// The headers of a customer key of these bytes.
fn key(byte: u8) -> [String; 3] {
    use md5::{Digest as _, Md5};
    let key = [byte; 32];
    let name = "x-amz-server-side-encryption-customer-";
    [
        format!("{name}algorithm: AES256"),
        format!("{name}key: {}", BASE64.encode(key)),
        format!("{name}key-md5: {}", BASE64.encode(Md5::digest(key))),
    ]
}

fn lines(key: &[String]) -> Vec<&str> {
    key.iter().map(String::as_str).collect()
}

const KEY_MD5: &str = "x-amz-server-side-encryption-customer-key-md5";

#[test]
fn an_object_with_a_customer_key_is_read_with_that_key_only() {
    let mut store = store(Rules::default());
    let (own, other) = (key(7), key(8));
    let put = send(&mut store, "PUT", "/k", &lines(&own), b"hidden");
    assert!(put.status == 200 && own[2].ends_with(header(&put, KEY_MD5)));
    send(&mut store, "PUT", "/plain", &[], b"shown");
    for method in ["GET", "HEAD"] {
        let get = send(&mut store, method, "/k", &lines(&own), b"");
        assert!(get.status == 200 && own[2].ends_with(header(&get, KEY_MD5)));
        assert_eq!(send(&mut store, method, "/k", &lines(&other), b"").status, 403);
        assert_eq!(send(&mut store, method, "/k", &[], b"").status, 400);
        assert_eq!(send(&mut store, method, "/plain", &lines(&own), b"").status, 400);
    }
    let damaged = [own[0].as_str(), own[1].as_str(), other[2].as_str()];
    assert_eq!(code(&send(&mut store, "GET", "/k", &damaged, b"")), (400, "InvalidArgument"));
    assert_eq!(code(&send(&mut store, "PUT", "/k", &damaged[..2], b"")), (400, "InvalidArgument"));
}

#[test]
fn the_requests_of_an_upload_need_its_customer_key() {
    let mut store = store(Rules::default());
    let (own, other) = (key(7), key(8));
    let create: Vec<&str> = lines(&own).into_iter().chain(["x-amz-checksum-algorithm: CRC64NVME"]).collect();
    let created = send(&mut store, "POST", "/m?uploads", &create, b"");
    let id = text(&created).split_once("<UploadId>").unwrap().1.split('<').next().unwrap().to_owned();
    let part = format!("/m?partNumber=1&uploadId={id}");
    let sent = send(&mut store, "PUT", &part, &lines(&own), b"x");
    assert!(sent.status == 200 && own[2].ends_with(header(&sent, KEY_MD5)));
    let etag = header(&sent, "etag").to_owned();
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let upload = format!("/m?uploadId={id}");
    for wrong in [vec![], lines(&other)] {
        assert_eq!(code(&send(&mut store, "PUT", &part, &wrong, b"x")), (400, "InvalidRequest"));
        assert_eq!(code(&send(&mut store, "GET", &upload, &wrong, b"")), (400, "InvalidRequest"));
        assert_eq!(code(&send(&mut store, "POST", &upload, &wrong, complete.as_bytes())), (400, "InvalidRequest"));
    }
    assert_eq!(send(&mut store, "GET", &upload, &lines(&own), b"").status, 200);
    assert_eq!(send(&mut store, "POST", &upload, &lines(&own), complete.as_bytes()).status, 200);
    assert_eq!(send(&mut store, "GET", "/m", &[], b"").status, 400);
    assert_eq!(text(&send(&mut store, "GET", "/m", &lines(&own), b"")), "x");
}

#[test]
fn stores_block_ignore_and_feign_customer_keys() {
    use crate::SseC;
    let own = key(7);
    for (sse_c, status, is_confirmed) in [
        (SseC::Blocked, 403, false),
        (SseC::Unknown, 501, false),
        (SseC::Ignored, 200, false),
        (SseC::Feigned, 200, true),
    ] {
        let mut store = store(Rules { sse_c, ..Rules::default() });
        let put = send(&mut store, "PUT", "/k", &lines(&own), b"clear");
        assert_eq!((put.status, !header(&put, KEY_MD5).is_empty()), (status, is_confirmed), "{sse_c:?}");
        if status == 200 {
            assert_eq!(text(&send(&mut store, "GET", "/k", &[], b"")), "clear");
            let get = send(&mut store, "GET", "/k", &lines(&own), b"");
            assert_eq!((text(&get), !header(&get, KEY_MD5).is_empty()), ("clear", is_confirmed));
        }
        let blocked = text(&send(&mut store, "GET", "?encryption", &[], b"")).contains("<EncryptionType>SSE-C<");
        assert_eq!(blocked, sse_c == SseC::Blocked);
    }
}

#[test]
fn a_store_may_refuse_to_copy_what_it_encrypts_with_customer_keys() {
    let mut store = store(Rules { copies_sse_c: false, ..Rules::default() });
    let own = key(7);
    assert_eq!(send(&mut store, "PUT", "/k", &lines(&own), b"x").status, 200);
    assert_eq!(send(&mut store, "PUT", "/plain", &[], b"x").status, 200);
    let source: Vec<String> = own.iter().map(|line| line.replace("x-amz-", "x-amz-copy-source-")).collect();
    let copy = |store: &mut _, from: &str| {
        let from = format!("x-amz-copy-source: {from}");
        let headers: Vec<&str> = match from.ends_with("/k") {
            true => source.iter().map(String::as_str).chain([&*from]).collect(),
            false => vec![&*from],
        };
        send(store, "PUT", "/copy", &headers, b"").status
    };
    assert_eq!((copy(&mut store, "b/k"), copy(&mut store, "b/plain")), (501, 200));
}

#[test]
fn replies_name_the_encryption_by_the_store() {
    let mut store = store(Rules::default());
    let name = "x-amz-server-side-encryption";
    let put = send(&mut store, "PUT", "/k", &["x-amz-server-side-encryption: aws:kms"], b"x");
    assert_eq!(header(&put, name), "aws:kms");
    assert_eq!(header(&send(&mut store, "HEAD", "/k", &[], b""), name), "aws:kms");
    assert_eq!(code(&send(&mut store, "PUT", "/k", &["x-amz-server-side-encryption: rot13"], b"")).0, 400);
}
