#![doc = include_str!("contract.md")]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::panic, clippy::unwrap_used, clippy::expect_used))]

pub mod account;
pub mod checksum;
pub mod credentials;
pub mod crypto;
pub mod endpoint;
pub mod error;
pub mod http;
mod journal;
mod machine;
#[doc(hidden)]
pub mod mutation;
pub mod op;
pub mod profile;
pub mod retry;
pub mod settings;
pub mod sigv4;
pub mod text;
pub mod time;
pub mod transfer;
pub mod uri;
pub mod vault;
pub mod xml;

pub use error::{Code, Error, Family, Result};
pub use journal::JournalKey;
pub use machine::{Event, Input, Machine, Output, PartRequest, SourceStart};
