//! The canonical request, which the client and the store must compute identically.
//!
//! A path and a query are given as they are sent. If one is canonical already, it is copied; otherwise it is decoded and
//! encoded again, like in stores that see only the decoded form. `headers` writes the headers.

use crate::uri::{UNRESERVED, escape};

/// The rule for paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The rule of S3: encoded once, not normalised.
    S3,
    /// The rule of all other services: normalised by RFC 3986 §5.2.4, and the sent path is encoded once more.
    General,
}

impl Rule {
    /// The rule of the service with this name in the scope.
    pub(super) fn of(service: &str) -> Rule {
        // s3, s3express, s3-outposts, s3-object-lambda
        if service.starts_with("s3") { Rule::S3 } else { Rule::General }
    }
}

/// A hash or signature in lower-case hex. It is computed by arithmetic, so that the compiler vectorizes it: the next hash
/// waits for it.
pub(super) fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    let digit = |nibble: u8| nibble + b'0' + if nibble > 9 { b'a' - b'0' - 10 } else { 0 };
    let mut text = [0; 64];
    for n in 0..32 {
        text[2 * n] = digit(bytes[n] >> 4);
        text[2 * n + 1] = digit(bytes[n] & 15);
    }
    text
}

/// Appends a hash or signature in lower-case hex.
pub(super) fn push_hex(text: &mut String, bytes: &[u8; 32]) {
    // Hex digits are UTF-8.
    text.push_str(str::from_utf8(&hex(bytes)).unwrap_or_default());
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|d| d as u8)
}

/// The byte that the escape at the start of `bytes` represents.
fn unescape(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'%', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

fn push_encoded(text: &mut Vec<u8>, byte: u8) {
    if UNRESERVED[usize::from(byte)] {
        text.push(byte);
    } else {
        text.extend_from_slice(&escape(byte));
    }
}

/// Appends `raw` and encodes everything except unreserved characters.
fn push_escaped(text: &mut Vec<u8>, raw: &str) {
    raw.bytes().for_each(|byte| push_encoded(text, byte));
}

/// Appends `sent`, with each escape decoded and encoded again. `slash`: `/` is not encoded. `plus`: `+` is a space.
fn push_again(text: &mut Vec<u8>, sent: &str, slash: bool, plus: bool) {
    let mut rest = sent.as_bytes();
    while let [first, tail @ ..] = rest {
        let byte = match unescape(rest) {
            Some(byte) => {
                rest = &rest[3..];
                byte
            }
            None => {
                rest = tail;
                if plus && *first == b'+' { b' ' } else { *first }
            }
        };
        if slash && byte == b'/' { text.push(b'/') } else { push_encoded(text, byte) }
    }
}

/// Whether all bytes are unreserved or one of `more`. It checks sixteen bytes at a time, without branches.
fn is_plain(bytes: &[u8], more: [u8; 2]) -> bool {
    let plain = |byte: u8| {
        ((byte | 32).wrapping_sub(b'a') < 26)
            | (byte.wrapping_sub(b'-') < 2)
            | (byte.wrapping_sub(b'0') < 10)
            | (byte == b'_')
            | (byte == b'~')
            | (byte == more[0])
            | (byte == more[1])
    };
    let all = |bytes: &[u8; 16]| bytes.iter().fold(true, |all, byte| all & plain(*byte));
    let (chunks, tail) = bytes.as_chunks();
    // The last sixteen bytes; some of them are checked twice.
    let tail_is = || bytes.last_chunk().map_or_else(|| tail.iter().all(|byte| plain(*byte)), all);
    chunks.iter().all(all) && (tail.is_empty() || tail_is())
}

/// Whether a text is encoded canonically: unreserved bytes, bytes of `more`, and upper-case escapes of all others.
fn is_encoded(bytes: &[u8], more: [u8; 2]) -> bool {
    if is_plain(bytes, more) {
        return true;
    }
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = match unescape(rest) {
            Some(byte) if !UNRESERVED[usize::from(byte)] && !rest[1..3].iter().any(u8::is_ascii_lowercase) => {
                &rest[3..]
            }
            None if is_plain(&[*first], more) => tail,
            _ => return false,
        };
    }
    true
}

/// Appends the canonical form of a path.
pub(super) fn push_path(text: &mut Vec<u8>, sent: &str, rule: Rule) {
    let start = text.len();
    match rule {
        Rule::S3 => {
            // An escaped slash is a slash: stores verify the decoded path.
            let bytes = sent.as_bytes();
            if is_plain(bytes, [b'/'; 2]) || is_encoded(bytes, [b'/'; 2]) && !sent.contains("%2F") {
                text.extend_from_slice(sent.as_bytes());
            } else {
                push_again(text, sent, true, false);
            }
        }
        Rule::General => {
            let mut segments: Vec<&str> = Vec::new();
            for segment in sent.split('/') {
                match segment {
                    "" | "." => {}
                    ".." => drop(segments.pop()),
                    other => segments.push(other),
                }
            }
            for segment in &segments {
                text.push(b'/');
                push_escaped(text, segment);
            }
            if !segments.is_empty() && (sent.ends_with('/') || sent.ends_with("/.") || sent.ends_with("/..")) {
                text.push(b'/');
            }
        }
    }
    if text.len() == start {
        text.push(b'/');
    }
}

/// Buffers for the canonical form of a query, which are reused.
#[derive(Clone, Default)]
pub(super) struct Query {
    encoded: Vec<u8>,
    /// Start of the name, its end, and the end of the value, in `encoded`.
    spans: Vec<[usize; 3]>,
}

