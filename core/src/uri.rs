//! Percent-encoding as SigV4 wants it: S3 encodes a key once and never normalises it.
//!
//! Source: "Create a signed AWS API request", UriEncode(), in the IAM user guide.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Bytes that stand for themselves (RFC 3986 §2.3).
pub(crate) const UNRESERVED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

/// A byte that does not stand for itself, in ASCII.
pub(crate) fn escape(byte: u8) -> [u8; 3] {
    [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// Appends `text`, encoded: all but `A-Za-z0-9-._~`, and `/` where `keep_slash`.
pub fn encode_into(out: &mut String, text: &str, keep_slash: bool) {
    for byte in text.bytes() {
        if UNRESERVED[usize::from(byte)] || keep_slash && byte == b'/' {
            out.push(byte as char);
        } else {
            out.extend(escape(byte).map(char::from));
        }
    }
}

/// A key in a path.
pub fn encode_path(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + key.len() / 4);
    encode_into(&mut out, key, true);
    out
}

/// Query parameters as they are sent and signed: each encoded, then sorted. One without a value gets `=`.
pub fn encode_query<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<(String, String)> = parameters
        .into_iter()
        .map(|(name, value)| {
            let (mut n, mut v) = (String::new(), String::new());
            encode_into(&mut n, name, false);
            encode_into(&mut v, value, false);
            (n, v)
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Text of `encoding-type=url` in a listing's reply; `None` where it is not that. `+` is a space there.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    decode_into(&mut bytes, text)?;
    String::from_utf8(bytes).ok()
}

/// Appends what `text` is the encoding of, bytes of any kind.
pub(crate) fn decode_into(out: &mut Vec<u8>, text: &str) -> Option<()> {
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let mut byte = [0];
                hex::decode_to_slice(rest.get(..2)?, &mut byte).ok()?;
                out.extend_from_slice(&byte);
                rest = &rest[2..];
            }
            b'+' => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_byte_is_encoded_once() {
        assert_eq!(encode_path("/a//b c+%2F~ü\u{1}"), "/a//b%20c%2B%252F~%C3%BC%01");
        assert_eq!(
            encode_query([("b", "2"), ("a/", "x y"), ("b", "1"), ("uploads", "")]),
            "a%2F=x%20y&b=1&b=2&uploads="
        );
    }

    #[test]
    fn what_is_encoded_decodes() {
        let all: String = (1..=0x2ff).filter_map(char::from_u32).collect();
        assert_eq!(decode(&encode_path(&all)).as_deref(), Some(all.as_str()));
        assert_eq!(decode("a+b%20c").as_deref(), Some("a b c"));
        for bad in ["%", "%4", "%GG", "%FF"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
