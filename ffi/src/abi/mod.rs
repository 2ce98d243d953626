//! The C interface. `include/s3vault.h` is generated from this folder, one section from each file.
//!
//! The signature of each function is written out, and [`boundary!`](boundary) wraps its body: the macro catches panics,
//! refuses calls in a forked child, and turns a `Result` into a code and an error handle. Every handle is an `Arc` whose
//! pointer the caller has, so that a handle keeps alive what it depends on, and a free during another thread's call takes
//! effect when that call ends. `unsafe` code is allowed only in this module, of all libraries in the workspace.
#![allow(unsafe_code, non_camel_case_types)]

#[macro_use]
mod boundary;

mod bytes;
mod cancel;
mod config;
mod ctl;
mod error;
mod get;
mod job;
mod keyring;
mod list;
mod manifest;
mod process;
mod put;
mod row;
mod sign;
mod vault;
mod version;

pub use bytes::*;
pub use cancel::*;
pub use config::*;
pub use ctl::*;
pub use error::*;
pub use get::*;
pub use job::*;
pub use keyring::*;
pub use list::*;
pub use manifest::*;
pub use process::*;
pub use put::*;
pub use row::*;
pub use sign::*;
pub use vault::*;
pub use version::*;
