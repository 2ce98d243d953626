//! Explains why a store refused a signature, by comparing the request as it was sent with the store's reply.
//!
//! S3 answers SignatureDoesNotMatch with the canonical request and the string to sign that it computed (S3 API reference,
//! "Error responses"; IAM user guide, "Troubleshoot Signature Version 4"). If they differ from what was signed, something
//! on the way changed the request; if they do not, the secret key is wrong. For stores that send neither (MinIO, Ceph),
//! only what was signed is shown.
//!
//! The secret key is not needed. Secret values (a customer key, a session token) are compared, and shown as `***`.

mod cause;
mod reply;
mod request;
mod secrets;

use serde_json::{Value, json};

use crate::error::{Code, Error, Result};
use reply::Reply;
use request::Request;
use secrets::{hide, is_hidden_same};

/// Size limit of a request's head or a reply, in bytes.
pub const LIMIT: usize = 1 << 20;

/// A part of the signed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The method.
    Method,
    /// The path.
    Path,
    /// The query.
    Query,
    /// The line of a header.
    Header,
    /// The list of the signed headers' names.
    SignedHeaders,
    /// The payload's hash, or the word that replaces it.
    Payload,
    /// The date.
    Date,
    /// Day, region and service.
    Scope,
    /// The canonical request's hash, or another line of the string to sign.
    Hash,
    /// The access key.
    AccessKey,
}

impl Part {
    /// The name of the part, in messages and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Method => "method",
            Part::Path => "path",
            Part::Query => "query",
            Part::Header => "header",
            Part::SignedHeaders => "signed headers",
            Part::Payload => "payload hash",
            Part::Date => "date",
            Part::Scope => "scope",
            Part::Hash => "canonical request's hash",
            Part::AccessKey => "access key",
        }
    }
}

/// The first difference between what was signed and what the store computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The part that differs.
    pub part: Part,
    /// Name of the header or parameter; empty if the part has none.
    pub name: String,
    /// Line number in the canonical request or in the string to sign, from 1; 0 if it is in neither.
    pub line: usize,
    /// Number of the first character that differs in the line, from 1.
    pub column: usize,
    /// The line as it was signed; empty if there is none.
    pub ours: String,
    /// The line as the store computed it; empty if there is none.
    pub store: String,
}

/// What was signed, what the store answered, and the likely cause. Secret values are `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The canonical request that was signed.
    pub canonical_request: String,
    /// The string to sign; empty if the date or the scope is not known.
    pub string_to_sign: String,
    /// S3's error code; empty if the reply has none.
    pub store_code: String,
    /// The store's own message.
    pub store_message: String,
    /// The canonical request that the store computed; empty if the reply does not have it.
    pub store_canonical_request: String,
    /// The string to sign that the store computed; empty if the reply does not have it.
    pub store_string_to_sign: String,
    /// The first difference; `None` if nothing differs, or the reply does not show it.
    pub difference: Option<Difference>,
    /// The likely cause and what to do, in one or two sentences.
    pub cause: String,
    /// Other remarkable findings.
    pub notes: Vec<String>,
}

impl Explanation {
    /// The whole explanation as a JSON object: canonical_request, string_to_sign, store {code, message, canonical_request,
    /// string_to_sign}, difference (null, or {part, name, line, column, ours, store}), cause, notes.
    pub fn to_json(&self) -> String {
        let difference = self.difference.as_ref().map_or(Value::Null, |d| {
            json!({
                "part": d.part.as_str(), "name": d.name, "line": d.line, "column": d.column,
                "ours": d.ours, "store": d.store,
            })
        });
        json!({
            "canonical_request": self.canonical_request,
            "string_to_sign": self.string_to_sign,
            "store": {
                "code": self.store_code,
                "message": self.store_message,
                "canonical_request": self.store_canonical_request,
                "string_to_sign": self.store_string_to_sign,
            },
            "difference": difference,
            "cause": self.cause,
            "notes": self.notes,
        })
        .to_string()
    }
}

/// Explains a refused signature.
///
/// `request` is the request as it was sent: `METHOD /path?query HTTP/1.1` and its headers, one per line, also as
/// `curl -v` shows them; its body is ignored. It may also be the canonical request alone. `reply` is the body of the
/// store's reply, with or without its head. If it is empty, only what was signed is shown.
///
/// Fails with [`Code::InvalidArgument`] if the request cannot be read or is not signed, and with [`Code::Unsupported`]
/// if it is signed with another version than 4.
pub fn explain(request: &str, reply: &str) -> Result<Explanation> {
    for (what, text) in [("request", request), ("reply", reply)] {
        if text.len() > LIMIT {
            let message = format!("the {what} has {} bytes, but the limit is {LIMIT}", text.len());
            return Err(Error::new(Code::InvalidArgument, message).with_hint("Leave out its body."));
        }
    }
    let reply = Reply::parse(reply);
    let request = Request::parse(request, &reply)?;
    let difference = difference(&request, &reply);
    let cause = cause::cause(&request, &reply, difference.as_ref());
    let difference = difference.map(|d| Difference { ours: hide(&d.ours), store: hide(&d.store), ..d });
    Ok(Explanation {
        canonical_request: hide(&request.canonical),
        string_to_sign: request.string_to_sign,
        store_code: reply.code,
        store_message: reply.message,
        store_canonical_request: hide(&reply.canonical),
        store_string_to_sign: reply.string_to_sign,
        difference,
        cause,
        notes: request.notes.into_iter().chain(reply.notes).collect(),
    })
}

