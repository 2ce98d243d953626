//! Generates files and checks the workspace:
//!
//! - `cargo xtask generate [--check]` writes the header, and what other languages need of it and of core's tables. With
//!   `--check` it writes nothing, and fails if a file differs from what it would write.
//! - `cargo xtask wasm` builds the package of bindings/wasm into bindings/wasm/pkg.
//! - `cargo xtask wasm-test` runs core's tests on wasm32, under Node.
//! - `cargo xtask abi-check` checks that the header, the C compiler, the built library, Python and Java agree on the
//!   functions, the widths of their arguments and results, and the layout of structs.
//! - `cargo xtask modules` checks that core's modules use each other in the direction that ARCHITECTURE states.
//! - `cargo xtask language` looks for the glossary's words to avoid in what users read.

mod abi;
mod generate;
mod header;
mod language;
mod modules;
mod rust;
mod tables;
mod versions;
mod wasm;
mod wasm_test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The result of a task. The error is printed as text.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage: cargo xtask generate [--check] | wasm | wasm-test | abi-check | language | modules";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["generate"] => generate::write(),
        ["generate", "--check"] => generate::check(),
        ["language"] => language::check(),
        ["modules"] => modules::check(),
        ["abi-check"] => abi::check::run(),
        ["wasm"] => wasm::package(),
        ["wasm-test"] => wasm_test::run(),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The root folder of the workspace.
fn root() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member).to_owned()
}

/// The cargo that runs this program.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Runs a command and waits for it. A failure of the command is an error.
fn run(command: &mut std::process::Command) -> Result<()> {
    let status = command.status().map_err(|e| format!("cannot run {:?}: {e}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
