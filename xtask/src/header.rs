//! `include/s3vault.h`: the interface's manual.
//!
//! cbindgen turns each file of ffi/src/abi into C; this puts the sections in the order in which they are read, with the
//! file's own introduction above, and the tables of core at the end.

use std::fmt::Write as _;
use std::fs;

use cbindgen::{Builder, Config, DocumentationStyle, ExportConfig, Language, Style};
use s3vault_core::error::{CODES, Family};
use s3vault_core::settings::{Kind, OPTIONS, OptionInfo, Scope};

use crate::{Result, root};

/// The files of ffi/src/abi that have a section, in the header's order: C wants a type before its use.
const SECTIONS: &[&str] = &[
    "error", "process", "bytes", "config", "cancel", "ctl", "keyring", "vault", "row", "version", "put", "get", "list",
    "manifest", "sign",
];

/// The header.
pub(crate) fn text() -> Result<String> {
    let mut header = include_str!("preamble.h").to_owned();
    for name in SECTIONS {
        let source = fs::read_to_string(root().join(format!("ffi/src/abi/{name}.rs")))?;
        header.push_str(&introduction(&source));
        header.push_str(&section(name)?);
    }
    header.push_str(&codes());
    header.push_str(&options());
    header.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* S3VAULT_H */\n");
    Ok(header)
}

/// What cbindgen makes of one file.
fn section(name: &str) -> Result<String> {
    let file = root().join(format!("ffi/src/abi/{name}.rs"));
    let config = Config {
        language: Language::C,
        style: Style::Both,
        no_includes: true,
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::Doxy,
        line_length: 110,
        tab_width: 4,
        // No function of their own files takes them, so cbindgen would leave them out.
        export: ExportConfig {
            include: ["s3v_event", "s3v_ctl", "s3v_row"].map(str::to_owned).to_vec(),
            ..ExportConfig::default()
        },
        ..Config::default()
    };
    let bindings = Builder::new().with_config(config).with_src(&file).generate().map_err(|e| format!("{name}: {e}"))?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(plain(&String::from_utf8(text)?))
}

/// Rust's customs as C's: a promise is a sentence, a short comment is one line, a type goes by its typedef.
fn plain(text: &str) -> String {
    let text = text
        .replace("typedef struct ", "typedef\0")
        .replace("struct s3v_", "s3v_")
        .replace("typedef\0", "typedef struct ");
    let mut plain = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "/**" {
            let indent = &line[..line.len() - 3];
            let comment: Vec<&str> = lines
                .by_ref()
                .map(str::trim)
                .take_while(|line| *line != "*/")
                .map(|line| line[1..].strip_prefix(' ').unwrap_or(""))
                .collect();
            plain.push_str(&doc_comment(indent, &comment));
        } else {
            let _ = writeln!(plain, "{line}");
        }
    }
    plain
}

