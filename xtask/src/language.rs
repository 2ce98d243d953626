//! Looks for the words that CONTRIBUTING's glossary replaces, in what users read: messages, documentation, help.
//!
//! The glossary is the table below "## Words". Its left column names the phrases to look for in `code`; other text in it is
//! for people. A phrase matches whole words, in any case, also across a line break.

use std::fs;
use std::process::Command;

use crate::rust::{self, Kind};
use crate::{Result, root};

const GLOSSARY: &str = "CONTRIBUTING.md";
const HEADING: &str = "\n## Words\n";

/// A phrase that is not to be used.
#[derive(Debug, PartialEq, Eq)]
struct Phrase {
    words: Vec<String>,
    instead: String,
}

/// A word of a text, and the characters between it and the word before it.
struct Word<'a> {
    text: String,
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
    for (path, source) in [rust::sources("core/src")?, rust::sources("ffi/src")?].concat() {
        for piece in rust::pieces(&source).filter(|piece| piece.kind == Kind::Text) {
            let uses = uses(piece.text, piece.line, &phrases);
            found.extend(uses.into_iter().map(|(line, what)| format!("{path}:{line}: {what}")));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    for place in &found {
        eprintln!("{place}");
    }
    Err(format!("{} places use words that the glossary of {GLOSSARY} replaces", found.len()).into())
}

/// The files that users read as a whole: documentation, the header, and the sources of Python, Java and the page, whose
/// comments are read as documentation too.
fn documents() -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output()?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let paths = String::from_utf8(output.stdout)?;
    let read = |path: &&str| {
        let source = |folder: &str, endings: &[&str]| {
            path.starts_with(folder) && endings.iter().any(|ending| path.ends_with(ending))
        };
        path.ends_with(".md")
            || *path == "include/s3vault.h"
            || source("bindings/python/src/", &[".py"])
            || source("bindings/java/src/main/", &[".java"])
            || source("bindings/web/src/", &[".js", ".ts", ".html"])
    };
    Ok(paths.split('\0').filter(read).map(str::to_owned).collect())
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
        let quoted = not.split('`').skip(1).step_by(2);
        phrases.extend(quoted.map(|phrase| Phrase {
            words: phrase.split(' ').map(str::to_lowercase).collect(),
            instead: instead.to_owned(),
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
        for phrase in phrases {
            let rest = &words[at..];
            if rest.len() >= phrase.words.len()
                && rest.iter().zip(&phrase.words).all(|(word, wanted)| word.text == *wanted)
                && rest[1..phrase.words.len()].iter().all(|word| continues(word.gap))
            {
                found.push((word.line, format!("\"{}\": write {}", phrase.words.join(" "), phrase.instead)));
            }
        }
    }
    found
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
        words.push(Word { text: text[start..end].to_lowercase(), gap, line });
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn phrases() -> Vec<Phrase> {
        glossary("# C\n## Words\n| not | but |\n|---|---|\n| `goes on`, begin (noun), `anew` | resumes |\n\n## More\n| `a` |\n")
            .unwrap()
    }

    #[test]
    fn the_phrases_in_code_are_those_of_the_left_column() {
        let phrases = phrases();
        assert_eq!(phrases.len(), 2);
        assert_eq!(phrases[0], Phrase { words: vec!["goes".into(), "on".into()], instead: "resumes".into() });
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
    fn the_glossary_itself_is_not_checked_and_lines_keep_their_numbers() {
        let text = "a\n\n## Words\n| `anew` |\n\n## More\nanew\n";
        assert_eq!(uses(&without_glossary(text), 1, &phrases()), [(7, "\"anew\": write resumes".to_owned())]);
    }
}
