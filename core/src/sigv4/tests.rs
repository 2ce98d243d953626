//! AWS's documented examples in all modes, and properties of every signature.

use zeroize::Zeroizing;

use super::*;
use crate::credentials::Credentials;
use crate::http::Method;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const MAY_24: i64 = 1_369_353_600_000;
const HOST: &str = "examplebucket.s3.amazonaws.com";
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";

fn keys(token: Option<&str>) -> Credentials {
    Credentials {
        access_key: ACCESS_KEY.into(),
        secret_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
        session_token: token.map(|token| Zeroizing::new(token.into())),
        expires_ms: None,
    }
}

fn signer() -> Signer {
    Signer::new(keys(None), "us-east-1")
}

fn get<'a>(path: &'a str, query: &'a str, headers: &'a [(&'a str, &'a str)]) -> ToSign<'a> {
    ToSign { method: Method::Get, host: HOST, path, query, headers, payload: Payload::Bytes(b"") }
}

/// "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", S3 API reference.
#[test]
fn the_documented_headers() {
    let put = [("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
    let body = Payload::Bytes(b"Welcome to Amazon S3.");
    let mut signer = signer();
    for (request, signature) in [
        (
            get("/test.txt", "", &[("Range", "bytes=0-9")]),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            ToSign { method: Method::Put, payload: body, ..get("/test%24file.text", "", &put) },
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (get("/", "lifecycle", &[]), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (get("/", "prefix=J&max-keys=2", &[]), "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ] {
        assert_eq!(signer.sign(&request, MAY_24).signature, signature);
    }
    let signed = signer.sign(&get("/test.txt", "", &[("range", "bytes=0-9")]), MAY_24);
    assert_eq!(
        signed.authorization,
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
         Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
    assert_eq!(
        signer.string_to_sign(),
        "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n\
         7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972"
    );
    assert_eq!(
        signer.canonical_request(),
        "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n\
         x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
         x-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n\
         e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

/// The signature was computed with Python's hmac and hashlib.
#[test]
fn the_path_in_front_of_a_bucket_is_signed() {
    let mut settings = crate::settings::Settings::new();
    settings.set("api_url", "https://ref.supabase.co/storage/v1/s3/").unwrap();
    let endpoint = crate::endpoint::Endpoint::from_settings(&settings).unwrap();
    let target = endpoint.target("bkt", Some("a b"), "");
    let request = ToSign { host: &target.host, ..get(&target.path, "", &[]) };
    let signature = "1395ddeb9b6f999bd6ad6bb79d081d045507d6f66d6531acdc6d39770f7d01fe";
    assert_eq!(signer().sign(&request, MAY_24).signature, signature);
}

/// "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", S3 API reference.
#[test]
fn the_documented_url() {
    let query = signer().presign(&get("/test.txt", "", &[]), 86_400, MAY_24).unwrap();
    assert_eq!(
        query,
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F\
         aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&\
         X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    );
}

fn streamed<'a>(headers: &'a [(&'a str, &'a str)], payload: Payload<'a>) -> ToSign<'a> {
    let path = "/examplebucket/chunkObject.txt";
    ToSign { method: Method::Put, host: "s3.amazonaws.com", path, query: "", headers, payload }
}

/// "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks", S3 API reference.
#[test]
fn the_documented_chunks() {
    let headers = [
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("Content-Length", "66824"),
    ];
    let mut signer = signer();
    let signed = signer.sign(&streamed(&headers, Payload::Chunks), MAY_24);
    assert_eq!(signed.signature, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
    assert_eq!(signed.content_sha256, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    let mut chunks = signer.chunks();
    let lines = [&[b'a'; 65_536][..], &[b'a'; 1024], &[]].map(|chunk| chunks.chunk(chunk));
    assert_eq!(
        lines,
        [
            "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n",
            "400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n",
            "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n",
        ]
    );
    let wire = 65_536 + 1024 + lines.concat().len() + 3 * "\r\n".len();
    assert_eq!(wire, 66_824, "what content-length said");
}

/// "Signature calculations for trailing headers", S3 API reference.
#[test]
fn the_documented_trailer() {
    let headers = [
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-trailer", "x-amz-checksum-crc32c"),
    ];
    let mut signer = signer();
    let signed = signer.sign(&streamed(&headers, Payload::ChunksTrailer), MAY_24);
    assert_eq!(signed.signature, "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
    let mut chunks = signer.chunks();
    let lines = [&[b'a'; 65_536][..], &[b'a'; 1024], &[]].map(|chunk| chunks.chunk(chunk));
    assert_eq!(
        lines,
        [
            "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n",
            "400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n",
            "0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n",
        ]
    );
    assert_eq!(
        chunks.trailer(&[("x-amz-checksum-crc32c", "sOO8/Q==")]),
        "x-amz-checksum-crc32c:sOO8/Q==\r\n\
         x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    );
}

#[test]
fn unsigned_chunks_have_lengths_and_a_trailer_only() {
    let mut signer = signer();
    let signed = signer.sign(&streamed(&[], Payload::UnsignedTrailer), MAY_24);
    assert_eq!(signed.content_sha256, "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    let mut chunks = signer.chunks();
    assert_eq!(chunks.chunk(&[7; 300]), "12c\r\n");
    assert_eq!(chunks.chunk(&[]), "0\r\n");
    assert_eq!(chunks.trailer(&[("X-Amz-Checksum-CRC32", " AAAA== ")]), "x-amz-checksum-crc32:AAAA==\r\n\r\n");
}

/// The vectors of AWS's "aws-sig-v4-test-suite".
#[test]
fn the_general_rule() {
    let example = Credentials {
        access_key: "AKIDEXAMPLE".into(),
        secret_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
        session_token: None,
        expires_ms: None,
    };
    let mut signer = Signer::for_service(example, "us-east-1", "service");
    let host = "example.amazonaws.com";
    let vanilla = ToSign { host, ..get("/", "", &[]) };
    let vanilla_signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let form = Payload::Bytes(b"Param1=value1");
    let unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (name, request, signature) in [
        ("get-vanilla", vanilla, vanilla_signature),
        ("get-relative", ToSign { path: "/example/..", ..vanilla }, vanilla_signature),
        ("get-slash-dot-slash", ToSign { path: "/./", ..vanilla }, vanilla_signature),
        (
            "get-slashes",
            ToSign { path: "//example//", ..vanilla },
            "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
        ),
        (
            "get-space",
            ToSign { path: "/example space/", ..vanilla },
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        ),
        (
            "get-utf8",
            ToSign { path: "/ሴ", ..vanilla },
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            "get-unreserved",
            ToSign { path: unreserved, ..vanilla },
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        (
            "get-vanilla-query-order-key-case",
            ToSign { query: "Param2=value2&Param1=value1", ..vanilla },
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "get-header-key-duplicate",
            ToSign {
                headers: &[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
                ..vanilla
            },
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "get-header-value-trim",
            ToSign { headers: &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")], ..vanilla },
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "post-vanilla",
            ToSign { method: Method::Post, ..vanilla },
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "post-x-www-form-urlencoded",
            ToSign {
                method: Method::Post,
                headers: &[("Content-Type", "application/x-www-form-urlencoded")],
                payload: form,
                ..vanilla
            },
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ] {
        // 2015-08-30T12:36:00Z
        let signed = signer.sign(&request, 1_440_938_160_000);
        assert_eq!(signed.signature, signature, "{name}");
        assert!(signed.headers().all(|(name, _)| name != "x-amz-content-sha256"));
    }
    assert_eq!(Signer::for_service(keys(None), "r", "s3express").sign(&vanilla, 0).headers().count(), 3);
}

#[test]
fn a_session_token_is_signed_in_headers_and_in_a_url() {
    let mut signer = Signer::new(keys(Some("to/ken+=")), "us-east-1");
    let signed = signer.sign(&get("/", "", &[]), MAY_24);
    let names: Vec<_> = signed.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["x-amz-content-sha256", "x-amz-date", "x-amz-security-token", "authorization"]);
    assert_eq!(signed.token, Some("to/ken+="));
    assert!(signed.authorization.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"));
    assert!(signer.canonical_request().contains("\nx-amz-security-token:to/ken+=\n"));
    let url = signer.presign(&get("/", "", &[]), 1, MAY_24).unwrap();
    assert!(url.contains("&X-Amz-Security-Token=to%2Fken%2B%3D&X-Amz-SignedHeaders=host&X-Amz-Signature="), "{url}");
}

/// One signer for many requests gives the signatures of fresh signers.
#[test]
fn the_caches_of_a_signer_never_change_a_signature() {
    let a = [("x-amz-meta-a", "1"), ("x-amz-meta-b", "2")];
    let b = [("x-amz-meta-c", "1"), ("x-amz-meta-b", "2")];
    let c = [("x-amz-meta-a", "1"), ("x-amz-meta-b", "some  more")];
    let hash = Payload::Hash([7; 32]);
    let requests = [
        get("/a", "", &a),
        get("/a", "x=1", &b),
        ToSign { payload: Payload::Unsigned, ..get("/b", "x=2&a=1", &c) },
        ToSign { payload: hash, host: "h", ..get("/b", "a=1&x=2", &a) },
        get("/", "", &[]),
    ];
    let times = [MAY_24, MAY_24 + 999, MAY_24 + 1000, MAY_24 + 86_400_000, MAY_24, i64::MAX, -1];
    let mut kept = signer();
    for (n, request) in requests.iter().chain(requests.iter().rev()).enumerate() {
        for time in times {
            let fresh = signer().sign(request, time).authorization.to_owned();
            assert_eq!(kept.sign(request, time).authorization, fresh, "{n}");
            if n % 2 == 0 {
                assert_eq!(kept.presign(request, 9, time).unwrap(), signer().presign(request, 9, time).unwrap());
            }
        }
    }
}

#[test]
fn a_known_hash_gives_the_same_signature_as_the_bytes() {
    use sha2::{Digest as _, Sha256};
    let mut signer = signer();
    let mut sign = |payload| signer.sign(&ToSign { payload, ..get("/", "", &[]) }, MAY_24).signature.to_owned();
    assert_eq!(sign(Payload::Hash(Sha256::digest(b"x").into())), sign(Payload::Bytes(b"x")));
    assert_ne!(sign(Payload::Bytes(b"y")), sign(Payload::Bytes(b"x")));
    assert_ne!(sign(Payload::Unsigned), sign(Payload::Bytes(b"")));
}

#[test]
fn a_url_signs_the_headers_that_it_is_given_and_any_method() {
    let mut signer = signer();
    let headers = [("X-Amz-Server-Side-Encryption", "AES256"), ("content-type", "text/plain")];
    let mut urls = Vec::new();
    for method in [Method::Get, Method::Head, Method::Put, Method::Delete] {
        let request = ToSign { method, ..get("/k", "versionId=3&a", &headers) };
        let url = signer.presign(&request, LONGEST_S, MAY_24).unwrap();
        assert!(
            url.contains("&X-Amz-SignedHeaders=content-type%3Bhost%3Bx-amz-server-side-encryption&a=&versionId=3&")
        );
        assert!(signer.canonical_request().ends_with("\nUNSIGNED-PAYLOAD"));
        assert!(!urls.contains(&url));
        urls.push(url);
    }
    for name in ["x-amz-content-sha256", "X-Amz-Content-SHA256"] {
        let says = [(name, " STREAMING-UNSIGNED-PAYLOAD-TRAILER ")];
        signer.presign(&get("/k", "", &says), 60, MAY_24).unwrap();
        assert!(signer.canonical_request().ends_with("\nSTREAMING-UNSIGNED-PAYLOAD-TRAILER"));
    }
}

/// S3 alone does not sign the body of a presigned request.
#[test]
fn a_url_for_another_service_signs_the_body() {
    let signer = signer();
    let mut signer = Signer::for_service(signer.credentials.clone(), "us-east-1", "execute-api");
    let mut hash = |body: &'static [u8]| {
        let request = ToSign { payload: Payload::Bytes(body), ..get("/", "", &[]) };
        signer.presign(&request, 60, MAY_24).unwrap();
        let canonical = signer.canonical_request();
        canonical.rsplit('\n').next().unwrap().to_owned()
    };
    assert_eq!(hash(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(hash(b"x"), "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
}

/// What was signed before changes nothing: after a URL, headers are signed as by a fresh signer.
#[test]
fn a_signer_signs_headers_after_a_url_with_other_headers() {
    let with = [("x-amz-meta-a", "1")];
    let mut kept = signer();
    kept.sign(&get("/", "", &[]), MAY_24);
    kept.presign(&get("/", "", &with), 60, MAY_24).unwrap();
    for headers in [&with[..], &[]] {
        let request = get("/", "", headers);
        assert_eq!(kept.sign(&request, MAY_24).authorization, signer().sign(&request, MAY_24).authorization);
        kept.presign(&get("/", "", &[]), 60, MAY_24).unwrap();
    }
}

#[test]
fn requests_that_cannot_be_presigned_are_refused() {
    let refused = |request: &ToSign<'_>, expires_s| signer().presign(request, expires_s, MAY_24).unwrap_err();
    for expires_s in [0, LONGEST_S + 1, u32::MAX] {
        let e = refused(&get("/", "", &[]), expires_s);
        assert_eq!(e.code(), Code::InvalidArgument);
        assert!(e.message().contains(&expires_s.to_string()) && e.hint().contains("7 days"), "{e}");
    }
    for expires_s in [SHORTEST_S, LONGEST_S] {
        assert!(signer().presign(&get("/", "", &[]), expires_s, MAY_24).is_ok(), "{expires_s}");
    }
    for own in ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token"] {
        for name in [format!("X-Amz-{own}"), format!("x-amz-{own}").to_lowercase()] {
            let e = refused(&get("/", &format!("a=1&{name}=00"), &[]), 60);
            assert_eq!((e.code(), e.message()), (Code::InvalidArgument, &*format!("the query already has {name}")));
        }
    }
    assert!(signer().presign(&get("/", "x-amz-meta-a=1&ü=2&x-id=GetObject", &[]), 60, MAY_24).is_ok());
}

#[test]
fn what_needs_sigv4a_is_refused_and_told() {
    for target in [
        "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com",
        "Mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com:443",
        "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
    ] {
        let e = check_target(target).unwrap_err();
        assert_eq!(e.code(), Code::Unsupported);
        assert!(e.message().contains("SigV4a") && e.hint().contains("access point of one region"), "{e}");
        let request = ToSign { host: target, ..get("/", "", &[]) };
        assert_eq!(signer().presign(&request, 60, MAY_24).unwrap_err().code(), Code::Unsupported);
    }
    for target in
        ["s3.amazonaws.com", "localhost:9000", "[::1]:9000", "arn:aws:s3:us-west-2:123456789012:accesspoint/a"]
    {
        assert!(check_target(target).is_ok(), "{target}");
    }
}
