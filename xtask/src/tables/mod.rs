//! Core's tables of error codes and options in other languages.

mod java;
mod markdown;
mod python;
mod typescript;

pub(crate) use java::{call_options as java_call_options, codes as java_codes, javadoc, options as java_options};
pub(crate) use markdown::settings as markdown;
pub(crate) use python::{options as python_options, tables as python};
pub(crate) use typescript::tables as typescript;

use s3vault_core::error::CodeInfo;
use s3vault_core::settings::{Call, OptionInfo, Scope};

/// The name of a code in other languages: without C's prefix.
fn short(row: &CodeInfo) -> &'static str {
    row.name.strip_prefix("S3V_E_").unwrap_or(row.name)
}

/// The options that are arguments of a call: its own, and for prune also those of the configuration that it overrides.
fn own_options(call: Call) -> impl Iterator<Item = &'static OptionInfo> {
    call.options().filter(move |row| row.scope == Scope::Call || call == Call::Prune)
}

/// A key as the name of a class: `session_token` is `SessionToken`.
fn class_name(key: &str) -> String {
    key.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// A text in double quotes: Java, Python and TypeScript share JSON's escapes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
