//! `include/s3vault.h`: the manual of the C interface.
//!
//! cbindgen translates each file of ffi/src/abi to C. This module puts these sections in reading order, each below the
//! introduction of its file, and adds the tables of core at the end.

use std::fmt::Write as _;
use std::fs;

use cbindgen::{Builder, Config, DocumentationStyle, ExportConfig, Language, Style};
use s3vault_core::error::{CODES, Family};
use s3vault_core::settings::{Call, Kind, OPTIONS, OptionInfo, Scope};

use crate::{Result, root};

/// The files of ffi/src/abi that have a section, in the header's order: C wants a type before its use.
const SECTIONS: &[&str] = &[
    "error", "process", "bytes", "config", "cancel", "ctl", "keyring", "vault", "row", "version", "put", "get", "list",
    "job", "manifest", "sign",
];

/// No line of the header is longer.
const WIDTH: usize = 120;

/// A `# Safety` section that only says this is left out of the header.
const CONVENTIONS: &str = "The conventions of the header hold.";

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
    check(&header)?;
    Ok(header)
}

/// Fails if a line is too long, or if a function does not say since which release it exists.
fn check(header: &str) -> Result<()> {
    let mut comment = String::new();
    let mut in_comment = false;
    for (number, line) in (1..).zip(header.lines()) {
        if line.chars().count() > WIDTH {
            return Err(format!("include/s3vault.h, line {number}: longer than {WIDTH} columns: {line}").into());
        }
        if line.starts_with("/*") {
            comment.clear();
            in_comment = true;
        }
        if in_comment {
            comment.push_str(line);
            comment.push('\n');
            in_comment = !line.ends_with("*/");
        } else if let Some(function) = declared(line) {
            if !comment.lines().any(|line| line.starts_with(" * Since: ")) {
                return Err(format!("{function}: its doc comment has no line 'Since: RELEASE.'").into());
            }
            comment.clear();
        }
    }
    Ok(())
}

/// The name of the function whose declaration starts on this line.
fn declared(line: &str) -> Option<&str> {
    let (before, _) = line.split_once('(')?;
    let name = &before[before.rfind("s3v_")?..];
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && line.starts_with(char::is_alphabetic) && !line.starts_with("typedef")).then_some(name)
}

/// What cbindgen generates from one file.
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
        // No function in their own file uses them, so cbindgen would leave them out.
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

/// Replaces Rust's customs by C's: `# Safety` becomes a sentence, a short comment fits on one line, and types go by their
/// typedef.
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
    let safety = lines.iter().position(|line| *line == "# Safety").unwrap_or(lines.len());
    let mut body: Vec<String> = lines[..safety].iter().map(|line| (*line).to_owned()).collect();
    match lines.get(safety + 1..).map(|lines| lines.join(" ")) {
        Some(requires) if requires != CONVENTIONS => body.extend(wrapped(&format!("Requires: {requires}"))),
        _ => body.truncate(body.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1)),
    }
    comment(indent, &body)
}

/// A doc comment in C, on one line where it fits.
fn comment(indent: &str, body: &[String]) -> String {
    if let [line] = body {
        let one = format!("{indent}/** {line} */\n");
        if one.chars().count() <= WIDTH {
            return one;
        }
    }
    let mut text = format!("{indent}/**\n");
    for line in body {
        let _ = writeln!(text, "{}", format!("{indent} * {line}").trim_end());
    }
    let _ = writeln!(text, "{indent} */");
    text
}

