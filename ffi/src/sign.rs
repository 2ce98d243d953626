//! Signatures for requests that another client sends: headers, presigned URLs, and explanations of refused signatures.

use s3vault_core::credentials::Credentials;
use s3vault_core::endpoint::{DEFAULT_REGION, Endpoint, checked_region, is_scope_name};
use s3vault_core::http::Method;
use s3vault_core::settings::{Scope, Settings};
use s3vault_core::sigv4::{self, Payload, Signer, ToSign};
use s3vault_core::{Code, Error, Result, time, uri};
use zeroize::Zeroizing;

use crate::transport::clock;

/// Returns the headers to add to a request, as lines `name: value`. Settings: `access_key`, `secret_key`,
/// `session_token`, `region`, `service`, and for `s3://bucket/key` those of the endpoint.
///
/// `now_ms`: Unix milliseconds; 0 or less means now. `headers`: lines `name: value` to be signed, which must be sent
/// unchanged; `host` among them replaces the host of the URL. `payload_hash`: SHA-256 of the body in hex, or one of the
/// words of `x-amz-content-sha256`; empty for a body that is not signed (for a service other than S3: no body).
pub fn sign(
    settings: &Settings,
    now_ms: i64,
    method: &str,
    url: &str,
    headers: &str,
    payload_hash: &str,
) -> Result<Zeroizing<String>> {
    let call = Call::new(settings, method, url, headers)?;
    if let Some((name, _)) = call.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-amz-content-sha256")) {
        return Err(misuse(
            format!("the signer adds the header {name} itself"),
            "Give its value as the payload's hash.",
        ));
    }
    let mut signer = call.signer(settings)?;
    let payload = payload(payload_hash, settings.text("service"))?;
    let signed = signer.sign(&call.to_sign(payload), at(now_ms)?);
    let mut lines = Zeroizing::new(String::new());
    for (name, value) in signed.headers() {
        for part in [name, ": ", value, "\n"] {
            lines.push_str(part);
        }
    }
    Ok(lines)
}

/// Returns the URL with a signature in its query, valid for `expires_s` seconds from `now_ms`: 1 to 604,800 (seven
/// days). The request must be sent with exactly these `headers`. Otherwise as [`sign`].
pub fn presign(
    settings: &Settings,
    now_ms: i64,
    method: &str,
    url: &str,
    headers: &str,
    expires_s: u32,
) -> Result<String> {
    let call = Call::new(settings, method, url, headers)?;
    let mut signer = call.signer(settings)?;
    let payload = payload("", settings.text("service"))?;
    let query = signer.presign(&call.to_sign(payload), expires_s, at(now_ms)?)?;
    let Address { scheme, host, path, .. } = &call.address;
    Ok(format!("{scheme}://{host}{path}?{query}"))
}

/// Explains a refused signature, as JSON ([`Explanation::to_json`](sigv4::explain::Explanation::to_json)), by comparing
/// the request as it was sent with the body of the store's reply.
pub fn explain(request: &str, reply: &str) -> Result<String> {
    Ok(sigv4::explain::explain(request, reply)?.to_json())
}

/// The common input of both kinds of signatures.
struct Call<'a> {
    method: Method,
    address: Address,
    host: Option<&'a str>,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Call<'a> {
    fn new(settings: &Settings, method: &str, url: &str, headers: &'a str) -> Result<Call<'a>> {
        settings.only(Scope::Vault)?;
        let mut headers = parse_headers(headers)?;
        let host = headers.iter().position(|(name, _)| name.eq_ignore_ascii_case("host")).map(|n| headers.remove(n).1);
        let call = Call { method: parse_method(method)?, address: Address::parse(settings, url)?, host, headers };
        sigv4::check_target(call.host())?;
        Ok(call)
    }

    fn host(&self) -> &str {
        self.host.unwrap_or(&self.address.host)
    }

    fn signer(&self, settings: &Settings) -> Result<Signer> {
        let region = match (&self.address.region, settings.text("region")) {
            (Some(region), _) => region,
            (None, "") => DEFAULT_REGION,
            (None, region) => checked_region(region)?,
        };
        let service = settings.text("service");
        if !is_scope_name(service) {
            let why = format!("service = '{service}' is not the name of a service");
            return Err(Error::new(Code::InvalidOption, why)
                .with_hint("Use letters, digits, '-', '_' and '.', for example s3 or sts."));
        }
        Ok(Signer::for_service(Credentials::from_settings(settings)?, region, service))
    }

    fn to_sign<'s>(&'s self, payload: Payload<'s>) -> ToSign<'s> {
        let Address { path, query, .. } = &self.address;
        ToSign { method: self.method, host: self.host(), path, query, headers: &self.headers, payload }
    }
}

/// The parts of a URL that are signed.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    scheme: String,
    host: String,
    path: String,
    query: String,
    /// The region of the endpoint, if the URL names an object there.
    region: Option<String>,
}

