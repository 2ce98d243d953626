//! Rust sources as the checks read them: without tests, and code apart from comments and text.

use std::path::Path;
use std::{fs, iter};

use crate::{Result, root};

/// A stretch of a source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// The line that it starts on, from 1.
    pub(crate) line: usize,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Code,
    Comment,
    /// The content of a string literal.
    Text,
}

/// The Rust files below a folder of the workspace, without tests: path and content, sorted by path.
pub(crate) fn sources(folder: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("test") {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") {
                found.push((relative(&path), without_tests(&fs::read_to_string(&path)?)));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// The source with empty lines in place of its test modules.
fn without_tests(source: &str) -> String {
    let mut lines: Vec<&str> = source.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].starts_with("#[cfg(") && lines[at].contains("test") {
            let module = (at..lines.len()).find(|n| !lines[*n].starts_with("#["));
            let inline = module.is_some_and(|n| lines[n].starts_with("mod ") && lines[n].ends_with('{'));
            let end = if inline { (at..lines.len()).find(|n| lines[*n] == "}") } else { module };
            let end = end.unwrap_or(lines.len() - 1);
            lines[at..=end].fill("");
            at = end;
        }
        at += 1;
    }
    lines.join("\n") + "\n"
}

/// The pieces of a source, in order.
pub(crate) fn pieces(source: &str) -> impl Iterator<Item = Piece<'_>> {
    let (mut rest, mut line) = (source, 1);
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (kind, text, length) = first(rest);
        let piece = Piece { kind, text, line };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
        Some(piece)
    })
}

/// The piece at the start of a source: its kind, its text, and the bytes that it takes.
fn first(source: &str) -> (Kind, &str, usize) {
    let to = |end: Option<usize>| end.unwrap_or(source.len());
    if source.starts_with("//") {
        let end = to(source.find('\n'));
        return (Kind::Comment, &source[..end], end);
    }
    if source.starts_with("/*") {
        let end = to(source.find("*/").map(|at| at + 2));
        return (Kind::Comment, &source[..end], end);
    }
    if let Some((text, length)) = string(source) {
        return (Kind::Text, text, length);
    }
    let mut end = token(source);
    while end < source.len() {
        let rest = &source[end..];
        if rest.starts_with("//") || rest.starts_with("/*") || string(rest).is_some() {
            break;
        }
        end += token(rest);
    }
    (Kind::Code, &source[..end], end)
}

/// The length of the token that code starts with: a name, the character `'"'`, or one byte or character of anything else.
fn token(code: &str) -> usize {
    if let Some(character) = ["'\"'", "'\\\"'"].iter().find(|character| code.starts_with(**character)) {
        return character.len();
    }
    let name = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    name.max(code.chars().next().map_or(0, char::len_utf8))
}

/// The content and the whole length of the string literal that a source starts with.
fn string(source: &str) -> Option<(&str, usize)> {
    let body = source.trim_start_matches(['b', 'c']);
    if source.len() - body.len() > 1 {
        return None;
    }
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let content = raw[hashes..].strip_prefix('"')?;
        let end = content.find(&format!("\"{}", "#".repeat(hashes)))?;
        let length = source.len() - content.len() + end + 1 + hashes;
        return Some((&content[..end], length));
    }
    let content = body.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in content.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((&content[..at], source.len() - content.len() + at + 1)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_code_and_comments() {
        let source =
            "let a = \"x \\\" y\"; // \"no\"\nlet b = (b\"z\", '\"', r#\"q \" q\"#, for_r);\n/* \"no\" */ f(\"end\")";
        let texts: Vec<_> =
            pieces(source).filter(|p| p.kind == Kind::Text).map(|piece| (piece.text, piece.line)).collect();
        assert_eq!(texts, [("x \\\" y", 1), ("z", 2), ("q \" q", 2), ("end", 3)]);
        let code: String = pieces(source).filter(|p| p.kind == Kind::Code).map(|p| p.text).collect();
        assert!(code.contains("for_r") && !code.contains("no"), "{code}");
    }

    #[test]
    fn test_modules_are_left_out_and_lines_keep_their_numbers() {
        let source = "a\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    b\n}\n#[cfg(test)]\nmod other;\nc\n";
        assert_eq!(without_tests(source), "a\n\n\n\n\n\n\n\nc\n");
    }
}