/// Lines that fit into a comment.
fn wrapped(text: &str) -> Vec<String> {
    let width = WIDTH - " * ".len();
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

/// The `//!` lines of a file as a heading; the first line is the title.
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
        &["", "Numbers are never reused. The second paragraph is the hint of an error that has no better one."],
    );
    let mut family = None;
    for row in CODES {
        if family != Some(row.family) {
            family = Some(row.family);
            let _ = writeln!(
                text,
                "/* {} */\n",
                match row.family {
                    Family::Misuse => "Misuse: the caller made a mistake",
                    Family::Remote => "Remote: the store's answer, or the stored data, is the problem",
                    Family::Transport => "Transport: the store did not answer, or its answer is incomplete",
                    _ => "Local: a failure on this machine",
                }
            );
        }
        let mut body = wrapped(row.doc);
        if !row.hint.is_empty() {
            body.push(String::new());
            body.extend(wrapped(row.hint));
        }
        let _ = writeln!(text, "{}#define {} ({})\n", comment("", &body), row.name, row.code as i32);
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
        (Scope::Command, "For the command s3vault, or for s3v_sign; accepted in a config, but not used by a vault"),
        (Scope::Process, "For s3v_process_set; accepted in a config, but not used by a vault"),
        (Scope::Call, "For one call"),
    ] {
        let _ = writeln!(text, "/* {title} */\n");
        for row in OPTIONS.iter().filter(|row| row.scope == scope) {
            let mut body = wrapped(row.doc);
            body.push(String::new());
            body.extend(wrapped(&format!("{}.", accepts(row))));
            if !row.calls.is_empty() {
                let functions: Vec<&str> = row.calls.iter().map(|call| functions(*call)).collect();
                body.extend(wrapped(&format!("For {}.", functions.join(", "))));
            }
            text.push_str(&comment("", &body));
            let _ = writeln!(text, "#define S3V_OPT_{} \"{}\"\n", row.key.to_uppercase(), row.key);
        }
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

/// The functions that are one call of the table of options.
fn functions(call: Call) -> &'static str {
    match call {
        Call::Put => "s3v_put_open, s3v_put_file, s3v_put_fd",
        Call::Find => "s3v_version_find",
        Call::Get => "s3v_get_open",
        Call::Restore => "s3v_get_file, s3v_get_fd",
        Call::List => "s3v_list_versions, s3v_list_paths, s3v_list_containers",
        Call::Delete => "s3v_version_delete",
        Call::Prune => "s3v_prune",
        Call::Sweep => "s3v_sweep",
        Call::Rotate => "s3v_rotate",
        Call::Rekey => "s3v_rekey",
        Call::Adopt => "s3v_adopt",
        Call::Verify => "s3v_verify",
        Call::VerifyVersion => "s3v_get_verify",
        Call::Update => "s3v_vault_update",
        Call::Sign => "s3v_sign",
        Call::Presign => "s3v_presign",
        _ => "other calls",
    }
}

/// The values that an option accepts, and its default.
fn accepts(row: &OptionInfo) -> String {
    let accepts = match row.kind {
        Kind::Text => "Text".into(),
        Kind::Labels => "KEY=VALUE, several separated by commas or line ends".into(),
        Kind::File => "The name of a file".into(),
        Kind::Bool => "true or false".into(),
        Kind::Number(least, most) => format!("A whole number from {least} to {most}"),
        Kind::Size(least, most) => {
            format!(
                "A number of bytes from {least} to {most}, also with a unit: K, M, G, T or KiB, MiB, GiB, TiB (powers of 1024)"
            )
        }
        Kind::Words(words) => words.join(" or "),
        Kind::Time => "A time: RFC 3339, a date (the end of that day in UTC), or Unix milliseconds".into(),
        Kind::Duration => "A length of time: a number with its unit d, h, m or s, such as 7d or 90m".into(),
        _ => "A value".to_owned(),
    };
    let default = if row.default.is_empty() { String::new() } else { format!(". Default: {}", row.default) };
    let secret = if row.secret { ". A secret, shown as ***" } else { "" };
    format!("{accepts}{default}{secret}")
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
    fn a_function_without_its_release_is_refused() {
        let since = "/**\n * Frees it.\n *\n * Since: 0.1.\n */\nvoid s3v_x_free(s3v_x *x);\n";
        check(since).unwrap();
        let e = check(&since.replace(" * Since: 0.1.\n", "")).unwrap_err().to_string();
        assert!(e.starts_with("s3v_x_free: "), "{e}");
        let e = check(&format!("{since}int32_t s3v_y(void);\n")).map(|()| "the comment of another function counts");
        assert!(e.is_err(), "{e:?}");
    }

    #[test]
    fn a_line_that_is_too_long_is_refused() {
        let e = check(&format!("\n/* {} */\n", "x".repeat(WIDTH))).unwrap_err().to_string();
        assert!(e.contains("line 2"), "{e}");
        check(&"x".repeat(WIDTH)).unwrap();
    }

    #[test]
    fn the_interface_has_no_types_whose_size_depends_on_the_platform() {
        let header = text().unwrap();
        let code: String = header.split("*/").map(|part| part.split("/*").next().unwrap_or("")).collect();
        for word in ["bool", "enum", "long", "off_t", "time_t", "FILE", "uintptr_t", "# Safety"] {
            let found = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word);
            assert!(!found, "{word}");
        }
    }

    #[test]
    fn the_example_in_the_manual_is_c99() {
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