impl Address {
    fn parse(settings: &Settings, url: &str) -> Result<Address> {
        let refuse = |why: &str| {
            let hint =
                "Use http:// or https:// with a host and a path, or s3://bucket/key for the endpoint of api_url.";
            Err(misuse(format!("cannot sign for the URL '{}': {why}", url.escape_debug()), hint))
        };
        let Some((scheme, rest)) = url.split_once("://") else { return refuse("it has no scheme") };
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "s3" => return Address::of_object(settings, rest),
            "http" | "https" => {}
            _ => return refuse("its scheme is not http, https or s3"),
        }
        if url.contains(char::is_control) {
            return refuse("it contains a control character");
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains(['@', ' ']) || !authority.is_ascii() {
            return refuse("its host is invalid (a user name is not allowed)");
        }
        // Clients send the host in lower case, and leave out the default port of the scheme.
        let authority = authority.to_ascii_lowercase();
        let own_port = if scheme == "https" { ":443" } else { ":80" };
        let host = authority.strip_suffix(own_port).unwrap_or(&authority).to_owned();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.is_empty() { "/" } else { path };
        Ok(Address { scheme, host, path: sendable(path), query: sendable(query), region: None })
    }

    /// Parses `bucket/key`. The key is not encoded, and may be empty.
    fn of_object(settings: &Settings, name: &str) -> Result<Address> {
        sigv4::check_target(name)?;
        let (bucket, key) = name.split_once('/').unwrap_or((name, ""));
        let mut settings = settings.clone();
        settings.set("bucket", bucket)?;
        let endpoint = Endpoint::from_settings(&settings)?;
        endpoint.check_bucket(bucket)?;
        let key = Some(key).filter(|key| !key.is_empty());
        let address = Address::parse(&settings, &endpoint.target(bucket, key, "").url)?;
        Ok(Address { region: Some(endpoint.region_for(bucket).to_owned()), ..address })
    }
}

/// A path or a query as clients send it: characters that are not allowed in a URL are encoded (RFC 3986 §2), escapes
/// stay.
fn sendable(text: &str) -> String {
    let mut sent = String::with_capacity(text.len());
    for c in text.chars() {
        let allowed = c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
        if allowed {
            sent.push(c);
        } else {
            uri::encode_into(&mut sent, c.encode_utf8(&mut [0; 4]), false);
        }
    }
    sent
}

fn parse_method(method: &str) -> Result<Method> {
    let all = [Method::Get, Method::Head, Method::Put, Method::Post, Method::Delete];
    all.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(method)).ok_or_else(|| {
        misuse(format!("'{}' is not a method of S3", method.escape_debug()), "Use GET, HEAD, PUT, POST or DELETE.")
    })
}

fn parse_headers(lines: &str) -> Result<Vec<(&str, &str)>> {
    const OWN: [&str; 3] = ["authorization", "x-amz-date", "x-amz-security-token"];
    let lines = lines.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty());
    let parse = |line| {
        let (name, value) = str::split_once(line, ':').unwrap_or(("", ""));
        // RFC 9110 §5.6.2: a token.
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) {
            // The value may be secret.
            return Err(misuse(
                "a line of the headers is not 'name: value'".into(),
                "Write one header per line, without folding.",
            ));
        }
        if value.contains(|c: char| c.is_control() && c != '\t') {
            let hint = "Remove it: no client can send it.";
            return Err(misuse(format!("the value of the header {name} contains a control character"), hint));
        }
        if OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            let hint = "Leave it out: it is made from the settings and the time.";
            return Err(misuse(format!("the signer adds the header {name} itself"), hint));
        }
        Ok((name, value))
    };
    lines.map(parse).collect()
}

