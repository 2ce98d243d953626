//! Helpers for the tests of operations: a request as text, and replies.

use super::{Operation, Paged, Place, Reply};
use crate::error::{Code, Result};
use crate::http::{Body, ReplyHead, Request};
use crate::uri::{encode_path, encode_query};

/// The request as text: method, target, headers in their order, and body. The bucket is `/`, and the service is `*`.
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
        text.push_str(&format!("{name}: {}\n", &**value));
    }
    match &request.body {
        Body::Empty => {}
        Body::Bytes(bytes) => text.push_str(&format!("\n{}", std::str::from_utf8(bytes).unwrap())),
        _ => text.push_str("\n(a part)"),
    }
    text
}

/// The body of a request as text.
pub(super) fn sent_body(op: &impl Operation) -> String {
    sent(op).split_once("\n\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// The operation's result for a reply with these headers and this body.
pub(super) fn answer<O: Operation>(op: &O, headers: &[(&str, &str)], body: &str) -> Result<O::Reply> {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let head = ReplyHead { status: 200, headers };
    op.check_head(&head)?;
    op.parse(&mut Reply { head: &head, body: body.into(), range: None })
}

/// The code with which the operation refuses such a reply, if it does.
pub(super) fn refused<O: Operation>(op: &O, headers: &[(&str, &str)], body: &str) -> Option<Code> {
    answer(op, headers, body).err().map(|e| e.code())
}

/// Follows a listing whose pages this function writes, to the page that is refused: its number, from 0, and the error's
/// message.
pub(super) fn follow<O: Paged>(first: O, page: impl Fn(usize) -> String) -> (usize, String) {
    let mut op = first;
    for number in 0..30_000 {
        match answer(&op, &[], &page(number)) {
            Ok(page) => op = op.next(&page).expect("there is another page"),
            Err(e) => {
                assert_eq!(e.code(), Code::BadReply);
                return (number, e.message().to_owned());
            }
        }
    }
    panic!("the listing never ends");
}

/// A listing of empty pages ends: with new tokens, with tokens that occur again, and if one page has a row. `page` writes a
/// page that names this token and has these rows.
pub(super) fn empty_pages_end<O: Paged + Clone>(first: &O, row: &str, page: impl Fn(usize, &str) -> String) {
    let (number, message) = follow(first.clone(), |n| page(n + 1, ""));
    assert!(number == 9_999 && message.contains("10000 pages in succession have no row"), "{number}: {message}");
    let (number, message) = follow(first.clone(), |n| page(n % 7 + 1, ""));
    assert!(number == 7 && message.contains("an earlier page"), "a token occurs again: {number}: {message}");
    let (number, message) = follow(first.clone(), |n| page(n + 1, if n == 3 { row } else { "" }));
    assert!(number == 10_003, "a row starts the count again: {number}: {message}");
}

/// The body of a reply to Complete that confirms the checksum of the whole object that was sent.
pub(crate) fn confirmed(request: &Request) -> String {
    let sent = request.headers.iter().find(|(name, _)| name == "x-amz-checksum-crc64nvme");
    let crc = sent.map(|(_, crc)| format!("<ChecksumCRC64NVME>{}</ChecksumCRC64NVME>", &**crc)).unwrap_or_default();
    format!("<CompleteMultipartUploadResult><ETag>\"e-2\"</ETag>{crc}</CompleteMultipartUploadResult>")
}
