//! Object lock over the wire.

use embedded_store::{Options, Server};

use crate::client::{ACCESS, Reply, Request, SECRET, epoch_seconds, request};

fn server() -> Server {
    let options =
        Options { locked_buckets: vec!["locked".to_owned()], ..Options::new(ACCESS, SECRET).bucket("bucket") };
    Server::start(options).unwrap()
}

/// The date this many seconds from now.
fn at(seconds: i64) -> String {
    jiff::Timestamp::from_second(epoch_seconds() + seconds).unwrap().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn with_crc(request: Request) -> Request {
    request.body("123456789").header("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")
}

fn locked(request: Request, mode: &str, seconds: i64) -> Request {
    request.header("x-amz-object-lock-mode", mode).header("x-amz-object-lock-retain-until-date", at(seconds))
}

fn is(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.error(), (status, code.to_owned()));
}

#[test]
fn a_locked_version_stays_and_its_lock_is_shown_and_extended() {
    let server = server();
    let put = locked(with_crc(request("PUT", "/locked/k")), "GOVERNANCE", 3600).send(&server);
    assert_eq!(put.status, 200, "{}", put.text());
    let id = put.header("x-amz-version-id").unwrap().to_owned();
    let version = format!("/locked/k?versionId={id}");
    let head = request("HEAD", &version).send(&server);
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("GOVERNANCE"));
    assert!(head.header("x-amz-object-lock-retain-until-date").is_some());
    is(&request("DELETE", &version).send(&server), 403, "AccessDenied");
    assert_eq!(request("DELETE", "/locked/k").send(&server).header("x-amz-delete-marker"), Some("true"));

    let retention = format!("/locked/k?retention=&versionId={id}");
    let longer = |seconds: i64| {
        format!("<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>", at(seconds))
    };
    let extended = request("PUT", &retention).document(&longer(7200)).send(&server);
    assert_eq!(extended.status, 200, "{}", extended.text());
    let shown = request("GET", &retention).send(&server);
    assert_eq!(shown.element("Mode"), "GOVERNANCE");
    assert_eq!(shown.element("RetainUntilDate")[..16], at(7200)[..16]);
    is(&request("PUT", &retention).document(&longer(60)).send(&server), 403, "AccessDenied");
    is(&request("PUT", &retention).body(longer(9000)).send(&server), 400, "InvalidRequest");
    let bypass = request("DELETE", &version).header("x-amz-bypass-governance-retention", "true");
    assert_eq!(bypass.send(&server).status, 204);
}

#[test]
fn a_default_retention_locks_each_write_and_demands_its_checksum() {
    let server = server();
    let rule = "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>";
    let configuration = format!(
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
    );
    is(&request("GET", "/bucket?object-lock=").send(&server), 404, "ObjectLockConfigurationNotFoundError");
    assert_eq!(request("PUT", "/locked?object-lock=").document(&configuration).send(&server).status, 200);
    assert_eq!(request("GET", "/locked?object-lock=").send(&server).element("Days"), "1");
    is(&request("PUT", "/locked/k").body("x").send(&server), 400, "InvalidRequest");
    let put = with_crc(request("PUT", "/locked/k")).send(&server);
    let version = format!("/locked/k?versionId={}", put.header("x-amz-version-id").unwrap());
    is(&request("DELETE", &version).send(&server), 403, "AccessDenied");
    let bypass = request("DELETE", &version).header("x-amz-bypass-governance-retention", "true");
    is(&bypass.send(&server), 403, "AccessDenied");
    let suspended = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    is(&request("PUT", "/locked?versioning=").body(suspended).send(&server), 409, "InvalidBucketState");
}

#[test]
fn a_lock_needs_a_bucket_with_object_lock_and_a_date_to_come() {
    let server = server();
    is(&locked(with_crc(request("PUT", "/bucket/k")), "GOVERNANCE", 60).send(&server), 400, "InvalidRequest");
    is(&locked(with_crc(request("PUT", "/locked/k")), "GOVERNANCE", -60).send(&server), 400, "InvalidArgument");
    is(&locked(request("PUT", "/locked/k").body("x"), "GOVERNANCE", 60).send(&server), 400, "InvalidRequest");
    let only_mode = with_crc(request("PUT", "/locked/k")).header("x-amz-object-lock-mode", "GOVERNANCE");
    is(&only_mode.send(&server), 400, "InvalidArgument");
    let created = request("PUT", "/new-one").header("x-amz-bucket-object-lock-enabled", "true").send(&server);
    assert_eq!(created.status, 200);
    assert_eq!(request("GET", "/new-one?versioning=").send(&server).element("Status"), "Enabled");
}