fn doc_comment(indent: &str, lines: &[&str]) -> String {
    let mut text = match lines {
        [line] => return format!("{indent}/** {line} */\n"),
        _ => format!("{indent}/**\n"),
    };
    let promise = lines.iter().position(|line| *line == "# Safety").unwrap_or(lines.len());
    for line in &lines[..promise] {
        let _ = writeln!(text, "{}", format!("{indent} * {line}").trim_end());
    }
    if let Some(promised) = lines.get(promise + 1..) {
        for line in wrapped(&format!("Requires: {}", promised.join(" ")), 108) {
            let _ = writeln!(text, "{indent} * {line}");
        }
    }
    let _ = writeln!(text, "{indent} */");
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The `//!` lines of a file as a heading: the first is the title.
fn introduction(source: &str) -> String {
    let lines: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let (title, body) = lines.split_first().map_or(("", &[][..]), |(title, body)| (*title, body));
    heading(title, body)
}

fn heading(title: &str, body: &[&str]) -> String {
    let mut text = format!("\n\n/* {}\n * {title}\n", "-".repeat(100));
    for line in body {
        let _ = writeln!(text, "{}", format!(" * {line}").trim_end());
    }
    text.push_str(" */\n\n");
    text
}

fn codes() -> String {
    let mut text = heading(
        "Error codes",
        &["", "Numbers are never reused. Below each, what helps where the error itself does not know better."],
    );
    let mut family = None;
    for row in CODES {
        if family != Some(row.family) {
            family = Some(row.family);
            let _ = writeln!(
                text,
                "/* {} */\n",
                match row.family {
                    Family::Misuse => "Misuse: the caller asked for something that cannot be",
                    Family::Remote => "Remote: the store answered, and its answer, or what it holds, is the trouble",
                    Family::Transport => "Transport: no answer came, or none that is whole",
                    _ => "Local: this machine",
                }
            );
        }
        let _ = writeln!(text, "/**\n * {}", row.doc.trim());
        if !row.hint.is_empty() {
            let _ = writeln!(text, " * {}", row.hint);
        }
        let _ = writeln!(text, " */\n#define {} ({})\n", row.name, row.code as i32);
    }
    text
}

fn options() -> String {
    let mut text = heading(
        "Options",
        &["", "The keys of s3v_config_set, of a TOML file, and (after S3VAULT_, in upper case) of the environment."],
    );
    for (scope, title) in [
        (Scope::Vault, "For s3v_vault_open"),
        (Scope::Command, "Taken in a config, and not used by a vault: the command s3vault reads them, or s3v_sign"),
        (Scope::Process, "For s3v_process_set; taken in a config, and not used by a vault"),
        (Scope::Call, "For one call"),
    ] {
        let _ = writeln!(text, "/* {title} */\n");
        for row in OPTIONS.iter().filter(|row| row.scope == scope) {
            let _ = writeln!(text, "/**\n * {}\n * {}.\n */", row.doc, takes(row));
            let _ = writeln!(text, "#define S3V_OPT_{} \"{}\"\n", row.key.to_uppercase(), row.key);
        }
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

/// What an option takes, and its default.
fn takes(row: &OptionInfo) -> String {
    let takes = match row.kind {
        Kind::Text => "Text".into(),
        Kind::Bool => "true or false".into(),
        Kind::Number(least, most) => format!("A whole number from {least} to {most}"),
        Kind::Words(words) => words.join(" or "),
        Kind::Time => "A time: Unix milliseconds, or RFC 3339".into(),
        _ => "A value".to_owned(),
    };
    let default = if row.default.is_empty() { String::new() } else { format!("; {} where not set", row.default) };
    let secret = if row.secret { "; a secret, shown as ***" } else { "" };
    format!("{takes}{default}{secret}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn every_file_of_the_interface_has_its_section() {
        let files = fs::read_dir(root().join("ffi/src/abi")).unwrap();
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
        names.retain(|name| name != "mod" && name != "boundary");
        names.sort();
        let mut sections = SECTIONS.to_vec();
        sections.sort_unstable();
        assert_eq!(names, sections);
    }

    #[test]
    fn types_that_the_interface_must_not_have_are_not_there() {
        let header = text().unwrap();
        let code: String = header.split("*/").map(|part| part.split("/*").next().unwrap_or("")).collect();
        for word in ["bool", "enum", "long", "off_t", "time_t", "FILE", "uintptr_t", "# Safety"] {
            let found = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word);
            assert!(!found, "{word}");
        }
    }

    #[test]
    fn the_example_of_the_manual_is_c99() {
        let header = text().unwrap();
        let example = header.split("EXAMPLE").nth(1).unwrap().split("*/").next().unwrap();
        let source: String =
            example.lines().skip(1).map(|line| format!("{}\n", line.strip_prefix(" *").unwrap_or(line))).collect();
        assert!(source.contains("s3v_put_file("));
        let folder = std::env::temp_dir().join(format!("s3vault-example-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("s3vault.h"), &header).unwrap();
        fs::write(folder.join("example.c"), source).unwrap();
        let compiled = Command::new("cc")
            .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"])
            .arg(&folder)
            .arg(folder.join("example.c"))
            .status()
            .unwrap();
        fs::remove_dir_all(folder).unwrap();
        assert!(compiled.success());
    }
}
