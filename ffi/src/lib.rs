//! s3vault: backups in AWS S3 and S3-compatible stores.
//!
//! The Rust API is [`Vault`] and the types that it returns; the C interface (`include/s3vault.h`) has the same types
//! as handles. `s3vault-core` makes the decisions; this crate does the I/O: sockets, files, threads, clocks, entropy.
//!
//! Every call that may take long gets a [`Control`]: events, a cancel, a time-out.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::panic, clippy::unwrap_used, clippy::expect_used))]

pub mod abi;
mod budget;
mod client;
pub mod config;
mod control;
mod credentials;
mod disk;
mod driver;
mod entropy;
#[cfg(feature = "heap")]
mod heap;
pub mod keyring;
pub mod process;
pub mod sign;
mod source_file;
mod transport;
mod vault;

pub use client::{Client, PageReader};
pub use control::{Cancel, Control, Event, EventKind, OnEvent};
pub use s3vault_core::crypto::keyring::Keyring;
pub use s3vault_core::op;
pub use s3vault_core::settings::Settings;
pub use s3vault_core::{Code, Error, Family, Result};
pub use vault::{
    Get, Initialized, Kind, List, PositionalReader, Put, Report, RetireState, Retirement, Row, Vault, Verdict,
    Verified, VerifyReport, Version, verify_manifest,
};
