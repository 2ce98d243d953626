//! Parser for the shared config and credentials files. It follows botocore: Python's `configparser.RawConfigParser` with
//! its defaults.
//!
//! A line that starts with `#` or `;` is a comment; a value is never followed by one. A line that is indented more than
//! the name above it continues that name's value. Names are converted to lower case. `[DEFAULT]` has the defaults for
//! all other sections. A duplicate name in a section is an error, and so is a duplicate section. Indented lines after a
//! name without a value are a nested section (for example S3's own settings), which is ignored.

use zeroize::Zeroizing;

/// A section with its values.
pub(super) struct Section {
    pub(super) name: String,
    pub(super) values: Values,
}

/// Values by name, in the order of the file.
pub(super) type Values = Vec<(String, Zeroizing<String>)>;

/// A syntax error and its line number. The line itself is not shown, since it may contain a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) why: String,
}

/// The section with the defaults for all others.
const DEFAULTS: &str = "DEFAULT";

/// A value that the next line may continue.
struct Open {
    name: String,
    value: Zeroizing<String>,
}

/// Parses a file.
pub(super) fn parse(text: &str) -> Result<Vec<Section>, Fault> {
    let mut sections: Vec<Section> = Vec::new();
    let mut open: Option<Open> = None;
    let mut indent = 0;
    for (n, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let fault = |why: String| Fault { line: n + 1, why };
        let content = line.trim();
        if content.starts_with(['#', ';']) {
            continue;
        }
        if content.is_empty() {
            if let Some(open) = &mut open {
                open.value.push('\n');
            }
            continue;
        }
        let indented = line.chars().take_while(|c| c.is_whitespace()).count();
        if let Some(open) = &mut open
            && indented > indent
        {
            open.value.push('\n');
            open.value.push_str(content);
            continue;
        }
        indent = indented;
        close(&mut sections, open.take());
        if let Some(name) = header(content) {
            match sections.iter().position(|section| section.name == name) {
                Some(defaults) if name == DEFAULTS => {
                    let defaults = sections.remove(defaults);
                    sections.push(defaults);
                }
                Some(_) => return Err(fault(format!("the section [{name}] is a duplicate"))),
                None => sections.push(Section { name: name.to_owned(), values: Vec::new() }),
            }
            continue;
        }
        let Some(section) = sections.last() else {
            return Err(fault("there is text before the first [section]".to_owned()));
        };
        let (name, value) = match content.split_once(['=', ':']) {
            Some((name, value)) if !name.trim().is_empty() => (name.trim().to_lowercase(), value.trim()),
            _ => return Err(fault("it is neither a [section] nor name = value".to_owned())),
        };
        if get(&section.values, &name).is_some() {
            return Err(fault(format!("{name} is a duplicate in [{}]", section.name)));
        }
        open = Some(Open { name, value: Zeroizing::new(value.to_owned()) });
    }
    close(&mut sections, open);
    Ok(finish(sections))
}

/// The name in `[name]`. What follows the last `]` is ignored.
fn header(content: &str) -> Option<&str> {
    let inside = content.strip_prefix('[')?;
    inside.rfind(']').map(|end| &inside[..end]).filter(|name| !name.is_empty())
}

fn close(sections: &mut [Section], open: Option<Open>) {
    if let (Some(section), Some(open)) = (sections.last_mut(), open) {
        section.values.push((open.name, Zeroizing::new(open.value.trim_end().to_owned())));
    }
}

/// Adds the defaults to each section, and removes nested sections.
fn finish(mut sections: Vec<Section>) -> Vec<Section> {
    let defaults = match sections.iter().position(|section| section.name == DEFAULTS) {
        Some(at) => sections.remove(at).values,
        None => Vec::new(),
    };
    for section in &mut sections {
        for (name, value) in &defaults {
            if get(&section.values, name).is_none() {
                section.values.push((name.clone(), value.clone()));
            }
        }
        section.values.retain(|(_, value)| !value.starts_with('\n'));
    }
    sections
}

/// The value of a name.
pub(super) fn get<'a>(values: &'a Values, name: &str) -> Option<&'a str> {
    values.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The same cases are read by botocore in `core/tests/botocore_credentials.py`.
    #[test]
    fn files_are_parsed_as_botocore_parses_them() {
        let cases: serde_json::Value = serde_json::from_str(include_str!("testdata/ini.json")).unwrap();
        let cases = cases.as_array().unwrap();
        assert!(cases.len() > 40);
        for case in cases {
            let about = case["about"].as_str().unwrap();
            match parse(case["text"].as_str().unwrap()) {
                Err(fault) => assert_eq!(case["fault_line"], fault.line, "{about}: {}", fault.why),
                Ok(sections) => {
                    let mut read = serde_json::Map::new();
                    for Section { name, values } in sections {
                        read.insert(name, values.iter().map(|(name, value)| (name.clone(), value.as_str())).collect());
                    }
                    assert_eq!(case["sections"], serde_json::Value::Object(read), "{about}");
                }
            }
        }
    }

    #[test]
    fn a_syntax_error_names_its_line_but_does_not_show_it() {
        let secret = "[a]\nb = c\nhush-hush\n";
        assert_eq!(
            parse(secret).err().unwrap(),
            Fault { line: 3, why: "it is neither a [section] nor name = value".into() }
        );
        let twice = "[a]\nkey = hush\nKEY: hush\n";
        assert_eq!(parse(twice).err().unwrap(), Fault { line: 3, why: "key is a duplicate in [a]".into() });
    }
}
