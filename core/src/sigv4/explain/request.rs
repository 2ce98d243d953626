//! Parses the text of a request, and computes what was signed with the signer's own code.

use sha2::{Digest as _, Sha256};

use super::super::canonical::{self, Query, Rule};
use super::super::headers::Headers;
use super::super::{ALGORITHM, check_target};
use super::reply::Reply;
use crate::error::{Code, Error, Result};
use crate::uri;

/// What was signed; fields are empty if the text does not have them.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) canonical: String,
    pub(super) string_to_sign: String,
    pub(super) date: String,
    pub(super) region: String,
    pub(super) access_key: String,
    pub(super) signature: String,
    pub(super) payload: String,
    pub(super) notes: Vec<String>,
}

/// The fields of an `Authorization` header or of a presigned query.
#[derive(Default)]
struct Authorization {
    access_key: String,
    /// `day/region/service/aws4_request`
    scope: String,
    signed_headers: String,
    signature: String,
}

impl Request {
    pub(super) fn parse(text: &str, reply: &Reply) -> Result<Request> {
        let text = head(text);
        let mut lines = text.iter();
        let first = lines.next().map_or("", |line| line.trim());
        if first.is_empty() {
            return Err(refuse("it is empty"));
        }
        let is_method = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if is_method(first) {
            return Request::from_canonical(&text, reply);
        }
        // A path that was not encoded may contain spaces.
        let (method, target) = first.split_once(' ').unwrap_or((first, ""));
        let target =
            target.rsplit_once(' ').filter(|(_, version)| version.starts_with("HTTP/")).map_or(target, |t| t.0);
        let target = target.trim();
        if !is_method(method) || target.is_empty() {
            return Err(refuse(&format!("its first line is '{}', not METHOD /path?query HTTP/1.1", shown(first))));
        }
        // A request to a proxy has the whole URL.
        let target = match target.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                rest.find(['/', '?']).map_or("/", |at| &rest[at..])
            }
            _ => target,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<(&str, String)> = Vec::new();
        for line in lines.map(|line| line.trim_end_matches('\r')).take_while(|line| !line.is_empty()) {
            match (line.starts_with([' ', '\t']), headers.last_mut(), line.split_once(':')) {
                // RFC 9112 §5.2: a folded line.
                (true, Some((_, value)), _) => *value = format!("{value} {}", line.trim()),
                (_, _, Some((name, value))) => headers.push((name.trim(), value.trim().to_owned())),
                _ => return Err(refuse(&format!("'{}' is not a header", shown(line)))),
            }
        }
        Request::from_parts(method, path, query, &headers)
    }

    fn from_parts(method: &str, path: &str, query: &str, headers: &[(&str, String)]) -> Result<Request> {
        let header = |wanted: &str| {
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
        };
        let parameter = |wanted: &str| {
            let found = query.split('&').filter_map(|p| p.split_once('=')).find(|(name, _)| *name == wanted);
            found.and_then(|(_, value)| uri::decode(value)).unwrap_or_default()
        };
        let mut notes = Vec::new();
        check_target(header("host").unwrap_or(""))?;
        let presigned = header("authorization").is_none();
        let authorization = match header("authorization") {
            Some(value) => Authorization::from_header(value)?,
            None => {
                let (access_key, scope) = cut_credential(&parameter("X-Amz-Credential"));
                let signature = parameter("X-Amz-Signature");
                if signature.is_empty() {
                    return Err(refuse("it has neither an Authorization header nor X-Amz-Signature in its query"));
                }
                if parameter("X-Amz-Algorithm") != ALGORITHM {
                    return Err(other_version(&parameter("X-Amz-Algorithm")));
                }
                Authorization { access_key, scope, signed_headers: parameter("X-Amz-SignedHeaders"), signature }
            }
        };
        let scope: Vec<&str> = authorization.scope.split('/').collect();
        let (day, region, service) = match scope[..] {
            [day, region, service, "aws4_request"] => (day, region, service),
            _ => return Err(refuse(&format!("the scope of its credential is '{}'", shown(&authorization.scope)))),
        };
        let rule = Rule::of(service);
        let date = match parameter("X-Amz-Date") {
            date if !date.is_empty() => date,
            _ => header("x-amz-date").or(header("date")).unwrap_or("").to_owned(),
        };
        if !date.starts_with(day) {
            notes.push(format!("the request's date is '{}', but its scope's day is {}", shown(&date), shown(day)));
        }

        let mut signed: Vec<(&str, &str)> = Vec::new();
        for name in authorization.signed_headers.split(';').filter(|name| !name.is_empty()) {
            let before = signed.len();
            let values = headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
            signed.extend(values.map(|(_, value)| (name, value.as_str())));
            if signed.len() == before {
                notes.push(format!("header {name} was signed, but is not in the request's text"));
                signed.push((name, ""));
            }
        }
        for name in ["host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"] {
            if header(name).is_some() && !authorization.signed_headers.split(';').any(|signed| signed == name) {
                notes.push(format!("header {name} is sent, but not signed"));
            }
        }
        let payload = match header("x-amz-content-sha256") {
            Some(value) => value.to_owned(),
            None if presigned && rule == Rule::S3 => "UNSIGNED-PAYLOAD".to_owned(),
            None => {
                notes.push("x-amz-content-sha256 is missing: the body is assumed to be empty".to_owned());
                hex::encode(Sha256::digest(b""))
            }
        };

        let mut text = Vec::from(method);
        text.push(b'\n');
        canonical::push_path(&mut text, path, rule);
        text.push(b'\n');
        let query: Vec<&str> = query.split('&').filter(|p| !p.starts_with("X-Amz-Signature=")).collect();
        Query::default().push(&mut text, &query.join("&"), &[]);
        text.push(b'\n');
        let mut canonical_headers = Headers::default();
        canonical_headers.set(&signed, &[], &payload);
        let text = canonical_headers.after(&text);
        let canonical = String::from_utf8_lossy(text).into_owned();
        let hash = hex::encode(Sha256::digest(text));
        Ok(Request {
            string_to_sign: [ALGORITHM, &date, &authorization.scope, &hash].join("\n"),
            canonical,
            date,
            region: region.to_owned(),
            access_key: authorization.access_key.clone(),
            signature: authorization.signature.clone(),
            payload,
            notes,
        })
    }

    /// Parses a canonical request alone. Its scope is only known from the store's reply.
    fn from_canonical(lines: &[&str], reply: &Reply) -> Result<Request> {
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end_matches('\r')).collect();
        let canonical = lines.join("\n").trim_end_matches('\n').to_owned();
        let shape = lines.get(1).is_some_and(|path| path.starts_with('/')) && lines.len() >= 7;
        if !shape {
            return Err(refuse("it is neither METHOD /path?query HTTP/1.1 with headers nor a canonical request"));
        }
        let value = |wanted: &str| lines.iter().find_map(|line| line.strip_prefix(wanted)).unwrap_or("").to_owned();
        let date = value("x-amz-date:");
        let scope = reply.string_to_sign.split('\n').nth(2).unwrap_or("");
        let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
        // Values that are hidden in it were not hashed in this form.
        let whole = !date.is_empty() && !scope.is_empty() && !canonical.contains("***");
        Ok(Request {
            string_to_sign: if whole { [ALGORITHM, &date, scope, &hash].join("\n") } else { String::new() },
            payload: canonical.rsplit('\n').next().unwrap_or("").to_owned(),
            canonical,
            date,
            ..Request::default()
        })
    }
}

