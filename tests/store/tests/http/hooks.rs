//! The hooks: faults, damage, numbers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::client::{Reply, authority, exchange, hook, request, server};
use embedded_store::{Effect, Fault, Server, When};

fn order(server: &Server, json: &str) {
    let reply = hook(server, "POST", "fault", json);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn put(server: &Server, key: &str, body: &str) -> Reply {
    request("PUT", &format!("/bucket/{key}")).body(body).send(server)
}

fn get(server: &Server, key: &str) -> Reply {
    request("GET", &format!("/bucket/{key}")).send(server)
}

#[test]
fn an_ordered_answer_takes_the_place_of_the_effect() {
    let server = server();
    order(
        &server,
        r#"{"operation":"PutObject","times":2,"answer":{"status":503,"code":"SlowDown","headers":{"retry-after":"3"}}}"#,
    );
    for _ in 0..2 {
        let reply = put(&server, "k", "x");
        assert_eq!(reply.error(), (503, "SlowDown".to_owned()));
        assert_eq!(reply.header("retry-after"), Some("3"));
        assert_eq!(reply.element("RequestId"), reply.header("x-amz-request-id").unwrap());
        assert_eq!(get(&server, "k").status, 404);
    }
    assert_eq!(put(&server, "k", "x").status, 200);
}

#[test]
fn an_answer_can_come_after_the_effect_and_be_anything() {
    let server = server();
    order(&server, r#"{"operation":"PutObject","answer":{"status":200,"code":"InternalError","when":"after"}}"#);
    assert_eq!(put(&server, "k", "x").error(), (200, "InternalError".to_owned()));
    assert_eq!(get(&server, "k").body, b"x");
    order(
        &server,
        r#"{"operation":"GetObject","answer":{"status":200,"body":"<html>hello</html>","content_type":"text/html"}}"#,
    );
    let html = get(&server, "k");
    assert_eq!((html.status, html.text().as_str()), (200, "<html>hello</html>"));
    assert_eq!(html.header("content-type"), Some("text/html"));
}

#[test]
fn a_connection_is_dropped_before_or_after_the_effect() {
    let server = server();
    for (when, status) in [(When::Before, 404), (When::After, 200)] {
        server.fault(Fault::new("PutObject", Effect::Drop(when))).unwrap();
        let signed = request("PUT", "/bucket/k").body("x").sign(&server);
        assert!(exchange(&server, &signed.text()).is_none(), "{when:?}");
        assert_eq!(get(&server, "k").status, status, "{when:?}");
    }
}

#[test]
fn a_reply_is_truncated_where_it_was_ordered() {
    let server = server();
    let content = "0123456789".repeat(100_000);
    put(&server, "k", &content);
    for length in [0, 7, 999_999] {
        order(&server, &format!(r#"{{"operation":"GetObject","truncate":{length}}}"#));
        let reply = get(&server, "k");
        assert_eq!(reply.header("content-length"), Some("1000000"));
        assert_eq!(reply.body, content.as_bytes()[..length]);
    }
    assert_eq!(get(&server, "k").body.len(), 1_000_000);
}

#[test]
fn a_stalled_reply_keeps_the_connection() {
    let server = server();
    put(&server, "k", "0123456789");
    order(&server, r#"{"operation":"GetObject","stall":4}"#);
    let mut stream = TcpStream::connect(authority(&server)).unwrap();
    stream.write_all(&request("GET", "/bucket/k").sign(&server).text()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"0123") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    assert_eq!(crate::client::parse(&answer).unwrap().body, b"0123");
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let ended = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(ended, Err(std::io::ErrorKind::WouldBlock));
}

#[test]
fn a_delayed_request_takes_effect_later() {
    let server = server();
    order(&server, r#"{"operation":"PutObject","delay_ms":400}"#);
    let text = request("PUT", "/bucket/k").body("x").sign(&server).text();
    std::thread::scope(|scope| {
        let late = scope.spawn(|| exchange(&server, &text).unwrap().status);
        // The request has arrived once it is counted; the object comes after the delay.
        while !server.stats().requests.contains_key("PutObject") {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(get(&server, "k").status, 404);
        assert_eq!(late.join().unwrap(), 200);
    });
    assert_eq!(get(&server, "k").status, 200);
}

#[test]
fn faults_choose_their_request_can_be_read_and_forgotten() {
    let server = server();
    order(&server, r#"{"operation":"*","target":"/bucket/hit","skip":1,"drop":"before"}"#);
    assert_eq!(put(&server, "other", "x").status, 200);
    assert_eq!(put(&server, "hit", "x").status, 200);
    let pending = hook(&server, "GET", "fault", "").text();
    assert_eq!(pending.trim(), r#"[{"drop":"before","operation":"*","skip":0,"target":"/bucket/hit","times":1}]"#);
    assert_eq!(hook(&server, "DELETE", "fault", "").status, 200);
    assert_eq!(get(&server, "hit").status, 200);
    for wrong in [
        r#"{"operation":"PutObjekt","drop":"before"}"#,
        r#"{"operation":"PutObject","drop":"before","times":0}"#,
        r#"{"operation":"PutObject"}"#,
        "no json",
    ] {
        assert_eq!(hook(&server, "POST", "fault", wrong).status, 400, "{wrong}");
    }
    assert!(server.pending_faults().is_empty());
}

#[test]
fn damage_is_seen_in_the_bytes_and_nowhere_else() {
    let server = server();
    let first = put(&server, "k", "content");
    let old = first.header("x-amz-version-id").unwrap();
    put(&server, "k", "content");
    let damage = |place: &str| {
        let json = format!(r#"{{"bucket":"bucket","key":"k","version_id":"{old}",{place}}}"#);
        let reply = hook(&server, "POST", "damage", &json);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let path = format!("/bucket/k?versionId={old}");
        let seen = request("GET", &path).header("x-amz-checksum-mode", "ENABLED").send(&server);
        for name in ["x-amz-checksum-crc64nvme", "etag"] {
            assert_eq!(seen.header(name).unwrap(), first.header(name).unwrap());
        }
        seen.text()
    };
    assert_eq!(damage(r#""offset":2"#), "cootent");
    assert_eq!(damage(r#""cut":3"#), "coo");
    assert_eq!(damage(r#""content_base64":"U1dBUFBFRA==""#), "SWAPPED");
    assert_eq!(get(&server, "k").text(), "content");
    let none = hook(&server, "POST", "damage", r#"{"bucket":"bucket","key":"none","cut":0}"#);
    assert_eq!(none.status, 404);
    assert!(none.text().contains("NoSuchKey"));
}

#[test]
fn stats_count_requests_and_bytes() {
    let server = server();
    put(&server, "k", "0123456789");
    get(&server, "k");
    get(&server, "k");
    let stats: serde_json::Value = serde_json::from_slice(&hook(&server, "GET", "stats", "").body).unwrap();
    assert_eq!(stats["requests"], serde_json::json!({ "PutObject": 1, "GetObject": 2 }));
    assert_eq!((&stats["bytes_in"], &stats["bytes_out"], &stats["stored_bytes"]), (&10.into(), &20.into(), &10.into()));
    let version = get(&server, "k").header("x-amz-version-id").unwrap().to_owned();
    assert_eq!(request("DELETE", &format!("/bucket/k?versionId={version}")).send(&server).status, 204);
    assert_eq!(server.stats().stored_bytes, 0);
}

#[test]
fn what_is_no_hook_says_what_there_is() {
    let server = server();
    let reply = hook(&server, "GET", "nothing", "");
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("POST damage"));
}

#[test]
fn objects_can_be_made_older_by_a_part_of_their_keys() {
    let server = server();
    put(&server, "a.-d", "x");
    put(&server, "b", "x");
    let modified = |key: &str| get(&server, key).header("last-modified").unwrap().to_owned();
    let before = (modified("a.-d"), modified("b"));
    let aged = hook(&server, "POST", "age", r#"{"bucket": "bucket", "part": ".-d", "seconds": 86400}"#);
    assert_eq!(aged.status, 200, "{}", aged.text());
    assert_ne!(modified("a.-d"), before.0);
    assert_eq!(modified("b"), before.1);
    let missing = hook(&server, "POST", "age", r#"{"bucket": "none", "part": "", "seconds": 1}"#);
    assert_eq!(missing.status, 404);
}
