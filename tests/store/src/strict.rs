//! The strict check in front of s3s, which accepts requests that S3 refuses.
//!
//! SigV4 only, in one place; `host` and every `x-amz-*` header signed; every signed header there; path and query escaped
//! as S3 prescribes; the date near the store's clock. Whether the signature is right is for s3s to judge.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::Uri;
use hyper::http::request::Parts;
use s3s::dto::{Timestamp, TimestampFormat};

use s3_model::Refusal;

const MAX_SKEW: Duration = Duration::from_secs(15 * 60);
/// Seven days.
const MAX_EXPIRES: u64 = 604_800;

/// Refuses what S3 would refuse, and what a client should not send.
pub(crate) fn check(parts: &Parts, now: SystemTime) -> Result<(), Refusal> {
    check_path(parts.uri.path())?;
    check_query(parts.uri.query().unwrap_or_default())?;
    let auth = Auth::of(parts)?;
    check_signed_headers(&auth.signed_headers, &parts.headers)?;
    check_date(&auth, now)
}

/// The parts of a signature that are judged here.
struct Auth {
    signed_headers: Vec<String>,
    date: String,
    /// Seconds; of a presigned URL.
    expires: Option<u64>,
}

impl Auth {
    fn of(parts: &Parts) -> Result<Self, Refusal> {
        let presigned = query_value(&parts.uri, "X-Amz-Signature").is_some();
        let mut headers = parts.headers.get_all("authorization").into_iter();
        match (headers.next(), headers.next(), presigned) {
            (Some(header), None, false) => Self::of_header(&parts.headers, header.to_str().unwrap_or_default()),
            (None, _, true) => Self::of_query(&parts.uri),
            (None, _, false) => {
                if query_value(&parts.uri, "Signature").is_some() {
                    return Err(not_sigv4("the query parameter Signature is that of SigV2"));
                }
                Err(Refusal::access_denied(
                    "Access Denied: the request is not signed. It has neither an Authorization header nor X-Amz-Signature.",
                ))
            }
            _ => Err(Refusal::access_denied(
                "Only one auth mechanism allowed: one Authorization header, or one X-Amz-Signature in the query.",
            )),
        }
    }

    fn of_header(headers: &HeaderMap, authorization: &str) -> Result<Self, Refusal> {
        let Some(fields) = authorization.strip_prefix("AWS4-HMAC-SHA256 ") else {
            let scheme = authorization.split(' ').next().unwrap_or_default();
            return Err(not_sigv4(&format!("the Authorization header starts with {scheme:?}")));
        };
        let signed = fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix("SignedHeaders="))
            .ok_or_else(|| Refusal::access_denied("The Authorization header has no SignedHeaders."))?;
        let date = headers
            .get("x-amz-date")
            .and_then(|date| date.to_str().ok())
            .ok_or_else(|| Refusal::access_denied("AWS authentication requires a valid x-amz-date header."))?;
        Ok(Self { signed_headers: split(signed), date: date.to_owned(), expires: None })
    }

    fn of_query(uri: &Uri) -> Result<Self, Refusal> {
        let value = |name: &str| {
            query_value(uri, name).ok_or_else(|| {
                let message = format!("Query-string authentication requires the parameter {name}.");
                Refusal::new(400, "AuthorizationQueryParametersError", message)
            })
        };
        if value("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
            return Err(not_sigv4("X-Amz-Algorithm is another"));
        }
        let expires = value("X-Amz-Expires")?.parse().ok().filter(|expires| (1..=MAX_EXPIRES).contains(expires));
        let expires = expires.ok_or_else(|| {
            let message = format!("X-Amz-Expires must be a number from 1 to {MAX_EXPIRES}.");
            Refusal::new(400, "AuthorizationQueryParametersError", message)
        })?;
        // ';' is escaped in a query.
        let signed = value("X-Amz-SignedHeaders")?.replace("%3B", ";");
        Ok(Self { signed_headers: split(&signed), date: value("X-Amz-Date")?.to_owned(), expires: Some(expires) })
    }
}

fn split(signed: &str) -> Vec<String> {
    signed.split(';').map(str::to_owned).collect()
}

fn not_sigv4(what: &str) -> Refusal {
    Refusal::access_denied(format!(
        "The authorization mechanism you have provided is not supported: {what}. Please use AWS4-HMAC-SHA256."
    ))
}

