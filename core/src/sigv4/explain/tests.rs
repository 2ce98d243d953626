//! Each kind of difference, with the cause that is shown.

use zeroize::Zeroizing;

use super::super::{Payload, Signer, ToSign};
use super::*;
use crate::credentials::Credentials;
use crate::http::Method;
use crate::xml::escape;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const MAY_24: i64 = 1_369_353_600_000;

struct Sent {
    /// The request as text.
    text: String,
    canonical: String,
    string_to_sign: String,
    signature: String,
}

fn signer(token: bool) -> Signer {
    let credentials = Credentials {
        access_key: "AKIA/EXAMPLE".into(),
        secret_key: Zeroizing::new("S".into()),
        session_token: token.then(|| Zeroizing::new("TOKEN".into())),
        expires_ms: None,
    };
    Signer::new(credentials, "us-east-1")
}

fn send(request: &ToSign<'_>, token: bool) -> Sent {
    let mut signer = signer(token);
    let mark = if request.query.is_empty() { "" } else { "?" };
    let mut text = format!("{} {}{mark}{} HTTP/1.1\r\n", request.method.as_str(), request.path, request.query);
    let signed = signer.sign(request, MAY_24);
    let mut add = |name: &str, value: &str| text += &format!("{name}: {value}\r\n");
    request.headers.iter().for_each(|(name, value)| add(name, value));
    add("Host", request.host);
    signed.headers().for_each(|(name, value)| add(name, value));
    text += "\r\nbody: ignored";
    let signature = signed.signature.to_owned();
    let (canonical, string_to_sign) = (signer.canonical_request().to_owned(), signer.string_to_sign());
    Sent { text, canonical, string_to_sign, signature }
}

fn presigned(request: &ToSign<'_>) -> Sent {
    let mut signer = signer(true);
    let query = signer.presign(request, 60, MAY_24).unwrap();
    let mut text = format!("{} {}?{query} HTTP/1.1\nhost: {}\n", request.method.as_str(), request.path, request.host);
    request.headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\n"));
    let signature = query.rsplit('=').next().unwrap().to_owned();
    Sent { text, canonical: signer.canonical_request().to_owned(), string_to_sign: signer.string_to_sign(), signature }
}

fn refusal(canonical: &str, string_to_sign: &str, signature: &str) -> String {
    format!(
        "HTTP/1.1 403 Forbidden\r\n\r\n<?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>No match.\
         </Message><AWSAccessKeyId>AKIA/EXAMPLE</AWSAccessKeyId><StringToSign>{}</StringToSign>\
         <SignatureProvided>{signature}</SignatureProvided><CanonicalRequest>{}</CanonicalRequest></Error>",
        escape(string_to_sign),
        escape(canonical)
    )
}

const HEADERS: [(&str, &str); 3] =
    [("X-Amz-Meta-A", "1"), ("x-amz-server-side-encryption-customer-key", "SECRET"), ("user-agent", "a/1")];

fn put() -> ToSign<'static> {
    ToSign {
        method: Method::Put,
        host: "h:9000",
        path: "/b/a//k%20",
        query: "partNumber=1&uploadId=x",
        headers: &HEADERS,
        payload: Payload::Unsigned,
    }
}

/// What is explained when the store saw the canonical request with `from` replaced.
fn changed(from: &str, to: &str) -> Explanation {
    let sent = send(&put(), true);
    assert!(sent.canonical.contains(from), "{}", sent.canonical);
    let reply = refusal(&sent.canonical.replacen(from, to, 1), "", &sent.signature);
    explain(&sent.text, &reply).unwrap()
}

