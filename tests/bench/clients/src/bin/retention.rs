//! The jobs of s3vault through its Rust API, on the vault that the environment (S3VAULT_*) names; `retention.py` runs it.
//!
//! ```text
//! retention prune KEPT    hides all but the KEPT newest versions of each backup
//! retention sweep         frees what was hidden more than half an hour ago
//! ```
//! Prints the report as JSON.

use std::path::Path;
use std::sync::Arc;

use bench_clients::Result;
use s3vault::{Control, Settings, Vault};

fn main() -> Result<()> {
    let mut settings = Settings::new();
    s3vault::config::environment(&mut settings)?;
    let keyring = std::env::var("S3VAULT_KEYRING")?;
    let keyring = Arc::new(s3vault::keyring::open(Path::new(&keyring))?);
    let control = &mut Control::none();
    let vault = Vault::open(&settings, Some(keyring), control)?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut options = Settings::new();
    let report = match words[..] {
        ["prune", kept] => {
            options.set("retention_full_versions", kept)?;
            vault.prune(&options, control)?
        }
        ["sweep"] => vault.sweep(&options, control)?,
        _ => return Err("prune KEPT or sweep is wanted".into()),
    };
    println!("{}", report.to_json());
    Ok(())
}
