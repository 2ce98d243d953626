//! `@s3vault/verify` verifies, in a browser or in Node, that a backup is complete, unchanged and signed. It needs the
//! manifest (as `s3vault manifest` writes it), the owner's public key and the stored bytes; no store, no network.
//!
//! [`Verification`] verifies the manifest and its signature, [`PartsCheck`] the data. 64-bit numbers are BigInt.

mod check;
mod error;
mod verification;

pub use check::PartsCheck;
pub use verification::{Summary, Verification};
