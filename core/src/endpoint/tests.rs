//! Every form of an address. The hosts of AWS are those of botocore's endpoint rules.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ARN: &str = "arn:aws:s3:eu-west-1:123456789012:accesspoint/backups";

fn settings(changes: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::new();
    for (key, value) in changes {
        settings.set(key, value).unwrap();
    }
    settings
}

fn endpoint(changes: &[(&str, &str)]) -> Endpoint {
    Endpoint::from_settings(&settings(changes)).unwrap()
}

fn refused(changes: &[(&str, &str)]) -> Error {
    match Endpoint::from_settings(&settings(changes)) {
        Err(error) => error,
        Ok(endpoint) => panic!("{changes:?} was taken as {endpoint:?}"),
    }
}

fn url(changes: &[(&str, &str)], bucket: &str) -> String {
    endpoint(changes).target(bucket, None, "").url
}

const HOSTS: (&str, &str) = ("path_style", "false");

#[test]
fn the_bucket_is_in_the_path_or_in_the_host() {
    for (api_url, path, host) in [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/bkt", ""),
        ("http://[::1]:9000", "http://[::1]:9000/bkt", ""),
        ("http://[0:0::0:1]", "http://[::1]/bkt", ""),
        ("https://S3.Example.com:443/", "https://s3.example.com/bkt", "https://bkt.s3.example.com/"),
        ("HTTP://s3.example.com:80", "http://s3.example.com/bkt", "http://bkt.s3.example.com/"),
        ("http://s3.example.com:443", "http://s3.example.com:443/bkt", "http://bkt.s3.example.com:443/"),
        ("https://store_1:8443", "https://store_1:8443/bkt", "https://bkt.store_1:8443/"),
    ] {
        assert_eq!(url(&[("api_url", api_url)], "bkt"), path);
        if !host.is_empty() {
            assert_eq!(url(&[("api_url", api_url), HOSTS], "bkt"), host);
        }
    }
}

#[test]
fn a_target_is_sent_and_signed_in_the_same_form() {
    let endpoint = endpoint(&[("api_url", "http://h:9000")]);
    let target = endpoint.target("bkt", Some("/a b/ü"), "x=1");
    assert_eq!(target.url, "http://h:9000/bkt//a%20b/%C3%BC?x=1");
    assert_eq!((target.host.as_str(), target.path.as_str()), ("h:9000", "/bkt//a%20b/%C3%BC"));
    assert_eq!(endpoint.target("bkt", Some(""), "").path, "/bkt/");
    assert_eq!(endpoint.service_target("max-buckets=1").url, "http://h:9000/?max-buckets=1");
    let hosts = self::endpoint(&[("api_url", "http://h:9000"), HOSTS]);
    assert_eq!(hosts.target("bkt", Some("k"), "").url, "http://bkt.h:9000/k");
    assert_eq!(hosts.service_target("").url, "http://h:9000/");
}

#[test]
fn a_store_below_a_path_has_its_buckets_there() {
    for (api_url, path) in [
        ("https://ref.supabase.co/storage/v1/s3", "/storage/v1/s3"),
        ("https://ref.supabase.co/storage/v1/s3/", "/storage/v1/s3"),
        ("https://ref.supabase.co/storage/v1/s3//", "/storage/v1/s3"),
        ("https://ref.supabase.co/a%20b+c/%C3%BC/~x", "/a%20b%2Bc/%C3%BC/~x"),
        ("https://ref.supabase.co/", ""),
        ("https://ref.supabase.co//", ""),
    ] {
        let endpoint = endpoint(&[("api_url", api_url), ("region", "eu-west-1")]);
        let target = endpoint.target("bkt", Some("a b"), "x=1");
        assert_eq!((&*target.path, &*target.host), (&*format!("{path}/bkt/a%20b"), "ref.supabase.co"), "{api_url}");
        assert_eq!(target.url, format!("https://ref.supabase.co{path}/bkt/a%20b?x=1"));
        assert_eq!(endpoint.target("bkt", None, "").path, format!("{path}/bkt"));
        assert_eq!(endpoint.service_target("").path, format!("{path}/"));
        assert_eq!(endpoint.in_region("eu-north-1").target("bkt", None, "").path, format!("{path}/bkt"));
    }
    let e = refused(&[("api_url", "https://h/s3"), HOSTS]);
    assert!(e.hint().contains("path_style = true"), "{e}");
    let e = refused(&[("api_url", "https://h/backups/"), ("bucket", "backups")]);
    assert!(e.message().contains("is the name of the bucket") && e.hint().contains("Leave the path out"), "{e}");
}

