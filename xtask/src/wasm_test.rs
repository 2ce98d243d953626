//! Core's tests on wasm32, under Node.

use std::fs;
use std::process::Command;

use wasm_bindgen_cli_support::Bindgen;

use crate::{Result, run as to_its_end, wasm};

/// Builds them, binds them to Node, and runs them.
pub(crate) fn run() -> Result<()> {
    let built = wasm::build(&["test", "--no-run", "--lib"], "s3vault-core")?;
    let folder = built.with_extension("node");
    Bindgen::new()
        .input_path(&built)
        .out_name("tests")
        .nodejs(true)?
        .typescript(false)
        // The tests are called by their own exports; the start would be the main of an empty native test program.
        .export_wasm(true)
        .emit_start(false)
        .generate(&folder)?;
    let runner = folder.join("run.cjs");
    fs::write(&runner, include_str!("wasm_test.cjs"))?;
    to_its_end(Command::new("node").arg(&runner))
}
