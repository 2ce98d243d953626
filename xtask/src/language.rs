//! Looks for the words that CONTRIBUTING's glossary replaces: in messages, documentation and help, in comments, and in the
//! names of Rust's code.
//!
//! The glossary is the table below "## Words". Its left column names the phrases to look for in `code`; other text in it is
//! for people. A phrase matches whole words, in any case, also across a line break. In a name, `_` and capitals separate
//! words; a phrase that is followed by "(name)" is looked for in names only.

use std::fs;
use std::process::Command;

use crate::rust::{self, Kind};
use crate::{Result, root};

const GLOSSARY: &str = "CONTRIBUTING.md";
/// This file, whose tests use the phrases.
const OWN: &str = "xtask/src/language.rs";
const HEADING: &str = "\n## Words\n";

/// A phrase that is not to be used.
#[derive(Debug, PartialEq, Eq)]
struct Phrase {
    words: Vec<String>,
    instead: String,
    /// Only names may not contain it.
    names_only: bool,
}

/// A word of a text, and the characters between it and the word before it.
struct Word<'a> {
    text: String,
    original: &'a str,
    gap: &'a str,
    line: usize,
}

/// Fails where a phrase of the glossary is used, and prints each place.
pub(crate) fn check() -> Result<()> {
    let contributing = fs::read_to_string(root().join(GLOSSARY))?;
    let phrases = glossary(&contributing)?;
    let mut found = Vec::new();
    for path in documents()? {
        let text = fs::read_to_string(root().join(&path)).map_err(|e| format!("{path}: {e}"))?;
        let text = if path == GLOSSARY { without_glossary(&text) } else { text };
        found.extend(uses(&text, 1, &phrases).into_iter().map(|(line, what)| format!("{path}:{line}: {what}")));
    }
    for path in tracked(|path| path.ends_with(".rs") && path != OWN)? {
        let source = fs::read_to_string(root().join(&path)).map_err(|e| format!("{path}: {e}"))?;
        found.extend(uses_in_rust(&source, &phrases).into_iter().map(|(line, what)| format!("{path}:{line}: {what}")));
    }
    if found.is_empty() {
        return Ok(());
    }
    for place in &found {
        eprintln!("{place}");
    }
    Err(format!("{} places use words that the glossary of {GLOSSARY} replaces", found.len()).into())
}

/// The files that are read as a whole: documentation, the header, and sources of other languages, with their comments.
fn documents() -> Result<Vec<String>> {
    let endings = [".md", ".py", ".java", ".c", ".h", ".js", ".ts", ".html", ".sh", ".go", "Makefile", ".toml", ".yml"];
    tracked(|path| endings.iter().any(|ending| path.ends_with(ending)))
}

/// The files of the repository with such a path.
fn tracked(wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output()?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let paths = String::from_utf8(output.stdout)?;
    let exists = |path: &&str| root().join(path).is_file();
    Ok(paths.split('\0').filter(|path| wanted(path)).filter(exists).map(str::to_owned).collect())
}

/// Each use of a phrase in a Rust source: in its text, its comments and its names.
fn uses_in_rust(source: &str, phrases: &[Phrase]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Comments on consecutive lines are one text.
    let (mut comment, mut first) = (String::new(), 0);
    for piece in rust::pieces(source) {
        let ends_comment = piece.kind == Kind::Text || piece.kind == Kind::Code && !piece.text.trim().is_empty();
        if ends_comment {
            found.extend(uses(&std::mem::take(&mut comment), first, phrases));
        }
        match piece.kind {
            Kind::Text => found.extend(uses(piece.text, piece.line, phrases)),
            Kind::Code if ends_comment => found.extend(uses_in_names(piece.text, piece.line, phrases)),
            Kind::Comment if comment.is_empty() => (comment, first) = (piece.text.to_owned(), piece.line),
            Kind::Code if comment.is_empty() => {}
            Kind::Code | Kind::Comment => comment += piece.text,
        }
    }
    found.extend(uses(&comment, first, phrases));
    found
}

/// Each use of a phrase in the names of a piece of code.
fn uses_in_names(code: &str, first: usize, phrases: &[Phrase]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // The methods of `Option` are the standard library's.
    for name in words(code, first).iter().filter(|name| !matches!(name.original, "is_none" | "is_none_or")) {
        let parts = parts(name.original);
        for phrase in phrases {
            if parts.windows(phrase.words.len()).any(|window| window == phrase.words) {
                found.push((name.line, format!("the name {}: write {}", name.original, phrase.instead)));
            }
        }
    }
    found
}

/// The words of a name, in lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if c == '_' || c.is_uppercase() && was_lower {
            parts.push(String::new());
        }
        if c != '_'
            && let Some(part) = parts.last_mut()
        {
            part.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The phrases of the glossary.
fn glossary(contributing: &str) -> Result<Vec<Phrase>> {
    let (_, section) = contributing.split_once(HEADING).ok_or_else(|| format!("{GLOSSARY} has no glossary"))?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut phrases = Vec::new();
    for row in section.lines().filter(|line| line.starts_with('|')) {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, not, instead, _] = columns[..] else {
            return Err(format!("{GLOSSARY}: not a row of two columns: {row}").into());
        };
        let pieces: Vec<&str> = not.split('`').collect();
        phrases.extend(pieces[1..].chunks(2).map(|pair| Phrase {
            words: pair[0].split(' ').map(str::to_lowercase).collect(),
            instead: instead.to_owned(),
            names_only: pair.get(1).is_some_and(|after| after.starts_with(" (name)")),
        }));
    }
    if phrases.is_empty() {
        Err(format!("the glossary of {GLOSSARY} has no phrase in `code`").into())
    } else {
        Ok(phrases)
    }
}

