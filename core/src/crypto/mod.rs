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
