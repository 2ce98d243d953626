//! Core's tests on wasm32, under Node.

use std::fs;
use std::process::Command;

use wasm_bindgen_cli_support::Bindgen;

use crate::{Result, run as run_command, wasm};

/// Builds the tests, binds them to Node, and runs them.
pub(crate) fn run() -> Result<()> {
    let built = wasm::build(&["test", "--release", "--no-run", "--lib"], "s3vault-core", wasm::Form::Tested)?;
    let folder = built.with_extension("node");
    Bindgen::new()
        .input_path(&built)
        .out_name("tests")
        .nodejs(true)?
        .typescript(false)
        // The tests are called through their own exports; the start function is the main of an empty native test program.
        .export_wasm(true)
        .emit_start(false)
        .generate(&folder)?;
    let runner = folder.join("run.cjs");
    fs::write(&runner, include_str!("wasm_test.cjs"))?;
    run_command(Command::new("node").arg(&runner))
}