#[test]
fn the_first_difference_of_each_kind_is_found_with_its_cause() {
    use Part::{Header, Method, Path, Payload, Query, SignedHeaders};
    for (from, to, part, name, line, cause) in [
        ("PUT", "POST", Method, "", 1, "method from PUT to POST"),
        ("//k", "/k", Path, "", 2, "merge_slashes off"),
        ("k%20", "k%2520", Path, "", 2, "encoded '%' again"),
        ("/b/a", "/a", Path, "", 2, "start of the path"),
        ("/b/a//k%20", "/other", Path, "", 2, "rewritten"),
        ("uploadId=x", "uploadId=y", Query, "uploadId", 3, "another value"),
        ("partNumber=1&", "", Query, "partNumber", 3, "did not arrive"),
        ("uploadId=x", "uploadId=x&z=1", Query, "z", 3, "added"),
        ("host:h:9000", "host:h", Header, "host", 4, "preserve it"),
        ("user-agent:a/1", "user-agent:proxy", Header, "user-agent", 5, "do not sign it"),
        ("x-amz-meta-a:1\n", "", Header, "x-amz-meta-a", 8, "did not arrive"),
        ("x-amz-meta-a:1", "x-amz-meta-a:1\nx-amz-meta-b:1", Header, "x-amz-meta-b", 9, "added"),
        ("key:SECRET\n", "key:SECRET\nz:1\n", Header, "z", 11, "added"),
        (";x-amz-meta-a", "", SignedHeaders, "", 12, "Authorization"),
        ("key\nUNSIGNED-PAYLOAD", "key\n00", Payload, "", 13, "body"),
    ] {
        let found = changed(from, to);
        let d = found.difference.as_ref().unwrap_or_else(|| panic!("{from} -> {to}"));
        assert_eq!((d.part, d.name.as_str(), d.line), (part, name, line), "{from} -> {to}: {d:?}");
        assert!(found.cause.contains(cause), "{from} -> {to}: {}", found.cause);
        assert_ne!(d.ours, d.store);
    }
    let d = changed("host:h:9000", "host:h:8000").difference.unwrap();
    assert_eq!((d.column, d.ours.as_str(), d.store.as_str()), (8, "host:h:9000", "host:h:8000"));
}

#[test]
fn secret_values_are_compared_and_never_shown() {
    let sent = send(&put(), true);
    for (from, to, name) in [
        ("key:SECRET", "key:HUSHED", "x-amz-server-side-encryption-customer-key"),
        ("token:TOKEN", "token:HUSHED", "x-amz-security-token"),
    ] {
        let found = changed(from, to);
        assert_eq!(found.difference.as_ref().unwrap().name, name);
        for secret in ["SECRET", "TOKEN", "HUSHED"] {
            assert!(!found.to_json().contains(secret) && !format!("{found:?}").contains(secret));
        }
        // What was printed can be pasted again.
        let again = explain(&found.canonical_request, &refusal(&sent.canonical, "", "")).unwrap();
        assert_eq!(again.difference, None);
    }
    let sent = presigned(&put());
    let found = explain(&sent.text, &refusal(&sent.canonical.replace("TOKEN", "HUSHED"), "", "")).unwrap();
    assert_eq!(found.difference.as_ref().unwrap().name, "X-Amz-Security-Token");
    assert!(!found.to_json().contains("TOKEN") && !found.to_json().contains("HUSHED"));
}

#[test]
fn what_a_proxy_is_told_is_not_shown() {
    for header in ["proxy-authorization:Basic HUSHED", "cookie:id=HUSHED", "Cookie:id=HUSHED"] {
        assert_eq!(hide(header), format!("{}:***", header.split(':').next().unwrap()));
    }
}

#[test]
fn nothing_differs_means_another_secret_key() {
    let sent = send(&put(), false);
    let reply = refusal(&sent.canonical, &sent.string_to_sign, &sent.signature);
    for request in [sent.text.clone(), sent.canonical.clone(), sent.canonical.replace('\n', "\r\n")] {
        let found = explain(&request, &reply).unwrap();
        assert_eq!(found.difference, None, "{request}");
        assert!(found.cause.contains("the secret key is wrong"), "{}", found.cause);
    }
    let found = explain(&sent.text, &reply).unwrap();
    assert_eq!(found.string_to_sign, sent.string_to_sign);
    assert_eq!((found.store_code.as_str(), found.store_message.as_str()), ("SignatureDoesNotMatch", "No match."));
    assert_eq!(found.notes, [""; 0]);
    let other = refusal(&sent.canonical, &sent.string_to_sign, "00");
    assert!(explain(&sent.text, &other).unwrap().cause.contains("belongs to another request"));
    let json: Value = serde_json::from_str(&found.to_json()).unwrap();
    assert_eq!(json["difference"], Value::Null);
    assert_eq!(json["store"]["string_to_sign"], sent.string_to_sign);
}

