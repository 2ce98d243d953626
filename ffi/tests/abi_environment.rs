//! Settings from the environment, in a process of its own, since the test changes the environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod abi_support;

use abi_support::{call, config, made, refused, shown, taken};
use s3vault::abi::*;
use s3vault_core::Code;
use s3vault_core::settings::OPTIONS;

#[test]
fn the_environment_sets_a_vaults_options_and_nothing_else() {
    // SAFETY: this is the only test of this program, and has no other threads that look at the environment.
    let set = |name: &str, value: &str| unsafe { std::env::set_var(name, value) };
    for option in OPTIONS {
        // SAFETY: as above.
        unsafe { std::env::remove_var(format!("S3VAULT_{}", option.key.to_uppercase())) };
    }
    let load = |config| call(|err| unsafe { s3v_config_env(config, err) });
    let config = config(&[("bucket", "before"), ("region", "before")]);

    set("S3VAULT_BUCKET", "after");
    set("S3VAULT_SECRET_KEY", "hush");
    set("S3VAULT_REGION", "");
    set("S3VAULT_LIBRARY", "/a/file");
    set("S3VAULT_VERSION", "0.1.0");
    load(config).unwrap();
    assert_eq!(shown(config, None).unwrap(), r#"{"bucket":"after","secret_key":"***"}"#);

    let warnings = || {
        let bytes = made(|out, err| unsafe { s3v_config_warnings(config, out, err) }).unwrap();
        String::from_utf8(taken(bytes)).unwrap()
    };
    assert_eq!(warnings(), "[]");
    set("S3VAULT_BUKCET", "x");
    load(config).unwrap();
    assert!(warnings().starts_with(r#"["the environment variable S3VAULT_BUKCET is not a setting"#), "{}", warnings());

    set("S3VAULT_BUCKET", "later");
    set("S3VAULT_PATH_STYLE", "perhaps");
    let failure = refused(load(config), Code::InvalidOption);
    assert!(
        failure.message.starts_with("the environment variable S3VAULT_PATH_STYLE: invalid value 'perhaps'"),
        "{failure:?}"
    );
    assert_eq!(shown(config, Some("bucket")).unwrap(), "after", "all or nothing");

    unsafe { s3v_config_free(config) };
}