impl Authorization {
    fn from_header(value: &str) -> Result<Authorization> {
        let (algorithm, fields) = value.split_once(' ').unwrap_or((value, ""));
        if algorithm != ALGORITHM {
            return Err(other_version(algorithm));
        }
        let mut found = Authorization::default();
        for (name, value) in fields.split(',').filter_map(|field| field.trim().split_once('=')) {
            match name {
                "Credential" => (found.access_key, found.scope) = cut_credential(value),
                "SignedHeaders" => found.signed_headers = value.to_owned(),
                "Signature" => found.signature = value.to_owned(),
                _ => {}
            }
        }
        for (name, value) in [
            ("Credential", &found.access_key),
            ("SignedHeaders", &found.signed_headers),
            ("Signature", &found.signature),
        ] {
            if value.is_empty() {
                return Err(refuse(&format!("its Authorization header has no {name}")));
            }
        }
        Ok(found)
    }
}

/// Splits a credential into the access key, which may contain slashes, and the scope.
fn cut_credential(value: &str) -> (String, String) {
    match value.rmatch_indices('/').nth(3) {
        Some((at, _)) => (value[..at].to_owned(), value[at + 1..].to_owned()),
        None => (value.to_owned(), String::new()),
    }
}

/// The lines of a text; for the output of `curl -v`, those that were sent.
fn head(text: &str) -> Vec<&str> {
    let text = text.trim_start();
    let lines = text.split('\n');
    let sent: Vec<&str> = lines.clone().filter_map(|line| line.strip_prefix('>')).collect();
    if sent.is_empty() {
        lines.collect()
    } else {
        sent.into_iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect()
    }
}

/// The start of an unexpected text.
fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

fn refuse(why: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("the request cannot be explained: {why}"))
        .with_hint("Pass the request as it was sent: its first line, then each header on a line of its own.")
}

fn other_version(algorithm: &str) -> Error {
    let what = match algorithm {
        "AWS4-ECDSA-P256-SHA256" => "SigV4a, which Multi-Region Access Points need",
        "AWS" => "Signature Version 2",
        _ => "another method than Signature Version 4",
    };
    Error::new(Code::Unsupported, format!("the request is signed with {what} ('{}')", shown(algorithm)))
        .with_hint(format!("Sign with {ALGORITHM}, the only algorithm that s3vault supports."))
}