#[test]
fn the_string_to_sign_is_compared_line_by_line() {
    let sent = send(&put(), false);
    for (from, to, part, line, cause) in [
        ("20130524T000000Z", "20130524T000001Z", Part::Date, 2, "rewrote x-amz-date"),
        ("us-east-1/s3", "eu-west-1/s3", Part::Scope, 3, "set region to 'eu-west-1'"),
    ] {
        let reply = refusal("", &sent.string_to_sign.replacen(from, to, 1), "");
        let found = explain(&sent.text, &reply).unwrap();
        let d = found.difference.unwrap();
        assert_eq!((d.part, d.line), (part, line));
        assert!(found.cause.contains(cause), "{}", found.cause);
    }
    let (rest, hash) = sent.string_to_sign.rsplit_once('\n').unwrap();
    let found = explain(&sent.text, &refusal("", &format!("{rest}\n{}", hash.replace('a', "b")), "")).unwrap();
    assert_eq!(found.difference.as_ref().unwrap().part, Part::Hash);
    assert!(found.cause.contains("Host first"), "{}", found.cause);
}

#[test]
fn other_refusals_say_what_they_are_about() {
    let sent = send(&put(), false);
    for (xml, part, cause) in [
        (
            "<Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region>",
            Some(Part::Scope),
            "set region to 'eu-central-1'",
        ),
        ("<Code>AuthorizationHeaderMalformed</Code><Message>No scope.</Message>", None, "No scope."),
        (
            "<Code>RequestTimeTooSkewed</Code><RequestTime>20130524T000000Z</RequestTime>\
             <ServerTime>2013-05-24T01:00:00Z</ServerTime>",
            Some(Part::Date),
            "3600 seconds behind",
        ),
        ("<Code>RequestTimeTooSkewed</Code><ServerTime>garbage</ServerTime>", Some(Part::Date), "clock"),
        (
            "<Code>XAmzContentSHA256Mismatch</Code><S3ComputedContentSHA256>00</S3ComputedContentSHA256>",
            Some(Part::Payload),
            "body",
        ),
        ("<Code>InvalidAccessKeyId</Code>", None, "check access_key"),
        (
            "<Code>InvalidAccessKeyId</Code><AWSAccessKeyId>B</AWSAccessKeyId>",
            Some(Part::AccessKey),
            "another access key",
        ),
        ("<Code>SignatureDoesNotMatch</Code>", None, "does not say what it saw"),
        ("<Code>NoSuchKey</Code>", None, "not about what was signed"),
    ] {
        let found = explain(&sent.text, &format!("<Error>{xml}</Error>")).unwrap();
        assert_eq!(found.difference.as_ref().map(|d| d.part), part, "{xml}");
        assert!(found.cause.contains(cause), "{xml}: {}", found.cause);
    }
    for (reply, cause, notes) in [
        ("", "no error reply", 0),
        ("<html>Bad gateway</html>", "a proxy or another server", 1),
        ("Bad gateway", "a proxy or another server", 1),
        ("<Error><Code>SignatureDoesNotMatch</Code><Mess", "does not say", 1),
    ] {
        let found = explain(&sent.text, reply).unwrap();
        assert!(found.cause.contains(cause), "{reply}: {}", found.cause);
        assert_eq!(found.notes.len(), notes, "{:?}", found.notes);
    }
}

#[test]
fn a_request_is_read_as_curl_shows_it_and_as_a_proxy_gets_it() {
    let sent = send(&put(), false);
    let reply = refusal(&sent.canonical, &sent.string_to_sign, &sent.signature);
    let head: Vec<&str> = sent.text.split("\r\n").take_while(|line| !line.is_empty()).collect();
    let curl = format!("* Connected\n> {}\n>\n< HTTP/1.1 403 Forbidden\n", head.join("\n> "));
    let proxy = sent.text.replacen(" /b", " http://h:9000/b", 1);
    let folded = sent.text.replacen("X-Amz-Meta-A: ", "X-Amz-Meta-A:\r\n  ", 1);
    for text in [curl, proxy, folded] {
        let found = explain(&text, &reply).unwrap();
        assert_eq!((found.difference, found.notes), (None, vec![]), "{text}");
    }
}

