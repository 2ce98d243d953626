//! Text that others wrote, made presentable: what a store, a proxy or an endpoint says is shown in messages, hints and
//! events, and must neither control a terminal, nor forge a line of a log, nor fill it.

use std::fmt;

/// Maximum length of a foreign text in a message, in characters.
pub const FOREIGN_LIMIT: usize = 200;

/// Maximum length of a key, in characters: that of S3, in bytes.
const KEY_LIMIT: usize = 1_024;

/// Maximum length of a message or a hint, in characters: a message has several names and texts.
pub const MESSAGE_LIMIT: usize = 8_000;

/// A foreign text, for a message: on one line, without characters that change how other text is shown, and of at most
/// [`FOREIGN_LIMIT`] characters. What is longer ends with an ellipsis and the length of the whole.
pub fn presentable(text: impl fmt::Display) -> String {
    bounded(&text.to_string(), FOREIGN_LIMIT)
}

/// A whole message or hint, in the same form, of at most [`MESSAGE_LIMIT`] characters. Names that the caller gave are
/// much shorter than this.
pub fn line(text: String) -> String {
    // An UTF-8 text has no more characters than bytes.
    if text.len() <= MESSAGE_LIMIT && !text.chars().any(is_unsafe) { text } else { bounded(&text, MESSAGE_LIMIT) }
}

/// [`presentable`] with another limit, in characters.
pub fn presentable_up_to(limit: usize, text: impl fmt::Display) -> String {
    bounded(&text.to_string(), limit)
}

/// A key or an id that the store named: whole, if it is one that S3 allows.
pub fn presentable_key(text: impl fmt::Display) -> String {
    bounded(&text.to_string(), KEY_LIMIT)
}

fn bounded(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    let mut length = 0;
    for c in text.chars() {
        let is_unsafe = is_unsafe(c);
        length += if is_unsafe { c.escape_default().count() } else { 1 };
        if length > limit {
            out.push_str(&format!("… ({} bytes)", text.len()));
            break;
        }
        if is_unsafe { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Whether a character changes how other text is shown: control characters (escape sequences start with one), line and
/// paragraph separators, marks that change the direction of the text (bidi), and characters that are invisible. The
/// two joiners U+200C and U+200D are left, since words and emoji contain them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_controls_a_terminal_or_a_log_is_escaped_and_the_rest_stays() {
        assert_eq!(
            presentable("a\x1b[31m\r\nb\u{202e}c\u{2028}\u{9b}"),
            "a\\u{1b}[31m\\r\\nb\\u{202e}c\\u{2028}\\u{9b}"
        );
        for same in ["größe/x y", "'a' \\ \"b\"", "👩\u{200d}💻", "𝄞", ""] {
            assert_eq!((presentable(same), line(same.into())), (same.to_owned(), same.to_owned()));
        }
        assert_eq!(presentable(presentable("\n")), presentable("\n"), "once is enough");
    }

    #[test]
    fn a_long_text_ends_with_its_length() {
        let long = presentable("ä".repeat(1 << 20));
        assert_eq!(long, format!("{}… (2097152 bytes)", "ä".repeat(FOREIGN_LIMIT)));
        assert_eq!(presentable("x".repeat(FOREIGN_LIMIT)), "x".repeat(FOREIGN_LIMIT));
        assert!(presentable("\x1b".repeat(1 << 20)).chars().count() < FOREIGN_LIMIT + 30);
        assert!(line("x".repeat(1 << 20)).chars().count() < MESSAGE_LIMIT + 30);
    }
}