fn check_signed_headers(signed: &[String], headers: &HeaderMap) -> Result<(), Refusal> {
    if !signed.is_sorted_by(|a, b| a < b) || signed.iter().any(|name| *name != name.to_lowercase()) {
        return Err(Refusal::access_denied(format!(
            "SignedHeaders must be in lower case, sorted, each once; it is {:?}.",
            signed.join(";")
        )));
    }
    let mut unsigned: Vec<&str> = headers
        .keys()
        .map(hyper::header::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && !signed.iter().any(|other| other == name))
        .collect();
    if !signed.iter().any(|name| name == "host") {
        unsigned.push("host");
    }
    if !unsigned.is_empty() {
        let names = unsigned.join(", ");
        return Err(Refusal::access_denied(format!(
            "There were headers present in the request which were not signed: {names}"
        ))
        .element("HeadersNotSigned", names));
    }
    match signed.iter().find(|name| !headers.contains_key(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Refusal::access_denied(format!(
            "SignedHeaders names the header {name}, which the request does not have."
        ))),
    }
}

fn check_path(path: &str) -> Result<(), Refusal> {
    escaped(path, b"/").map_err(|what| badly_escaped("path", path, &what))
}

fn check_query(query: &str) -> Result<(), Refusal> {
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        for part in [name, value] {
            escaped(part, b"").map_err(|what| badly_escaped("query", query, &what))?;
        }
    }
    Ok(())
}

fn badly_escaped(place: &str, text: &str, what: &str) -> Refusal {
    Refusal::new(
        403,
        "SignatureDoesNotMatch",
        format!("The {place} is not escaped as S3 prescribes: {what} in {text:?}."),
    )
}

/// Every byte but `A-Z a-z 0-9 - . _ ~` and `also` must be `%XX` in upper case, and these must not be.
fn escaped(text: &str, also: &[u8]) -> Result<(), String> {
    let bytes = text.as_bytes();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            if !plain(byte) {
                return Err(format!("{:?} must be %{byte:02X}", char::from(byte)));
            }
            at += 1;
            continue;
        }
        let escape = text.get(at..at + 3).unwrap_or("%");
        let value = escape.get(1..).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) if escape != format!("%{value:02X}") => {
                return Err(format!("{escape:?} must be in upper case"));
            }
            Some(value) if plain(value) => return Err(format!("{escape:?} must be {:?}", char::from(value))),
            Some(_) => at += 3,
            None => return Err(format!("{escape:?} is no escape")),
        }
    }
    Ok(())
}

fn check_date(auth: &Auth, now: SystemTime) -> Result<(), Refusal> {
    let date = parse_date(&auth.date).ok_or_else(|| {
        Refusal::access_denied(format!("The date {:?} is not of the form 20130524T000000Z.", auth.date))
    })?;
    let ahead = date.duration_since(now).unwrap_or_default();
    let late = now.duration_since(date).unwrap_or_default();
    if let Some(expires) = auth.expires
        && late > Duration::from_secs(expires)
    {
        return Err(Refusal::access_denied("Request has expired").element("ServerTime", iso(now)));
    }
    if ahead > MAX_SKEW || (auth.expires.is_none() && late > MAX_SKEW) {
        return Err(Refusal::new(
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        )
        .element("RequestTime", &auth.date)
        .element("ServerTime", iso(now))
        .element("MaxAllowedSkewMilliseconds", MAX_SKEW.as_millis().to_string()));
    }
    Ok(())
}