impl Query {
    /// Appends the canonical form of a query that is given as it is sent, and of `more`, names and values that are not
    /// encoded yet.
    pub(super) fn push(&mut self, text: &mut Vec<u8>, sent: &str, more: &[(&str, &str)]) {
        if more.is_empty() && is_canonical(sent) {
            return text.extend_from_slice(sent.as_bytes());
        }
        self.encoded.clear();
        self.spans.clear();
        for parameter in sent.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let start = self.encoded.len();
            push_again(&mut self.encoded, name, false, true);
            let middle = self.encoded.len();
            push_again(&mut self.encoded, value, false, true);
            self.spans.push([start, middle, self.encoded.len()]);
        }
        for (name, value) in more {
            let start = self.encoded.len();
            push_escaped(&mut self.encoded, name);
            let middle = self.encoded.len();
            push_escaped(&mut self.encoded, value);
            self.spans.push([start, middle, self.encoded.len()]);
        }
        let encoded = self.encoded.as_slice();
        let pair = |&[start, middle, end]: &[usize; 3]| (&encoded[start..middle], &encoded[middle..end]);
        self.spans.sort_unstable_by(|a, b| pair(a).cmp(&pair(b)));
        for (n, span) in self.spans.iter().enumerate() {
            if n > 0 {
                text.push(b'&');
            }
            let (name, value) = pair(span);
            text.extend_from_slice(name);
            text.push(b'=');
            text.extend_from_slice(value);
        }
    }
}

/// Whether a query is canonical: encoded, with every `=`, and sorted.
fn is_canonical(query: &str) -> bool {
    let mut last: Option<(&[u8], &[u8])> = None;
    let mut rest = query.as_bytes();
    if !is_encoded(rest, [b'=', b'&']) {
        return false;
    }
    let cut = |bytes: &[u8]| bytes.iter().position(|byte| matches!(byte, b'=' | b'&'));
    while !rest.is_empty() {
        let Some(equals) = cut(rest).filter(|at| rest[*at] == b'=') else { return false };
        let (name, after) = (&rest[..equals], &rest[equals + 1..]);
        let end = cut(after).unwrap_or(after.len());
        let value = &after[..end];
        // A second `=`, or a `&` with nothing after it.
        if after.get(end) == Some(&b'=') || end + 1 == after.len() || last.is_some_and(|last| last > (name, value)) {
            return false;
        }
        last = Some((name, value));
        rest = after.get(end + 1..).unwrap_or_default();
    }
    true
}

/// Whether a byte is ASCII white space.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn path(sent: &str, rule: Rule) -> String {
        let mut text = Vec::new();
        push_path(&mut text, sent, rule);
        String::from_utf8(text).unwrap()
    }

    fn query(sent: &str) -> String {
        let mut text = Vec::new();
        Query::default().push(&mut text, sent, &[]);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn s3_keeps_a_path_and_encodes_each_byte_once() {
        for (sent, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("//a//b/./../c", "//a//b/./../c"),
            ("/a%20b", "/a%20b"),
            ("/a b+c", "/a%20b%2Bc"),
            ("/%e1%88%b4", "/%E1%88%B4"),
            ("/ሴ", "/%E1%88%B4"),
            ("/%41%2fb", "/A/b"),
            ("/a%2Fb", "/a/b"),
            ("/100%", "/100%25"),
            ("/%zz%4", "/%25zz%254"),
            ("/%2520", "/%2520"),
        ] {
            assert_eq!(path(sent, Rule::S3), canonical, "{sent}");
        }
    }

    #[test]
    fn other_services_normalise_a_path_and_encode_what_was_sent() {
        for (sent, canonical) in [
            ("", "/"),
            ("//", "/"),
            ("/./", "/"),
            ("/example/..", "/"),
            ("/a/../../..", "/"),
            ("//example//", "/example/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/a b", "/a%20b"),
            ("/a%20b", "/a%2520b"),
            ("/ሴ", "/%E1%88%B4"),
        ] {
            assert_eq!(path(sent, Rule::General), canonical, "{sent}");
        }
    }

    #[test]
    fn a_query_is_sorted_by_encoded_names_then_values() {
        for (sent, canonical) in [
            ("", ""),
            ("a", "a="),
            ("b=2&a=1", "a=1&b=2"),
            ("a-b=1&a=1", "a=1&a-b=1"),
            ("a=%7E&a=Z&a=", "a=&a=Z&a=~"),
            ("a=b=c", "a=b%3Dc"),
            ("a=x%2fy+z/", "a=x%2Fy%20z%2F"),
            ("&a=1&&b=2&", "a=1&b=2"),
            ("=v", "=v"),
            ("%C3%BC=1&z=2", "%C3%BC=1&z=2"),
            ("z=2&ü=1", "%C3%BC=1&z=2"),
        ] {
            assert_eq!(query(sent), canonical, "{sent}");
            assert_eq!(query(canonical), canonical, "a canonical query does not change");
        }
    }

    #[test]
    fn hex_digits_are_those_of_the_crate_hex() {
        let bytes: [u8; 32] = std::array::from_fn(|n| (n * 9 + 3) as u8);
        assert_eq!(hex(&bytes).as_slice(), hex::encode(bytes).as_bytes());
    }

    #[cfg(not(target_family = "wasm"))]
    proptest::proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point(sent in "[ -~ü%&=/+.]{0,40}") {
            let once = path(&sent, Rule::S3);
            proptest::prop_assert_eq!(&path(&once, Rule::S3), &once);
            let once = query(&sent);
            proptest::prop_assert!(is_canonical(&once), "{}", once);
            proptest::prop_assert_eq!(&query(&once), &once);
        }
    }
}
