//! Percent-encoding as SigV4 requires it: a key is encoded once, and its path is never normalised.
//!
//! Source: "Create a signed AWS API request", UriEncode(), in the IAM user guide.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The bytes that are not encoded: the unreserved characters (RFC 3986 §2.3).
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

/// The encoded form of a byte.
pub(crate) fn escape(byte: u8) -> [u8; 3] {
    [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// Appends `text` and encodes all bytes except `A-Za-z0-9-._~`, and `/` if `keep_slash`.
pub fn encode_into(out: &mut String, text: &str, keep_slash: bool) {
    for byte in text.bytes() {
        if UNRESERVED[usize::from(byte)] || keep_slash && byte == b'/' {
            out.push(byte as char);
        } else {
            out.extend(escape(byte).map(char::from));
        }
    }
}

/// Encodes an object key for a URL's path.
pub fn encode_path(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + key.len() / 4);
    encode_into(&mut out, key, true);
    out
}

/// Encodes query parameters as they are sent and signed: each is encoded, then they are sorted. A parameter without a
/// value ends with `=`.
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

/// Decodes text of a listing with `encoding-type=url`, in which `+` is a space. `None` if the text is malformed.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    decode_into(&mut bytes, text)?;
    String::from_utf8(bytes).ok()
}

/// Decodes `text` and appends the bytes, which need not be UTF-8.
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
    fn decode_reverses_encode_path() {
        let all: String = (1..=0x2ff).filter_map(char::from_u32).collect();
        assert_eq!(decode(&encode_path(&all)).as_deref(), Some(all.as_str()));
        assert_eq!(decode("a+b%20c").as_deref(), Some("a b c"));
        for bad in ["%", "%4", "%GG", "%FF"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
