//! Core's tables of error codes and options in other languages.

mod java;
mod markdown;
mod python;
mod typescript;

pub(crate) use java::{codes as java_codes, javadoc, options as java_options};
pub(crate) use markdown::settings as markdown;
pub(crate) use python::tables as python;
pub(crate) use typescript::tables as typescript;

use s3vault_core::error::CodeInfo;

/// The name of a code in other languages: without C's prefix.
fn short(row: &CodeInfo) -> &'static str {
    row.name.strip_prefix("S3V_E_").unwrap_or(row.name)
}

/// A text in double quotes: Java, Python and TypeScript share JSON's escapes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
