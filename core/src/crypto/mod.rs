//! Keys and what is done with them: the keyring, signatures, wrapped data keys, and the segments of encrypted backups.

mod aead;
pub mod age;
pub mod data_key;
pub mod ed25519;
pub mod escrow;
pub mod external;
mod hkdf;
pub mod keyring;
pub mod segment;

/// Bytes of stack that the functions which handle keys use at most.
const STACK: usize = 8192;

/// Overwrites what functions that have returned left on the stack: where a key is moved, a copy of it stays. The function
/// that left it must not be inlined into the caller of this one.
#[inline(never)]
fn wipe_stack() {
    zeroize::Zeroize::zeroize(&mut [0_u8; STACK]);
}
