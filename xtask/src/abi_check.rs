//! The four lists of functions agree: header, library, Python's table, Java's class.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, root};

/// Compares, and tells each difference.
pub(crate) fn run() -> Result<()> {
    let header = functions_of(&read("include/s3vault.h")?, "s3v_", "(");
    if header.is_empty() {
        return Err("include/s3vault.h declares no function".into());
    }
    let mut lists: Vec<(String, BTreeSet<String>)> = vec![
        python("bindings/python/src/s3vault/_ffi.py")?,
        java("bindings/java/src/main/java/io/s3vault/internal/Native.java")?,
    ];
    let library = library().ok_or("libs3vault.so is not built: cargo build -p s3vault")?;
    lists.push((library.display().to_string(), symbols(&library)?));
    let mut differences = 0;
    for (name, found) in &lists {
        for missing in header.difference(found) {
            eprintln!("{name}: {missing} is missing");
            differences += 1;
        }
        for extra in found.difference(&header) {
            eprintln!("{name}: {extra} is not in include/s3vault.h");
            differences += 1;
        }
    }
    if differences > 0 {
        return Err(format!("{differences} differences").into());
    }
    println!("{} functions, the same in the header and in {} other places", header.len(), lists.len());
    Ok(())
}

fn read(path: &str) -> Result<String> {
    Ok(fs::read_to_string(root().join(path)).map_err(|e| format!("{path}: {e}"))?)
}

fn python(path: &str) -> Result<(String, BTreeSet<String>)> {
    Ok((path.into(), functions_of(&read(path)?, "\"s3v_", "\":")))
}

fn java(path: &str) -> Result<(String, BTreeSet<String>)> {
    Ok((path.into(), functions_of(&read(path)?, " s3v_", "(")))
}

/// The names that stand between `before` (which ends in the prefix of names) and `after`, outside of comments.
fn functions_of(text: &str, before: &str, after: &str) -> BTreeSet<String> {
    let code: String = text.split("*/").map(|part| part.split("/*").next().unwrap_or("")).collect();
    let mut names = BTreeSet::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find(before) {
        rest = &rest[at + before.len()..];
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if rest[length..].starts_with(after) {
            names.insert(format!("s3v_{}", &rest[..length]));
        }
        rest = &rest[length..];
    }
    names
}

/// The library that was built last, debug or release: an older one shows an older header.
fn library() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let built = ["debug", "release"].map(|profile| target.join(profile).join("libs3vault.so"));
    built
        .into_iter()
        .filter(|library| library.exists())
        .max_by_key(|library| library.metadata().and_then(|m| m.modified()).ok())
}

/// What a library gives to others: all of it must be ours.
fn symbols(library: &Path) -> Result<BTreeSet<String>> {
    let output = Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(library).output()?;
    if !output.status.success() {
        return Err(format!("nm {}: {}", library.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_is_read_in_its_own_language() {
        let wanted = BTreeSet::from(["s3v_a_b".to_owned(), "s3v_c".to_owned()]);
        let c = "/* s3v_no(x) */ uint32_t s3v_a_b(void);\nvoid s3v_c(s3v_x *x);\ntypedef int32_t (*s3v_fn)(void);";
        assert_eq!(functions_of(c, "s3v_", "("), wanted);
        let python = "    \"s3v_a_b\": (c, []),\n    \"s3v_c\": (\n _opaque(\"s3v_x\")";
        assert_eq!(functions_of(python, "\"s3v_", "\":"), wanted);
        let java = "/** {@code s3v_no()} */ public static native int s3v_a_b();\n native void s3v_c(Pointer x);";
        assert_eq!(functions_of(java, " s3v_", "("), wanted);
    }
}
