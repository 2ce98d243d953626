//! `@s3vault/verify/decrypt` decrypts, in a browser or in Node, a backup of envelope mode with the escrow file of its
//! owner. It is a module of its own, so that those who only verify do not load it.
//!
//! [`EscrowFile`] says what opens an escrow file, [`Decryption`] decrypts the stored bytes of a backup. 64-bit numbers are
//! BigInt.
//!
//! Memory is overwritten when it is freed, so neither the secret nor a key is left in the module's memory after
//! `Decryption` is freed. What the caller has of the secret is the caller's to overwrite.

mod damage;
mod decryption;
// The same as in the other module.
#[path = "../../wasm/src/error.rs"]
mod error;
mod escrow_file;

pub use damage::DamagedSegments;
pub use decryption::Decryption;
pub use escrow_file::EscrowFile;

#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);
