//! Makes what is generated, and compares what must agree:
//!
//! - `cargo xtask generate [--check]`: the header, and the tables of other languages. With `--check` nothing is
//!   written: it fails where a file is not what would be written.
//! - `cargo xtask wasm`: the package of bindings/wasm, in bindings/wasm/pkg.
//! - `cargo xtask wasm-test`: core's tests on wasm32, under Node.
//! - `cargo xtask abi-check`: the functions of the header, of the built library, of Python's table and of Java's class
//!   are the same.

mod abi_check;
mod generate;
mod header;
mod tables;
#[cfg(feature = "wasm")]
mod wasm;
#[cfg(feature = "wasm")]
mod wasm_test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a task gives back; the text of an error is for people.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage: cargo xtask generate [--check] | wasm | wasm-test | abi-check";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["generate"] => generate::write(),
        ["generate", "--check"] => generate::check(),
        ["abi-check"] => abi_check::run(),
        [task @ ("wasm" | "wasm-test")] => wasm(task),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "wasm")]
fn wasm(task: &str) -> Result<()> {
    if task == "wasm" { wasm::package() } else { wasm_test::run() }
}

/// Starts this program again with the feature that these tasks need: the others stay quick to build.
#[cfg(not(feature = "wasm"))]
fn wasm(task: &str) -> Result<()> {
    let mut cargo = std::process::Command::new(cargo());
    run(cargo.args(["run", "-q", "-p", "xtask", "--features", "wasm", "--", task]).current_dir(root()))
}

/// The folder of the workspace.
fn root() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member).to_owned()
}

/// The cargo that runs this.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Runs a command to its end; not to succeed is an error.
fn run(command: &mut std::process::Command) -> Result<()> {
    let status = command.status().map_err(|e| format!("cannot run {:?}: {e}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
