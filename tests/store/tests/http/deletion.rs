//! Deletions one by one and in batches.

use embedded_store::{Missing, Options, Rules, Server};

use crate::client::{ACCESS, Request, SECRET, hook, request, server};

fn batch(inner: &str) -> Request {
    request("POST", "/bucket?delete=").document(&format!("<Delete>{inner}</Delete>"))
}

#[test]
fn a_batch_names_each_key_that_stays_and_why() {
    let server = server();
    for key in ["a", "b"] {
        request("PUT", &format!("/bucket/{key}")).body("x").send(&server);
    }
    let denied = |word: &str| format!(r#"{{"bucket": "bucket", "key": "a", "denied": {word}}}"#);
    assert_eq!(hook(&server, "POST", "undeletable", &denied("true")).status, 200);
    let keys = "<Object><Key>a</Key></Object><Object><Key>b</Key></Object>";
    let reply = batch(keys).send(&server);
    let error = reply.element("Error");
    assert!(error.contains("<Key>a</Key>") && error.contains("<Code>AccessDenied</Code>"), "{error}");
    assert!(reply.element("Deleted").contains("<Key>b</Key>"));
    let quiet = batch(&format!("<Quiet>true</Quiet>{keys}")).send(&server);
    assert!(quiet.text().contains("<Error>") && !quiet.text().contains("<Deleted>"), "{}", quiet.text());
    assert_eq!(request("DELETE", "/bucket/a").send(&server).error(), (403, "AccessDenied".to_owned()));
    hook(&server, "POST", "undeletable", &denied("false"));
    assert_eq!(request("DELETE", "/bucket/a").send(&server).status, 204);
}

#[test]
fn a_store_may_lack_the_batch() {
    let rules = Rules { missing: [("DeleteObjects", Missing::NotAllowed)].into(), ..Rules::default() };
    let server = Server::start(Options { rules, ..Options::new(ACCESS, SECRET).bucket("bucket") }).unwrap();
    let reply = batch("<Object><Key>a</Key></Object>").send(&server);
    assert_eq!(reply.error(), (405, "MethodNotAllowed".to_owned()));
}
