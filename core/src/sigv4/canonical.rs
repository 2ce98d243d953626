//! The canonical request: what client and store must write down alike.

use super::header::ToSign;

/// The canonical request, and the names of the signed headers.
///
/// `headers` are sorted by name; their values are trimmed and runs of spaces in them become one.
pub(super) fn request(to_sign: &ToSign<'_>, headers: &[(&str, &str)], payload: &str) -> (String, String) {
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut text = String::with_capacity(512);
    text.push_str(to_sign.method.as_str());
    for line in ["\n", to_sign.path, "\n", to_sign.query, "\n"] {
        text.push_str(line);
    }
    for (name, value) in headers {
        text.push_str(name);
        text.push(':');
        push_trimmed(&mut text, value);
        text.push('\n');
    }
    for line in ["\n", &names, "\n", payload] {
        text.push_str(line);
    }
    (text, names)
}

fn push_trimmed(text: &mut String, value: &str) {
    for (n, word) in value.split(' ').filter(|word| !word.is_empty()).enumerate() {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(word);
    }
}