#[test]
fn a_bucket_whose_name_is_not_valid_in_a_host_is_in_the_path() {
    let https = [("api_url", "https://h"), HOSTS];
    let http = [("api_url", "http://h"), HOSTS];
    for (settings, bucket, wanted) in [
        (&https, "my.bucket", "https://h/my.bucket"),
        (&http, "my.bucket", "http://my.bucket.h/"),
        (&https, "MyBucket", "https://h/MyBucket"),
        (&http, "my_bucket", "http://h/my_bucket"),
        (&http, "-bucket", "http://h/-bucket"),
        (&http, "my.-bucket", "http://h/my.-bucket"),
        (&http, &"b".repeat(64), &format!("http://h/{}", "b".repeat(64))),
        (&http, &"b".repeat(63), &format!("http://{}.h/", "b".repeat(63))),
        // In other stores it is an ordinary name.
        (&https, "x-s3alias", "https://x-s3alias.h/"),
    ] {
        assert_eq!(url(settings, bucket), wanted);
    }
    assert_eq!(url(&[HOSTS], "my.bucket"), "https://s3.us-east-1.amazonaws.com/my.bucket");
}

#[test]
fn aws_has_a_host_for_each_region_and_way() {
    for (region, partition, suffix) in [
        ("us-east-1", "aws", "amazonaws.com"),
        ("eu-central-1", "aws", "amazonaws.com"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
        ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
        ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk"),
        ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov"),
        ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
    ] {
        for (dualstack, fips, host, point) in [
            ("false", "false", "s3", "s3-accesspoint"),
            ("true", "false", "s3.dualstack", "s3-accesspoint.dualstack"),
            ("false", "true", "s3-fips", "s3-accesspoint-fips"),
            ("true", "true", "s3-fips.dualstack", "s3-accesspoint-fips.dualstack"),
        ] {
            let own = [("region", region), ("dualstack", dualstack), ("fips", fips), HOSTS];
            if fips == "true" && partition == "aws-cn" {
                let error = refused(&own);
                assert!(error.message().contains("fips") && error.message().contains(region), "{error}");
                continue;
            }
            let endpoint = endpoint(&own);
            assert!(endpoint.is_aws());
            assert_eq!(endpoint.region(), region);
            assert_eq!(endpoint.target("bkt", None, "").host, format!("bkt.{host}.{region}.{suffix}"));
            let arn = format!("arn:{partition}:s3:{region}:123456789012:accesspoint/myap");
            endpoint.check_bucket(&arn).unwrap();
            let target = endpoint.target(&arn, Some("k"), "");
            assert_eq!(target.url, format!("https://myap-123456789012.{point}.{region}.{suffix}/k"));
        }
    }
}

#[test]
fn the_region_comes_from_the_option_or_the_host() {
    for (api_url, region, signed, host) in [
        ("", "", "us-east-1", "s3.us-east-1.amazonaws.com"),
        ("", "eu-west-1", "eu-west-1", "s3.eu-west-1.amazonaws.com"),
        ("https://h", "", "us-east-1", "h"),
        ("https://h", "Garage_1.x", "Garage_1.x", "h"),
        ("https://s3.eu-west-1.amazonaws.com", "", "eu-west-1", "s3.eu-west-1.amazonaws.com"),
        ("https://s3.eu-west-1.amazonaws.com", "eu-west-1", "eu-west-1", "s3.eu-west-1.amazonaws.com"),
        ("https://s3-eu-west-1.amazonaws.com", "", "eu-west-1", "s3.eu-west-1.amazonaws.com"),
        ("https://s3.amazonaws.com", "", "us-east-1", "s3.us-east-1.amazonaws.com"),
        ("https://s3-external-1.amazonaws.com", "", "us-east-1", "s3.us-east-1.amazonaws.com"),
        ("https://s3.amazonaws.com", "eu-west-1", "eu-west-1", "s3.eu-west-1.amazonaws.com"),
        ("https://s3.dualstack.eu-west-1.amazonaws.com", "", "eu-west-1", "s3.dualstack.eu-west-1.amazonaws.com"),
        ("https://s3-fips.us-gov-west-1.amazonaws.com", "", "us-gov-west-1", "s3-fips.us-gov-west-1.amazonaws.com"),
        ("https://s3-fips-us-gov-west-1.amazonaws.com", "", "us-gov-west-1", "s3-fips.us-gov-west-1.amazonaws.com"),
        (
            "https://s3-fips.dualstack.us-east-2.amazonaws.com",
            "",
            "us-east-2",
            "s3-fips.dualstack.us-east-2.amazonaws.com",
        ),
        ("https://s3.cn-north-1.amazonaws.com.cn", "", "cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
        ("https://s3.us-iso-east-1.c2s.ic.gov", "", "us-iso-east-1", "s3.us-iso-east-1.c2s.ic.gov"),
        ("https://S3.EU-West-1.AmazonAWS.com:8443", "", "eu-west-1", "s3.eu-west-1.amazonaws.com:8443"),
        (
            "https://bucket.vpce-0a1b-2c3d.s3.eu-west-1.vpce.amazonaws.com",
            "",
            "eu-west-1",
            "bucket.vpce-0a1b-2c3d.s3.eu-west-1.vpce.amazonaws.com",
        ),
    ] {
        let endpoint = endpoint(&[("api_url", api_url), ("region", region)]);
        assert_eq!((endpoint.region(), endpoint.service_target("").host.as_str()), (signed, host), "{api_url}");
        assert_eq!(endpoint.is_aws(), api_url != "https://h", "{api_url}");
        // Setting the right region changes nothing.
        assert_eq!(endpoint, self::endpoint(&[("api_url", api_url), ("region", signed)]));
    }
    // Hosts that only look like AWS's.
    for other in ["https://s3.eu-west-1.amazonaws.com.example.org", "https://s3.eu-west-1.notamazonaws.com"] {
        assert!(!endpoint(&[("api_url", other)]).is_aws(), "{other}");
    }
}

#[test]
fn dualstack_and_fips_apply_to_a_host_of_aws_that_is_named() {
    let named = ("api_url", "https://s3.eu-west-1.amazonaws.com");
    let host = |option| endpoint(&[named, (option, "true")]).service_target("").host;
    assert_eq!(host("dualstack"), "s3.dualstack.eu-west-1.amazonaws.com");
    assert_eq!(host("fips"), "s3-fips.eu-west-1.amazonaws.com");
}

#[test]
fn a_region_that_contradicts_is_named_beside_the_other() {
    for (api_url, region, bucket, other) in [
        ("https://s3.eu-west-1.amazonaws.com", "us-east-1", "bkt", "eu-west-1"),
        ("https://s3-eu-west-1.amazonaws.com", "us-east-1", "bkt", "eu-west-1"),
        ("https://s3.amazonaws.com", "cn-north-1", "bkt", "us-east-1"),
        ("https://s3.amazonaws.com", "minio", "bkt", "us-east-1"),
        ("https://bucket.vpce-0a.s3.eu-west-1.vpce.amazonaws.com", "us-east-1", "bkt", "eu-west-1"),
        ("", "us-east-1", ARN, "eu-west-1"),
        ("https://s3.us-east-1.amazonaws.com", "", ARN, "us-east-1"),
        ("https://bucket.vpce-0a.s3.us-east-1.vpce.amazonaws.com", "", ARN, "us-east-1"),
    ] {
        let error = refused(&[("api_url", api_url), ("region", region), ("bucket", bucket)]);
        assert_eq!(error.code(), Code::InvalidOption);
        let region = if region.is_empty() { "eu-west-1" } else { region };
        assert!(error.message().contains(region) && error.message().contains(other), "{error}");
        assert!(error.hint().contains("region"), "{error}");
    }
}

#[test]
fn a_region_that_the_store_names_is_followed() {
    let moved = |changes: &[(&str, &str)], region| {
        let endpoint = endpoint(changes).in_region(region);
        (endpoint.service_target("").host, endpoint.region().to_owned())
    };
    let pair = |host: &str, region: &str| (host.to_owned(), region.to_owned());
    assert_eq!(moved(&[], "eu-west-1"), pair("s3.eu-west-1.amazonaws.com", "eu-west-1"));
    assert_eq!(
        moved(&[("fips", "true")], "us-gov-west-1"),
        pair("s3-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1")
    );
    assert_eq!(moved(&[("api_url", "https://h:1")], "garage"), pair("h:1", "garage"));
    let interface = "bucket.vpce-0a.s3.eu-west-1.vpce.amazonaws.com";
    let with_interface = [("api_url", &*format!("https://{interface}"))];
    assert_eq!(moved(&with_interface, "us-east-1"), pair(interface, "us-east-1"));
    // What cannot be followed changes nothing: a reply must not choose the host.
    for bad in ["", "evil.example/", "eu-west-1.evil", "x", "EU-WEST-1", "eu-west-1\r\n", "eu west"] {
        assert_eq!(moved(&[], bad), pair("s3.us-east-1.amazonaws.com", "us-east-1"), "{bad}");
    }
    assert_eq!(moved(&[("fips", "true")], "cn-north-1").1, "us-east-1");
    assert_eq!(moved(&[("api_url", "https://h")], "a/b").1, "us-east-1");
}

#[test]
fn access_points_are_reached_by_alias_and_by_arn() {
    let alias = "backups-abcdefgh1234567890-s3alias";
    let aws = endpoint(&[("region", "us-west-2")]);
    aws.check_bucket(alias).unwrap();
    assert_eq!(aws.target(alias, Some("k"), "").url, format!("https://{alias}.s3.us-west-2.amazonaws.com/k"));
    assert_eq!(aws.region_for(alias), "us-west-2");
    // The ARN's own region counts, whatever the endpoint's is.
    aws.check_bucket(ARN).unwrap();
    let host = "backups-123456789012.s3-accesspoint.eu-west-1.amazonaws.com";
    assert_eq!(aws.target(ARN, None, "list-type=2").url, format!("https://{host}/?list-type=2"));
    assert_eq!(aws.region_for(ARN), "eu-west-1");
    assert_eq!(aws.in_region("us-east-2").target(ARN, None, "").host, host);
    assert_eq!(aws.target(&ARN.replace('/', ":"), None, "").host, host);
    // And from the setting, the region is the ARN's.
    assert_eq!(endpoint(&[("bucket", ARN)]).region(), "eu-west-1");
    let interface = "accesspoint.vpce-0a.s3.eu-west-1.vpce.amazonaws.com";
    let target = endpoint(&[("api_url", &format!("https://{interface}")), ("bucket", ARN)]).target(ARN, None, "");
    assert_eq!(target.host, format!("backups-123456789012.{interface}"));
}

#[test]
fn what_a_vault_cannot_use_is_refused_with_what_helps() {
    let aws = endpoint(&[]);
    for (bucket, says, helps) in [
        ("arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap", "SigV4a", "one region"),
        ("mfzwi23gnjvgw.mrap", "SigV4a", "one region"),
        ("bkt--use1-az4--x-s3", "no particular order", "general purpose"),
        (
            "arn:aws:s3express:us-east-1:123456789012:bucket/bkt--use1-az4--x-s3",
            "no particular order",
            "general purpose",
        ),
        ("arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01/accesspoint/ap", "Outposts", "bucket of a region"),
        ("ap-o0000000000--op-s3", "Outposts", "bucket of a region"),
        ("arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/ap", "Object Lambda", "behind it"),
        ("ap-abc--ol-s3", "Object Lambda", "behind it"),
        ("bkt--table-s3", "table bucket", "general purpose"),
    ] {
        let error = aws.check_bucket(bucket).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported, "{bucket}");
        assert!(error.message().contains(says) && error.message().contains(bucket), "{error}");
        assert!(error.hint().contains(helps), "{error}");
    }
    // Other stores may call a bucket as they like.
    endpoint(&[("api_url", "http://h")]).check_bucket("bkt--use1-az4--x-s3").unwrap();
}

#[test]
fn arns_that_name_no_access_point_are_refused() {
    let aws = endpoint(&[("region", "eu-west-1")]);
    for (arn, says) in [
        ("arn:aws:s3", "six parts"),
        ("arn:aws:sqs:eu-west-1:123456789012:queue", "not an ARN of S3"),
        ("arn:aws:s3:::my-bucket", "a bucket's ARN"),
        ("arn:aws:s3:eu-west-1:123456789012:job/x", "not name an access point"),
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/", "3 to 50"),
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/ap1/object/k", "3 to 50"),
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/ap1.evil", "3 to 50"),
        ("arn:aws:s3:eu-west-1:1234:accesspoint/ap1", "12 digits"),
        ("arn:aws:s3:evil.example/:123456789012:accesspoint/ap1", "not an AWS region"),
        ("arn:aws:s3:cn-north-1:123456789012:accesspoint/ap1", "partition aws-cn, not aws"),
        ("arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/ap1", "partition aws-cn, but the endpoint is in aws"),
    ] {
        let error = aws.check_bucket(arn).unwrap_err();
        assert_eq!(error.code(), Code::InvalidOption, "{arn}");
        assert!(error.message().contains(says) && error.message().contains(arn), "{error}");
    }
    assert_eq!(
        aws.check_bucket("arn:aws:s3:::my-bucket").unwrap_err().hint(),
        "Set bucket to the name alone: my-bucket."
    );
    let error = endpoint(&[("api_url", "https://h")]).check_bucket(ARN).unwrap_err();
    assert!(error.message().contains("another store's") && error.hint().contains("api_url"), "{error}");
    let plain = endpoint(&[("api_url", "http://s3.eu-west-1.amazonaws.com")]);
    for bucket in [ARN, "backups-abc-s3alias"] {
        assert!(plain.check_bucket(bucket).unwrap_err().hint().contains("https://"), "{bucket}");
    }
    plain.check_bucket("bkt").unwrap();
}

#[test]
fn names_of_buckets() {
    let endpoint = endpoint(&[("api_url", "http://h")]);
    for good in ["bkt", "my.bucket-1", "Old_Bucket", &"b".repeat(255)] {
        endpoint.check_bucket(good).unwrap();
    }
    for bad in ["", "ab", "a/b", "a b", "a..b", "ä-bucket", "a\nb", &"b".repeat(256)] {
        let error = endpoint.check_bucket(bad).unwrap_err();
        assert_eq!(error.code(), Code::InvalidOption, "{bad}");
        assert!(error.message().contains("bucket = "), "{error}");
    }
}

#[test]
fn what_is_no_endpoint_is_refused_with_the_reason() {
    for (api_url, says, helps) in [
        ("s3.example.com", "http://", "a host"),
        ("ftp://h", "http://", "a host"),
        ("http://", "host", "a host"),
        ("http://:9000", "host", "a host"),
        ("http://h:0", "port", "a port"),
        ("http://h:x", "port", "a port"),
        ("http://h:+80", "port", "a port"),
        ("http://h:99999", "port", "a port"),
        ("https://h//s3", "its path", "without empty segments"),
        ("https://h/s3//v1", "its path", "without empty segments"),
        ("https://h/s3/../x", "its path", "'.' and '..'"),
        ("https://h/%2e%2e", "its path", "'.' and '..'"),
        ("https://h/a%2Fb", "its path", "/storage/v1/s3"),
        ("https://h/a%0Ab", "its path", "/storage/v1/s3"),
        ("https://h/a%zz", "its path", "/storage/v1/s3"),
        (
            "https://s3.eu-west-1.amazonaws.com/backups",
            "AWS's endpoints have no path",
            "set bucket to the bucket's name",
        ),
        ("http://h?q", "query", "a host"),
        ("http://h/?q", "query", "a host"),
        ("http://h#f", "query", "a host"),
        ("http://::1", "host", "brackets"),
        ("http://::1:9000", "host", "brackets"),
        ("http://[::1", "IPv6", "brackets"),
        ("http://[fe80::1%25eth0]", "IPv6", "without a zone"),
        ("http://[::1]x:80", "IPv6", "brackets"),
        ("http://bücket.example", "host", "xn--"),
        ("http://h..x", "host", "a host"),
        ("http://h.", "host", "a host"),
        ("http://a b", "host", "a host"),
        ("http://1.2.3", "host", "a host"),
        ("http://2130706433", "host", "a host"),
        ("http://0x7f.0x1", "host", "a host"),
        ("https://bkt.s3.eu-west-1.amazonaws.com", "the bucket 'bkt'", "https://s3.eu-west-1.amazonaws.com"),
        ("https://my.bkt.s3-eu-west-1.amazonaws.com", "the bucket 'my.bkt'", "bucket = my.bkt"),
        ("https://bkt.s3.amazonaws.com", "the bucket 'bkt'", "https://s3.amazonaws.com"),
        ("https://bkt.bucket.vpce-0a.s3.eu-west-1.vpce.amazonaws.com", "the bucket 'bkt'", "https://bucket.vpce-0a.s3"),
        ("http://s3-website-us-east-1.amazonaws.com", "website", "region"),
        ("http://s3-website.eu-central-1.amazonaws.com", "website", "region"),
        ("https://s3-accelerate.amazonaws.com", "Transfer Acceleration", "region"),
        ("https://ap-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", "access point", "ARN"),
    ] {
        let error = refused(&[("api_url", api_url)]);
        assert_eq!(error.code(), Code::InvalidOption, "{api_url}");
        assert!(error.message().contains(says) && error.message().contains(shown(api_url)), "{error}");
        assert!(error.hint().contains(helps), "{api_url}: {}", error.hint());
    }
    for api_url in
        ["https://s3express-use1-az4.us-east-1.amazonaws.com", "https://x.mrap.accesspoint.s3-global.amazonaws.com"]
    {
        assert_eq!(refused(&[("api_url", api_url)]).code(), Code::Unsupported, "{api_url}");
    }
}

#[test]
fn a_password_in_api_url_is_not_shown() {
    let error = refused(&[("api_url", "https://user:hush@h/path")]);
    assert!(!error.message().contains("hush") && error.message().contains("https://***@h/path"), "{error}");
    assert!(error.hint().contains("secret_key"));
}

#[test]
fn options_that_contradict_are_refused() {
    for (changes, says, helps) in [
        (&[("api_url", "https://h"), ("dualstack", "true")][..], "dualstack", "Leave dualstack out"),
        (&[("api_url", "https://h"), ("fips", "true")], "fips", "Leave fips out"),
        (&[("api_url", "https://bucket.vpce-0a.s3.eu-west-1.vpce.amazonaws.com"), ("fips", "true")], "fips", "fips"),
        (&[("api_url", "http://127.0.0.1"), HOSTS], "path_style", "path_style = true"),
        (&[("api_url", "http://[::1]:9000"), HOSTS], "path_style", "path_style = true"),
        (&[("region", "minio")], "api_url is empty", "Set api_url"),
        (&[("region", "a/b"), ("api_url", "http://h")], "region = 'a/b'", "to detect it"),
    ] {
        let error = refused(changes);
        assert_eq!(error.code(), Code::InvalidOption);
        assert!(error.message().contains(says) && error.hint().contains(helps), "{error}");
    }
}

/// What an error shows of an `api_url`: nothing of its query.
fn shown(api_url: &str) -> &str {
    api_url.split_inclusive(['?', '#']).next().unwrap()
}

#[test]
fn an_error_shows_no_user_and_no_query() {
    for api_url in
        ["https://user:HUSHED@h", "https://h?X-Amz-Signature=HUSHED", "https://u@h/?a=HUSHED#HUSHED", "HUSHED@x?HUSHED"]
    {
        let e = refused(&[("api_url", api_url)]);
        assert!(!e.to_string().contains("HUSHED"), "{e}");
    }
}

#[test]
fn requests_without_tls_to_another_machine_are_exposed() {
    for (api_url, is_exposed) in [
        ("http://127.0.0.1:9000", false),
        ("http://[::1]:9000", false),
        ("http://localhost", false),
        ("http://minio.localhost", false),
        ("https://store.example", false),
        ("http://store.example", true),
        ("http://10.0.0.1:9000", true),
        ("http://[2001:db8::1]", true),
        ("http://localhost.example", true),
        ("http://s3.eu-central-1.amazonaws.com", true),
    ] {
        let warning = endpoint(&[("api_url", api_url)]).exposure();
        assert_eq!(warning.is_some(), is_exposed, "{api_url}: {warning:?}");
    }
}
