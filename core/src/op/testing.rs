//! What the tests of operations share: a request as text, and replies by hand.

use super::{Operation, Place, Reply};
use crate::error::{Code, Result};
use crate::http::{Body, ReplyHead};
use crate::uri::{encode_path, encode_query};

/// The request as text: method, target, headers in their order, body. The bucket is `/`, the service `*`.
pub(super) fn sent(op: &impl Operation) -> String {
    let request = op.request();
    let path = match &request.place {
        Place::Service => "*".to_owned(),
        Place::Bucket => "/".to_owned(),
        Place::Object(key) => format!("/{}", encode_path(key)),
    };
    let query = encode_query(request.query.iter().map(|(name, value)| (*name, value.as_str())));
    let mark = if query.is_empty() { "" } else { "?" };
    let mut text = format!("{} {path}{mark}{query}\n", request.method.as_str());
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    match &request.body {
        Body::Empty => {}
        Body::Bytes(bytes) => text.push_str(&format!("\n{}", std::str::from_utf8(bytes).unwrap())),
        _ => text.push_str("\n(a part)"),
    }
    text
}

/// The body of a request, which is text.
pub(super) fn sent_body(op: &impl Operation) -> String {
    sent(op).split_once("\n\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// What the operation reads in a reply with these headers and this body.
pub(super) fn answer<O: Operation>(op: &O, headers: &[(&str, &str)], body: &str) -> Result<O::Reply> {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    op.parse(&Reply { head: &ReplyHead { status: 200, headers }, body: body.as_bytes(), range: None })
}

/// The same for a reply that cannot be read: its code.
pub(super) fn refused<O: Operation>(op: &O, headers: &[(&str, &str)], body: &str) -> Option<Code> {
    answer(op, headers, body).err().map(|e| e.code())
}
