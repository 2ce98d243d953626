#![allow(clippy::unwrap_used)]
use super::*;
use crate::Rules;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn store(rules: Rules) -> Store<Vec<u8>> {
    let mut store = Store::new(rules, 1);
    store.create_bucket("b", Versioning::Enabled, NOW).unwrap();
    store
}

/// Sends a request and returns the reply; `headers` are lines of `name: value`.
fn send(
    store: &mut Store<Vec<u8>>,
    method: &'static str,
    target: &str,
    headers: &[&str],
    body: &[u8],
) -> Reply<Vec<u8>> {
    let headers = headers.iter().map(|line| line.split_once(": ").unwrap());
    let mut headers: Vec<(String, String)> = headers.map(|(name, value)| (name.into(), value.into())).collect();
    headers.push(("x-amz-date".into(), "19700101T000000Z".into()));
    store.answer(&Request::new(method, &format!("http://host:9/b{target}"), headers, body.to_vec()), NOW)
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
    assert_eq!(code(&send(&mut store, "GET", "/a/b%20c?versionId=x", &[], b"")), (404, "NoSuchVersion"));
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
