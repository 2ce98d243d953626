//! Checks that core's modules use each other only in the direction that ARCHITECTURE states.
//!
//! The table below "### Direction of core's modules" has the modules in layers. A module may use those of the layers above
//! its own row, and no other, so there is no cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::rust::{self, Kind};
use crate::{Result, root};

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const HEADING: &str = "\n### Direction of core's modules\n";
const SOURCES: &str = "core/src";

/// The modules that each module uses, and the first place where it does.
type Uses = BTreeMap<(String, String), String>;

/// Fails if a module uses one that is not above it, and prints each such use.
pub(crate) fn check() -> Result<()> {
    let layers = layers(&fs::read_to_string(root().join(ARCHITECTURE))?)?;
    let wrong = compare(&layers, &uses(&rust::sources(SOURCES)?));
    if wrong.is_empty() {
        return Ok(());
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    Err(format!("{} differences from the direction that {ARCHITECTURE} states", wrong.len()).into())
}

/// The layer of each module: rows of the table, from 0 at its top. Modules are in `code` in the first column.
fn layers(architecture: &str) -> Result<BTreeMap<String, usize>> {
    let (_, section) =
        architecture.split_once(HEADING).ok_or_else(|| format!("{ARCHITECTURE} has no table of modules"))?;
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut layers = BTreeMap::new();
    for (layer, row) in rows.enumerate() {
        let column = row.split('|').nth(1).unwrap_or_default();
        for module in column.split('`').skip(1).step_by(2) {
            if layers.insert(module.to_owned(), layer).is_some() {
                return Err(format!("{ARCHITECTURE} has the module {module} twice").into());
            }
        }
    }
    Ok(layers)
}

/// The uses that the table does not allow, and the modules that only one side has.
fn compare(layers: &BTreeMap<String, usize>, uses: &Uses) -> Vec<String> {
    let mut wrong = Vec::new();
    for ((user, used), place) in uses {
        match (layers.get(user), layers.get(used)) {
            (Some(above), Some(below)) if below < above => {}
            (Some(_), Some(_)) => wrong.push(format!("{place}: {user} must not use {used}, which is not above it")),
            (None, _) => wrong.push(format!("{ARCHITECTURE}: the module {user} is missing")),
            (_, None) => wrong.push(format!("{place}: {user} uses {used}, which is not in {ARCHITECTURE}")),
        }
    }
    let modules: BTreeSet<&String> = uses.keys().flat_map(|(user, used)| [user, used]).collect();
    let unknown = layers.keys().filter(|module| !modules.contains(module) && !exists(module));
    wrong.extend(unknown.map(|module| format!("{ARCHITECTURE}: there is no module {module}")));
    wrong
}

fn exists(module: &str) -> bool {
    let file = root().join(SOURCES).join(module);
    file.is_dir() || file.with_extension("rs").is_file()
}

/// Who uses whom, by the paths that start with `crate::`.
fn uses(sources: &[(String, String)]) -> Uses {
    let reexports = reexports(sources);
    let mut uses = Uses::new();
    for (path, source) in sources {
        let module = path.trim_start_matches(SOURCES).trim_start_matches('/');
        let module = module.split(['/', '.']).next().unwrap_or_default();
        if module == "lib" {
            continue;
        }
        for (name, line) in paths(source) {
            let used = reexports.get(&name).cloned().unwrap_or(name);
            // What starts with a capital and is not exported again is a macro's or a test's.
            if used != module && used.starts_with(|c: char| c.is_ascii_lowercase()) {
                uses.entry((module.to_owned(), used)).or_insert_with(|| format!("{path}:{line}"));
            }
        }
    }
    uses
}

/// The module of each name that `lib.rs` exports again: `pub use MODULE::{NAMES}`.
fn reexports(sources: &[(String, String)]) -> BTreeMap<String, String> {
    let mut modules = BTreeMap::new();
    let lib = sources.iter().find(|(path, _)| path.ends_with("src/lib.rs")).map_or("", |(_, source)| source);
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub use ")) {
        if let Some((module, names)) = line.trim_end_matches(';').split_once("::") {
            let names = names.trim_matches(['{', '}']).split(',').map(str::trim);
            modules.extend(names.map(|name| (name.to_owned(), module.to_owned())));
        }
    }
    modules
}

/// The first name of each path that starts with `crate::`, and its line. A group gives the first name of each of its paths.
fn paths(source: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for piece in rust::pieces(source).filter(|piece| piece.kind == Kind::Code) {
        for (at, _) in piece.text.match_indices("crate::") {
            let line = piece.line + piece.text[..at].matches('\n').count();
            let rest = &piece.text[at + "crate::".len()..];
            let group = rest.strip_prefix('{').map(first_names);
            let names = group.unwrap_or_else(|| vec![first_name(rest)]);
            found.extend(names.into_iter().filter(|name| !name.is_empty()).map(|name| (name.to_owned(), line)));
        }
    }
    found
}

fn first_name(path: &str) -> &str {
    let path = path.trim_start();
    path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The first name of each path of a group, whose `{` was read.
fn first_names(group: &str) -> Vec<&str> {
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                names.push(first_name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TABLE: &str = "# A\n\n### Direction of core's modules\n\nText.\n\n| modules | about |\n|---|---|\n| `error` | x |\n| `http`, `time` | y |\n| `op` | z |\n\nMore `text`.\n";

    fn source(path: &str, text: &str) -> (String, String) {
        (path.to_owned(), text.to_owned())
    }

    #[test]
    fn only_the_layers_above_may_be_used() {
        let layers = layers(TABLE).unwrap();
        let found = compare(
            &layers,
            &uses(&[
                source("core/src/lib.rs", "pub use error::{Code, Error};\n"),
                source(
                    "core/src/op/a.rs",
                    "use crate::http::{self, Body};\nuse crate::{time::{a, b}, Code};\n// crate::xml\n",
                ),
                source("core/src/time.rs", "use crate::Error;\n"),
            ]),
        );
        assert_eq!(found, [""; 0]);
        let found = compare(
            &layers,
            &uses(&[source("core/src/time.rs", "\nuse crate::{http::Body, op};\nlet s = crate::store::S;")]),
        );
        assert_eq!(
            found,
            [
                "core/src/time.rs:2: time must not use http, which is not above it",
                "core/src/time.rs:2: time must not use op, which is not above it",
                "core/src/time.rs:3: time uses store, which is not in ARCHITECTURE.md",
            ]
        );
    }

    #[test]
    fn a_module_that_is_in_the_table_only_is_found() {
        let layers = layers("\n### Direction of core's modules\n| `error`, `no_such_module` |\n").unwrap();
        assert_eq!(compare(&layers, &Uses::new()), ["ARCHITECTURE.md: there is no module no_such_module"]);
    }
}
