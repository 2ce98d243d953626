//! Several buckets: created, described, listed in pages, and the limit of the account.

use embedded_store::{Options, Rules, Server};

use crate::client::{ACCESS, SECRET, request};

fn server(max_buckets: usize) -> Server {
    let rules = Rules { max_buckets, ..Rules::default() };
    Server::start(Options { rules, ..Options::new(ACCESS, SECRET) }).unwrap()
}

#[test]
fn a_bucket_says_the_region_that_it_was_created_in() {
    let server = server(10);
    let document =
        "<CreateBucketConfiguration><LocationConstraint>eu-x-1</LocationConstraint></CreateBucketConfiguration>";
    assert_eq!(request("PUT", "/abroad").body(document).send(&server).status, 200);
    assert_eq!(request("PUT", "/at-home").send(&server).status, 200);
    let region = |path: &str| {
        let reply = request("HEAD", path).send(&server);
        reply.header("x-amz-bucket-region").unwrap().to_owned()
    };
    assert_eq!([region("/abroad"), region("/at-home")], ["eu-x-1", "us-east-1"]);
    let location = request("GET", "/abroad?location=").send(&server).text();
    assert!(location.ends_with(">eu-x-1</LocationConstraint>"), "{location}");
}

#[test]
fn buckets_are_listed_in_pages_up_to_the_limit_of_the_account() {
    let server = server(3);
    for name in ["/p-1", "/p-2", "/q-1"] {
        assert_eq!(request("PUT", name).send(&server).status, 200);
    }
    assert_eq!(request("PUT", "/p-3").send(&server).error(), (400, "TooManyBuckets".to_owned()));
    assert_eq!(request("PUT", "/p-1").send(&server).error(), (409, "BucketAlreadyOwnedByYou".to_owned()));
    let first = request("GET", "/?max-buckets=1&prefix=p-").send(&server);
    assert_eq!(first.element("Name"), "p-1");
    let token = first.element("ContinuationToken");
    let second = request("GET", &format!("/?continuation-token={token}&max-buckets=1&prefix=p-")).send(&server);
    assert_eq!(second.element("Name"), "p-2");
    assert!(!second.text().contains("ContinuationToken"), "{}", second.text());
}
