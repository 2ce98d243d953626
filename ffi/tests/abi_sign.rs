//! Signatures through the C interface: what comes out, and what NULL means.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod abi_support;

use std::ffi::CStr;
use std::ptr;

use abi_support::{Failure, c, config, made, refused, taken};
use s3vault::abi::*;
use s3vault_core::Code;

const MAY_24: i64 = 1_369_353_600_000;
const URL: &CStr = c"https://examplebucket.s3.amazonaws.com/test.txt";
const EMPTY: &CStr = c"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn keys() -> *mut s3v_config {
    config(&[("access_key", "AKIAIOSFODNN7EXAMPLE"), ("secret_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")])
}

fn text(result: Result<*mut s3v_bytes, Failure>) -> String {
    String::from_utf8(taken(result.unwrap())).unwrap()
}

fn sign(o: *const s3v_config, headers: Option<&CStr>, hash: Option<&CStr>) -> Result<*mut s3v_bytes, Failure> {
    let [headers, hash] = [headers, hash].map(|text| text.map_or(ptr::null(), CStr::as_ptr));
    made(|out, err| unsafe { s3v_sign(o, MAY_24, c"GET".as_ptr(), URL.as_ptr(), headers, hash, out, err) })
}

#[test]
fn the_documented_examples() {
    let keys = keys();
    let lines = text(sign(keys, Some(c"range: bytes=0-9"), Some(EMPTY)));
    assert!(lines.ends_with("=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\n"), "{lines}");
    let url = made(|out, err| unsafe {
        s3v_presign(keys, MAY_24, c"GET".as_ptr(), URL.as_ptr(), ptr::null(), 86_400, out, err)
    });
    let url = text(url);
    assert!(url.starts_with("https://examplebucket.s3.amazonaws.com/test.txt?"), "{url}");
    assert!(url.ends_with("=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"), "{url}");
    unsafe { s3v_config_free(keys) };
}

#[test]
fn null_and_empty_mean_the_same() {
    let keys = keys();
    let lines = text(sign(keys, None, None));
    assert_eq!(lines, text(sign(keys, Some(c""), Some(c""))));
    assert!(lines.starts_with("x-amz-content-sha256: UNSIGNED-PAYLOAD\nx-amz-date: 20130524T000000Z\nauthorization: "));
    refused(sign(ptr::null(), None, None), Code::InvalidOption);
    let explained = |reply| made(|out, err| unsafe { s3v_explain(c"GET /".as_ptr(), reply, out, err) });
    refused(explained(ptr::null()), Code::InvalidArgument);
    unsafe { s3v_config_free(keys) };
}

#[test]
fn an_expiry_out_of_range_is_refused() {
    let keys = keys();
    for expires in [0, 604_801, u32::MAX] {
        let result = made(|out, err| unsafe {
            s3v_presign(keys, 0, c"PUT".as_ptr(), URL.as_ptr(), ptr::null(), expires, out, err)
        });
        assert!(refused(result, Code::InvalidArgument).message.contains(&expires.to_string()));
    }
    unsafe { s3v_config_free(keys) };
}

#[test]
fn what_was_signed_is_explained() {
    let keys = keys();
    let lines = text(sign(keys, None, None));
    unsafe { s3v_config_free(keys) };
    let request = c(&format!("GET /test.txt HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n{lines}"));
    let explain = |reply: &str| {
        let reply = c(reply);
        let json = text(made(|out, err| unsafe { s3v_explain(request.as_ptr(), reply.as_ptr(), out, err) }));
        serde_json::from_str::<serde_json::Value>(&json).unwrap()
    };
    let found = explain("");
    assert!(found["canonical_request"].as_str().unwrap().starts_with("GET\n/test.txt\n\nhost:"), "{found}");
    assert_eq!(found["difference"], serde_json::Value::Null);
    let canonical = found["canonical_request"].as_str().unwrap().replace("host:examplebucket", "host:proxy");
    let found = explain(&format!("<Error><CanonicalRequest>{canonical}</CanonicalRequest></Error>"));
    assert_eq!((&found["difference"]["part"], &found["difference"]["name"]), (&"header".into(), &"host".into()));
    assert_eq!((&found["difference"]["line"], &found["difference"]["column"]), (&4.into(), &6.into()));
}
