//! Shared code of the tests of the Rust API: a vault on an embedded store, bytes to store, and programs run as root.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, missing_docs, unreachable_pub)]

pub mod sealed;

use std::process::{Command, Stdio};

use s3vault::{Control, Settings, Vault};

pub fn settings(pairs: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::new();
    for (key, value) in pairs {
        settings.set(key, value).unwrap();
    }
    settings
}

/// Settings for a bucket of an embedded store, whose keys are `access` and `secret`, with the transport that
/// S3VAULT_TRANSPORT names. A call fails after some seconds of a fault that never ends.
pub fn reaching(url: &str, bucket: &str) -> Settings {
    let transport = std::env::var("S3VAULT_TRANSPORT").unwrap_or_default();
    settings(&[
        ("api_url", url),
        ("access_key", "access"),
        ("secret_key", "secret"),
        ("bucket", bucket),
        ("transport", &transport),
        ("retry_time", "4"),
    ])
}

/// A vault on such a bucket, without a keyring.
pub fn vault(url: &str, bucket: &str) -> Vault {
    Vault::open(&reaching(url, bucket), None, &mut Control::none()).unwrap()
}

/// Bytes without a pattern that a shifted part would repeat.
pub fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// Runs a program as root: with sudo, if this is another user. `needed` says what to do where that fails.
pub fn as_root(program: &str, arguments: &[&str], needed: &str) -> String {
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", program]);
        sudo
    };
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {program}: {e}\n{needed}"));
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} as root: {}\n{needed}", why.trim());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
