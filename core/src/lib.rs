#![doc = include_str!("contract.md")]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::panic, clippy::unwrap_used, clippy::expect_used))]

pub mod checksum;
pub mod crypto;
pub mod error;
pub mod http;
mod machine;
pub mod settings;
pub mod time;
pub mod vault;

pub use error::{Code, Error, Family, Result};
pub use machine::{Input, Machine, Output};