/// Of `20130524T000000Z`.
fn parse_date(text: &str) -> Option<SystemTime> {
    let digits = |range| text.get(range).filter(|part: &&str| part.bytes().all(|byte| byte.is_ascii_digit()));
    if text.len() != 16 || text.get(8..9) != Some("T") || text.get(15..) != Some("Z") {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
    let long = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    let seconds = epoch_seconds(&Timestamp::parse(TimestampFormat::DateTime, &long).ok()?)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn epoch_seconds(time: &Timestamp) -> Option<u64> {
    let mut text = Vec::new();
    time.format(TimestampFormat::EpochSeconds, &mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    text.split('.').next()?.parse().ok()
}

fn iso(time: SystemTime) -> String {
    let mut text = Vec::new();
    match Timestamp::from(time).format(TimestampFormat::DateTime, &mut text) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    }
}

/// The value of a query parameter as it is sent.
pub(crate) fn query_value<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| match pair.split_once('=') {
        Some((found, value)) => (found == name).then_some(value),
        None => (pair == name).then_some(""),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// 2013-05-24T00:00:00Z
    const DAY: u64 = 1_369_353_600;

    fn check_at(request: hyper::http::request::Builder, second: u64) -> Result<(), (u16, &'static str, String)> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, SystemTime::UNIX_EPOCH + Duration::from_secs(second))
            .map_err(|refusal| (refusal.status, refusal.code, refusal.message))
    }

    fn signed(uri: &str, signed: &str) -> hyper::http::request::Builder {
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential=K/20130524/r/s3/aws4_request,SignedHeaders={signed},Signature=0");
        hyper::Request::builder()
            .uri(uri)
            .header("host", "h")
            .header("x-amz-date", "20130524T000000Z")
            .header("authorization", authorization)
    }

    fn good(uri: &str) -> hyper::http::request::Builder {
        signed(uri, "host;x-amz-date")
    }

    fn message(request: hyper::http::request::Builder) -> String {
        let (status, _, message) = check_at(request, DAY).unwrap_err();
        assert_eq!(status, 403, "{message}");
        message
    }

    #[test]
    fn well_formed_requests_pass() {
        for uri in
            ["/", "/b/a//b", "/b//lead", "/b/a%3D2F~%C3%BC", "/b/%252F?versionId=x%2B%2F%3D", "/b?versions&prefix="]
        {
            assert_eq!(check_at(good(uri), DAY), Ok(()), "{uri}");
        }
    }

    #[test]
    fn what_is_not_escaped_is_named() {
        for (uri, named) in [
            ("/b/a@b", "'@' must be %40"),
            ("/b/a+b", "'+' must be %2B"),
            ("/b/a%2fb", "must be in upper case"),
            ("/b/a%2Fb", "\"%2F\" must be '/'"),
            ("/b/%7E", "must be '~'"),
            ("/b/a%4", "is no escape"),
            ("/b?prefix=a/b", "'/' must be %2F"),
            ("/b?prefix=a+b", "'+' must be %2B"),
            ("/b?prefix=a=b", "'=' must be %3D"),
        ] {
            assert!(message(good(uri)).contains(named), "{uri}: {}", message(good(uri)));
        }
    }

    #[test]
    fn every_header_that_counts_must_be_signed() {
        assert!(message(signed("/b", "x-amz-date")).ends_with(": host"));
        assert!(message(good("/b").header("x-amz-meta-a", "1")).ends_with(": x-amz-meta-a"));
        assert!(message(signed("/b", "host")).ends_with(": x-amz-date"));
        assert!(message(signed("/b", "host;range;x-amz-date")).contains("the header range, which"));
        assert!(message(signed("/b", "x-amz-date;host")).contains("sorted"));
        assert!(message(signed("/b", "Host;x-amz-date")).contains("lower case"));
        assert_eq!(check_at(good("/b").header("content-type", "a/b"), DAY), Ok(()));
    }

    #[test]
    fn only_one_signature_of_version_4_counts() {
        let plain = hyper::Request::builder().uri("/b").header("host", "h");
        assert!(message(plain).contains("not signed"));
        let v2 = hyper::Request::builder().uri("/b").header("host", "h").header("authorization", "AWS K:sig");
        assert!(message(v2).contains("\"AWS\""));
        let v2 = hyper::Request::builder().uri("/b?AWSAccessKeyId=K&Expires=1&Signature=x").header("host", "h");
        assert!(message(v2).contains("SigV2"));
        assert!(message(good("/b?X-Amz-Signature=0")).contains("Only one"));
        assert!(message(good("/b").header("authorization", "x")).contains("Only one"));
    }

    #[test]
    fn dates_are_judged_by_the_stores_clock() {
        for (second, skewed) in [(DAY + 900, false), (DAY + 901, true), (DAY - 900, false), (DAY - 901, true)] {
            let result = check_at(good("/b"), second).map_err(|(status, code, _)| (status, code));
            assert_eq!(result.err(), skewed.then_some((403, "RequestTimeTooSkewed")), "{second}");
        }
        let presigned = |expires: &str| {
            let uri = format!(
                "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20130524T000000Z&X-Amz-Expires={expires}\
                 &X-Amz-SignedHeaders=host&X-Amz-Signature=0"
            );
            hyper::Request::builder().uri(uri).header("host", "h")
        };
        assert_eq!(check_at(presigned("86400"), DAY + 86400), Ok(()));
        assert_eq!(check_at(presigned("86400"), DAY + 86401).unwrap_err().1, "AccessDenied");
        assert_eq!(check_at(presigned("604801"), DAY).unwrap_err().1, "AuthorizationQueryParametersError");
        assert_eq!(check_at(presigned("60").header("x-amz-meta-a", "1"), DAY).unwrap_err().1, "AccessDenied");
    }

    #[test]
    fn a_value_that_is_not_a_date_is_refused() {
        for date in ["20130524T000000", "2013-05-24T00:00", "20131324T000000Z", "+0130524T000000Z", ""] {
            assert_eq!(parse_date(date), None, "{date:?}");
        }
    }
}
