//! The version of the Python, Java and npm packages, which is that of the workspace in Cargo.toml.

use std::fs;

use crate::{Result, root};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const JSON: &str = "\"version\": \"";

/// Path, what comes before the version's line, what is directly before the version, and what is directly after it.
type Place = (&'static str, &'static str, &'static str, &'static str);

const PLACES: [Place; 5] = [
    ("bindings/python/src/s3vault/__init__.py", "\n", "__version__ = \"", "\""),
    ("bindings/java/pom.xml", "<artifactId>s3vault</artifactId>", "<version>", "</version>"),
    ("bindings/wasm/package.json", "\"name\": \"", JSON, "\""),
    ("bindings/web/package.json", "\"name\": \"", JSON, "\""),
    // Only our own packages have a name there.
    ("bindings/web/package-lock.json", "\"name\": \"", JSON, "\""),
];

/// The files with the workspace's version.
pub(crate) fn all() -> Result<Vec<(&'static str, String)>> {
    PLACES.iter().map(|place| Ok((place.0, with_version(&fs::read_to_string(root().join(place.0))?, place)?))).collect()
}

/// Replaces the first version after each occurrence of the anchor.
fn with_version(text: &str, &(path, anchor, before, after): &Place) -> Result<String> {
    let missing = || format!("{path}: found no version between '{before}' and '{after}'");
    let (mut done, mut rest, mut replaced) = (String::new(), text, false);
    while let Some(at) = rest.find(anchor) {
        let Some(start) = rest[at..].find(before).map(|n| at + n + before.len()) else { break };
        let end = rest[start..].find(after).map(|n| start + n).ok_or_else(missing)?;
        done += &rest[..start];
        done += VERSION;
        rest = &rest[end..];
        replaced = true;
    }
    if replaced { Ok(done + rest) } else { Err(missing().into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_version_after_an_anchor_is_replaced_and_no_other() {
        let place = ("f", "name", "<", ">");
        let text = "<1> name <2> <3> name <4> end";
        assert_eq!(with_version(text, &place).unwrap(), format!("<1> name <{VERSION}> <3> name <{VERSION}> end"));
    }

    #[test]
    fn a_file_without_a_version_is_an_error() {
        assert!(with_version("name only", &("f", "name", "<", ">")).is_err());
        assert!(with_version("name <2", &("f", "name", "<", ">")).is_err());
    }
}
