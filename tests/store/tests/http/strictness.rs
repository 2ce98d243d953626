//! What the store refuses: signatures, signed headers, escapes, dates, bodies.

use crate::client::{Reply, epoch_seconds, exchange, hook, request, server};

fn refused(reply: &Reply) -> (u16, String) {
    assert!(reply.header("date").is_some() && reply.header("x-amz-request-id").is_some(), "{reply:?}");
    assert_eq!(reply.element("RequestId"), reply.header("x-amz-request-id").unwrap());
    assert!(!reply.element("Message").is_empty());
    reply.error()
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn a_well_signed_request_passes_for_every_key() {
    let server = server();
    for path in [
        "/bucket/a//b",
        "/bucket//lead",
        "/bucket/a%3D2F~%C3%BC",
        "/bucket/%252F",
        "/bucket/a%20b%2Bc",
        "/bucket/a/../b",
    ] {
        assert_eq!(request("PUT", path).body(path).send(&server).status, 200, "{path}");
        assert_eq!(request("GET", path).send(&server).body, path.as_bytes(), "{path}");
    }
    assert_eq!(server.stats().requests["PutObject"], 6);
}

#[test]
fn keys_and_secrets_are_told_apart() {
    let server = server();
    let good = request("GET", "/bucket/k");
    let mut secret = good.clone();
    secret.secret.push('x');
    assert_eq!(refused(&secret.send(&server)), is(403, "SignatureDoesNotMatch"));
    let mut access = good.clone();
    access.access.push('x');
    assert_eq!(refused(&access.send(&server)), is(403, "InvalidAccessKeyId"));
    assert_eq!(refused(&good.send(&server)), is(404, "NoSuchKey"));
    assert_eq!(server.stats().requests["refused"], 2);
}

#[test]
fn a_request_without_signature_is_denied() {
    let server = server();
    let reply = exchange(&server, b"GET /bucket/k HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
    assert_eq!(refused(&reply), is(403, "AccessDenied"));
    let v2 = b"GET /bucket/k HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: AWS AKIDEXAMPLE:c2ln\r\n\r\n";
    let reply = exchange(&server, v2).unwrap();
    assert_eq!(refused(&reply), is(403, "AccessDenied"));
    assert!(reply.element("Message").contains("AWS4-HMAC-SHA256"));
}

#[test]
fn host_and_every_amz_header_must_be_signed() {
    let server = server();
    for header in ["host", "x-amz-meta-note", "x-amz-content-sha256"] {
        let mut request = request("PUT", "/bucket/k").header("x-amz-meta-note", "1").body("x");
        assert_eq!(request.send(&server).status, 200);
        request.unsigned = vec![header];
        let reply = request.send(&server);
        assert_eq!(refused(&reply), is(403, "AccessDenied"));
        assert_eq!(reply.element("HeadersNotSigned"), header);
        assert!(reply.element("Message").contains(header));
    }
}

#[test]
fn path_and_query_must_be_escaped() {
    let server = server();
    for path in ["/bucket/a@b", "/bucket/a%2fb", "/bucket/k?versionId=a/b", "/bucket?prefix=a+b"] {
        let reply = request("GET", path).send(&server);
        assert_eq!(refused(&reply), is(403, "SignatureDoesNotMatch"), "{path}");
        assert!(reply.element("Message").contains("must be"), "{path}: {}", reply.text());
    }
}

#[test]
fn a_date_far_from_the_stores_clock_is_refused() {
    let server = server();
    let mut late = request("GET", "/bucket");
    for offset in [-1000, 1000] {
        late.offset = offset;
        let reply = late.send(&server);
        assert_eq!(refused(&reply), is(403, "RequestTimeTooSkewed"));
        assert_eq!(reply.element("RequestTime"), late.sign(&server).date);
        assert!(reply.element("ServerTime").ends_with('Z'));
    }
    assert_eq!(hook(&server, "POST", "clock", r#"{"offset_seconds": 7200}"#).status, 200);
    let reply = request("GET", "/bucket/k").send(&server);
    assert_eq!(refused(&reply), is(403, "RequestTimeTooSkewed"));
    late.offset = 7200;
    let before = epoch_seconds();
    let reply = late.send(&server);
    assert_eq!(reply.status, 501, "ListObjects of version 1 is not implemented, but the date is right");
    let date = jiff::fmt::rfc2822::parse(reply.header("date").unwrap()).unwrap().timestamp().as_second();
    assert!((before..=epoch_seconds()).contains(&(date - 7200)));
}

#[test]
fn a_body_that_is_not_what_was_signed_stores_nothing() {
    let server = server();
    let hash = crate::client::hex(&[7; 32]);
    let wrong = request("PUT", "/bucket/k").header("x-amz-content-sha256", hash.clone()).body("body");
    assert_eq!(refused(&wrong.send(&server)), is(400, "XAmzContentSHA256Mismatch"));
    let xml = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let wrong = request("PUT", "/bucket?versioning=").header("x-amz-content-sha256", hash).body(xml);
    assert_eq!(refused(&wrong.send(&server)), is(400, "XAmzContentSHA256Mismatch"));
    let delete = "<Delete><Object><Key>k</Key></Object></Delete>";
    let wrong = request("POST", "/bucket?delete=").header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==").body(delete);
    assert_eq!(refused(&wrong.send(&server)), is(400, "BadDigest"));
    assert_eq!(refused(&request("GET", "/bucket/k").send(&server)), is(404, "NoSuchKey"));
    assert!(request("GET", "/bucket?versioning=").send(&server).text().contains("Enabled"));
    assert_eq!(server.stats().stored_bytes, 0);
}

/// A PUT of "one" and "two" in signed chunks, spoilt by `spoil` before it is sent.
fn chunked(server: &embedded_store::Server, spoil: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Reply {
    let put = request("PUT", "/bucket/chunked")
        .header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
        .header("x-amz-decoded-content-length", "6")
        .header("content-encoding", "aws-chunked");
    let mut signed = put.sign(server);
    let body = [signed.chunk(b"one"), signed.chunk(b"two"), signed.chunk(b"")].concat();
    signed.request.body = spoil(body);
    signed.send(server)
}

#[test]
fn a_tampered_chunk_is_refused() {
    let server = server();
    let tampered = chunked(&server, |mut body| {
        let at = body.windows(3).position(|window| window == b"two").unwrap();
        body[at] = b'T';
        body
    });
    assert_eq!(refused(&tampered), is(403, "SignatureDoesNotMatch"));
    let last = b"0;chunk-signature=";
    let short = chunked(&server, |body| {
        let end = body.windows(last.len()).position(|window| window == last).unwrap();
        let second = body[1..end].windows(17).position(|window| window == b"3;chunk-signature").unwrap() + 1;
        body[..second].to_vec()
    });
    assert_eq!(refused(&short), is(400, "IncompleteBody"));
    let unsigned = chunked(&server, |_| b"6\r\nonetwo\r\n0\r\n\r\n".to_vec());
    assert_eq!(refused(&unsigned), is(400, "InvalidRequest"));
    assert_eq!(refused(&request("GET", "/bucket/chunked").send(&server)), is(404, "NoSuchKey"));
    assert_eq!(chunked(&server, |body| body).status, 200);
    let reply = request("GET", "/bucket/chunked").send(&server);
    assert_eq!((reply.body.as_slice(), reply.header("content-encoding")), (b"onetwo".as_slice(), None));
}

#[test]
fn an_announced_trailer_must_come_and_be_right() {
    let server = server();
    let put = |trailer: &str| {
        request("PUT", "/bucket/trailer")
            .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("x-amz-decoded-content-length", "9")
            .header("x-amz-trailer", "x-amz-checksum-crc64nvme")
            .body(format!("9\r\n123456789\r\n0\r\n{trailer}\r\n"))
            .send(&server)
    };
    assert_eq!(refused(&put("")), is(400, "MalformedTrailerError"));
    assert_eq!(refused(&put("x-amz-checksum-crc64nvme:AAAAAAAAAAA=\r\n")), is(400, "BadDigest"));
    assert_eq!(server.stats().stored_bytes, 0);
    let reply = put("x-amz-checksum-crc64nvme:rosUhgp5mIg=\r\n");
    assert_eq!((reply.status, reply.header("x-amz-checksum-crc64nvme")), (200, Some("rosUhgp5mIg=")));
}

#[test]
fn what_is_not_implemented_is_said() {
    let server = server();
    for (name, value) in [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-acl", "public-read"),
        ("x-amz-checksum-sha512", "x"),
    ] {
        let reply = request("PUT", "/bucket/k").header(name, value).body("x").send(&server);
        assert_eq!(refused(&reply), is(501, "NotImplemented"), "{name}");
    }
    assert_eq!(server.stats().stored_bytes, 0);
}

/// A client that was refused need not send the body it announced; what it sends next must not be taken for that body.
#[test]
fn a_refusal_before_the_body_ends_the_connection_and_says_so() {
    let server = server();
    let put = request("PUT", "/missing-bucket/k").header("expect", "100-continue").body("x");
    let signed = put.sign(&server);
    let text = String::from_utf8(signed.text()).unwrap();
    let text = text.replace("connection: close\r\n", "");
    let head = text.strip_suffix('x').unwrap();
    let reply = exchange(&server, head.as_bytes()).unwrap();
    assert_eq!((reply.error(), reply.header("connection")), (is(404, "NoSuchBucket"), Some("close")));
}
