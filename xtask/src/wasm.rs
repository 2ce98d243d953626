//! Builds the package of bindings/wasm, binds it to JavaScript, and checks what the module imports.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use wasm_bindgen_cli_support::Bindgen;

use crate::{Result, cargo, root};

/// BLAKE3 is more than twice as fast with SIMD, which every browser since 2023 supports.
const RUSTFLAGS: &str = "-C target-feature=+simd128";

/// The crates whose modules are in the package: one that verifies, and one that decrypts, which few load.
const CRATES: [&str; 2] = ["s3vault-wasm", "s3vault-wasm-decrypt"];

/// How our own crates are compiled.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// Optimized, without the checks of a debug build.
    Shipped,
    /// Compiled quickly, with them.
    Tested,
}

/// Builds bindings/wasm/pkg.
pub(crate) fn package() -> Result<()> {
    let folder = root().join("bindings/wasm/pkg");
    let built = CRATES.map(|name| build(&["build", "--release"], name, Form::Shipped));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    for (name, built) in CRATES.iter().zip(built) {
        Bindgen::new()
            .input_path(built?)
            .web(true)?
            .typescript(true)
            .omit_default_module_path(false)
            .remove_name_section(true)
            .remove_producers_section(true)
            .generate(&folder)?;
        let name = name.replace('-', "_");
        let module = folder.join(format!("{name}_bg.wasm"));
        check_imports(&walrus::Module::from_file(&module)?, &format!("./{name}_bg.js"))?;
        println!("wrote {} ({} KiB)", module.display(), std::fs::metadata(&module)?.len() / 1024);
    }
    Ok(())
}

/// Runs cargo for wasm32 and returns the path of this package's module. Dependencies may build modules too: crc-fast
/// has a cdylib.
pub(crate) fn build(arguments: &[&str], package: &str, form: Form) -> Result<PathBuf> {
    // What [profile.release] is for tests.
    let (level, checks) = match form {
        Form::Shipped => ("3", "false"),
        Form::Tested => ("1", "true"),
    };
    let output = Command::new(cargo())
        .args(arguments)
        .args(["-p", package])
        .args(["--target", "wasm32-unknown-unknown", "--message-format", "json-render-diagnostics"])
        .env("RUSTFLAGS", RUSTFLAGS)
        // wasm-bindgen reads sections that the linker would strip, and strips them itself.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level)
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", checks)
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", checks)
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo {}: {}", arguments.join(" "), output.status).into());
    }
    let mut modules = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: Value = serde_json::from_str(line)?;
        if message["target"]["name"] != package.replace('-', "_") {
            continue;
        }
        let files = message["filenames"].as_array().map_or(&[][..], Vec::as_slice);
        modules
            .extend(files.iter().filter_map(Value::as_str).filter(|file| file.ends_with(".wasm")).map(PathBuf::from));
    }
    match <[PathBuf; 1]>::try_from(modules) {
        Ok([module]) => Ok(module),
        Err(modules) => Err(format!("cargo {}: expected one module, found {modules:?}", arguments.join(" ")).into()),
    }
}

/// Fails if the module imports from anywhere but `own`. C code that was linked without a libc imports from `env`.
fn check_imports(module: &walrus::Module, own: &str) -> Result<()> {
    let foreign: Vec<String> = module
        .imports
        .iter()
        .filter(|import| import.module != own)
        .map(|import| format!("{}.{}", import.module, import.name))
        .collect();
    if foreign.is_empty() { Ok(()) } else { Err(format!("the module imports {}", foreign.join(", ")).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_import_is_refused_and_named() {
        let mut module = walrus::Module::default();
        let function = module.types.add(&[], &[]);
        module.add_import_func("./own.js", "log", function);
        assert!(check_imports(&module, "./own.js").is_ok());
        module.add_import_func("env", "memcpy", function);
        let refused = check_imports(&module, "./own.js").map_err(|e| e.to_string());
        assert_eq!(refused, Err("the module imports env.memcpy".to_owned()));
    }
}