#[test]
fn what_is_odd_in_the_request_itself_is_noted() {
    let sent = send(&put(), false);
    let note = |text: &str| explain(text, "").unwrap().notes.join("; ");
    assert!(note(&sent.text.replace("X-Amz-Meta-A: 1\r\n", "")).contains("x-amz-meta-a was signed, but is not in"));
    assert!(note(&sent.text.replace("=host;", "=")).contains("header host is sent, but not signed"));
    assert!(note(&sent.text.replace("date: 20130524", "date: 20130525")).contains("scope's day is 20130524"));
}

#[test]
fn what_is_no_signed_request_is_refused() {
    let sent = send(&put(), false);
    let code = |text: &str| explain(text, "").unwrap_err().code();
    for bad in [
        "",
        "\n\n",
        "GET",
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\nhost: h\n",
        "get / HTTP/1.1\nauthorization: x",
        "GET / HTTP/1.1\nno header",
        "GET /?X-Amz-Signature= HTTP/1.1",
        "<html>",
        "<Error>GET\n/k\n\nhost:h\n\nhost\nUNSIGNED-PAYLOAD",
        "GET\nx\n\n\n\n\n",
        &sent.text.replace("/aws4_request", ""),
        &sent.text.replace("AKIA/EXAMPLE/20130524/us-east-1/s3/aws4_request", "A"),
        &sent.text.replace("Signature=", "S="),
        &"x".repeat(LIMIT + 1),
    ] {
        assert_eq!(code(bad), Code::InvalidArgument, "{bad:.80}");
    }
    let mrap = "x.mrap.accesspoint.s3-global.amazonaws.com";
    assert_eq!(code(&sent.text.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")), Code::Unsupported);
    assert_eq!(code(&sent.text.replace("AWS4-HMAC-SHA256", "AWS")), Code::Unsupported);
    assert_eq!(code(&sent.text.replace("Host: h:9000", &format!("Host: {mrap}"))), Code::Unsupported);
}

#[cfg(not(target_family = "wasm"))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What was signed is what is read from the text.
        #[test]
        fn a_signed_request_explains_without_a_difference(
            path in "/[!-~&&[^?#]]{0,30}",
            query in "[!-~&&[^#]]{0,30}",
            names in proptest::collection::vec("[xX]-[a-zA-Z]{1,3}", 0..5),
            values in proptest::collection::vec("[ -~ü]{0,12}", 5),
            token in any::<bool>(),
            chunked in any::<bool>(),
        ) {
            let headers: Vec<(&str, &str)> = names.iter().map(|n| n.as_str()).zip(values.iter().map(|v| v.as_str())).collect();
            let payload = if chunked { Payload::ChunksTrailer } else { Payload::Bytes(b"x") };
            let request = ToSign { method: Method::Post, host: "h", path: &path, query: &query, headers: &headers, payload };
            let sent = send(&request, token);
            let found = explain(&sent.text, &refusal(&sent.canonical, &sent.string_to_sign, &sent.signature)).unwrap();
            prop_assert_eq!(found.difference, None, "{}\n{}", sent.text, sent.canonical);
            prop_assert_eq!(found.string_to_sign, sent.string_to_sign);
            if !query.contains("X-Amz-") {
                let sent = presigned(&request);
                let found = explain(&sent.text, &refusal(&sent.canonical, &sent.string_to_sign, &sent.signature)).unwrap();
                prop_assert_eq!(found.difference, None, "{}\n{}", sent.text, sent.canonical);
                prop_assert_eq!(found.string_to_sign, sent.string_to_sign);
            }
        }

        #[test]
        fn no_text_makes_it_panic(
            request in "(GET /[^\n]{0,9}|PUT)?\n?(authorization: AWS4-HMAC-SHA256 [ -~]{0,30}\n)?\\PC{0,60}",
            reply in "(<Error>)?(<Code>|<StringToSign>|<CanonicalRequest>)?\\PC{0,60}(</Error>)?",
        ) {
            let _ = explain(&request, &reply);
        }
    }
}