/// CONTRIBUTING with empty lines in place of its glossary.
fn without_glossary(contributing: &str) -> String {
    let Some((before, after)) = contributing.split_once(HEADING) else { return contributing.to_owned() };
    let end = after.find("\n## ").unwrap_or(after.len());
    let lines = HEADING.matches('\n').count() + after[..end].matches('\n').count();
    format!("{before}{}{}", "\n".repeat(lines), &after[end..])
}

/// Each use of a phrase: its line, and what to write instead. `first` is the number of the text's first line.
fn uses(text: &str, first: usize, phrases: &[Phrase]) -> Vec<(usize, String)> {
    let words = words(text, first);
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        for phrase in phrases.iter().filter(|phrase| !phrase.names_only) {
            let rest = &words[at..];
            if rest.len() >= phrase.words.len()
                && rest.iter().zip(&phrase.words).all(|(word, wanted)| word.text == *wanted)
                && !is_right(&words[..at], &rest[phrase.words.len() - 1])
                && rest[1..phrase.words.len()].iter().all(|word| continues(word.gap))
            {
                found.push((word.line, format!("\"{}\": write {}", phrase.words.join(" "), phrase.instead)));
            }
        }
    }
    found
}

/// Whether the last word of a phrase is a "none" that is right after the words before the phrase: "there is none", or the
/// value `None`.
fn is_right(before: &[Word<'_>], last: &Word<'_>) -> bool {
    let after_there = before.last().is_some_and(|word| word.text == "there");
    last.text == "none" && (last.original == "None" || after_there)
}

/// Whether words with this between them are in one phrase: spaces, and what starts a line of a comment or ends one of a
/// string.
fn continues(gap: &str) -> bool {
    gap.chars().all(|c| c.is_whitespace() || "*/#\\\"'".contains(c)) && !gap.contains("\n\n")
}

fn words(text: &str, first: usize) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let (mut end, mut line) = (0, first);
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    while let Some(start) = text[end..].find(is_word).map(|at| end + at) {
        let gap = &text[end..start];
        line += gap.matches('\n').count();
        end = text[start..].find(|c| !is_word(c)).map_or(text.len(), |at| start + at);
        let original = &text[start..end];
        words.push(Word { text: original.to_lowercase(), original, gap, line });
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn phrases() -> Vec<Phrase> {
        glossary("# C\n## Words\n| not | but |\n|---|---|\n| `goes on`, `begin` (name), `anew` | resumes |\n\n## More\n| `a` |\n")
            .unwrap()
    }

    #[test]
    fn the_phrases_in_code_are_those_of_the_left_column() {
        let phrases = phrases();
        assert_eq!(phrases.len(), 3);
        let words = vec!["goes".into(), "on".into()];
        assert_eq!(phrases[0], Phrase { words, instead: "resumes".into(), names_only: false });
        assert!(phrases[1].names_only);
    }

    #[test]
    fn a_phrase_is_found_in_any_case_and_across_lines() {
        let found = |text: &str| uses(text, 1, &phrases()).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        assert_eq!(found("It Goes on.\nand anew"), [1, 2]);
        assert_eq!(found("it goes\n * on"), [1]);
        assert_eq!(found("it goes,\n on; renewed; goes only; goes-on"), [0_usize; 0]);
        assert_eq!(uses("x anew", 7, &phrases()), [(7, "\"anew\": write resumes".to_owned())]);
    }

    #[test]
    fn comments_and_names_of_rust_are_read_and_its_other_code_is_not() {
        let found =
            |source: &str| uses_in_rust(source, &phrases()).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        assert_eq!(found("/// It goes\n    /// on.\nfn f() {} // anew\n"), [1, 3]);
        assert_eq!(found("fn a() {}\nlet goes_on = isAnew + GoesOn;\nlet begin = \"anew\";"), [2, 2, 2, 3, 3]);
        assert_eq!(found("// They begin here.\nfn renewed() { goes(on) }\n"), [0_usize; 0]);
    }

    #[test]
    fn none_is_a_predicate_only_without_there_and_in_lower_case() {
        let phrases = glossary("# C\n## Words\n| not | but |\n|---|---|\n| `is none` | is not a |\n").unwrap();
        let found = |text: &str| uses(text, 1, &phrases).len();
        assert_eq!([found("a page is none."), found("there is none"), found("if x is None:")], [1, 0, 0]);
    }

    #[test]
    fn the_glossary_itself_is_not_checked_and_lines_keep_their_numbers() {
        let text = "a\n\n## Words\n| `anew` |\n\n## More\nanew\n";
        assert_eq!(uses(&without_glossary(text), 1, &phrases()), [(7, "\"anew\": write resumes".to_owned())]);
    }
}