fn difference(request: &Request, reply: &Reply) -> Option<Difference> {
    let unplaced = |part, ours: &str, store: &str| {
        let column = 1 + common(ours, store);
        Some(Difference { part, name: String::new(), line: 0, column, ours: ours.to_owned(), store: store.to_owned() })
    };
    if !reply.canonical.is_empty()
        && let Some(found) = in_canonical(&request.canonical, &reply.canonical)
    {
        return Some(found);
    }
    if !reply.string_to_sign.is_empty()
        && !request.string_to_sign.is_empty()
        && let Some(found) = in_string_to_sign(&request.string_to_sign, &reply.string_to_sign)
    {
        return Some(found);
    }
    if !reply.region.is_empty() && !request.region.is_empty() && reply.region != request.region {
        return unplaced(Part::Scope, &request.region, &reply.region);
    }
    if !reply.payload.is_empty() && !request.payload.is_empty() && reply.payload != request.payload {
        return unplaced(Part::Payload, &request.payload, &reply.payload);
    }
    if reply.code == "RequestTimeTooSkewed" && !reply.server_time.is_empty() {
        let date = if reply.request_time.is_empty() { &request.date } else { &reply.request_time };
        return unplaced(Part::Date, date, &reply.server_time);
    }
    if !reply.access_key.is_empty() && !request.access_key.is_empty() && reply.access_key != request.access_key {
        return unplaced(Part::AccessKey, &request.access_key, &reply.access_key);
    }
    None
}

/// The number of characters that two lines have in common at their start.
fn common(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// The first line in which two texts differ: its number, from 0, and both lines.
fn first<'a>(ours: &'a str, store: &'a str) -> Option<(usize, Option<&'a str>, Option<&'a str>)> {
    let (mut a, mut b) = (ours.split('\n'), store.split('\n'));
    for n in 0.. {
        match (a.next(), b.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if a == b || is_hidden_same(a, b) => {}
            (a, b) => return Some((n, a, b)),
        }
    }
    None
}

fn in_string_to_sign(ours: &str, store: &str) -> Option<Difference> {
    let (n, ours, store) = first(ours, store)?;
    let part = match n {
        1 => Part::Date,
        2 => Part::Scope,
        _ => Part::Hash,
    };
    Some(placed(part, "", n, ours.unwrap_or(""), store.unwrap_or("")))
}

fn placed(part: Part, name: &str, n: usize, ours: &str, store: &str) -> Difference {
    Difference {
        part,
        name: name.to_owned(),
        line: n + 1,
        column: 1 + common(ours, store),
        ours: ours.to_owned(),
        store: store.to_owned(),
    }
}

fn in_canonical(ours: &str, store: &str) -> Option<Difference> {
    let headers_end = 3 + ours.split('\n').skip(3).take_while(|line| !line.is_empty()).count();
    let (n, our, their) = first(ours, store)?;
    let (our, their) = (our.unwrap_or(""), their.unwrap_or(""));
    let name = |line: &str| line.split_once(':').map_or("", |(name, _)| name).to_owned();
    Some(match n {
        0 => placed(Part::Method, "", n, our, their),
        1 => placed(Part::Path, "", n, our, their),
        2 => placed(Part::Query, &parameter(our, their), n, our, their),
        // The empty line after the headers: the store saw more headers.
        _ if n <= headers_end && (n < headers_end || !their.is_empty()) => {
            let (mine, other) = (name(our), name(their));
            if mine == other {
                placed(Part::Header, &mine, n, our, their)
            } else if !mine.is_empty() && (other.is_empty() || mine < other) {
                // The store has a later header or the end of the headers there: this one did not arrive.
                placed(Part::Header, &mine, n, our, "")
            } else {
                placed(Part::Header, &other, n, "", their)
            }
        }
        _ if n == headers_end + 1 => placed(Part::SignedHeaders, "", n, our, their),
        _ => placed(Part::Payload, "", n, our, their),
    })
}

/// The name of the first parameter in which two queries differ.
fn parameter(ours: &str, store: &str) -> String {
    let (mut a, mut b) = (ours.split('&'), store.split('&'));
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) if a == b => {}
            (Some(""), Some(other)) | (Some(other), Some("") | None) | (None, Some(other)) => {
                return other.split('=').next().unwrap_or("").to_owned();
            }
            // The parameter that sorts first is missing from the other query.
            (Some(a), Some(b)) => return a.min(b).split('=').next().unwrap_or("").to_owned(),
            (None, None) => return String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