fn payload(hash: &str, service: &str) -> Result<Payload<'static>> {
    let words = [Payload::Unsigned, Payload::Chunks, Payload::ChunksTrailer, Payload::UnsignedTrailer];
    if hash.is_empty() {
        return Ok(if service.starts_with("s3") { Payload::Unsigned } else { Payload::Bytes(b"") });
    }
    if let Some(known) = words.into_iter().find(|payload| payload.word() == Some(hash)) {
        return Ok(known);
    }
    let mut bytes = [0; 32];
    match hex::decode_to_slice(hash, &mut bytes) {
        Ok(()) => Ok(Payload::Hash(bytes)),
        Err(_) => {
            let hint = "Give the SHA-256 in 64 hex digits, UNSIGNED-PAYLOAD, or one of the STREAMING- words.";
            Err(misuse(format!("'{}' is not a payload hash", hash.escape_debug()), hint))
        }
    }
}

fn at(now_ms: i64) -> Result<i64> {
    match now_ms {
        ..=0 => Ok(clock::now().unix_ms),
        _ if time::is_date(now_ms) => Ok(now_ms),
        _ => Err(misuse(format!("the time {now_ms} is after the year 9999"), "Give the time in Unix milliseconds.")),
    }
}

fn misuse(message: String, hint: &str) -> Error {
    Error::new(Code::InvalidArgument, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAY_24: i64 = 1_369_353_600_000;

    fn settings(more: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new();
        let keys = [("access_key", "AKIAIOSFODNN7EXAMPLE"), ("secret_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")];
        keys.iter().chain(more).for_each(|(key, value)| settings.set(key, value).unwrap());
        settings
    }

    fn signature(lines: &str) -> &str {
        lines.trim_end().rsplit_once("Signature=").unwrap().1
    }

    #[test]
    fn the_documented_examples_through_urls_and_lines() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let url = "https://ExampleBucket.s3.amazonaws.com:443/test.txt#part";
        let lines = sign(&settings(&[]), MAY_24, "get", url, "Range: bytes=0-9\r\n\n", empty).unwrap();
        assert_eq!(signature(&lines), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        let names: Vec<_> = lines.lines().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(names, ["x-amz-content-sha256", "x-amz-date", "authorization"]);
        let url = presign(&settings(&[]), MAY_24, "GET", url, "", 86_400).unwrap();
        assert!(url.starts_with("https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm="), "{url}");
        assert!(url.ends_with("&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"));
    }

    #[test]
    fn an_object_is_signed_for_the_region_of_its_endpoint() {
        let signed_for = |url: &str, more: &[(&str, &str)]| {
            let presigned = presign(&settings(more), MAY_24, "GET", url, "", 60).unwrap();
            let lines = sign(&settings(more), MAY_24, "GET", url, "", "").unwrap();
            let scope = presigned.split_once("%2F20130524%2F").unwrap().1;
            let region = scope.split_once("%2F").unwrap().0.to_owned();
            assert!(lines.contains(&format!("/20130524/{region}/s3/aws4_request")), "{}", *lines);
            region
        };
        let ireland = ("api_url", "https://s3.eu-west-1.amazonaws.com");
        assert_eq!(signed_for("s3://backups/key", &[ireland]), "eu-west-1");
        assert_eq!(signed_for("s3://backups/key", &[ireland, ("region", "eu-west-1")]), "eu-west-1");
        assert_eq!(signed_for("s3://backups/key", &[("region", "eu-west-3")]), "eu-west-3");
        assert_eq!(
            signed_for("https://s3.eu-west-1.amazonaws.com/backups/key", &[]),
            "us-east-1",
            "a URL does not name a region"
        );
    }

    #[test]
    fn an_object_is_found_at_the_endpoint_of_the_settings() {
        let endpoint = settings(&[("api_url", "http://127.0.0.1:9000"), ("session_token", "T")]);
        let by_name = presign(&endpoint, MAY_24, "PUT", "s3://backups/a b/ü?#", "", 60).unwrap();
        let url = "http://127.0.0.1:9000/backups/a%20b/%C3%BC%3F%23";
        assert_eq!(by_name, presign(&endpoint, MAY_24, "PUT", url, "", 60).unwrap());
        assert!(by_name.starts_with(&format!("{url}?")), "{by_name}");
        assert!(presign(&endpoint, 0, "GET", "s3://backups", "", 60).unwrap().contains("/backups?"));
        let below = settings(&[("api_url", "https://ref.supabase.co/storage/v1/s3/")]);
        let by_name = presign(&below, MAY_24, "GET", "s3://backups/a b", "", 60).unwrap();
        let url = "https://ref.supabase.co/storage/v1/s3/backups/a%20b";
        assert_eq!(by_name, presign(&below, MAY_24, "GET", url, "", 60).unwrap());
        assert!(by_name.starts_with(url), "{by_name}");
        let e = sign(&endpoint, 0, "GET", "s3://arn:aws:s3::123456789012:accesspoint/x.mrap/key", "", "").unwrap_err();
        assert_eq!(e.code(), Code::Unsupported);
        assert_eq!(sign(&endpoint, 0, "GET", "s3://a b/key", "", "").unwrap_err().code(), Code::InvalidOption);
    }

    #[test]
    fn characters_not_allowed_in_a_url_are_encoded_and_signed_so() {
        let made = |url| presign(&settings(&[]), MAY_24, "GET", url, "", 60).unwrap();
        let url = made("http://h/a b/ü%2B+?x=y z");
        assert!(url.starts_with("http://h/a%20b/%C3%BC%2B+?"), "{url}");
        assert!(url.ends_with(signature_of(&made("http://h/a%20b/%c3%bc%2B%2B?x=y%20z"))), "{url}");
    }

    fn signature_of(url: &str) -> &str {
        url.rsplit_once('=').unwrap().1
    }

    #[test]
    fn a_host_header_replaces_the_host_of_the_url() {
        let a = sign(&settings(&[]), MAY_24, "GET", "http://10.0.0.1:9000/k", "Host: s3.example.com", "").unwrap();
        let b = sign(&settings(&[]), MAY_24, "GET", "http://s3.example.com/k", "", "UNSIGNED-PAYLOAD").unwrap();
        assert_eq!(*a, *b);
    }

    #[test]
    fn a_service_and_a_region_are_in_the_scope() {
        let other = settings(&[("service", "sts"), ("region", "eu-west-1")]);
        let lines = sign(&other, MAY_24, "POST", "https://sts.eu-west-1.amazonaws.com/", "", "").unwrap();
        assert!(lines.contains("/20130524/eu-west-1/sts/aws4_request, SignedHeaders=host;x-amz-date,"), "{}", *lines);
    }

    #[test]
    fn the_clock_is_used_if_no_time_is_given() {
        let before = clock::now().unix_ms;
        let date = |now_ms| {
            let lines = sign(&settings(&[]), now_ms, "GET", "http://h/", "", "").unwrap();
            lines.split("x-amz-date: ").nth(1).unwrap()[..16].to_owned()
        };
        let possible = |date: &str| (0..=600).any(|s| time::amz_date(before + s * 1000) == date);
        assert!(possible(&date(0)) && possible(&date(-1)) && !possible(&date(1)));
    }

    #[test]
    fn invalid_arguments_are_named() {
        let keys = settings(&[]);
        let refused = |method: &str, url: &str, headers: &str, hash: &str| {
            sign(&keys, 0, method, url, headers, hash).map(|_| ()).unwrap_err()
        };
        for (method, url, headers, hash, said) in [
            ("PATCH", "http://h/", "", "", "'PATCH' is not a method"),
            ("GET", "h/k", "", "", "no scheme"),
            ("GET", "ftp://h/k", "", "", "not http, https or s3"),
            ("GET", "http:///k", "", "", "host"),
            ("GET", "http://u:p@h/k", "", "", "user"),
            ("GET", "http://h/\n", "", "", "control character"),
            ("GET", "http://h/", "no colon", "", "'name: value'"),
            ("GET", "http://h/", "a b: c", "", "'name: value'"),
            ("GET", "http://h/", "X-Amz-Date: x", "", "the signer adds the header X-Amz-Date"),
            ("GET", "http://h/", "x-amz-content-sha256: x", "", "the signer adds the header x-amz-content-sha256"),
            ("GET", "http://h/", "", "00", "not a payload hash"),
        ] {
            let e = refused(method, url, headers, hash);
            assert_eq!(e.code(), Code::InvalidArgument, "{e}");
            assert!(e.message().contains(said), "{e}");
            assert!(!e.hint().is_empty());
        }
        let e = sign(&Settings::new(), 0, "GET", "http://h/", "", "").map(|_| ()).unwrap_err();
        assert!(e.message().contains("access_key"), "{e}");
        let e = refused("GET", "https://x.mrap.accesspoint.s3-global.amazonaws.com/k", "", "");
        assert_eq!(e.code(), Code::Unsupported);
    }
}
