//! Writes the generated files that are committed, or compares them with what would be written.

use std::fs;

use crate::abi::{self, Abi};
use crate::{Result, header, root, tables, versions};

/// Path relative to the workspace's root, and content.
type Generated = (String, String);

fn all() -> Result<Vec<Generated>> {
    let header = header::text()?;
    let abi = Abi::parse(&header)?;
    let mut files = vec![
        ("include/s3vault.h", header),
        ("bindings/python/src/s3vault/_abi.py", abi::python(&abi)),
        ("bindings/python/src/s3vault/_tables.py", tables::python()),
        ("bindings/python/src/s3vault/_options.py", tables::python_options()),
        ("bindings/java/src/main/java/io/s3vault/internal/Native.java", abi::java_native(&abi)),
        ("bindings/java/src/main/java/io/s3vault/internal/Layout.java", abi::java_layout(&abi)),
        ("bindings/java/src/main/java/io/s3vault/EventKind.java", abi::java_event_kinds(&abi)),
        ("bindings/java/src/main/java/io/s3vault/ErrorCode.java", tables::java_codes()),
        ("bindings/java/src/main/java/io/s3vault/Option.java", tables::java_options()),
        ("bindings/web/src/tables.ts", tables::typescript()),
        ("docs/settings.md", tables::markdown()),
    ];
    files.extend(versions::all()?);
    let mut files: Vec<Generated> = files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect();
    files.extend(tables::java_call_options());
    Ok(files)
}

/// Writes the files that are out of date.
pub(crate) fn write() -> Result<()> {
    for (path, generated) in all()? {
        let file = root().join(&path);
        if fs::read_to_string(&file).is_ok_and(|found| found == generated) {
            continue;
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&file, generated).map_err(|e| format!("{path}: {e}"))?;
        println!("wrote {path}");
    }
    Ok(())
}

/// Fails if a file is out of date, and shows the first line that differs.
pub(crate) fn check() -> Result<()> {
    let mut stale = Vec::new();
    for (path, generated) in all()? {
        let found = fs::read_to_string(root().join(&path)).unwrap_or_default();
        if let Some(difference) = difference(&found, &generated) {
            eprintln!("{path}:{difference}");
            stale.push(path);
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("out of date: {}. Run: cargo xtask generate", stale.join(", ")).into())
}

/// The first line in which two texts differ, as `LINE: found ..., generated ...`.
fn difference(found: &str, generated: &str) -> Option<String> {
    if found == generated {
        return None;
    }
    let (mut a, mut b) = (found.split('\n'), generated.split('\n'));
    let mut line = 0;
    loop {
        line += 1;
        match (a.next(), b.next()) {
            (a, b) if a == b && a.is_some() => {}
            (a, b) => return Some(format!("{line}: found {a:?}, generated {b:?}")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_and_a_missing_last_line_are_found() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nx\n", "a\nb\n").unwrap(), "2: found Some(\"x\"), generated Some(\"b\")");
        assert_eq!(difference("a", "a\n").unwrap(), "2: found None, generated Some(\"\")");
    }

    #[test]
    fn generating_twice_gives_the_same_files() {
        assert_eq!(all().unwrap(), all().unwrap());
    }
}
